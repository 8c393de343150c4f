"""Is B better than the baseline? Values at equal steps, held against the spread between runs.

    families ──▶ series ──▶ last common step ──▶ values ──▶ judge ──▶ where the curves part, what it costs

What runs are compared by is the mean of the last 5 % of their common steps; how they are judged is told in
`comparisons`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from runtide_dashboards import definitions, verdict_curves
from runtide_dashboards.comparisons import Comparison, Side, judge
from runtide_dashboards.families import Families
from runtide_dashboards.queries import series as series_queries
from runtide_dashboards.queries import verdicts as queries
from runtide_dashboards.queries.lines import Series
from runtide_dashboards.queries.verdicts import Level, Window
from runtide_dashboards.records import Run
from runtide_dashboards.spread import MIN_RUNS

MAX_OTHERS, MAX_KEYS = 5, 6
# More than these push the charts off the page.
_DEFAULT_KEYS = 4
_OFFERED = 200
# The last part of the common steps, of which a run's value is the mean.
_LAST_SHARE = 0.05
# Further families that are tried as a lender of their spread.
_THIRD = 3


def default_keys(baseline: Run, others: Sequence[Run]) -> list[str]:
    """The metrics that are compared when none are named: those with a declared goal, then what is looked at first."""
    rules = [definitions.declared(run.definitions) for run in (baseline, *others)]
    found, _ = series_queries.find_keys([run.path for run in (baseline, *others)], "", _OFFERED)
    found.sort(key=lambda key: all(definitions.goal(one, key) is None for one in rules))
    return found[:_DEFAULT_KEYS]


def assess(
    baseline: Run,
    others: Sequence[Run],
    keys: Sequence[str] = (),
    chosen_goals: Mapping[str, str] | None = None,
    ignored: Collection[str] = (),
) -> list[Comparison]:
    """Compare up to five runs with the baseline, key by key: all comparisons of a key stand together.

    Args:
        baseline: What is compared with.
        others: The runs compared; the baseline among them is left out.
        keys: Metrics, six at most; none for `default_keys`.
        chosen_goals: Goals that a person chose, by key; they stand above those of define_metric.
        ignored: Dot paths of config leaves that, like the seed, change nothing of what is learnt.

    Raises:
        StoreAway: Nobody answers.
        QueryFailed: The store refused.
    """
    compared = list({run.path: run for run in others if run.path != baseline.path}.values())[:MAX_OTHERS]
    if not compared:
        return []
    wanted = list(dict.fromkeys(keys))[:MAX_KEYS] or default_keys(baseline, compared)
    plans = _plans(baseline, compared, wanted, chosen_goals or {}, ignored)
    values = _values([window for plan in plans for window in plan.windows()])
    return verdict_curves.followed([_compared(plan, values) for plan in plans])


@dataclass(frozen=True)
class _Plan:
    """A comparison before its values are known: `asked` has both sides' series, `thirds` those of other families."""

    asked: Comparison
    thirds: tuple[tuple[Series, ...], ...] = ()

    def window(self, series: Series) -> Window:
        return Window(series, self.asked.since, self.asked.step)

    def windows(self) -> list[Window]:
        families = (self.asked.baseline.series, self.asked.other.series, *self.thirds)
        return [self.window(one) for family in families for one in family] if self.asked.outcome == "unknown" else []


def _plans(
    baseline: Run, others: Sequence[Run], keys: Sequence[str], chosen: Mapping[str, str], ignored: Collection[str]
) -> list[_Plan]:
    members = queries.find_members((baseline, *others), ignored)
    families = Families(members, ignored)
    paths = list(dict.fromkeys([baseline.path, *(run.path for run in others), *(member.path for member in members)]))
    series = {(one.run, one.key): one for one in queries.find_series(paths, keys)}
    rules = {run.path: definitions.declared(run.definitions) for run in (baseline, *others)}
    result = []
    for key in keys:
        for other in others:
            goal = definitions.goal(rules[baseline.path], key) or definitions.goal(rules[other.path], key)
            asked = Comparison(key, Side(baseline), Side(other), "unknown", chosen.get(key) or goal)
            pair = [series.get((run.path, key)) for run in (baseline, other)]
            if pair[0] is None or pair[1] is None:
                lacking = [run.path for run, one in zip((baseline, other), pair, strict=True) if one is None]
                absent = tuple((path, _nearest(path, key)) for path in lacking)
                result.append(_Plan(replace(asked, outcome="missing", absent=absent)))
            else:
                result.append(_plan(asked, pair[0], pair[1], families, series))
    return result


def _plan(
    asked: Comparison, a: Series, b: Series, families: Families, series: Mapping[tuple[str, str], Series]
) -> _Plan:
    first, step = max(a.first_step, b.first_step), min(a.last_step, b.last_step)
    if first > step:
        apart = replace(asked.baseline, series=(a,)), replace(asked.other, series=(b,))
        return _Plan(replace(asked, outcome="apart", baseline=apart[0], other=apart[1]))
    since = step - int(_LAST_SHARE * (step - first))

    def ready(family: Sequence[str]) -> tuple[Series, ...]:
        found = (series.get((path, asked.key)) for path in family)
        return tuple(one for one in found if one is not None and one.first_step <= step <= one.last_step)

    others_a, others_b, alike = families.pair(asked.baseline.run, asked.other.run)
    with_a, with_b = ready(others_a), ready(others_b)
    thirds = sorted(map(ready, families.largest(asked.baseline.run, asked.other.run)), key=len, reverse=True)
    return _Plan(
        replace(
            asked,
            baseline=replace(asked.baseline, series=(a, *with_a), behind=len(others_a) - len(with_a)),
            other=replace(asked.other, series=(b, *with_b), behind=len(others_b) - len(with_b)),
            alike=alike,
            first=first,
            step=step,
            since=since,
        ),
        tuple(family for family in thirds[:_THIRD] if len(family) >= MIN_RUNS),
    )


def _nearest(run: str, key: str) -> str:
    """The metric of a run that a key was perhaps meant to be, empty where none is like it."""
    # Case and separators are what names differ in most.
    plain = {re.sub(r"[^a-z0-9]", "", one.lower()): one for one in queries.keys_of(run)}
    found = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", key.lower()), plain, n=1)
    return plain[found[0]] if found else ""


def _values(windows: Sequence[Window]) -> dict[Window, Level]:
    """What series were in windows. One that has no point in it was what its last point before that says."""
    found = queries.levels(windows)
    empty = [window for window, level in found.items() if level.count == 0]
    if empty:
        before = {window: Window(window.series, window.series.first_step, window.high) for window in empty}
        lasts = queries.last_steps(before.values())
        points = {w: Window(w.series, last, last) for w in empty if (last := lasts[before[w]][0]) is not None}
        levels = queries.levels(points.values())
        found |= {window: levels[point] for window, point in points.items()}
    return found


def _compared(plan: _Plan, values: Mapping[Window, Level]) -> Comparison:
    asked = plan.asked
    if asked.outcome != "unknown":
        return asked
    sides = [_valued(side, plan, values) for side in (asked.baseline, asked.other)]
    asked = replace(asked, baseline=sides[0], other=sides[1])
    bad = [side.series[0] for side in sides if not side.values]
    if bad:
        return replace(asked, outcome="nan", bad_since=tuple((one.run, _bad_since(one, asked.step)) for one in bad))
    thirds = [_finite(family, plan, values) for family in plan.thirds]
    return judge(asked, thirds)


def _finite(
    family: Sequence[Series], plan: _Plan, values: Mapping[Window, Level]
) -> tuple[tuple[Series, ...], tuple[float, ...]]:
    found = [(one, mean) for one in family if (mean := values[plan.window(one)].mean) is not None]
    return tuple(one for one, _ in found), tuple(mean for _, mean in found)


def _valued(side: Side, plan: _Plan, values: Mapping[Window, Level]) -> Side:
    own = values[plan.window(side.series[0])]
    series, means = _finite(side.series, plan, values)
    bad = len(side.series) - len(series)
    if own.mean is None:
        return replace(side, bad=bad - 1)
    return replace(side, series=series, values=means, roughness=own.roughness, bad=bad)


def _bad_since(series: Series, step: int) -> int:
    """The first step after the last finite value that a series has up to a step."""
    whole = Window(series, series.first_step, step)
    _, finite = queries.last_steps([whole])[whole]
    if finite is None:
        return series.first_step
    rest = Window(series, finite + 1, step)
    first = queries.levels([rest])[rest].first
    return finite + 1 if first is None else first
