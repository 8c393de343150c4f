"""The user `reader` against everything that could read a file, write, or reach out."""

from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret.csv"
    path.write_text("treasure\n")
    return path


def refused(store: Any, sql: str, **values: str) -> None:
    answer: httpx.Response = store.ask(sql, user="reader", **values)
    assert answer.status_code != 200, answer.text
    assert answer.headers["x-clickhouse-exception-code"] in ("164", "62"), answer.text
    assert "treasure" not in answer.text


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (2)",
        "INSERT INTO t FORMAT TSV\n2\n",
        "INSERT INTO FUNCTION file('{out}', 'CSV', 'n UInt8') VALUES (1)",
        "CREATE TABLE u (n UInt8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE u (n UInt8)",
        "CREATE FUNCTION f AS x -> x",
        "DROP TABLE t",
        "TRUNCATE TABLE t",
        "ALTER TABLE t DELETE WHERE 1",
        "OPTIMIZE TABLE t",
        "KILL QUERY WHERE 1",
        "SYSTEM STOP MERGES",
        "SET readonly = 0",
        "SET max_threads = 1",
        "USE system",
        "BACKUP TABLE t TO File('{out}')",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT n FROM t INTO OUTFILE '{out}'",
        "SELECT 1; DROP TABLE t",
        "DROP TABLE t; SELECT 1",
        "EXPLAIN ANALYZE DROP TABLE t",
    ],
)
def test_nothing_is_changed(store: Any, database: str, tmp_path: Path, sql: str) -> None:
    """Every statement that is not one plain query is refused, and leaves no trace."""
    store.query("CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n", database=database)
    store.query("INSERT INTO t VALUES (1)", database=database)
    refused(store, sql.format(out=tmp_path / "out"), database=database)
    assert store.query("SELECT n FROM t", database=database) == "1\n"
    assert store.query("SHOW TABLES", database=database) == "t\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT file('{path}')",
        "SELECT FILE('{path}') SETTINGS max_threads = 1",
        "SELECT `file`('{path}')",
        "SELECT \"file\" /* x */ ('{path}')",
        "SELECT file -- x\n ('{path}')",
        "SELECT file // x\n ('{path}')",
        r"SELECT `fi\x6ce`('{path}')",
        r'SELECT "\x66ile"(' + "'{path}')",
        "SELECT arrayMap(file, ['{path}'])",
        "SELECT arrayMap(x -> file(x), ['{path}'])",
        "SELECT * APPLY file FROM (SELECT '{path}')",
        "SELECT * APPLY(file) FROM (SELECT '{path}')",
        "SELECT COLUMNS('.') APPLY(`file`) FROM (SELECT '{path}')",
        "WITH file('{path}') AS x SELECT x",
        "SELECT * FROM file('{path}', 'LineAsString')",
        "SELECT * FROM file('{path}')",
        "SELECT * FROM `{path}`",
        "SELECT * FROM default.`{path}`",
        "SELECT * FROM eval('SELECT file(''{path}'')')",
        "SELECT * FROM view(SELECT file('{path}'))",
        "SELECT (SELECT file('{path}'))",
        "EXPLAIN SELECT file('{path}')",
        "DESCRIBE TABLE file('{path}')",
        "DESCRIBE TABLE (SELECT * FROM file('{path}'))",
        "SELECT * FROM filesystem('{path}')",
        "SELECT * FROM sqlite('{path}', 't')",
        "SELECT * FROM executable('cat {path}', 'CSV', 'a String')",
        "SELECT * FROM url('file://{path}', 'CSV', 'a String')",
        "DESCRIBE TABLE url('http://127.0.0.1:9/', 'CSV')",
        "SELECT * FROM s3('http://127.0.0.1:9/bucket/key', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1:9', 'system', 'one')",
        "SELECT * FROM mysql('127.0.0.1:9', 'a', 'b', 'c', 'd')",
        "SELECT * FROM python('{path}')",
    ],
)
def test_no_file_and_no_network_is_reached(store: Any, secret: Path, sql: str) -> None:
    """However the call is spelt, no content of a file comes back."""
    answer = store.ask(sql.replace("{path}", str(secret)), user="reader")
    assert answer.status_code != 200, answer.text
    assert "treasure" not in answer.text


def test_a_function_name_cannot_come_in_a_parameter(store: Any, secret: Path) -> None:
    """An Identifier parameter would put `file` where the text does not show it."""
    for name in ("file", "`file`", r"`fi\x6ce`", r"fi\x6ce", " file"):
        answer = store.ask(
            "SELECT arrayMap({f:Identifier}, [{p:String}])", user="reader", param_f=name, param_p=str(secret)
        )
        assert answer.status_code != 200, answer.text
        answer = store.ask(
            "SELECT * APPLY({f:Identifier}) FROM (SELECT {p:String})", user="reader", param_f=name, param_p=str(secret)
        )
        assert answer.status_code != 200, answer.text


def test_the_holes_are_real(store: Any, secret: Path) -> None:
    """The same calls do reach the file for `default`: else the tests above would prove nothing."""
    for sql in ("SELECT file('{path}')", r"SELECT `fi\x6ce`('{path}')", "SELECT arrayMap(file, ['{path}'])"):
        assert "treasure" in store.query(sql.replace("{path}", str(secret)))


def test_what_a_dashboard_needs_works(store: Any, database: str) -> None:
    """Queries, table functions that only compute, and names that merely look like the forbidden ones."""
    store.query("CREATE TABLE t (n UInt8, file String, url String) ENGINE = Memory", database=database)
    store.query("INSERT INTO t VALUES (1, 'a', 'b')", database=database)
    for sql, expected in [
        ("SELECT n FROM t", "1\n"),
        ("SELECT t.file, url FROM t", "a\tb\n"),
        ("SELECT 'file(x)', 'url(\\'x\\')'", "file(x)\turl(\\'x\\')\n"),
        ("SELECT sum(number) FROM numbers(10)", "45\n"),
        ("SELECT count() FROM merge(currentDatabase(), 't')", "1\n"),
        ("SELECT format('{}-{}', 'a', 'b')", "a-b\n"),
        ("WITH x AS (SELECT 1 AS n) SELECT n FROM x", "1\n"),
        ("SHOW TABLES", "t\n"),
        ("EXISTS TABLE t", "1\n"),
    ]:
        assert store.query(sql, user="reader", database=database) == expected


def test_settings_are_those_of_a_read_only_server(store: Any) -> None:
    """Changing a setting is refused with 164, repeating its value is not; the limits hold."""
    refused(store, "SELECT 1", max_threads="1")
    refused(store, "SELECT 1", readonly="0")
    limits = store.query("SELECT getSetting('max_execution_time'), getSetting('readonly')", user="reader")
    assert limits == "60\t1\n"
    assert store.query("SELECT 1", user="reader", max_execution_time="60") == "1\n"
    assert store.query("SELECT 1", user="reader", session_id="x", session_check="1") == "1\n"


def test_the_ordinary_client_works_as_reader(store: Any, database: str) -> None:
    """clickhouse_connect finds out by itself that settings are locked."""
    store.query("CREATE TABLE t (n UInt8) ENGINE = Memory", database=database)
    store.query("INSERT INTO t VALUES (1)", database=database)
    client = clickhouse_connect.get_client(host=store.host, port=store.port, username="reader", database=database)
    try:
        for _ in range(3):
            assert client.query("SELECT n FROM t WHERE n = {n:UInt8}", parameters={"n": 1}).result_rows == [(1,)]
        assert client.query_df("SELECT n FROM t").n.tolist() == [1]
        with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="164"):
            client.insert("t", [[2]], ["n"])
    finally:
        client.close()


def test_json_tells_what_is_no_number_from_what_is_missing(store: Any) -> None:
    """NaN and the infinities are texts in JSON, not null, and a path keeps its slashes."""
    sql = "SELECT nan AS a, -inf AS b, NULL AS c, 'default/p/r' AS d FORMAT JSONEachRow"
    assert store.query(sql, user="reader") == '{"a":"nan","b":"-inf","c":null,"d":"default/p/r"}\n'
