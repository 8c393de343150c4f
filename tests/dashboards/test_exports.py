"""GET api/export: rows, not buckets."""

import csv
import io
import math
import re

import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from runtide_dashboards.queries import raw
from runtide_dashboards.routes import routes

START_MS = 1_760_000_000_000


@pytest.fixture
def get(lab):
    with TestClient(Starlette(routes=routes(""))) as client:
        yield lambda **query: client.get("/api/export", params=query)


def rows(answer):
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_csv_has_every_winning_point(lab, project, get):
    """Rows of all runs with exact values, NaN and infinities, repeats resolved, over pages of any size."""
    plain, mixed = lab.run(f"{project}/a", name='say "hi", you'), lab.run(f"{project}/b")
    lab.points(plain, {"loss": [0.1, math.nan, math.inf, 1e300, -2.5]}, [0, 1, 2, 3, 9])
    lab.points(mixed, {"loss": [1.0, 2.0]}, [0, 1], writer=1, attempt=1000)
    lab.points(mixed, {"loss": [7.0]}, [1], writer=2, attempt=2000)
    for size in (2, 5, raw.PAGE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(raw, "PAGE", size)
            answer = get(r=[plain, mixed], key="loss", format="csv")
        found = [(row["run"], row["name"], row["rank"], row["step"], float(row["value"])) for row in rows(answer)]
        assert str(found) == str(
            [(plain, 'say "hi", you', "0", str(step), value)
             for step, value in zip((0, 1, 2, 3, 9), (0.1, math.nan, math.inf, 1e300, -2.5), strict=True)]
            + [(mixed, "", "0", "0", 1.0), (mixed, "", "0", "1", 7.0)]
        )  # fmt: skip
    assert rows(answer)[0]["time"].startswith("2025-10-09 08:53:20")
    assert answer.headers["content-disposition"] == 'attachment; filename="loss.csv"'


def test_parquet_has_types(lab, project, get):
    """The file can be read, with times as times; a range and a time axis choose rows."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, 2.0, 3.0]}, [0, 1, 2])
    answer = get(r=run, key="loss", format="parquet", axis="relative", **{"from": "500", "to": "1500"})
    table = pq.read_table(io.BytesIO(answer.content))
    assert (table["step"].to_pylist(), table["value"].to_pylist()) == ([1], [2.0])
    assert str(table.schema.field("time").type) == "timestamp[ms, tz=UTC]"


def test_a_metric_axis_is_a_column(lab, project, get):
    """Rows where both were logged, with x."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [1.0, 2.0], "epoch": [0.5, 1.5]}, [0, 1])
    lab.points(run, {"loss": [3.0]}, [2], seq=1)
    found = rows(get(r=run, key="loss", axis="metric:epoch", **{"from": "1"}))
    assert [(row["step"], row["value"], row["x"]) for row in found] == [("1", "2", "1.5")]


def test_ranks_are_chosen(lab, project, get):
    """The lowest rank by default, all, or one."""
    run = lab.run(f"{project}/a")
    for rank in (2, 1):
        lab.points(run, {"loss": [1.0 * rank]}, [0], rank=rank, writer=rank)
    for ranks, found in (("lowest", ["1"]), ("all", ["1", "2"]), ("2", ["2"])):
        assert [row["rank"] for row in rows(get(r=run, key="loss", ranks=ranks))] == found


@pytest.mark.parametrize("axis", ["step", "relative", "wall", "metric:epoch"])
@pytest.mark.parametrize("ranks", ["lowest", "all", "1"])
def test_the_sql_gives_the_same_rows(lab, project, get, axis, ranks):
    """The pasted query answers what the file has, for names that would break out of a string."""
    run, key = lab.run(f"{project}/{{key:String}} \\ it"), "it's {runs:Array(String)} \\"
    sql_key = key.replace("\\", "\\\\")
    for rank in (1, 2):
        lab.points(
            run.replace("\\", "\\\\"), {sql_key: [1.0, 2.0], "epoch": [0.0, 2000.0]}, [0, 1], rank=rank, writer=rank
        )
    low = START_MS + 500 if axis == "wall" else 1
    asked = {"r": run, "key": key, "axis": axis, "ranks": ranks, "from": str(low)}
    sql = get(format="sql", **asked)
    assert sql.headers["content-type"].startswith("text/plain")
    names = "run, rank, step, value"
    text = lab.store.query(f"SELECT {names} FROM ({sql.text}) FORMAT CSV", user="reader", database=lab.database)
    pasted = [(line[0], line[1], line[2], float(line[3])) for line in csv.reader(io.StringIO(text))]
    file = [(row["run"], row["rank"], row["step"], float(row["value"])) for row in rows(get(**asked))]
    assert pasted == file and len(file) == (2 if ranks == "all" else 1)


@pytest.mark.parametrize("key", ["../../etc/passwd", 'a"b\r\nX-Evil: 1', "<b>", "", "é" * 300, "k" * 10_000])
def test_file_names_are_safe(lab, project, get, key):
    """Whatever the key is, the name of the file is short and plain."""
    run = lab.run(f"{project}/a")
    name = get(r=run, key=key).headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}\.csv"', name)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"key": "a"}, "r must name a run, 200 at most."),
        ({"r": "a/b/c", "key": "= {a}"}, "A formula has no rows of its own: export the metrics that it names."),
        ({"r": "a/b/c", "key": "a", "format": "xlsx"}, "format must be csv, parquet or sql."),
        ({"r": "a/b/c", "key": "a", "kind": "x"}, "kind must be series."),
        ({"r": "a/b/c", "key": "a", "axis": "x"}, "axis must be auto, step, relative, wall or metric:KEY."),
        ({"r": "a/b/c", "key": "a", "from": "x"}, "from must be a number."),
        ({"r": "a/b/c", "key": "a", "from": "nan"}, "from must be a number."),
        ({"r": "a/b/c", "key": "a", "to": "1e309"}, "to is too large a number."),
        ({"r": "a/b/c", "key": "a", "ranks": "x"}, "ranks must be lowest, all or a rank."),
    ],
)
def test_what_cannot_be_exported_is_refused(get, query, sentence):
    """One sentence that says why."""
    answer = get(**query)
    assert (answer.status_code, answer.json()) == (400, {"error": sentence})


def test_nothing_is_a_file_with_a_header(lab, project, get):
    """Runs that are not there have no rows."""
    assert get(r="no/such/run", key="loss").text.strip() == '"run","name","rank","step","time","value"'


def test_an_absent_store_is_said(get):
    """503 with a sentence, not a broken file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIDE_CLICKHOUSE_URL", "http://reader@127.0.0.1:9/runtide")
        answer = get(r="a/b/c", key="loss")
    assert (answer.status_code, answer.json()["error"]) == (503, "The store does not answer.")
