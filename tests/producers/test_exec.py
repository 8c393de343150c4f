"""`runtide exec`: a script that imports wandb, as it is."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 60.0


@pytest.fixture
def execute(home: Path, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs `runtide exec` with these words, in the folder of the test."""

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "runtide", "exec", *words]
        return subprocess.run(
            command, env={**os.environ, **environ}, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE
        )

    return run


def test_a_script_and_its_child_processes(execute: Any, tmp_path: Path, spooled: Any) -> None:
    """Both import wandb and log; what the script is given reaches it, options included."""
    (tmp_path / "train.py").write_text("""
import subprocess, sys
import wandb
run = wandb.init(project="p", config={"arguments": sys.argv[1:]})
wandb.log({"loss": 0.5})
wandb.finish()
if "child" not in sys.argv:
    subprocess.run([sys.executable, __file__, "child"], check=True)
""")
    done = execute(sys.executable, "train.py", "--help", "--lr", "0.1")
    assert done.returncode == 0, done.stderr
    assert spooled.points() == [("loss", 0, 0.5)] * 2
    starts = [record for record in spooled.records("runs") if record["event"] == "finish"]
    assert len(starts) == 2
    configs = [json.loads(record["config"]) for record in spooled.records("runs") if record["event"] == "start"]
    assert sorted(config["arguments"] for config in configs) == [["--help", "--lr", "0.1"], ["child"]]


def test_the_exit_code_is_the_commands(execute: Any, tmp_path: Path) -> None:
    """Of sys.exit, of an exception, and of a signal; the search path that was set stays behind ours."""
    (tmp_path / "code.py").write_text(
        "import sys, os, signal, wandb, mine\nassert wandb.init and mine.here\n"
        "os.kill(os.getpid(), signal.SIGKILL) if sys.argv[1] == 'kill' else sys.exit(int(sys.argv[1]))"
    )
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "mine.py").write_text("here = True")
    codes = [execute(sys.executable, "code.py", word, PYTHONPATH="path").returncode for word in ("3", "0", "x", "kill")]
    assert codes == [3, 0, 1, -signal.SIGKILL]


def test_commands_that_cannot_be_run(execute: Any, tmp_path: Path) -> None:
    """The exit codes of a shell, and one line that says what to do."""
    (tmp_path / "script.py").write_text("")
    missing = execute("no-such-command")
    assert (missing.returncode, len(missing.stderr.splitlines())) == (127, 1)
    assert "runtide exec python" in missing.stderr
    forbidden = execute("./script.py")
    assert (forbidden.returncode, len(forbidden.stderr.splitlines())) == (126, 1)
    assert execute().returncode == 2
    assert execute("--help").stdout.startswith("usage: runtide exec")
    assert execute("--", sys.executable, "-c", "import wandb; print(wandb.run)").stdout == "None\n"
