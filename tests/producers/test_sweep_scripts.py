"""The sweeps of W&B's own documentation and tutorials, as they are: `import wandb` finds runtide."""

import json
import os
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

# https://docs.wandb.ai/guides/sweeps
QUICKSTART = """
import wandb

def objective(config):
    score = config.x**3 + config.y
    return score

def main():
    with wandb.init(project="my-first-sweep") as run:
        score = objective(run.config)
        run.log({"score": score})

sweep_configuration = {
    "method": "random",
    "metric": {"goal": "minimize", "name": "score"},
    "parameters": {
        "x": {"max": 0.1, "min": 0.01},
        "y": {"values": [1, 3, 7]},
    },
}
sweep_id = wandb.sweep(sweep=sweep_configuration, project="my-first-sweep")
wandb.agent(sweep_id, function=main, count=10)
print(sweep_id)
"""

# The same before runs were context managers, with the global names.
OLD = """
import wandb

def main():
    wandb.init(project="my-first-sweep")
    score = wandb.config.x**3 + wandb.config.y
    wandb.log({"score": score})

sweep_configuration = {
    "method": "bayes",
    "name": "sweep",
    "metric": {"goal": "minimize", "name": "score"},
    "parameters": {"x": {"max": 0.1, "min": 0.01}, "y": {"values": [1, 3, 7]}},
}
sweep_id = wandb.sweep(sweep=sweep_configuration, project="my-first-sweep")
wandb.agent(sweep_id, function=main, count=10)
print(sweep_id)
"""

# Organizing hyperparameter sweeps in PyTorch with W&B; the network is left out.
TUTORIAL = """
import math
import pprint
import wandb

wandb.login()
sweep_config = {'method': 'random'}
metric = {'name': 'loss', 'goal': 'minimize'}
sweep_config['metric'] = metric
parameters_dict = {
    'optimizer': {'values': ['adam', 'sgd']},
    'fc_layer_size': {'values': [128, 256, 512]},
    'dropout': {'values': [0.3, 0.4, 0.5]},
}
sweep_config['parameters'] = parameters_dict
parameters_dict.update({'epochs': {'value': 2}})
parameters_dict.update({
    'learning_rate': {'distribution': 'uniform', 'min': 0, 'max': 0.1},
    'batch_size': {'distribution': 'q_log_uniform_values', 'q': 8, 'min': 32, 'max': 256},
})
pprint.pprint(sweep_config, stream=open("/dev/null", "w"))
sweep_id = wandb.sweep(sweep_config, project="pytorch-sweeps-demo")

def train(config=None):
    with wandb.init(config=config):
        config = wandb.config
        assert config.batch_size % 8 == 0 and type(config.batch_size) is int
        for epoch in range(config.epochs):
            avg_loss = train_epoch(config.fc_layer_size, config.dropout, config.learning_rate, config.optimizer)
            wandb.log({"loss": avg_loss, "epoch": epoch})

def train_epoch(size, dropout, rate, optimizer):
    cumu_loss = 0
    for batch in range(3):
        loss = 1 / (1 + batch) + rate
        cumu_loss += loss
        wandb.log({"batch loss": loss})
    return cumu_loss / 3

wandb.agent(sweep_id, train, count=5)
print(sweep_id)
"""

# Nested parameters, and a default that the sweep goes above.
NESTED = """
import wandb

sweep_configuration = {
    "method": "grid",
    "metric": {"name": "accuracy", "goal": "maximize"},
    "parameters": {
        "optimizer": {
            "parameters": {
                "learning_rate": {"values": [0.01, 0.001]},
                "momentum": {"value": 0.9},
            }
        },
        "model": {"parameters": {"size": {"values": [1, 2]}}},
    },
}

def main():
    default = {"optimizer": {"learning_rate": 5.0, "momentum": 0.1, "nesterov": True}, "batch_size": 4}
    run = wandb.init(config=default)
    assert run.config["optimizer"]["learning_rate"] in (0.01, 0.001)
    assert run.config["optimizer"]["momentum"] == 0.9 and run.config.batch_size == 4
    assert wandb.config.model["size"] in (1, 2)
    run.log({"accuracy": run.config["optimizer"]["learning_rate"]})
    run.finish()

sweep_id = wandb.sweep(sweep=sweep_configuration, project="nested")
wandb.agent(sweep_id, function=main)
print(sweep_id)
"""


def told(sweep: str, project: str) -> list[Any]:
    opened, _ = open_sweep(f"default/{project}/{sweep}")
    found = opened.trials()
    return [(trial.state.name, trial.user_attrs["claim"]["values"], trial.values) for trial in found]


@pytest.mark.parametrize(
    ("source", "project", "count"),
    [(QUICKSTART, "my-first-sweep", 10), (OLD, "my-first-sweep", 10), (TUTORIAL, "pytorch-sweeps-demo", 5),
     (NESTED, "nested", 4)],
    ids=["quickstart", "old", "tutorial", "nested"],
)  # fmt: skip
def test_a_function(source: str, project: str, count: int, script: Callable[..., Any]) -> None:
    """Every trial is finished, with the value that the function logged."""
    trials = told(script(source, **QUIET).stdout.strip(), project)
    assert [state for state, *_ in trials] == ["COMPLETE"] * count
    for _, point, (value,) in trials:
        if project == "my-first-sweep":
            assert value == point["x"] ** 3 + point["y"]
        elif project == "nested":
            assert value == point["optimizer.learning_rate"]
    if project == "nested":
        assert len({json.dumps(point) for _, point, _ in trials}) == 4


# https://docs.wandb.ai/guides/sweeps/define-sweep-configuration, with what its other examples have.
FILE = """
program: train.py
name: sweepdemo
method: bayes
metric:
  goal: minimize
  name: validation_loss
run_cap: 4
parameters:
  learning_rate:
    distribution: log_uniform_values
    min: 0.0001
    max: 0.1
  batch_size:
    distribution: q_log_uniform_values
    q: 8
    min: 16
    max: 256
  dropout:
    values: [0.15, 0.2, 0.25, 0.3, 0.4]
  epochs:
    value: 9
  use_bias:
    value: true
early_terminate:
  type: hyperband
  min_iter: 3
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
parser.add_argument("--learning_rate", type=float, default=0.5)
parser.add_argument("--batch_size", type=int, default=1)
parser.add_argument("--dropout", type=float, default=0)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--use_bias", type=lambda text: text == "True", default=False)
args = parser.parse_args()
assert args.use_bias and args.epochs == 9
run = wandb.init(config=args)
assert run.config.batch_size == args.batch_size and args.batch_size % 8 == 0
for epoch in range(wandb.config.epochs):
    wandb.log({"epoch": epoch, "validation_loss": wandb.config.dropout + 1 / (epoch + 1)})
wandb.finish()
"""

FLAGS = """
import sys
import wandb
words = sys.argv[1:]
assert words[0] == "--flag" and words[1] == "--epochs=9" and words[4] == "--use_bias", words
with wandb.init() as run:
    run.log({"validation_loss": run.config.dropout})
"""


def cli(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runtide", *words], env={**os.environ, **QUIET}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    out, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said
    return out.strip()


def test_a_file(tmp_path: Path) -> None:
    """`wandb sweep sweep.yaml` and `wandb agent`, twice at once: four runs, ended early or not."""
    (tmp_path / "train.py").write_text(PROGRAM)
    (tmp_path / "sweep.yaml").write_text(FILE)
    sweep = ended(cli(tmp_path, "sweep", "--project", "demo", "sweep.yaml"))
    for agent in [cli(tmp_path, "agent", f"default/demo/{sweep}") for _ in range(2)]:
        ended(agent)
    trials = told(sweep, "demo")
    assert len(trials) == 4
    assert {state for state, *_ in trials} <= {"COMPLETE", "PRUNED"}
    for state, point, values in trials:
        if state == "COMPLETE":
            assert values == [point["dropout"] + 1 / 9]


def test_a_command_with_flags(tmp_path: Path) -> None:
    """Words of one's own between the macros, and `--flag` alone for what is true."""
    (tmp_path / "train.py").write_text(FLAGS)
    config = yaml.safe_load(FILE)
    given = config["parameters"]
    config |= {
        "command": ["${env}", "${interpreter}", "${program}", "--flag", "${args_no_boolean_flags}"],
        "parameters": {name: given[name] for name in ("epochs", "batch_size", "dropout", "use_bias")},
        "method": "random", "run_cap": 1,
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    sweep = ended(cli(tmp_path, "sweep", "--project", "demo", "sweep.yaml"))
    ended(cli(tmp_path, "agent", sweep))
    ((state, point, values),) = told(sweep, "demo")
    assert (state, values) == ("COMPLETE", [point["dropout"]])


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

    sweep = ended(start())
    for process in [start(sweep), start(sweep)]:
        ended(process)
    trials = told(sweep, "hyperparam-sweeps")
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
    (tmp_path / "train.py").write_text(S4_PROGRAM)
    rates: dict[str, Any] = {"distribution": "uniform", "min": 0.0001, "max": 0.1}
    config = {
        "program": "train.py", "method": method, "metric": {"name": "validation_accuracy", "goal": "maximize"},
        "parameters": {
            "optimizer": {"values": ["adam", "sgd"]},
            "learning_rate": {"values": [0.1, 0.01]} if method == "grid" else rates,
            "dropout": {"values": [0.1]} if method == "grid" else {**rates, "min": 0.1, "max": 0.5},
        },
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    sweep = ended(cli(tmp_path, "sweep", "--project", "hyperparam-sweeps", "sweep.yaml"))
    for agent in [cli(tmp_path, "agent", "--count", "2", f"default/hyperparam-sweeps/{sweep}") for _ in range(2)]:
        ended(agent)
    trials = told(sweep, "hyperparam-sweeps")
    assert len({json.dumps(point) for _, point, _ in trials}) == len(trials) == 4
    for state, point, values in trials:
        assert (state, values) == ("COMPLETE", [point["learning_rate"] + point["dropout"]])
