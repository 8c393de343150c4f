"""A sweep as its page draws it, kept while nothing is decided in it; its importances are found out in a thread.

stamp ─▶ known? ─▶ trials, runs ─▶ Loaded ─▶ judged by an objective ─▶ which are shown
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np

from runtide_dashboards import importance, sweep_charts, sweep_frames, sweep_scales, sweep_trials
from runtide_dashboards.errors import StoreAway
from runtide_dashboards.importance import Findings
from runtide_dashboards.queries import sweeps
from runtide_dashboards.queries.sweeps import More, Sweep
from runtide_dashboards.sweep_frames import Cost
from runtide_dashboards.sweep_trials import Axis, Floats, Objective, Trial
from runtide_dashboards.sweep_views import SweepView

T = TypeVar("T")
# What was made, or is being made, by what it is made of.
Kept = OrderedDict[object, Future[Any]]
# Sweeps of ten thousand trials take tens of megabytes.
_KEPT, _KEPT_STUDIES, _KEPT_ANSWERS = 8, 64, 64
# What runs say of themselves comes apart from what is decided: for so long after a decision it is asked for anew.
_SETTLED = 120
_FRESH = 30
_RECENT = 2
# The study of so many trials takes no longer than so many seconds.
_FEW, _PATIENCE = 100, 0.2
_NICE = 10
# One at a time: it keeps a core busy for seconds, and queries want one too.
_workers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runtide-importance")
# What browsers are about to ask for.
_early = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runtide-sweep")
_lock = threading.Lock()
_sweeps: Kept = OrderedDict()
_loaded: Kept = OrderedDict()
_judged: Kept = OrderedDict()
_costs: Kept = OrderedDict()
_studies: Kept = OrderedDict()
_findings: OrderedDict[object, Findings] = OrderedDict()


@dataclass(frozen=True)
class Loaded:
    """A sweep and its trials.

    Args:
        sweep: The sweep.
        at: Differs from that of any other state of it.
        trials: In the order of their ends, those that go on last.
        more: What else is said of each, by the path of its run.
        axes: Its parameters.
        columns: The values of each parameter by name: float64[n].
        over: How many of the trials are over.
    """

    sweep: Sweep
    at: tuple[object, ...]
    trials: list[Trial]
    more: dict[str, More]
    axes: list[Axis]
    columns: dict[str, Floats]
    over: int


_latest: OrderedDict[str, Loaded] = OrderedDict()


@dataclass(frozen=True)
class Judged:
    """Trials under one objective.

    Args:
        at: Differs from that of any other trials, objective and choice of what is shown.
        objective: What is judged by.
        trials: All of them.
        scores: Their values of the objective: float64[n], NaN for none.
        shown: Places of those that charts and table are of.
    """

    at: tuple[object, ...]
    objective: Objective
    trials: list[Trial]
    scores: Floats
    shown: list[int]

    @property
    def best(self) -> int | None:
        """Place of the best trial."""
        costs = self.costs
        return None if np.isnan(costs).all() else int(np.nanargmin(costs))

    @property
    def costs(self) -> Floats:
        """The scores so that small is good."""
        return -self.scores if self.objective.maximize else self.scores


def find(name: str) -> Sweep | None:
    """The sweep with this path or id, as it was two seconds ago at most: the parts of a page ask for it one by one."""
    # A path is asked for anew only after a decision: the answer takes the store longer than whether there was one.
    since = _stamp(name) if "/" in name else int(time.monotonic() / _RECENT)
    return once(_sweeps, _KEPT_ANSWERS, (name, since), lambda: sweeps.find_sweep(name))


def _stamp(path: str) -> tuple[int, int]:
    now = int(time.monotonic() / _RECENT)
    return once(_sweeps, _KEPT_ANSWERS, ("stamp", path, now), lambda: sweeps.stamp(path))


def load(sweep: Sweep) -> Loaded:
    """The sweep with its trials.

    Raises:
        StoreAway, QueryFailed: See `queries.store`.
    """
    stamp = _stamp(sweep.path)
    fresh = int(time.monotonic() / _FRESH) if time.time() - stamp[1] / 1e6 < _SETTLED else 0
    at = sweep.path, sweep.state, stamp, fresh
    found = once(_loaded, _KEPT, at, lambda: _load(sweep, at))
    with _lock:
        _latest[sweep.path] = found
        _latest.move_to_end(sweep.path)
        while len(_latest) > _KEPT:
            _latest.popitem(last=False)
    return found


def current(name: str) -> Loaded | None:
    """The sweep with this path or id as it is, or, while the store is away, as it was; None when there is none.

    Raises:
        StoreAway, QueryFailed: See `queries.store`; the first only when it was never loaded.
    """
    try:
        sweep = find(name)
        return None if sweep is None else load(sweep)
    except StoreAway:
        with _lock:
            before = next((one for path, one in _latest.items() if name in (path, path.rpartition("/")[2])), None)
        if before is None:
            raise
        return before


def expect(view: SweepView) -> None:
    """Begin to load what the page of a view will ask for; what goes wrong is told there."""
    if view.sweep:
        _early.submit(_prepare, view)


def _prepare(view: SweepView) -> None:
    loaded = current(view.sweep)
    if loaded is not None:
        metrics(loaded)
        judge(loaded, view)


def cost(loaded: Loaded) -> Cost:
    """What the runs of the sweep took."""
    return once(_costs, _KEPT, loaded.at, lambda: sweep_frames.cost(loaded.trials, sweeps.energy(loaded.sweep.path)))


def _load(sweep: Sweep, at: tuple[object, ...]) -> Loaded:
    found, more = sweeps.trials(sweep.path)
    over = sweep_charts.ended(found)
    going = sorted(set(range(len(found))) - set(over))
    trials = [found[place] for place in (*over, *going)]
    axes = sweep_trials.axes(sweep.given, trials)
    columns = {axis.name: sweep_trials.column(trials, axis) for axis in axes}
    return Loaded(sweep, at, trials, more, axes, columns, len(over))


def judge(loaded: Loaded, view: SweepView) -> Judged:
    """The trials under the objective that a view asks for.

    Raises:
        StoreAway, QueryFailed: See `queries.store`.
    """
    objective = objective_of(loaded, view)
    at = loaded.at, objective, view.best, view.hide
    return once(_judged, _KEPT, at, lambda: _judge(loaded, view, objective, at))


def _judge(loaded: Loaded, view: SweepView, objective: Objective, at: tuple[object, ...]) -> Judged:
    trials = loaded.trials
    if objective.name and objective.name not in {one.name for one in loaded.sweep.objectives}:
        values = once(
            _loaded, _KEPT, (loaded.at, objective.name), lambda: sweeps.summary(loaded.sweep.path, objective.name)
        )
        trials = with_metric(trials, objective.name, values)
    scores = sweep_trials.scores(trials, objective)
    costs = -scores if objective.maximize else scores
    kept = set(range(len(trials)) if view.best == "100" else sweep_scales.best_share(costs, int(view.best)))
    shown = [place for place in sorted(kept) if not (view.hide and trials[place].state == "failed")]
    return Judged(at, objective, trials, scores, shown)


def metrics(loaded: Loaded) -> list[str]:
    """What trials can be judged by: the objectives of the sweep, then what else its runs sum up as a number."""
    own = [one.name for one in loaded.sweep.objectives]
    keys = once(
        _loaded, _KEPT, (loaded.at, None), lambda: sweeps.find_keys([one.run for one in loaded.trials[: loaded.over]])
    )
    return list(dict.fromkeys((*own, *keys)))


def objective_of(loaded: Loaded, view: SweepView) -> Objective:
    """What a view judges by; its name is empty where nothing was ever measured."""
    told = {one.name: one for one in loaded.sweep.objectives}
    chosen = view.objective or next(iter(told), "") or next(iter(metrics(loaded)), "")
    maximize = told[chosen].maximize if chosen in told else False
    return Objective(chosen, view.goal == "maximize" if view.goal else maximize)


def study(loaded: Loaded, judged: Judged) -> Future[Findings]:
    """What of the parameters matters, as soon as it is known: it is found out once for so many trials.

    While the sweep goes on, two percent more of them make no new study.
    """
    return once(
        _studies,
        _KEPT_STUDIES,
        _studied(loaded, judged),
        lambda: _workers.submit(_study, judged, loaded.axes),
    )


def _study(judged: Judged, axes: Sequence[Axis]) -> Findings:
    # Pages and the store go first: with its threads, a study would take all processors of a small machine.
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    return importance.study(judged.trials, judged.objective, axes)


def _studied(loaded: Loaded, judged: Judged) -> object:
    step = max(1, loaded.over // 50) if loaded.sweep.live else 1
    return loaded.sweep.path, loaded.sweep.live, loaded.over // step, step, judged.objective


def findings(loaded: Loaded, judged: Judged) -> Findings | None:
    """What of the parameters matters, if need be of fewer trials; None when nothing is known.

    A study of few trials is begun and waited for; one of many is begun by `study` alone.
    """
    asked = loaded.sweep.path, judged.objective
    if loaded.over <= _FEW:
        study(loaded, judged)
    with _lock:
        begun = _studies.get(_studied(loaded, judged))
        known = _findings.get(asked)
    if begun is None:
        return known
    try:
        found = cast("Future[Findings]", begun.result()).result(_PATIENCE if loaded.over <= _FEW else 0)
    except NotYet:
        return known
    with _lock:
        _findings[asked] = found
        _findings.move_to_end(asked)
        while len(_findings) > _KEPT_STUDIES:
            _findings.popitem(last=False)
    return found


def with_metric(trials: Sequence[Trial], name: str, values: Mapping[str, float]) -> list[Trial]:
    """The trials with another metric beside their objectives. Args: the trials; its name; its values by run path."""
    return [
        replace(trial, objectives={**trial.objectives, name: values[trial.run]}) if trial.run in values else trial
        for trial in trials
    ]


def once(kept: Kept, most: int, key: object, make: Callable[[], T]) -> T:
    """What was made under a key, or make it; who asks meanwhile waits for it.

    Args:
        kept: Where it is kept.
        most: How much is kept there.
        key: Of what it is made.
        make: Makes it; what it raises is everybody's, and it is made anew for the next.
    """
    with _lock:
        before = kept.get(key)
        if before is None:
            mine = kept[key] = Future[T]()
            while len(kept) > most:
                kept.popitem(last=False)
        else:
            kept.move_to_end(key)
    if before is not None:
        return cast(T, before.result())
    try:
        made = make()
    except BaseException as error:
        with _lock:
            if kept.get(key) is mine:
                del kept[key]
        mine.set_exception(error)
        raise
    mine.set_result(made)
    return made
