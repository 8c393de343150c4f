"""A sweep as its agents share it: what is asked for and told is in one Optuna storage, and nowhere else.

    ask ──▶ a try that was lost, or failed and may be retried ──▶ ... begun again, under its run's id
        └─▶ else a new point ──▶ an Optuna trial with a claim ──▶ it counts (see _survey), or is discarded

There is no coordinator. An agent keeps its trial by a lease that it renews; whoever asks next ends a try whose lease
is over, which the storage lets happen once, and the try's own agent is refused then when it tells.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from runtide import _names
from runtide._errors import Error, NotFoundError
from runtide._sweeps._choice import Choice
from runtide._sweeps._config import Definition
from runtide._sweeps._early import must_stop
from runtide._sweeps._records import Recorder, agent_name, plain
from runtide._sweeps._space import Point
from runtide._sweeps._survey import CLAIM, LEASE, MOST_LOSSES, OUTCOME, Rules, Survey, Surveyor, state_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


# Points that a sampler proposes before one is drawn at random.
_SAMPLED = 20
_ENDED = ("finished", "stopped", "cancelled")
STATES = ("running", "paused", *_ENDED)


@dataclass(frozen=True)
class Task:
    """One try of one trial, which this agent has to run."""

    trial_id: int
    number: int
    run: str
    attempt: int
    values: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a try ended.

    Args:
        state: finished, stopped (early), failed, or lost: it is to be begun again.
        objectives: By metric, as far as known.
        why: In words, unless it finished.
        imputed: What it is taken to have come to when it failed; None for the worst of all.
        broken: The training itself failed, and not only its metric.
    """

    state: str
    objectives: Mapping[str, float]
    why: str = ""
    imputed: float | None = None
    broken: bool = False


class Sweep:
    """One sweep.

    Args:
        storage: Where its agents meet.
        path: Its path, entity/project/id.
        definition: What was asked for.
        recorder: Told of every decision of this process.
        lease: Seconds that an agent may be silent.
    """

    def __init__(
        self, storage: BaseStorage, path: str, definition: Definition, recorder: Recorder, lease: float
    ) -> None:
        self._storage = storage
        self._id = _find(storage, path)
        self.path = path
        self.definition = definition
        self.recorder = recorder
        self.lease = lease
        self._choice = Choice(storage, path, definition)
        self._surveyor = Surveyor(Rules(definition.run_cap, definition.retries, self._choice.finite, lease))

    @property
    def state(self) -> str:
        """running, paused, finished, stopped or cancelled."""
        return str(self._storage.get_study_user_attrs(self._id).get("state", "running"))

    def set_state(self, state: str, why: str = "") -> None:
        """Let every agent know what to do from now on."""
        self._storage.set_study_user_attr(self._id, "state", state)
        self.recorder.sweep("state", state, why)

    def ask(self) -> Task | None:
        """The next try to run; None when there is none now: see `over`."""
        while self.state == "running":
            survey = self._survey()
            for trial in survey.overdue():
                self._close(trial)
                survey = self._survey()
            begun: tuple[int, dict[str, Any]] | None
            if survey.again:
                begun = self._begin(*self._successor(next(iter(survey.again.values()))))
            elif self._is_full(survey) or not (begun := self._new(survey)):
                return None
            if task := self._checked(*begun):
                return task
        return None

    def over(self) -> bool:
        """Whether nothing will ever have to be run any more; ends the sweep when all has been."""
        state = self.state
        if state == "running":
            survey = self._survey()
            done = self._is_full(survey) or (self.definition.method == "grid" and self._choice.left(survey) is None)
            if done and not survey.open and not survey.again:
                self.set_state("finished", "everything was run")
                return True
        return state in _ENDED

    def tell(self, task: Task, outcome: Outcome) -> bool:
        """Say how a try ended; False when it had been given to somebody else meanwhile."""
        metrics = self.definition.metrics
        values = [outcome.objectives.get(metric.name, math.nan) for metric in metrics]
        whole = all(map(math.isfinite, values)) if values else True
        told = {"state": outcome.state, "objectives": plain(outcome.objectives), "why": outcome.why}
        if outcome.imputed is not None:
            told["imputed"] = outcome.imputed
        try:
            self._storage.set_trial_user_attr(task.trial_id, OUTCOME, told)
            # Before the state: a record of a try that is not accepted gives way to that of the next one.
            self._record_told(task.run, task.attempt, task.number, task.values, told)
            state = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}.get(outcome.state, TrialState.FAIL)
            self._storage.set_trial_state_values(task.trial_id, state, (values or [0.0]) if whole else None)
        except UpdateFinishedTrialError:
            return False
        if outcome.state == "finished" and any(
            metric.reached(value) for metric, value in zip(metrics, values, strict=True)
        ):
            self.set_state("finished", "a run reached the target")
        return True

    def _record_told(
        self, run: str, attempt: int, number: int, values: Mapping[str, Any], told: Mapping[str, Any]
    ) -> None:
        objectives = {name: float(value) for name, value in told["objectives"].items()}
        self.recorder.trial(
            run, "told", told["state"], values, number=number, why=told["why"], objectives=objectives,
            **{"try": attempt},
        )  # fmt: skip

    def give_up(self, task: Task, why: str = "its agent was interrupted") -> None:
        """Let somebody else go on with a try that is not at fault."""
        try:
            self._storage.set_trial_state_values(task.trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return
        self.recorder.trial(
            task.run, "lost", "lost", task.values, number=task.number, why=why, **{"try": task.attempt},
        )  # fmt: skip

    def renew(self, task: Task) -> bool:
        """Keep a try for another lease; False when it is no longer this agent's."""
        try:
            self._storage.set_trial_user_attr(task.trial_id, LEASE, time.time() + self.lease)
        except UpdateFinishedTrialError:
            return False
        return True

    def must_stop(self, task: Task, history: Sequence[float], reported: int) -> bool:
        """Report what a try logged and decide whether it has to end early.

        Args:
            task: The try.
            history: All values of the metric, in the order of log().
            reported: How many of them were reported before.
        """
        if self.definition.early is None:
            return False
        try:
            return must_stop(self._storage, self._choice.study(), self.definition, task.trial_id, history, reported)
        except UpdateFinishedTrialError:
            return True

    def learn(self, point: Point, objectives: Sequence[float]) -> None:
        """Let the sampler know what an earlier run came to; it is no trial of this sweep."""
        distributions = self._choice.distributions(point)
        self._storage.create_new_trial(
            self._id, create_trial(values=[*objectives], params=dict(point.drawn), distributions=distributions)
        )

    def trials(self) -> list[FrozenTrial]:
        """The last try of every trial that counts, in the order in which they were begun."""
        survey = self._survey()
        trials = self._storage.get_all_trials(self._id, deepcopy=False)
        runs = dict.fromkeys(t.user_attrs[CLAIM]["run"] for t in trials if CLAIM in t.user_attrs)
        return [latest for run in runs if (latest := survey.latest(run))]

    def _survey(self) -> Survey:
        return self._surveyor.survey(self._storage.get_all_trials(self._id, deepcopy=False))

    def _is_full(self, survey: Survey) -> bool:
        return self.definition.run_cap is not None and survey.first >= self.definition.run_cap

    def _close(self, trial: FrozenTrial) -> None:
        """End a try whose agent is silent: as it had told, if it got as far as that."""
        claim, told = trial.user_attrs.get(CLAIM), trial.user_attrs.get(OUTCOME)
        state, values = TrialState.FAIL, None
        if told and told["state"] in ("finished", "stopped"):
            names = [metric.name for metric in self.definition.metrics]
            state = TrialState.COMPLETE if told["state"] == "finished" else TrialState.PRUNED
            values = [float(told["objectives"].get(name, math.nan)) for name in names] or [0.0]
            values = values if all(map(math.isfinite, values)) else None
        try:
            self._storage.set_trial_state_values(trial._trial_id, state, values)
        except UpdateFinishedTrialError:
            return
        if claim and told and told["state"] != "discarded":  # perhaps it had not got as far as its record
            self._record_told(claim["run"], claim["try"], trial.number, claim["values"], told)
        elif claim:
            why = "its agent was not heard of any more"
            final = claim["losses"] >= MOST_LOSSES
            self.recorder.trial(
                claim["run"], "lost", "failed" if final else "lost", claim["values"], number=trial.number,
                why=f"{why}, {MOST_LOSSES + 1} times" if final else why, **{"try": claim["try"]},
            )  # fmt: skip

    def _successor(self, trial: FrozenTrial) -> tuple[dict[str, Any], FrozenTrial]:
        old = trial.user_attrs[CLAIM]
        kind = "losses" if state_of(trial) == "lost" else "failures"
        return {**old, "try": old["try"] + 1, kind: old[kind] + 1}, trial

    def _begin(
        self, claim: dict[str, Any], like: FrozenTrial | None = None, **given: Any
    ) -> tuple[int, dict[str, Any]]:
        """Write a trial with a claim, in one piece: killed before or after, this agent leaves nothing half done."""
        claim = {**claim, "agent": agent_name(), "lease": time.time() + self.lease}
        if like is not None:
            given = {"params": like.params, "distributions": like.distributions}
        template = create_trial(state=TrialState.RUNNING, user_attrs={CLAIM: claim}, **given)
        return self._storage.create_new_trial(self._id, template), claim

    def _checked(self, trial_id: int, claim: dict[str, Any]) -> Task | None:
        """The trial as a task; None, and it is discarded, when another agent was first."""
        survey = self._survey()
        mine = survey.latest(claim["run"])
        if mine is None or mine._trial_id != trial_id:
            self._discard(trial_id, "another agent was first")
            return None
        values = claim["values"]
        self.recorder.trial(claim["run"], "asked", "running", values, number=mine.number, **{"try": claim["try"]})
        config = self.definition.space.config(Point({}, values))
        return Task(trial_id, mine.number, claim["run"], claim["try"], values, config)

    def _discard(self, trial_id: int, why: str) -> None:
        try:
            self._storage.set_trial_user_attr(trial_id, OUTCOME, {"state": "discarded", "why": why})
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            pass

    def _new(self, survey: Survey) -> tuple[int, dict[str, Any]] | None:
        """Begin a new point; None when there is none left."""
        choice = self._choice
        if self.definition.method == "grid":
            left = choice.left(survey)
            return None if left is None else self._begin_at(left)
        unique = choice.finite and choice.left(survey) is not None
        if self.definition.by_process and (proposed := choice.propose(survey)):
            return self._begin_at(proposed, twice=not unique)
        if self.definition.method != "random" and not self.definition.by_process:
            for _ in range(_SAMPLED):
                trial, point = choice.sample()
                if choice.is_new(point, survey, unique):
                    claim = self._claim(point, twice=not unique) | {"lease": time.time() + self.lease}
                    self._storage.set_trial_user_attr(trial._trial_id, CLAIM, claim)
                    return trial._trial_id, claim
                self._discard(trial._trial_id, "it was run before, or a constraint does not hold")
        drawn = choice.draw(survey, unique)
        if drawn is None:
            self.set_state("stopped", "no point was found that the constraints allow")
            raise Error(f"sweep {self.path}: no point was found that keeps the constraints; the sweep is stopped")
        return self._begin_at(drawn, twice=not unique)

    def _claim(self, point: Point, twice: bool) -> dict[str, Any]:
        return {
            "run": _names.run_id(), "try": 0, "key": point.key, "twice": twice, "values": plain(point.values),
            "losses": 0, "failures": 0, "agent": agent_name(),
        }  # fmt: skip

    def _begin_at(self, point: Point, twice: bool = False) -> tuple[int, dict[str, Any]]:
        distributions = self._choice.distributions(point)
        return self._begin(self._claim(point, twice), params=dict(point.drawn), distributions=distributions)


def create(storage: BaseStorage, path: str, definition: Definition) -> None:
    """Put a new sweep into a storage.

    Raises:
        Error: There is one of this path.
    """
    metrics = definition.metrics
    directions = [StudyDirection.MAXIMIZE if metric.maximize else StudyDirection.MINIMIZE for metric in metrics]
    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(told, optuna.logging.WARNING))  # it would say so in words of its own
    try:
        study = storage.create_new_study(directions or [StudyDirection.MINIMIZE], path)
    except DuplicatedStudyError:
        raise Error(f"there is a sweep {path} already") from None
    finally:
        optuna.logging.set_verbosity(told)
    storage.set_study_user_attr(study, "config", dict(definition.given))
    storage.set_study_user_attr(study, "state", "running")


def config_of(storage: BaseStorage, path: str) -> dict[str, Any]:
    """The config of a sweep in a storage.

    Raises:
        NotFoundError: There is none of this path.
    """
    return dict(storage.get_study_user_attrs(_find(storage, path)).get("config", {}))


def _find(storage: BaseStorage, path: str) -> int:
    try:
        return storage.get_study_id_from_name(path)
    except KeyError:
        raise NotFoundError(f"there is no sweep {path}: look at its id, entity and project") from None
