"""POST api/series against a real store."""

import asyncio
import json
import math
import threading

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from runtide_dashboards import answers, cache, plans
from runtide_dashboards.curves import Curve
from runtide_dashboards.queries import points, store
from runtide_dashboards.routes import routes

START_MS = 1_760_000_000_000
DTYPES = {"f4": "<f4", "f8": "<f8", "u4": "<u4"}


def decode(data):
    """The header, with each line's columns as lists."""
    size = int.from_bytes(data[:4], "little")
    assert (4 + size) % 8 == 0
    header, rest = json.loads(data[4 : 4 + size]), data[4 + size :]
    columns = []
    for column in header.pop("columns"):
        assert column["offset"] % 8 == 0
        columns.append(np.frombuffer(rest, DTYPES[column["type"]], column["length"], column["offset"]).tolist())
    for panel in header["panels"]:
        for line in panel["lines"]:
            line["columns"] = line["columns"] and {name: columns[number] for name, number in line["columns"].items()}
    return header


class Asker:
    def __init__(self, client):
        self.client = client

    def post(self, **question):
        return self.client.post("/api/series", json=question)

    def panels(self, keys, **question):
        panels = [key if isinstance(key, dict) else {"key": key} for key in keys]
        answer = self.post(panels=panels, **question)
        assert answer.status_code == 200, answer.text
        return decode(answer.content)["panels"]

    def lines(self, key, runs, have=None, low=None, high=None, **question):
        panel = {"key": key, "from": low, "to": high, "have": have or {}}
        (found,) = self.panels([panel], runs=runs, **question)
        assert found["error"] is None
        return {line["id"]: line for line in found["lines"]}


@pytest.fixture
def ask(lab):
    """Asks the route; nothing is remembered from before, and what was inserted counts as settled."""
    answers.cache.clear()
    with pytest.MonkeyPatch.context() as patch, TestClient(Starlette(routes=routes(""))) as client:
        patch.setattr(cache, "SETTLED", -1.0)
        yield Asker(client)


def test_points_come_as_they_were_logged(lab, project, ask):
    """A short series has a bucket for each point, with its step, value and count."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [3.0, 2.0, 1.5]}, [0, 5, 6])
    (panel,) = ask.panels(["loss"], runs=[run])
    (line,) = panel["lines"]
    assert (panel["key"], panel["error"], panel["axis"], panel["x_name"]) == ("loss", None, "step", "step")
    assert line["columns"] == {
        "x": [0.0, 5.0, 6.0],
        "mean": [3.0, 2.0, 1.5],
        "low": [3.0, 2.0, 1.5],
        "high": [3.0, 2.0, 1.5],
        "count": [1, 1, 1],
        "bad": [0, 0, 0],
    }
    assert {name: line[name] for name in ("id", "run", "rank", "ranks", "old", "points", "buckets", "width")} == {
        "id": run, "run": run, "rank": 0, "ranks": 1, "old": False, "points": 3, "buckets": 3, "width": 1
    }  # fmt: skip
    assert (line["first"], line["last"], line["tail"], line["unchanged"]) == (0, 6, None, False)


@pytest.fixture(scope="module")
def million(lab):
    run = lab.run("lab/series-million/a")
    lab.million(run, "loss", 617_283, 42.5)
    return run


def test_a_million_points_fit_into_the_buckets_wanted(ask, million):
    """Every point is counted, first and last are exact, the spike is in the envelope, and two loads are equal."""
    (line,) = ask.lines("loss", [million]).values()
    assert (line["width"], line["buckets"], sum(line["columns"]["count"])) == (2048, 489, 1_000_000)
    assert (line["columns"]["x"][0], line["columns"]["x"][-1]) == (0, 999_999)
    assert max(line["columns"]["high"]) == 42.5
    first = ask.post(runs=[million], panels=[{"key": "loss"}]).content
    answers.cache.clear()
    assert ask.post(runs=[million], panels=[{"key": "loss"}]).content == first


def test_the_rollup_answers_as_the_points_do(lab, ask, million):
    """Wide buckets are read from the rollup; they have the statistics that the points give."""
    (rolled,) = ask.lines("loss", [million]).values()
    answers.cache.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "_LONG", 10**9)
        (raw,) = ask.lines("loss", [million]).values()
    assert rolled["columns"]["mean"] == pytest.approx(raw["columns"]["mean"], rel=1e-6)
    for name in ("x", "low", "high", "count", "bad"):
        assert rolled["columns"][name] == raw["columns"][name]


@pytest.mark.parametrize(("low", "high"), [(1000, 999_000), (255, 600_000), (256, 599_999), (617_283, None)])
def test_a_zoom_cuts_the_rollup_at_the_point(ask, million, low, high):
    """Ends of a range within a row of the rollup are read from points: nothing outside counts, nothing inside lacks."""
    (line,) = ask.lines("loss", [million], low=low, high=high).values()
    last = 999_999 if high is None else high
    assert line["width"] >= 256
    assert (line["first"], line["last"], sum(line["columns"]["count"])) == (low, last, last - low + 1)


def test_a_zoom_reads_single_points(ask, million):
    """A narrow range has a bucket for each point, and an empty one has a line without buckets."""
    (line,) = ask.lines("loss", [million], low=617_280, high=617_290).values()
    assert line["columns"]["x"] == list(range(617_280, 617_291))
    assert line["columns"]["mean"][3] == 42.5
    (line,) = ask.lines("loss", [million], low=2_000_000, high=3_000_000).values()
    assert (line["buckets"], line["points"], line["columns"]["x"]) == (0, 1_000_000, [])


def test_time_axes_group_whole_rows_of_the_rollup(ask, million):
    """On a time axis a long series is read from the rollup: all points count, first and last are exact."""
    for axis, first in (("relative", 0), ("wall", START_MS)):
        (line,) = ask.lines("loss", [million], axis=axis).values()
        assert (line["first"], line["last"]) == (first, first + 999_999)
        assert sum(line["columns"]["count"]) == 1_000_000 and max(line["columns"]["high"]) == 42.5
        assert line["columns"]["x"] == sorted(line["columns"]["x"])


def test_a_short_series_over_time(lab, project, ask):
    """Relative x counts milliseconds since the run was created, wall x since 1970."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, 2.0]}, [0, 1], times=[START_MS + 500, START_MS + 61_500])
    assert ask.lines("loss", [run], axis="relative")[run]["columns"]["x"] == [500, 61_500]
    assert ask.lines("loss", [run], axis="wall")[run]["columns"]["x"] == [START_MS + 500, START_MS + 61_500]
    assert ask.lines("loss", [run], axis="relative", low=1000)[run]["columns"]["mean"] == [2.0]


def held(line):
    return [line["width"], line["columns"]["x"][-1], line["points"]]


def test_a_live_client_gets_what_it_lacks(lab, project, ask):
    """A line that grew comes from the last bucket on that the client held; what did not grow has no columns."""
    run, still = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    lab.points(run, {"loss": [float(i) for i in range(1000)]}, list(range(1000)))
    lab.points(still, {"loss": [7.0]}, [0])
    before = ask.lines("loss", [run, still])
    have = {name: held(line) for name, line in before.items()}
    lab.points(run, {"loss": [-1.0] * 10}, list(range(1000, 1010)), seq=1)
    after = ask.lines("loss", [run, still], have=have)
    assert (after[still]["unchanged"], after[still]["columns"], after[still]["points"]) == (True, None, 1)
    line = after[run]
    assert (line["tail"], line["width"], line["points"], line["last"]) == (998, 2, 1010, 1009)
    assert line["columns"]["x"] == [998, 1000, 1002, 1004, 1006, 1009]
    assert line["columns"]["count"] == [2] * 6
    whole = ask.lines("loss", [run])[run]["columns"]
    kept = [i for i, x in enumerate(before[run]["columns"]["x"]) if x < line["tail"]]
    for name in whole:
        assert [before[run]["columns"][name][i] for i in kept] + line["columns"][name] == whole[name]


def test_a_tick_of_many_panels_is_one_query(lab, project, ask):
    """Tails of all panels come in one query, each panel with its own lines and from its own bucket on."""
    runs = [lab.run(f"{project}/{name}") for name in "abc"]
    for run in runs:
        for seq in range(2):
            steps = list(range(100 * seq, 100 * seq + 100))
            lab.points(run, {"x": [1.0 * s for s in steps], "y": [2.0 * s for s in steps]}, steps, seq=seq)
    lab.points(runs[0], {"x": [0.5]}, [200], seq=2)
    have = {"x": {run: [1, 190, 191] for run in runs}, "y": {run: [1, 150 + i, 1] for i, run in enumerate(runs[1:])}}
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        real = points.ask
        patch.setattr(points, "ask", lambda drawing: asked.append(drawing) or real(drawing))
        panels = [{"key": key, "have": have[key]} for key in "xy"]
        x, y = ask.panels(panels, runs=runs)
        assert len(asked) == 2  # y has a line of which the client holds nothing
        asked.clear()
        x2, y2 = ask.panels(panels, runs=runs[1:])
        assert len(asked) == 1 and asked[0].each
    lines = {line["id"]: line for line in x["lines"]}
    assert lines[runs[0]]["columns"]["x"] == list(range(190, 201))
    assert [line["columns"]["mean"] for line in x2["lines"]] == [list(range(190, 200))] * 2
    assert [line["columns"]["x"] for line in y2["lines"]] == [list(range(150, 200)), list(range(151, 200))]
    assert [line["tail"] for line in y["lines"]] == [None, 150, 151]


def test_what_grew_a_moment_ago_is_sent_again(lab, project, ask):
    """Tables of one insert do not show it at once: until they do, a line is not called unchanged, nor kept."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, 2.0]}, [0, 1])
    line = ask.lines("loss", [run])[run]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "SETTLED", 3600.0)
        answers.cache.clear()
        again = ask.lines("loss", [run], have={run: held(line)})[run]
        assert (again["unchanged"], again["tail"], again["columns"]["x"]) == (False, 1, [1])
        assert not answers.cache._curves
    assert ask.lines("loss", [run], have={run: held(line)})[run]["unchanged"]


def test_wider_buckets_come_whole(lab, project, ask):
    """When the range doubled, or the client holds another width, a line is sent whole."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [0.0] * 512}, list(range(512)))
    lab.points(run, {"loss": [0.0]}, [600], seq=1)
    line = ask.lines("loss", [run], have={run: [1, 511, 512]})[run]
    assert (line["tail"], line["width"], line["first"]) == (None, 2, 0)


def test_an_untidy_series_is_sent_whole(lab, project, ask):
    """Where points can be superseded, earlier buckets may change: there are no tails."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, 1.0, 1.0]}, [0, 1, 2], writer=1, attempt=1000)
    lab.points(run, {"loss": [5.0, 5.0]}, [1, 2], writer=2, attempt=2000)
    line = ask.lines("loss", [run], have={run: [1, 2, 4]})[run]
    assert (line["tail"], line["columns"]["mean"], line["points"]) == (None, [1.0, 5.0, 5.0], 5)
    assert ask.lines("loss", [run], have={run: [1, 2, 5]})[run]["unchanged"]


def test_superseded_points_are_lines_of_their_attempt(lab, project, ask):
    """With attempts, what a later one or a rewind replaced is a line of its own, and it is said where they begin."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0] * 6}, [0, 1, 2, 3, 4, 5], writer=1, attempt=1000)
    lab.points(run, {"loss": [2.0] * 2}, [3, 4], writer=2, attempt=2000)
    lab.rewind(run, writer=3, attempt=3000, step=1)
    lab.points(run, {"loss": [3.0]}, [2], writer=3, attempt=3000)
    (panel,) = ask.panels(["loss"], runs=[run], attempts=True)
    lines = {line["id"]: line for line in panel["lines"]}
    shown = {name.removeprefix(run): (line["columns"]["x"], line["columns"]["mean"]) for name, line in lines.items()}
    assert shown["@1"] == ([2, 3, 4, 5], [1.0] * 4)
    assert shown["@2"] == ([3, 4], [2.0] * 2)
    assert shown[""] == ([0, 1, 2], [1.0, 1.0, 3.0])
    assert {(line["old"], line["attempt"], line["run"]) for line in lines.values()} == {
        (False, None, run), (True, 1, run), (True, 2, run)
    }  # fmt: skip
    assert panel["attempts"] == [
        {"run": run, "number": 2, "from": 3, "rewind": False},
        {"run": run, "number": 3, "from": 2, "rewind": True},
    ]
    have = {line["id"]: held(line) for line in lines.values()}
    (panel,) = ask.panels([{"key": "loss", "have": have}], runs=[run], attempts=True)
    assert [(line["id"], line["unchanged"]) for line in panel["lines"]] == [
        (run, True), (f"{run}@1", True), (f"{run}@2", True)
    ]  # fmt: skip
    assert list(ask.lines("loss", [run])) == [run]


def test_ranks(lab, project, ask):
    """The lowest rank, one rank, or a line for each; more than can be told apart are refused in the panel."""
    run, other = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    for rank in (3, 1, 2):
        lab.points(run, {"loss": [float(rank)] * rank}, list(range(rank)), rank=rank, writer=rank)
    lab.points(other, {"loss": [9.0]}, [0], rank=2)
    lines = ask.lines("loss", [run, other])
    assert [(line["rank"], line["ranks"], line["columns"]["mean"]) for line in lines.values()] == [
        (1, 3, [1.0]), (2, 1, [9.0])
    ]  # fmt: skip
    lines = ask.lines("loss", [run, other], ranks=3)
    assert [(line["id"], line["ranks"], line["columns"]["mean"]) for line in lines.values()] == [(run, 3, [3.0] * 3)]
    lines = ask.lines("loss", [run, other], ranks="all")
    assert {name: line["columns"]["mean"] for name, line in lines.items()} == {
        f"{run}#1": [1.0], f"{run}#2": [2.0] * 2, f"{run}#3": [3.0] * 3, f"{other}#2": [9.0]
    }  # fmt: skip
    for rank in range(10, 75):
        lab.points(run, {"wide": [0.0]}, [0], rank=rank, writer=rank)
    (panel,) = ask.panels(["wide"], runs=[run], ranks="all")
    assert panel["lines"] == [] and panel["error"] == "More than 64 lines: choose one rank, or fewer runs."


def test_a_formula_is_drawn_where_all_its_metrics_were_logged(lab, project, ask):
    """Joined at equal steps of winning points; what is not finite is counted; a run that lacks a key has no line."""
    run, lacks = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    lab.points(run, {"a": [1.0, 2.0, 3.0, 4.0]}, [0, 1, 2, 3], writer=1, attempt=1000)
    lab.points(run, {"a": [20.0]}, [1], writer=2, attempt=2000)
    lab.points(run, {"b": [1.0, 0.0, 2.0]}, [1, 2, 7], writer=2, attempt=2000, seq=1)
    lab.points(lacks, {"a": [1.0]}, [0])
    lines = ask.lines("= {a} / {b}", [run, lacks])
    assert list(lines) == [run]
    assert lines[run]["columns"]["x"] == [1, 2]
    assert lines[run]["columns"]["mean"][0] == 20.0 and math.isnan(lines[run]["columns"]["mean"][1])
    assert (lines[run]["columns"]["bad"], lines[run]["bad"], lines[run]["points"]) == ([0, 1], 1, 8)


def test_a_bad_formula_is_an_error_of_its_panel(lab, project, ask):
    """The others are answered."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"a": [1.0]}, [0])
    bad, good = ask.panels(["= {a} +", "a"], runs=[run])
    assert bad["lines"] == [] and bad["error"].startswith("The formula cannot be read at character 6")
    assert good["error"] is None and len(good["lines"]) == 1


def test_another_metric_is_the_axis(lab, project, ask):
    """x is the metric's value at the same step; lines are ordered by it, in buckets that may be narrower than 1."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"epoch": [0.5, 0.25, 0.0, math.nan], "loss": [1.0, 2.0, 3.0, 9.0]}, [0, 1, 2, 3])
    lab.points(run, {"loss": [8.0]}, [4], seq=1)
    (panel,) = ask.panels(["loss"], runs=[run], axis="metric:epoch")
    (line,) = panel["lines"]
    assert (panel["axis"], panel["x_name"]) == ("metric", "epoch")
    assert (line["columns"]["x"], line["columns"]["mean"]) == ([0.0, 0.25, 0.5], [3.0, 2.0, 1.0])
    assert 0 < line["width"] < 1
    assert ask.lines("loss", [run], axis="metric:epoch", low=0.2, high=0.3)[run]["columns"]["mean"] == [2.0]
    assert ask.lines("loss", [run], axis="metric:nothing") == {}


def test_auto_is_the_axis_that_define_metric_named(lab, project, ask):
    """By name or by a name with a star; step when nothing was declared."""
    rules = {"train/*": {"step_metric": "epoch"}, "train/exact": {"step_metric": "_runtime"}, "epoch": {}}
    run = lab.run(f"{project}/a", definitions=rules)
    lab.points(run, {"epoch": [7.0], "train/loss": [1.0], "train/exact": [2.0], "val": [3.0]}, [5])
    panels = ask.panels(["train/loss", "train/exact", "val"], runs=[run])
    assert [(panel["axis"], panel["x_name"]) for panel in panels] == [
        ("metric", "epoch"), ("relative", "relative"), ("step", "step")
    ]  # fmt: skip
    assert [panel["lines"][0]["columns"]["x"] for panel in panels] == [[7.0], [5000.0], [5.0]]


BAND = {"a": [1.0, 2.0, 4.0, 9.0], "b": [5.0]}


@pytest.fixture
def band_runs(lab, project):
    runs = []
    for group, values in BAND.items():
        for number, value in enumerate(values):
            runs.append(lab.run(f"{project}/{group}{number}"))
            lab.points(runs[-1], {"loss": [value, 2 * value, math.nan]}, [0, 1, 2])
    return runs


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("minmax", min, max),
        ("std", lambda v: np.mean(v) - np.std(v, ddof=1), lambda v: np.mean(v) + np.std(v, ddof=1)),
        ("p10p90", lambda v: np.quantile(v, 0.1), lambda v: np.quantile(v, 0.9)),
        ("ci95", lambda v: t_interval(v)[0], lambda v: t_interval(v)[1]),
    ],
)
@pytest.mark.parametrize("centre", ["mean", "median"])
def test_bands_are_statistics_over_runs(ask, band_runs, kind, low, high, centre):
    """Centre and edges are those of the runs' means; a single run has only what a single value can have."""
    groups = [{"id": "a", "runs": band_runs[:4]}, {"id": "b", "runs": band_runs[4:]}]
    lines = ask.lines("loss", [], groups=groups, band={"centre": centre, "range": kind})
    assert list(lines) == ["a", "b"]
    a, b = lines["a"]["columns"], lines["b"]["columns"]
    middle = np.mean if centre == "mean" else np.median
    for place, factor in enumerate((1, 2)):
        values = [factor * value for value in BAND["a"]]
        assert a["mean"][place] == pytest.approx(middle(values), rel=1e-6)
        assert a["low"][place] == pytest.approx(low(values), rel=1e-6)
        assert a["high"][place] == pytest.approx(high(values), rel=1e-6)
    assert (a["count"], a["bad"], lines["a"]["runs"], lines["a"]["run"]) == ([4, 4, 0], [0, 0, 4], 4, None)
    assert math.isnan(a["mean"][2])
    alone = b["mean"][:2] == [5.0, 10.0] and b["count"] == [1, 1, 0]
    assert alone and (b["low"][0] == 5.0 if kind in ("minmax", "p10p90") else math.isnan(b["low"][0]))


def t_interval(values):
    from scipy import stats

    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def test_a_band_weighs_its_runs_alike(lab, project, ask):
    """A run that logs ten times as often counts once; all share a grid."""
    often, seldom = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    lab.points(often, {"loss": [1.0] * 1000}, list(range(1000)))
    lab.points(seldom, {"loss": [3.0] * 100}, list(range(0, 1000, 10)))
    line = ask.lines("loss", [], groups=[{"id": "g", "runs": [often, seldom]}], buckets=16)["g"]
    assert (line["width"], set(line["columns"]["mean"]), set(line["columns"]["count"])) == (64, {2.0}, {2})


def test_a_logarithmic_axis_leaves_out_what_it_cannot_show(lab, project, ask):
    """Values that are not above 0 are hidden and counted, apart from those that are not finite."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [10.0, 0.0, -5.0, math.nan, math.inf]}, list(range(5)))
    line = ask.lines("loss", [run], log_y=True)[run]
    assert (line["hidden"], line["bad"], line["columns"]["bad"]) == (2, 2, [0, 0, 0, 1, 1])
    assert line["columns"]["mean"][0] == 10.0 and all(map(math.isnan, line["columns"]["mean"][1:]))
    assert ask.lines("loss", [run])[run]["hidden"] == 0


def test_hostile_names_are_just_names(lab, project, ask):
    """Keys and runs with quotes, markup, line ends, thousands of characters come back as they were."""
    keys = ["<b>&amp;</b>", 'it\'s "x" \\ `y` {z}', "a\tb\nc", "k" * 10_000, "% , / é 鍵 ;--", "= ", "v0"]
    run = lab.run(f"{project}/it's <i>%41,é")
    lab.points(run.replace("'", "\\'"), {key.replace("\\", "\\\\"): [1.0 * i] for i, key in enumerate(keys)}, [0])
    for number, panel in enumerate(ask.panels([key for key in keys if key != "= "], runs=[run, "no/such/run"])):
        number += number >= 5
        assert (panel["key"], panel["error"]) == (keys[number], None)
        assert [(line["id"], line["columns"]["mean"]) for line in panel["lines"]] == [(run, [1.0 * number])]


def test_huge_steps_and_values(lab, project, ask):
    """Steps near the ends of 64 bits and values near those of floats are drawn, means included."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.5e308, 1.7e308, -1.0]}, [-(2**61), -(2**61) + 1, 2**61])
    line = ask.lines("loss", [run])[run]
    assert line["columns"]["count"] == [2, 1]
    assert line["columns"]["mean"] == pytest.approx([1.6e308, -1.0])
    (line,) = ask.lines("loss", [run], low=-1e300, high=1e300).values()
    assert line["columns"]["count"] == [2, 1]
    (line,) = ask.lines("loss", [run], axis="metric:loss").values()
    assert len(line["columns"]["x"]) == 3 or sum(line["columns"]["count"]) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"runs": "a/b/c"}, "runs must be a list."),
        ({"runs": ["a/b"]}, "runs must hold paths of runs: entity/project/id."),
        ({"runs": [f"a/b/{i}" for i in range(51)]}, "runs: 51 are too many to draw, at most 50 without groups."),
        ({"runs": ["a/b/\ud800"]}, "runs is not valid Unicode."),
        ({"axis": "sideways"}, "axis must be auto, step, relative, wall or metric:KEY."),
        ({"log_y": 1}, "log_y must be true or false."),
        ({"buckets": 8}, "buckets must be from 16 to 2,048."),
        ({"buckets": True}, "buckets must be a whole number."),
        ({"ranks": "most"}, "ranks must be lowest, all or a rank."),
        ({"ranks": -1}, "ranks must be lowest, all or a rank."),
        ({"band": {"centre": "mode"}}, "band.centre must be one of mean, median."),
        ({"colour": "red"}, "colour is no field of this request."),
        ({"panels": [{"key": "a"}] * 51}, "panels has 51 entries, at most 50 are possible."),
        ({"panels": ["a"]}, "panels[0] must be an object."),
        ({"panels": [{"key": 5}]}, "panels[0].key must be a text."),
        ({"panels": [{"key": "a" * 20_001}]}, "panels[0].key is longer than 20,000 characters."),
        ({"panels": [{"key": "a", "from": "x"}]}, "panels[0].from must be a number."),
        ({"panels": [{"key": "a", "from": 10**400}]}, "panels[0].from is too large a number."),
        (
            {"panels": [{"key": "a", "have": {"l": [1, 2]}}]},
            "panels[0].have must hold a width, an x and a number of points for each line.",
        ),
        ({"groups": [{"id": "a", "runs": ["a/b/c"]}] * 2}, "groups: the run a/b/c stands in two groups."),
        ({"groups": [{"id": "a", "runs": []}], "ranks": "all"}, "ranks: all is not possible with groups."),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(ask, change, sentence):
    """Each field is checked; the answer names it and says what it may be."""
    answer = ask.client.post("/api/series", content=json.dumps({"runs": ["a/b/c"], "panels": [{"key": "a"}], **change}))
    assert (answer.status_code, answer.json()) == (400, {"error": sentence})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"runs": NaN}', b"[" * 100_000])
def test_what_is_no_request_is_refused(ask, body):
    """Neither broken JSON nor another kind of value is an error of ours."""
    answer = ask.client.post("/api/series", content=body)
    assert answer.status_code == 400 and answer.json()["error"]


def test_too_long_a_request_is_refused(ask):
    """A body is read up to a limit."""
    answer = ask.client.post("/api/series", content=b" " * (4 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["error"]) == (400, "The request is longer than 4,194,304 bytes.")


def test_nothing_to_draw_is_an_answer(lab, project, ask):
    """No runs, no panels, unknown runs and unknown keys are answered with what there is."""
    run = lab.run(f"{project}/a")
    assert ask.panels([], runs=[run]) == []
    assert [panel["lines"] for panel in ask.panels(["loss"], runs=[])] == [[]]
    assert [panel["lines"] for panel in ask.panels(["loss"], runs=[run, "no/such/run"])] == [[]]


def test_an_absent_store_is_said(ask):
    """503 with a sentence, and no traceback, while nobody answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIDE_CLICKHOUSE_URL", "http://reader@127.0.0.1:9/runtide")
        answer = ask.post(runs=["a/b/c"], panels=[{"key": "loss"}])
    assert (answer.status_code, answer.json()) == (503, {"error": "The store does not answer."})


def test_a_query_that_takes_too_long_is_an_error_of_its_panel(ask, million):
    """The panel says what to do, and the store stops working for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "SECONDS", 0.001)
        (panel,) = ask.panels(["loss"], runs=[million])
    assert panel["error"] == "Took > 0 s. Narrow the range, or choose fewer runs."


def test_who_leaves_gives_up_what_waits(ask, million):
    """When a client hangs up, its queries that have not begun never do."""
    begun, go = [], threading.Event()

    def slow(drawing):
        begun.append(drawing)
        go.wait(60)
        return real(drawing)

    real = points.ask

    async def run():
        messages = asyncio.Queue()
        body = json.dumps({"runs": [million], "panels": [{"key": "loss", "to": 10**6 + i} for i in range(12)]}).encode()
        await messages.put({"type": "http.request", "body": body})
        scope = {"type": "http", "method": "POST", "path": "/api/series", "headers": [], "query_string": b""}
        app = Starlette(routes=routes(""))
        sent = []

        async def send(message):
            sent.append(message)

        task = asyncio.create_task(app(scope, messages.get, send))
        while len(begun) < 4:
            await asyncio.sleep(0.01)
        await messages.put({"type": "http.disconnect"})
        await task
        return sent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "ask", slow)
        sent = asyncio.run(run())
        go.set()
        store.rows("SELECT 1")
    assert len(begun) == 4 and sent[0]["status"] == 499


def test_the_cache_is_bounded_and_forgets_the_oldest():
    """Its bytes never exceed the limit, and what was asked for last stays."""
    column = np.zeros(1000)
    curve = Curve(column, column, column, column, column, column, 0)
    kept = cache.Cache(3 * curve.size)
    for number in range(3):
        kept.put(number, {0: curve})
    assert kept.get(0) is not None
    kept.put(3, {0: curve})
    assert [kept.get(number) is not None for number in range(4)] == [True, False, True, True]
    assert kept._size == 3 * curve.size
