"""Hugging Face Transformers: metrics, configuration and results of a `Trainer`.

Either name it, which needs this module to have been imported before the Trainer is made:

    import runtide.integrations.huggingface
    TrainingArguments(..., report_to="runtide")

or hand it over:

    Trainer(..., callbacks=[RuntideCallback()])
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.integrations import integration_utils

import runtide
from runtide._run import Run
from runtide.integrations._common import models_wanted, project, say_models_later

__all__ = ["RuntideCallback"]

# Results of a whole training, which have no step.
_ONCE = frozenset(("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos"))
_STEP = "train/global_step"


class RuntideCallback(TrainerCallback):
    """Logs what a Trainer reports, by Transformers' own names: `train/loss`, `eval/loss`, ... over `train/global_step`.

    It goes on with the current run, and begins one where there is none: in the project RUNTIDE_PROJECT, else
    WANDB_PROJECT, else huggingface, with the `run_name` of the TrainingArguments as its name. The run ends with the
    process or by `runtide.finish()`, so that evaluations after the training are still part of it.
    """

    def __init__(self) -> None:
        self._run: Run | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Begin a run, and one for each trial of a search for hyperparameters."""
        if state.is_hyper_param_search:
            runtide.finish()
            self._run = None
            args.run_name = None
        self._begin(args, state, model)

    def on_log(self, args: Any, state: Any, control: Any, model: Any = None, logs: Any = None, **_: Any) -> None:
        """Log what the Trainer reports; results of the whole training go to the summary."""
        if run := self._begin(args, state, model):
            run.summary.update({key: value for key, value in logs.items() if key in _ONCE})
            values = {key: value for key, value in logs.items() if key not in _ONCE}
            run.log({**integration_utils.rewrite_logs(values), _STEP: state.global_step})

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, model: Any = None, **_: Any) -> None:
        """Log the metrics of a prediction."""
        if run := self._begin(args, state, model):
            run.log(integration_utils.rewrite_logs(metrics))

    def _begin(self, args: Any, state: Any, model: Any) -> Run | None:
        """The run, in the process that reports."""
        if not state.is_world_process_zero:
            return None
        if self._run is None or self._run is not runtide.run:
            self._run = runtide.run or self._init(args, state)
            self._run.config.update(_configuration(args, model), allow_val_change=True)
            self._run.define_metric(_STEP)
            self._run.define_metric("*", step_metric=_STEP, step_sync=True)
            if models_wanted():
                say_models_later()
        return self._run

    def _init(self, args: Any, state: Any) -> Run:
        if state.trial_name is not None:
            named = {"name": state.trial_name, "group": args.run_name or args.output_dir}
        else:
            named = {"name": args.run_name}
        return runtide.init(project=project(None, "huggingface"), **named)


def _configuration(args: Any, model: Any) -> dict[str, Any]:
    """The model's configuration and the arguments of the training, which win."""
    config = getattr(model, "config", None) or {}
    adapters = getattr(model, "peft_config", None)
    found = {
        **({"peft_config": adapters} if adapters else {}),
        **(config if isinstance(config, dict) else config.to_dict()),
        **args.to_dict(),
    }
    if hasattr(model, "num_parameters"):
        found["model/num_parameters"] = model.num_parameters()
    return found


# Transformers looks callbacks up by name in this table alone; it has no entry points.
integration_utils.INTEGRATION_TO_CALLBACK["runtide"] = RuntideCallback
