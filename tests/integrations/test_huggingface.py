"""Transformers' Trainer: its own WandbCallback as it is, and ours."""

from typing import Any

import pytest

ONCE = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos"}


def renamed(metrics: dict[str, float]) -> dict[str, float]:
    """Transformers' names as they are logged."""
    names = {"eval_": "eval/", "test_": "test/"}
    return {
        next((new + key.removeprefix(old) for old, new in names.items() if key.startswith(old)), f"train/{key}"): value
        for key, value in metrics.items()
    }


def expected(told: dict[str, Any]) -> dict[int, dict[str, float]]:
    """The rows of a run, of what Trainer noted: one a call of log()."""
    rows = []
    for entry in told["history"]:
        step = entry.pop("step")
        rows.append(renamed({k: v for k, v in entry.items() if k not in ONCE}) | {"train/global_step": step})
    # A prediction has no step of its own: step_sync gives it the last one.
    return dict(enumerate([*rows, renamed(told["predicted"]) | {"train/global_step": step}]))


def check(trained: Any) -> None:
    once = {key: value for entry in trained.told["history"] for key, value in entry.items() if key in ONCE}
    assert len(once) == 5
    assert trained.summary == once
    assert trained.rows() == expected(trained.told)
    assert len(trained.rows()) == 9  # 4 while training, 3 evaluations, the end of the training, the prediction
    assert trained.definitions["*"] == {"step_metric": "train/global_step", "step_sync": True}
    config = trained.config
    assert (config["num_train_epochs"], config["hidden_size"], config["logging_steps"]) == (2, 16, 2)
    assert config["model/num_parameters"] == trained.told["parameters"]
    assert trained.spooled.description()["name"] == "tiny"


@pytest.mark.parametrize("way", ["install_as_wandb", "exec"])
def test_the_callback_for_wandb(train: Any, way: str) -> None:
    """Every value that Trainer noted is stored at the step of its call; artifacts are left out with a word."""
    trained = train("train_huggingface.py", way, "wandb", WANDB_LOG_MODEL="end", WANDB_WATCH="all")
    check(trained)
    assert trained.run.startswith("default/huggingface/")
    assert trained.errors.count("artifacts are not recorded yet") == 1
    assert trained.errors.count("gradients are not recorded yet") == 1


def test_our_callback_by_its_name(train: Any) -> None:
    """The same rows, configuration and results; that models are not saved yet is said once."""
    trained = train("train_huggingface.py", "plain", "runtide", RUNTIDE_LOG_MODEL="checkpoint", WANDB_LOG_MODEL="false")
    check(trained)
    assert trained.run.startswith("default/huggingface/")
    assert trained.errors.count("saving checkpoints as artifacts is not there yet") == 1


def test_our_callback_handed_over(train: Any) -> None:
    """It goes on with the run that the script began, whose name, project and configuration stay."""
    trained = train("train_huggingface.py", "plain", "callback")
    assert trained.rows() == expected(trained.told)
    assert trained.run.startswith("default/mine/")
    assert trained.spooled.description()["name"] == "begun"
    assert (trained.config["own"], trained.config["num_train_epochs"]) == (1, 2)


def test_the_example(train: Any) -> None:
    """With `report_to` and one variable: losses fall, and the last evaluation is what the example prints."""
    trained = train("huggingface.py", "plain", WANDB_LOG_MODEL="true")
    rows = trained.rows().values()
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    evaluations = [row["eval/loss"] for row in rows if "eval/loss" in row]
    assert losses[-1] < losses[0]
    assert evaluations[-1] == trained.told["eval_loss"]
    assert trained.run.startswith("default/huggingface/")
    assert trained.errors.count("saving checkpoints as artifacts is not there yet") == 1
