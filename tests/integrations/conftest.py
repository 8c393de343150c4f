"""Scripts that use a framework, in processes of their own; the home and the reader of its spool are the producers'."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent / "scripts"
EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE = 500.0
# Nothing is downloaded, asked for or sent.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "CUDA_VISIBLE_DEVICES": "",
    # More threads than cores wait for one another, actively.
    "OMP_NUM_THREADS": "1",
}
INSTALL = """
import runpy, sys, runtide
runtide.install_as_wandb()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WAYS = {
    "install_as_wandb": [sys.executable, "-c", INSTALL],
    "exec": [sys.executable, "-m", "runtide", "exec", sys.executable],
    "plain": [sys.executable],
}

_spec = importlib.util.spec_from_file_location(
    "producers_fixtures", Path(__file__).parents[1] / "producers/conftest.py"
)
assert _spec is not None and _spec.loader is not None
_producers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_producers)
home, spooled, no_lost_errors = _producers.home, _producers.spooled, _producers.no_lost_errors


class Trained:
    """What a script said, and what landed in the spool."""

    def __init__(self, spooled: Any, output: str, errors: str) -> None:
        self.spooled = spooled
        self.errors = errors
        self._output = output

    @cached_property
    def told(self) -> Any:
        """The last line: what the script itself knows, as JSON."""
        return json.loads(self._output.splitlines()[-1])

    def rows(self, repeated: frozenset[str] = frozenset()) -> dict[int, dict[str, float]]:
        """The logged numbers by step; only keys in `repeated` may come twice at one, and the last one counts."""
        rows: dict[int, dict[str, float]] = {}
        for key, step, value in self.spooled.points():
            row = rows.setdefault(step, {})
            assert key not in row or key in repeated, f"{key} was logged twice at step {step}"
            row[key] = value
        return dict(sorted(rows.items()))

    @property
    def config(self) -> dict[str, Any]:
        return dict(json.loads(self.spooled.description()["config"]))

    @property
    def definitions(self) -> dict[str, Any]:
        return dict(json.loads(self.spooled.description()["definitions"]))

    @property
    def summary(self) -> dict[str, Any]:
        """What was set by hand."""
        told: dict[str, str] = {}
        for record in self.spooled.records("runs"):
            told |= record["summary"]
        return {key: json.loads(value) for key, value in told.items()}

    @property
    def run(self) -> str:
        """The path of the only run there is, which has finished."""
        (path,) = {record["run_id"] for record in self.spooled.records("runs")}
        assert [record["exit_code"] for record in self.spooled.records("runs") if record["event"] == "finish"] == [0]
        return str(path)


@pytest.fixture
def train(home: Path, spooled: Any, tmp_path: Path) -> Callable[..., Trained]:
    """Runs a script to its end: `train("train_x.py", "exec", "argument", VARIABLE="value")`."""

    def run(script: str, way: str, *arguments: str, **environ: str) -> Trained:
        path = next(folder / script for folder in (SCRIPTS, EXAMPLES) if (folder / script).exists())
        # Frameworks behave differently where they believe that they are tested; and each script imports thousands of
        # modules, which are compiled once where their bytecode may be kept.
        left_out = ("PYTEST", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        done = subprocess.run(
            [*WAYS[way], str(path), *arguments],
            env={**inherited, **OFFLINE, "YOLO_CONFIG_DIR": str(tmp_path / "yolo"), **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return Trained(spooled, done.stdout, done.stderr)

    return run
