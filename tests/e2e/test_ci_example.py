"""The workflow in examples/ci: its file is one, and its shell lines do what it says, here as on GitHub."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples" / "ci" / "evaluate.yml"


@pytest.fixture
def workflow() -> dict:
    return yaml.safe_load(WORKFLOW.read_text())


def steps(workflow: dict) -> dict[str, dict]:
    return {step.get("name", step.get("uses")): step for step in workflow["jobs"]["evaluate"]["steps"]}


class Checkout:
    """A repository with the example in it, in which shell lines run as a job of GitHub's."""

    def __init__(self, folder: Path, workflow: dict, values: dict[str, str]) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        self.git("init", "-q", "-b", "main")
        given = {"github.workspace": str(folder), **values}
        fill = lambda text: re.sub(r"\$\{\{ (\S+) \}\}", lambda found: given.get(found[1], ""), text)  # noqa: E731
        self.variables = {name: fill(value) for name, value in workflow["env"].items()}
        self.commit("first")

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder), "-c", "user.name=n", "-c", "user.email=e", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "examples")
        self.git("commit", "-q", "-m", message)

    def run(self, lines: str) -> subprocess.CompletedProcess[str]:
        job = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": self.git("rev-parse", "HEAD"), "GITHUB_REF_NAME": "main"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("RUNTIDE_", "WANDB_"))}
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", lines],  # as GitHub runs them
            env=inherited | job | self.variables | {"PATH": path},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )


def test_the_workflow_is_what_github_expects(workflow: dict) -> None:
    """A merge to main starts it, every step does something, and no text of others gets into a shell."""
    assert workflow[True] == {"push": {"branches": ["main"]}}, "YAML 1.1 reads `on` as a truth value"
    assert all(("run" in step) != ("uses" in step) for step in steps(workflow).values())
    secrets = [name for name, value in workflow["env"].items() if "secrets." in value]
    assert secrets == ["RUNTIDE_TOKEN", "RUNTIDE_CLICKHOUSE_URL"]
    assert not any("${{" in step.get("run", "") for step in steps(workflow).values())


def test_a_merge_is_evaluated_and_one_that_is_worse_is_refused(
    workflow: dict, tmp_path: Path, store, address: object
) -> None:
    """The run is in the spool with commit and branch; beside an earlier and better one in the store, the job fails."""
    url = address(store, f"ci_{os.getpid()}")  # type: ignore[operator]
    checkout = Checkout(tmp_path / "code", workflow, {"secrets.RUNTIDE_CLICKHOUSE_URL": url})
    evaluate, compare = (steps(workflow)[name]["run"] for name in ("Evaluate", "Compare with the best result before"))
    try:
        done = checkout.run(evaluate)
        assert done.returncode == 0 and done.stdout.startswith("accuracy 0.9"), done.stderr
        assert checkout.run("runtide sync .runtide").returncode == 0
        asked = "runtide sql --format json 'SELECT environment, state FROM runs'"
        (line,) = checkout.run(asked).stdout.splitlines()
        run = json.loads(line)
        environment = json.loads(run["environment"])
        assert run["state"] == "finished" and environment["git"]["dirty"] is False
        commit = checkout.git("rev-parse", "HEAD")
        assert environment["ci"] == {"service": "github", "commit": commit, "branch": "main"}
        first = checkout.run(compare)
        assert first.returncode == 0, first.stderr

        script = checkout.folder / "examples" / "ci" / "evaluate.py"
        script.write_text(script.read_text().replace('"epochs": 5', '"epochs": 0'))
        refused = checkout.run(evaluate)
        assert refused.returncode != 0 and "examples/ci/evaluate.py differs from commit" in refused.stderr
        checkout.commit("worse")
        assert checkout.run(evaluate).returncode == 0
        assert checkout.run("runtide sync .runtide").returncode == 0
        worse = checkout.run(compare)
        assert worse.returncode != 0 and "the accuracy has fallen" in worse.stderr
    finally:
        store.query(f"DROP DATABASE IF EXISTS ci_{os.getpid()}")
