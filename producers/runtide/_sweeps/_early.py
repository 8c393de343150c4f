"""Whether a trial has to end early."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.study import Study

from runtide._sweeps import _hyperband
from runtide._sweeps._config import Definition
from runtide._sweeps._samplers import pruner

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def must_stop(
    storage: BaseStorage, study: Study, definition: Definition, trial_id: int, history: Sequence[float], reported: int
) -> bool:
    """Report what a try logged, for others to be compared with, and decide whether it has to end.

    Args:
        storage: Where the agents meet.
        study: The sweep there.
        definition: The sweep, with an `early_terminate`.
        trial_id: The try.
        history: All values of the metric, in the order of log().
        reported: How many of them were reported before.

    Raises:
        UpdateFinishedTrialError: The try is somebody else's.
    """
    early = definition.early or {}
    if early["type"] != "hyperband":
        for place in range(reported, len(history)):
            storage.set_trial_intermediate_value(trial_id, place + 1, history[place])
        return pruner(early).prune(study, storage.get_trial(trial_id))
    bands = [band for band in _hyperband.bands(early) if band <= len(history)]
    for band in bands:
        if band > reported:
            storage.set_trial_intermediate_value(trial_id, band, history[band - 1])
    if not bands:
        return False
    last = bands[-1]
    sign = -1.0 if definition.metrics[0].maximize else 1.0
    trials = study.get_trials(deepcopy=False)
    at = [sign * trial.intermediate_values[last] for trial in trials if last in trial.intermediate_values]
    return _hyperband.stops(early, [sign * value for value in history], {last: at})
