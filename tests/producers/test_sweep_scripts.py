"""Scripts and files of the shapes that W&B's documentation, tutorials and examples have: `import wandb` finds runtide.

Keys, arguments and the order of calls are theirs; what is trained is as small as can be.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import runtide
from runtide._sweeps._public import open_sweep

DEADLINE = 120.0
STUB = Path(runtide.__file__).parent / "_wandb"
QUIET = {"RUNTIDE_SILENT": "true", "RUNTIDE_CONSOLE": "off", "PYTHONPATH": str(STUB)}

# The walkthrough: a run as a context, keywords for everything.
WALK = """
import wandb

def trial():
    with wandb.init(project="walk") as run:
        run.log({"cost": run.config.x * 2 + run.config.y})

space = {"x": {"max": 0.5, "min": 0.25}, "y": {"values": [2, 4, 8]}}
sweep = wandb.sweep(
    sweep={"method": "random", "metric": {"goal": "minimize", "name": "cost"}, "parameters": space}, project="walk"
)
wandb.agent(sweep, function=trial, count=4)
print(sweep)
"""

# Before runs were contexts: global names, defaults in init() that the sweep goes above, values set behind it, a team.
GLOBALS = """
import wandb

def trial(given=None):
    given = {"x": 9.0, "y": 9, "width": 3}
    wandb.init(project="walk", entity="team", config=given, magic=True)
    config = wandb.config
    assert config.width == 3 and config.x < 1
    config.rounds = 2
    wandb.config.parts = sorted(["b", "a"])
    for round in range(wandb.config.rounds):
        wandb.log({"round": round, "cost": config.x * 2 + config["y"]})
    kept = wandb.Artifact(wandb.util.make_artifact_name_safe(f"{wandb.run.name}/{wandb.run.id}"), type="model")
    kept.add_file("none")
    wandb.log_artifact(kept, aliases=["latest"])

config = {"name": "old", "method": "bayes"}
config["metric"] = {"name": "cost", "goal": "minimize"}
config["parameters"] = {"x": {"min": 0.25, "max": 0.5}, "y": {"values": [2, 4, 8]}}
sweep = wandb.sweep(config, project="walk", entity="team")
wandb.agent(sweep_id=sweep, function=trial, count=4)
print(sweep)
"""

# A notebook: the config is put together bit by bit, the metric is logged outside of the loop over batches.
NOTEBOOK = """
import wandb

wandb.login()
config = {"method": "random"}
config["metric"] = {"name": "cost", "goal": "minimize"}
space = {"y": {"values": [2, 4, 8]}, "how": {"values": ["up", "down"]}}
config["parameters"] = space
space.update({"rounds": {"value": 2}})
space.update({
    "x": {"distribution": "uniform", "min": 0, "max": 0.5},
    "size": {"distribution": "q_log_uniform_values", "q": 4, "min": 16, "max": 64},
})
sweep = wandb.sweep(config, project="walk")

def trial(config=None):
    with wandb.init(config=config):
        config = wandb.config
        assert config.size % 4 == 0 and type(config.size) is int
        for round in range(config.rounds):
            wandb.log({"cost": batches(config.x, config.y), "round": round})

def batches(x, y):
    for batch in range(3):
        wandb.log({"cost of a batch": float(batch)})
    return x * 2 + y

wandb.agent(sweep, trial, count=4)
print(sweep)
"""

# Parameters within parameters: the sweep's take the place of the defaults of the same name as a whole.
NESTED = """
import wandb

space = {
    "y": {"value": 2},
    "solver": {"parameters": {
        "x": {"values": [0.25, 0.5]}, "decay": {"parameters": {"rate": {"values": [1, 3]}, "from": {"value": 0}}},
    }},
}

def trial():
    with wandb.init(config={"solver": {"x": 9.0, "own": 1}, "width": 3}) as run:
        solver = run.config["solver"]
        assert run.config.width == 3 and "own" not in solver and solver["decay"]["from"] == 0
        run.log({"cost": solver["x"] * 2 + run.config["y"]})

sweep = wandb.sweep(sweep={"method": "grid", "metric": {"name": "cost"}, "parameters": space}, project="walk")
wandb.agent(sweep, function=trial)
print(sweep)
"""


def told(sweep: str, project: str) -> list[Any]:
    """Per trial its state, its point and the values of its metrics."""
    opened, _ = open_sweep(f"{project}/{sweep}")
    return [(trial.state.name, trial.user_attrs["claim"]["values"], trial.values) for trial in opened.trials()]


@pytest.mark.parametrize(
    ("source", "entity"),
    [(WALK, "default"), (GLOBALS, "team"), (NOTEBOOK, "default"), (NESTED, "default")],
    ids=["walk", "globals", "notebook", "nested"],
)
def test_a_function(source: str, entity: str, script: Callable[..., Any]) -> None:
    """Every trial is finished, with the value that the function logged; nothing is said of defaults that give way."""
    done = script(source, **QUIET)
    trials = told(done.stdout.strip(), f"{entity}/walk")
    assert [state for state, *_ in trials] == ["COMPLETE"] * 4
    for _, point, (value,) in trials:
        assert value == point.get("x", point.get("solver.x")) * 2 + point["y"]
    assert "the sweep has chosen" not in done.stderr
    if source == NESTED:
        assert len({json.dumps(point) for _, point, _ in trials}) == 4


# Every key that a file has, with numbers as people write them.
FILE = """
program: train.py
name: all of it
method: bayes
metric:
  goal: minimize
  name: cost
run_cap: 4
parameters:
  rate:
    distribution: log_uniform_values
    min: 1e-4
    max: !!float 1e-1
  size:
    distribution: q_log_uniform_values
    q: 8
    min: 16
    max: 256
  decay:
    values: [1e-5, 1e-6]
  part:
    values: [0.15, 0.2, 0.25, 0.3, 0.4]
  rounds:
    value: 9
  bias:
    value: true
early_terminate:
  type: hyperband
  s: 2
  eta: 3
  max_iter: 27
command:
  - ${env}
  - ${interpreter}
  - ${program}
  - ${args}
"""

PROGRAM = """
import argparse
import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.5)
parser.add_argument("--size", type=int, default=1)
parser.add_argument("--decay", type=float, default=1.0)
parser.add_argument("--part", type=float, default=0)
parser.add_argument("--rounds", type=int, default=1)
parser.add_argument("--bias", type=lambda text: text == "True", default=False)
args = parser.parse_args()
assert args.bias and args.rounds == 9
run = wandb.init(config=args)
assert run.config.size == args.size and args.size % 8 == 0 and run.config.decay == args.decay < 1e-4
for round in range(wandb.config.rounds):
    wandb.log({"round": round, "cost": wandb.config.part + 1 / (round + 1)})
wandb.finish()
"""


def cli(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runtide", *words], env={**os.environ, **QUIET}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process said, on both ways."""
    try:
        out, said = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 0, said
    return out.strip(), said


def begun(folder: Path, config: dict[str, Any] | str, program: str, *words: str) -> str:
    """The id of a sweep that was begun by command, from a file beside its program."""
    (folder / "train.py").write_text(program)
    text = config if isinstance(config, str) else yaml.safe_dump({"program": "train.py", **config}, sort_keys=False)
    (folder / "sweep.yaml").write_text(text)
    return ended(cli(folder, "sweep", "-p", "demo", *words, "sweep.yaml"))[0]


def ran(folder: Path, config: dict[str, Any] | str, program: str) -> list[Any]:
    """What came of a sweep that one agent ran."""
    sweep = begun(folder, config, program)
    ended(cli(folder, "agent", sweep))
    return told(sweep, "default/demo")


def test_a_file(tmp_path: Path) -> None:
    """`sweep` and `agent` as commands, twice at once: four runs, ended early or not."""
    sweep = begun(tmp_path, FILE, PROGRAM)
    for agent in [cli(tmp_path, "agent", f"default/demo/{sweep}") for _ in range(2)]:
        ended(agent)
    trials = told(sweep, "default/demo")
    assert len(trials) == 4
    assert {state for state, *_ in trials} <= {"COMPLETE", "PRUNED"}
    for state, point, values in trials:
        if state == "COMPLETE":
            assert values == [point["part"] + 1 / 9]


def test_options_of_the_commands(tmp_path: Path) -> None:
    """W&B's short ones, and those that go above the file."""
    (tmp_path / "other.py").write_text(S4_PROGRAM)
    config = {"method": "random", "run_cap": 1, "metric": {"name": "validation_accuracy", "goal": "maximize"}}
    config |= {"parameters": {"learning_rate": {"value": 1}, "dropout": {"value": 2}}}
    sweep = begun(tmp_path, config, "", "-e", "team", "--name", "shown", "--program", "other.py")
    opened, _ = open_sweep(f"team/demo/{sweep}")
    assert (opened.definition.name, opened.definition.program) == ("shown", "other.py")
    ended(cli(tmp_path, "agent", "-p", "demo", "-e", "team", "-f", "--count", "1", sweep))
    assert [values for *_, values in told(sweep, "team/demo")] == [[3.0]]
    asked = cli(tmp_path, "sweep", "-R", "one", "-R", "two", "sweep.yaml")
    assert "no stack is running" in asked.communicate(timeout=DEADLINE)[1], "the store is asked for earlier runs"


SWITCHES = """
import argparse
import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--how", default=None, type=str)
parser.add_argument("--one", default=False, type=lambda text: text.lower() == "true")
parser.add_argument("--two", default=True, type=lambda text: text.lower() == "true")
args = parser.parse_args()
run = wandb.init(config=args)
assert (args.one, args.two) == (run.config.one, run.config.two)
run.log(dict(metric=1.0))
"""


def test_switches_and_no_metric(tmp_path: Path) -> None:
    """A grid over both values of two switches, which reach the script as texts."""
    both = {"values": [False, True]}
    trials = ran(
        tmp_path, {"method": "grid", "parameters": {"how": {"value": "a"}, "one": both, "two": both}}, SWITCHES
    )
    assert [(state, point["one"], point["two"]) for state, point, _ in trials] == [
        ("COMPLETE", one, two) for one in (False, True) for two in (False, True)
    ]


WORDS = """
import sys
import wandb
with wandb.init() as run:
    wanted = ["--flag", "--rounds=9", f"--size={run.config.size}", "--bias", f"--half={run.config.part}-x"]
    assert sys.argv[1:] == wanted, sys.argv
    run.log({"cost": run.config.part})
"""


def test_words_of_ones_own_in_a_command(tmp_path: Path) -> None:
    """Between the macros, with a parameter by its name, and `--flag` alone for what is true."""
    config = {
        "method": "random", "run_cap": 1, "metric": {"name": "cost"},
        "parameters": {"rounds": {"value": 9}, "size": {"min": 1, "max": 5}, "bias": {"value": True},
                       "part": {"when": "rounds > 9", "value": 3}, "off": {"value": False}},
        "command": ["${env}", "${interpreter}", "${program}", "--flag", "${args_no_boolean_flags}", "--half=${part}-x"],
    }  # fmt: skip
    program = WORDS.replace("run.config.part}-x", "run.config.get('part', '')}-x").replace("run.config.part", "1.0")
    assert [(state, values) for state, _, values in ran(tmp_path, config, program)] == [("COMPLETE", [1.0])]


HYDRA = """
import sys
import wandb
values = dict(word.split("=") for word in sys.argv[1:])
with wandb.init(project="elsewhere", config={"solver": "none"}) as run:
    assert run.config["solver.config.rate"] == float(values["solver.config.rate"])
    assert run.config.solver == values["solver"] and run.project == "demo"
    run.log({"cost": run.config["solver.config.rate"]})
"""


def test_names_with_dots_and_no_hyphens(tmp_path: Path) -> None:
    """As Hydra takes them: one that goes into another, which is a parameter itself."""
    config = {
        "method": "bayes", "run_cap": 2, "metric": {"name": "cost", "goal": "minimize"},
        "parameters": {"solver.config.rate": {"min": 1e-5, "max": 0.1}, "solver": {"values": ["a", "b"]}},
        "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"],
    }  # fmt: skip
    for state, point, values in ran(tmp_path, config, HYDRA):
        assert (state, values) == ("COMPLETE", [point["solver.config.rate"]])


ITSELF = """
import yaml
import wandb
with open("./sweep.yaml") as file:
    config = yaml.load(file, Loader=yaml.FullLoader)
with wandb.init(config=config) as run:
    assert run.config["method"] == "random" and run.config["parameters"]["x"] == {"values": [1, 2]}
    run.log({"cost": run.config["x"] * 1.0})
"""


def test_a_program_that_reads_the_file_of_its_sweep(tmp_path: Path) -> None:
    """The whole file is its config, with the sweep's values beside it."""
    config = {"method": "random", "run_cap": 2, "metric": {"name": "cost"}, "parameters": {"x": {"values": [1, 2]}}}
    assert sorted(values for *_, values in ran(tmp_path, config, ITSELF)) == [[1.0], [2.0]]


FOLDS = """
import multiprocessing
import os
import wandb

def fold(asked, found):
    for name in os.environ:
        if name.startswith("WANDB_") and name not in ("WANDB_PROJECT", "WANDB_ENTITY"):
            del os.environ[name]
    group, kind, name, config = asked.get()
    run = wandb.init(group=group, job_type=kind, name=name, config=config)
    assert run.sweep_id is None
    run.log(dict(score=config["x"]))
    wandb.join()
    found.put((config["x"], run.path))

if __name__ == "__main__":
    ways = multiprocessing.get_context(METHOD)
    found, asked = ways.Queue(), [ways.Queue() for _ in range(2)]
    folds = [ways.Process(target=fold, args=(queue, found)) for queue in asked]
    for process in folds:
        process.start()
    whole = wandb.init()
    assert whole.get_sweep_url() is None and whole.get_project_url() is None
    whole.notes = f"{whole.get_project_url()}/groups/{whole.sweep_id}"
    whole.save()
    scores = []
    for number, queue in enumerate(asked):
        queue.put((whole.sweep_id, whole.name, f"{whole.name}-{number}", dict(whole.config)))
        score, path = found.get()
        assert path.startswith("default/demo/") and path != whole.path
        folds[number].join()
        scores.append(score)
    whole.log(dict(score=sum(scores)))
    wandb.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_folds_as_runs_of_their_own(method: str, tmp_path: Path, spooled: Any) -> None:
    """Processes that were begun before the trial's run, and take W&B's variables out of their environment first."""
    config = {"method": "random", "run_cap": 1, "metric": {"name": "score", "goal": "maximize"}}
    config |= {"parameters": {"x": {"distribution": "constant", "value": 3}}}
    sweep = begun(tmp_path, config, FOLDS.replace("METHOD", repr(method)))
    ended(cli(tmp_path, "agent", sweep))
    assert [(state, values) for state, _, values in told(sweep, "default/demo")] == [("COMPLETE", [6.0])]
    runs = {record["run_id"]: record for record in spooled.records("runs") if record["event"] == "start"}
    assert sorted(record["group"] for record in runs.values()) == ["", sweep, sweep]
    assert sorted(key for key, _, _ in spooled.points()) == ["score"] * 3


# What mpirun makes of it: the agent's child does not train, and hands signals on by ways of its own.
WRAPPED = """
import signal
import subprocess
import sys
inner = subprocess.Popen([sys.executable, "inner.py"])
signal.signal(signal.SIGTERM, lambda *_: inner.send_signal(signal.SIGINT))
sys.exit(1 if inner.wait() < 0 else 0)
"""
INNER = """
import threading
import wandb
run = wandb.init()
for _ in range(10 if run.config.x == 1 else 6000):
    run.log({"cost": run.config.x})
    threading.Event().wait(0.01)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_program_around_the_training(tmp_path: Path) -> None:
    """The run is the child's child's, and is stopped by way of the program between."""
    (tmp_path / "inner.py").write_text(INNER)
    config = {
        "method": "grid", "metric": {"name": "cost"}, "parameters": {"x": {"values": [1, 5]}},
        "early_terminate": {"type": "threshold", "upper": 3},
    }  # fmt: skip
    assert [state for state, *_ in ran(tmp_path, config, WRAPPED)] == ["COMPLETE", "PRUNED"]


PREEMPTED = """
import os
import signal
import sys
import wandb

def leave(number, frame):
    if wandb.run is not None:
        wandb.run.mark_preempting()
    sys.exit(128 + number)

signal.signal(signal.SIGUSR1, leave)
with wandb.init() as run:
    run.log({"cost": run.config.x})
    if not run.resumed:
        os.kill(os.getpid(), signal.SIGUSR1)
    run.log({"cost": run.config.x + run.step})
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_trial_that_was_preempted_is_begun_again(tmp_path: Path, spooled: Any) -> None:
    """Under its run's id, with its parameters: losing the machine is no failure of the training."""
    config = {
        "method": "random",
        "run_cap": 1,
        "metric": {"name": "cost"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
    }
    ((state, point, values),) = ran(tmp_path, config, PREEMPTED)
    assert (state, values) == ("COMPLETE", [point["x"] + 2])
    events = [(r["try"], r["event"], r["why"]) for r in spooled.records("sweeps") if r["event"] in ("lost", "told")]
    why = f"it was preempted (the command ended with exit code {128 + signal.SIGUSR1})"
    assert sorted(events) == [(0, "lost", why), (1, "told", "")]


MISNAMED = """
import wandb

def trial():
    with wandb.init() as run:
        run.log({"epoch/val_cost": 1.0, "validation": {"val_cost": 1.0}, "val_cost_2": 1.0})

space = {"x": {"min": 0.0, "max": 1.0}}
config = {"method": "bayes", "metric": {"name": "val_cost", "goal": "minimize"}, "parameters": space}
sweep = wandb.sweep(config, project="walk")
wandb.agent(sweep, function=trial, count=5)
print(sweep)
"""


def test_a_metric_by_another_name(script: Callable[..., Any]) -> None:
    """As a callback or a dictionary logs it: said, with the name to give; the sweep goes on, as training is whole."""
    done = script(MISNAMED, **QUIET)
    opened, _ = open_sweep(f"default/walk/{done.stdout.strip()}")
    outcomes = [trial.user_attrs["outcome"] for trial in opened.trials()]
    assert [outcome["state"] for outcome in outcomes] == ["failed"] * 5
    why = "metric 'val_cost' was never logged; metric.name could be 'epoch/val_cost' or 'validation.val_cost'"
    assert {outcome["why"] for outcome in outcomes} == {why}
    assert why in done.stderr


S4 = """
import sys
import wandb

sweep_config = {
    "method": sys.argv[1],
    "metric": {"name": "validation_accuracy", "goal": "maximize"},
    "parameters": {
        "optimizer": {"values": ["adam", "sgd"]},
        "learning_rate": {"distribution": "uniform", "min": 0.0001, "max": 0.1},
        "dropout": {"distribution": "uniform", "min": 0.1, "max": 0.5},
    },
}
if sys.argv[1] == "grid":
    sweep_config["parameters"]["learning_rate"] = {"values": [0.1, 0.01]}
    sweep_config["parameters"]["dropout"] = {"values": [0.1, 0.2]}

def train():
    with wandb.init() as run:
        config = wandb.config
        run.log({"validation_accuracy": config.learning_rate + config.dropout})

if len(sys.argv) > 2:
    wandb.agent(sys.argv[2], function=train, count=5)
else:
    sweep_id = wandb.sweep(sweep_config, project="hyperparam-sweeps")
    wandb.agent(sweep_id, function=train, count=3)
    print(sweep_id)
"""


@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_a_team_searches(method: str, tmp_path: Path) -> None:
    """One script begins the sweep, and two more processes join it: as many trials as they were told to run."""
    path = tmp_path / "search.py"
    path.write_text(S4)

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(path), method, *words], env={**os.environ, **QUIET}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    sweep = ended(start())[0]
    for process in [start(sweep), start(sweep)]:
        ended(process)
    trials = told(sweep, "default/hyperparam-sweeps")
    points = {json.dumps(point) for _, point, _ in trials}
    assert len(points) == len(trials) == (8 if method == "grid" else 13)
    for state, point, values in trials:
        assert (state, values) == ("COMPLETE", [point["learning_rate"] + point["dropout"]])


S4_PROGRAM = """
import wandb

with wandb.init() as run:
    config = wandb.config
    run.log({"validation_accuracy": config.learning_rate + config.dropout})
"""


@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_a_team_searches_from_a_file(method: str, tmp_path: Path) -> None:
    """The same with a program, and two agents that have nothing but the id."""
    rates: dict[str, Any] = {"distribution": "uniform", "min": 0.0001, "max": 0.1}
    config = {
        "method": method, "metric": {"name": "validation_accuracy", "goal": "maximize"},
        "parameters": {
            "optimizer": {"values": ["adam", "sgd"]},
            "learning_rate": {"values": [0.1, 0.01]} if method == "grid" else rates,
            "dropout": {"values": [0.1]} if method == "grid" else {**rates, "min": 0.1, "max": 0.5},
        },
    }  # fmt: skip
    sweep = begun(tmp_path, config, S4_PROGRAM)
    for agent in [cli(tmp_path, "agent", "--count", "2", f"default/demo/{sweep}") for _ in range(2)]:
        ended(agent)
    trials = told(sweep, "default/demo")
    assert len({json.dumps(point) for _, point, _ in trials}) == len(trials) == 4
    for state, point, values in trials:
        assert (state, values) == ("COMPLETE", [point["learning_rate"] + point["dropout"]])
