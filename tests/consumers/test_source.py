"""What every source of batches promises, for a spool folder and for Kafka."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from runtide_consumers import kafka as kafka_source
from runtide_consumers import partitions
from runtide_consumers._errors import Fenced
from runtide_consumers.batch import Batch, container, fence
from runtide_consumers.kafka import KafkaSource, topic_id
from runtide_consumers.positions import Positions
from runtide_consumers.retry import Retry
from runtide_consumers.source import Source
from runtide_consumers.spool import SpoolSource
from runtide_consumers.telemetry import Telemetry
from runtide_consumers.topics import Wishes, make_topics
from runtide_consumers.writers import Spool
from runtide_schemas import STREAMS, Kafka, Stream, encode
from runtide_schemas.registry import Registry, frame

METRICS = STREAMS["metrics"]


def good(seq: int) -> bytes:
    fields = {
        "run_id": "e/p/run", "writer": 1, "seq": seq, "attempt": 1, "rank": 0, "ordered": True,
        "keys": ["k"], "steps": [seq], "times": [0], "values": [float(seq)],
    }  # fmt: skip
    return encode(METRICS, fields)


class Suite(Protocol):
    """A place to write to, and sources on it, one at a time."""

    def write(self, *payloads: bytes) -> None: ...

    def open(self) -> Source:
        """A source as after a start; the one before is gone as if its process had been killed."""

    def close(self) -> None: ...


class OnSpool:
    def __init__(self, folder: Path, writer: Callable[..., Any]) -> None:
        self._folder = folder
        self._writer = writer()
        self._positions: Positions | None = None

    def write(self, *payloads: bytes) -> None:
        for payload in payloads:
            self._writer.append(payload)

    def open(self) -> Source:
        self.close()
        self._positions = Positions(self._folder / "positions.sqlite", dict)
        return SpoolSource(Spool(self._folder), self._positions, "metrics", "f" * 16, Telemetry(), age=0)

    def close(self) -> None:
        if self._positions:
            self._positions.close()


class OnKafka:
    def __init__(self, kafka: Kafka, store: Any, partitions: int = 1) -> None:
        self.kafka = kafka
        self.source: KafkaSource | None = None
        self._store = store
        self._producer = Producer(kafka.client)
        make_topics(kafka, Wishes(partitions=partitions))

    def write(self, *payloads: bytes, partition: int = 0) -> None:
        for payload in payloads:
            self._producer.produce(self.kafka.topic("metrics"), payload, b"key", partition)
        self._producer.flush()

    def join(self) -> KafkaSource:
        """One more source."""
        retry = Retry(threading.Event(), lambda: None)
        return KafkaSource(self.kafka, "metrics", self._store, retry, Telemetry())

    def open(self) -> KafkaSource:
        self.close()
        self.source = self.join()
        return self.source

    def close(self) -> None:
        if self.source:
            self.source.close()
        self.source = None


@pytest.fixture
def on_kafka(kafka: Any, target: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnKafka]:
    monkeypatch.setattr(kafka_source, "AGE", 0.0)
    suite = OnKafka(kafka.fresh(), target.store)
    yield suite
    suite.close()


@pytest.fixture(params=["spool", "kafka"])
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    if request.param == "kafka":
        yield request.getfixturevalue("on_kafka")
        return
    made = OnSpool(request.getfixturevalue("spool"), request.getfixturevalue("writer"))
    yield made
    made.close()


@pytest.fixture
def take(until: Any) -> Callable[[Source], Batch]:
    """The next batch of a source, which may have to be waited for."""

    def wait(source: Source) -> Batch:
        found: list[Batch] = []

        def polled() -> bool:
            batch = source.poll()
            found.extend([batch] if batch else [])
            return batch is not None

        until(polled, "there is a batch")
        return found[0]

    return wait


def seqs(batch: Batch) -> list[int]:
    return [record.seq for record in batch.records]


def test_what_is_not_committed_comes_again(suite: Suite, take: Any) -> None:
    """A start without an intent reads the same records, and those that came since."""
    suite.write(good(0), good(1))
    assert seqs(take(suite.open())) == [0, 1]
    suite.write(good(2))
    again = take(suite.open())
    assert (seqs(again)[:2], again.rebuilt) == ([0, 1], False)


def test_what_is_committed_does_not_come_again(suite: Suite, take: Any) -> None:
    """Neither in this start nor in the next."""
    source = suite.open()
    suite.write(good(0))
    batch = take(source)
    source.intend(batch)
    source.commit(batch)
    suite.write(good(1))
    assert seqs(take(source)) == [1]
    again = take(suite.open())
    assert (seqs(again), again.rebuilt) == ([1], False)


def test_an_intended_batch_comes_first_and_is_the_same_to_the_byte(suite: Suite, take: Any) -> None:
    """With the exclusions noted last, and without what came since."""
    source = suite.open()
    suite.write(good(0), b"noise", good(1), good(2), good(3))
    batch = take(source)
    source.intend(batch)
    first, second = batch.records[0], batch.records[1]
    batch = batch.without({(first.partition, first.offset): "", (second.partition, second.offset): "bad"})
    source.intend(batch)
    suite.write(good(4))
    source = suite.open()
    again = take(source)
    assert (again.rebuilt, seqs(again), again.token) == (True, [2, 3], batch.token)
    assert container(again, again.records) == container(batch, batch.records)
    assert [(r.offset, r.payload) for r in sorted(again.rejects, key=lambda r: r.offset)] == [
        (r.offset, r.payload) for r in sorted(batch.rejects, key=lambda r: r.offset)
    ]
    source.intend(again)
    source.commit(again)
    assert seqs(take(source)) == [4]


def test_a_reset_is_like_a_start(suite: Suite, take: Any) -> None:
    """What was read is forgotten; what is noted counts, an intent too."""
    source = suite.open()
    suite.write(good(0))
    assert seqs(take(source)) == [0]
    source.reset()
    batch = take(source)
    assert (seqs(batch), batch.rebuilt) == ([0], False)
    source.intend(batch)
    source.reset()
    again = take(source)
    assert (again.rebuilt, again.token) == (True, batch.token)


def test_a_batch_of_a_partition_that_went_away_is_fenced(on_kafka: OnKafka, take: Any) -> None:
    """Two readers of one partition: who lost it can neither intend nor commit, and what it noted is in effect."""
    first = on_kafka.open()
    on_kafka.write(good(0))
    batch = take(first)
    first.intend(batch)
    on_kafka.source = None
    first.close()
    second = on_kafka.open()
    again = take(second)
    assert (again.rebuilt, again.token) == (True, batch.token)
    second.intend(again)
    second.commit(again)
    with pytest.raises(Fenced):
        second.intend(again)
    with pytest.raises(Fenced):
        second.commit(again)


def test_the_ledger_wins_over_an_offset_that_was_moved_back(on_kafka: OnKafka, target: Any, take: Any) -> None:
    """What is in the ledger is passed over, also when nothing is noted any more."""
    source = on_kafka.open()
    on_kafka.write(good(0), good(1))
    batch = take(source)
    on_kafka.close()
    row = {"stream": "metrics", "source": batch.source, "partition": 0, "first_offset": 0, "next_offset": 2}
    target.store.insert_rows("ledger", [row], "a row of a whole batch")
    on_kafka.write(good(2))
    assert seqs(take(on_kafka.open())) == [2]


def test_the_store_refuses_a_batch_that_the_ledger_has_gone_past(on_kafka: OnKafka, target: Any, take: Any) -> None:
    """However late it comes: not its token, the ledger decides. Its neighbours' rows do not matter."""
    on_kafka.write(good(0), good(1))
    batch = take(on_kafka.open())
    body = container(batch, batch.records)
    rows = [
        {"stream": stream, "source": source, "partition": partition, "first_offset": 7, "next_offset": 9}
        for stream, source, partition in (
            ("runs", batch.source, 0), ("metrics", "another", 0), ("metrics", batch.source, 1),
        )
    ]  # fmt: skip
    target.store.insert_rows("ledger", rows, "rows of others")
    target.store.insert("landing_metrics", body, "one token", fence(batch))
    assert target.ask("SELECT toUInt32(count()) FROM db.metrics") == [[2]]
    row = {"stream": "metrics", "source": batch.source, "partition": 0, "first_offset": 2, "next_offset": 3}
    target.store.insert_rows("ledger", [row], "a row of what follows")
    with pytest.raises(Fenced):
        target.store.insert("landing_metrics", body, "another token", fence(batch))
    assert target.ask("SELECT toUInt32(count()) FROM db.metrics") == [[2]]


def test_an_offset_beyond_the_end_counts_for_nothing(on_kafka: OnKafka, take: Any) -> None:
    """Somebody moved it there: the ledger says what is done, and nothing is skipped."""
    source = on_kafka.open()
    on_kafka.write(good(0))
    take(source)
    where = TopicPartition(on_kafka.kafka.topic("metrics"), 0, 500, "")
    source._consumer.commit(offsets=[where], asynchronous=False)
    on_kafka.write(good(1))
    assert seqs(take(on_kafka.open())) == [0, 1]


def test_a_partition_whose_messages_the_broker_lost_is_left_alone(
    on_kafka: OnKafka, target: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its offsets are given again: the ledger would take new messages for old ones; it is said, and nothing is read."""
    row = {"stream": "metrics", "source": topic_id(on_kafka.kafka, on_kafka.kafka.topic("metrics")),
           "partition": 0, "first_offset": 0, "next_offset": 50}  # fmt: skip
    target.store.insert_rows("ledger", [row], "a row of a whole batch")
    on_kafka.write(good(0))
    source = on_kafka.open()
    until(lambda: source.poll() or "the broker lost messages" in caplog.text, "it is said")
    assert source.poll() is None


def test_dead_letters_go_to_their_topic_too(on_kafka: OnKafka, take: Any, until: Any) -> None:
    """The payload's first 64 KiB with reason, origin, digest and length as headers."""
    source = on_kafka.open()
    on_kafka.write(good(0), b"n" * 100_000)
    batch = take(source)
    source.intend(batch)
    source.commit(batch)
    topic = on_kafka.kafka.topic("dead_letters")
    reader = Consumer({**on_kafka.kafka.client, "group.id": topic, "auto.offset.reset": "earliest"})
    reader.assign([TopicPartition(topic, number, 0) for number in reader.list_topics(topic).topics[topic].partitions])
    found: list[Message] = []
    until(lambda: found.extend(reader.consume(10, 0.1)) or found, "the letter is there")
    reader.close()
    (one,) = found
    headers = dict(one.headers() or [])
    assert one.value() == b"n" * 65536
    assert (headers["stream"], headers["partition"], headers["offset"]) == (b"metrics", b"0", b"1")
    assert (headers["source"], headers["length"]) == (batch.source.encode(), b"100000")
    assert headers["digest"] == hashlib.sha256(b"n" * 100_000).hexdigest().encode()
    assert b"not an Avro" in headers["reason"]


def test_records_with_a_registrys_number_wait_for_the_registry(
    on_kafka: OnKafka, take: Any, until: Any, start_registry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is away nothing is rejected; a number of another stream's schema is no schema of this one."""
    registry = start_registry()
    client = Registry(registry.url)
    mine = client.register(on_kafka.kafka.topic("metrics"), METRICS.schema_json)
    foreign = client.register(on_kafka.kafka.topic("runs"), STREAMS["runs"].schema_json)
    registry.kill()
    on_kafka.kafka = replace(on_kafka.kafka, registry=registry.url)
    source = on_kafka.open()
    on_kafka.write(frame(mine, good(0)[10:]), frame(foreign, good(1)[10:]))
    until(lambda: source.poll() or "cannot be reached" in caplog.text, "it is said")
    registry.start()
    batch = take(source)
    assert (seqs(batch), batch.rejects) == ([0], ())
    source.intend(batch)
    source.commit(batch)
    assert source.poll() is None


def test_a_schema_of_another_kind_is_no_schema(on_kafka: OnKafka, take: Any, monkeypatch: Any) -> None:
    """A message with the number of a Protobuf schema, as from another team's serialiser, is a dead letter."""
    schemas = {7: 'syntax = "proto3"; message Metrics {}', 8: "[" * 100_000, 9: '{"type": "enum", "name": "Metrics"}'}
    monkeypatch.setattr(partitions, "PATIENCE", 0.0)
    monkeypatch.setattr(Registry, "schema", lambda self, number: schemas[number])
    on_kafka.kafka = replace(on_kafka.kafka, registry="http://nowhere.invalid")
    source = on_kafka.open()
    on_kafka.write(*(frame(number, good(1)[10:]) for number in schemas), good(0))
    batch = take(source)
    assert (seqs(batch), [reject.offset for reject in batch.rejects]) == ([0], [0, 1, 2])


def test_announcements_that_are_none_do_no_harm(on_kafka: OnKafka, take: Any, monkeypatch: Any) -> None:
    """Whatever somebody wrote to the topic of the schemas; a record that it seems to stand for is a dead letter."""
    monkeypatch.setattr(partitions, "PATIENCE", 0.0)
    enum = Stream("metrics", '{"type": "enum", "name": "Metrics", "symbols": ["A"]}')
    deep = b'{"stream": "metrics", "schema": ' + b"[" * 100_000
    for value in (b"", b"noise", deep, json.dumps({"stream": "metrics", "schema": enum.schema_json}).encode()):
        on_kafka._producer.produce(on_kafka.kafka.topic("schemas"), value, b"key", 0)
    source = on_kafka.open()
    on_kafka.write(enum.prefix + good(1)[10:], good(0))
    batch = take(source)
    assert (seqs(batch), len(batch.rejects)) == ([0], 1)
    container(batch, batch.records)


def test_an_empty_topic_of_schemas_is_read_to_its_end(on_kafka: OnKafka, take: Any, monkeypatch: Any) -> None:
    """Nobody has announced anything: what is unknown is a dead letter after a while, and holds nothing up."""
    monkeypatch.setattr(partitions, "PATIENCE", 0.0)
    admin = AdminClient(on_kafka.kafka.client)
    for done in admin.create_topics([NewTopic(on_kafka.kafka.topic("empty"), 1, 1)]).values():
        done.result()
    monkeypatch.setattr("runtide_consumers.announced.SCHEMAS", "empty")
    source = on_kafka.open()
    on_kafka.write(b"\xc3\x01" + b"\x09" * 8 + good(1)[10:], good(0))
    batch = take(source)
    assert (seqs(batch), len(batch.rejects)) == ([0], 1)


def test_a_client_that_cannot_send_dead_letters_goes_on(
    on_kafka: OnKafka, take: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A property meant for other clients does not fit the producer: it is said, and the table has them."""
    on_kafka.kafka = replace(on_kafka.kafka, properties={"acks": "1"})
    source = on_kafka.open()
    on_kafka.write(b"noise")
    batch = take(source)
    source.intend(batch)
    source.commit(batch)
    assert "takes no dead letters" in caplog.text


def test_messages_that_are_gone_are_told_and_passed_over(
    on_kafka: OnKafka, take: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Retention overtakes a consumer that runs: it begins at what is there, as it would after a start."""
    source = on_kafka.open()
    on_kafka.write(good(0))
    batch = take(source)
    source.intend(batch)
    source.commit(batch)
    source._consumer.pause([TopicPartition(on_kafka.kafka.topic("metrics"), 0)])
    on_kafka.write(*(good(seq) for seq in range(1, 8)))
    gone = TopicPartition(on_kafka.kafka.topic("metrics"), 0, 5)
    admin = AdminClient(on_kafka.kafka.client)
    for done in admin.delete_records([gone]).values():
        done.result()
    source._consumer.resume([gone])
    assert seqs(take(source)) == [5, 6, 7]
    assert "messages 1 to 4 of partition 0 are gone" in caplog.text
    on_kafka.write(good(8))
    until(lambda: (batch := source.poll()) and seqs(batch) == [5, 6, 7, 8], "it goes on")


def wait_for_partitions(until: Any, wanted: dict[int, KafkaSource], *idle: KafkaSource) -> None:
    """Until each of the partitions is with that source and with no other."""

    def settled() -> bool:
        sources = {*wanted.values(), *idle}
        for one in sources:
            one.poll()
        return all(sorted(one._partitions) == [n for n, owner in wanted.items() if owner is one] for one in sources)

    until(settled, "the partitions are where they should be")


def test_a_partition_that_comes_back_is_read(
    kafka: Any, target: Any, take: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paused when it went away, which the client remembers."""
    monkeypatch.setattr(kafka_source, "AGE", 0.0)
    monkeypatch.setattr(kafka_source, "_HELD_BYTES", 10)
    suite = OnKafka(kafka.fresh(), target.store, partitions=2)
    first = suite.open()
    wait_for_partitions(until, {0: first, 1: first})
    suite.write(good(0), partition=0)
    suite.write(good(1), partition=1)

    def both_are_paused() -> bool:
        first._fetch()
        return first._paused == {0, 1}

    until(both_are_paused, "both are full")
    second = suite.join()
    second_has: list[int] = []

    def one_went() -> bool:
        first._fetch()
        second._fetch()
        second_has[:] = second._partitions
        return len(first._partitions) == len(second_has) == 1

    until(one_went, "one went to the other")
    for number in list(first._partitions):
        batch = take(first)
        first.intend(batch)
        first.commit(batch)
        assert batch.ranges[0].partition == number
    first._fetch()
    assert first._paused == set()
    second.close()
    until(lambda: (first._fetch(), len(first._partitions) == 2)[1], "it came back")
    back = take(first)
    assert [part.partition for part in back.ranges] == second_has
    suite.close()


def test_a_partition_that_waits_does_not_stop_the_others(
    kafka: Any, target: Any, take: Any, until: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can be asked for the schema of its first record, and what it holds is all that may be held."""
    monkeypatch.setattr(kafka_source, "AGE", 0.0)
    monkeypatch.setattr(kafka_source, "_HELD_BYTES", 50_000)
    cluster = replace(kafka.fresh(), registry="http://127.0.0.1:9")
    suite = OnKafka(cluster, target.store, partitions=2)
    source = suite.open()
    suite.write(*[frame(7, good(0)[10:] + bytes(1000))] * 100, partition=1)

    def is_paused() -> bool:
        assert source.poll() is None
        return source._paused == {1}

    until(is_paused, "it is full")
    assert "waits for a schema" in caplog.text
    assert source._partitions[1].bytes < 50_000 + 200_000
    for seq in range(3):
        suite.write(good(seq), partition=0)
        batch = take(source)
        assert (seqs(batch), batch.ranges[0].partition) == ([seq], 0)
        source.intend(batch)
        source.commit(batch)
    suite.close()


def test_a_broker_that_goes_away_is_said_once_and_seen_from_outside(
    start_broker: Any, target: Any, take: Any, until: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """One line when it goes and one when it is back, whatever happens in between; the telemetry has it meanwhile."""
    caplog.set_level("INFO")
    monkeypatch.setattr(kafka_source, "AGE", 0.0)
    broker = start_broker()
    suite = OnKafka(Kafka(servers=broker.address), target.store)
    source = suite.open()
    suite.write(good(0))
    assert seqs(take(source)) == [0]
    broker.kill()
    until(lambda: source.poll() is None and source._telemetry.away, "it is seen")
    assert broker.address in source._telemetry.away
    broker.restart()
    until(lambda: source.poll() is None and not source._telemetry.away, "it is back")
    assert caplog.text.count("does not answer; waiting for it") == 1
    assert caplog.text.count("answers again") == 1
    assert "Connection refused" not in caplog.text
    suite.close()
