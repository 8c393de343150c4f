"""The Query API reads back, from a real store and through the real consumer, what the SDK logged."""

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import runtide
from runtide._points import find_series
from runtide._sql import Store
from runtide_schemas import parse_address
from runtide_schemas.edits import Edit, send_edits, user

NAN, INF = float("nan"), float("inf")
SCRIPT = """
import tests_query_api as t, runtide
for run in (t.plain, t.attempts, t.mixed, t.ranks, t.wide, t.empty):
    run(runtide)
"""
ODD_KEYS = ["a.b/c", "it's", 'quo"te', "back\\slash", "{x:String}", "nul\0", "new\nline", "ключ", ""]
TEXTS = ["text", "NaN", None, [1, NAN, "x"], 2**60 + 1, [{"a": -INF}]]


def plain(runtide: Any) -> None:
    """2,500 steps of two keys in order, one of which is not logged at every step."""
    with runtide.init(
        project="api", id="plain", name="the plain one", config={"lr": 0.1, "opt": {"name": "adam"}}, tags=["a", "b"],
        group="g", job_type="train", notes="some notes",
    ) as run:  # fmt: skip
        for step in range(2500):
            run.log({"loss": 1 / (step + 1)} | ({"acc": step / 7} if step % 3 == 0 else {}), step=step)
        run.summary["best"] = 0.25
        run.summary["nothing"] = NAN


def attempts(runtide: Any) -> None:
    """Two attempts that overlap, and steps that come late and again."""
    for attempt in (1, 2):
        with runtide.init(project="api", id="attempts", resume="allow") as run:
            for step in range(10 * attempt - 10, 10 * attempt + 5):
                run.log({"loss": attempt * 1000.0 + step}, step=step)
            run.log({"loss": -1.0}, step=3 * attempt)


def mixed(runtide: Any) -> None:
    """Numbers and other things under the same names, odd names, odd numbers."""
    with runtide.init(project="api", id="mixed") as run:
        for step, text in enumerate(TEXTS):
            run.log({"note": text, "loss": float(step)}, step=2 * step)
            run.log({"note": step / 4, "loss": float(step)}, step=2 * step + 1)
        for step, value in enumerate([NAN, INF, -INF, -0.0, 5e-324, 2**53]):
            run.log(dict.fromkeys(ODD_KEYS, value), step=100 + step)


def ranks(runtide: Any) -> None:
    """Two ranks of one run."""
    for rank in (0, 1):
        os.environ["RUNTIDE_RANK"] = str(rank)
        with runtide.init(project="api", id="ranks") as run:
            for step in range(5):
                run.log({"loss": 10.0 * rank + step}, step=step)
    del os.environ["RUNTIDE_RANK"]


def wide(runtide: Any) -> None:
    """Forty runs of the same two keys, in a project of their own."""
    for number in range(40):
        with runtide.init(project="wide", id=f"r{number:02}", config={"number": number, "odd": number % 2 == 1}) as run:
            for step in range(number + 1):
                run.log({"loss": number + step / 100, "acc": float(step)}, step=step)


def empty(runtide: Any) -> None:
    """A run that logged nothing."""
    runtide.init(project="api", id="empty").finish()


@pytest.fixture(scope="module", autouse=True)
def database(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The runs in a database of a store, which the API is pointed at as the user who may only read."""
    from urllib.parse import quote

    name, folder = f"query_{os.getpid()}", tmp_path_factory.mktemp("query")
    (folder / "tests_query_api.py").write_bytes(Path(__file__).read_bytes())
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RUNTIDE_", "WANDB_"))}
    address = f"http://default:{quote(store.password, safe='')}@{store.host}:{store.port}/{name}"
    environment = {**kept, "PYTHONPATH": str(folder), "RUNTIDE_DIR": str(folder), "RUNTIDE_CLICKHOUSE_URL": address}
    environment["RUNTIDE_SAMPLER"] = "off"
    for command in (["-c", SCRIPT], ["-m", "runtide", "sync", str(folder)]):
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stderr
    # What a rewind leaves in the store, of a series that is in order: nothing beyond step 99 counts.
    store.query(
        f"INSERT INTO {name}.run_rewinds SELECT run_id, 0, max(attempt) + INTERVAL 1 SECOND, 4"
        f" FROM {name}.run_writers WHERE run_id = 'default/wide/r39' GROUP BY run_id"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIDE_CLICKHOUSE_URL", f"http://reader@{store.host}:{store.port}/{name}")
        yield name
    store.query(f"DROP DATABASE {name}")


@pytest.fixture
def api() -> runtide.Api:
    return runtide.Api(overrides={"project": "api"})


def same(left: Any, right: Any) -> bool:
    """Equal, to the sign of zero, and NaN to NaN."""
    return json.dumps(left) == json.dumps(right)


def test_a_run_says_what_it_was_told(api: runtide.Api) -> None:
    """Everything that init() took comes back, by a path of any length."""
    run = api.run("default/api/plain")
    assert api.run("plain").path == api.run("api/plain").path == api.run("/default/api/runs/plain").path == run.path
    assert (run.id, run.name, run.entity, run.project, run.path) == (
        "plain", "the plain one", "default", "api", ["default", "api", "plain"],
    )  # fmt: skip
    assert (run.state, run.tags, run.group, run.job_type, run.notes) == (
        "finished", ["a", "b"], "g", "train", "some notes",
    )  # fmt: skip
    assert run.config == {"lr": 0.1, "opt": {"name": "adam"}}
    assert run.exit_code == 0
    assert run.metadata["python"] == sys.version.split()[0]
    assert run.last_history_step == run.lastHistoryStep == 2499
    assert run.keys() == ["acc", "loss"]
    assert run.url is None
    other = api.run("empty")
    assert (other.group, other.job_type, other.notes, other.last_history_step) == (None, None, None, -1)
    assert run.created_at < other.created_at
    run.load(force=True)
    assert run.state == "finished"


def test_the_summary_is_read_as_it_was_written(api: runtide.Api) -> None:
    """Last values and values set by hand, NaN and the infinities among them; dots lead inside; nobody can write."""
    summary = api.run("plain").summary
    assert summary["loss"] == 1 / 2500
    assert summary["best"] == summary.best == 0.25
    assert math.isnan(summary["nothing"])
    assert dict(summary) == summary._json_dict
    with pytest.raises(KeyError):
        _ = summary["absent"]
    with pytest.raises(TypeError):
        summary["best"] = 1  # type: ignore[index]
    mixed = api.run("mixed").summary
    assert mixed["a.b/c"] == mixed["a"]["b/c"] == 2**53


def test_history_is_every_row(api: runtide.Api) -> None:
    """What was logged, all of it, in the order of the steps, as a frame and as dicts that have only what was logged."""
    run = api.run("plain")
    rows = run.history(pandas=False)
    logged = [{"loss": 1 / (s + 1)} | ({"acc": s / 7} if s % 3 == 0 else {}) for s in range(2500)]
    assert [row["_step"] for row in rows] == list(range(2500))
    assert [{key: row[key] for key in row if key[0] != "_"} for row in rows] == logged
    assert all(0 <= row["_runtime"] < 100 and row["_timestamp"] > 1.7e9 for row in rows)
    frame = run.history()
    assert list(frame.columns) == ["_step", "_timestamp", "_runtime", "acc", "loss"]
    assert frame["_step"].tolist() == list(range(2500))
    assert frame["loss"].tolist() == [row["loss"] for row in logged]
    assert frame["acc"].isna().sum() == 2500 - 834
    assert run.history(keys=["absent"]).empty
    assert api.run("empty").history(pandas=False) == []


def test_with_keys_a_row_has_them_all(api: runtide.Api) -> None:
    """Only the columns that were asked for, and only steps that have every one of them; the x axis is one."""
    run = api.run("plain")
    steps = list(range(0, 2500, 3))
    assert run.history(keys=["loss", "acc"], pandas=False) == [
        {"_step": s, "loss": 1 / (s + 1), "acc": s / 7} for s in steps
    ]
    assert run.history(keys=["loss"], x_axis="acc")["acc"].tolist() == [s / 7 for s in steps]
    assert run.history(keys=["loss", "absent"], pandas=False) == []
    assert list(run.history(keys=["acc", "_timestamp", "_runtime"]).columns) == [
        "_step",
        "acc",
        "_timestamp",
        "_runtime",
    ]


def test_samples_are_spread_evenly_and_the_same_every_time(api: runtide.Api) -> None:
    """The first and the last row are among them, and so says the question for many runs."""
    run = api.run("plain")
    for samples in (1, 2, 3, 7, 500, 2499, 2500, 9999):
        steps = run.history(samples=samples, keys=["loss"])["_step"].tolist()
        assert len(steps) == min(samples, 2500)
        assert steps[-1] == 2499
        assert samples == 1 or steps[0] == 0
        assert samples == 1 or max(b - a for a, b in itertools.pairwise(steps)) <= 2499 // (samples - 1) + 1
        many = api.histories([run], keys=["loss"], samples=samples)
        assert many["_step"].to_pylist() == steps


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_scan_history_gives_the_same_rows_page_by_page(api: runtide.Api, size: int) -> None:
    """Whatever the size of a page; the largest step is exclusive."""
    run = api.run("attempts")
    rows = run.history(pandas=False)
    assert list(run.scan_history(page_size=size)) == rows
    assert list(run.scan_history(page_size=size, min_step=3, max_step=20)) == [r for r in rows if 3 <= r["_step"] < 20]
    assert list(run.scan_history(keys=["absent"])) == []
    other = api.run("mixed")
    assert same(list(other.scan_history(page_size=size)), other.history(pandas=False))
    wanted = ["note", "loss"]
    assert same(list(other.scan_history(wanted, page_size=size)), other.history(keys=wanted, pandas=False))


def test_a_repeated_step_has_what_the_latest_attempt_said_last(api: runtide.Api) -> None:
    """The rule of all views."""
    wanted: dict[int, float] = {}
    for attempt in (1, 2):
        wanted |= {s: attempt * 1000.0 + s for s in range(10 * attempt - 10, 10 * attempt + 5)} | {3 * attempt: -1.0}
    rows = api.run("attempts").history(keys=["loss"], pandas=False)
    assert {row["_step"]: row["loss"] for row in rows} == wanted
    assert [row["_step"] for row in rows] == sorted(wanted)


def test_what_is_no_number_comes_back_too(api: runtide.Api) -> None:
    """Text, None, lists and large integers in their places between numbers, and the text "NaN" is no NaN."""
    wanted = [value for step, text in enumerate(TEXTS) for value in (text, step / 4)]
    run = api.run("mixed")
    assert same([row["note"] for row in run.history(keys=["note"], pandas=False)], wanted)
    frame = run.history(keys=["note", "loss"])
    assert frame["loss"].tolist() == [s // 2 for s in range(12)]
    assert frame["note"].dtype == object
    for format in ("list", "pandas"):
        table = api.histories([run], keys=["note"], format=format)
        values = [row["note"] for row in table] if format == "list" else table["note"].tolist()
        assert same(values, wanted)
    texts = api.histories([run], keys=["note"])["note"].to_pylist()
    assert texts[:3] == ['"text"', "0.0", '"NaN"']


def test_odd_names_and_numbers_are_exact(api: runtide.Api) -> None:
    """Names with quotes, braces, newlines and NUL; NaN, the infinities, -0."""
    run = api.run("mixed")
    wanted = [NAN, INF, -INF, -0.0, 5e-324, 2.0**53]
    for key in ODD_KEYS:
        assert same([row[key] for row in run.history(keys=[key], pandas=False)], wanted)
        assert same([row[key] for row in api.histories([run], [key], format="list")], wanted)
    table = api.histories([run], keys=ODD_KEYS)
    assert table.column_names == ["run_id", "_step", *ODD_KEYS]
    assert same(table["it's"].to_pylist(), wanted)
    assert run.summary["{x:String}"] == 2**53


def test_ranks_are_apart(api: runtide.Api) -> None:
    """Rank 0 is what is meant, unless another is named."""
    run = api.run("ranks")
    assert run.history()["loss"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert run.history(rank=1)["loss"].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert [row["loss"] for row in run.scan_history(rank=1)] == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert api.histories([run], ["loss"], rank=1)["loss"].to_pylist() == [10.0, 11.0, 12.0, 13.0, 14.0]


def test_runs_are_a_sequence(api: runtide.Api) -> None:
    """Length, index, slice, order, pages of any size; what is outside is an IndexError."""
    for per_page in (1, 7, 50):
        runs = api.runs("wide", per_page=per_page)
        assert len(runs) == 40
        assert [run.id for run in runs] == [f"r{number:02}" for number in range(40)]
        assert runs[0] is runs[0]
        assert runs[-1].id == "r39"
        assert [run.id for run in runs[3:9:2]] == ["r03", "r05", "r07"]
        with pytest.raises(IndexError):
            _ = runs[40]
    assert [run.id for run in api.runs("wide", order="-created_at")][:2] == ["r39", "r38"]
    assert [run.id for run in api.runs("default/wide", order="config.odd, -summary_metrics.acc")][:2] == ["r38", "r36"]
    assert len(api.runs("wide", {"config.number": -1})) == 0
    assert not api.runs("wide", {"config.number": -1})
    assert len(api.runs("*")) == len(api.runs("default/*")) == len(api.runs("api")) + 40
    assert len(api.runs("nobody/nothing")) == 0


def test_summaries_are_loaded_for_many_runs_at_once(api: runtide.Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two questions for the runs and one for their summaries, not one for each; none more when they are not lazy."""
    asked: list[str] = []
    fetch = Store.fetch
    monkeypatch.setattr(Store, "fetch", lambda self, query, *rest: asked.append(query) or fetch(self, query, *rest))
    assert [run.summary["acc"] for run in api.runs("wide")][:39] == [float(number) for number in range(39)]
    assert len(asked) == 3
    eager = list(api.runs("wide", lazy=False))
    assert len(asked) == 6
    assert eager[5].summary["acc"] == 5.0
    assert len(asked) == 6


@pytest.mark.parametrize("format", ["arrow", "pandas", "list"])
def test_histories_of_many_runs_are_those_of_each(api: runtide.Api, format: str) -> None:
    """In two questions for all, with the rows of every run as it gives them itself."""
    runs = api.runs("wide")
    each = [
        {"run_id": "/".join(run.path)} | row for run in runs for row in run.history(keys=["loss", "acc"], pandas=False)
    ]
    for found in (
        api.histories(runs, ["loss", "acc"], format=format),
        runs.histories(None, ["loss", "acc"], "_step", format),
    ):
        rows = found if format == "list" else found.to_pylist() if format == "arrow" else found.to_dict("records")
        assert rows == each
    one = api.histories(["default/wide/r03"], format=format, samples=2)
    rows = one if format == "list" else one.to_pylist() if format == "arrow" else one.to_dict("records")
    assert [row["loss"] for row in rows] == [3.0, 3.03]
    assert set(rows[0]) == {"run_id", "_step", "_timestamp", "_runtime", "loss", "acc"}
    none = api.histories([], ["loss"], format=format)
    assert len(none) == 0


def test_histories_as_polars(api: runtide.Api) -> None:
    """A polars frame, without pyarrow in between."""
    pytest.importorskip("polars", reason="polars is not installed")
    frame = api.histories(["default/wide/r03"], ["loss"], format="polars")
    assert frame.columns == ["run_id", "_step", "loss"]
    assert frame["loss"].to_list() == [3.0, 3.01, 3.02, 3.03]
    assert runtide.sql("SELECT {n:Int8} AS n", {"n": 7}, format="polars")["n"].to_list() == [7]


def test_missing_columns_are_missing_in_a_table_of_all(api: runtide.Api) -> None:
    """Without keys a row needs not have every column."""
    table = api.histories(["default/api/plain"])
    assert table["acc"].null_count == 2500 - 834
    assert table["loss"].null_count == 0
    rows = api.histories(["default/api/plain"], format="list")
    assert "acc" in rows[0] and "acc" not in rows[1]


def test_the_fast_path_agrees_with_the_view(api: runtide.Api) -> None:
    """Series that are read from the table of points give what the view gives, and those of attempts and rewinds go
    through the view."""
    runs = ["default/api/plain", "default/api/attempts", "default/api/mixed", "default/wide/r38", "default/wide/r39"]
    ways = {(one.run, one.key): one.way for one in find_series(Store(), runs, ["loss", "note"], 0)}
    assert ways == {
        ("default/api/plain", "loss"): "plain",
        ("default/api/attempts", "loss"): "latest",
        ("default/api/mixed", "loss"): "latest",
        ("default/api/mixed", "note"): "mixed",
        ("default/wide/r38", "loss"): "plain",
        ("default/wide/r39", "loss"): "latest",
    }
    table = api.histories(runs, ["loss"])
    view = runtide.sql(
        "SELECT run_id, step, value FROM metrics_latest WHERE run_id IN {runs:Array(String)} AND key = 'loss'"
        " ORDER BY run_id, step",
        {"runs": runs},
    )
    assert [table[name].to_pylist() for name in table.column_names] == [view[n].to_pylist() for n in view.column_names]
    rewound = api.run("wide/r39")
    assert [row["_step"] for row in rewound.scan_history()] == rewound.history()["_step"].tolist() == [0, 1, 2, 3, 4]
    assert rewound.last_history_step == 4


def test_projects_are_listed(api: runtide.Api) -> None:
    """Name, number of runs and age, the oldest first."""
    found = api.projects()
    assert [(project.entity, project.name, project.runs) for project in found] == [
        ("default", "api", 5),
        ("default", "wide", 40),
    ]
    assert found[0].created_at == api.run("plain").created_at
    assert [project.path for project in api.projects("*")] == [["default", "api"], ["default", "wide"]]
    assert api.projects("nobody") == []


@pytest.fixture
def editor(store: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of the user who may edit; what a test changed is taken back."""
    from urllib.parse import quote

    address = f"http://default:{quote(store.password, safe='')}@{store.host}:{store.port}/{database}"
    monkeypatch.setenv("RUNTIDE_EDITOR_URL", address)
    return address


def test_name_tags_and_notes_are_changed_by_scripts(api: runtide.Api, editor: str) -> None:
    """What update() sent is there for everybody, with who made it; what the run logged can be had back."""
    run = api.run("empty")
    logged = (run.name, list(run.tags), run.notes)
    run.name = 'renamed "by" a script 🦀'
    run.tags.append("reviewed")
    run.notes = "a\nb"
    assert api.run("empty").name == logged[0]
    run.update()
    found = api.run("empty")
    assert (found.name, found.tags, found.notes) == ('renamed "by" a script 🦀', [*logged[1], "reviewed"], "a\nb")
    found.display_name, found.tags = "again", ("x",)
    found.save()
    run.load(force=True)
    assert (run.name, run.tags, run.notes) == ("again", ["x"], "a\nb")
    (who,) = {row[0] for row in Store().rows("SELECT who FROM run_edits WHERE run_id = 'default/api/empty'")}
    assert who == user()
    send_edits(parse_address(editor), [Edit("default/api/empty", f, None) for f in ("name", "tags", "notes")], "t", "t")
    last = api.run("empty")
    assert (last.name, last.tags, last.notes) == logged


def test_an_edit_counts_behind_the_one_that_was_seen(api: runtide.Api, editor: str) -> None:
    """Another machine's clock is an hour ahead: what is changed after a look at it stands above it."""
    ahead = datetime.now(UTC) + timedelta(hours=1)
    send_edits(parse_address(editor), [Edit("default/api/empty", "name", "from ahead", ahead)], "t", "t")
    run = api.run("empty")
    assert run.name == "from ahead"
    run.name = "later"
    run.update()
    run.load(force=True)
    assert run.name == "later"
    send_edits(parse_address(editor), [Edit("default/api/empty", "name", None, ahead + timedelta(hours=1))], "t", "t")


def test_a_deleted_run_is_in_no_list(api: runtide.Api, editor: str) -> None:
    """Nor does it count in its project; its points are still there."""
    api.run("wide/r17").delete()
    with pytest.raises(runtide.NotFoundError):
        api.run("wide/r17")
    assert len(api.runs("wide")) == 39
    assert [one.runs for one in api.projects() if one.name == "wide"] == [39]
    assert Store().rows("SELECT count() > 0 FROM metrics WHERE run_id = 'default/wide/r17'") == [[True]]
    send_edits(parse_address(editor), [Edit("default/wide/r17", "deleted", None)], "t", "t")
    assert len(api.runs("wide")) == 40


def test_what_cannot_be_changed_says_why(
    api: runtide.Api, store: Any, editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text, the config, a user who may only read, nobody who may edit: each is told, and nothing is changed."""
    run = api.run("empty")
    for wrong in (
        lambda: setattr(run, "name", 7),
        lambda: setattr(run, "tags", "ab"),
        lambda: setattr(run, "notes", 1),
    ):
        with pytest.raises(runtide.UsageError, match="give a"):
            wrong()
    run.config["lr"] = 7
    with pytest.raises(runtide.UsageError, match="config"):
        run.update()
    run.load(force=True)
    run.tags.append(3)  # type: ignore[arg-type]
    with pytest.raises(runtide.UsageError, match="3 is no text"):
        run.update()
    run.load(force=True)
    run.update()  # nothing to send
    run.name = "other"
    reader = os.environ["RUNTIDE_CLICKHOUSE_URL"]
    for editing, said in ((reader, "refuses"), ("http://editor@127.0.0.1:1/d", "does not answer"), ("", "read-only")):
        monkeypatch.setenv("RUNTIDE_EDITOR_URL", editing)
        with pytest.raises(runtide.QueryError, match=said):
            run.update()
    assert api.run("empty").name != "other"


def test_what_is_not_there_says_so(api: runtide.Api) -> None:
    """A missing run is a ValueError as in W&B and an error of ours; what W&B has and we have not is named."""
    for kind in (ValueError, runtide.Error, runtide.NotFoundError):
        with pytest.raises(kind, match="there is no run default/api/absent"):
            api.run("absent")
    run = api.run("plain")
    for call in (lambda: run.files(), lambda: run.stop(), lambda: api.artifact("s")):
        with pytest.raises(runtide.Error, match="W&B has it, and runtide does not have it yet"):
            call()
    assert not hasattr(run, "files")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = api.nonsense
    for wrong in (
        lambda: api.run("a/b/c/d"), lambda: api.runs("a/b/c"), lambda: api.runs(per_page=0),
        lambda: run.history(samples=0), lambda: run.history(stream="system"), lambda: run.history(keys="loss"),
        lambda: run.scan_history(page_size=0), lambda: api.histories(["plain"]),
        lambda: api.histories([run], format="csv"),
        lambda: runtide.Api(overrides={"nonsense": "x"}), lambda: runtide.sql("SELECT 1", format="csv"),
        lambda: runtide.sql("SELECT 1", {"a b": 1}),
    ):  # fmt: skip
        with pytest.raises(runtide.UsageError):
            wrong()


def test_another_store_can_be_named(api: runtide.Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its address, whatever the environment says; and one that is away is named, without its password."""
    address = os.environ["RUNTIDE_CLICKHOUSE_URL"]
    monkeypatch.setenv("RUNTIDE_CLICKHOUSE_URL", "http://reader:secret@127.0.0.1:1/x")
    named = runtide.Api(
        overrides={"base_url": address, "entity": "default", "project": "wide"}, timeout=60, api_key="k"
    )
    assert len(named.runs()) == 40
    with pytest.raises(runtide.QueryError, match=r"http://127\.0\.0\.1:1 does not answer") as caught:
        len(api.runs())
    assert "secret" not in str(caught.value)
    assert json.dumps([project.name for project in named.projects()]) == '["api", "wide"]'


VALUES: list[Any] = [
    "", "it's", "back\\slash", "\\", "tab\t", "new\nline\r", "nul\0", "{x:String}", "ключ", "\\N", "NULL", "' OR 1 --",
    "$", 0, -(2**63), 1.5, True, False,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_parameters_of_sql_come_as_they_are(value: Any) -> None:
    """Whatever text, number or bool, alone, in a list and in a tuple."""
    kind = {str: "String", int: "Int64", float: "Float64", bool: "Bool"}[type(value)]
    query = f"SELECT {{a:{kind}}} AS a, {{b:Array({kind})}} AS b, {{c:Tuple({kind}, String)}} AS c"
    query += f", {{d:Nullable({kind})}} AS d"
    table = runtide.sql(query, {"a": value, "b": [value, value], "c": (value, "x"), "d": None})
    row = table.to_pylist()[0]
    assert (row["a"], row["b"], list(row["c"].values()), row["d"]) == (value, [value, value], [value, "x"], None)


def test_parameters_may_be_long_and_lone_surrogates_are_spelled_out() -> None:
    """A list of megabytes goes in one question; text without UTF-8 is what the SDK makes of it."""
    many = [f"{number:060}" for number in range(40_000)]
    assert runtide.sql("SELECT length({many:Array(String)}) AS n", {"many": many})["n"].to_pylist() == [40_000]
    assert runtide.sql("SELECT {t:String} AS t", {"t": "\udcff"})["t"].to_pylist() == ["\\udcff"]
    frame = runtide.sql("SELECT toDateTime64({t:String}, 6, 'UTC') AS t", {"t": "2026-01-02 03:04:05.000006"}, "pandas")
    assert str(frame["t"][0]) == "2026-01-02 03:04:05.000006+00:00"
