from dataclasses import replace
from typing import Any

import pytest

from runtide_consumers._errors import ParseError, StoreError
from runtide_consumers.batch import Batch, Range, Record, container, fence
from runtide_consumers.clickhouse import Store
from runtide_consumers.rejects import find_poison
from runtide_schemas import STREAMS, encode, parse_address, split

METRICS = STREAMS["metrics"]


def frames(count: int, **poison: bytes) -> Batch:
    """A batch of one-point frames; `poison` gives other bodies by name `at<N>`."""
    records = []
    for seq in range(count):
        body = poison.get(f"at{seq}") or split(encode(METRICS, _fields(seq)))[1]
        records.append(Record(1, seq * 100, seq * 100 + 99, 1_700_000_000_000_000, body, "e/p/r", 1, seq))
    return Batch("metrics", "0" * 16, METRICS.schema_json, METRICS.prefix, (Range(1, 0, count * 100),), tuple(records))


def _fields(seq: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "run_id": "e/p/r", "writer": 1, "seq": seq, "attempt": 1_700_000_000_000_000, "rank": 0, "ordered": True,
        "keys": ["k"], "steps": [seq], "times": [1_700_000_000_000], "values": [seq / 7],
    }  # fmt: skip
    return {**fields, **changes}


def lying(seq: int) -> bytes:
    """A frame that says it has more values than it has bytes: its reader goes on into what follows."""
    body = frames(seq + 1).records[seq].body
    return body[:-10] + b"\x80\x01" + body[-9:]


def count(target: Any) -> int:
    return int(target.ask("SELECT toUInt32(count()) FROM db.metrics")[0][0])


def test_a_large_insert_is_one_block(target: Any) -> None:
    """More records than any default block size land all or not at all, and in one part."""
    good = frames(100_000)
    bad = frames(100_000, at99999=b"\x0a")
    with pytest.raises(ParseError):
        target.store.insert("landing_metrics", container(bad, bad.records), "bad")
    assert count(target) == 0
    target.run("SYSTEM STOP MERGES db.metrics")
    target.store.insert("landing_metrics", container(good, good.records), "good")
    parts = (
        f"SELECT toUInt32(rows) FROM system.parts WHERE database = '{target.database}' AND table = 'metrics' AND active"
    )
    assert target.ask(parts) == [[100_000]]


def test_the_same_token_counts_once(target: Any) -> None:
    """The same batch sent again is dropped in every table behind the landing table; another token is not."""
    batch = frames(10)
    body = container(batch, batch.records)
    for _ in range(3):
        target.store.insert("landing_metrics", body, batch.token)
    assert count(target) == 10
    target.store.insert("landing_metrics", body, "another")
    assert count(target) == 20
    assert target.ask("SELECT toUInt32(sum(count)) FROM db.metric_summary_state") == [[20]]


@pytest.mark.parametrize(
    "body",
    [b"", b"\x0a", b"\x09e/p/r", lying(1), frames(2).records[1].body[:-1], b"\x0ae/p/r" + b"\xff" * 12],
    ids=["nothing", "only a length", "negative length", "lying", "cut", "endless integer"],
)  # fmt: skip
def test_poison_is_told_from_its_neighbours(target: Any, body: bytes) -> None:
    """Whatever is wrong with a body, exactly that record is found, and the landing table is not touched."""
    bodies = {"at1": body or b"\x00", "at5": body or b"\x00"}
    batch = frames(8, **bodies)
    poison = find_poison(target.store, batch)
    assert set(poison) == {(1, 100), (1, 500)}
    assert all(reason and "version" not in reason and "http" not in reason for reason in poison.values())
    assert count(target) == 0
    rest = batch.without(poison)
    target.store.insert("landing_metrics", container(rest, rest.records), rest.token)
    assert count(target) == 6


def test_a_search_is_broken_off_and_goes_on(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands that only the store objects to: what is found can be noted in between, and each search finds some."""
    monkeypatch.setattr("runtide_consumers.rejects._LONGEST_SEARCH", 0.0)
    wrong = {f"at{seq}": encode(METRICS, _fields(seq, rank=2**40))[10:] for seq in range(0, 12, 2)}
    batch, rounds = frames(12, **wrong), 0
    while poison := find_poison(target.store, batch):
        batch, rounds = batch.without(poison), rounds + 1
    assert rounds > 1
    assert [record.seq for record in batch.records] == list(range(1, 12, 2))
    assert count(target) == 0


def test_a_ledger_that_cannot_be_read_condemns_no_record(target: Any) -> None:
    """It is in the fence of a shared batch, and not in the search."""
    batch = replace(frames(8, at3=frames(4).records[3].body[:-1]), shared=True)
    target.run("RENAME TABLE db.ledger TO db.elsewhere")
    target.run("CREATE VIEW db.ledger AS SELECT * EXCEPT partition, toInt64(source) AS partition FROM db.elsewhere")
    target.run("INSERT INTO db.elsewhere (stream, source) VALUES ('metrics', 's')")
    with pytest.raises(StoreError):
        target.store.insert("landing_metrics", container(batch, batch.records), "t", fence(batch))
    assert set(find_poison(target.store, batch)) == {(1, 300)}


def test_bytes_behind_a_record_are_not_passed_over(target: Any) -> None:
    """The store reads a record to its end and would leave the rest, so that it looked like a good one."""
    long = frames(3).records[1].body + b"\x00"
    batch = replace(frames(3, at1=long), shared=True)
    with pytest.raises(ParseError, match="bytes follow"):
        target.store.insert("landing_metrics", container(batch, batch.records), "t", fence(batch))
    assert count(target) == 0
    assert find_poison(target.store, batch) == {(1, 100): "1 bytes follow the record's end"}


def test_a_schema_that_does_not_fit_condemns_the_batch(target: Any) -> None:
    """When the schema itself cannot be inserted, every record is poison, without a search."""
    batch = frames(50)
    fitting, unfitting = (f'"name": "run_id", "type": "{name}"' for name in ("string", "long"))
    wrong = replace(batch, schema_json=batch.schema_json.replace(fitting, unfitting))
    assert wrong.schema_json != batch.schema_json
    assert len(find_poison(target.store, wrong)) == 50


def test_other_errors_are_the_stores(target: Any) -> None:
    """A missing table, a wrong password and a store that is away are no parse errors."""
    batch = frames(1)
    body = container(batch, batch.records)
    with pytest.raises(StoreError) as missing:
        target.store.insert("landing_nothing", body, "t")
    with pytest.raises(StoreError) as denied:
        Store(parse_address(target.url.replace("default:", "default:x"))).query("SELECT 1")
    with pytest.raises(StoreError) as away:
        Store(parse_address("http://default:x@127.0.0.1:9/d")).query("SELECT 1")
    assert not any(isinstance(error.value, ParseError) for error in (missing, denied, away))
