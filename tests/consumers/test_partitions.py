"""One partition's messages: which batches they make, and that a rebuilt batch is the same to the byte."""

import random
from typing import Any

import pytest

from runtide_consumers import partitions
from runtide_consumers._errors import SourceError
from runtide_consumers.batch import Batch, container
from runtide_consumers.intents import MAX_SPAN, Intent
from runtide_consumers.partitions import FULL_BYTES, Message, Partition, intent_of
from runtide_schemas import STREAMS, encode

METRICS = STREAMS["metrics"]
CONFLUENT = b"\x00\x00\x00\x00\x07"
# The year 2100: a clock that is ahead; patience then counts from when the message was seen.
LATER = 4_102_444_800_000_000
SCHEMAS = {METRICS.prefix: METRICS.schema_json, CONFLUENT: METRICS.schema_json}


def record(seq: int, **changes: Any) -> bytes:
    fields = {
        "run_id": "e/p/run", "writer": 1, "seq": seq, "attempt": 1, "rank": 0, "ordered": True,
        "keys": ["k"], "steps": [seq], "times": [0], "values": [1.0],
    }  # fmt: skip
    return encode(METRICS, {**fields, **changes})


def partition(values: list[bytes], start: int = 100, intent: Intent | None = None, known: Any = SCHEMAS) -> Partition:
    made = Partition("metrics", "topic", 3, start, intent, known.get)
    for number, value in enumerate(values):
        made.add(Message(start + number, LATER, value))
    return made


def seqs(batch: Batch | None) -> list[int]:
    return [record.seq for record in batch.records] if batch else []


def test_good_and_bad_messages_are_told_apart() -> None:
    """What is no record is rejected with a reason; its neighbours are not concerned."""
    values = [record(0), b"", b"\xc3\x01short", b"noise" * 9, record(1), b"\x00", METRICS.prefix + b"\x7f", record(2)]
    batch = partition(values).build()
    assert batch is not None
    assert seqs(batch) == [0, 1, 2]
    assert [reject.offset for reject in batch.rejects] == [101, 102, 103, 105, 106]
    assert all(reject.reason for reject in batch.rejects)
    assert (batch.ranges[0].first, batch.ranges[0].next) == (100, 108)


def test_a_batch_ends_before_another_schema() -> None:
    """Records in Confluent's framing have the same bytes behind another prefix: they make a batch of their own."""
    framed = CONFLUENT + record(2)[10:]
    one = partition([record(0), record(1), framed, record(3)])
    first = one.build()
    assert first is not None
    assert (seqs(first), first.prefix) == ([0, 1], METRICS.prefix)
    one.done(first.ranges[0].next)
    second = one.build()
    assert second is not None
    assert (seqs(second), second.prefix) == ([2], CONFLUENT)
    assert second.records[0].body == record(2)[10:]


def test_batches_are_bounded_in_bytes_and_in_offsets() -> None:
    """The store takes one block, and the intent must fit into a commit."""
    big = record(0, keys=["x" * 3_000_000])
    heavy = partition([big, big, big, big])
    batch = heavy.build()
    assert batch is not None
    assert heavy.is_full
    assert sum(len(r.body) for r in batch.records) <= FULL_BYTES < 3 * len(big)
    alone = partition([record(0, keys=["x" * (FULL_BYTES + 1)])]).build()
    assert seqs(alone) == [0]
    small = record(0)
    many = partition([small] * (MAX_SPAN + 5))
    assert many.is_full
    long = many.build()
    assert long is not None
    assert long.ranges[0].next - long.ranges[0].first == MAX_SPAN


def test_a_message_that_comes_again_is_passed_over() -> None:
    """After a seek the client may hand out what it had fetched before."""
    one = partition([record(0), record(1)])
    for offset in (99, 100, 101):
        one.add(Message(offset, 0, record(7)))
    assert seqs(one.build()) == [0, 1]
    one.done(102)
    assert one.bytes == 0
    assert one.build() is None


def test_a_record_of_an_unknown_schema_waits_and_then_goes_to_the_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is before it is not held up; what is behind it waits for the announcement, but not for ever."""
    stranger = b"\xc3\x01" + b"\x09" * 8 + record(1)[10:]
    schemas = dict(SCHEMAS)
    one = partition([record(0), stranger, record(2)], known=schemas)
    first = one.build()
    assert first is not None
    assert (seqs(first), first.rejects) == ([0], ())
    one.done(101)
    assert one.build() is None
    schemas[stranger[:10]] = METRICS.schema_json
    assert seqs(one.build()) == [1]
    del schemas[stranger[:10]]
    monkeypatch.setattr(partitions, "PATIENCE", 0.0)
    late = one.build()
    assert late is not None
    assert seqs(late) == [2]
    assert [(reject.offset, "09090909" in reject.reason) for reject in late.rejects] == [(101, True)]
    # Known by then or not: what was decided once is part of the intent.
    schemas[stranger[:10]] = METRICS.schema_json
    again = partition([stranger, record(2)], 101, intent_of(late), schemas).build()
    assert again is not None
    assert again.token == late.token
    assert seqs(again) == [2]


def test_a_gap_longer_than_a_batch_is_passed_over() -> None:
    """Retention was faster than the consumer, or the group is new and the topic is not."""
    one = Partition("metrics", "topic", 3, 100, None, SCHEMAS.get)
    for number in range(2):
        one.add(Message(100 + 5 * MAX_SPAN + number, LATER, record(number)))
    batch = one.build()
    assert batch is not None
    assert seqs(batch) == [0, 1]
    assert one.position == batch.ranges[0].first == 100 + 5 * MAX_SPAN
    one.done(batch.ranges[0].next)
    assert one.bytes == 0


def test_what_is_before_a_schema_that_nobody_can_be_asked_for_goes_on() -> None:
    """It is a batch of its own; only then the partition waits, and it says why."""

    def ask(prefix: bytes) -> str | None:
        if prefix == CONFLUENT:
            raise SourceError("the registry is away")
        return SCHEMAS.get(prefix)

    values = [record(0), CONFLUENT + record(1)[10:], record(2)]
    one = Partition("metrics", "topic", 3, 100, None, ask)
    for number, value in enumerate(values):
        one.add(Message(100 + number, LATER, value))
    first = one.build()
    assert first is not None and seqs(first) == [0]
    one.done(first.ranges[0].next)
    with pytest.raises(SourceError):
        one.build()


def test_a_batch_that_takes_long_to_sort_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of questions to a registry must not keep the group waiting; every message comes in some batch."""
    monkeypatch.setattr(partitions, "_LONGEST_BUILD", -1.0)
    one = partition([record(seq) for seq in range(5)])
    found = []
    while batch := one.build():
        found.append(seqs(batch))
        one.done(batch.ranges[0].next)
    assert found == [[seq] for seq in range(5)]


def test_a_rebuilt_batch_waits_for_its_schema_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of it under the token of the whole would lose the rest."""
    monkeypatch.setattr(partitions, "PATIENCE", 0.0)
    assert partition([record(0), record(1)], 100, Intent(100, 102), {}).build() is None


@pytest.mark.parametrize("seed", range(20))
def test_a_rebuilt_batch_is_the_same_to_the_byte(seed: int) -> None:
    """Whatever was rejected, known already or found to be poison, and whatever follows by then."""
    draw = random.Random(seed)
    values = [draw.choice((record(n), draw.randbytes(draw.randrange(40)), CONFLUENT + b"x")) for n in range(50)]
    one = partition(values)
    batch = one.build()
    assert batch is not None
    left_out = draw.sample(batch.records, len(batch.records) // 2)
    batch = batch.without({(r.partition, r.offset): draw.choice(("", "bad")) for r in left_out})
    noted = intent_of(batch)
    again = partition(values + [record(99)] * 9, 100, noted).build()
    assert again is not None
    assert (again.rebuilt, again.ranges, again.token) == (True, batch.ranges, batch.token)
    assert container(again, again.records) == container(batch, batch.records)
    assert {(r.offset, r.payload) for r in again.rejects} == {(r.offset, r.payload) for r in batch.rejects}
    assert intent_of(again) == noted
