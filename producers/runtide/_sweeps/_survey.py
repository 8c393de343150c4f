"""What the trials in the storage mean for the sweep.

A trial of the sweep is one run; each try of it is a trial of Optuna, which carries a *claim*: the run's id, the number
of the try, the point. Several agents may have begun the same thing at once: of the same try of a run, and of the same
point where points are unique, the one with the lowest number counts. As Optuna's numbers are one order for all, every
agent comes to the same result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

CLAIM, LEASE, OUTCOME = "claim", "lease", "outcome"
# A trial that takes its agent down with it each time.
MOST_LOSSES = 10


@dataclass(frozen=True)
class Rules:
    """What a survey needs to know of the sweep."""

    run_cap: int | None
    retries: int
    unique: bool
    lease: float


def state_of(trial: FrozenTrial) -> str:
    """running, finished, stopped, failed, discarded, or lost."""
    if not trial.state.is_finished():
        return "running"
    if trial.state is TrialState.COMPLETE:
        return "finished"
    if trial.state is TrialState.PRUNED:
        return "stopped"
    told = trial.user_attrs.get(OUTCOME, {}).get("state")
    return str(told) if told in ("failed", "discarded") else "lost" if CLAIM in trial.user_attrs else "discarded"


class Survey:
    """The trials that count.

    Args:
        rules: What the sweep wants.
        base: A survey of all trials with lower numbers.
    """

    def __init__(self, rules: Rules, base: Survey | None = None) -> None:
        self._rules = rules
        self._base = base
        self._latest: dict[str, FrozenTrial] = {}
        self._keys: set[str] = set()
        self.first: int = base.first if base else 0
        self.again: dict[str, FrozenTrial] = dict(base.again) if base else {}
        self.open: list[FrozenTrial] = []

    def latest(self, run: str) -> FrozenTrial | None:
        """The last try of a run."""
        return self._latest.get(run) or (self._base.latest(run) if self._base else None)

    def has(self, key: str) -> bool:
        """Whether a point was taken."""
        return key in self._keys or (self._base is not None and self._base.has(key))

    def is_settled(self, key: str) -> bool:
        """Whether a point was taken for good."""
        return self._base is not None and self._base.has(key)

    def add(self, trial: FrozenTrial) -> None:
        """Take in the trial with the next number."""
        state = state_of(trial)
        claim = trial.user_attrs.get(CLAIM)
        if state == "running":
            self.open.append(trial)
        if claim is None:
            self.first += state == "running"  # it may become one
            return
        if state == "discarded" or not self._counts(claim):
            return
        run = claim["run"]
        self._latest[run] = trial
        self.again.pop(run, None)
        lost = state == "lost" and claim["losses"] < MOST_LOSSES
        if lost or (state == "failed" and claim["failures"] < self._rules.retries):
            self.again[run] = trial

    def _counts(self, claim: dict[str, Any]) -> bool:
        if claim["try"]:
            before = self.latest(claim["run"])
            return before is not None and before.user_attrs[CLAIM]["try"] < claim["try"]
        cap = self._rules.run_cap
        if cap is not None and self.first >= cap:
            return False
        if self._rules.unique and not claim["twice"] and self.has(claim["key"]):
            return False
        self._keys.add(claim["key"])
        self.first += 1
        return True

    def overdue(self) -> list[FrozenTrial]:
        """Trials whose agent has not been heard of for too long."""
        now = time.time()
        return [trial for trial in self.open if self._deadline(trial) < now]

    def _deadline(self, trial: FrozenTrial) -> float:
        lease = trial.user_attrs.get(LEASE) or trial.user_attrs.get(CLAIM, {}).get("lease")
        if lease is not None:
            return float(lease)
        return (trial.datetime_start.timestamp() if trial.datetime_start else 0.0) + self._rules.lease


class Surveyor:
    """Surveys again and again; what has ended for good is looked at once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._settled = Survey(rules)
        self._seen = 0

    def survey(self, trials: Sequence[FrozenTrial]) -> Survey:
        """What the trials, in the order of their numbers, mean now."""
        while self._seen < len(trials) and trials[self._seen].state.is_finished():
            self._settled.add(trials[self._seen])
            self._seen += 1
        survey = Survey(self._rules, self._settled)
        for trial in trials[self._seen :]:
            survey.add(trial)
        return survey
