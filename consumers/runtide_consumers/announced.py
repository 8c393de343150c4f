"""Schemas of records that another version wrote: what writers announce on a topic, and what a registry numbers."""

from __future__ import annotations

import json
import logging
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from fastavro.schema import SchemaParseException

from runtide_consumers._errors import SourceError
from runtide_schemas import STREAMS, Kafka, Stream
from runtide_schemas.kafka import SCHEMAS
from runtide_schemas.registry import Registry, RegistryError, UnknownSchemaError, unframe

log = logging.getLogger("runtide.consumer")

# Seconds between two looks at what is announced, or for the same number, and that one look may take.
_LOOK, _TIMEOUT = 2.0, 5.0
# Numbers of which is remembered that nobody could be asked, or that nobody knows them.
_MISSES = 10_000


class Announced:
    """Schemas of one stream, by the bytes that stand in front of its records.

    Args:
        kafka: The cluster with the topic of the schemas, and the registry.
        stream: Name of the stream.
    """

    def __init__(self, kafka: Kafka, stream: str) -> None:
        self._stream = stream
        self._topic = kafka.topic(SCHEMAS)
        self._found = {STREAMS[stream].prefix: STREAMS[stream].schema_json}
        self._looked = -_LOOK
        # Until when there is no use in asking again, and why nobody could be asked.
        self._misses: dict[bytes, tuple[float, SourceError | None]] = {}
        self._registry = Registry(kafka.registry) if kafka.registry else None
        self._properties = {**kafka.client, "group.id": f"{kafka.group}-schemas", "enable.auto.commit": False}

    def find(self, prefix: bytes) -> str | None:
        """Schema (JSON text) of a prefix; None when nobody has announced one of this stream.

        Raises:
            SourceError: Nobody can be asked now.
        """
        if prefix in self._found:
            return self._found[prefix]
        until, error = self._misses.get(prefix, (0.0, None))
        if time.monotonic() >= until:
            error = self._ask(prefix)
            if len(self._misses) >= _MISSES:
                self._misses.clear()
            self._misses[prefix] = time.monotonic() + _LOOK, error
        if error:
            raise error
        return self._found.get(prefix)

    def _ask(self, prefix: bytes) -> SourceError | None:
        """Look for a prefix where it would be; why nobody could be asked."""
        try:
            if framed := unframe(prefix):
                if self._registry:
                    self._take(prefix, self._registry.schema(framed[0]))
            elif time.monotonic() - self._looked >= _LOOK:
                self._looked = time.monotonic()
                self._read()
        except UnknownSchemaError:
            return None
        except RegistryError as error:
            return SourceError(str(error))
        except SourceError as error:
            return error
        return None

    def _read(self) -> None:
        """Read the topic from its start to its present end."""
        consumer = Consumer(self._properties, logger=log)
        try:
            where = TopicPartition(self._topic, 0, 0)
            _, end = consumer.get_watermark_offsets(where, _TIMEOUT)
            consumer.assign([where])
            deadline = time.monotonic() + _TIMEOUT
            while end and consumer.position([where])[0].offset < end:
                if time.monotonic() > deadline:
                    raise SourceError(f"{self._topic} cannot be read to its end")
                for message in consumer.consume(100, 0.2):
                    if not message.error():
                        self._announce(message.value() or b"")
        except KafkaException as error:
            raise SourceError(
                f"cannot read the announced schemas from {self._topic} ({error.args[0].str()}); "
                "`runtide topics --check` says whether it is there"
            ) from error
        finally:
            consumer.close()

    def _announce(self, value: bytes) -> None:
        try:
            fields = json.loads(value)
            stream = Stream(fields["stream"], fields["schema"])
            if stream.name == self._stream:
                self._take(stream.prefix, stream.schema_json)
        except (ValueError, KeyError, TypeError, RecursionError, SchemaParseException) as error:
            log.warning("%s holds something that is no schema: %.200s", self._topic, error)

    def _take(self, prefix: bytes, schema_json: str) -> None:
        """Keep a schema, if it is one of this stream's records."""
        try:
            schema = json.loads(schema_json)
        except (ValueError, RecursionError):  # a registry has schemas of other kinds too
            return
        if not isinstance(schema, dict) or schema.get("type") != "record" or not isinstance(schema.get("fields"), list):
            return
        if str(schema.get("name")).rpartition(".")[2] == STREAMS[self._stream].schema["name"].rpartition(".")[2]:
            self._found[prefix] = schema_json
