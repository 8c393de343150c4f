import io
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from runtide_consumers.batch import Batch, Range, Record, container, ledger_rows
from runtide_schemas import STREAMS, encode, split

STREAM = STREAMS["runs"]


def record(seq: int, partition: int = 1, writer: int = 1, run: str = "a/b/c") -> Record:
    fields = {
        "run_id": run,
        "writer": writer,
        "seq": seq,
        "attempt": 1,
        "rank": 0,
        "child": False,
        "time": 5,
        "event": "heartbeat",
    }
    body = split(encode(STREAM, fields))[1]
    return Record(partition, 100 * seq, 100 * seq + 90, 1_700_000_000_000_000 + seq, body, run, writer, seq)


def batch(*records: Record, **changes: Any) -> Batch:
    ranges = tuple(Range(r.partition, r.offset, r.next) for r in records)
    return Batch(
        **{
            "stream": "runs",
            "source": "0" * 16,
            "schema_json": STREAM.schema_json,
            "prefix": STREAM.prefix,
            "ranges": ranges,
            "records": records,
            **changes,
        }
    )


def test_container_is_avro_with_the_origin_in_front() -> None:
    """Any Avro reader reads the container; each record has its origin and all its own fields."""
    made = batch(record(0), record(1))
    read: list[Any] = list(fastavro.reader(io.BytesIO(container(made, made.records))))
    assert [(r["_source"], r["_partition"], r["_offset"]) for r in read] == [("0" * 16, 1, 0), ("0" * 16, 1, 100)]
    assert [(r["run_id"], r["seq"], r["event"], r["sent"]) for r in read] == [
        ("a/b/c", seq, "heartbeat", {}) for seq in (0, 1)
    ]
    assert read[1]["_appended"].timestamp() == 1_700_000_000.000001


def test_token_names_ranges_and_exclusions() -> None:
    """The token changes with stream, source, ranges and exclusions, and with nothing else."""
    whole = batch(record(0), record(1))
    less = whole.without({(1, 100): "because"})
    tokens = {
        whole.token,
        less.token,
        batch(record(0)).token,
        batch(record(0), stream="metrics").token,
        batch(record(0), source="1" * 16).token,
    }
    assert len(tokens) == 5
    assert batch(record(0), record(1), rebuilt=True).token == whole.token
    assert whole.without({(1, 100): "other words"}).token == less.token
    assert whole.token.startswith("runs/" + "0" * 16 + "/")


def test_excluded_records_with_a_reason_become_rejects() -> None:
    """What is excluded is not inserted; a duplicate is dropped, anything else is a dead letter with its bytes."""
    made = batch(record(0), record(1), record(2)).without({(1, 0): "", (1, 200): "broken"})
    assert [r.seq for r in made.records] == [1]
    assert [(r.offset, r.reason, r.payload) for r in made.rejects] == [(200, "broken", STREAM.prefix + record(2).body)]


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 9), st.sampled_from(["a/b/c", "a/b/d"])), max_size=20))
def test_ledger_rows_hold_every_number_once(found: list[tuple[int, int, str]]) -> None:
    """The ledger's ranges are exactly the batch's records, and each is gapless."""
    records = [record(seq, writer, writer, run) for writer, seq, run in found]
    rows = list(ledger_rows(batch(*records)))
    numbers = [
        (row["run_id"], row["writer"], seq) for row in rows for seq in range(row["first_seq"], row["last_seq"] + 1)
    ]
    assert numbers == [(r.run_id, r.writer, r.seq) for r in records]
    assert all(row["records"] == row["last_seq"] - row["first_seq"] + 1 for row in rows)
