"""Lightning: what a Trainer logs.

    from runtide.integrations.lightning import RuntideLogger
    Trainer(logger=RuntideLogger(project="mnist"))

Works with the package `lightning` and with `pytorch_lightning`: with the one that was imported first.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import runtide
from runtide._run import Run
from runtide.integrations._common import models_wanted, say_models_later
from runtide.integrations._common import project as project_of

__all__ = ["RuntideLogger"]

_OLD = "pytorch_lightning" in sys.modules or find_spec("lightning") is None
_PACKAGE: Any = importlib.import_module("pytorch_lightning" if _OLD else "lightning.pytorch")
_rank_zero_only: Any = _PACKAGE.utilities.rank_zero_only
_logger: Any = importlib.import_module(f"{_PACKAGE.__name__}.loggers.logger")
_STEP = "trainer/global_step"


class RuntideLogger(_logger.Logger):
    """Logs metrics over `trainer/global_step`, and hyperparameters as the run's configuration.

    Args:
        project: As `runtide.init` takes it (default: RUNTIDE_PROJECT, else WANDB_PROJECT, else lightning_logs).
        name: Name of the run.
        log_model: Save checkpoints with the run; not there yet, which is said once.
        prefix: Put before the name of every metric, with a dash.
        experiment: A run to log to; without one the current run, or a new one when something is logged first.
        arguments: What else `runtide.init` takes.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        log_model: bool | str = False,
        prefix: str = "",
        experiment: Run | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self._arguments = {"project": project_of(project, "lightning_logs"), "name": name, **arguments}
        self._log_model = log_model or bool(models_wanted())
        self._prefix = f"{prefix}-" if prefix else ""
        self._experiment = experiment

    @property
    @_logger.rank_zero_experiment  # type: ignore[untyped-decorator]
    def experiment(self) -> Run:
        """The run."""
        if self._experiment is None:
            self._experiment = runtide.run or runtide.init(**self._arguments)
            self._experiment.define_metric(_STEP)
            self._experiment.define_metric("*", step_metric=_STEP, step_sync=True)
        return self._experiment

    @_rank_zero_only  # type: ignore[untyped-decorator]
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values of one call of Lightning's, with its step as a metric."""
        values = {self._prefix + key: value for key, value in metrics.items()}
        self.experiment.log(values if step is None else {**values, _STEP: step})

    @_rank_zero_only  # type: ignore[untyped-decorator]
    def log_hyperparams(self, params: Mapping[str, Any] | argparse.Namespace, *_: Any, **__: Any) -> None:
        """Set hyperparameters in the run's configuration; what has no plain form is set as its text."""
        values = vars(params) if isinstance(params, argparse.Namespace) else params
        for key, value in values.items():
            try:
                self.experiment.config.update({key: value}, allow_val_change=True)
            except TypeError:
                self.experiment.config.update({key: str(value)}, allow_val_change=True)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Called by Lightning after it has written a checkpoint."""
        if self._log_model:
            say_models_later()

    @property
    def name(self) -> str:
        """The project, as Lightning's loggers have it."""
        return str(self._arguments["project"])

    @property
    def version(self) -> str | None:
        """Id of the run, once there is one."""
        return self._experiment.id if self._experiment else self._arguments.get("id")

    def __getstate__(self) -> dict[str, Any]:
        """Begin the run before the logger goes to another process, which then logs into the same one."""
        _ = self.experiment
        return vars(self).copy()
