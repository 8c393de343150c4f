"""A home of its own for every test, scripts in processes of their own, and a reader of spool folders."""

import ctypes
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

import runtide
from runtide import _hooks, _outbox, _report
from runtide_schemas import STREAMS, Damage, Kafka, decode, read_header, scan
from runtide_schemas.kafka import MAX_MESSAGE_BYTES, SCHEMAS

DEADLINE = 60.0


class Spooled:
    """What the spool of one home holds."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def writers(self) -> list[Path]:
        return sorted(path for path in (self.home / "spool").glob("*") if len(path.name) == 16)

    def description(self) -> dict[str, Any]:
        """The last event that describes the run: a start, when everything was known before the first drain."""
        return [event for event in self.records("runs") if event["event"] in ("start", "update")][-1]

    def records(self, stream: str, writer: Path | None = None, torn: bool = False) -> list[dict[str, Any]]:
        """Decoded records of a stream; everything must be whole, but for the end of each writer where `torn`."""
        found = []
        for folder in [writer] if writer else self.writers():
            offset = 0
            for path in sorted(folder.glob(f"{stream}-*.seg")):
                assert path.name == f"{stream}-{offset:020d}.seg", "a segment begins where the last one ended"
                data = path.read_bytes()
                offset += len(data)
                header = read_header(data)
                if header is None:
                    assert torn
                    continue
                assert (header.stream, header.schema_json) == (stream, STREAMS[stream].schema_json)
                items, covered = scan(data[header.size :], ended=False)
                assert torn or header.size + covered == len(data)
                for item in items:
                    assert not isinstance(item, Damage), item
                    found.append(decode(STREAMS[stream], item.payload))
        return found

    def points(self, torn: bool = False) -> list[tuple[str, int, float]]:
        """Every point as (key, step, value), in the order of the records."""
        return [
            (key, step, record["values"][number * len(record["steps"]) + position])
            for record in self.records("metrics", torn=torn)
            for position, step in enumerate(record["steps"])
            for number, key in enumerate(record["keys"])
        ]

    def cells(self) -> list[tuple[str, int, str]]:
        """Every value that is no float64, as (key, step, JSON text)."""
        return [
            cell
            for record in self.records("metrics_json")
            for cell in zip(record["keys"], record["steps"], record["values"], strict=True)
        ]

    def end(self) -> dict[str, Any]:
        """The only finish event of the writers that are no children."""
        (event,) = [e for e in self.records("runs") if e["event"] == "finish" and not e["child"]]
        return event


class Topics:
    """The topics of one cluster, as a consumer sees them."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.admin = AdminClient({"bootstrap.servers": kafka.servers})

    def create(self, *names: str, partitions: int = 4, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        topics = [self.kafka.topic(name) for name in names or (*STREAMS, SCHEMAS)]
        config = {"max.message.bytes": str(max_bytes)}
        for made in self.admin.create_topics(
            [NewTopic(topic, partitions, 1, config=config) for topic in topics]
        ).values():
            made.result()
        self._wait(topics)

    def _wait(self, topics: list[str]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not all(map(self._is_ready, topics)):
            assert time.monotonic() < deadline, topics
            threading.Event().wait(0.02)

    def _is_ready(self, topic: str) -> bool:
        """A topic that was made is led by nobody for some milliseconds, and so are those of a broker that hung."""
        found = self.admin.list_topics(timeout=DEADLINE).topics.get(topic)
        if found is None:
            return False
        asked = self.admin.list_offsets({TopicPartition(topic, p): OffsetSpec.latest() for p in found.partitions})
        try:
            return all(offset.result() is not None for offset in asked.values())
        except KafkaException:
            return False

    def delete(self, name: str) -> None:
        for done in self.admin.delete_topics([self.kafka.topic(name)]).values():
            done.result()

    def widen(self, name: str, partitions: int) -> None:
        for done in self.admin.create_partitions([NewPartitions(self.kafka.topic(name), partitions)]).values():
            done.result()

    def messages(self, name: str) -> list[Message]:
        """All messages of a topic, partition by partition, in their order."""
        topic = self.kafka.topic(name)
        self._wait([topic])
        client = {"bootstrap.servers": self.kafka.servers, "group.id": "nobody", "enable.auto.commit": False}
        consumer = Consumer({**client, "fetch.wait.max.ms": 10})
        found: list[Message] = []
        try:
            partitions = self.admin.list_topics(timeout=DEADLINE).topics[topic].partitions
            bounds = [
                (p, *consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=DEADLINE)) for p in partitions
            ]
            consumer.assign([TopicPartition(topic, p, low) for p, low, high in bounds if low < high])
            while len(found) < sum(high - low for _, low, high in bounds):
                message = consumer.poll(DEADLINE)
                assert message is not None and message.error() is None, message
                found.append(message)
        finally:
            consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def records(self, stream: str) -> list[dict[str, Any]]:
        return [decode(STREAMS[stream], message.value()) for message in self.messages(stream)]

    def points(self) -> list[tuple[str, int, float]]:
        """Every point as (key, step, value)."""
        return [
            (key, step, record["values"][number * len(record["steps"]) + position])
            for record in self.records("metrics")
            for position, step in enumerate(record["steps"])
            for number, key in enumerate(record["keys"])
        ]


class MockCluster:
    """librdkafka's own, of one broker, in this process: for what a real broker alone cannot do."""

    def __init__(self, *topics: str, partitions: int) -> None:
        spec = importlib.util.find_spec("confluent_kafka")
        assert spec is not None and spec.origin is not None
        (path,) = (Path(spec.origin).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
        self._lib = ctypes.CDLL(str(path))
        for name in ("rd_kafka_new", "rd_kafka_conf_new", "rd_kafka_mock_cluster_new"):
            getattr(self._lib, name).restype = ctypes.c_void_p
        self._lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        error = ctypes.create_string_buffer(500)
        settings = ctypes.c_void_p(self._lib.rd_kafka_conf_new())
        self._lib.rd_kafka_conf_set(settings, b"log_level", b"0", error, 500)
        self._client = ctypes.c_void_p(self._lib.rd_kafka_new(0, settings, error, 500))
        self._cluster = ctypes.c_void_p(self._lib.rd_kafka_mock_cluster_new(self._client, 1))
        self.address = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        for topic in topics:
            assert self._lib.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1) == 0

    def lead(self, topic: str, partition: int, leader: int) -> None:
        """Let a broker lead a partition: 1, or -1 for none."""
        self._lib.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, leader)

    def close(self) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._client)


class Ingest:
    """The process that takes records for a stack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = self.launch()
        self.token = (folder / "ingest.token").read_text().strip()

    def launch(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runtide_stack.ingest", "--dir", str(self.folder), "--port", str(self.port)]
        with self.folder.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline
            threading.Event().wait(0.02)
        return self.process

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def ingest(tmp_path: Path, home: Path) -> Iterator[Ingest]:
    running = Ingest(tmp_path / "stack")
    yield running
    running.kill()


@pytest.fixture
def stack(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """A stack that runs go to."""
    monkeypatch.setenv("RUNTIDE_URL", ingest.url)
    monkeypatch.setenv("RUNTIDE_TOKEN", ingest.token)
    return ingest


@pytest.fixture(scope="session")
def topics_of() -> type[Topics]:
    """Makes what tests see of a cluster: `topics_of(kafka)`."""
    return Topics


@pytest.fixture
def topics(kafka: Any, monkeypatch: pytest.MonkeyPatch, home: Path) -> Topics:
    """Names of topics for this test, which runs go to; none is there yet."""
    fresh = Topics(kafka.fresh())
    monkeypatch.setenv("RUNTIDE_KAFKA", fresh.kafka.servers)
    monkeypatch.setenv("RUNTIDE_KAFKA_TOPIC_PREFIX", fresh.kafka.prefix)
    return fresh


@pytest.fixture
def mock_cluster(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[MockCluster]:
    """Partitions that nobody leads, if they shall; runs go there."""
    cluster = MockCluster(*(f"m.{name}" for name in (*STREAMS, SCHEMAS)), partitions=4)
    monkeypatch.setenv("RUNTIDE_KAFKA", cluster.address)
    monkeypatch.setenv("RUNTIDE_KAFKA_TOPIC_PREFIX", "m.")
    yield cluster
    runtide.finish()
    _outbox.stop()
    cluster.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """RUNTIDE_DIR, with nothing else set that a run would look at."""
    for name in list(os.environ):
        if name.startswith(("RUNTIDE_", "WANDB_")) or name in ("RANK", "SLURM_PROCID"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("RUNTIDE_DIR", str(folder))
    monkeypatch.setenv("RUNTIDE_SAMPLER", "off")
    # Of a busy machine's 10 seconds, starting two processes may take most.
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "60")
    monkeypatch.setattr(_report, "_last", {})
    yield folder
    runtide.finish()
    for run in _hooks._runs:
        run.finish()
    _outbox.stop()
    _outbox._forwarders.clear()


@pytest.fixture
def spooled(home: Path) -> Spooled:
    return Spooled(home)


@pytest.fixture
def script(home: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python source in a process of its own."""

    def run(source: str, expect: int | None = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(source)
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path)],
            env={**os.environ, **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
        )
        assert expect is None or done.returncode == expect, done.stderr
        return done

    return run


@pytest.fixture(autouse=True)
def no_lost_errors() -> Iterator[None]:
    """An exception that ends a thread fails the test that was running."""
    lost: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, lost.append
    yield
    threading.excepthook = before
    assert not lost
