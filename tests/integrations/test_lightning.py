"""Lightning: its own WandbLogger as it is, and ours."""

from typing import Any

import pytest


def check(trained: Any) -> None:
    rows = [{**metrics, "trainer/global_step": step} for step, metrics in trained.told]
    assert len(rows) == 6  # four times while training, and two validations
    assert trained.rows() == dict(enumerate(rows))
    assert trained.run.startswith("default/tiny/")
    assert trained.definitions["*"] == {"step_metric": "trainer/global_step", "step_sync": True}
    assert trained.config == {"width": 4, "rate": 0.1}
    assert trained.spooled.description()["name"] == "lightning"


@pytest.mark.parametrize(
    ("way", "package"),
    [("install_as_wandb", "lightning"), ("exec", "lightning"), ("exec", "pytorch_lightning")],
)
def test_the_logger_for_wandb(train: Any, way: str, package: str) -> None:
    """What Lightning hands to its loggers is stored; checkpoints, tables and images are left out with a word."""
    trained = train("train_lightning.py", way, package, "wandb")
    check(trained)
    for feature in ("artifacts", "gradients", "tables", "media"):
        assert trained.errors.count(f"{feature} are not recorded yet") == 1


@pytest.mark.parametrize(("way", "logger"), [("exec", "WandbLogger"), ("plain", "RuntideLogger")])
def test_a_logger_in_a_spawned_process(train: Any, way: str, logger: str) -> None:
    """It logs into its parent's run."""
    trained = train("spawn_lightning.py", way, logger)
    assert trained.told == 0
    logged = {(key, value) for key, _, value in trained.spooled.points()}
    assert logged == {("parent", 1.0), ("trainer/global_step", 3), ("child", 2.0), ("trainer/global_step", 7)}
    assert len({record["run_id"] for record in trained.spooled.records("metrics")}) == 1


@pytest.mark.parametrize("package", ["lightning", "pytorch_lightning"])
def test_our_logger(train: Any, package: str) -> None:
    """The same rows and hyperparameters; that checkpoints are not saved yet is said once."""
    trained = train("train_lightning.py", "plain", package, "runtide")
    check(trained)
    assert trained.errors.count("saving checkpoints as artifacts is not there yet") == 1
