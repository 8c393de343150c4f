"""Verdicts in words: what the strip says, in HTML and in plain text alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runtide_dashboards import definitions, formats, texts
from runtide_dashboards.comparisons import Comparison, Side
from runtide_dashboards.spread import LEVEL, MIN_RUNS

WORDS = {
    "better": "BETTER",
    "worse": "WORSE",
    "higher": "HIGHER",
    "lower": "LOWER",
    "noise": "WITHIN NOISE",
    "equal": "EQUAL",
    "unknown": "NO VERDICT",
    "missing": "NOT LOGGED",
    "nan": "NOT FINITE",
    "apart": "NO COMMON STEP",
}
_LENDERS = {
    "baseline": "seeds of the baseline",
    "other": "seeds of B",
    "family": "other seeds of the recipe",
    "third": "runs of another recipe",
}
Name = Callable[[str], str]


def naming(comparisons: Sequence[Comparison], labels: Mapping[str, str] | None) -> Name:
    """What runs are called: as `labels` say, by path, else by their own name or id, shortened where long."""
    own = {side.run.path: side.run.label for one in comparisons for side in (one.baseline, one.other)}
    known = {**own, **(labels or {})}
    return lambda path: texts.short(known.get(path, path.rpartition("/")[2]), 32)


def values(one: Comparison) -> tuple[str, str, str] | None:
    """Baseline, B and the difference; None where one is not known."""
    if not one.baseline.values or not one.other.values or one.outcome in ("missing", "nan", "apart"):
        return None
    return formats.pair(one.value, one.other_value, one.difference)


def arrow(one: Comparison) -> str:
    """Which way B is from the baseline."""
    if values(one) is None or one.difference == 0:
        return ""
    return "▲" if one.difference > 0 else "▼"


def basis(one: Comparison, name: Name) -> str:
    """What the verdict stands on, or why there is none."""
    if one.outcome == "missing":
        return "; ".join(_never(one.key, path, near, name) for path, near in one.absent)
    if one.outcome == "nan":
        return "; ".join(f"{name(path)} is NaN or infinite since step {step:,}" for path, step in one.bad_since)
    if one.outcome == "apart":
        sides = (one.baseline, one.other)
        steps = (f"{name(s.run.path)} has steps {s.series[0].first_step:,}–{s.series[0].last_step:,}" for s in sides)
        return ", ".join(steps)
    if one.test is None:
        return _no_estimate(one)
    if one.test.p is None:
        who = _estimate(one) if one.lender == "both" else f"{one.lent} {_LENDERS[one.lender]}"
        return f"no spread to compare with: {who} do not differ at all"
    return f"{formats.probability(one.test.p)}, {_estimate(one)}{_left_out(one)}"


def _never(key: str, path: str, near: str, name: Name) -> str:
    nearest = f"; nearest: {texts.short(near)}" if near else ""
    return f"{name(path)} never logged {texts.short(key)}{nearest}"


def _estimate(one: Comparison) -> str:
    sides = f"{len(one.baseline.values)} v {len(one.other.values)}"
    if one.lender == "both":
        return f"{sides} seeds"
    return f"{sides}, spread of {one.lent} {_LENDERS[one.lender]}"


def _left_out(one: Comparison) -> str:
    sides = (one.baseline, one.other)
    reasons = ((sum(s.behind for s in sides), "behind"), (sum(s.bad for s in sides), "not finite"))
    parts = [f"{count} {reason}" for count, reason in reasons if count]
    return f" ({', '.join(parts)} left out)" if parts else ""


def _no_estimate(one: Comparison) -> str:
    percent = formats.share(one.value, one.difference).lstrip("+−")
    way = "higher" if one.difference > 0 else "lower"
    amount = "the same value" if one.difference == 0 else f"{way} by {percent}" if percent else way
    a, b = len(one.baseline.values), len(one.other.values)
    runs = "one run each" if a == b == 1 else f"{a} v {b} runs"
    return f"{amount}, {runs}{' of one recipe' if one.alike else ''}: {_advice(one)} to know"


def _advice(one: Comparison) -> str:
    if one.alike:
        more = MIN_RUNS - one.lent
        return f"log {more} more {'seed' if more == 1 else 'seeds'} of it"
    a, b = (max(0, MIN_RUNS - len(side.values)) for side in (one.baseline, one.other))
    if a == b:
        return f"log {a} more {'seed' if a == 1 else 'seeds'} of each"
    parts = [f"{n} more of {who}" for n, who in ((a, "the baseline"), (b, "B")) if n]
    return f"log {' and '.join(parts)}, other seeds only,"


def check(one: Comparison, name: Name) -> str:
    """Everything that the verdict was made from, line by line, so that it can be computed again."""
    if values(one) is None:
        return basis(one, name)
    window = (
        f"mean of the finite points at steps {one.since:,} to {one.step:,}, of {one.first:,} to {one.step:,} in common"
    )
    lines = [window, _side("baseline", one.baseline, name), _side("B", one.other, name)]
    if one.test is not None:
        test = one.test
        rule = "Welch’s t-test" if one.lender == "both" else f"Student’s t, {_borrowed(one)}"
        numbers = f"difference {test.difference:.6g}, standard error {test.error:.6g}, {test.df:.4g} degrees of freedom"
        said = "p undefined" if test.p is None else f"t {test.statistic:.4g}, two-sided p {test.p:.4g}"
        lines.append(f"{rule}: {numbers}, {said}")
    if one.goal is None:
        lines.append("no goal declared for this metric: neither way is called better")
    rough = [f"{side.roughness:.4g}" for side in (one.baseline, one.other) if side.roughness is not None]
    lines.append(f"roughness within the runs (decides nothing): {' and '.join(rough)}")
    return "\n".join(lines)


def _borrowed(one: Comparison) -> str:
    return f"standard deviation of {one.lent} {_LENDERS[one.lender]}, taken for that of both sides"


def _side(what: str, side: Side, name: Name) -> str:
    shown = ", ".join(f"{value:.6g}" for value in side.values[:10])
    more = f" and {len(side.values) - 10} more" if len(side.values) > 10 else ""
    own = side.series[0]
    rank = f", rank {own.rank} of {own.ranks}" if own.ranks > 1 else ""
    return f"{what} ({name(side.run.path)}{rank}): {shown}{more}"


def steps(comparisons: Sequence[Comparison], name: Name) -> str:
    """Of how many runs a side's values are the means, at which step they were compared, and where the runs are."""
    known = [one for one in comparisons if values(one) is not None]
    if not known:
        return ""
    at = sorted({one.step for one in known})
    where = f"at equal step {at[0]:,}" if len(at) == 1 else f"at equal steps, {at[0]:,} to {at[-1]:,}"
    ends = [(side.run.path, side.series[0].last_step) for one in known for side in (one.baseline, one.other)]
    ahead = {path: step for path, step in ends if step > at[-1]}
    others, baselines = (
        max(counts) for counts in zip(*[(len(o.other.values), len(o.baseline.values)) for o in known], strict=True)
    )
    if max(others, baselines) > 1:
        where = f"means of {others} v {baselines} runs, {where}"
    return where + "".join(f" ({name(path)} is at {step:,})" for path, step in ahead.items())


def partings(comparisons: Sequence[Comparison]) -> str:
    """Where curves part, as one sentence; empty where nothing can be said."""
    found = [f"step ≈ {one.parting:,} ({texts.short(one.key)})" for one in comparisons if one.parting is not None]
    return f"Curves part at {', '.join(found)}." if found else ""


def costs(comparisons: Sequence[Comparison], name: Name) -> list[str]:
    """What it took to be as good as the baseline in the end, a sentence for each metric that has a goal.

    Where the baseline was as good at its first step, there is nothing to tell.
    """
    return [_cost(one, name) for one in comparisons if one.cost is not None and one.cost.baseline_step > one.first]


def _cost(one: Comparison, name: Name) -> str:
    cost = one.cost
    assert cost is not None
    shown = values(one)
    value = shown[0] if shown else f"{cost.value:.4g}"
    a, b = name(one.baseline.run.path), name(one.other.run.path)
    told = _effort(cost.other_step, cost.other_seconds) if cost.other_step is not None else "not reached"
    sign = "≥" if one.goal == definitions.MAXIMIZE else "≤"
    reach = f"{texts.short(one.key)} {sign} {value}"
    return f"Cost to reach {reach}: {a} {_effort(cost.baseline_step, cost.baseline_seconds)} → {b} {told}."


def _effort(step: int | None, seconds: float | None) -> str:
    time = f" / {texts.decimal_duration(seconds)}" if seconds is not None and seconds >= 0 else ""
    return f"{step:,} steps{time}"


def chance(comparisons: Sequence[Comparison]) -> str:
    """How many of several verdicts chance alone would give; empty for one."""
    tests = sum(one.test is not None and one.test.p is not None for one in comparisons)
    if tests < 2:
        return ""
    return f"{tests} metrics were tested: chance alone calls {tests * LEVEL:.2g} of so many better or worse"
