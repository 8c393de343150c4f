"""Curves against a real store: buckets of steps, whatever they are read from."""

import math

import pytest

from runtide_dashboards import trends

SPIKE, HEIGHT = 617_283, 42.5
START_MS = 1_760_000_000_000


def ask(run, width=1, low=0, high=99):
    """The buckets of a metric between two steps, as dictionaries."""
    wanted = -(-(high - low + 1) // width)
    return trends.ask([run] if isinstance(run, str) else run, "loss", wanted, low, high).result().to_pylist()


@pytest.fixture(scope="module")
def million(lab):
    run = lab.run("lab/million/a")
    lab.million(run, "loss", SPIKE, HEIGHT)
    return run


@pytest.mark.parametrize("power", range(6, 21))
def test_a_spike_is_in_its_bucket_at_every_width(million, power):
    """One point in a million is the largest value of exactly the bucket that holds its step."""
    rows = ask(million, width=2**power, high=999_999)
    assert sum(row["count"] for row in rows) == 1_000_000
    assert [row["x"] for row in rows if row["high"] == HEIGHT] == [SPIKE >> power << power]
    assert all(row["x"] % 2**power == 0 and row["x_last"] < row["x"] + 2**power for row in rows)


@pytest.mark.parametrize("power", range(0, 6))
def test_a_spike_is_there_when_zoomed_in(million, power):
    """Zoomed to a thousand steps, the spike stands in its bucket down to single steps."""
    rows = ask(million, width=2**power, low=SPIKE - 500, high=SPIKE + 499)
    assert sum(row["count"] for row in rows) == 1000
    assert len([row for row in rows if row["high"] == HEIGHT]) == 1
    if power == 0:
        assert {row["x"]: row["mean"] for row in rows}[SPIKE] == HEIGHT


def test_bucket_statistics_are_those_of_the_points(million):
    """Mean, smallest, largest and last value equal what Python computes from the points."""
    row = ask(million, width=1024, high=999_999)[3]
    values = [math.sin(step / 1000) for step in range(3 * 1024, 4 * 1024)]
    assert (row["x"], row["x_last"], row["count"]) == (3072, 4095, 1024)
    assert row["mean"] == pytest.approx(sum(values) / 1024, rel=1e-12)
    assert (row["low"], row["high"]) == pytest.approx((min(values), max(values)), rel=1e-12)


def test_the_range_is_cut_before_the_buckets(lab, project):
    """A point outside the range is in no bucket, also not in one that the edge cuts."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [float(step) for step in range(100)]}, list(range(100)))
    rows = ask(run, width=16, low=10, high=40)
    assert [(row["x"], row["x_last"], row["low"], row["high"], row["count"]) for row in rows] == [
        (10, 15, 10.0, 15.0, 6),
        (16, 31, 16.0, 31.0, 16),
        (32, 40, 32.0, 40.0, 9),
    ]


def test_a_repeated_step_counts_once(lab, project):
    """The later attempt wins, in the buckets as in the table."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0] * 10}, list(range(10)), writer=1, attempt=1000)
    lab.points(run, {"loss": [5.0] * 5}, list(range(5, 10)), writer=2, attempt=2000)
    rows = ask(run, width=8)
    assert [(row["count"], row["mean"]) for row in rows] == [(8, pytest.approx((5 * 1 + 3 * 5) / 8)), (2, 5.0)]


def test_a_writer_that_comes_back_counts_once(lab, project):
    """A step that one writer logs again is replaced, not averaged with what it was."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, 1.0]}, [0, 1], seq=0)
    lab.points(run, {"loss": [9.0]}, [1], times=[START_MS + 10**6], seq=1, ordered=False)
    assert [(row["x"], row["mean"], row["count"]) for row in ask(run)] == [(0, 1.0, 1), (1, 9.0, 1)]


def test_plain_and_repeated_series_share_a_panel(lab, project):
    """One query answers for both kinds of series, each from where its answer is right."""
    plain, mixed = lab.run(f"{project}/plain"), lab.run(f"{project}/mixed")
    lab.points(plain, {"loss": [1.0, 2.0]}, [0, 1])
    lab.points(mixed, {"loss": [1.0]}, [0], attempt=1)
    lab.points(mixed, {"loss": [3.0]}, [0], attempt=2, writer=2)
    rows = ask([plain, mixed])
    assert [(row["run"], row["x"], row["mean"]) for row in rows] == [
        (mixed, 0, 3.0),
        (plain, 0, 1.0),
        (plain, 1, 2.0),
    ]


def test_values_that_are_not_finite_are_counted_and_left_out(lab, project):
    """NaN and infinities are in no statistic; a bucket of nothing else has no mean at all."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, math.nan, 3.0, math.inf, math.nan, -math.inf]}, list(range(6)))
    rows = ask(run, width=4)
    assert [(row["mean"], row["low"], row["high"], row["bad"], row["count"]) for row in rows] == [
        (2.0, 1.0, 3.0, 2, 4),
        (pytest.approx(math.nan, nan_ok=True),) * 3 + (2, 2),
    ]


def test_edges_are_aligned_below_zero(lab, project):
    """Negative steps fall into buckets of the same width as all others."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [0.0] * 10}, list(range(-5, 5)))
    assert [(row["x"], row["x_last"]) for row in ask(run, 4, -8, 23)] == [
        (-5, -5),
        (-4, -1),
        (0, 3),
        (4, 4),
    ]


def test_a_curve_is_of_the_lowest_rank_and_only_of_what_is_finite(lab, project):
    """Means for a sparkline: NaN is left out, and the widths are each run's own."""
    run, short = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    lab.points(run, {"loss": [float(step) for step in range(64)]}, list(range(64)), rank=1, writer=2)
    lab.points(run, {"loss": [7.0] * 63 + [math.nan]}, list(range(64)), rank=3, writer=3)
    lab.points(short, {"loss": [math.nan, 2.0]}, [0, 1])
    found = trends.means(trends.ask([run, short], "loss", 4).result())
    assert found == {run: [7.5, 23.5, 39.5, 55.5], short: [2.0]}
