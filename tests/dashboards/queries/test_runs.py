"""Runs filtered, sorted, paged and grouped by a real store."""

import csv
import io
import math
import time

import pyarrow.parquet as pq
import pytest

from runtide_dashboards import edits, literals
from runtide_dashboards.errors import QueryFailed
from runtide_dashboards.filters import Filter, parse
from runtide_dashboards.queries import runs as queries
from runtide_dashboards.queries import store
from runtide_dashboards.queries.conditions import Column

ALL = Filter()
NAMES = [
    "<b>x</b>", "it's", "a\\b", "`tick`", "100%", "{p0:String}", "a,b/c", "ä🦀", "'; DROP TABLE runs --", "x" * 10_000,
]  # fmt: skip


def ids(found):
    return [run.path.rpartition("/")[2] for run in found[0]]


def matching(project, line):
    return sorted(ids(queries.list_runs(project, parse(line))))


@pytest.fixture(scope="module")
def scan(lab):
    """Five runs whose configs and summaries differ."""
    configs = {
        "a": {"lr": 0.1, "model": {"name": "gpt", "depth": 2}, "flag": True},
        "b": {"lr": 0.01, "model": {"name": "mamba", "depth": 10}, "flag": False},
        "c": {"lr": "auto", "model": {"name": "gpt"}, "model.name": "literal"},
        "d": {"lr": None, "a.b": {"c d": "two words"}},
        "e": {},
    }
    for place, (name, config) in enumerate(configs.items()):
        definitions = {"score": {"goal": "maximize"}, "val/*": {"goal": "minimize"}} if name == "e" else None
        run = lab.run(
            f"lab/scan/{name}", name=f"run {name}", config=config, created=1_760_000_000_000_000 + place * 10**6,
            summary={"verdict": '"good"'} if name == "a" else None, definitions=definitions,
            group="g1" if name < "c" else "",
        )  # fmt: skip
        if name != "e":
            values = {"a": [3.0, 1.0, 2.0], "b": [1.0, 5.0, 4.0], "c": [math.nan] * 3, "d": [7.0, 8.0, 9.0]}[name]
            lab.points(run, {"val/loss": values, "score": values}, [0, 1, 2])
    return "lab/scan"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("config.lr>0.05", "a"),
        ("config.lr>=0.01", "ab"),
        ("config.lr<0.1", "b"),
        ("config.lr=0.10", "a"),
        ("config.lr=1e-1", "a"),
        ("config.lr=auto", "c"),
        ("config.lr=null", "d"),
        ("config.lr!=auto", "abde"),
        ("config.flag=true", "a"),
        ("config.model.name=gpt", "ac"),
        ("config.model.depth>2", "b"),
        ("config.model=x", ""),
        ('config."a.b"."c d"="two words"', "d"),
        ("config.a.b=1", ""),
        ("summary.val/loss<4.5", "ab"),
        ("summary.val/loss>=9", "d"),
        ("summary.val/loss!=2", "bcde"),
        ("summary.verdict=good", "a"),
        ("summary.nothing>0", ""),
        ("/^run [ab]$/", "ab"),
        ("/^[de]$/", "de"),
        ("group:g1 -", ""),
        ("group:g1", "ab"),
        ("config.lr>0.001 summary.val/loss<3 /a/", "a"),
    ],
)
def test_runs_are_chosen_by_config_summary_and_pattern(scan, line, expected):
    """All conditions must hold; numbers compare as numbers, texts as texts, and an absent key only holds !=."""
    assert matching(scan, line) == list(expected)


@pytest.mark.parametrize("hostile", NAMES)
def test_any_text_is_only_a_value(lab, project, hostile):
    """Names, tags, groups, keys and values of the worst kind are found by themselves and harm nothing."""
    quoted = hostile.replace('"', "")
    run = lab.run(f"{project}/a", name=hostile, tags=[hostile], config={"k": hostile, hostile: 1}, group=hostile)
    lab.run(f"{project}/b", name="other")
    for line in (f'"{quoted}"', f'tag:"{quoted}"', f'group:"{quoted}"', f'config.k="{quoted}"'):
        assert matching(project, line) == ["a"], line
    assert queries.list_runs(project, ALL, sort=f"config.{hostile}")[1] == 2
    groups, _ = queries.list_groups(project, ALL, [hostile], [Column(hostile)], 10)
    assert sum(group.runs for group in groups) == 2
    sql, values = queries.table(project, ALL, "-created", None, [hostile], [Column(hostile)])
    assert run in store.download(sql, values, "CSVWithNames").decode()
    assert store.rows(literals.fill(sql, values)) == store.rows(sql, **values)


def test_a_pattern_that_cannot_be_read_is_refused(scan):
    """The store says so, in words that name its syntax."""
    with pytest.raises(QueryFailed, match="re2"):
        queries.list_runs(scan, parse("/a(?=b)/"))


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("created", "abcde"),
        ("-created", "edcba"),
        ("name", "abcde"),
        ("-name", "edcba"),
        ("config.lr", "bacde"),
        ("-config.lr", "abdce"),
        ("config.model.depth", "abedc"),
        ("nonsense", "abcde"),
    ],
)
def test_runs_are_sorted(scan, sort, expected):
    """Numbers come before texts, runs without a value last, in either direction; of equals the newest is first."""
    assert "".join(ids(queries.list_runs(scan, ALL, sort=sort))) == expected


@pytest.mark.parametrize(
    ("sort", "statistic", "expected"),
    [
        ("summary.val/loss", "summary", "abdec"),
        ("-summary.val/loss", "summary", "dbaec"),
        ("summary.val/loss", "min", "badec"),
        ("-summary.val/loss", "max", "dbaec"),
        ("summary.val/loss", "mean", "abdec"),
        ("summary.val/loss", "last", "abdec"),
    ],
)
def test_runs_are_sorted_by_a_statistic(scan, sort, statistic, expected):
    """What the value of a metric is decides; runs without one, or with NaN, are last."""
    found = ids(queries.list_runs(scan, ALL, sort=sort, best=Column("val/loss", statistic)))
    assert found[:3] == list(expected[:3]) and set(found[3:]) == {"c", "e"}


def test_pages_follow_one_another(scan):
    """No run is on two pages, and each page knows how many there are."""
    pages = [queries.list_runs(scan, ALL, 2, offset) for offset in (0, 2, 4, 6)]
    assert [ids(page) for page in pages] == [["e", "d"], ["c", "b"], ["a"], []]
    assert [page[1] for page in pages] == [5, 5, 5, 0]


def test_statistics_are_those_of_the_points(scan):
    """Smallest, largest, last and mean of rank 0, as numbers; a run without the metric has none."""
    paths = [f"{scan}/a", f"{scan}/e"]
    for statistic, value in (("min", 1.0), ("max", 3.0), ("last", 2.0), ("mean", 2.0)):
        assert queries.summary_values(paths, [Column("val/loss", statistic)]) == {(paths[0], "val/loss"): value}


def test_a_goal_is_a_metrics_own_or_that_of_its_glob(scan):
    """define_metric's goals are found for whoever asks; a metric without one has none."""
    assert queries.find_goals(scan, ["score", "val/loss", "other"]) == {"score": "maximize", "val/loss": "minimize"}


def test_groups_have_counts_means_and_deviations(lab, project):
    """Runs alike in the chosen keys are one row; the deviation is between runs, and none for a single one."""
    for place, (lr, value) in enumerate([(0.1, 1.0), (0.1, 2.0), (0.1, 6.0), (0.2, 4.0), (None, math.nan)]):
        run = lab.run(
            f"{project}/r{place}", config={} if lr is None else {"lr": lr}, created=1_760_000_000_000_000 + place
        )
        lab.points(run, {"loss": [value]}, [0])
    groups, found = queries.list_groups(project, ALL, ["lr"], [Column("loss"), Column("nothing")], 10)
    assert found == 3
    assert [(g.values, g.runs, g.means) for g in groups] == [
        (("0.1",), 3, (3.0, None)),
        (("",), 1, (None, None)),
        (("0.2",), 1, (4.0, None)),
    ]
    assert groups[0].deviations == (pytest.approx(math.sqrt(7)), None) and groups[2].deviations == (None, None)
    assert groups[0].paths == (f"{project}/r2", f"{project}/r1", f"{project}/r0")
    assert queries.list_groups(project, ALL, ["lr"], [], 1, 1)[0][0].values == ("",)
    assert queries.list_groups(project, parse("config.lr>1"), ["lr"], [], 10) == ([], 0)


def test_the_whole_table_is_a_file_and_a_query(scan):
    """CSV and Parquet have every run that matches with the columns shown; the query to paste gives the same."""
    sql, values = queries.table(scan, parse("config.lr>0"), "-created", None, ["lr"], [Column("val/loss")])
    rows = list(csv.DictReader(io.StringIO(store.download(sql, values, "CSVWithNames").decode())))
    assert [(row["run_id"], row["config.lr"], float(row["val/loss"])) for row in rows] == [
        (f"{scan}/b", "0.01", 4.0),
        (f"{scan}/a", "0.1", 2.0),
    ]
    assert pq.read_table(io.BytesIO(store.download(sql, values, "Parquet"))).num_rows == 2
    assert [row["run_id"] for row in store.rows(literals.fill(sql, values))] == [row["run_id"] for row in rows]


def test_archived_and_deleted_runs_are_left_out_until_asked_for(lab, project):
    """Lists, groups and projects do without them; the marks of the filter bring them, and only them."""
    for name in "abc":
        lab.run(f"{project}/{name}", config={"lr": 1})
    a, b, _ = queries.find_runs([f"{project}/{name}" for name in "abc"])
    edits.save([a], "archived", True)
    edits.save([b], "deleted", True)
    assert (matching(project, ""), matching(project, "is:archived"), matching(project, "is:deleted")) == (
        ["c"],
        ["a"],
        ["b"],
    )
    (mine,) = [one for one in queries.list_projects() if one.path == project]
    assert (mine.runs, mine.archived, mine.deleted) == (1, 1, 1)
    assert queries.list_groups(project, ALL, ["lr"], [], 10)[0][0].runs == 1
    assert [run.path for run in queries.find_runs([a.path, b.path])] == [a.path]
    assert [run.deleted for run in queries.find_runs([b.path], deleted=True)] == [True]


def test_the_baseline_is_first_however_the_list_is_sorted(lab, project):
    """What all others are compared with is in sight."""
    for place, name in enumerate("abc"):
        lab.run(f"{project}/{name}", created=1_760_000_000_000_000 + place)
    edits.save(queries.find_runs([f"{project}/b"]), "baseline", True)
    for sort, rest in (("created", "ac"), ("-created", "ca")):
        found = queries.list_runs(project, ALL, sort=sort)
        assert "".join(ids(found)) == f"b{rest}" and found[0][0].baseline
    assert matching(project, "is:baseline") == ["b"]


def test_what_broke_is_listed_with_its_exit_code(lab, project):
    """Failed and crashed runs of the period, the latest first; older ones, archived ones and good ones are not."""
    now = time.time_ns() // 1000
    hour = 3600 * 10**6
    lab.run(f"{project}/failed", state="failed", created=now - 3 * hour, heartbeat=now - 2 * hour, exit_code=137)
    lab.run(f"{project}/crashed", state="", created=now - 3 * hour, heartbeat=now - hour)
    lab.run(f"{project}/old", state="failed", created=now - 60 * hour, heartbeat=now - 50 * hour)
    lab.run(f"{project}/good", created=now - hour, heartbeat=now)
    mine = [run for run in queries.list_broken(24)[0] if run.project == project]
    assert [(run.path.rpartition("/")[2], run.state, run.exit_code) for run in mine] == [
        ("crashed", "crashed", None),
        ("failed", "failed", 137),
    ]
    assert f"{project}/old" in [run.path for run in queries.list_broken(168)[0]]


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
    assert queries.summary_values([run], [Column("loss"), Column("verdict"), Column("nothing")]) == {
        (run, "loss"): 2.5,
        (run, "verdict"): '"good"',
    }
