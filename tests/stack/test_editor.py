"""What the user `editor` may do in the embedded store: insert edits, and nothing else."""

import json
import uuid
from typing import Any

import pytest

INSERT = "INSERT INTO landing_edits (run_id, id, time, who, field, value) FORMAT JSONEachRow"
ROW = {"run_id": "e/p/a", "time": 1_760_000_000, "who": "ada", "field": "name", "value": '"x"'}


@pytest.fixture(scope="module")
def tables(store: Any) -> Any:
    """A database with all tables."""
    name = store.make()
    yield name
    store.query(f"DROP DATABASE {name}")


def row(**more: str) -> bytes:
    return json.dumps(ROW | {"id": str(uuid.uuid4())} | more).encode()


def names(store: Any, tables: str) -> str:
    return str(store.query("SELECT who FROM run_edits ORDER BY who", database=tables))


def test_an_edit_is_taken_once(store: Any, tables: str) -> None:
    """The statement may stand in the URL or in the body; a repeated token changes nothing."""
    for who in ("ada", "bob", "ada"):
        values = {"insert_deduplication_token": who, "deduplicate_blocks_in_dependent_materialized_views": "1"}
        store.query(INSERT, row(who=who), user="editor", database=tables, **values)
    named = INSERT.replace("landing_edits", f"`{tables}`.landing_edits")
    store.query(f"{named}\n".encode() + row(who="eve"), user="editor")
    assert names(store, tables).split() == ["ada", "bob", "eve"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT * FROM run_edits",
        "SHOW TABLES",
        "DESCRIBE TABLE landing_edits",
        "SYSTEM FLUSH LOGS",
        "SET readonly = 0",
        "DROP TABLE run_edits",
        "INSERT INTO run_edits (run_id) FORMAT JSONEachRow {}",
        "INSERT INTO landing_runs (run_id) FORMAT JSONEachRow {}",
        "INSERT INTO landing_edits_to_table (run_id) FORMAT JSONEachRow {}",
        "INSERT INTO landing_edits (run_id) VALUES ('a')",
        "INSERT INTO landing_edits (run_id) VALUES ((SELECT any(run_id) FROM run_edits))",
        "INSERT INTO landing_edits (run_id) SELECT 'a'",
        "INSERT INTO landing_edits (run_id) SELECT line FROM file('/etc/passwd', LineAsString)",
        "INSERT INTO landing_edits (run_id) SELECT run_id FROM input('run_id String') FORMAT JSONEachRow {}",
        "INSERT INTO landing_edits FROM INFILE '/etc/passwd' FORMAT JSONEachRow",
        "INSERT INTO FUNCTION file('x.tsv', TSV, 'a String') FORMAT JSONEachRow {}",
        "INSERT INTO landing_edits (run_id) SETTINGS async_insert = 1 FORMAT JSONEachRow {}",
        "INSERT INTO landing_edits (* EXCEPT who) FORMAT JSONEachRow {}",
        "INSERT INTO landing_edits (run_id) FORMAT CSV a",
        "INSERT INTO `x`.`landing_edits\\`` FORMAT JSONEachRow {}",
        "INSERT INTO other.landing_edits /* */ FORMAT JSONEachRow {}",
        "WITH 1 AS a INSERT INTO landing_edits FORMAT JSONEachRow {}",
        "",
    ],
)
def test_anything_else_is_refused(store: Any, tables: str, sql: str) -> None:
    """Reading, other tables, values that compute and files: none gets to the engine."""
    before = names(store, tables)
    answer = store.ask(sql or " ", user="editor", database=tables)
    assert (answer.status_code, answer.headers["x-clickhouse-exception-code"]) == (500, "164"), answer.text
    assert names(store, tables) == before


@pytest.mark.parametrize(
    "values",
    [{"readonly": "0"}, {"async_insert": "1"}, {"max_memory_usage": "0"}, {"param_x": "1"}, {"log_comment": "x"}],
)
def test_settings_beyond_an_inserts_own_are_refused(store: Any, tables: str, values: dict[str, str]) -> None:
    """Only the token and what makes it count in all views may be set."""
    answer = store.ask(INSERT, row(), user="editor", database=tables, **values)
    assert answer.headers["x-clickhouse-exception-code"] == "164", answer.text


def test_a_wrong_password_is_no_editor(store: Any, tables: str) -> None:
    """The editor has a password; the reader's empty one does not do."""
    answer = store.ask(INSERT, row(), user="default", headers={"X-ClickHouse-User": "editor", "X-ClickHouse-Key": ""})
    assert answer.headers["x-clickhouse-exception-code"] == "516"
