"""How good bayes is, and what asking and telling costs.

    python benchmarks/sweeps.py [--seeds 20] [--trials 50] [--sizes 1000 10000] [--tasks branin ...] [--engine FOLDER]

Regret: the best of 50 trials above the least value there is (for digits: the log loss itself), as the median of 20
seeds. Every search begins with the same points at random, as many as it takes at random itself. Beside bayes and random
are Optuna's TPE as it is, and W&B's own engine where --engine names a folder that has it:

    uv pip install --target FOLDER --require-hashes -r requirements/engine.txt
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from sweep_tasks import TASKS, Task, unit

import runtide
from runtide._sweeps._public import open_sweep
from runtide._sweeps._study import Outcome, Sweep

Search = Callable[[Task, int, int], float]
# What each draws at random before it begins to search: Optuna's default, and what W&B's engine does.
_TPE_FIRST, _ENGINE_FIRST = 10, 2
# 15,625 points.
_GRID = {name: {"values": [0.0, 0.25, 0.5, 0.75, 1.0]} for name in unit(6)}


def begin(method: str, parameters: Mapping[str, Any], seed: int | None = None) -> Sweep:
    config = {"method": method, "metric": {"name": "loss"}, "parameters": parameters}
    sweep = runtide.sweep(config, project="bench")
    opened: Sweep = open_sweep(f"default/bench/{sweep}")[0]
    if seed is not None:
        opened._choice._random.seed(seed)
    return opened


def points(task: Task, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The points that `random` runs with a seed: as they are drawn, and as training sees them."""
    sweep = begin("random", task.parameters, seed)
    for _ in count():
        point = sweep._choice.draw(sweep._survey(), False)
        assert point is not None
        yield dict(point.drawn), dict(point.values)


def ours(method: str) -> Search:
    def search(task: Task, trials: int, seed: int) -> float:
        sweep, best = begin(method, task.parameters, seed), math.inf
        for _ in range(trials):
            asked = sweep.ask()
            assert asked is not None
            value = task.function(asked.values)
            sweep.tell(asked, Outcome("finished", {"loss": value}))
            best = min(best, value)
        return best

    return search


def plain(task: Task, trials: int, seed: int) -> float:
    space = begin("random", task.parameters).definition.space
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for _, (drawn, _) in zip(range(_TPE_FIRST), points(task, seed), strict=False):
        study.enqueue_trial(drawn)
    study.optimize(
        lambda trial: task.function(space.choose(lambda name, kind: kind.suggest(trial, name)).values), trials
    )
    return float(study.best_value)


def engine(folder: str) -> Search:
    def search(task: Task, trials: int, seed: int) -> float:
        command = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name("sweep_engine.py"))]
        environment = {**os.environ, "PYTHONPATH": folder, "OPENBLAS_NUM_THREADS": "1"}
        child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdin and child.stdout
        config = {"method": "bayes", "metric": {"name": "loss", "goal": "minimize"}, "parameters": task.parameters}
        first, found, told = points(task, seed), list[float](), dict[str, Any]()
        print(json.dumps({**config, "seed": seed}), file=child.stdin)
        while len(found) < trials:
            print(json.dumps(told), file=child.stdin, flush=True)
            values = json.loads(child.stdout.readline())
            values = next(first)[1] if len(found) < _ENGINE_FIRST else values
            found.append(task.function(values))
            told = {"values": values, "loss": found[-1]}
        child.communicate()
        return min(found)

    return search


def interval(of: Callable[[Any], Any], *samples: Any) -> tuple[float, float]:
    """95 % by a bootstrap of the seeds; the same ones are taken of all samples."""
    chosen = np.random.default_rng(0).integers(0, len(samples[0]), (5000, len(samples[0])))
    low, high = np.percentile(of(*(np.array(sample)[chosen] for sample in samples)), [2.5, 97.5])
    return float(low), float(high)


def regret(tasks: list[str], seeds: int, trials: int, ways: Mapping[str, Search]) -> None:
    print(f"{'task':10} {'method':13} regret of {trials} trials, median of {seeds} seeds [95 %]; above bayes' [95 %]")
    for task in (one for one in TASKS if one.name in tasks):
        base: list[float] = []
        for name, search in ways.items():
            found = [search(task, trials, seed) - task.least for seed in range(seeds)]
            base = base or found
            low, high = interval(lambda one: np.median(one, 1), found)
            words = f"{task.name:10} {name:13} {statistics.median(found):8.4f} [{low:.4f}, {high:.4f}]"
            if found is not base:
                less = statistics.median(found) - statistics.median(base)
                low, high = interval(lambda one, other: np.median(other, 1) - np.median(one, 1), base, found)
                words += f"  {less:8.4f} [{low:.4f}, {high:.4f}]"
            print(words, flush=True)


def cost(size: int) -> None:
    print(f"\nms to ask and tell at {size} trials of 6 parameters: median (largest) of 30, median of the processor's")
    for method in ("random", "grid", "bayes", "tpe", "cmaes", "nsgaii", "qmc"):
        sweep = begin(method, _GRID if method == "grid" else unit(6))
        for _ in range(size):
            survey = sweep._survey()
            point = sweep._choice.left(survey) if method == "grid" else sweep._choice.draw(survey, False)
            assert point is not None
            trial_id, _ = sweep._begin_at(point)
            value = TASKS[1].function(point.values)
            sweep._storage.set_trial_state_values(trial_id, optuna.trial.TrialState.COMPLETE, [value])
        found = np.array([_ask_and_tell(sweep) for _ in range(31)]) * 1e3
        (ask, tell, ask_cpu, tell_cpu), (most_ask, most_tell, *_) = np.median(found[1:], 0), found[1:].max(0)
        words = f"ask {ask:6.1f} ({most_ask:6.1f}) {ask_cpu:6.1f}  tell {tell:6.1f} ({most_tell:6.1f}) {tell_cpu:6.1f}"
        print(f"{method:10} {words}  the first ask {found[0][0]:.0f}", flush=True)


def _ask_and_tell(sweep: Sweep) -> tuple[float, float, float, float]:
    """Seconds to ask and to tell, and those of the processor."""
    start, busy = time.perf_counter(), time.process_time()
    task = sweep.ask()
    middle, half = time.perf_counter(), time.process_time()
    assert task is not None
    value = TASKS[1].function(task.values)
    asked, used = time.perf_counter(), time.process_time()
    sweep.tell(task, Outcome("finished", {"loss": value}))
    return middle - start, time.perf_counter() - asked, half - busy, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--tasks", nargs="*", default=[task.name for task in TASKS])
    parser.add_argument("--engine", help="folder with the package `sweeps`")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ways = {"bayes": ours("bayes"), "Optuna's TPE": plain, "random": ours("random")}
    if args.engine:
        ways["W&B's engine"] = engine(args.engine)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"RUNTIDE_DIR": folder, "RUNTIDE_MODE": "disabled", "RUNTIDE_SILENT": "true"}
        regret(args.tasks, args.seeds, args.trials, ways)
        for size in args.sizes:
            cost(size)


if __name__ == "__main__":
    main()
