"""The link to Kafka. The only file of the SDK that knows confluent_kafka."""

from __future__ import annotations

import ctypes
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import confluent_kafka.admin  # noqa: F401 - list_topics() would import it in the thread, and a child forked meanwhile hang
from confluent_kafka import KafkaError, KafkaException, Producer

from runtide._link import Chunk, Parcel, ParcelError, TroubleError
from runtide._report import warn
from runtide_schemas import CodecError, Kafka, Stream, split
from runtide_schemas.kafka import MAX_MESSAGE_BYTES, SCHEMAS
from runtide_schemas.registry import Registry, RegistryError, frame

_log = logging.getLogger("runtide.kafka")
# May be overridden by RUNTIDE_KAFKA_<PROPERTY>. Measured: zstd 3 saves a tenth of zstd 1's bytes for 0.03 core-seconds
# per million points, lz4 and smaller batches cost more of both, and linger.ms does nothing: see `_wait`.
_DEFAULTS = {
    "compression.type": "zstd",
    "compression.level": 3,
    "batch.size": 1 << 20,
    "queue.buffering.max.kbytes": 32 << 10,
    "reconnect.backoff.max.ms": 2000,
}
# What the guarantees rest on.
_FIXED = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": 0,
    "message.max.bytes": MAX_MESSAGE_BYTES,
}
# The broker will never take these messages; every other error may pass.
_HOPELESS = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD)
_METADATA_TIMEOUT = 2.0
_LOOK_INTERVAL = 1.0
# Seconds that a call waits for acknowledgements of what it sent, and of what an earlier one sent, while none comes.
_FRESH, _OLD = 0.5, 0.1
_POLL = 0.1
# Seconds without an acknowledgement after which it is said.
_SILENCE = 5.0


class _Quiet:
    """Takes librdkafka's log lines, which would else appear on the stderr of somebody's training."""

    def log(self, level: int, message: str, *arguments: Any) -> None:
        _log.debug(message, *arguments)


class _Shipment:
    """One chunk on its way: which of its records were reported on, and the errors of those that failed."""

    def __init__(self, parcel: Parcel, topic: str, partition: int, chunk: Chunk) -> None:
        self.parcel = parcel
        self.topic = topic
        self.partition = partition
        self.chunk = chunk
        self.heard = time.monotonic()
        self.reported: set[int] = set()
        self.errors: dict[int, KafkaError] = {}
        self._alone: set[int] = set()

    def report(self, number: int, error: KafkaError | None, _: object) -> None:
        """Called back by the client for every record."""
        self.heard = time.monotonic()
        self.reported.add(number)
        if error is not None:
            self.errors[number] = error

    @property
    def left(self) -> int:
        """Records that nothing is known of yet."""
        return len(self.chunk.entries) - len(self.reported)

    def refused(self) -> int | None:
        """A record that the broker will not take and that has not been sent alone yet; it is to be sent now."""
        for number, error in self.errors.items():
            if error.code() in _HOPELESS and number not in self._alone:
                self._alone.add(number)
                self.reported.discard(number)
                del self.errors[number]
                return number
        return None


class KafkaLink:
    """Delivers records to the topics of their streams.

    A chunk stays under way until the broker has said of each of its records what became of it, however many calls of
    `deliver` that takes: a partition that nobody leads holds up nothing but what goes there.

    Args:
        kafka: The cluster.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.name = f"Kafka at {kafka.servers}"
        properties = frozenset(kafka.properties.items())
        self.identity: tuple[object, ...] = (kafka.servers, kafka.prefix, kafka.registry, properties)
        self._kafka = kafka
        self._producer: Producer | None = None
        self._error = ""
        self._partitions: dict[str, int] = {}
        self._looked = -_LOOK_INTERVAL
        self._announced: set[str] = set()
        self._under_way: dict[tuple[int, str], _Shipment] = {}
        self._registry = Registry(kafka.registry) if kafka.registry else None

    def deliver(self, parcel: Parcel, chunks: list[Chunk], stopped: Callable[[], bool]) -> bool:
        """See `Link.deliver`."""
        try:
            shipments = [shipment for chunk in chunks if (shipment := self._ship(parcel, chunk))]
            self._wait(shipments, stopped)
        except (KafkaException, BufferError) as error:
            self.close()
            raise TroubleError(f"{self.name}: {_text(error)}") from error
        except RegistryError as error:
            raise TroubleError(str(error)) from error
        failed = [self._settle(shipment) for shipment in shipments]
        if reasons := [reason for reason in failed if reason]:
            self.close()
            raise ParcelError(f"{self.name} did not take records: {reasons[0]}")
        waiting = [shipment for shipment in shipments if shipment.left]
        for shipment in waiting:
            if (silence := time.monotonic() - shipment.heard) > _SILENCE and not stopped():
                why = self._error or f"partition {shipment.partition} of {shipment.topic} has been silent"
                raise ParcelError(f"{self.name} does not answer: {why} (for {silence:.0f} s)")
        return bool(waiting)

    def finish(self, parcel: Parcel) -> None:
        """See `Link.finish`: the stream `runs` says it."""

    def close(self) -> None:
        """See `Link.close`."""
        producer, self._producer = self._producer, None
        self._under_way = {}
        if producer is not None:
            producer.purge()
            producer.poll(0)
            _mortalise(producer)
        self._partitions = {}
        self._looked = -_LOOK_INTERVAL

    def _open(self) -> Producer:
        if self._producer is None:
            properties = {**_DEFAULTS, **self._kafka.client, **_FIXED, "error_cb": self._note}
            self._producer = Producer(properties, logger=_Quiet())
            _immortalise(self._producer)
        return self._producer

    def _note(self, error: KafkaError) -> None:
        self._error = error.str()

    def _prepare(self, chunk: Chunk) -> int:
        """Number of partitions of the chunk's topic, whose schema is announced; 0 when a topic is not there."""
        topics = [self._kafka.topic(name) for name in (chunk.stream, SCHEMAS)]
        if not all(topic in self._partitions for topic in topics):
            self._look()
        for topic in topics:
            if topic not in self._partitions:
                where = f"the topic {topic} is not on {self._kafka.servers}, or may not be read"
                warn(f"topic {topic}", f"{where}: create it with `runtide topics`. Records wait in the outbox")
                return 0
        if chunk.schema_json and chunk.schema_json not in self._announced:
            self._announce(Stream(chunk.stream, chunk.schema_json))
        if chunk.schema_json and self._registry:
            self._registry.register(topics[0], chunk.schema_json)  # now, while nothing of the chunk is under way
        return self._partitions[topics[0]]

    def _look(self) -> None:
        """See which topics there are. All are asked for: a broker may create the one that is asked for by name."""
        now = time.monotonic()
        if now - self._looked < _LOOK_INTERVAL:
            return
        self._looked = now
        producer = self._open()
        try:
            topics = producer.list_topics(timeout=_METADATA_TIMEOUT).topics
        except KafkaException as error:
            producer.poll(0)  # for the reason, which comes to `_note`
            raise TroubleError(f"{self.name} does not answer: {self._error or _text(error)}") from error
        self._partitions = {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def _announce(self, stream: Stream) -> None:
        """Tell readers, who may not know the schema yet, what its fingerprint stands for."""

        def report(error: KafkaError | None, _: object) -> None:
            if error is not None:
                self._announced.discard(stream.schema_json)

        value = json.dumps({"stream": stream.name, "schema": stream.schema_json})
        topic = self._kafka.topic(SCHEMAS)
        self._open().produce(topic, value, stream.prefix[2:].hex(), on_delivery=report)
        self._announced.add(stream.schema_json)

    def _ship(self, parcel: Parcel, chunk: Chunk) -> _Shipment | None:
        """Send a chunk, unless the stream has one under way; None when there is nowhere to send it."""
        key = parcel.writer, chunk.stream
        if shipment := self._under_way.get(key):
            shipment.parcel = parcel
            return shipment
        if not (count := self._prepare(chunk)):
            return None
        shipment = _Shipment(parcel, self._kafka.topic(chunk.stream), parcel.partition(chunk.stream, count), chunk)
        self._under_way[key] = shipment
        for number in range(len(chunk.entries)):
            self._produce(shipment, number)
        return shipment

    def _wait(self, shipments: list[_Shipment], stopped: Callable[[], bool]) -> None:
        producer, since = self._open(), time.monotonic()
        patience = _FRESH if any(shipment.heard >= since - _FRESH for shipment in shipments) else _OLD
        poll = _POLL if len(self._under_way) == len(shipments) else _POLL / 10
        while any(shipment.left for shipment in shipments) and not stopped():
            # flush() does not wait for linger.ms: nothing is to come that could go with it. It returns when the
            # producer has nothing left, which others may keep from coming true.
            producer.flush(poll)
            for shipment in shipments:
                # The broker refuses batches: what is alone in its batch is refused for its own sake.
                if not shipment.left and (number := shipment.refused()) is not None:
                    self._produce(shipment, number)
            if time.monotonic() - max([since, *(shipment.heard for shipment in shipments)]) > patience:
                return

    def _produce(self, shipment: _Shipment, number: int) -> None:
        entry, _ = shipment.chunk.entries[number]
        parcel = shipment.parcel
        try:
            self._open().produce(
                shipment.topic,
                self._value(shipment, entry.payload),
                f"{parcel.run_id}/{parcel.writer:016x}",
                shipment.partition,
                on_delivery=partial(shipment.report, number),
                timestamp=entry.appended // 1000,
            )
        except KafkaException as error:
            if error.args[0].code() not in _HOPELESS:
                raise
            shipment.report(number, error.args[0], None)

    def _value(self, shipment: _Shipment, payload: bytes) -> bytes:
        """A record as it goes onto its topic: with a registry's number in front, where there is a registry."""
        if self._registry is None or not shipment.chunk.schema_json:
            return payload
        try:
            body = split(payload)[1]
        except CodecError:  # readers put it to the dead letters
            return payload
        return frame(self._registry.register(shipment.topic, shipment.chunk.schema_json), body)

    def _settle(self, shipment: _Shipment) -> str:
        """Advance the stream over what was taken or never will be; returns why it stopped before the end."""
        parcel, chunk, position = shipment.parcel, shipment.chunk, shipment.chunk.offset
        for number, (entry, end) in enumerate(chunk.entries):
            error = shipment.errors.get(number)
            if error is not None and error.code() not in _HOPELESS:
                parcel.advance(chunk.stream, position)
                return error.str()
            if number not in shipment.reported:
                parcel.advance(chunk.stream, position)
                return ""
            if error is not None:
                warn(
                    f"skipped {parcel.writer} {chunk.stream} {end}",
                    f"a record of {parcel.run_id} ({chunk.stream}, {len(entry.payload)} bytes) is lost: the topic "
                    f"{shipment.topic} refuses it: {error.str()}; see `runtide topics --check`",
                )
            position = end
        parcel.advance(chunk.stream, chunk.end)
        del self._under_way[parcel.writer, chunk.stream]
        return ""


def _text(error: Exception) -> str:
    return error.args[0].str() if isinstance(error, KafkaException) else str(error)


def _immortalise(producer: Producer) -> None:
    """Keep a producer from being destroyed unless by `close`.

    Its destructor joins threads, which a forked child does not have, and which may call back into an interpreter
    that ends: it would hang.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))


def _mortalise(producer: Producer) -> None:
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(producer))
