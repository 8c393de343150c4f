"""Edits: what people change lies over what a run logged."""

import json
import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ["base", 'quote " and \\ back', "<b>bold</b> [x](y) `z`", "x" * 10_000, "ä 🦀 \u202e", "", "null", "a/b,c%d"]


class Edits:
    """A project of its own in one database: runs are made, edits inserted, questions asked."""

    def __init__(self, store: Any, database: str) -> None:
        self._store, self._database, self._time = store, database, 1_760_000_000
        self.project = f"e/p{secrets.token_hex(4)}"

    def run(self, name: str, suffix: str = "") -> str:
        path = f"{self.project}{suffix}/{name}"
        row = {"run_id": path, "writer": 1, "event": "start", "state": "", "name": "logged", "tags": ["a"]}
        for event, state in (("start", ""), ("finish", "finished")):
            self._insert("landing_runs", [row | {"event": event, "state": state, "config": "{}", "notes": "said"}])
        return path

    def edit(self, path: str, field: str, value: Any, who: str = "ada", time: int = 0, **more: str) -> None:
        self._time += 1
        text = value if isinstance(value, Raw) else json.dumps(value)
        row = {"_source": "s", "_partition": 7, "_offset": 3, "run_id": path, "id": str(uuid.uuid4()), "who": who}
        self._insert("landing_edits", [row | {"time": time or self._time, "field": field, "value": text} | more])

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        data = "\n".join(json.dumps(row) for row in rows).encode()
        values = {"database": self._database, "insert_deduplication_token": secrets.token_hex(8)}
        self._store.query(f"INSERT INTO {table} FORMAT JSONEachRow", data, **values)

    def ask(self, columns: str, table: str = "runs", condition: str = "true", order: str = "1") -> list[dict[str, Any]]:
        mine = (
            f"payload LIKE '%{self.project[2:]}%'"
            if table == "dead_letters"
            else f"startsWith(run_id, '{self.project}')"
        )
        query = f"SELECT {columns} FROM {table} WHERE {mine} AND {condition} ORDER BY {order} FORMAT JSONEachRow"
        answer = self._store.query(query, database=self._database)
        return [json.loads(line) for line in answer.splitlines()]

    def one(self, column: str, path: str) -> Any:
        return self.ask(f"{column} AS found", condition=f"run_id = '{path}'")[0]["found"]


class Raw(str):
    """A value that is sent as it is."""


@pytest.fixture(scope="module")
def tables(store: Any) -> Iterator[str]:
    """A database for all tests of this file."""
    name = store.make()
    yield name
    store.query(f"DROP DATABASE {name}")


@pytest.fixture
def edits(store: Any, tables: str) -> Edits:
    return Edits(store, tables)


def test_a_run_without_edits_is_what_it_logged(edits: Edits) -> None:
    """Nothing is archived, coloured or edited that nobody touched."""
    edits.run("a")
    columns = "name, tags, notes, colour, archived, baseline, edited, edited_by"
    assert edits.ask(columns) == [
        {"name": "logged", "tags": ["a"], "notes": "said", "colour": "", "archived": False, "baseline": False,
         "edited": None, "edited_by": ""}
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_texts_come_back_as_they_were_given(edits: Edits, name: str) -> None:
    """Whatever stands in a name, a note or a tag, the view has exactly that."""
    path = edits.run("a")
    for field, value in (("name", name), ("notes", name), ("tags", [name, "b"])):
        edits.edit(path, field, value)
        assert edits.one(field, path) == value


def test_the_latest_edit_wins_and_null_takes_it_back(edits: Edits) -> None:
    """Not the order of arrival but the time decides; null shows again what the run said; all edits stay."""
    path = edits.run("a")
    edits.edit(path, "name", "second", time=1_760_000_200)
    edits.edit(path, "name", "first", who="bob", time=1_760_000_100)
    assert (edits.one("name", path), edits.one("edited_by", path)) == ("second", "ada")
    edits.edit(path, "name", None, who="eve", time=1_760_000_300)
    edits.edit(path, "tags", [], time=1_760_000_300)
    assert (edits.one("name", path), edits.one("tags", path)) == ("logged", [])
    rows = edits.ask("who, value", "run_edits", "field = 'name'", "time")
    assert [(row["who"], row["value"]) for row in rows] == [("bob", '"first"'), ("ada", '"second"'), ("eve", "null")]


def test_an_edit_of_one_run_leaves_the_others(edits: Edits) -> None:
    """Runs beside an edited one, and of a project that begins alike, are as before."""
    a, b, c = edits.run("a"), edits.run("ab"), edits.run("a", "p")
    edits.edit(a, "archived", True)
    edits.edit(a, "colour", "#12AB9f")
    assert [edits.one("archived", path) for path in (a, b, c)] == [True, False, False]
    assert [edits.one("colour", path) for path in (a, b, c)] == ["#12AB9f", "", ""]


def test_a_project_has_one_baseline(edits: Edits) -> None:
    """The last one set is it, also when an older one is unset later; unset itself, the project has none."""
    a, b, other = edits.run("a"), edits.run("b"), edits.run("a", "q")
    for path in (a, other, b):
        edits.edit(path, "baseline", True)

    def baselines() -> list[str]:
        return [row["run_id"] for row in edits.ask("run_id", condition="baseline")]

    assert baselines() == [b, other]
    edits.edit(a, "baseline", False)
    assert baselines() == [b, other]
    edits.edit(b, "baseline", False)
    assert baselines() == [other]
    edits.edit(a, "baseline", True)
    assert baselines() == [a, other]


def test_a_deleted_run_is_gone_until_it_is_brought_back(edits: Edits) -> None:
    """It is in no list but that of all runs, and undoing needs no more than another edit."""
    path = edits.run("a")
    edits.edit(path, "deleted", True)
    assert edits.ask("run_id") == []
    assert edits.ask("run_id, deleted", "all_runs") == [{"run_id": path, "deleted": True}]
    edits.edit(path, "deleted", False)
    assert edits.ask("run_id") == [{"run_id": path}]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("name", 3, "name is not a text"),
        ("notes", ["a"], "notes is not a text"),
        ("tags", "a", "tags are not a list of texts"),
        ("tags", ["a", 1], "tags are not a list of texts"),
        ("tags", [["a"]], "tags are not a list of texts"),
        ("archived", "true", "archived is not true or false"),
        ("deleted", 1, "deleted is not true or false"),
        ("baseline", {}, "baseline is not true or false"),
        ("colour", "red", "colour is not of the form #RRGGBB"),
        ("colour", "#12345G", "colour is not of the form #RRGGBB"),
        ("colour", "#123456\n", "colour is not of the form #RRGGBB"),
        ("state", "finished", "unknown field state"),
        ("name", Raw(""), "value is not JSON"),
        ("name", Raw('"open'), "value is not JSON"),
        ("name", "x" * 1_000_000, "a value of more than 1,000,000 bytes"),
    ],
)
def test_what_cannot_be_an_edit_goes_to_the_dead_letters(edits: Edits, field: str, value: Any, reason: str) -> None:
    """It changes nothing, and the reason is kept with where it came from."""
    path = edits.run("a")
    edits.edit(path, field, value)
    assert edits.ask("value", "run_edits") == []
    assert edits.ask("stream, reason, source, partition, offset", "dead_letters") == [
        {"stream": "edits", "reason": reason, "source": "s", "partition": 7, "offset": 3}
    ]


def test_an_act_without_an_id_or_a_run_is_rejected(edits: Edits) -> None:
    """Both are looked at before the value."""
    edits.edit(edits.project, "name", "x")
    edits.edit(f"{edits.project}/a", "name", "x", id="no uuid")
    reasons = edits.ask("reason", "dead_letters")
    assert [row["reason"] for row in reasons] == ["id is not a UUID", "run_id is not entity/project/id"]
