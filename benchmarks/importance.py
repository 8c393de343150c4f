"""What the importance of parameters costs.

    python benchmarks/importance.py [--sizes 100 1000 10000] [--sweeps 60]

Sweeps of 12 parameters, one of them conditional, one a category, of which three matter: seconds of `axes`, `study`,
`best_so_far` and `pareto`, medians of five, and what was found. Importing scikit-learn, once in a process, is told
apart.

Then how far the intervals go: random searches over 2a + b + noise, with four parameters that do nothing. By variance a
is 1/2 of it and b 1/8.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runtide_dashboards.importance import study, words
from runtide_dashboards.sweep_trials import Axis, Objective, Trial, axes, best_so_far, pareto

LOSS, COST = Objective("loss", False), Objective("cost", False)
CONFIG: Mapping[str, Any] = {
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
        "optimizer": {"values": ["adam", "sgd", "lion"]},
        "momentum": {"min": 0.5, "max": 0.99, "when": "optimizer == 'sgd'"},
        "layers": {"min": 1, "max": 8},
        **{f"noise{place}": {"min": 0.0, "max": 1.0} for place in range(8)},
    }
}


def sweep(count: int, seed: int = 0) -> list[Trial]:
    random = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        chosen: dict[str, Any] = {f"noise{place}": float(random.random()) for place in range(8)}
        chosen["lr"], chosen["layers"] = float(10 ** random.uniform(-5, -1)), int(random.integers(1, 9))
        chosen["optimizer"] = str(random.choice(["adam", "sgd", "lion"]))
        loss = (np.log10(chosen["lr"]) + 3) ** 2 + 0.3 * chosen["layers"] + random.normal(0, 0.3)
        if chosen["optimizer"] == "sgd":
            chosen["momentum"] = float(random.uniform(0.5, 0.99))
            loss += 4 * (chosen["momentum"] - 0.75)
        values = {"loss": float(loss), "cost": float(chosen["layers"] * random.uniform(1, 2))}
        trials.append(Trial(f"lab/speed/r{number}", number, "finished", chosen, values, number, 60.0))
    return trials


def seconds(work: Callable[[], object], times: int = 5) -> tuple[float, float]:
    """Median of the seconds that passed, and of those that a processor worked."""
    passed, worked = [], []
    for _ in range(times):
        start, begun = time.perf_counter(), time.process_time()
        work()
        passed.append(time.perf_counter() - start)
        worked.append(time.process_time() - begun)
    return statistics.median(passed), statistics.median(worked)


def _told(taken: tuple[float, float]) -> str:
    return f"{taken[0]:>6.2f} ({taken[1]:.2f})"


def searches(count: int, trials: int) -> None:
    """What many searches find: mean and spread of values, what the intervals say, and how often one is seen."""
    space = [Axis(name, "linear", 0.0, 1.0, ()) for name in "abcdef"]
    values, errors, seen = (np.zeros((count, len(space))) for _ in range(3))
    for seed in range(count):
        random = np.random.default_rng(seed)
        x = random.random((trials, len(space)))
        y = 2 * x[:, 0] + x[:, 1] + random.normal(0, 0.5, trials)
        made = [
            Trial(
                f"lab/speed/r{number}",
                number,
                "finished",
                dict(zip("abcdef", row, strict=True)),
                {"loss": loss},
                0,
                1.0,
            )
            for number, (row, loss) in enumerate(zip(x.tolist(), y.tolist(), strict=True))
        ]
        for one in study(made, LOSS, space).importances:
            place = "abcdef".index(one.name)
            values[seed, place], errors[seed, place] = one.value, (one.high - one.value) / 1.96
            seen[seed, place] = one.visible
    print(f"\n{count} searches of {trials} trials\n\n{'':>9} {'mean':>7} {'spread':>7} {'told':>7} {'visible':>8}")
    for place, axis in enumerate(space):
        mean, spread, told = values[:, place].mean(), values[:, place].std(), errors[:, place].mean()
        print(f"{axis.name:>9} {mean:>7.3f} {spread:>7.3f} {told:>7.3f} {seen[:, place].mean():>7.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--sweeps", type=int, default=60)
    args = parser.parse_args()
    print("seconds passed (and worked by a processor)\n")
    imported = seconds(lambda: importlib.import_module("sklearn.ensemble"), 1)
    print(f"import of scikit-learn {_told(imported)}\n")
    print(f"{'trials':>8} {'axes':>13} {'study':>13} {'best':>13} {'pareto':>13}")
    said = []
    for size in args.sizes:
        trials = sweep(size)
        found = axes(CONFIG, trials)
        work: list[Callable[[], object]] = [
            lambda t=trials: axes(CONFIG, t),
            lambda t=trials, a=found: study(t, LOSS, a),
            lambda t=trials: best_so_far(t, LOSS),
            lambda t=trials: pareto(t, [LOSS, COST]),
        ]
        print(f"{size:>8} " + " ".join(_told(seconds(one)) for one in work), flush=True)
        said.append(words(study(trials, LOSS, found), LOSS))
    print("\n" + "\n".join(said))
    searches(args.sweeps, 200)


if __name__ == "__main__":
    main()
