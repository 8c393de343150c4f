"""The topics in Kafka: what they must be like, and making them so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from runtide_consumers._errors import ConsumerError, SetupError, SourceError
from runtide_schemas import STREAMS, Kafka, Stream
from runtide_schemas.kafka import DEAD_LETTERS, MAX_MESSAGE_BYTES, SCHEMAS

_DAY = 24 * 3600 * 1000  # milliseconds
# Seconds that a request may take.
_TIMEOUT = 6.0
# Seconds between two looks at what is being made.
_PAUSE = 0.05
_DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
# What the client says that it is: the reason stands in what it reported before.
_AWAY = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION)


@dataclass(frozen=True)
class Wishes:
    """What somebody asked for; None: a default for new topics, and anything goes for those that are there.

    Args:
        partitions: Of each stream's topic.
        replication: Copies of each partition.
        retention: Days that streams are kept; -1 for ever.
    """

    partitions: int | None = None
    replication: int | None = None
    retention: int | None = None


@dataclass(frozen=True)
class _Topic:
    """A topic as it should be.

    Args:
        name: Its name.
        partitions: Of a new one.
        replication: Of a new one.
        settings: Of a new one.
        exact: Settings that an old one must have as they are.
        least: Settings, `partitions` and `replication` that must not be smaller in an old one; -1 is without bound.
    """

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]
    exact: Sequence[str]
    least: Mapping[str, int] = field(default_factory=dict)

    def faults(self, found: TopicMetadata, settings: Mapping[str, ConfigEntry]) -> dict[str, tuple[str, str]]:
        """What an old topic has, and what it should have, by setting."""
        values = {name: entry.value or "" for name, entry in settings.items()}
        copies = min((len(one.replicas) for one in found.partitions.values()), default=0)
        values |= {"partitions": str(len(found.partitions)), "replication": str(copies)}
        should = {**self.settings, "partitions": str(self.partitions), "replication": str(self.replication)}
        faults = [name for name in self.exact if values[name] != should[name]]
        least = dict(self.least)
        if copies < 3:
            least.pop("min.insync.replicas", None)  # with it one broker away would stop all writing
        faults += [name for name, bound in least.items() if _size(values[name]) < _size(bound)]
        return {name: (values[name], should[name]) for name in faults}


def _size(value: object) -> float:
    number = int(str(value))
    return float("inf") if number < 0 else number


def check_topics(kafka: Kafka, streams: Iterable[str]) -> list[str]:
    """What is missing for the streams to be read, one line each with what to do; needs no more than to see topics.

    Raises:
        SourceError: No broker answers.
        SetupError: None lets us in.
    """
    there = _Cluster(kafka).metadata().topics
    return [_missing(kafka.topic(name)) for name in (*streams, SCHEMAS) if kafka.topic(name) not in there]


def faults_of_topics(kafka: Kafka, wishes: Wishes) -> list[str]:
    """What is missing or not as it should be, one line each with what to do; changes nothing.

    Raises:
        SourceError: No broker answers.
        SetupError: One refuses.
    """
    cluster = _Cluster(kafka)
    metadata = cluster.metadata()
    wanted = _wanted(kafka, wishes, metadata)
    settings = cluster.settings([topic.name for topic in wanted if topic.name in metadata.topics])
    lines = []
    for topic in wanted:
        if topic.name not in settings:
            lines.append(_missing(topic.name))
            continue
        for name, (value, should) in topic.faults(metadata.topics[topic.name], settings[topic.name]).items():
            how = "Kafka's kafka-reassign-partitions changes it" if name == "replication" else "run `runtide topics`"
            lines.append(f"{topic.name}: {name} is {value} and should be {should}: {how}")
    return lines


def make_topics(kafka: Kafka, wishes: Wishes) -> list[str]:
    """Make the topics, raise what is too small in those that are there, and announce the schemas; one line per topic.

    Raises:
        SourceError: No broker answers.
        SetupError: One refuses.
    """
    cluster = _Cluster(kafka)
    metadata = cluster.metadata()
    wanted = _wanted(kafka, wishes, metadata)
    created = cluster.create([topic for topic in wanted if topic.name not in metadata.topics])
    settings = cluster.settings([topic.name for topic in wanted if topic.name in metadata.topics])
    lines, expected = [], {}
    for topic in wanted:
        old = topic.name in settings
        faults = topic.faults(metadata.topics[topic.name], settings[topic.name]) if old else {}
        cluster.change(topic, faults)
        done = [f"{name} {value} → {should}" for name, (value, should) in faults.items() if name != "replication"]
        line = "created" if topic.name in created else f"changed: {', '.join(done)}" if done else "as it should be"
        if "replication" in faults:
            line += f"; replication stays {faults['replication'][0]}: only kafka-reassign-partitions changes it"
        lines.append(f"{topic.name}: {line}")
        expected[topic.name] = topic.partitions if topic.name in created or "partitions" in faults else 1
    cluster.wait_for(expected)
    _announce(kafka, STREAMS.values())
    return lines


def _missing(topic: str) -> str:
    return f"there is no topic {topic}, or this user may not see it: create it with `runtide topics`"


def _wanted(kafka: Kafka, wishes: Wishes, metadata: ClusterMetadata) -> list[_Topic]:
    brokers = len(metadata.brokers)
    replication = wishes.replication or (3 if brokers >= 3 else 1)
    if replication > brokers:
        raise SetupError(
            f"--replication {replication}: the cluster has {brokers} broker{'s' * (brokers > 1)}, "
            "and each keeps one copy; ask for fewer copies"
        )
    insync = {"min.insync.replicas": "2"} if replication >= 3 else {}
    least = {"replication": wishes.replication or 1, **{name: int(value) for name, value in insync.items()}}

    def kept(name: str, days: int, shortest: int) -> _Topic:
        retention = days * _DAY if days >= 0 else -1
        settings = {
            "cleanup.policy": "delete",
            "retention.ms": str(retention),
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "compression.type": "producer",
            # With the writers' own times, what a machine delivers a week late would be deleted as soon as it is there.
            "message.timestamp.type": "LogAppendTime",
            **insync,
        }
        bounds = {
            **least,
            "partitions": wishes.partitions or 1,
            "max.message.bytes": MAX_MESSAGE_BYTES,
            "retention.ms": shortest * _DAY if shortest >= 0 else -1,
        }
        exact = ("cleanup.policy", "message.timestamp.type")
        return _Topic(kafka.topic(name), wishes.partitions or 4, replication, settings, exact, bounds)

    days, shortest = (7, 1) if wishes.retention is None else (wishes.retention, wishes.retention)
    announced = _Topic(
        kafka.topic(SCHEMAS), 1, replication, {"cleanup.policy": "compact", **insync}, ["cleanup.policy"], least
    )
    return [*(kept(name, days, shortest) for name in STREAMS), announced, kept(DEAD_LETTERS, 30, 1)]


def _announce(kafka: Kafka, streams: Iterable[Stream]) -> None:
    """Put the streams' schemas where consumers look for one that they do not know."""
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer({**kafka.client, "log_level": 0, "acks": "all", "message.timeout.ms": int(_TIMEOUT * 1000)})
    for stream in streams:
        value = json.dumps({"stream": stream.name, "schema": stream.schema_json})
        producer.produce(kafka.topic(SCHEMAS), value, stream.prefix[2:].hex(), on_delivery=report)
    producer.flush()
    if failed:
        raise _refusal(kafka, failed[0], kafka.topic(SCHEMAS))


class _Cluster:
    """The cluster as its administrator sees it; every method raises SourceError when it is away, else SetupError."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._reported: list[KafkaError] = []
        properties: dict[str, Any] = {**kafka.client, "log_level": 0, "error_cb": self._reported.append}
        try:
            self._admin = AdminClient(properties)
        except KafkaException as error:
            raise SetupError(f"the settings of Kafka cannot be used: {error.args[0].str()}") from error

    def metadata(self) -> ClusterMetadata:
        try:
            return self._admin.list_topics(timeout=_TIMEOUT)
        except KafkaException as error:
            self._admin.poll(0)
            raise _refusal(self._kafka, error.args[0], "the list of topics", self._reported) from error

    def wait_for(self, partitions: Mapping[str, int]) -> None:
        """Wait until brokers know of topics with so many partitions: they learn of them after the answer."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            found = self.metadata().topics
            missing = [n for n, count in partitions.items() if n not in found or len(found[n].partitions) < count]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise SetupError(f"Kafka at {self._kafka.servers} was asked for {missing[0]}, and does not show it")
            time.sleep(_PAUSE)

    def settings(self, names: Sequence[str]) -> dict[str, dict[str, ConfigEntry]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=_TIMEOUT) if names else {}
        return {resource.name: self._result(future, resource.name) for resource, future in futures.items()}

    def create(self, topics: Sequence[_Topic]) -> set[str]:
        """Create topics; returns those that nobody else created meanwhile."""
        new = [
            NewTopic(topic.name, topic.partitions, topic.replication, config=dict(topic.settings)) for topic in topics
        ]
        futures = self._admin.create_topics(new, operation_timeout=_TIMEOUT) if new else {}
        return {
            name
            for name, future in futures.items()
            if self._result(future, name, KafkaError.TOPIC_ALREADY_EXISTS) is not KafkaError.TOPIC_ALREADY_EXISTS
        }

    def change(self, topic: _Topic, faults: Mapping[str, tuple[str, str]]) -> None:
        """Mend what can be mended: not the replication."""
        if "partitions" in faults:
            more = [NewPartitions(topic.name, topic.partitions)]
            self._result(self._admin.create_partitions(more, operation_timeout=_TIMEOUT)[topic.name], topic.name)
        entries = [
            ConfigEntry(name, should, incremental_operation=AlterConfigOpType.SET)
            for name, (_, should) in faults.items()
            if name in topic.settings
        ]
        if entries:
            resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
            futures = self._admin.incremental_alter_configs([resource], request_timeout=_TIMEOUT)
            self._result(futures[resource], topic.name)

    def _result(self, future: Future[Any], topic: str, harmless: int | None = None) -> Any:
        try:
            return future.result()
        except KafkaException as error:
            if error.args[0].code() == harmless:
                return harmless
            raise _refusal(self._kafka, error.args[0], topic, self._reported) from error


def _refusal(kafka: Kafka, error: KafkaError, what: str, reported: Sequence[KafkaError] = ()) -> ConsumerError:
    code = error.code()
    if code in _DENIED:
        return SetupError(f"Kafka at {kafka.servers} does not allow this user: {what}: {error.str()}")
    if code in _AWAY:
        telling = [one for one in reported if one.code() != KafkaError._ALL_BROKERS_DOWN]
        refused = [one for one in telling if one.code() == KafkaError._AUTHENTICATION]
        reason = (refused or telling or [error])[-1].str()
        if refused:
            return SetupError(f"Kafka at {kafka.servers} refuses who we say we are: {reason}")
        return SourceError(f"no Kafka answers at {kafka.servers} (RUNTIDE_KAFKA or --kafka names it): {reason}")
    return SetupError(f"Kafka at {kafka.servers} refuses: {what}: {error.str()}")
