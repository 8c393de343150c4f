"""Accelerate: its own tracker for W&B as it is, and ours."""

from typing import Any

import pytest


def check(trained: Any) -> None:
    rows: dict[int, dict[str, float]] = {
        10 * step: {"loss": loss, "nested.step": step} for step, loss in enumerate(trained.told)
    }
    assert trained.rows() == {**rows, 50: {"done": 1}}
    assert len(rows) == 5
    assert trained.run.startswith("default/tiny/")
    assert trained.config == {"lr": 0.1, "layers": 2}
    description = trained.spooled.description()
    assert (description["name"], description["tags"]) == ("accelerate", ["small"])
    for feature in ("media", "tables"):
        assert trained.errors.count(f"{feature} are not recorded yet") == 1


@pytest.mark.parametrize("way", ["install_as_wandb", "exec"])
def test_the_tracker_for_wandb(train: Any, way: str) -> None:
    """What is logged is stored at the steps given; images and tables are left out with a word."""
    check(train("train_accelerate.py", way, "wandb"))


def test_our_tracker_by_its_name(train: Any) -> None:
    """The same rows, configuration and description."""
    check(train("train_accelerate.py", "plain", "runtide"))
