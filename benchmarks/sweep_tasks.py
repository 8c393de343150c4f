"""What the searches of sweeps.py look for: small numbers. Parameters as a sweep's config has them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Task:
    """A function, its parameters, and the least that it can come to."""

    name: str
    function: Callable[[Mapping[str, Any]], float]
    parameters: Mapping[str, Mapping[str, Any]]
    least: float = 0.0


def _branin(p: Mapping[str, float]) -> float:
    x, y = -5 + 15 * p["x0"], 15 * p["x1"]
    bent = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return float(bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array([
    [1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381],
])  # fmt: skip


def _hartmann6(p: Mapping[str, float]) -> float:
    x = np.array([p[f"x{place}"] for place in range(6)])
    return float(-np.sum(np.array([1, 1.2, 3, 3.2]) * np.exp(-np.sum(_A * (x - _P) ** 2, axis=1))))


@cache
def _images() -> tuple[Any, ...]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    return tuple(train_test_split(images / 16, labels, train_size=200, test_size=500, random_state=0, stratify=labels))


def _digits(p: Mapping[str, Any]) -> float:
    """The log loss on 500 images of a network that learns from 200; above 0 even at its best."""
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    train, test, labels, truth = _images()
    network = MLPClassifier(
        (int(p["width"]),), activation=p["activation"], alpha=p["alpha"], learning_rate_init=p["lr"],
        beta_1=1 - p["forget"], batch_size=100, max_iter=p["epochs"], n_iter_no_change=1000, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: this is one of the parameters
        return float(log_loss(truth, network.fit(train, labels).predict_proba(test)))


def _log(low: float, high: float) -> dict[str, Any]:
    return {"distribution": "log_uniform_values", "min": low, "max": high}


def unit(dimensions: int) -> dict[str, dict[str, float]]:
    """Parameters x0, x1, … from 0 to 1."""
    return {f"x{place}": {"min": 0.0, "max": 1.0} for place in range(dimensions)}


TASKS = (
    Task("branin", _branin, unit(2), 0.397887),
    Task("hartmann6", _hartmann6, unit(6), -3.32237),
    Task(
        "digits", _digits,
        {
            "lr": _log(1e-4, 1.0), "alpha": _log(1e-5, 100.0), "forget": _log(1e-3, 0.999),
            "epochs": {"min": 5, "max": 45}, "width": {"distribution": "q_log_uniform_values", "min": 2, "max": 64},
            "activation": {"values": ["relu", "tanh", "logistic"]},
        },
    ),
)  # fmt: skip
