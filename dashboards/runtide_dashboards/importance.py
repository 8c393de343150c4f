"""Which parameters of a sweep matter, and where the good values lie.

A random forest learns the objective from the parameters; a parameter matters as much as the forest's predictions for
trials that it has not seen become worse when the parameter's values are shuffled. docs/sweeps.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtide_dashboards.importance_columns import Column, spearman, table, usable
from runtide_dashboards.importance_forest import SEED, grow, redrawn
from runtide_dashboards.importance_shuffles import measured
from runtide_dashboards.importance_space import Range, best
from runtide_dashboards.sweep_trials import Axis, Floats, Objective, Trial, scores

# Most trials that the forest learns from.
MOST = 2000
FEWEST = 10
PER_AXIS = 10
LEAST_R2 = 0.2
_LEAST_SHARE = 0.01
# So many times their distance beyond the quartiles scores are held at the limit.
_OUTSIDE = 1.5


@dataclass(frozen=True)
class Importance:
    """How much one parameter explains.

    Args:
        name: Of the parameter.
        aliases: Names of others that say the same.
        value: Share of the objective's variance, among the trials that have it: 0 for nothing, 1 for all.
        low: Lower end of its 95 % interval, which may be below 0.
        high: Upper end.
        spearman: Rank correlation with the objective, from -1 to 1; None for a category.
        seen: How many trials with a score have it.
    """

    name: str
    aliases: tuple[str, ...]
    value: float
    low: float
    high: float
    spearman: float | None
    seen: int

    @property
    def visible(self) -> bool:
        """Whether it is more than chance, and at least a hundredth of the variance."""
        return self.low > 0 and self.value >= _LEAST_SHARE


@dataclass(frozen=True)
class Findings:
    """What the trials say about the parameters.

    Args:
        importances: The most important first.
        r2: How much of the variance the forest predicts, out of bag; None where there was no forest.
        trials: How many have a score.
        trusted: Whether this says something about the sweep.
        why_not: Why it does not; empty where it does.
        left_out: Why a parameter was left out, by name.
        good: Where the best tenth of the forest's predictions lies; empty where it is not trusted.
    """

    importances: list[Importance]
    r2: float | None
    trials: int
    trusted: bool
    why_not: str
    left_out: dict[str, str]
    good: list[Range]


def study(trials: Sequence[Trial], objective: Objective, axes: Sequence[Axis]) -> Findings:
    """Ask the trials which parameters matter. Takes up to two seconds; the same trials give the same answer.

    Args:
        trials: All trials of a sweep; those without a score say nothing.
        objective: What to explain.
        axes: The parameters.
    """
    all_scores = scores(trials, objective)
    scored = np.flatnonzero(~np.isnan(all_scores))
    y, known = all_scores[scored], table([trials[int(place)] for place in scored], axes)
    random = np.random.default_rng(SEED)
    rows = np.sort(random.choice(len(y), min(len(y), MOST), replace=False))
    columns, left_out = usable([Column(one.axis, one.values[rows]) for one in known])
    if len(y) < FEWEST or not columns or np.ptp(y) == 0:
        return Findings([], None, len(y), False, _nothing(len(y), objective, columns), left_out, [])
    # A random value where there is none: that a parameter is there says nothing of its value.
    x = np.stack([np.where(one.there, one.values, redrawn(one.values, one.there, random)) for one in columns], axis=1)
    held = _held_in(y[rows])
    forest = grow(x, held)
    r2, shares = measured(forest, x, held, columns, random)
    why_not = _why_not(len(y), len(columns), r2, objective)
    whole = {one.axis.name: one for one in known}
    importances = [
        _importance(one, whole[one.axis.name], y, *interval) for one, interval in zip(columns, shares, strict=True)
    ]
    importances.sort(key=lambda one: -one.value)
    good = [] if why_not else best(forest, columns, objective.maximize, random)
    return Findings(importances, r2, len(y), not why_not, why_not, left_out, good)


def words(findings: Findings, objective: Objective) -> str:
    """The findings as one sentence."""
    if not findings.trusted:
        return f"Nothing can be said yet: {findings.why_not}."
    seen = [one for one in findings.importances if one.visible]
    unseen = ", ".join(_name(one) for one in findings.importances if not one.visible)
    parts = []
    if seen:
        most = "explains most of" if seen[0].value > 0.5 else "matters most for"
        parts.append(f"{_name(seen[0])} {most} {objective.name} {_share(seen[0], findings.trials)}")
    if seen[1:]:
        parts.append("then " + ", ".join(f"{_name(one)} {_share(one, findings.trials)}" for one in seen[1:]))
    if unseen:
        parts.append(f"{unseen}: no visible effect")
    return f"{'; '.join(parts)} (n={findings.trials})."


def _name(one: Importance) -> str:
    return " = ".join((one.name, *one.aliases))


def _share(one: Importance, trials: int) -> str:
    among = f", among the {one.seen} trials that have it" if one.seen < trials else ""
    return f"({one.value:.2f} ± {(one.high - one.low) / 2:.2f}{among})"


def _nothing(count: int, objective: Objective, columns: Sequence[Column]) -> str:
    """Why there is no forest."""
    if count < FEWEST:
        return f"{count} trials have {objective.name}, and {FEWEST} are needed"
    return f"{objective.name} is the same in all trials" if columns else "no parameter varies"


def _why_not(count: int, columns: int, r2: float | None, objective: Objective) -> str:
    if count < PER_AXIS * columns:
        return f"{count} trials have {objective.name}, and {PER_AXIS * columns} are needed for {columns} parameters"
    if r2 is None or r2 < LEAST_R2:
        return f"the parameters predict little of {objective.name} (R² {r2 or 0:.2f} out of bag, at least {LEAST_R2})"
    return ""


def _held_in(y: Floats) -> Floats:
    """Scores far beyond the quartiles at a limit, and all of them about 1.

    A few that diverged would else be all that the forest learns.

    Source: J. W. Tukey, "Exploratory Data Analysis" (1977): what is one and a half times their distance beyond them
    is "outside".
    """
    low, high = np.quantile(y, (0.25, 0.75))
    reach = _OUTSIDE * (high - low)
    held = np.clip(y, low - reach, high + reach) if reach else y
    return np.ldexp(held, -int(np.frexp(np.max(np.abs(held)))[1]))


def _importance(one: Column, whole: Column, y: Floats, value: float, half: float) -> Importance:
    rank = None if one.axis.kind == "category" else spearman(whole.values[whole.there], y[whole.there])
    return Importance(one.axis.name, one.aliases, value, value - half, value + half, rank, int(np.sum(whole.there)))
