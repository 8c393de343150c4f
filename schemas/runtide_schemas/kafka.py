"""Where Kafka is and what its topics are called: the settings that producers and consumers share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Settings of ours under the prefix that else stands for properties of the client library.
_OWN = ("RUNTIDE_KAFKA_CONFIG", "RUNTIDE_KAFKA_TOPIC_PREFIX", "RUNTIDE_KAFKA_GROUP")
_PREFIX = "RUNTIDE_KAFKA_"

SCHEMAS = "schemas"
DEAD_LETTERS = "dead_letters"
# Bytes of the largest message that the topics take: the longest record of the SDK is about a quarter of it.
MAX_MESSAGE_BYTES = 8 << 20


class KafkaSettingsError(ValueError):
    """A setting of Kafka cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class Kafka:
    """A Kafka cluster as the settings name it.

    Args:
        servers: host:port of one or more brokers, separated by commas.
        prefix: What the names of the topics begin with.
        group: What the names of the consumer groups begin with.
        properties: More properties of librdkafka, such as `security.protocol`; never logged, some are secrets.
        registry: URL of a Confluent Schema Registry, empty for none.
    """

    servers: str
    prefix: str = "runtide."
    group: str = "runtide"
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    registry: str = field(default="", repr=False)

    @property
    def client(self) -> dict[str, Any]:
        """Properties that every client of the cluster starts with."""
        return {"bootstrap.servers": self.servers, "client.id": "runtide", **self.properties}

    def topic(self, name: str) -> str:
        """Topic of a stream, of the announced schemas or of the dead letters."""
        return self.prefix + name


def find_kafka(environ: Mapping[str, str] = os.environ, servers: str = "") -> Kafka | None:
    """The cluster that the settings name; None when they name none.

    Args:
        environ: RUNTIDE_KAFKA (host:port,…), RUNTIDE_KAFKA_CONFIG (a file of `property=value` lines), and any property
            of librdkafka as RUNTIDE_KAFKA_SASL_USERNAME for `sasl.username`. A variable wins over the file.
        servers: Given by an argument: wins over the settings.

    Raises:
        KafkaSettingsError: The file cannot be read.
    """
    properties = _read(environ["RUNTIDE_KAFKA_CONFIG"]) if environ.get("RUNTIDE_KAFKA_CONFIG") else {}
    properties |= {
        name.removeprefix(_PREFIX).lower().replace("_", "."): value
        for name, value in environ.items()
        if name.startswith(_PREFIX) and name not in _OWN
    }
    listed = properties.pop("bootstrap.servers", "")
    servers = servers or environ.get("RUNTIDE_KAFKA") or listed
    if not servers:
        return None
    return Kafka(
        servers=servers,
        prefix=environ.get("RUNTIDE_KAFKA_TOPIC_PREFIX", Kafka.prefix),
        group=environ.get("RUNTIDE_KAFKA_GROUP") or Kafka.group,
        properties=properties,
        registry=environ.get("RUNTIDE_SCHEMA_REGISTRY_URL", "").rstrip("/"),
    )


def _read(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise KafkaSettingsError(f"RUNTIDE_KAFKA_CONFIG names {path}, which cannot be read: {error}") from error
    pairs = {}
    for number, line in enumerate(lines, 1):
        if line and line[0] not in "#!;[":
            name, equals, value = line.partition("=")
            if not equals:  # without the line: it may be half a password
                raise KafkaSettingsError(f"{path}, line {number}, is not of the form property=value")
            pairs[name.strip()] = value.strip()
    return pairs
