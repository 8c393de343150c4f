"""Train and evaluate a tiny classifier: stands for the evaluation of your own model, and needs nothing but runtide.

python examples/ci/evaluate.py
"""

import math
import random

import runtide


def points(count: int, seed: int) -> list[tuple[float, float, bool]]:
    """Points on the plane, and whether they are above a noisy line."""
    draw = random.Random(seed)
    pairs = [(draw.gauss(0, 1), draw.gauss(0, 1)) for _ in range(count)]
    return [(x, y, y > 0.7 * x + draw.gauss(0, 0.2)) for x, y in pairs]


def main() -> None:
    config = {"lr": 0.1, "epochs": 5}
    # The commit, the branch and the job are recorded without a word of ours: SELECT environment FROM runs.
    with runtide.init(project="evaluation", job_type="evaluation", config=config) as run:
        a = b = c = 0.0
        for _ in range(config["epochs"]):
            for x, y, above in points(1000, seed=1):
                error = above - 1 / (1 + math.exp(-(a * x + b * y + c)))
                a, b, c = (w + config["lr"] * error * v for w, v in ((a, x), (b, y), (c, 1.0)))
        found = [(a * x + b * y + c > 0) == above for x, y, above in points(1000, seed=2)]
        run.log({"accuracy": sum(found) / len(found)})
        print(f"accuracy {run.summary['accuracy']:.3f}")


main()
