"""Studies in a process of their own: what they find, and what becomes of them when something is killed."""

import os
import signal
import subprocess
import sys

from tests.dashboards.test_importance import LOSS, LR, NOISE, sweep

from runtide_dashboards import importance, importance_process

ASK = """
import sys
from tests.dashboards.test_importance import LOSS, LR, NOISE, sweep
from runtide_dashboards import importance_process

trials, axes = sweep({**NOISE, "lr": LR}, 20, lambda p, r: p["lr"])
importance_process.study(trials, LOSS, axes)
print("found", flush=True)
sys.stdin.read()
"""


def test_it_finds_what_a_call_finds_also_after_it_was_killed():
    """And this process has no use for scikit-learn."""
    trials, axes = sweep({**NOISE, "lr": LR}, 120, lambda p, r: p["lr"] + p["wd"] + r.normal(0, 0.1))
    found = importance_process.study(trials, LOSS, axes)
    assert found == importance.study(trials, LOSS, axes) and found.trusted
    os.kill(importance_process._process.pid, signal.SIGKILL)
    assert importance_process.study(trials, LOSS, axes) == found


def test_a_process_that_does_not_live_is_told_of(monkeypatch):
    """In place of the findings, and the next study tries again."""
    trials, axes = sweep({"lr": LR}, 60, lambda p, r: p["lr"])
    importance_process._end()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        found = importance_process.study(trials, LOSS, axes)
    assert not found.trusted and "the dashboard's log may say why" in importance.words(found, LOSS)
    assert importance_process.study(trials, LOSS, axes).trusted


def test_it_ends_with_the_dashboard():
    """Also when that is killed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ASK], **pipes) as asking:
        asking.stdout.readline()
        asking.kill()
        # At its end when nobody has it any more: the worker has it too.
        assert asking.communicate(timeout=60)[1] == b""
