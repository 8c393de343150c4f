"""The dashboard's SQL against a real store."""

import math

import pyarrow.compute as pc
import pytest

from runtide_dashboards import buckets, queries
from runtide_dashboards.errors import QueryFailed, StoreAway
from runtide_dashboards.filters import Filter, parse
from runtide_dashboards.records import Cut

SPIKE, HEIGHT = 617_283, 42.5
START_MS = 1_760_000_000_000


def ask(run, key="loss", width=1, axis="step", log=False, low=None, high=None, origin=0):
    """The buckets of one series as dictionaries."""
    runs = [run] if isinstance(run, str) else run
    cuts = tuple(Cut(series, width, origin) for series in queries.find_series(runs, [key]))
    return queries.buckets(cuts, axis, log, low, high).result().to_pylist()


@pytest.fixture(scope="module")
def million(lab):
    run = lab.run("lab/million/a")
    lab.million(run, "loss", SPIKE, HEIGHT)
    return run


@pytest.mark.parametrize("power", range(6, 21))
def test_a_spike_is_in_its_bucket_at_every_width(million, power):
    """One point in a million is the largest value of exactly the bucket that holds its step."""
    rows = ask(million, width=2**power)
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
    row = ask(million, width=1024)[3]
    values = [math.sin(step / 1000) for step in range(3 * 1024, 4 * 1024)]
    assert (row["x"], row["x_last"], row["count"]) == (3072, 4095, 1024)
    assert row["mean"] == pytest.approx(sum(values) / 1024, rel=1e-12)
    assert row["low"], row["high"] == pytest.approx((min(values), max(values)), rel=1e-12)
    assert row["last"] == pytest.approx(values[-1], rel=1e-12)


def test_two_loads_are_equal(million):
    """The same question has the same answer, also when nothing is remembered."""
    first = ask(million, width=2048)
    for _ in range(5):
        queries._buckets.cache_clear()
        assert ask(million, width=2048) == first


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
    """The later attempt wins, in the buckets as in the table, and the series is known for one that can have repeats."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0] * 10}, list(range(10)), writer=1, attempt=1000)
    lab.points(run, {"loss": [5.0] * 5}, list(range(5, 10)), writer=2, attempt=2000)
    assert [series.plain for series in queries.find_series([run], ["loss"])] == [False]
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
    assert [(row["run_id"], row["x"], row["mean"]) for row in rows] == [
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
        (None, None, None, 2, 2),
    ]


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show(lab, project):
    """Values that are not above 0 are left out and counted apart from those that are not finite."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [10.0, 0.0, -5.0, math.nan]}, list(range(4)))
    (row,) = ask(run, width=4, log=True)
    assert (row["low"], row["high"], row["hidden"], row["bad"], row["count"]) == (10.0, 10.0, 2, 1, 4)
    (row,) = ask(run, width=4, log=False)
    assert (row["low"], row["hidden"]) == (-5.0, 0)


def test_edges_are_aligned_below_zero(lab, project):
    """Negative steps fall into buckets of the same width as all others."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [0.0] * 10}, list(range(-5, 5)))
    assert [(row["x"], row["x_last"]) for row in ask(run, width=4)] == [(-5, -5), (-4, -1), (0, 3), (4, 4)]


def test_relative_time_starts_with_the_run(lab, project):
    """On the time axis x is milliseconds since the run's beginning."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, 2.0, 3.0]}, [0, 1, 2], times=[START_MS + 500, START_MS + 1500, START_MS + 2500])
    rows = ask(run, width=1024, axis="time", origin=START_MS)
    assert [(row["x"], row["mean"]) for row in rows] == [(500, 1.0), (1500, 2.0), (2500, 3.0)]


def test_another_run_changes_no_line(lab, million, project):
    """A run's buckets are the same whichever others are shown."""
    short = lab.run(f"{project}/short")
    lab.points(short, {"loss": [1.0, 2.0]}, [0, 1])
    both = queries.find_series([short, million], ["loss"])
    cuts = tuple(Cut(one, buckets.width(one.first_step, one.last_step)) for one in both)
    together = queries.buckets(cuts, "step", False, None, None).result()
    alone = queries.buckets(cuts[:1], "step", False, None, None).result()
    assert alone.num_rows > 0
    assert together.filter(pc.equal(together["run_id"], cuts[0].series.run)).to_pylist() == alone.to_pylist()


def test_the_lowest_rank_is_drawn(lab, project):
    """Of several ranks the lowest that logged the key is drawn, and the others are counted."""
    run = lab.run(f"{project}/a")
    for rank in (3, 1, 2):
        lab.points(run, {"loss": [float(rank)]}, [0], rank=rank, writer=rank)
    (series,) = queries.find_series([run], ["loss"])
    assert (series.rank, series.ranks) == (1, 3)
    assert [row["mean"] for row in ask(run)] == [1.0]


def test_thousands_of_keys_are_searched_on_the_server(lab, project):
    """No more keys come back than asked for, the ones that most runs have first, and all of them are counted."""
    a, b = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    lab.points(a, {f"layer{i}/norm": [0.0] for i in range(3000)} | {"Val/Loss": [0.0]}, [0])
    lab.points(b, {"layer7/norm": [0.0]}, [0])
    keys, matching = queries.find_keys([a, b], "", 12)
    assert (len(keys), keys[0], matching) == (12, "layer7/norm", 3001)
    assert queries.find_keys([a, b], "val/l", 12) == (["Val/Loss"], 1)
    assert queries.find_keys([a, b], "100%", 12) == ([], 0)


def test_what_people_look_at_first_comes_first(lab, project):
    """Prevalence decides; among equals losses of validation, losses, scores, the rest, and counters at the end."""
    a, b = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    ordered = [
        "eval_loss", "val/loss", "train/loss", "value_loss", "train/accuracy", "val/acc", "accumulated",
        "const", "epochs_left", "first_step_time", "steps/s", "epoch", "train/global_step", "trainer/step",
    ]  # fmt: skip
    lab.points(a, {key: [0.0] for key in reversed(ordered)} | {"gpu": [0.0]}, [0])
    lab.points(b, {"gpu": [0.0]}, [0])
    assert queries.find_keys([a, b], "", 20)[0] == ["gpu", *ordered]
    assert queries.find_keys([a, b], "", 4)[0] == ["gpu", "eval_loss", "val/loss", "train/loss"]


def test_runs_are_filtered(lab, project):
    """Words, tags and states must all hold; the newest run is first; ordinals count from the oldest."""
    lab.run(f"{project}/a", name="Base Model", tags=["prod", "lr-scan"])
    lab.run(f"{project}/b", name="base b", state="failed", created=1_760_000_100_000_000)
    lab.run(f"{project}/c", name="other", state="", created=1_760_000_200_000_000)
    found, matching = queries.list_runs(project, Filter())
    assert [(run.path[-1], run.state, run.ordinal) for run in found] == [
        ("c", "crashed", 2),
        ("b", "failed", 1),
        ("a", "finished", 0),
    ]
    assert matching == 3

    def names(line):
        return [run.path[-1] for run in queries.list_runs(project, parse(line))[0]]

    assert names("BASE") == ["b", "a"]
    assert names("base state:failed") == ["b"]
    assert names("tag:prod tag:lr-scan") == ["a"]
    assert names("tag:pro") == []
    assert names("scan") == ["a"]
    assert names("state:failed state:crashed") == ["c", "b"]
    assert names("'; DROP TABLE runs --") == []


def test_the_list_is_limited_and_says_so(lab, project):
    """Past the limit only the newest runs come, with the number of all."""
    for i in range(3):
        lab.run(f"{project}/r{i}", created=1_760_000_000_000_000 + i * 10**6)
    found, matching = queries.list_runs(project, Filter(), limit=2)
    assert ([run.path[-2:] for run in found], matching) == (["r2", "r1"], 3)


def test_runs_are_found_by_path_or_id_in_order(lab, project):
    """A link may name runs by path or id; what does not exist is left out."""
    a, b = lab.run(f"{project}/{project[-4:]}a"), lab.run(f"{project}/{project[-4:]}b")
    assert [run.path for run in queries.find_runs([b.rpartition("/")[2], "no-such-run", a])] == [b, a]


def test_a_project_is_not_another_that_begins_alike(lab, project):
    """The filter by project does not let through a project whose name only begins so."""
    lab.run(f"{project}/a")
    lab.run(f"{project}-2/b")
    assert [run.path for run in queries.list_runs(project, Filter())[0]] == [f"{project}/a"]


def test_the_summary_has_numbers_and_texts(lab, project):
    """What was set by hand and the last logged value are both there."""
    run = lab.run(f"{project}/a", summary={"verdict": '"good"'})
    lab.points(run, {"loss": [3.0, 2.5]}, [0, 1])
    assert queries.summary_values([run], ["loss", "verdict", "nothing"]) == {
        (run, "loss"): 2.5,
        (run, "verdict"): '"good"',
    }


def test_a_refused_query_says_why(lab):
    """An error of the store is one sentence without a traceback, and the next query works."""
    with pytest.raises(QueryFailed) as caught:
        queries._rows("SELECT no_such_column FROM runs")
    assert str(caught.value).startswith("Unknown expression") and "http" not in str(caught.value)
    assert queries.store_answers()


def test_a_store_without_tables_is_not_ready(lab):
    """Before the consumer has made the tables the dashboard waits, as for a store that does not answer."""
    with pytest.raises(StoreAway, match="consumer"):
        queries._rows("SELECT * FROM no_such_table")


def test_the_dashboard_may_only_read(lab):
    """The user that the dashboard reads as cannot change anything."""
    with pytest.raises(QueryFailed):
        queries._rows(f"DROP TABLE {lab.database}.metrics")
