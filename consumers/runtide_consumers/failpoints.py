"""A way for tests to end or to stop the process at an exact place."""

from __future__ import annotations

import os
import signal
import threading

_reached: dict[str, int] = {}


def failpoint(name: str, stream: str) -> None:
    """Exit at once, as a crash would, when RUNTIDE_FAILPOINT is `name` or `name:N` and this is the N-th time here.

    With `name:N:stop` the process stops instead, as by SIGSTOP, until somebody sends SIGCONT. `stream/name` is for the
    lane of one stream only.
    """
    wanted, _, rest = os.environ.get("RUNTIDE_FAILPOINT", "").partition(":")
    if wanted in (name, f"{stream}/{name}"):
        count, _, action = rest.partition(":")
        _reached[name] = _reached.get(name, 0) + 1
        if _reached[name] == int(count or 1):
            if action == "stop":
                # To this very thread: one to the process may reach another, and this one would go on meanwhile.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            else:
                os._exit(41)
