"""One metric of B held against the baseline's: what is known, and what follows.

No verdict comes without an estimate of what the seed alone does:

1. three runs or more on each side, of the same recipe: Welch's t-test;
2. else the spread of a recipe with three or more other runs, the baseline's, else B's, else the largest family there
   is: Student's t. Of one run against one its error is sd·√2; where a side has more seeds, their mean is compared;
3. else none. How much a curve jumps from step to step says nothing about seeds, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from runtide_dashboards import definitions, spread
from runtide_dashboards.queries.lines import Series
from runtide_dashboards.records import Run
from runtide_dashboards.spread import LEVEL, MIN_RUNS, Test

Outcome = Literal["better", "worse", "higher", "lower", "noise", "equal", "unknown", "missing", "nan", "apart"]
# Whose runs the estimate of the spread came from. `both`: each side has enough seeds of its own; `family`: the two runs
# are of one recipe, and it is that of its other seeds.
Lender = Literal["both", "baseline", "other", "family", "third", "none"]
DECIDED: tuple[Outcome, ...] = ("better", "worse", "higher", "lower")


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Args:
        run: The run that was chosen.
        series: Its series and those of the other runs of its recipe that count, its own first; empty without the key.
        values: Their values, in the same order; empty where the chosen run has none.
        roughness: Standard deviation of the chosen run's points within the window.
        behind: Runs of its recipe that have not come as far, or lack the key.
        bad: Runs of its recipe without a finite value there.
    """

    run: Run
    series: tuple[Series, ...] = ()
    values: tuple[float, ...] = ()
    roughness: float | None = None
    behind: int = 0
    bad: int = 0

    def alone(self) -> Side:
        """The chosen run by itself."""
        return replace(self, series=self.series[:1], values=self.values[:1])


@dataclass(frozen=True)
class Cost:
    """What it took to be as good as the baseline was in the end: steps, and seconds since the run was created.

    What is None is not known; `other_step` is None where B never was as good.
    """

    value: float
    baseline_step: int
    other_step: int | None
    baseline_seconds: float | None
    other_seconds: float | None


@dataclass(frozen=True)
class Comparison:
    """One metric of B and of the baseline.

    Args:
        key: Name of the metric.
        baseline: The baseline, with the runs whose mean it is compared by.
        other: B, likewise.
        outcome: What can be said; `unknown` for a difference without an estimate of the spread.
        goal: `minimize`, `maximize`, or None.
        first: Smallest common step.
        step: Largest common step.
        since: First step of the window.
        test: The test, None without an estimate.
        lender: Whose spread it is.
        lent: How many runs gave it, 0 for both sides' own; where there is none for two seeds of one recipe, how many
            others that has.
        lent_by: Their series.
        alike: Both runs are of one recipe.
        absent: Runs that never logged the key, by path, with the nearest key of theirs or an empty text.
        bad_since: Runs that are not finite in the end, by path, with the step since when.
        parting: Step at which the curves part.
        cost: What it took to reach the baseline's value.
    """

    key: str
    baseline: Side
    other: Side
    outcome: Outcome
    goal: str | None = None
    first: int = 0
    step: int = 0
    since: int = 0
    test: Test | None = None
    lender: Lender = "none"
    lent: int = 0
    lent_by: tuple[Series, ...] = ()
    alike: bool = False
    absent: tuple[tuple[str, str], ...] = ()
    bad_since: tuple[tuple[str, int], ...] = ()
    parting: int | None = None
    cost: Cost | None = None

    @property
    def value(self) -> float:
        """What the baseline is compared by: the mean over its runs."""
        return spread.mean(self.baseline.values)

    @property
    def other_value(self) -> float:
        """What B is compared by."""
        return spread.mean(self.other.values)

    @property
    def difference(self) -> float:
        """B minus the baseline."""
        return self.test.difference if self.test else self.other_value - self.value


def judge(asked: Comparison, thirds: Sequence[tuple[Sequence[Series], Sequence[float]]] = ()) -> Comparison:
    """The comparison with its test and what follows, of two sides that have values.

    Args:
        asked: Key, goal and both sides with all runs of their recipes.
        thirds: Series and values of other families, the first that is large enough is taken.
    """
    a, b = asked.baseline, asked.other
    if not asked.alike and min(len(a.values), len(b.values)) >= MIN_RUNS:
        return _decided(asked, spread.welch(a.values, b.values), "both")
    sides = (a.alone(), b.alone()) if asked.alike else (a, b)
    for lender, series, values in (*_own_lenders(asked), *(("third", *third) for third in thirds)):
        if len(values) >= MIN_RUNS:
            test = spread.borrowed(sides[0].values, sides[1].values, values)
            found = replace(asked, baseline=sides[0], other=sides[1], lent=len(values), lent_by=tuple(series))
            return _decided(found, test, lender)
    found = replace(asked, baseline=sides[0], other=sides[1], lent=len(a.values) - 1 if asked.alike else 0)
    return replace(found, outcome="equal" if found.difference == 0 else "unknown")


def _own_lenders(asked: Comparison) -> list[tuple[Lender, Sequence[Series], Sequence[float]]]:
    """The families of the two runs, where they have three others at least."""
    a, b = asked.baseline, asked.other
    if asked.alike:
        return [("family", a.series[1:], a.values[1:])]
    lenders: tuple[tuple[Lender, Side], ...] = (("baseline", a), ("other", b))
    return [(lender, side.series, side.values) for lender, side in lenders if len(side.values) > MIN_RUNS]


def _decided(asked: Comparison, test: Test, lender: Lender) -> Comparison:
    found = replace(asked, test=test, lender=lender)
    if test.p is None:
        return replace(found, outcome="equal" if test.difference == 0 else "unknown")
    if test.p >= LEVEL:
        return replace(found, outcome="noise")
    rises = test.difference > 0
    if asked.goal is None:
        return replace(found, outcome="higher" if rises else "lower")
    return replace(found, outcome="better" if rises == (asked.goal == definitions.MAXIMIZE) else "worse")
