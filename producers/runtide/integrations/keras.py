"""Keras: W&B's callbacks, which scripts import from `wandb.keras` or `wandb.integration.keras`.

Hand one over: `model.fit(..., callbacks=[WandbMetricsLogger()])`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import keras

import runtide
from runtide.integrations._common import say_models_later

__all__ = ["WandbCallback", "WandbMetricsLogger", "WandbModelCheckpoint"]

_NAMES_A_FORMAT = keras.__version__ >= "3"


class WandbMetricsLogger(keras.callbacks.Callback):
    """Logs each epoch as `epoch/loss`, `epoch/val_loss`, … over `epoch/epoch`; batches too as `batch/loss`, ….

    Args:
        log_freq: epoch for no batches, batch for all, or a number: one batch in so many.
        initial_global_step: Batches that were trained before.
    """

    def __init__(self, log_freq: int | str = "epoch", initial_global_step: int = 0) -> None:
        super().__init__()
        self._every = {"epoch": 0, "batch": 1}[log_freq] if isinstance(log_freq, str) else log_freq
        self._step = initial_global_step
        runtide.define_metric("epoch/*", step_metric="epoch/epoch")
        runtide.define_metric("batch/*", step_metric="batch/batch_step")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log what Keras says of the epoch."""
        self._log("epoch", {**(logs or {}), "epoch": epoch})

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log what Keras says of the batch, if it is one to be logged."""
        self._step += 1
        if self._every and batch % self._every == 0:
            self._log("batch", {**(logs or {}), "batch_step": self._step})

    def _log(self, prefix: str, values: dict[str, Any]) -> None:
        with suppress(AttributeError, TypeError, ValueError):  # optimizers of one's own need not have one
            values["learning_rate"] = float(self.model.optimizer.learning_rate)
        runtide.log({f"{prefix}/{name}": value for name, value in values.items()})


class WandbCallback(keras.callbacks.Callback):
    """Logs each epoch as `loss`, `val_loss`, … and `epoch`; the summary gets the best one.

    Args:
        monitor: What decides which epoch is the best.
        mode: min, max, or auto: max for accuracies and F-measures.
        log_batch_frequency: Log one batch in so many as well.
        log_best_prefix: Put before the best value's name in the summary; None for no best one.
        options: What W&B's takes besides for models, images and gradients, none of which are recorded yet.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        verbose: int = 0,
        mode: str = "auto",
        *,
        log_batch_frequency: int | None = None,
        log_best_prefix: str | None = "best_",
        **options: Any,
    ) -> None:
        super().__init__()
        self._monitor = monitor
        self._sign = (
            1 if mode == "max" or (mode == "auto" and ("acc" in monitor or monitor.startswith("fmeasure"))) else -1
        )
        self._every = log_batch_frequency
        self._prefix = log_best_prefix
        self._best = -float("inf")
        if options.get("save_model", True):
            say_models_later()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log what Keras says of the epoch."""
        values = dict(logs or {})
        runtide.log({**values, "epoch": epoch})
        value = values.get(self._monitor)
        if self._prefix is not None and value is not None and self._sign * value > self._best:
            self._best = self._sign * value
            runtide.summary.update({f"{self._prefix}{self._monitor}": value, f"{self._prefix}epoch": epoch})

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log what Keras says of the batch, if it is one to be logged."""
        if self._every and batch % self._every == 0:
            runtide.log(dict(logs or {}))


class WandbModelCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keras' own checkpoints; saving them with the run is not there yet, which is said once.

    Args:
        filepath: Where they go. Keras 3 asks for its own suffix, which is put behind a path without one.
        options: What Keras' callback takes.
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        **options: Any,
    ) -> None:
        path = os.fspath(filepath)
        if _NAMES_A_FORMAT and not path.endswith((".keras", ".h5")):
            path += ".weights.h5" if save_weights_only else ".keras"
        super().__init__(path, monitor, verbose, save_best_only, save_weights_only, **options)
        say_models_later()
