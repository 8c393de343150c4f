"""Ultralytics' own hooks for W&B as they are."""

from typing import Any

import pytest


@pytest.mark.parametrize("way", ["install_as_wandb", "exec"])
def test_the_hooks_for_wandb(train: Any, way: str) -> None:
    """One row an epoch with the values of Ultralytics' own table; plots and weights are left out with a word."""
    trained = train("train_ultralytics.py", way)
    rows = trained.rows(repeated=frozenset({"epoch"}))
    assert trained.run.startswith("default/tiny/yolo_")
    assert list(rows) == [0, 1, 2, 3]
    for step, told in enumerate(trained.told):
        assert told.pop("time") > 0
        assert len(told) > 10
        assert {key: rows[step][key] for key in told} == pytest.approx(told, rel=1e-3, abs=1e-4)
    assert rows[2]["epoch"] == 3  # the best weights, which Ultralytics puts behind the last epoch
    assert rows[0]["model/parameters"] > 1_000_000
    assert rows[3] == {"epoch": 2}
    assert trained.definitions["train/*"] == {"step_metric": "epoch"}
    assert (trained.config["epochs"], trained.config["imgsz"]) == (2, 32)
    assert trained.spooled.description()["name"] == "yolo"
    for feature in ("artifacts", "media"):
        assert trained.errors.count(f"{feature} are not recorded yet") == 1
