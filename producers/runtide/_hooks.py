"""What happens to runs when the process ends or forks."""

from __future__ import annotations

import atexit
import sys
from types import TracebackType
from typing import Any

from runtide import _orphan_locks, _outbox, _platform, _taps, _tensors
from runtide._run import Run

# Runs of this process that have not been finished, oldest first.
_runs: list[Run] = []
_installed = False
_exit_code: int | None = None


def watch(run: Run) -> None:
    """Finish the run with the process, and let it survive forks."""
    global _installed
    _runs[:] = [known for known in _runs if known._open]
    _runs.append(run)
    if not _installed:
        _installed = True
        atexit.register(_finish_all)
        _watch_exceptions()
        _watch_exit()
        _platform.after_fork_in_child(_become_children)


def _finish_all() -> None:
    for run in _runs:
        run.finish(_exit_code)
    _outbox.stop()


def _watch_exceptions() -> None:
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        global _exit_code
        _exit_code = 1
        before(kind, error, traceback)

    sys.excepthook = hook


def _watch_exit() -> None:
    """Note the code given to sys.exit: SystemExit passes excepthook by, and atexit is not told of it."""
    before = sys.exit

    def leave(status: Any = None, /) -> None:
        global _exit_code
        _exit_code = status if isinstance(status, int) else int(status is not None)
        before(status)

    sys.exit = leave  # type: ignore[assignment]


def _become_children() -> None:
    _orphan_locks.release()
    _tensors.become_child()
    _taps.become_child()
    for run in _runs:
        run._become_child()
