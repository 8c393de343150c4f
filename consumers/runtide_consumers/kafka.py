"""Kafka as a source: one stream's topic, shared by as many consumers as there are in its group."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from runtide_consumers._errors import Fenced, SourceError
from runtide_consumers.announced import Announced
from runtide_consumers.batch import Batch
from runtide_consumers.clickhouse import Store
from runtide_consumers.dead_topic import DeadTopic
from runtide_consumers.intents import decode_intent
from runtide_consumers.partitions import FULL_BYTES, Message, Partition, intent_of
from runtide_consumers.retry import Retry
from runtide_consumers.telemetry import Telemetry
from runtide_schemas import Kafka

log = logging.getLogger("runtide.consumer")

# Seconds that a batch waits to become full; up to a second with many partitions or long inserts.
AGE = 0.4
_LONGEST_AGE = 1.0
# An insert costs some 40 ms however small it is: of the time between two batches of a partition, this part at most.
_SHARE = 0.5
# Bytes that are held at most, beyond one fetch; reading pauses there.
_HELD_BYTES = 4 * FULL_BYTES
_CHUNK = 2000
# Seconds that a call to the broker may take; after that it is as if it had failed.
_TIMEOUT = 5.0
# Seconds between two looks at the lag.
_LOOK = 1.0
# Seconds between two lines about the same trouble.
_ALARM = 30.0

_PROPERTIES: dict[str, object] = {
    "enable.auto.commit": False,
    # Every start names its offset. One that is not there any more has a reason, which `_begin` finds out.
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 15_000,
    "heartbeat.interval.ms": 2_000,
    # Idle topics cost the broker a request each time that this is over; data is answered at once.
    "fetch.wait.max.ms": 500,
    "fetch.max.bytes": 16 << 20,
    "fetch.message.max.bytes": 8 << 20,
    "queued.max.messages.kbytes": 16 << 10,
    "check.crcs": True,
    # The client has a line for every try to connect; `_error` has one for the outage.
    "log_level": 2,
}
# KIP-848: the broker decides on assignment and timeouts.
_NOT_WITH_KIP_848 = ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms")

# How far the ledger goes, from an offset on.
_DONE = """
SELECT max(next_offset) FROM `{database}`.ledger
WHERE stream = {{stream:String}} AND source = {{source:String}} AND partition = {{partition:Int64}}
    AND first_offset >= {{offset:Int64}}
"""


class KafkaSource:
    """One stream's topic.

    Args:
        kafka: The cluster.
        stream: Name of the stream.
        store: Whose ledger says what is done.
        retry: How to ask the broker and the store again.
        telemetry: Gets the lag.

    Raises:
        SourceError: The broker does not answer, or has no such topic; may be tried again.
    """

    def __init__(self, kafka: Kafka, stream: str, store: Store, retry: Retry, telemetry: Telemetry) -> None:
        self._topic = kafka.topic(stream)
        self._servers = kafka.servers
        self._stream = stream
        self._store = store
        self._retry = retry
        self._telemetry = telemetry
        self._properties = _properties(kafka, stream)
        self._source = topic_id(kafka, self._topic)
        self._announced = Announced(kafka, stream)
        self._dead_letters = DeadTopic(kafka)
        self._partitions: dict[int, Partition] = {}
        self._tenure = 0
        self._closing = False
        self._paused: set[int] = set()
        self._polled = 0.0
        self._took = 0.0
        self._looked = 0.0
        self._alarmed: dict[str, float] = {}
        self._consumer = self._subscribe()

    def poll(self) -> Batch | None:
        """See `Source.poll`."""
        self._fetch()
        self._measure()
        self._polled = time.monotonic()
        age = min(_LONGEST_AGE, max(AGE, self._took * self._active() / _SHARE))
        for partition in sorted(self._partitions.values(), key=lambda p: p.since):
            if self._is_due(partition, age) and (batch := self._build(partition)):
                return replace(batch, tenure=self._tenure)
        return None

    def intend(self, batch: Batch) -> None:
        """See `Source.intend`; also serves the group, so that a long outage of the store costs no partition."""
        self._fetch()
        self._note(batch, batch.ranges[0].first, intent_of(batch).encode())

    def commit(self, batch: Batch) -> None:
        """See `Source.commit`."""
        part = batch.ranges[0]
        if batch.rejects:
            self._dead_letters.send(batch)
        self._note(batch, part.next, "")
        self._partitions[part.partition].done(part.next)
        self._took = 0.8 * self._took + 0.2 * (time.monotonic() - self._polled)

    def reset(self) -> None:
        """See `Source.reset`."""
        self._fetch()  # serves the callbacks, if partitions were taken away
        self._tenure += 1
        for number in sorted(self._partitions):
            del self._partitions[number]
            try:
                self._consumer.seek(self._begin(number))
            except KafkaException as error:
                # It is going away: the callback comes with the next poll. Until then nothing of it is used.
                log.warning("%s: partition %d cannot be read again: %s", self._topic, number, error)
                self._partitions.pop(number, None)

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self._closing = True
        self._consumer.close()

    def _subscribe(self) -> Consumer:
        consumer = Consumer({**self._properties, "error_cb": self._error}, logger=log)
        consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        return consumer

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closing:
            consumer.incremental_assign(partitions)
            return
        self._tenure += 1
        consumer.incremental_assign([self._begin(partition.partition) for partition in partitions])
        if partitions:
            # The client remembers that one was paused when it was here before.
            consumer.resume(partitions)
            log.info("%s: partitions %s came", self._topic, [partition.partition for partition in partitions])

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        for number in numbers:
            self._partitions.pop(number, None)
        self._paused -= set(numbers)
        consumer.incremental_unassign(partitions)
        log.info("%s: partitions %s went", self._topic, numbers)

    def _fetch(self) -> None:
        """Read what there is, within bounds, and serve the group."""
        self._hold()
        for message in self._consumer.consume(_CHUNK, 0.0):
            number = message.partition() or 0
            if error := message.error():
                if error.code() == KafkaError._AUTO_OFFSET_RESET:
                    self._begin_again(number)
                else:
                    self._complain(f"cannot read {self._topic}: {error}")
            elif partition := self._partitions.get(number):
                partition.add(Message(message.offset() or 0, message.timestamp()[1] * 1000, message.value() or b""))

    def _hold(self) -> None:
        """Pause, while too much is held, what holds more than its share: one that waits must not stop the others."""
        held = {number: partition.bytes for number, partition in self._partitions.items()}
        full = sum(held.values()) >= _HELD_BYTES
        wanted = {number for number, size in held.items() if full and size >= _HELD_BYTES / len(held)}
        for change, numbers in (
            (self._consumer.pause, wanted - self._paused),
            (self._consumer.resume, self._paused - wanted),
        ):
            if numbers:
                change([TopicPartition(self._topic, number) for number in numbers])
        self._paused = wanted

    def _begin_again(self, number: int) -> None:
        """Find out anew where a partition begins, because the offset to be read is not there any more."""
        self._tenure += 1
        self._partitions.pop(number, None)
        self._paused.discard(number)
        where = self._begin(number)
        self._consumer.incremental_unassign([where])
        self._consumer.incremental_assign([where])
        self._consumer.resume([where])

    def _begin(self, number: int) -> TopicPartition:
        """Find out where a partition begins, however long the broker or the store is away."""
        what = f"find out where partition {number} of {self._topic} begins"
        noted, low, high = self._retry(what, partial(self._offsets, number))
        offset, intent = max(0, noted.offset), decode_intent(noted.metadata, noted.offset)
        # Beyond the end: somebody moved it there, or it is another topic's; only the ledger can tell what is done.
        done = self._retry(what, partial(self._done, number, offset if offset <= high else 0))
        if done > high:
            log.error(
                "%s: partition %d ends at %d, but the ledger has it up to %d: the broker lost messages. Nothing is "
                "read from it, because what comes now has the numbers of what was lost. Send to new topics: set "
                "RUNTIDE_KAFKA_TOPIC_PREFIX for producers and consumers",
                self._topic, number, high, done,
            )  # fmt: skip
            return TopicPartition(self._topic, number, high)
        if offset > high or done > offset:
            if intent is None or done != intent.next:
                log.warning(
                    "%s: partition %d is noted at %d, but the ledger has it up to %d: going on there. Moving a group's "
                    "offsets has no effect; `runtide dead-letters replay` brings what could not be used",
                    self._topic, number, offset, done,
                )  # fmt: skip
            offset, intent = done, None
        if offset < low and noted.offset >= 0:
            log.error("%s: messages %d to %d of partition %d are gone", self._topic, offset, low - 1, number)
        self._partitions[number] = Partition(self._stream, self._source, number, offset, intent, self._announced.find)
        return TopicPartition(self._topic, number, max(low, offset))

    def _offsets(self, number: int) -> tuple[TopicPartition, int, int]:
        """What is noted of a partition, its first offset and the one behind its last."""
        where = TopicPartition(self._topic, number)
        try:
            (noted,) = self._consumer.committed([where], _TIMEOUT)
            low, high = self._consumer.get_watermark_offsets(where, _TIMEOUT)
        except KafkaException as error:
            raise SourceError(error.args[0].str()) from error
        return noted, low, high

    def _done(self, number: int, offset: int) -> int:
        """How far the ledger goes from an offset on; 0 when it has nothing there."""
        sql = _DONE.format(database=self._store.database)
        rows = self._store.query(sql, stream=self._stream, source=self._source, partition=number, offset=offset)
        return int(rows[0][0])

    def _note(self, batch: Batch, offset: int, metadata: str) -> None:
        number = batch.ranges[0].partition
        partition = self._partitions.get(number)
        if partition is None or partition.position != batch.ranges[0].first:
            raise Fenced(f"partition {number} of {self._topic} went away")
        try:
            where = TopicPartition(self._topic, number, offset, metadata)
            (noted,) = self._consumer.commit(offsets=[where], asynchronous=False)
        except KafkaException as error:
            raise Fenced(f"the broker did not take the offset {offset} of {self._topic} {number}: {error}") from error
        if noted.error is not None:
            raise Fenced(f"the broker refused the offset {offset} of {self._topic} {number}: {noted.error}")

    def _active(self) -> int:
        return sum(1 for partition in self._partitions.values() if partition.bytes)

    def _build(self, partition: Partition) -> Batch | None:
        try:
            return partition.build()
        except SourceError as error:
            self._complain(f"partition {partition.number} of {self._topic} waits for a schema: {error}")
            return None

    def _is_due(self, partition: Partition, age: float) -> bool:
        if (intent := partition.intent) is None:
            return partition.is_due(age)
        # The last messages of the intent's range may be gone; what counts is how far the topic was read.
        (position,) = self._consumer.position([TopicPartition(self._topic, partition.number)])
        return partition.has_read(intent.next) or int(position.offset) >= intent.next

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        if self._telemetry.away:
            self._look_for_brokers()
        lag = 0
        for number, partition in self._partitions.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
            lag += max(0, int(high) - partition.position)
        self._telemetry.lag = lag

    def _error(self, error: KafkaError) -> None:
        """Called by the client, with every trouble that it has; it mends most by itself."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._telemetry.away:
            self._telemetry.away = f"Kafka at {self._servers} does not answer"
            log.error("%s: %s; waiting for it, nothing is lost", self._topic, self._telemetry.away)

    def _look_for_brokers(self) -> None:
        with suppress(KafkaException):
            self._consumer.list_topics(self._topic, _LOOK)
            self._telemetry.away = ""
            log.info("%s: Kafka at %s answers again", self._topic, self._servers)

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._alarmed.get(text, 0.0):
            self._alarmed = {text: now + _ALARM}
            log.error("%s; trying again", text)


def _properties(kafka: Kafka, stream: str) -> dict[str, object]:
    own = dict(_PROPERTIES)
    if kafka.properties.get("group.protocol", "classic") == "consumer":
        own = {name: value for name, value in own.items() if name not in _NOT_WITH_KIP_848}
    return {**own, **kafka.client, "group.id": f"{kafka.group}-{stream}"}


def topic_id(kafka: Kafka, topic: str) -> str:
    """What tells this topic from another one that had its name."""
    admin = AdminClient(kafka.client, logger=log)
    try:
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=_TIMEOUT)[topic].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise SourceError(f"{kafka.servers} has no topic {topic}: create it with `runtide topics`") from error
        raise SourceError(f"Kafka at {kafka.servers} does not answer: {error.args[0].str()}") from error
    return str(described.topic_id)
