"""Keras: the callbacks that W&B's library brings, with Keras' torch."""

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("way", "module"),
    [("exec", "wandb.keras"), ("install_as_wandb", "wandb.integration.keras"), ("exec", "runtide.integrations.keras")],
)
def test_the_callbacks_of_wandb(train: Any, way: str, module: str) -> None:
    """Each epoch by the names of either callback, of three batches every second or fourth; checkpoints with a word."""
    trained = train("train_keras.py", way, module)
    (first, second), best = trained.told
    rows = list(trained.rows().values())
    batches, epochs = [row for row in rows[:6] if "batch/loss" in row], [row for row in rows[:6] if "epoch/loss" in row]
    assert [row["batch/batch_step"] for row in batches] == [1, 3, 4, 6]
    assert all(row["batch/learning_rate"] == 0.25 for row in batches)
    assert epochs == [
        {"epoch/epoch": epoch, "epoch/loss": first["loss"][epoch], "epoch/val_loss": first["val_loss"][epoch],
         "epoch/learning_rate": 0.25}
        for epoch in range(2)
    ]  # fmt: skip
    assert [row.keys() for row in rows[6:]] == [{"loss"}, {"loss", "val_loss", "epoch"}] * 2
    assert [row["val_loss"] for row in rows[7::2]] == second["val_loss"]
    assert best == min(second["val_loss"]) == trained.summary["best_val_loss"]
    assert trained.definitions["epoch/*"] == {"step_metric": "epoch/epoch"}
    assert trained.errors.count("saving checkpoints as artifacts is not there yet") == 1
