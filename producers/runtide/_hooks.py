"""What happens to runs when the process ends or forks."""

from __future__ import annotations

import atexit
import sys
from types import TracebackType
from typing import Any

from runtide import _platform
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
        _platform.around_fork(_before_fork, _after_fork_in_parent, _after_fork_in_child)


def _finish_all() -> None:
    for run in _runs:
        run.finish(_exit_code)


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


def _before_fork() -> None:
    for run in _runs:
        run._fold.acquire()
        run._lock.acquire()


def _after_fork_in_parent() -> None:
    for run in reversed(_runs):
        run._lock.release()
        run._fold.release()


def _after_fork_in_child() -> None:
    for run in _runs:
        run._become_child()
