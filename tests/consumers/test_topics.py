"""The topics as `runtide topics` makes, mends and checks them, in a real Kafka."""

import json
import re
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from runtide_consumers.admin import topics
from runtide_consumers.topics import Wishes, _wanted, check_topics, make_topics
from runtide_schemas import STREAMS, Kafka

DAY = 24 * 3600 * 1000
# Another user than the broker itself may do nothing.
GUARDED = """
listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="broker" password="b" user_broker="b" user_alice="secret of alice";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:broker
"""


@pytest.fixture
def cluster(kafka: Any) -> Kafka:
    return kafka.fresh()


@pytest.fixture
def run(cluster: Kafka, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command against the cluster: exit code, lines printed, lines of complaint."""
    monkeypatch.setenv("RUNTIDE_KAFKA", cluster.servers)
    monkeypatch.setenv("RUNTIDE_KAFKA_TOPIC_PREFIX", cluster.prefix)

    def command(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = topics([*arguments])
        said = capfd.readouterr()
        return code, said.out.replace(cluster.prefix, "").splitlines(), said.err.splitlines()

    return command


def settings(cluster: Kafka, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, cluster.topic(name))
    # A client that is not held goes, and its requests with it.
    admin = AdminClient(cluster.client)
    found = admin.describe_configs([resource])[resource].result()
    return {entry.name: entry.value for entry in found.values()}


def partitions(cluster: Kafka, name: str) -> int:
    return len(AdminClient(cluster.client).list_topics(timeout=30).topics[cluster.topic(name)].partitions)


def create(cluster: Kafka, name: str, count: int, **config: str) -> None:
    new = NewTopic(cluster.topic(name), count, 1, config={key.replace("_", "."): v for key, v in config.items()})
    admin = AdminClient(cluster.client)
    admin.create_topics([new])[new.topic].result()


def announced(cluster: Kafka) -> dict[str, Any]:
    """What stands in the topic of the schemas, by key."""
    reader = Consumer(
        {**cluster.client, "group.id": "x", "auto.offset.reset": "earliest", "enable.partition.eof": True}
    )
    reader.subscribe([cluster.topic("schemas")])
    found = {}
    while True:
        message = reader.poll(30)
        assert message is not None
        if message.error():
            reader.close()
            return found
        found[message.key().decode()] = json.loads(message.value())


def test_all_topics_are_made_once(run: Callable[..., Any], cluster: Kafka) -> None:
    """A fresh cluster gets a topic per stream, one of schemas, one of dead letters; again there is nothing to do."""
    names = [*STREAMS, "schemas", "dead_letters"]
    code, lines, _ = run("--check")
    assert code == 1
    assert [line.split()[4].rstrip(",") for line in lines] == names
    assert run("--retention", "-1") == (0, [f"{name}: created" for name in names], [])
    assert run() == (0, [f"{name}: as it should be" for name in names], [])
    assert run("--check") == (0, ["all topics are as they should be"], [])
    assert [partitions(cluster, name) for name in names] == [*(4 for _ in STREAMS), 1, 4]
    found = settings(cluster, "metrics")
    assert {name: found[name] for name in ("cleanup.policy", "retention.ms", "max.message.bytes")} == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "max.message.bytes": str(8 << 20),
    }
    assert settings(cluster, "schemas")["cleanup.policy"] == "compact"
    assert settings(cluster, "dead_letters")["retention.ms"] == str(30 * DAY)


def test_every_schema_is_announced(run: Callable[..., Any], cluster: Kafka) -> None:
    """The topic of schemas has each stream's schema under its fingerprint, also when it is announced again."""
    run()
    run()
    wanted = {s.prefix[2:].hex(): {"stream": s.name, "schema": s.schema_json} for s in STREAMS.values()}
    assert announced(cluster) == wanted


def test_what_is_too_small_is_said_and_raised_and_nothing_is_lowered(
    run: Callable[..., Any], cluster: Kafka, until: Callable[..., None]
) -> None:
    """--check names each fault and changes nothing; without it they are mended; what is larger stays."""
    create(cluster, "metrics", 1, retention_ms="60000", cleanup_policy="compact", message_timestamp_type="CreateTime")
    create(cluster, "runs", 9, retention_ms="-1", max_message_bytes="100000000", message_timestamp_type="LogAppendTime")
    create(cluster, "schemas", 1)
    absent = {*STREAMS, "dead_letters"} - {"metrics", "runs"}
    until(
        lambda: sum("there is no" in line for line in run("--check")[1]) == len(absent),
        "the brokers have learnt of them",
    )
    code, lines, _ = run("--check", "--partitions", "2", "--retention", "3")
    assert code == 1
    faults = [line.split(" and should")[0] for line in lines if not line.startswith("there is no")]
    assert faults == [
        "metrics: cleanup.policy is compact",
        "metrics: message.timestamp.type is CreateTime",
        "metrics: partitions is 1",
        "metrics: max.message.bytes is 1048588",
        "metrics: retention.ms is 60000",
        "schemas: cleanup.policy is delete",
    ]
    assert partitions(cluster, "metrics") == 1
    code, lines, _ = run("--partitions", "2", "--retention", "3")
    assert code == 0
    done = dict(line.split(" ")[:2] for line in lines)
    assert done == {f"{name}:": "created" for name in absent} | {
        "metrics:": "changed:",
        "runs:": "as",
        "schemas:": "changed:",
    }
    until(lambda: run("--check", "--partitions", "2", "--retention", "3")[0] == 0, "the brokers have learnt of it")
    assert partitions(cluster, "metrics") == 2
    assert partitions(cluster, "runs") == 9
    assert settings(cluster, "metrics")["retention.ms"] == str(3 * DAY)
    assert settings(cluster, "runs")["retention.ms"] == "-1"
    assert settings(cluster, "runs")["max.message.bytes"] == "100000000"
    assert run("--check", "--retention", "4")[0] == 1
    assert run() == (0, [f"{name}: as it should be" for name in [*STREAMS, "schemas", "dead_letters"]], [])


def test_more_copies_than_asked_are_not_made_up(run: Callable[..., Any], cluster: Kafka) -> None:
    """More copies than brokers are refused before anything is made."""
    code, lines, complaint = run("--replication", "3")
    assert (code, lines) == (2, [])
    assert complaint == [
        "runtide topics: --replication 3: the cluster has 1 broker, and each keeps one copy; ask for fewer copies"
    ]
    assert check_topics(cluster, ["runs"]) != []


def test_missing_topics_are_named_with_what_to_do(cluster: Kafka) -> None:
    """A consumer's start says which of its topics are missing, one line each, and nothing when all are there."""
    lines = check_topics(cluster, ["runs", "metrics"])
    assert len(lines) == 3
    assert cluster.topic("runs") in lines[0] and "runtide topics" in lines[0]
    make_topics(cluster, Wishes())
    assert check_topics(cluster, ["runs", "metrics"]) == []


def test_nobody_there_and_nothing_said_are_one_line_each(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a broker the address and the reason are said, without an address what to set; nothing else is printed."""
    monkeypatch.setattr("runtide_consumers.topics._TIMEOUT", 0.5)
    code, _, complaint = run("--kafka", "127.0.0.1:1")
    assert code == 2
    assert len(complaint) == 1
    assert re.search(r"no Kafka answers at 127\.0\.0\.1:1 .*refused", complaint[0])
    monkeypatch.delenv("RUNTIDE_KAFKA")
    assert run()[::2] == (
        2,
        ["runtide topics: nothing says where Kafka is: set RUNTIDE_KAFKA=host:port or use --kafka"],
    )


def test_two_may_make_them_at_once(cluster: Kafka) -> None:
    """Two that start together both succeed: `runtide up` on two machines."""
    barrier, answers = threading.Barrier(2), []

    def start() -> None:
        barrier.wait()
        answers.append(make_topics(cluster, Wishes(partitions=2)))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 2
    assert partitions(cluster, "metrics") == 2


def test_who_may_not_is_told_so_without_the_password(
    start_broker: Callable[..., Any], cluster: Kafka, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password and a user without rights are two different lines, and neither has the password in it."""
    broker = start_broker(settings=GUARDED)
    for name, value in {
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "PLAIN",
        "SASL_USERNAME": "alice",
    }.items():
        monkeypatch.setenv(f"RUNTIDE_KAFKA_{name}", value)
    monkeypatch.setenv("RUNTIDE_KAFKA_SASL_PASSWORD", "secret of alice")
    code, _, complaint = run("--kafka", broker.address)
    assert code == 2
    assert len(complaint) == 1
    assert "does not allow this user" in complaint[0]
    monkeypatch.setattr("runtide_consumers.topics._TIMEOUT", 3.0)
    monkeypatch.setenv("RUNTIDE_KAFKA_SASL_PASSWORD", "secret of bob")
    code, _, complaint = run("--kafka", broker.address)
    assert code == 2
    assert len(complaint) == 1
    assert "refuses who we say we are" in complaint[0]
    assert "secret" not in complaint[0]


def test_what_is_delivered_late_is_kept(start_broker: Callable[..., Any], until: Callable[..., None]) -> None:
    """Records a month old are kept as long as new ones: time runs from their arrival."""
    broker = start_broker(settings="log.retention.check.interval.ms=200\nlog.initial.task.delay.ms=200\n")
    cluster = Kafka(servers=broker.address)
    create(cluster, "control", 1, retention_ms=str(7 * DAY))
    make_topics(cluster, Wishes(partitions=1))
    producer = Producer(cluster.client)
    reader = Consumer({**cluster.client, "group.id": "x"})

    def late(name: str) -> None:
        producer.produce(cluster.topic(name), b"late", timestamp=1_700_000_000_000)
        producer.flush()

    def first(name: str) -> int:
        return int(reader.get_watermark_offsets(TopicPartition(cluster.topic(name), 0), timeout=30)[0])

    late("metrics")
    for gone in (1, 2):  # twice: a whole round over all topics lies between
        late("control")
        until(lambda gone=gone: first("control") == gone, "what is old is deleted where the writers' times count")
    assert first("metrics") == 0
    reader.close()


@pytest.mark.parametrize(
    ("copies", "mended"), [(1, {"replication"}), (2, {"replication"}), (3, {"min.insync.replicas"})]
)
def test_a_topic_of_few_copies_stays_writable(copies: int, mended: set[str]) -> None:
    """Two copies in step are only asked of a topic that has three: else nothing could be written to it."""
    cluster = SimpleNamespace(brokers=range(3))
    topic = _wanted(Kafka(servers="x"), Wishes(replication=3), cluster)[0]
    found = SimpleNamespace(partitions={0: SimpleNamespace(replicas=range(copies))})
    old = {**topic.settings, "min.insync.replicas": "1"}
    faults = topic.faults(found, {name: SimpleNamespace(value=value) for name, value in old.items()})
    assert faults.keys() == mended
