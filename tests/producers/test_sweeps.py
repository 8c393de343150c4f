"""Sweeps with agents in this process, and with commands."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runtide
import runtide as wandb
from runtide._sweeps import _study
from runtide._sweeps._macros import command
from runtide._sweeps._public import open_sweep
from runtide._trial import watches

DEADLINE = 60.0
LOSS = {"name": "loss", "goal": "minimize"}
X = {"x": {"min": 0.0, "max": 1.0}}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIDE_SILENT", "true")
    monkeypatch.setenv("RUNTIDE_CONSOLE", "off")
    monkeypatch.setenv("RUNTIDE_SWEEP_LEASE", "30")


def trials(sweep: str) -> list[Any]:
    opened, _ = open_sweep(sweep)
    return opened.trials()  # type: ignore[no-any-return]


def values(sweep: str) -> list[dict[str, Any]]:
    return [trial.user_attrs["claim"]["values"] for trial in trials(sweep)]


def outcomes(sweep: str) -> list[tuple[str, str]]:
    told = [trial.user_attrs["outcome"] for trial in trials(sweep)]
    return [(one["state"], one["why"]) for one in told]


def begin(**config: Any) -> str:
    return wandb.sweep({"method": "random", "parameters": X, **config}, project="p")


@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_a_script_for_wandb_runs_as_it_is(method: str, spooled: Any) -> None:
    """Five trials; each run has the sweep's parameters as config, and the decisions are records."""
    sweep_config = {
        "method": method,
        "metric": {"name": "validation_accuracy", "goal": "maximize"},
        "parameters": {
            "optimizer": {"values": ["adam", "sgd"]},
            "learning_rate": {"values": [0.1, 0.01, 0.001]}
            if method == "grid"
            else {"distribution": "uniform", "min": 0.0001, "max": 0.1},
        },
    }
    sweep_id = wandb.sweep(sweep_config, project="hyperparam-sweeps")
    runs: list[tuple[str, dict[str, Any]]] = []

    def train() -> None:
        with wandb.init() as run:
            runs.append((run.path, dict(run.config.items())))
            assert run.sweep_id == sweep_id
            run.log({"validation_accuracy": wandb.config.learning_rate + (wandb.config["optimizer"] == "adam")})

    wandb.agent(sweep_id, function=train, count=5)
    assert len(runs) == 5
    assert all(path.startswith("default/hyperparam-sweeps/") for path, _ in runs)
    assert [config for _, config in runs] == values(sweep_id)
    for trial in trials(sweep_id):
        config = trial.user_attrs["claim"]["values"]
        assert trial.values == [config["learning_rate"] + (config["optimizer"] == "adam")]
    records = sorted(spooled.records("sweeps"), key=lambda record: record["time"])
    assert [record["event"] for record in records] == ["created", *["asked", "told"] * 5]
    assert [record["run_id"] for record in records if record["event"] == "told"] == [path for path, _ in runs]
    described = {event["run_id"]: json.loads(event["config"]) for event in spooled.records("runs") if event["config"]}
    assert described == dict(runs)
    assert not any(name.startswith(("RUNTIDE_SWEEP_T", "WANDB_")) for name in os.environ)


def test_the_sweep_has_the_last_word_on_its_parameters(capfd: pytest.CaptureFixture[str]) -> None:
    """What init() or the script sets for the same name is ignored, which is said; the rest is taken."""
    seen: list[dict[str, Any]] = []

    def train() -> None:
        with wandb.init(config={"x": 99, "y": 1}, project="elsewhere", id="other") as run:
            run.config.x = 98
            run.config.update({"x": 97, "z": 2}, allow_val_change=True)
            run.config.setdefaults({"x": 96})
            seen.append(run.config.as_dict() | {"project": run.project})

    sweep = begin(parameters={"x": {"value": 3}})
    wandb.agent(sweep, train, count=1)
    assert seen == [{"x": 3, "y": 1, "z": 2, "project": "p"}]
    assert "config.x" in capfd.readouterr().err


def test_what_goes_wrong_is_an_outcome_and_the_sweep_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that raises, NaN, infinity, text, a metric that is never logged, no run at all."""
    monkeypatch.setenv("WANDB_AGENT_DISABLE_FLAPPING", "true")
    logged: list[Any] = [math.nan, math.inf, "text", None, 1.0]

    def train() -> None:
        if not logged:
            if len(trials(sweep)) == 7:
                return
            raise RuntimeError("broken")
        with wandb.init() as run:
            value = logged.pop(0)
            run.log({"other": 1.0} if value is None else {"loss": value})

    sweep = begin(metric=LOSS)
    wandb.agent(sweep, train, count=7)
    never = ("failed", "metric 'loss' was never logged")
    assert outcomes(sweep) == [
        ("failed", "metric 'loss' is nan"), ("failed", "metric 'loss' is inf"), never, never, ("finished", ""),
        ("failed", "RuntimeError: broken"), ("failed", "no run was begun and finished: call init() in the training"),
    ]  # fmt: skip
    assert [trial.state.name for trial in trials(sweep)] == [*["FAIL"] * 4, "COMPLETE", "FAIL", "FAIL"]


@pytest.mark.parametrize(
    ("environ", "ran"),
    [
        ({}, 3),
        ({"WANDB_AGENT_DISABLE_FLAPPING": "true"}, 9),
        ({"RUNTIDE_AGENT_DISABLE_FLAPPING": "1", "WANDB_AGENT_MAX_INITIAL_FAILURES": "4"}, 9),
    ],
)
def test_an_agent_whose_runs_all_fail_gives_up(
    environ: dict[str, str], ran: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three failures within its first minute, unless that is switched off."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def train() -> None:
        raise ValueError("no")

    sweep = begin()
    wandb.agent(sweep, train, count=9)
    assert len(trials(sweep)) == ran
    again = begin()
    wandb.agent(again, train, count=9, max_consecutive_failed_runs=2)
    assert len(trials(again)) == 2


def test_a_trial_knows_the_page_of_its_sweep(home: Path) -> None:
    """Where a dashboard runs."""
    pages: list[str | None] = []

    def train() -> None:
        with wandb.init() as run:
            pages.append(run.sweep_url)

    sweep = begin()
    (home / "stack.json").write_text(json.dumps({"dashboard_url": "http://127.0.0.1:1/"}))
    wandb.agent(sweep, train, count=1)
    assert pages == [f"http://127.0.0.1:1/sweep?s=default/p/{sweep}"]


def test_runs_that_diverge_are_no_reason_to_give_up() -> None:
    """The training is whole: only its metric cannot be used."""

    def train() -> None:
        with wandb.init() as run:
            run.log({"loss": math.nan})

    sweep = begin(metric=LOSS)
    wandb.agent(sweep, train, count=6, max_consecutive_failed_runs=2)
    assert outcomes(sweep) == [("failed", "metric 'loss' is nan")] * 6


def test_a_preempted_function_is_begun_again() -> None:
    """What it raised is no failure then; without the word it is one."""
    tries: list[str] = []

    def train() -> None:
        with wandb.init() as run:
            tries.append(run.id)
            run.log({"loss": 1.0})
            if len(tries) < 3:
                if len(tries) == 1:
                    run.mark_preempting()
                raise SystemExit(143)

    sweep = begin(metric=LOSS)
    wandb.agent(sweep, train, count=3)
    assert tries[0] == tries[1] != tries[2]
    assert outcomes(sweep) == [("failed", "it left with 143"), ("finished", "")]


def test_a_tensor_is_compared_as_it_was_when_it_was_logged() -> None:
    """Training goes on with it, in place, before anybody looks."""

    class Tensor:
        def __init__(self, value: float) -> None:
            self.value = value

        def detach(self) -> "Tensor":
            return self

        def clone(self) -> "Tensor":
            return Tensor(self.value)

        def __float__(self) -> float:
            return self.value

        def item(self) -> float:
            return self.value

    def train() -> None:
        with wandb.init() as run:
            total = Tensor(1.0)
            run.log({"loss": total})
            total.value = 2.0
            values.extend(watches[run.id].values())

    values: list[float] = []
    sweep = begin(metric=LOSS, early_terminate={"type": "threshold", "upper": 5})
    wandb.agent(sweep, train, count=1)
    assert values == [1.0]


def test_a_failed_trial_is_tried_again_when_asked_for(spooled: Any) -> None:
    """Under its run's id, with its parameters; each try is an attempt of the run."""
    tries: list[tuple[str, float, int]] = []

    def train() -> None:
        with wandb.init() as run:
            tries.append((run.id, run.config.x, run.step))
            run.log({"loss": 1.0})
            if len(tries) < 3:
                raise ValueError("again")

    sweep = begin(metric=LOSS, retries=2, run_cap=1)
    wandb.agent(sweep, train)
    assert len({(run, x) for run, x, _ in tries}) == 1
    assert [step for *_, step in tries] == [0, 1, 2], "a run that is tried again goes on"
    assert outcomes(sweep) == [("finished", "")]
    assert open_sweep(sweep)[0].state == "finished"
    told = [(r["try"], r["state"]) for r in spooled.records("sweeps") if r["event"] == "told"]
    assert told == [(0, "failed"), (1, "failed"), (2, "finished")]


def test_an_interrupted_trial_is_left_to_the_next_agent() -> None:
    """Ctrl-C is no failure of the training."""
    seen: list[tuple[str, float]] = []

    def train() -> None:
        with wandb.init() as run:
            seen.append((run.id, run.config.x))
            if len(seen) == 1:
                raise KeyboardInterrupt
            run.log({"loss": 1.0})

    sweep = begin(metric=LOSS, run_cap=1)
    with pytest.raises(KeyboardInterrupt):
        wandb.agent(sweep, train)
    wandb.agent(sweep, train)
    assert seen[0] == seen[1]
    assert outcomes(sweep) == [("finished", "")]


def test_no_point_is_run_twice_while_another_is_left() -> None:
    """Random and bayes over a finite space run every point; then, and not before, they begin anew."""
    for method in ("random", "bayes"):
        space = {"a": {"min": 1, "max": 3}, "b": {"values": ["x", "y"]}}
        sweep = begin(method=method, metric=LOSS, parameters=space, constraints=["not (a == 2 and b == 'x')"])

        def train() -> None:
            with wandb.init() as run:
                run.log({"loss": run.config.a})

        wandb.agent(sweep, train, count=5)
        assert len({tuple(point.values()) for point in values(sweep)}) == 5
        wandb.agent(sweep, train, count=2)
        assert len(trials(sweep)) == 7


@pytest.mark.parametrize(
    "more", [{"metric": LOSS, "parameters": {"x": {"value": 1}}}, {"metrics": [LOSS, {"name": "acc"}]}]
)
def test_bayes_where_there_is_no_process(more: dict[str, Any]) -> None:
    """Nothing to choose, or several metrics: Optuna's sampler does."""
    opened, _ = open_sweep(begin(method="bayes", **more))
    for _ in range(12):
        task = opened.ask()
        assert task is not None
        assert opened.tell(task, _study.Outcome("finished", {"loss": task.values["x"], "acc": 1.0}))


@pytest.mark.parametrize("method", ["random", "bayes", "tpe", "cmaes", "nsgaii", "qmc"])
def test_conditions_and_constraints_hold_for_every_method(method: str) -> None:
    """Of 25 trials none breaks a rule, and what does not count is not in the config."""
    sweep = begin(
        method=method, metric=LOSS, constraints=["x + y < 1.2"],
        parameters={
            "x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}, "o": {"values": ["a", "b"]},
            "m": {"distribution": "log_uniform_values", "min": 0.01, "max": 1.0, "when": "o == 'a'"},
        },
    )  # fmt: skip
    opened, _ = open_sweep(sweep)
    for _ in range(25):
        task = opened.ask()
        assert task is not None
        assert task.config["x"] + task.config["y"] < 1.2
        assert ("m" in task.config) == (task.config["o"] == "a")
        assert opened.tell(task, _study.Outcome("finished", {"loss": task.config["x"]}))


def test_several_objectives() -> None:
    """The storage has them all, each with its goal."""
    sweep = begin(method="nsgaii", metrics=[LOSS, {"name": "acc", "goal": "maximize"}])

    def train() -> None:
        with wandb.init() as run:
            run.log({"loss": run.config.x, "acc": 1 - run.config.x})

    wandb.agent(sweep, train, count=3)
    assert [trial.values for trial in trials(sweep)] == [[point["x"], 1 - point["x"]] for point in values(sweep)]


@pytest.mark.parametrize(("summary", "expected"), [("last", 2.0), ("best", 1.0), ("max", 3.0), ("mean", 2.0)])
def test_which_value_of_the_metric_counts(summary: str, expected: float) -> None:
    """The last one, unless metric.summary says otherwise."""

    def train() -> None:
        with wandb.init() as run:
            for value in (3.0, 1.0, 2.0):
                run.log({"loss": value})

    sweep = begin(metric={**LOSS, "summary": summary})
    wandb.agent(sweep, train, count=1)
    assert trials(sweep)[0].values == [expected]


def test_the_sweep_ends_at_its_target() -> None:
    """And at run_cap."""

    def train() -> None:
        with wandb.init() as run:
            run.log({"loss": run.config.x})

    sweep = begin(metric={**LOSS, "target": 2.0})
    wandb.agent(sweep, train)
    assert len(trials(sweep)) == 1
    capped = begin(run_cap=4)
    wandb.agent(capped, train, count=3)
    wandb.agent(capped, train)
    assert len(trials(capped)) == 4
    assert open_sweep(capped)[0].state == "finished"


def test_hyperband_ends_a_bad_run_at_its_next_call_of_log(spooled: Any) -> None:
    """The good one goes to its end; what was ended is stopped, not failed, and has its value."""
    begun: list[str] = []

    def train() -> None:
        with wandb.init() as run:
            bad = len(begun) > 0
            begun.append(run.id)
            for _ in range(4):
                run.log({"loss": 10.0 if bad else 1.0})
            deadline = time.monotonic() + DEADLINE
            # With eight values it would be compared with those that came as far, of which there is none.
            while bad and not watches[run.id].stopping and time.monotonic() < deadline:
                threading.Event().wait(0.01)
            if bad:
                run.log({"loss": 10.0})

    sweep = begin(metric=LOSS, run_cap=3, early_terminate={"type": "hyperband", "min_iter": 2, "eta": 4})
    wandb.agent(sweep, train)
    assert [state for state, _ in outcomes(sweep)] == ["finished", "stopped", "stopped"]
    assert [trial.state.name for trial in trials(sweep)] == ["COMPLETE", "PRUNED", "PRUNED"]
    ends = [event for event in spooled.records("runs") if event["event"] == "finish"]
    assert [end["state"] for end in ends] == ["finished"] * 3


def test_a_pruner_of_optuna_ends_runs_by_name() -> None:
    """Values beyond a threshold end a run."""
    counts: list[int] = []

    def train() -> None:
        counts.append(0)
        with wandb.init() as run:
            deadline = time.monotonic() + DEADLINE
            while time.monotonic() < deadline:
                run.log({"loss": 10.0})
                counts[-1] += 1
                threading.Event().wait(0.001)

    sweep = begin(metric=LOSS, run_cap=1, early_terminate={"type": "threshold", "upper": 5})
    wandb.agent(sweep, train)
    assert outcomes(sweep) == [("stopped", "early_terminate ended it")]


def test_cancel_stops_what_runs() -> None:
    """And the agent ends."""

    def train() -> None:
        with wandb.init() as run:
            open_sweep(sweep)[0].set_state("cancelled")
            deadline = time.monotonic() + DEADLINE
            while time.monotonic() < deadline:
                run.log({"loss": 1.0})
                threading.Event().wait(0.001)

    sweep = begin(metric=LOSS)
    wandb.agent(sweep, train)
    assert outcomes(sweep) == [("stopped", "the sweep was cancelled")]


def test_a_try_that_was_given_away_cannot_be_told() -> None:
    """The silent agent is refused, the other one's word counts; the run and the parameters are the same."""
    sweep = begin(metric=LOSS, run_cap=1)
    slow, quick = open_sweep(sweep)[0], open_sweep(sweep)[0]
    slow.lease = -1.0
    first = slow.ask()
    assert first is not None
    second = quick.ask()
    assert second is not None
    assert (second.run, second.values, second.attempt) == (first.run, first.values, 1)
    assert not slow.renew(first)
    assert not slow.tell(first, _study.Outcome("finished", {"loss": 1.0}))
    assert quick.tell(second, _study.Outcome("finished", {"loss": 2.0}))
    assert trials(sweep)[0].values == [2.0]
    assert quick.ask() is None
    assert quick.over()


def test_a_trial_that_takes_its_agent_down_is_given_up() -> None:
    """It is begun again ten times, and then the sweep goes on without it."""
    sweep = begin(metric=LOSS, run_cap=1)
    opened = open_sweep(sweep)[0]
    opened.lease = -1.0
    found = [opened.ask() for _ in range(11)]
    assert len({task.run for task in found if task}) == 1
    assert [task.attempt for task in found if task] == [*range(11)]
    assert opened.ask() is None
    assert opened.over()


def test_a_torn_journal_is_mended(home: Path) -> None:
    """A line that was not written to its end, as on a full disk, is cut off by whoever writes next."""
    sweep = begin()
    (journal,) = (home / "sweeps").glob("*/*/*/journal.log")
    with journal.open("ab") as file:
        file.write(b'{"op_code":')
    wandb.agent(sweep, lambda: None, count=2)
    assert len(trials(sweep)) == 2


def test_training_finds_its_random_numbers_as_they_were() -> None:
    """A sweep has generators of its own."""
    import random

    import numpy as np

    def train() -> None:
        with wandb.init() as run:
            run.log({"loss": run.config.x})

    def follow() -> tuple[float, float]:
        random.seed(1)
        np.random.seed(1)
        wandb.agent(begin(method="bayes", metric=LOSS), train, count=12)
        return random.random(), float(np.random.rand())

    assert follow() == follow()
    first, second = begin(), begin()
    for sweep in (first, second):
        random.seed(1)
        wandb.agent(sweep, train, count=1)
    assert values(first) != values(second)


@pytest.mark.parametrize("sweep", ["nothing1", "a/b/c1", "b/c1"])
def test_a_sweep_that_is_not_there(sweep: str) -> None:
    """The error says what to look at."""
    with pytest.raises(runtide.UsageError, match="RUNTIDE_SWEEP_STORAGE"):
        wandb.agent(sweep, lambda: None)


def test_the_import_is_not_slower(script: Callable[..., Any]) -> None:
    """Optuna and what belongs to sweeps come only when a sweep does."""
    done = script(
        "import sys, runtide\n"
        "runtide.init(project='p', settings={'silent': True}).finish()\n"
        "print([m for m in sys.modules if 'optuna' in m or '_sweeps' in m or m == 'runtide._trial'])\n"
    )
    assert done.stdout == "[]\n"


CONFIG = {"lr": 0.1, "deep": {"n": 2}, "on": True, "off": False, "list": [1, 2]}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (["${env}", "${interpreter}", "${program}"], ["/usr/bin/env", sys.executable, "t.py"]),
        (["${args}"], ["--lr=0.1", "--deep.n=2", "--on=True", "--off=False", "--list=[1, 2]"]),
        (["${args_no_equals}"], ["--lr", "0.1", "--deep.n", "2", "--on", "True", "--off", "False", "--list", "[1, 2]"]),
        (["${args_no_hyphens}"], ["lr=0.1", "deep.n=2", "on=True", "off=False", "list=[1, 2]"]),
        (["${args_no_boolean_flags}"], ["--lr=0.1", "--deep.n=2", "--on", "--list=[1, 2]"]),
        (["${args_append_hydra}"], ["+lr=0.1", "+deep.n=2", "+on=True", "+off=False", "+list=[1, 2]"]),
        (["${args_override_hydra}"], ["++lr=0.1", "++deep.n=2", "++on=True", "++off=False", "++list=[1, 2]"]),
        (["${args_json}"], [json.dumps(CONFIG)]),
        (["--half=${lr}", "${deep.n}", "${list}-x"], ["--half=0.1", "2", "[1, 2]-x"]),
        (["--x=${envvar:SOME_NAME}", "${envvar:NO_SUCH}"], ["--x=v", ""]),
        (["sh", "-c", "run ${args_no_hyphens}"], ["sh", "-c", "run lr=0.1 deep.n=2 on=True off=False list=[1, 2]"]),
    ],
)
def test_macros(template: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A macro for arguments becomes as many of them as there are; one inside a text stays one."""
    monkeypatch.setenv("SOME_NAME", "v")
    assert command(template, "t.py", CONFIG, tmp_path / "f") == expected
    assert command(["${args_json_file}"], "", CONFIG, tmp_path / "f") == [str(tmp_path / "f")]
    assert json.loads((tmp_path / "f").read_text()) == CONFIG
    with pytest.raises(runtide.UsageError):
        command(["${program}"], "", CONFIG, tmp_path / "f")


TRAIN = """
import os, sys, time
import runtide as wandb
with wandb.init() as run:
    assert run.sweep_id == os.environ["WANDB_SWEEP_ID"] and run.id == os.environ["WANDB_RUN_ID"]
    assert f"--x={run.config['x']}" in sys.argv
    assert str(run.config["x"]) in open(os.environ["WANDB_SWEEP_PARAM_PATH"]).read()
    mode = os.environ.get("MODE")
    if mode == "fail":
        sys.exit(3)
    deadline = time.monotonic() + 60
    while True:
        run.log({"loss": run.config["x"]})
        if mode != "endless" or time.monotonic() > deadline:
            break
        time.sleep(0.01)
"""


def cli(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtide", *words], env={**os.environ, **environ}, capture_output=True, text=True,
        timeout=DEADLINE,
    )  # fmt: skip


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"program: {tmp_path / 'train.py'}\nmethod: random\nproject: cmd\nrun_cap: 2\nmetric: {{name: loss}}\n"
        "parameters:\n  x: {min: 0.5, max: 1e0}\nearly_terminate: {type: threshold, upper: 0.1}\n"
    )
    return path


def test_commands_from_a_file(sweep_file: Path) -> None:
    """`runtide sweep` prints the id, `runtide agent` starts the command; an objective comes back from the process."""
    path = sweep_file
    path.write_text(path.read_text().replace("early_terminate", "#"))
    made = cli("sweep", str(path))
    assert made.returncode == 0, made.stderr
    sweep = made.stdout.strip()
    done = cli("agent", sweep, "--count", "1")
    assert done.returncode == 0, done.stderr
    assert cli("agent", sweep, MODE="fail").returncode == 0
    assert outcomes(sweep) == [("finished", ""), ("failed", "the command ended with exit code 3")]
    assert trials(sweep)[0].values == [values(sweep)[0]["x"]]
    assert open_sweep(sweep)[0].state == "finished"


def test_a_command_is_stopped_early(sweep_file: Path) -> None:
    """By what its run logs."""
    sweep = cli("sweep", str(sweep_file)).stdout.strip()
    done = cli("agent", sweep, "--count", "1", MODE="endless")
    assert done.returncode == 0, done.stderr
    assert outcomes(sweep) == [("stopped", "early_terminate ended it")]


def test_a_command_without_its_agent_ends_at_its_next_call_of_log(sweep_file: Path, tmp_path: Path) -> None:
    """Else two processes would log to one run, once another agent goes on with it."""
    sweep_file.write_text(sweep_file.read_text().replace("early_terminate", "#"))
    sweep = cli("sweep", str(sweep_file)).stdout.strip()
    agent = subprocess.Popen(
        [sys.executable, "-m", "runtide", "agent", sweep], env={**os.environ, "MODE": "endless"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    import psutil

    deadline = time.monotonic() + DEADLINE
    children: list[psutil.Process] = []
    while not children or not list((Path(os.environ["RUNTIDE_DIR"]) / "spool").glob("*/metrics-*")):
        assert time.monotonic() < deadline
        children = psutil.Process(agent.pid).children()
        threading.Event().wait(0.02)
    agent.kill()
    agent.wait()
    gone, left = psutil.wait_procs(children, DEADLINE / 2)
    for process in left:
        process.send_signal(signal.SIGKILL)
    assert not left
    assert gone


@pytest.mark.parametrize(("act", "state"), [("pause", "paused"), ("stop", "stopped"), ("cancel", "cancelled")])
def test_states_by_command(act: str, state: str, spooled: Any) -> None:
    """Each is a record; --resume goes on."""
    sweep = begin()
    assert cli("sweep", f"--{act}", f"default/p/{sweep}").returncode == 0
    assert open_sweep(sweep)[0].state == state
    assert open_sweep(sweep)[0].ask() is None
    assert cli("sweep", "--resume", sweep).returncode == 0
    assert open_sweep(sweep)[0].ask() is not None
    states = [(r["time"], r["state"]) for r in spooled.records("sweeps") if r["event"] in ("created", "state")]
    assert [found for _, found in sorted(states)] == ["running", state, "running"]


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "bad.yaml").write_text("method: random\nparameters: {x: {min: 2, max: 1}}\n")
    for name, said in (("bad.yaml", "min=2 is not below max=1"), ("none.yaml", "cannot be read")):
        done = cli("sweep", str(tmp_path / name))
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def train_once() -> None:
    with wandb.init() as run:
        run.log({"loss": run.config.x})


@pytest.mark.parametrize("place", ["sqlite", "folder"])
def test_agents_meet_where_they_are_told_to(
    place: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a database, or in a folder that two machines share; the second machine has nothing of its own."""
    meeting = {"sqlite": f"sqlite:///{tmp_path / 'sweeps.db'}", "folder": str(tmp_path / "shared")}[place]
    monkeypatch.setenv("RUNTIDE_SWEEP_STORAGE", meeting)
    sweep = begin(metric=LOSS, method="bayes", run_cap=4, parameters={"x": {"values": [1, 2, 3, 4]}})
    wandb.agent(f"default/p/{sweep}", train_once, count=2)
    monkeypatch.setenv("RUNTIDE_DIR", str(tmp_path / "other"))
    wandb.agent(f"default/p/{sweep}", train_once)
    opened, _ = open_sweep(f"default/p/{sweep}")
    assert sorted(trial.values[0] for trial in opened.trials()) == [1, 2, 3, 4]
    assert opened.state == "finished"


def test_a_sweep_without_records(monkeypatch: pytest.MonkeyPatch, spooled: Any) -> None:
    """With RUNTIDE_MODE=disabled the search goes on as ever, and nothing leaves the process."""
    monkeypatch.setenv("RUNTIDE_MODE", "disabled")
    sweep = begin(metric=LOSS)
    wandb.agent(sweep, train_once, count=2)
    assert [trial.values for trial in trials(sweep)] == [[point["x"]] for point in values(sweep)]
    assert spooled.writers() == []


def test_a_run_that_was_open_is_no_trial() -> None:
    """An agent ends it before the first trial; a run that the script begins after the sweep is a run as ever."""
    before = wandb.init(project="p")
    wandb.agent(begin(metric=LOSS), train_once, count=1)
    assert not before._open
    with wandb.init(project="p") as after:
        assert after.sweep_id is None
        after.config.x = 3
        after.config.update({"x": 4}, allow_val_change=True)
        assert after.config.x == 4


def test_processes_of_a_trial_belong_to_its_run(script: Callable[..., Any]) -> None:
    """A process that the function starts finds the trial as well: the same run, the same parameters."""
    done = script(
        "import subprocess, sys\n"
        "import runtide as wandb\n"
        "def train():\n"
        "    code = 'import runtide; r = runtide.init(); print(r.id, r.config.x, r.sweep_id)'\n"
        "    child = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout\n"
        "    with wandb.init() as run:\n"
        "        run.log({'loss': 1.0})\n"
        "        assert child.split() == [run.id, '7', run.sweep_id], child\n"
        "sweep = wandb.sweep({'method': 'grid', 'metric': {'name': 'loss'}, 'parameters': {'x': {'value': 7}}})\n"
        "wandb.agent(sweep, train)\n"
        "from runtide._sweeps._public import open_sweep\n"
        "print([t.state.name for t in open_sweep(sweep)[0].trials()])\n"
    )
    assert done.stdout == "['COMPLETE']\n", done.stderr


def begin_unchecked(opened: Any, point: Any, lease: float) -> int:
    """What an agent leaves that is killed between writing a trial and looking whether it was the first."""
    opened.lease = lease
    trial_id, _ = opened._begin_at(point)
    return int(trial_id)


def test_what_an_agent_had_told_counts_though_it_died_in_the_midst_of_it(spooled: Any) -> None:
    """The outcome is written before the state; whoever asks next completes it, and the trial is not run again."""
    sweep = begin(metric=LOSS, run_cap=1)
    dying, next_one = open_sweep(sweep)[0], open_sweep(sweep)[0]
    dying.lease = -1.0
    task = dying.ask()
    assert task is not None
    told = {"state": "finished", "objectives": {"loss": 0.5}, "why": ""}
    dying._storage.set_trial_user_attr(task.trial_id, "outcome", told)
    assert next_one.ask() is None
    assert next_one.over()
    assert [(trial.state.name, trial.values) for trial in trials(sweep)] == [("COMPLETE", [0.5])]
    (record,) = [record for record in spooled.records("sweeps") if record["event"] == "told"]
    assert (record["state"], record["objectives"]) == ("finished", {"loss": 0.5})


@pytest.mark.parametrize("alive", [True, False])
def test_of_two_that_began_the_same_point_the_first_counts(alive: bool) -> None:
    """Also when the second one died before it could look: its trial is nobody's then."""
    sweep = begin(method="grid", metric=LOSS, parameters={"x": {"values": [1, 2, 3]}})
    agents = [open_sweep(sweep)[0] for _ in range(3)]
    point = next(agents[0].definition.space.points())
    begin_unchecked(agents[0], point, -1.0)
    begin_unchecked(agents[1], point, 30.0 if alive else -1.0)
    done = []
    while task := agents[2].ask():
        done.append((task.values["x"], task.attempt))
        assert agents[2].tell(task, _study.Outcome("finished", {"loss": 1.0}))
    assert sorted(done) == [(1, 1), (2, 0), (3, 0)]
    assert agents[2].over() is not alive, "one that may still be alive is waited for"


def test_no_more_trials_than_run_cap_though_several_began_at_once() -> None:
    """Those beyond it are nobody's; so is what a sampler left without a claim."""
    sweep = begin(method="bayes", metric=LOSS, run_cap=2)
    agents = [open_sweep(sweep)[0] for _ in range(2)]
    for _ in range(4):
        point = agents[0].definition.space.choose(lambda _, distribution: distribution.draw(0.3))
        begin_unchecked(agents[0], point, -1.0)
    found = []
    while task := agents[1].ask():
        found.append(task.run)
        assert agents[1].tell(task, _study.Outcome("finished", {"loss": 1.0}))
    assert len(set(found)) == len(found) == 2
    assert agents[1].over()
    assert len(trials(sweep)) == 2


def test_a_sampler_that_was_killed_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trial has no claim yet; after a lease it is forgotten."""
    monkeypatch.setenv("RUNTIDE_SWEEP_LEASE", "0.5")
    sweep = begin(method="bayes", metric=LOSS, run_cap=1)
    dying, next_one = open_sweep(sweep)[0], open_sweep(sweep)[0]
    dying._choice.sample()
    deadline = time.monotonic() + DEADLINE
    while (task := next_one.ask()) is None:
        assert time.monotonic() < deadline
        assert not next_one.over()
        threading.Event().wait(0.02)
    assert next_one.tell(task, _study.Outcome("finished", {"loss": 1.0}))
    assert next_one.over()
    assert len(trials(sweep)) == 1


def test_a_storage_that_is_away_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a trial came to is not lost with it; one that stays away is an error that says so."""
    monkeypatch.setenv("RUNTIDE_SWEEP_LEASE", "1")
    broken = {"ask": 2, "tell": 2}

    def break_down(name: str) -> None:
        whole = getattr(_study.Sweep, name)

        def partly(self: _study.Sweep, *arguments: Any) -> Any:
            if broken[name]:
                broken[name] -= 1
                raise ConnectionError("away")
            return whole(self, *arguments)

        monkeypatch.setattr(_study.Sweep, name, partly)

    for name in broken:
        break_down(name)
    sweep = begin(metric=LOSS)
    wandb.agent(sweep, train_once, count=1)
    assert [trial.state.name for trial in trials(sweep)] == ["COMPLETE"]
    broken["ask"] = 10**9
    with pytest.raises(runtide.Error, match="does not answer: away"):
        wandb.agent(sweep, train_once, count=1)


def test_ctrl_c_at_a_command(sweep_file: Path) -> None:
    """One line and no traceback; the command is ended, and its trial is left to the next agent."""
    sweep_file.write_text(sweep_file.read_text().replace("early_terminate", "#"))
    sweep = cli("sweep", str(sweep_file)).stdout.strip()
    agent = subprocess.Popen(
        [sys.executable, "-m", "runtide", "agent", sweep], env={**os.environ, "MODE": "endless"},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        # As at a terminal: what runs in the background of a script ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + DEADLINE
    while not list((Path(os.environ["RUNTIDE_DIR"]) / "spool").glob("*/metrics-*")):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    agent.send_signal(signal.SIGINT)
    _, said = agent.communicate(timeout=DEADLINE)
    assert agent.returncode == 130, said
    assert "Traceback" not in said
    opened, _ = open_sweep(sweep)
    task = opened.ask()
    assert task is not None
    assert task.attempt == 1


@pytest.mark.parametrize(("impute", "expected"), [("worst", None), ("best", 1.0), ("latest", 2.0)])
def test_what_a_failed_run_is_taken_to_have_come_to(impute: str, expected: float | None) -> None:
    """The agent tells what bayes takes it for; its objective is not known all the same, and infinity is no value."""
    sweep = begin(method="bayes", metric={**LOSS, "impute": impute})

    def train() -> None:
        with wandb.init() as run:
            for value in (3.0, 1.0, 2.0, math.inf):
                run.log({"loss": value})
            raise RuntimeError("broken")

    wandb.agent(sweep, train, count=1)
    (trial,) = trials(sweep)
    assert trial.user_attrs["outcome"].get("imputed") == expected
    assert (trial.state.name, trial.values) == ("FAIL", None)


@pytest.mark.parametrize(("given", "said"), [(("a/b/c",), "agent('a/b/c', function)"), ((), "sweep(config) first")])
def test_a_controller_is_not_needed(given: tuple[str, ...], said: str) -> None:
    """The error says what to call in its place."""
    with pytest.raises(runtide.UsageError) as caught:
        wandb.controller(*given)  # type: ignore[attr-defined]
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("method", "package", "said"),
    [
        ("gp", "torch", "method='gp' needs torch, which cannot be imported"),
        ("bayes", "sklearn", "pip install 'runtide[sweeps]'"),
        ("random", "grpc", "'grpc://localhost:1' cannot be opened"),
    ],
)
def test_what_is_not_installed_is_asked_for_at_once(
    method: str, package: str, said: str, script: Callable[..., Any]
) -> None:
    """Not after the trials at random, for which Optuna needs none of it, and not as a storage that does not answer."""
    environment = {"RUNTIDE_SWEEP_STORAGE": "grpc://localhost:1"} if package == "grpc" else {}
    done = script(
        f"import sys\nsys.modules[{package!r}] = None\n"
        "import runtide\n"
        f"config = {{'method': {method!r}, 'metric': {{'name': 'loss'}}}}\n"
        "config['parameters'] = {'x': {'min': 0.0, 'max': 1.0}}\n"
        "try:\n    runtide.agent(runtide.sweep(config), lambda: None, count=1)\n"
        "except runtide.Error as error:\n    print(error)\n",
        **environment,
    )
    assert said in done.stdout, done.stdout
    assert package in done.stdout
