"""Which point comes next."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import Trial

from runtide._sweeps._config import Definition
from runtide._sweeps._samplers import sampler
from runtide._sweeps._space import Point
from runtide._sweeps._survey import Survey

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

    from runtide._sweeps._bayes import Bayes

# Points that are drawn before a space is taken for one without any that is allowed and new.
_DRAWS = 1000
# A finite space up to this size is written out to find what is left of it.
_WRITTEN_OUT = 20_000


class Choice:
    """Chooses points of one sweep.

    Args:
        storage: Where its agents meet.
        path: Its path.
        definition: What was asked for.
    """

    def __init__(self, storage: BaseStorage, path: str, definition: Definition) -> None:
        self._storage = storage
        self._path = path
        self._definition = definition
        self._space = definition.space
        size = self._space.size
        self.finite = definition.method == "grid" or (size is not None and size <= _WRITTEN_OUT)
        # A generator of its own: training code must find its random numbers as it left them.
        self._random = random.Random(int.from_bytes(random.SystemRandom().randbytes(16), "big"))
        self._points: list[Point] | None = None
        self._offset = 0
        self._study: Study | None = None
        self._bayes: Bayes | None = None

    def is_new(self, point: Point, survey: Survey, unique: bool) -> bool:
        """Whether the constraints allow a point and, where points are unique, nobody has taken it."""
        return self._space.allows(point) and not (unique and survey.has(point.key))

    def left(self, survey: Survey) -> Point | None:
        """The first point of a finite space that nobody has taken."""
        if self._points is None:
            self._points = list(self._space.points())
        while self._offset < len(self._points) and survey.is_settled(self._points[self._offset].key):
            self._offset += 1
        return next((point for point in self._points[self._offset :] if not survey.has(point.key)), None)

    def draw(self, survey: Survey, unique: bool) -> Point | None:
        """A point at random; None when none is found."""
        for _ in range(_DRAWS):
            point = self._space.choose(lambda _, distribution: distribution.draw(self._random.random()))
            if self.is_new(point, survey, unique):
                return point
        return self.left(survey) if unique else None

    def propose(self, survey: Survey) -> Point | None:
        """A point where `bayes` expects the most; None when it finds none that is new."""
        trials = self._storage.get_all_trials(self.study()._study_id, deepcopy=False)
        if self._bayes is None:
            from runtide._sweeps._bayes import Bayes

            self._bayes = Bayes(self._space, self._definition.metrics[0].maximize)
        return self._bayes.propose(trials, lambda point: self.is_new(point, survey, True))

    def sample(self) -> tuple[Trial, Point]:
        """A point that the sampler chose, and the trial that was written for it."""
        trial = self.study().ask()
        return trial, self._space.choose(lambda name, distribution: distribution.suggest(trial, name))

    def distributions(self, point: Point) -> dict[str, BaseDistribution]:
        """What Optuna has to know of a point that it did not choose."""
        names = {one.name: one.distribution for one in self._space.parameters}
        return {name: names[name].optuna() for name in point.drawn}

    def study(self) -> Study:
        """The sweep as Optuna sees it."""
        if self._study is None:
            conditional = any(one.when for one in self._space.parameters)
            self._study = Study(self._path, self._storage, sampler=sampler(self._definition.method, conditional))
        return self._study
