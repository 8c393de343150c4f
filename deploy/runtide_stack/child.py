"""Run a module as a child that ends when its parent does: `python -m runtide_stack.child MODULE ARGS...`.

Standard input is a pipe that only the parent holds open: its end means that the parent is gone, by whatever signal, on
any system.
"""

import os
import runpy
import signal
import sys
import threading

GRACE = 10.0


def _outlive_nobody() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_outlive_nobody, name="runtide-lifeline", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
