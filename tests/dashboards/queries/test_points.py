"""The rollup says what the points say, whatever arrives, and is not used where it could not."""

import json
import math
import secrets

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtide_dashboards import plans
from runtide_dashboards.formulas import Formula
from runtide_dashboards.plans import Axis, Line, Member
from runtide_dashboards.queries import lines, points
from runtide_dashboards.queries.drawings import Drawing
from runtide_dashboards.questions import LOWEST, PanelQuestion

values = st.one_of(
    st.floats(-1e6, 1e6, width=32), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-300, 1e300])
)
# Frames of one writer in order: how far each begins behind the last, and what it logs.
frames = st.lists(
    st.tuples(st.integers(1, 700), st.lists(st.tuples(st.integers(1, 300), values), min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)


def log(lab, run, stream, first):
    """Insert frames; returns the points."""
    step, logged = first, []
    for seq, (gap, entries) in enumerate(stream):
        step += gap
        steps = []
        for more, value in entries:
            steps.append(step)
            logged.append((step, value))
            step += more
        lab.points(run, {"loss": [value for _, value in entries]}, steps, seq=seq)
    return logged


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=frames, first=st.integers(-2000, 2000))
def test_rows_are_what_their_points_give(lab, stream, first):
    """Any stream of frames: each row has the count, extremes, sum and last value of its 256 steps' points."""
    run = lab.run(f"lab/rollup/{secrets.token_hex(6)}")
    logged = log(lab, run, stream, first)
    answer = lab.store.query(
        "SELECT start, sum(count), sum(nan_count), sum(inf_count), min(min), max(max), sum(sum),"
        " argMaxMerge(last), min(first_step), max(last_step) FROM metric_rollup"
        f" WHERE run_id = '{run}' GROUP BY start ORDER BY start FORMAT JSONCompactEachRow",
        database=lab.database,
        output_format_json_quote_denormals="1",
        output_format_json_quote_64bit_integers="0",
    )
    rows = [[float(cell) for cell in json.loads(line)] for line in answer.splitlines()]
    starts = sorted({step // 256 * 256 for step, _ in logged})
    assert [row[0] for row in rows] == starts
    for start, row in zip(starts, rows, strict=True):
        mine = [(step, value) for step, value in logged if step // 256 * 256 == start]
        finite = [value for _, value in mine if math.isfinite(value)]
        assert row[1:4] == [len(mine), sum(math.isnan(v) for _, v in mine), sum(math.isinf(v) for _, v in mine)]
        assert row[4:6] == [min(finite, default=math.inf), max(finite, default=-math.inf)]
        assert row[6] == pytest.approx(math.fsum(finite), rel=1e-9, abs=1e-9 * max(map(abs, finite), default=0))
        assert row[7] == mine[-1][1] or (math.isnan(row[7]) and math.isnan(mine[-1][1]))
        assert row[8:] == [mine[0][0], mine[-1][0]]


def answer(member, width, low, high, long):
    """The buckets of a series, from the rollup when `long` is small."""
    panel = PanelQuestion("loss", Formula.key("loss"), low, high, {})
    line = Line("l", (member,), width, member.points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "_LONG", long)
        readings = tuple(plans.readings(line, panel, Axis("step"), False))
    drawing = Drawing(("loss",), "v0", "step", False, plans.places([line]), readings)
    table = points.ask(drawing)
    return {reading.table for reading in readings}, {name: table[name].to_pylist() for name in table.column_names}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stream=frames,
    first=st.integers(-2000, 2000),
    power=st.integers(8, 12),
    ends=st.tuples(*[st.none() | st.integers(-2500, 6000)] * 2),
)
def test_buckets_are_the_same_from_the_rollup_and_from_points(lab, stream, first, power, ends):
    """Any stream, width and range: the same buckets, counts, extremes and bad points, and the mean to 1e-9."""
    run = lab.run(f"lab/rollup/{secrets.token_hex(6)}")
    log(lab, run, stream, first)
    (series,) = lines.series([run], ["loss"], LOWEST)
    assert series.plain and series.rolled
    member = Member(run, 0, 1, 0, (series,), series.first_step, series.last_step)
    low, high = ends if None in ends else sorted(ends)
    _, rolled = answer(member, 2**power, low, high, 0)
    tables, raw = answer(member, 2**power, low, high, 10**9)
    assert tables == {"metrics"}
    for name in ("x", "x_last", "count", "bad", "hidden"):
        assert rolled[name] == raw[name]
    for name in ("low", "high"):
        assert np.array_equal(rolled[name], raw[name], equal_nan=True)
    scale = 1e-9 * max((abs(v) for name in ("low", "high") for v in raw[name] if math.isfinite(v)), default=0)
    assert rolled["mean"] == pytest.approx(raw["mean"], rel=1e-9, abs=scale, nan_ok=True)


def _member(lab, project, count=1000, **fields):
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0] * count}, list(range(count)), **fields)
    (series,) = lines.series([run], ["loss"], LOWEST)
    return Member(run, 0, 1, 0, (series,), series.first_step, series.last_step)


def test_series_that_have_repeats_are_read_from_points(lab, project):
    """Statistics made at insert cannot take a superseded point back."""
    member = _member(lab, project)
    assert answer(member, 256, None, None, 0)[0] == {"rollup"}
    lab.points(member.run, {"loss": [5.0]}, [10], seq=1, ordered=False)
    (series,) = lines.series([member.run], ["loss"], LOWEST)
    mixed = Member(member.run, 0, 1, 0, (series,), 0, 999)
    tables, buckets = answer(mixed, 1024, None, None, 0)
    assert tables == {"metrics_latest"} and buckets["count"] == [1000] and buckets["high"] == [5.0]


def test_what_was_logged_before_the_rollup_is_read_from_points(store, make_lab, project):
    """A series with older points is known for one whose rollup is not whole, also when it goes on."""
    old = make_lab(store, last=8)
    try:
        run, new = f"{project}/a", f"{project}/b"
        old.points(run, {"loss": [1.0] * 300}, list(range(300)))
        store.migrate(old.database, 9)
        old.points(run, {"loss": [2.0] * 300}, list(range(300, 600)), seq=1)
        old.points(new, {"loss": [2.0]}, [0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RUNTIDE_CLICKHOUSE_URL", old.url)
            found = lines.series([run, new], ["loss"], LOWEST)
        assert [(one.run, one.points, one.plain, one.rolled) for one in found] == [
            (run, 600, True, False),
            (new, 1, True, True),
        ]
    finally:
        store.query(f"DROP DATABASE {old.database}")


def test_a_logarithmic_axis_uses_the_rollup_only_above_zero(lab, project):
    """What is hidden cannot be counted from sums."""
    member = _member(lab, project, 600)
    panel = PanelQuestion("loss", Formula.key("loss"), None, None, {})
    line = Line("l", (member,), 256, member.points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "_LONG", 0)
        assert {one.table for one in plans.readings(line, panel, Axis("step"), True)} == {"rollup"}
        lab.points(member.run, {"loss": [0.0]}, [600], seq=1)
        (series,) = lines.series([member.run], ["loss"], LOWEST)
        line = Line("l", (Member(member.run, 0, 1, 0, (series,), 0, 600),), 256, series.points)
        assert {one.table for one in plans.readings(line, panel, Axis("step"), True)} == {"metrics"}
