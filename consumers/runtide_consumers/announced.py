"""The schemas that writers announce, for records of other versions than this one."""

from __future__ import annotations

import json
import logging
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from fastavro.schema import SchemaParseException

from runtide_schemas import STREAMS, Kafka, Stream
from runtide_schemas.kafka import SCHEMAS

log = logging.getLogger("runtide.consumer")

# Seconds between two looks at what is announced, and that one look may take.
_LOOK, _TIMEOUT = 2.0, 10.0


class Announced:
    """Schemas of one stream, by the bytes that stand in front of its records.

    Args:
        kafka: The cluster with the topic of the schemas.
        stream: Name of the stream.
    """

    def __init__(self, kafka: Kafka, stream: str) -> None:
        self._stream = stream
        self._topic = kafka.topic(SCHEMAS)
        self._found = {STREAMS[stream].prefix: STREAMS[stream].schema_json}
        self._looked = -_LOOK
        self._properties = {**kafka.client, "group.id": f"{kafka.group}-schemas", "enable.auto.commit": False}

    def find(self, prefix: bytes) -> str | None:
        """Schema (JSON text) of a prefix; None when nobody has announced it, or nobody can be asked now."""
        if prefix not in self._found and time.monotonic() - self._looked >= _LOOK:
            self._looked = time.monotonic()
            try:
                self._read()
            except KafkaException as error:
                log.error("cannot read the announced schemas from %s: %s", self._topic, error)
        return self._found.get(prefix)

    def _read(self) -> None:
        """Read the topic from its start to its present end."""
        consumer = Consumer(self._properties, logger=log)
        try:
            where = TopicPartition(self._topic, 0, 0)
            _, end = consumer.get_watermark_offsets(where, _TIMEOUT)
            consumer.assign([where])
            deadline = time.monotonic() + _TIMEOUT
            while consumer.position([where])[0].offset < end and time.monotonic() < deadline:
                for message in consumer.consume(100, 0.2):
                    if not message.error():
                        self._take(message.value() or b"")
        finally:
            consumer.close()

    def _take(self, value: bytes) -> None:
        try:
            fields = json.loads(value)
            stream = Stream(fields["stream"], fields["schema"])
            if stream.name == self._stream and json.loads(stream.schema_json)["type"] == "record":
                self._found[stream.prefix] = stream.schema_json
        except (ValueError, KeyError, TypeError, SchemaParseException) as error:
            log.warning("%s holds something that is no schema: %s", self._topic, error)
