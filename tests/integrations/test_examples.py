"""Examples that need a framework, as they are."""

from typing import Any

import pytest


def test_a_loop_in_pytorch(train: Any) -> None:
    """505 rows, one for each call of log(), at steps 0 to 504; the averages are those of the losses."""
    trained = train("wandb_dropin.py", "plain")
    rows = trained.rows()
    assert list(rows) == list(range(505))
    for epoch in range(5):
        losses = [rows[101 * epoch + batch] for batch in range(100)]
        assert all(row.keys() == {"batch_loss"} for row in losses)
        average = sum(row["batch_loss"] for row in losses) / 100
        assert rows[101 * epoch + 100] == {"epoch": epoch + 1, "avg_loss": pytest.approx(average)}
    assert trained.config == {"learning_rate": 0.01, "architecture": "SimpleCNN", "dataset": "CIFAR-10", "epochs": 5}
    assert trained.run.startswith("default/pytorch-intro/")
