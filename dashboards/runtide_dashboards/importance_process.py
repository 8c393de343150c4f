"""Studies in a process of their own: the import of scikit-learn, and its forests, would keep pages from being drawn.

It is started by the first study, waits for the next one, and ends with the process that started it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence

from runtide_dashboards import importance
from runtide_dashboards.importance import Findings
from runtide_dashboards.sweep_trials import Axis, Objective, Trial

# Pages are drawn first.
_NICE = 10
_ENDED = "the process that finds it out ended: the dashboard's log may say why"
_process: subprocess.Popen[bytes] | None = None


def study(trials: Sequence[Trial], objective: Objective, axes: Sequence[Axis]) -> Findings:
    """See `importance.study`. For one thread at a time."""
    for _ in range(2):  # a process that was killed is started again
        try:
            return _ask(trials, objective, axes)
        except (OSError, EOFError, pickle.UnpicklingError):
            _end()
    return Findings([], None, 0, False, _ENDED, {}, [])


def _ask(*asked: object) -> Findings:
    global _process
    if _process is None:
        command = [sys.executable, "-P", "-m", __name__]
        _process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert _process.stdin is not None and _process.stdout is not None
    pickle.dump(asked, _process.stdin)
    _process.stdin.flush()
    found: Findings = pickle.load(_process.stdout)
    return found


@atexit.register
def _end() -> None:
    global _process
    process, _process = _process, None
    if process is not None:
        process.kill()
        process.communicate()


def _serve() -> None:
    """Answer what comes over standard input, until nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends who asks
    if sys.platform != "win32":
        os.nice(_NICE)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    while True:
        try:
            asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(importance.study(*asked), answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
