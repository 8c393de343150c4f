"""How often a verdict is wrong, and how often an effect is found, on trainings that differ in nothing but the seed.

    python benchmarks/verdict.py [--seeds 600] [--pairs 5000] [--record FILE]

Small networks learn scikit-learn's digits, `--seeds` times with one recipe and 40 times each with two others. The
validation's loss and accuracy after each epoch are what a user would log. From the seeds, pairs of sides are drawn;
within a pair no seed stands twice. `A/A called` is the share of pairs, both from the one recipe, that are called better
or worse, where nothing is; `+3 sd` the share that is called better when B is shifted, for the better, by three standard
deviations of the seeds; both with Wilson's 95 % interval. Pairs share seeds with other pairs, so the intervals are a
little too narrow.

The rules are those of runtide_dashboards.comparisons, on values made from arrays; at the end some of the trainings go
through the SDK, the consumer and a store, and what `verdicts.assess` says of them has to be the same.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

# One thread a training: two at once are faster than one with two.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from throughput import Stack

from runtide_dashboards.comparisons import Comparison, Side, judge
from runtide_dashboards.records import Run, Series
from runtide_dashboards.spread import MIN_RUNS

EPOCHS = 30
GOALS = {"val/loss": "minimize", "val/acc": "maximize"}
RECIPES = {
    "base": {"lr": 0.01, "hidden": 32},
    "half lr": {"lr": 0.005, "hidden": 32},
    "24 units": {"lr": 0.01, "hidden": 24},
}
Curves = dict[str, list[float]]
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def train(recipe: str, seed: int) -> Curves:
    """One training: what it logs after each epoch."""
    from sklearn.datasets import load_digits
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = images[order] / 16, labels[order]
    options = RECIPES[recipe]
    model = MLPClassifier(
        (options["hidden"],), learning_rate_init=options["lr"], batch_size=200, random_state=seed, solver="adam"
    )
    curves: Curves = {"val/loss": [], "val/acc": []}
    for _ in range(EPOCHS):
        model.partial_fit(x[:1000], y[:1000], classes=np.arange(10))
        chances = model.predict_proba(x[1000:])
        curves["val/loss"].append(round(float(log_loss(y[1000:], chances)), 6))
        curves["val/acc"].append(round(float((chances.argmax(axis=1) == y[1000:]).mean()), 6))
    return curves


def finals(curves: Sequence[Curves], key: str) -> np.ndarray:
    """What runs are compared by: the mean over the last 5 % of their steps."""
    last = EPOCHS - 1
    return np.array([np.mean(one[key][last - int(0.05 * last) :]) for one in curves])


def written(values: dict[str, np.ndarray]) -> str:
    """The values as JSON, a dozen in a line."""
    parts = []
    for key, ends in values.items():
        texts = [repr(round(float(end), 6)) for end in ends]
        lines = ",\n".join("    " + ", ".join(texts[n : n + 12]) for n in range(0, len(texts), 12))
        parts.append(f"  {json.dumps(key)}: [\n{lines}\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def side(values: Sequence[float], name: str, key: str) -> Side:
    """A side of runs with these values."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    run = Run(f"e/p/{name}", name, "finished", moment, 1.0, (), "{}", 0, moment, "", "", "", "{}", "{}", 1, 1, "", None)
    series = tuple(Series(run.path, key, 0, 1, EPOCHS, 0, EPOCHS - 1, moment, True) for _ in values)
    return Side(run, series, tuple(map(float, values)))


def said(a: Sequence[float], b: Sequence[float], others: Sequence[float], key: str) -> str:
    """The outcome for two sides; `others` are runs of a third recipe."""
    asked = Comparison(key, side(a, "a", key), side(b, "b", key), "unknown", GOALS[key])
    return judge(asked, [((), tuple(others))] if len(others) >= MIN_RUNS else ()).outcome


def sides(a: int, b: int, others: int = 0) -> Draw:
    """Draws that many different seeds for A, for B and for a third family."""

    def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = random.permutation(count)[: a + b + others]
        return chosen[:a], chosen[a : a + b], chosen[a + b :]

    return draw


RULES: dict[str, Draw] = {
    "1: 3 v 3 seeds": sides(3, 3),
    "1: 4 v 4 seeds": sides(4, 4),
    "1: 5 v 5 seeds": sides(5, 5),
    "2: baseline with 3 others v 1": sides(4, 1),
    "2: baseline with 9 others v 1": sides(10, 1),
    "2: baseline with 19 others v 1": sides(20, 1),
    "2: baseline with 38 others v 1": sides(39, 1),
    "2: 1 v 1, 3 of a third recipe": sides(1, 1, 3),
    "2: 1 v 1, 10 of a third recipe": sides(1, 1, 10),
    "2: 1 v 1, 38 of a third recipe": sides(1, 1, 38),
    "2: 2 v 2, 38 of a third recipe": sides(2, 2, 38),
}


def wilson(hits: int, of: int) -> str:
    """A share with its 95 % interval. Source: E. B. Wilson, JASA 22 (1927)."""
    z, p = 1.96, hits / of
    centre, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = ((centre + sign * half) / (1 + z * z / of) for sign in (-1, 1))
    return f"{100 * p:5.1f} %  ({100 * low:4.1f}–{100 * high:4.1f})"


def table(values: dict[str, np.ndarray], pairs: int) -> None:
    print(f"\n{'rule':34s} {'metric':9s} {'pairs':>6s}   {'A/A called':21s} {'+3 sd called better':21s}")
    for rule, draw in RULES.items():
        for key, ends in values.items():
            random = np.random.default_rng(1)
            shift = 3 * ends.std(ddof=1) * (1 if GOALS[key] == "maximize" else -1)
            wrong = found = 0
            for _ in range(pairs):
                a, b, others = (ends[chosen] for chosen in draw(random, len(ends)))
                wrong += said(a, b, others, key) in ("better", "worse")
                found += said(a, b + shift, others, key) == "better"
            print(f"{rule:34s} {key:9s} {pairs:6d}   {wilson(wrong, pairs):21s} {wilson(found, pairs):21s}")


def real(curves: dict[str, list[Curves]], pairs: int) -> None:
    """What is said of recipes that do differ."""
    print(f"\n{'three seeds of base v three of':34s} {'metric':9s} {'effect':>9s}   better  worse  within noise")
    for name in list(RECIPES)[1:]:
        for key in GOALS:
            random = np.random.default_rng(2)
            base, other = finals(curves["base"], key), finals(curves[name], key)
            said_of = [
                said(random.choice(base, 3, replace=False), random.choice(other, 3, replace=False), (), key)
                for _ in range(pairs)
            ]
            effect = (other.mean() - base.mean()) / base.std(ddof=1)
            shares = "  ".join(f"{100 * said_of.count(word) / pairs:5.1f} %" for word in ("better", "worse", "noise"))
            print(f"{name:34s} {key:9s} {effect:+6.1f} sd   {shares}")


def through_the_store(curves: Sequence[Curves]) -> None:
    """The same by way of the SDK and a store: recipes of three seeds each, and every pair of them."""
    count = len(curves) // 3
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), kafka=False, partitions=1)
        stack.start()
        try:
            os.environ.update(stack.environment)
            begin = time.perf_counter()
            paths = log_all(curves[: 3 * count])
            stack.wait(len(paths) * EPOCHS * len(GOALS))
            logged = time.perf_counter() - begin
            compare_all(curves, paths, count, logged)
        finally:
            stack.stop()


def log_all(curves: Sequence[Curves]) -> list[str]:
    import runtide

    paths = []
    for number, one in enumerate(curves):
        config = {"arm": number // 3, "seed": number}
        with runtide.init(project="digits", id=f"r{number:03}", config=config) as run:
            for key, goal in GOALS.items():
                run.define_metric(key, goal=goal)
            for values in zip(*one.values(), strict=True):
                run.log(dict(zip(one, values, strict=True)))
            paths.append(run.path)
    return paths


def compare_all(curves: Sequence[Curves], paths: Sequence[str], count: int, logged: float) -> None:
    from runtide_dashboards import verdicts
    from runtide_dashboards.queries import runs as run_queries

    runs = run_queries.find_runs(paths)
    begin, worst, called, compared = time.perf_counter(), 0.0, 0, 0
    for a in range(count):
        for found in verdicts.assess(runs[3 * a], [runs[3 * b] for b in range(a + 1, count)], list(GOALS)):
            b = runs.index(found.other.run) // 3
            ends = [finals(curves[3 * arm : 3 * arm + 3], found.key) for arm in (a, b)]
            expected = judge(
                Comparison(found.key, side(ends[0], "a", found.key), side(ends[1], "b", found.key), "unknown")
            )
            assert found.lender == "both" and found.test is not None and expected.test is not None
            worst = max(worst, abs((found.test.p or 1) - (expected.test.p or 1)))
            called += found.outcome in ("better", "worse")
            compared += 1
    print(
        f"\nthrough the store: {len(paths)} runs in {logged:.1f} s, {compared} comparisons of 3 v 3 in"
        f" {time.perf_counter() - begin:.1f} s, {called} called better or worse;"
        f" largest difference of p from the arrays' {worst:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=600)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--record", type=Path, help="write the base recipe's values here, for the test")
    options = parser.parse_args()
    counts = {name: options.seeds if name == "base" else 40 for name in RECIPES}
    with ProcessPoolExecutor(2) as processes:
        curves = {name: list(processes.map(partial(train, name), range(count))) for name, count in counts.items()}
    values = {key: finals(curves["base"], key) for key in GOALS}
    if options.record:
        options.record.write_text(written(values))
    for key, ends in values.items():
        print(f"{len(ends)} seeds, {key}: mean {ends.mean():.4f}, sd {ends.std(ddof=1):.4f}")
    table(values, options.pairs)
    real(curves, options.pairs)
    through_the_store(curves["base"][:15])


if __name__ == "__main__":
    main()
