"""The next point of `bayes`: where a Gaussian process expects most to be gained.

trials ──▶ what they came to ──▶ process ──▶ those that run come to what it expects ──▶ the most promising point
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from threadpoolctl import ThreadpoolController

from runtide._sweeps._cube import Cube
from runtide._sweeps._gaussian import Array, Process, log_improvement
from runtide._sweeps._space import Point, Space
from runtide._sweeps._survey import CLAIM, OUTCOME, state_of

# Trials at random before there is a process: places that are spread evenly cost more trials than they save.
_FIRST = 8
# Trials that a process knows at most: an ask takes the third power of it.
_MOST, _MOST_RUNNING = 100, 30
# The lengths are looked for again when there are so many more trials.
_GROWTH = 1.03
# Points looked at: at random, around the best trials, and then around the best of these, closer and closer.
_RANDOM, _AROUND, _BEST = 500, 20, 6
_WIDTHS = (0.1, 0.03, 0.01, 0.003)
# Of the points looked at, those that may turn out to have been run before.
_TRIED = 50


class Bayes:
    """Chooses points for one metric.

    Args:
        space: The parameters.
        maximize: Large is good.
    """

    def __init__(self, space: Space, maximize: bool) -> None:
        self._cube = Cube(space)
        self._sign = -1.0 if maximize else 1.0
        # A generator of its own: training code must find its random numbers as it left them.
        self._random = np.random.default_rng()
        self._settings: Array | None = None
        self._fitted = 0
        # Matrices are too small for threads: those of BLAS would wait for one another, and take ten times as long.
        self._threads = ThreadpoolController()
        self._seen = 0
        self._told: dict[str, tuple[Array, float]] = {}

    def propose(self, trials: Sequence[FrozenTrial], is_new: Callable[[Point], bool]) -> Point | None:
        """The next point; None for one at random: there are few trials as yet, or none was found that is new.

        Args:
            trials: All of the storage, in the order of their numbers.
            is_new: Whether a point may be run.
        """
        running = self._learn(trials)
        if len(self._told) < _FIRST:
            return None
        with self._threads.limit(limits=1, user_api="blas"):
            looked, promise = self._search(running)
        return next(filter(is_new, islice(self._points(looked[np.argsort(-promise)]), _TRIED)), None)

    def _points(self, places: Array) -> Iterator[Point]:
        """Each once, in their order."""
        seen = set[bytes]()
        for place in places:
            if (key := place.tobytes()) not in seen:
                seen.add(key)
                yield self._cube.point(place)

    def _learn(self, trials: Sequence[FrozenTrial]) -> list[Array]:
        """Take in what has ended; the places of what runs."""
        running = []
        for place in range(self._seen, len(trials)):
            trial = trials[place]
            state, claim = state_of(trial), trial.user_attrs.get(CLAIM)
            if state == "running" and claim:
                running.append(self._cube.place(trial.params))
            elif state in ("finished", "stopped", "failed"):
                # Of a run that was tried again the last try counts.
                run = claim["run"] if claim else str(trial.number)
                self._told[run] = (self._cube.place(trial.params), self._sign * _came_to(trial))
        while self._seen < len(trials) and trials[self._seen].state.is_finished():
            self._seen += 1
        return running[-_MOST_RUNNING:]

    def _search(self, running: list[Array]) -> tuple[Array, Array]:
        places, values = self._known()
        process, best = self._process(places, values, running)

        def promise(shares: Array) -> Array:
            if not len(shares):  # constraints that leave next to nothing
                return np.empty(0)
            return log_improvement(*process.predict(self._cube.columns(shares)), best)

        around = places[np.argsort(values)[:_BEST]]
        looked = np.vstack([self._cube.draw(self._random, _RANDOM), self._near(around, _WIDTHS[0])])
        found = promise(looked)
        for width in _WIDTHS:
            order = np.argsort(-found)[:_BEST]
            near = self._near(looked[order], width)
            looked, found = np.vstack([looked, near]), np.concatenate([found, promise(near)])
        return looked, found

    def _near(self, shares: Array, width: float) -> Array:
        return self._cube.move(self._random, np.repeat(shares, _AROUND, 0), width)

    def _known(self) -> tuple[Array, Array]:
        """Places and standardised values; of many the best half, and as many of all the others."""
        told = list(self._told.values())
        values = np.array([value for _, value in told])
        whole = np.isfinite(values)
        if not whole.any():
            values, whole = np.zeros(len(values)), np.ones(len(values), dtype=bool)
        values = np.where(whole, values, values[whole].max())
        order = np.argsort(values, kind="stable")
        if len(order) > _MOST:
            rest = np.sort(order[_MOST // 2 :])
            evenly = np.linspace(0, len(rest) - 1, _MOST - _MOST // 2).astype(int)
            order = np.concatenate([order[: _MOST // 2], rest[evenly]])
        return np.array([told[place][0] for place in order]), _standardised(values[order])

    def _process(self, places: Array, values: Array, running: list[Array]) -> tuple[Process, float]:
        columns, parameter_of = self._cube.columns(places), self._cube.parameter_of
        known = self._settings if len(self._told) < self._fitted * _GROWTH else None
        process = Process(parameter_of, columns, values, known, self._settings)
        if known is None:
            self._settings, self._fitted = process.settings, len(self._told)
        best = float(process.predict(columns)[0].min())  # not the least value, which may be noise
        if running:
            there = self._cube.columns(np.array(running))
            expected = process.predict(there)[0]
            best = min(best, float(expected.min()))
            values = np.concatenate([values, expected])
            process = Process(parameter_of, np.vstack([columns, there]), values, process.settings)
        return process, best


def _came_to(trial: FrozenTrial) -> float:
    """NaN for what counts as the worst that was seen."""
    value: Any = trial.values[0] if trial.values else trial.user_attrs.get(OUTCOME, {}).get("imputed")
    return math.nan if value is None else float(value)


def _standardised(values: Array) -> Array:
    """How bad the worst quarter is makes no difference: losses that explode would hide all others."""
    values = values / (np.abs(values).max() or 1.0)
    upper, lowest = np.quantile(values, 0.75), values.min()
    values = np.minimum(values, upper + (upper - lowest))
    return np.asarray((values - values.mean()) / (values.std() or 1.0), dtype=float)
