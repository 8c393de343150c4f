"""What an INSERT promises: all of it or an error, once per token, exactly, whatever dies in between."""

import io
import signal
import threading
from collections.abc import Callable
from typing import Any

import fastavro
import httpx
import pytest

# As the consumer pins them: one request is one block.
ONE_BLOCK = {
    "max_insert_block_size": "1048449",
    "max_block_size": "1048449",
    "min_insert_block_size_rows": "1048449",
    "min_insert_block_size_bytes": "268435456",
    "input_format_parallel_parsing": "0",
    "async_insert": "0",
}
DEDUPLICATE = {**ONE_BLOCK, "deduplicate_blocks_in_dependent_materialized_views": "1"}
WINDOW = "ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 10000"


def lines(numbers: range) -> bytes:
    return b"".join(f"{n}\n".encode() for n in numbers)


@pytest.mark.parametrize("form", ["FORMAT TSV", "VALUES"])
def test_a_view_that_throws_fails_the_insert(store: Any, database: str, form: str) -> None:
    """The engine's streaming insert reports success here and stores nothing: ours must not."""
    store.query("CREATE TABLE landing (n UInt64) ENGINE = Null", database=database)
    store.query("CREATE TABLE target (n UInt64) ENGINE = MergeTree ORDER BY n", database=database)
    store.query(
        "CREATE MATERIALIZED VIEW v TO target AS SELECT n + throwIf(n = 3, 'three!') AS n FROM landing",
        database=database,
    )
    data = b"1\n3\n" if form == "FORMAT TSV" else b"(1),(3)"
    answer = store.ask(f"INSERT INTO landing {form}", data, database=database)
    assert answer.headers["x-clickhouse-exception-code"] == "395"
    assert "three!" in answer.text
    assert store.query("SELECT count() FROM target", database=database) == "0\n"
    store.query(f"INSERT INTO landing {form}", data.replace(b"3", b"4"), database=database)
    assert store.query("SELECT n FROM target ORDER BY n", database=database) == "1\n4\n"


@pytest.mark.parametrize(
    ("table", "settings", "code"),
    [
        ("(n UInt64, CONSTRAINT small CHECK n < 100000) ENGINE = MergeTree ORDER BY n", {}, "469"),
        (
            "(n UInt64) ENGINE = MergeTree ORDER BY n PARTITION BY n % 300",
            {"max_partitions_per_insert_block": "100"},
            "252",
        ),
    ],
)
def test_what_the_table_refuses_is_an_error_and_leaves_no_rows(
    store: Any, database: str, table: str, settings: dict[str, str], code: str
) -> None:
    """A constraint broken by the very last row, or too many partitions, fails the whole insert."""
    store.query(f"CREATE TABLE t {table}", database=database)
    answer = store.ask("INSERT INTO t FORMAT TSV", lines(range(100_001)), database=database, **ONE_BLOCK, **settings)
    assert answer.headers.get("x-clickhouse-exception-code") == code, answer.text
    assert store.query("SELECT count() FROM t", database=database) == "0\n"


def test_data_that_does_not_parse_leaves_no_rows(store: Any, database: str) -> None:
    """A bad value in the last line takes the lines before it back."""
    store.query("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n", database=database)
    answer = store.ask("INSERT INTO t FORMAT TSV", lines(range(500_000)) + b"x\n", database=database, **ONE_BLOCK)
    assert answer.status_code == 400
    assert store.query("SELECT count() FROM t", database=database) == "0\n"


def test_one_request_is_one_block(store: Any, database: str) -> None:
    """With the block sizes pinned a million records are one part; without, the same body is several."""
    rows = 1_000_000
    buffer = io.BytesIO()
    schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]}
    fastavro.writer(buffer, schema, ({"n": n} for n in range(rows)), codec="null")
    store.query("CREATE TABLE t (n Int64) ENGINE = MergeTree ORDER BY n", database=database)
    store.query("SYSTEM STOP MERGES t", database=database)
    parts = "SELECT count(), sum(rows) FROM system.parts WHERE database = currentDatabase() AND active"
    store.query("INSERT INTO t FORMAT Avro", buffer.getvalue(), database=database, **ONE_BLOCK)
    assert store.query(parts, database=database) == f"1\t{rows}\n"
    store.query("TRUNCATE TABLE t", database=database)
    loose = {**ONE_BLOCK, "max_insert_block_size": "50000", "min_insert_block_size_rows": "0"}
    loose |= {"min_insert_block_size_bytes": "0", "max_block_size": "50000"}
    store.query("INSERT INTO t FORMAT Avro", buffer.getvalue(), database=database, **loose)
    assert int(store.query(parts, database=database).split()[0]) > 1


def test_sending_again_repairs_a_view_and_doubles_nothing(store: Any, database: str) -> None:
    """An insert that failed between table and view is completed by the same token, as after a crash there."""
    store.query(f"CREATE TABLE base (n UInt64) {WINDOW}", database=database)
    store.query(f"CREATE TABLE target (n UInt64) {WINDOW}", database=database)
    store.query("CREATE TABLE broken (x UInt8) ENGINE = MergeTree ORDER BY x", database=database)
    store.query(
        "CREATE MATERIALIZED VIEW v TO target AS SELECT n + throwIf((SELECT count() FROM broken) > 0) AS n FROM base",
        database=database,
    )
    counts = "SELECT (SELECT count() FROM base), (SELECT count() FROM target)"
    settings = {**DEDUPLICATE, "insert_deduplication_token": "one", "database": database}
    store.query("INSERT INTO broken VALUES (1)", database=database)
    assert store.ask("INSERT INTO base FORMAT TSV", lines(range(1000)), **settings).status_code == 500
    assert store.query(counts, database=database) != "1000\t1000\n", "the failure was real"
    store.query("TRUNCATE TABLE broken", database=database)
    for _ in range(3):
        store.query("INSERT INTO base FORMAT TSV", lines(range(1000)), **settings)
        assert store.query(counts, database=database) == "1000\t1000\n"


def test_killed_again_and_again_it_has_every_row_once(start_store: Callable[[], Any]) -> None:
    """kill -9 in the middle of inserts, each sent again with its token until it is acknowledged: exact, views too."""
    store = start_store()
    batches, size, kills = 24, 100_000, 5
    store.query("CREATE DATABASE d")
    store.query(f"CREATE TABLE base (n UInt64) {WINDOW}", database="d")
    store.query(f"CREATE TABLE target (n UInt64) {WINDOW}", database="d")
    store.query("CREATE MATERIALIZED VIEW v TO target AS SELECT n FROM base", database="d")
    interrupted, sending, finished = [], threading.Event(), threading.Event()

    def write() -> None:
        for batch in range(batches):
            body, again = lines(range(batch * size, (batch + 1) * size)), True
            while again:
                sending.set()
                try:
                    settings = {**DEDUPLICATE, "insert_deduplication_token": f"batch {batch}", "database": "d"}
                    again = store.ask("INSERT INTO base FORMAT TSV", body, **settings).status_code != 200
                except httpx.TransportError:
                    interrupted.append(batch)
                    threading.Event().wait(0.05)
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(kills):
        sending.clear()
        assert sending.wait(60)
        store.kill()
        store.restart()
    assert finished.wait(120)
    writer.join()
    assert len(interrupted) >= kills - 1, "the kills hit inserts"
    for table in ("base", "target"):
        found = store.query(f"SELECT count(), uniqExact(n), max(n) FROM {table}", database="d")
        assert found == f"{batches * size}\t{batches * size}\t{batches * size - 1}\n"


def test_a_polite_stop_lets_the_insert_end(start_store: Callable[[], Any]) -> None:
    """SIGTERM during an insert: what was acknowledged is there, what was not is not, and the exit code is 0."""
    store = start_store()
    store.query("CREATE DATABASE d")
    store.query("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n", database="d")
    acknowledged: list[int] = []

    def write() -> None:
        body = lines(range(300_000))
        while True:
            try:
                acknowledged.append(store.ask("INSERT INTO t FORMAT TSV", body, database="d", **ONE_BLOCK).status_code)
            except httpx.TransportError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 3:
        threading.Event().wait(0.01)
    assert store.stop(signal.SIGTERM) == 0
    writer.join()
    store.restart()
    rows = int(store.query("SELECT count() FROM t", database="d"))
    assert set(acknowledged) == {200}
    assert rows == len(acknowledged) * 300_000


@pytest.mark.parametrize(
    ("statement", "data", "rows"),
    [
        (
            "INSERT INTO t SELECT n, s FROM input('n UInt64, s String') WHERE n > 1 FORMAT CSV",
            b'1,"a"\n2,"b"\n',
            "2\tb\n",
        ),
        (
            "INSERT INTO t (s, n) SELECT upper(s), n + 1 FROM input('s String, n UInt64') FORMAT JSONEachRow",
            b'{"n": 1, "s": "x\'y"}',
            "2\tX\\'Y\n",
        ),
        ("INSERT INTO t SELECT (SELECT max(n) FROM seven), s FROM input ( 's String' ) FORMAT TSV", b"a\n", "7\ta\n"),
        ("INSERT INTO t SELECT 1 AS n, 'FORMAT CSV' AS s", b"", "1\tFORMAT CSV\n"),
        ("INSERT INTO t SELECT n, 'input(' AS s FROM seven", b"", "7\tinput(\n"),
    ],
)
def test_an_insert_may_select_from_its_data(store: Any, database: str, statement: str, data: bytes, rows: str) -> None:
    """`input()` is the data that follows the statement, in the URL as well as in the body; else nothing changes."""
    store.query("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n", database=database)
    store.query("CREATE TABLE seven (n UInt64) ENGINE = MergeTree ORDER BY n", database=database)
    store.query("INSERT INTO seven VALUES (7)", database=database)
    for text, body in ((statement, data), (statement + "\n" + data.decode(), b"")) if data else ((statement, b""),):
        store.query("TRUNCATE TABLE t", database=database)
        store.query(text, body, database=database)
        assert store.query("SELECT * FROM t", database=database) == rows


def test_an_insert_that_selects_keeps_its_promises(store: Any, database: str) -> None:
    """Once per token, and a condition that throws leaves nothing behind, whatever it looks at."""
    store.query(f"CREATE TABLE t (n UInt64) {WINDOW}", database=database)
    late = "throwIf((SELECT count() FROM t) > 5, 'late')"
    guarded = f"INSERT INTO t SELECT n FROM input('n UInt64') WHERE {late} = 0 FORMAT TSV"
    for _ in range(3):
        store.query(guarded, lines(range(3)), database=database, insert_deduplication_token="one", **DEDUPLICATE)
    assert store.query("SELECT count() FROM t", database=database) == "3\n"
    store.query(guarded, lines(range(3)), database=database, insert_deduplication_token="two", **DEDUPLICATE)
    answer = store.ask(guarded, lines(range(3)), database=database, insert_deduplication_token="three", **DEDUPLICATE)
    assert answer.headers["x-clickhouse-exception-code"] == "395"
    assert "late" in answer.text
    assert store.query("SELECT count() FROM t", database=database) == "6\n"
