"""The HTTP interface as curl and clickhouse_connect see it."""

import base64
import gzip
import json
import os
import random
import secrets
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import lz4.frame
import pytest
import zstandard
from tests.web import WEB

COMPRESS = {"gzip": gzip.compress, "deflate": zlib.compress, "lz4": lz4.frame.compress, "zstd": zstandard.compress}
EXPAND = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.fixture
def client(store: Any, database: str) -> Any:
    """clickhouse_connect as anybody uses it."""
    made = clickhouse_connect.get_client(
        host=store.host, port=store.port, username="default", password=store.password, database=database
    )
    yield made
    made.close()


def code(answer: httpx.Response) -> int:
    assert answer.status_code >= 400, answer.text
    return int(answer.headers["x-clickhouse-exception-code"])


def raw(answer: httpx.Response) -> bytes:
    """The body with its Content-Encoding left on."""
    return b"".join(answer.iter_raw())


def test_a_person_with_curl_sees_that_it_is_alive(store: Any) -> None:
    """/ping and a bare GET answer Ok, without a password."""
    for path in ("/ping", "/"):
        answer = WEB.get(store.url + path)
        assert (answer.status_code, answer.text) == (200, "Ok.\n")
    assert WEB.head(store.url + "/ping").text == ""


def test_the_password_is_checked_in_every_place_that_can_carry_it(store: Any) -> None:
    """Basic auth, headers and URL parameters all work, and all refuse a wrong password with code 516."""
    for password, good in ((store.password, True), (store.password + "x", False), ("", False)):
        ways: list[dict[str, Any]] = [
            {"auth": ("default", password)},
            {"headers": {"X-ClickHouse-User": "default", "X-ClickHouse-Key": password}},
            {"params": {"user": "default", "password": password}},
        ]
        for way in ways:
            way["params"] = {"query": "SELECT 1", **way.get("params", {})}
            answer = WEB.get(store.url, **way)
            assert answer.text == "1\n" if good else code(answer) == 516
    assert code(store.ask("SELECT 1", user="root")) == 516


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Int32", "-5"),
        ("String", r"quote ' tab \t backslash \\ newline \n é 🦀"),
        ("Array(String)", r"['a\'b','c']"),
        ("Nullable(String)", r"\N"),
        ("Identifier", "number"),
    ],
)
def test_query_parameters_come_through_exactly(store: Any, kind: str, value: str) -> None:
    """A parameter's escaping is undone once: what comes back in TSV is what was sent in TSV."""
    if kind == "Identifier":
        assert store.query("SELECT {x:Identifier} FROM numbers(2)", param_x=value) == "0\n1\n"
        return
    expected = value.replace("quote '", r"quote \'")
    assert store.query(f"SELECT {{x:{kind}}}", param_x=value) == expected + "\n"


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
def test_bodies_are_compressed_both_ways(store: Any, database: str, encoding: str) -> None:
    """Each encoding is taken on an insert, several frames in one body too, and given on a result."""
    store.query("CREATE TABLE t (n UInt64) ENGINE = Memory", database=database)
    lines = [f"{n}\n".encode() for n in range(50_000)]
    body = COMPRESS[encoding](b"".join(lines[:30_000])) + COMPRESS[encoding](b"".join(lines[30_000:]))
    answer = store.ask("INSERT INTO t FORMAT TSV", body, headers={"Content-Encoding": encoding}, database=database)
    assert answer.status_code == 200, answer.text
    headers = {"Accept-Encoding": encoding}
    parameters = {"query": "SELECT n FROM t ORDER BY n", "database": database}
    with WEB.stream("GET", store.url, params=parameters, headers=headers, auth=("default", store.password)) as result:
        assert result.headers["content-encoding"] == encoding
        assert EXPAND[encoding](raw(result)) == b"".join(lines)


def test_a_body_that_ends_inside_a_frame_inserts_nothing(store: Any, database: str) -> None:
    """A truncated upload is refused as a whole, wherever it was cut."""
    store.query("CREATE TABLE t (n UInt64) ENGINE = Memory", database=database)
    whole = zstandard.compress(b"".join(f"{n}\n".encode() for n in range(100_000)))
    for cut in (10, len(whole) // 2, len(whole) - 1):
        answer = store.ask(
            "INSERT INTO t FORMAT TSV", whole[:cut], headers={"Content-Encoding": "zstd"}, database=database
        )
        assert code(answer) == 354
    assert store.query("SELECT count() FROM t", database=database) == "0\n"


def test_an_inserts_statement_and_data_may_be_split_anywhere(store: Any, database: str) -> None:
    """Wherever the pieces of a chunked body are cut, the same rows arrive."""
    store.query("CREATE TABLE t (a String, n UInt64) ENGINE = Memory", database=database)
    body = b'INSERT INTO t (a, n) /* FORMAT x */ SETTINGS max_threads = 1 FORMAT CSV\n"x\ny",1\n'
    for cut in range(1, len(body)):
        answer = WEB.post(
            store.url,
            params={"database": database},
            content=iter([body[:cut], body[cut:]]),
            auth=("default", store.password),
        )
        assert answer.status_code == 200, (cut, answer.text)
    rows = store.query("SELECT DISTINCT a, n FROM t", database=database)
    assert rows == "x\\ny\t1\n"
    assert store.query("SELECT count() FROM t", database=database) == f"{len(body) - 1}\n"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO format FORMAT Values (1)",
        "INSERT INTO `values` (n) VALUES (1)",
        "insert into `values` values(1);",
        "INSERT INTO TABLE {db}.values VALUES (1)",
        "INSERT INTO `values` SELECT 1",
        "WITH 1 AS x INSERT INTO `values` SELECT x",
        "WITH 1 AS x INSERT INTO `values` FORMAT TSV\n1\n",
        "INSERT INTO `values` VALUES ({{p:UInt8}})",
        'INSERT INTO `values` FORMAT JSONEachRow {{"n": 1}}',
    ],
)
def test_inserts_in_every_form_that_people_write(store: Any, database: str, statement: str) -> None:
    """Tables may have keywords for names, data may be inline, a query, or absent."""
    store.query("CREATE TABLE format (n UInt8) ENGINE = Memory", database=database)
    store.query("CREATE TABLE `values` (n UInt8) ENGINE = Memory", database=database)
    store.query(statement.format(db=database), database=database, param_p="1")
    assert store.query("SELECT n FROM merge(currentDatabase(), '')", database=database) == "1\n"


def test_errors_carry_code_name_and_status(store: Any) -> None:
    """What a client reads from an error is what a ClickHouse server sends."""
    for sql, number, name, status in [
        ("SELEC 1", 62, "SYNTAX_ERROR", 400),
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE", 404),
        ("SELECT toUInt8('x')", 6, "CANNOT_PARSE_TEXT", 400),
        ("SELECT 1; SELECT 2", 62, "SYNTAX_ERROR", 400),
    ]:
        answer = store.ask(sql)
        assert (code(answer), answer.status_code) == (number, status)
        assert answer.text.startswith(f"Code: {number}. DB::Exception: ") and f"({name})" in answer.text
    assert code(store.ask("SELECT 1", no_such_setting="1")) == 115
    assert code(store.ask("SELECT 1", database="no_such_database")) == 81


def test_an_error_behind_the_first_rows_is_tagged(store: Any) -> None:
    """Rows that have gone cannot be taken back: the error comes behind them, with the tag that the headers name."""
    answer = store.ask("SELECT throwIf(number = 3000000) FROM numbers(5000000)", max_block_size="65000")
    tag = answer.headers["x-clickhouse-exception-tag"]
    assert answer.status_code == 200
    assert f"\r\n__exception__\r\n{tag}\r\nCode: 395." in answer.text
    assert answer.text.endswith(f" {tag}\r\n__exception__\r\n")


def test_waiting_for_the_end_turns_a_late_error_into_a_status(store: Any) -> None:
    """wait_end_of_query holds a small result back, so its error still has a status."""
    sql = "SELECT throwIf(number = 300000) FROM numbers(500000)"
    assert code(store.ask(sql, wait_end_of_query="1")) == 395


def test_the_client_reads_a_late_error_as_one(client: Any) -> None:
    """clickhouse_connect raises from the middle of a stream."""
    sql = "SELECT throwIf(number = 3000000) FROM numbers(5000000)"
    failure = pytest.raises(clickhouse_connect.driver.exceptions.StreamFailureError, match="Code: 395")
    with failure, client.query_row_block_stream(sql) as stream:
        for _ in stream:
            pass


def test_settings_and_tokens_end_with_their_request(store: Any, client: Any) -> None:
    """A deduplication token that lived on would drop the next insert and call it a success."""
    client.command(
        "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100"
    )
    for _ in range(3):
        client.insert("t", [[1]], ["n"], settings={"insert_deduplication_token": "a"})
    assert client.command("SELECT count() FROM t") == 1
    client.insert("t", [[2]], ["n"])
    client.insert("t", [[3]], ["n"], settings={"insert_deduplication_token": "b"})
    assert client.command("SELECT count() FROM t") == 3
    assert client.command("SELECT value FROM system.settings WHERE name = 'insert_deduplication_token'") == ""
    client.command("SET max_threads = 1")
    client.query("SELECT 1", settings={"max_threads": 2})
    assert client.command("SELECT getSetting('max_threads')") == 1, "the session's own SET wins again"


def test_a_session_keeps_temporary_tables_and_lets_one_in_at_a_time(store: Any) -> None:
    """What SET, USE and CREATE TEMPORARY TABLE did is there in the next request of that session alone."""
    mine = secrets.token_hex(4)
    store.query("CREATE TEMPORARY TABLE mine (n UInt8)", session_id=mine)
    store.query("INSERT INTO mine VALUES (7)", session_id=mine)
    store.query("USE system", session_id=mine)
    store.query("SELECT 1", session_id=mine, database="default")
    assert store.query("SELECT n, currentDatabase() FROM mine", session_id=mine) == "7\tsystem\n"
    assert code(store.ask("SELECT * FROM mine", session_id=mine + "b")) == 60
    assert code(store.ask("SELECT 1", session_id=mine + "c", session_check="1")) == 372
    slowly = "SELECT sleepEachRow(0.2) FROM numbers(100) SETTINGS max_block_size = 1"
    request = {"params": {"query": slowly, "session_id": mine}, "headers": {"Accept-Encoding": "identity"}}
    with WEB.stream("GET", store.url, auth=("default", store.password), **request) as slow:
        assert slow.status_code == 200
        next(slow.iter_raw())
        assert code(store.ask("SELECT 1", session_id=mine)) == 373


def test_a_session_ends_when_nobody_uses_it(store: Any) -> None:
    """An expired session is gone with all it held."""
    store.query("SELECT 1", session_id="short", session_timeout="0")
    assert code(store.ask("SELECT 1", session_id="short", session_check="1")) == 372


def test_external_tables_come_with_a_query(store: Any) -> None:
    """A file of a multipart form is a table for this query and no other."""
    parameters = {
        "query": "SELECT sum(n), max(s) FROM more",
        "more_structure": "n UInt8, s String",
        "more_format": "CSV",
    }
    files = {"more": ("more.csv", b"1,a\n2,b\n")}
    for user in ("default", "reader"):
        auth = (user, store.password if user == "default" else "")
        answer = WEB.post(store.url, params=parameters, files=files, auth=auth)
        assert answer.text == "3\tb\n"
        bad = parameters | {"more_structure": "n UInt8) AS SELECT 1 --"}
        assert code(WEB.post(store.url, params=bad, files=files, auth=auth)) == 36
        worse = parameters | {"more_structure": "n UInt8, s String DEFAULT file('/etc/passwd')"}
        assert code(WEB.post(store.url, params=worse, files=files, auth=auth)) == 36
    assert code(store.ask("SELECT * FROM more")) == 60


def test_get_only_reads(store: Any, database: str) -> None:
    """A link cannot change data."""
    parameters = {"query": "CREATE TABLE t (n UInt8) ENGINE = Memory", "database": database}
    assert code(WEB.get(store.url, params=parameters, auth=("default", store.password))) == 164
    assert store.query("SHOW TABLES", database=database) == ""


def test_formats_and_headers(store: Any) -> None:
    """The format of the statement wins over default_format; headers tell what a client needs."""
    answer = store.ask("SELECT 1 AS x", default_format="JSONEachRow", query_id="mine")
    assert answer.json() == {"x": 1}
    assert answer.headers["x-clickhouse-query-id"] == "mine"
    assert answer.headers["x-clickhouse-format"] == "JSONEachRow"
    assert store.ask("SELECT 1 AS x FORMAT JSON SETTINGS max_threads = 1", default_format="CSV").json()["rows"] == 1
    assert "x-clickhouse-format" not in store.ask("SET max_threads = 1").headers
    summary = json.loads(
        store.ask("SELECT number FROM numbers(10)", wait_end_of_query="1").headers["x-clickhouse-summary"]
    )
    assert (summary["read_rows"], summary["result_rows"]) == ("10", "10")


def test_random_tables_survive_the_trip(client: Any) -> None:
    """What is inserted natively comes back the same, over many blocks and every compression."""
    source = random.Random(3)
    rows = [(n, source.choice(["", "é", "\0\n\t'"]) * source.randrange(4), source.random()) for n in range(150_000)]
    client.command("CREATE TABLE t (n UInt64, s String, x Float64) ENGINE = MergeTree ORDER BY n")
    assert client.insert("t", rows, ["n", "s", "x"]).written_rows == len(rows)
    assert client.query("SELECT * FROM t ORDER BY n").result_rows == rows
    assert client.query_arrow("SELECT count() AS c FROM t").to_pydict() == {"c": [150_000]}


def test_a_client_that_leaves_during_an_upload_inserts_nothing(
    store: Any, database: str, until: Callable[..., None]
) -> None:
    """Half a body is no insert, whether its length was announced or not."""
    store.query("CREATE TABLE t (n UInt64) ENGINE = Memory", database=database)
    rows = b"".join(f"{n}\n".encode() for n in range(200_000))
    token = base64.b64encode(f"default:{store.password}".encode())
    head = f"POST /?query=INSERT+INTO+t+FORMAT+TSV&database={database} HTTP/1.1\r\nHost: x\r\n".encode()
    head += b"Authorization: Basic " + token + b"\r\n"

    def uploading() -> bool:
        """Whether the store holds a file of an insert's data."""
        folder = Path(f"/proc/{store.process.pid}/fd")
        return any("runtide-insert" in os.readlink(file) for file in folder.iterdir() if file.is_symlink())

    for framing in (b"Content-Length: %d\r\n\r\n" % len(rows), b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(rows)):
        with socket.create_connection((store.host, store.port)) as connection:
            connection.sendall(head + framing + rows[: len(rows) // 2])
            until(uploading, "the upload has begun")
        until(lambda: not uploading(), "the store has seen that the client left")
        assert store.query("SELECT count() FROM t", database=database) == "0\n"


@pytest.mark.parametrize("form", ["TSV", "JSON"])
def test_a_client_that_leaves_stops_its_query(store: Any, form: str, until: Callable[..., None]) -> None:
    """Nothing runs for nobody: neither a stream nor a result that is built as a whole."""
    sql = f"SELECT count(), 'left {form}' FROM numbers(1000000000000) WHERE sipHash64(number) = 1 FORMAT {form}"
    running = f"SELECT count() FROM system.processes WHERE query LIKE '%left {form}%' AND query NOT LIKE '%processes%'"
    with socket.create_connection((store.host, store.port)) as connection:
        body = sql.encode()
        connection.sendall(
            b"POST /?user=reader HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        until(lambda: store.query(running) == "1\n", "the query runs")
    until(lambda: store.query(running) == "0\n", "the query has ended")
