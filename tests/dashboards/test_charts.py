"""Data to ECharts options."""

import pyarrow as pa
import pytest

from runtide_dashboards.charts import Line, count, panel
from runtide_dashboards.colours import PALETTE, Style, style, styles

SOLID = Style("#000000", None)


def line(rows, label="a", look=SOLID):
    """A line from (x, low, high, mean, count, bad) rows."""
    names = ("x", "low", "high", "mean", "count", "bad")
    columns = {name: pa.array([row[i] for row in rows]) for i, name in enumerate(names)}
    for name in ("low", "high", "mean"):
        columns[name] = columns[name].cast(pa.float64())
    extra = {"x_last": columns["x"], "last": columns["mean"], "hidden": pa.array([0] * len(rows), pa.int64())}
    return Line(label, look, pa.table(columns | extra))


def by_id(option):
    return {series["id"]: series for series in option["series"] if "id" in series}


def source(option, index=0):
    return option["dataset"][index]["source"].to_pydict()


def test_the_envelope_reaches_from_the_smallest_to_the_largest_value():
    """The lower line and the band stacked on it add up to the largest value, below zero too."""
    option = panel("loss", [line([(0, -5.0, 42.0, 1.0, 8, 0), (8, -2.0, -1.0, -1.5, 8, 0)])], "step", False)
    data = source(option)
    assert [low + band for low, band in zip(data["low"], data["high − low"], strict=True)] == [42.0, -1.0]
    low, band = by_id(option)["low 0"], by_id(option)["band 0"]
    assert low["stack"] == band["stack"]
    # Without "all" ECharts would stack a positive band on zero instead of on a negative lower edge.
    assert low["stackStrategy"] == band["stackStrategy"] == "all"
    assert "areaStyle" in band and "areaStyle" not in low


def test_each_line_stacks_on_its_own():
    """Two runs' envelopes are not put on top of one another."""
    two = [line([(0, 0.0, 1.0, 0.5, 2, 0)], name) for name in "ab"]
    stacks = {series["stack"] for series in by_id(panel("loss", two, "step", False)).values() if "stack" in series}
    assert len(stacks) == 2


def test_exact_points_have_no_envelope():
    """Buckets of one point are drawn as a line alone."""
    assert list(by_id(panel("loss", [line([(0, 1.0, 1.0, 1.0, 1, 0)])], "step", False))) == ["mean 0"]


def test_an_empty_bucket_is_a_gap_and_a_mark():
    """A bucket of NaN alone breaks the line and stands as a mark on the x axis."""
    option = panel("loss", [line([(0, 1.0, 2.0, 1.5, 2, 0), (2, None, None, None, 2, 2)])], "step", False)
    assert source(option)["mean"] == [1.5, None]
    assert source(option)["high − low"] == [1.0, None]
    (marks,) = [series for series in option["series"] if series["type"] == "scatter"]
    assert marks["data"] == [[2, 0, 2]]
    assert option["yAxis"][marks["yAxisIndex"]]["show"] is False


def test_lines_are_painted_over_envelopes():
    """All means come after all envelopes."""
    two = [line([(0, 0.0, 1.0, 0.5, 2, 0)], name) for name in "ab"]
    order = [series["id"].split()[0] for series in panel("loss", two, "step", False)["series"]]
    assert order == ["low", "band", "low", "band", "mean", "mean"]


def test_the_helpers_are_not_in_the_tooltip():
    """The tooltip names each run once."""
    option = panel("loss", [line([(0, 0.0, 1.0, 0.5, 2, 0)])], "step", False)
    assert [name for name, series in by_id(option).items() if series.get("tooltip", {}).get("show", True)] == ["mean 0"]


def test_the_tooltip_says_what_stands_for_a_bucket():
    """A few runs have mean, low and high by name, many the mean by name; a value that is a point's own needs none."""

    def said(lines):
        mean = by_id(panel("loss", lines, "step", False))["mean 0"]
        return mean["encode"]["tooltip"], mean.get("tooltip", {}).get("valueFormatter")

    bucket, point = line([(0, 0.0, 1.0, 0.5, 2, 0)]), line([(0, 0.5, 0.5, 0.5, 1, 0)])
    assert said([bucket] * 4) == (["mean", "low", "high"], None)
    assert said([bucket] * 5) == (["mean"], "mean %.4g")
    assert said([point]) == said([point] * 5) == (["mean"], None)


def test_log_is_a_true_axis():
    """The axis is logarithmic; the values stay what they are."""
    option = panel("loss", [line([(0, 1.0, 100.0, 10.0, 3, 0)])], "step", True)
    assert option["yAxis"][0]["type"] == "log"
    assert source(option)["high"] == [100.0]


@pytest.mark.parametrize(("last", "x", "unit"), [(60_000, 60.0, "s"), (7_200_000, 2.0, "h"), (10**9, 11.574, "d")])
def test_relative_time_is_in_a_unit_that_suits(last, x, unit):
    """Milliseconds become seconds, hours or days."""
    option = panel("loss", [line([(last, 1.0, 1.0, 1.0, 1, 0)])], "relative", False)
    assert source(option)["x"][0] == pytest.approx(x, rel=1e-3)
    assert option["xAxis"]["axisLabel"]["formatter"].endswith(unit)


def test_no_lines_are_an_empty_panel():
    """A metric without points in the range still has a panel."""
    assert panel("loss", [], "relative", False)["series"] == []
    assert count([]).points == 0


def test_counts_add_up_over_lines():
    """Points and marks are counted over all lines."""
    total = count([line([(0, 1.0, 1.0, 1.0, 3, 1)]), line([(0, 1.0, 1.0, 1.0, 4, 0)])])
    assert (total.points, total.buckets, total.bad) == (7, 2, 1)


def test_a_run_keeps_its_colour_in_every_selection():
    """The look follows from the place in the project alone, and 24 in a row are all different."""
    assert styles([5, 9]) == [style(5), style(9)] == styles([9, 5])[::-1]
    assert len(set(styles(range(24)))) == 24
    assert style(8) == Style(PALETTE[0], (6, 3))


def test_two_runs_never_look_alike_while_looks_are_left():
    """Equal places of two projects give different looks; the first keeps its own."""
    chosen = styles([3, 3, 27])
    assert chosen[0] == style(3)
    assert len(set(chosen)) == 3
    assert len(styles(range(60))) == 60
