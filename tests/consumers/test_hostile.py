"""A topic full of messages that nobody should have sent: all are kept as dead letters, none does harm.

RUNTIDE_HOSTILE_MESSAGES sets how many malformed messages there are (5,000 here, 100,000 in the full run).
"""

import hashlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from runtide_consumers.topics import Wishes, make_topics
from runtide_schemas import STREAMS, Kafka, encode
from runtide_schemas.codec import encode_long
from runtide_schemas.kafka import MAX_MESSAGE_BYTES

MALFORMED = int(os.environ.get("RUNTIDE_HOSTILE_MESSAGES", "5000"))
PARTITIONS = 4
WRITERS = 6
# Bytes of memory that a consumer may take, and that it may take more in the second half of a flood than in the first.
MEMORY, GROWTH = 600 << 20, 60 << 20
# An unknown schema is waited for, as in production, but not for 30 seconds.
IMPATIENT = """
import sys
import runtide_consumers.partitions as partitions
partitions.PATIENCE = 2.0
from runtide_consumers.commands import consume
sys.exit(consume(sys.argv[1:]))
"""
# Many batches of few messages, so that a moment between two of them can be met.
SMALL = IMPATIENT.replace("partitions.PATIENCE = 2.0", "partitions.PATIENCE, partitions.MAX_SPAN = 2.0, 100")
# Seconds until a group gives away what a dead member had; with KIP-848 that is the group's own setting.
SESSION, HEARTBEAT = "3000", "500"
CLASSIC = {"RUNTIDE_KAFKA_SESSION_TIMEOUT_MS": SESSION, "RUNTIDE_KAFKA_HEARTBEAT_INTERVAL_MS": HEARTBEAT}
KIP_848 = {"RUNTIDE_KAFKA_GROUP_PROTOCOL": "consumer"}
METRICS, JSON, RUNS = STREAMS["metrics"], STREAMS["metrics_json"], STREAMS["runs"]
TIME = 1_700_000_000_000

pytestmark = [pytest.mark.timeout(120 + MALFORMED // 40)]

Point = tuple[str, str, int, int, float]


def text(data: bytes) -> bytes:
    return encode_long(len(data)) + data


def array(items: list[bytes], count: int | None = None) -> bytes:
    """An Avro array; `count` is what it says of itself."""
    said = encode_long(len(items) if count is None else count)
    return said + b"".join(items) + encode_long(0) if items or count else encode_long(0)


def beginning(run_id: bytes, writer: int, seq: int) -> bytes:
    """The fields from `run_id` to `rank`, which a record of any stream starts with."""
    return text(run_id) + b"".join(encode_long(number) for number in (writer, seq, TIME * 1000, 0))


def frame(
    writer: int,
    seq: int,
    *,
    run_id: bytes = b"e/p/bad",
    keys: list[bytes] | None = None,
    counts: tuple[int | None, ...] = (None, None, None, None),
) -> bytes:
    """A body of the stream `metrics`, made by hand so that it can be wrong."""
    names = [text(b"loss")] if keys is None else keys
    steps = [encode_long(seq)]
    values = [b"\x00" * 8] * len(names)
    lists = (names, steps, [encode_long(TIME)], values)
    return (
        beginning(run_id, writer, seq)
        + b"\x01"
        + b"".join(array(items, count) for items, count in zip(lists, counts, strict=True))
    )


def refused(draw: random.Random, writer: int, seq: int) -> bytes:
    """Good Avro whose content a view refuses."""
    fields: dict[str, Any] = {
        "run_id": "e/p/bad", "writer": writer, "seq": seq, "attempt": TIME * 1000, "rank": 0, "ordered": True,
        "keys": ["a", "b"], "steps": [1, 2], "times": [TIME, TIME], "values": [1.0, 2.0, 3.0, 4.0],
    }  # fmt: skip
    fields |= draw.choice(
        [
            {"run_id": "no path"}, {"keys": []}, {"keys": ["a", "a"]}, {"steps": [2, 1]}, {"values": [1.0]},
            {"times": [TIME]}, {"times": [TIME, 2**62]}, {"steps": [], "times": [], "values": []},
            {"keys": ["a", "b", "c"]}, {"run_id": "e/p/bad/deep'; DROP TABLE metrics --"},
        ]
    )  # fmt: skip
    return encode(METRICS, fields)


def varint(draw: random.Random) -> bytes:
    """An integer that does not end, or ends beyond 64 bits."""
    return draw.choice((b"\xff" * 9 + b"\x7f", b"\xff" * 11 + b"\x01", b"\x80" * 10 + b"\x01", b"\xff" * 300))


LIES = (9, 1000, 1 << 31, 1 << 40, 1 << 62, -9, -(1 << 31), -(1 << 40), -(1 << 62), -(1 << 63))


def malformed(draw: random.Random, kind: str, writer: int, seq: int, victim: bytes) -> tuple[str, bytes | None]:
    """A message that cannot be used, and the stream it is sent to; `victim` is a good one."""
    good = METRICS.prefix + frame(writer, seq)
    head = METRICS.prefix + beginning(b"e/p/bad", writer, seq) + b"\x01"
    lie = draw.choice(LIES)
    where = draw.randrange(4)
    counts = tuple(lie if number == where else None for number in range(4))
    made: dict[str, Callable[[], bytes | None]] = {
        "empty": lambda: b"",
        "null": lambda: None,
        "noise": lambda: draw.randbytes(draw.randrange(1, 300)),
        "noise behind the prefix": lambda: METRICS.prefix + draw.randbytes(draw.randrange(60)),
        "noise behind a head": lambda: head + draw.randbytes(draw.randrange(60)),
        "truncated": lambda: victim[: draw.randrange(1, len(victim))],
        "unknown fingerprint": lambda: b"\xc3\x01" + draw.randbytes(8) + good[10:],
        "wrong fingerprint": lambda: good[:9] + bytes([good[9] ^ 1]) + good[10:],
        "another stream's": lambda: RUNS.prefix + good[10:],
        "unknown number": lambda: b"\x00" + draw.randrange(1 << 32).to_bytes(4, "big") + good[10:],
        "a count that lies": lambda: METRICS.prefix + frame(writer, seq, counts=counts),
        "a length that lies": lambda: METRICS.prefix + frame(writer, seq, keys=[encode_long(lie) + b"loss"]),
        "a run's length that lies": lambda: METRICS.prefix + encode_long(lie * 99) + good[11:],
        "a huge number": lambda: METRICS.prefix + text(b"e/p/bad") + encode_long(writer) + varint(draw) + good[-20:],
        "a huge count": lambda: head + varint(draw) + good[-20:],
        "a run that is not UTF-8": lambda: METRICS.prefix + frame(writer, seq, run_id=b"e/p/\xff\xfe"),
        "a key that is not UTF-8": lambda: METRICS.prefix + frame(writer, seq, keys=[text(b"lo\xc3ss")]),
        "bytes behind": lambda: good + draw.randbytes(draw.randrange(1, 20)),
        "refused": lambda: refused(draw, writer, seq),
    }
    if kind == "a value that is not UTF-8":
        cells = [array([text(b"k")]), array([encode_long(seq)]), array([encode_long(TIME)]), array([text(b'"\xff"')])]
        return "metrics_json", JSON.prefix + beginning(b"e/p/bad", writer, seq) + b"".join(cells)
    if kind == "huge":
        filler = b"\xff" * (MAX_MESSAGE_BYTES - draw.randrange(500, 3_000_000))
        long_id = text(b"e/p/" + b"x" * 4_000_000) + good[-40:]
        starts = (b"", METRICS.prefix, METRICS.prefix + frame(writer, seq), METRICS.prefix + long_id)
        return "metrics", draw.choice(starts) + filler[: 1_000_000 if draw.random() < 0.5 else None]
    return "metrics", made[kind]()


KINDS = (
    "empty", "null", "noise", "noise behind the prefix", "noise behind a head", "truncated", "unknown fingerprint",
    "wrong fingerprint", "another stream's", "unknown number", "a count that lies", "a length that lies",
    "a run's length that lies", "a huge number", "a huge count", "a run that is not UTF-8", "a key that is not UTF-8",
    "a value that is not UTF-8", "bytes behind", "refused",
)  # fmt: skip
# Kinds whose letter is kept by a view, which has no longer the bytes, or may be.
BY_A_VIEW = {"refused", "a key that is not UTF-8", "a value that is not UTF-8", "a count that lies", "bytes behind"}


class ConsumerOnKafka:
    """A consumer in a process of its own."""

    def __init__(self, kafka: Kafka, url: str, log: Path, code: str, environment: dict[str, str]) -> None:
        settings = {
            "RUNTIDE_KAFKA_TOPIC_PREFIX": kafka.prefix,
            "RUNTIDE_KAFKA_GROUP": kafka.group,
            "RUNTIDE_CLICKHOUSE_URL": url,
        }
        command = [sys.executable, "-c", code, "--kafka", kafka.servers]
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, env={**os.environ, **settings, **environment}, stdout=file, stderr=file
            )

    @property
    def owned(self) -> int:
        """How many partitions of the topic of metrics it reads."""
        moves = re.findall(r"[.]metrics: partitions \[([\d, ]+)\] (came|went)", self.log.read_text())
        return sum((1 if how == "came" else -1) * len(numbers.split(",")) for numbers, how in moves)

    def peak(self) -> int:
        """The most bytes that were resident since this was last asked."""
        folder = Path(f"/proc/{self.process.pid}")
        (line,) = (line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
        (folder / "clear_refs").write_text("5")
        return int(line.split()[1]) << 10

    def kill(self) -> None:
        """kill -9."""
        assert self.process.poll() is None, "it ended before it was killed"
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0


@pytest.fixture
def consumer(flood: "Flood", target: Any, tmp_path: Path) -> Iterator[Callable[..., ConsumerOnKafka]]:
    """Starts consumers of the flood: `consumer(code, **environment)`."""
    started: list[ConsumerOnKafka] = []

    def start(code: str = IMPATIENT, **environment: str) -> ConsumerOnKafka:
        environment = environment or CLASSIC
        log = tmp_path / f"consumer{len(started)}.log"
        started.append(ConsumerOnKafka(flood.kafka, target.url, log, code, environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def frame_of(writer: int, seq: int) -> dict[str, Any]:
    """A good frame of two keys and two steps that no other record has."""
    steps = [2 * seq, 2 * seq + 1]
    return {
        "run_id": f"e/p/{writer}", "writer": writer, "seq": seq, "attempt": TIME * 1000, "rank": 0, "ordered": True,
        "keys": ["loss", "acc"], "steps": steps, "times": [TIME + step for step in steps],
        "values": [writer + step / 7 for step in steps] + [writer - step / 3 for step in steps],
    }  # fmt: skip


@dataclass
class Flood:
    """Good traffic of some writers with malformed messages in between, as the broker has it."""

    kafka: Kafka
    draw: random.Random
    expected: list[Point] = field(default_factory=list)
    seqs: Counter[int] = field(default_factory=Counter)
    malformed: dict[tuple[str, int, int], tuple[str, str]] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    strangers: int = 1_000_000

    def __post_init__(self) -> None:
        make_topics(self.kafka, Wishes(partitions=PARTITIONS))
        properties = {"message.max.bytes": 2 * MAX_MESSAGE_BYTES, "compression.type": "lz4", "linger.ms": 20}
        self._producer = Producer({**self.kafka.client, **properties, "enable.idempotence": True})

    def send(self, count: int) -> None:
        """So many malformed messages and about as many good ones, in any order."""
        huge = set(self.draw.sample(range(count), max(1, count // 1000)))
        for number in range(count):
            writer = self.draw.randrange(WRITERS)
            good = self._next(writer)
            kind = "huge" if number in huge else self.draw.choice(KINDS)
            self.strangers += 1
            stream, value = malformed(self.draw, kind, self.strangers, self.draw.randrange(5), good)
            self._produce(stream, writer % PARTITIONS, value, partial(self._note, kind, stream, value))
            if self.draw.random() < 0.9:
                self.good(writer, good)
        self.flush()

    def good(self, writer: int, value: bytes) -> None:
        """A good message of a writer, which is the next one."""
        record = frame_of(writer, self.seqs[writer])
        self.expected += [
            (record["run_id"], key, writer, step, record["values"][2 * i + j])
            for i, key in enumerate(record["keys"])
            for j, step in enumerate(record["steps"])
        ]
        self.seqs[writer] += 1
        self._produce("metrics", writer % PARTITIONS, value, partial(self._delivered, "metrics"))

    def flush(self) -> None:
        assert self._producer.flush(60) == 0

    def _next(self, writer: int) -> bytes:
        return encode(METRICS, frame_of(writer, self.seqs[writer]))

    def _produce(self, stream: str, partition: int, value: bytes | None, report: Callable[..., None]) -> None:
        topic = self.kafka.topic(stream)
        while True:
            try:
                self._producer.produce(topic, value, b"key", partition, on_delivery=report)
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _note(self, kind: str, stream: str, value: bytes | None, error: KafkaError | None, message: Message) -> None:
        self._delivered(stream, error, message)
        digest = hashlib.sha256(value or b"").hexdigest()
        self.malformed[stream, message.partition() or 0, message.offset() or 0] = kind, digest

    def _delivered(self, stream: str, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        where = stream, message.partition() or 0
        self.ends[where] = max(self.ends.get(where, 0), (message.offset() or 0) + 1)


@pytest.fixture
def flood(kafka: Any) -> Flood:
    return Flood(kafka.fresh(), random.Random(11))


@dataclass
class Verdict:
    """What the store has of a flood."""

    target: Any
    flood: Flood

    def letters(self) -> list[tuple[str, int, int, str, str]]:
        """Stream, partition, offset, reason and digest of each dead letter."""
        rows = self.target.ask("SELECT stream, partition, offset, reason, digest FROM db.dead_letters ORDER BY ALL")
        return [
            (stream, int(partition), int(offset), reason, digest) for stream, partition, offset, reason, digest in rows
        ]

    def count(self) -> int:
        """How many dead letters there are; none before there is a table."""
        if ["dead_letters"] not in self.tables():
            return 0
        return int(self.target.ask("SELECT toUInt32(count()) FROM db.dead_letters")[0][0])

    def tables(self) -> list[list[str]]:
        rows: list[list[str]] = self.target.ask(
            f"SELECT name FROM system.tables WHERE database = '{self.target.database}'"
        )
        return rows

    def complete(self) -> bool:
        """The ledger says that every message is dealt with."""
        if ["ledger"] not in self.tables():
            return False
        rows = self.target.ask(
            "SELECT stream, toInt32(partition), toUInt32(max(next_offset)) FROM db.ledger "
            "WHERE records = 0 GROUP BY ALL"
        )
        done = {(stream, partition): end for stream, partition, end in rows}
        return all(done.get(where, 0) >= end for where, end in self.flood.ends.items())

    def wait(self) -> None:
        """Until everything is dealt with."""
        deadline = time.monotonic() + 60 + MALFORMED / 100
        while not self.complete():
            assert time.monotonic() < deadline, f"{self.count()} of {len(self.flood.malformed)} dead letters"
            threading.Event().wait(0.05)

    def check(self) -> None:
        """Every good point once, every malformed message in one dead letter, and the ledger knows of all."""
        letters = self.letters()
        where = Counter((stream, partition, offset) for stream, partition, offset, _, _ in letters)
        missing = [(key, *self.flood.malformed[key]) for key in self.flood.malformed if key not in where]
        assert not missing, f"{len(missing)} have no dead letter: {missing[:5]}"
        assert not (twice := {key: count for key, count in where.items() if count > 1}), twice
        assert not (others := where.keys() - self.flood.malformed.keys()), others
        for stream, partition, offset, reason, digest in letters:
            kind, sent = self.flood.malformed[stream, partition, offset]
            assert reason
            assert digest == sent or kind in BY_A_VIEW, (kind, reason)
        assert self.target.points() == sorted(self.flood.expected)
        ledger = self.target.ask(
            "SELECT toUInt32(writer), toUInt32(min(first_seq)), toUInt32(max(last_seq) + 1), toUInt32(sum(records)) "
            f"FROM db.ledger WHERE stream = 'metrics' AND records > 0 AND writer < {WRITERS} GROUP BY 1 ORDER BY 1"
        )
        assert ledger == [[writer, 0, count, count] for writer, count in sorted(self.flood.seqs.items())]
        counted = "SELECT toUInt32(sum(count)) FROM db.metric_summary_state"
        assert self.target.ask(counted) == [[len(self.flood.expected)]]


@pytest.fixture
def verdict(target: Any, flood: Flood) -> Verdict:
    return Verdict(target, flood)


def test_a_flood_of_malformed_messages_harms_nothing(flood: Flood, consumer: Any, verdict: Verdict) -> None:
    """All are kept as dead letters once, all that is good is stored once, and the consumer's memory is bounded."""
    running = consumer()
    peaks, started = [], time.monotonic()
    for _ in range(2):
        flood.send(MALFORMED // 2)
        verdict.wait()
        peaks.append(running.peak())
    took = time.monotonic() - started
    verdict.check()
    running.stop()
    assert max(peaks) < MEMORY
    assert peaks[1] < peaks[0] + GROWTH
    print(f"\n{len(flood.malformed)} malformed, {len(flood.expected)} points in {took:.1f} s, {peaks} bytes resident")
    for (kind, reason), count in sorted(reasons(verdict, flood).items()):
        print(f"{count:7} {kind}: {reason}")


def test_a_consumer_killed_in_the_flood_leaves_nothing_out_and_nothing_twice(
    flood: Flood, consumer: Any, verdict: Verdict, until: Any
) -> None:
    """kill -9 twice between batches, wherever that is: the next one goes on."""
    flood.send(MALFORMED // 5)
    for share in (4, 2):
        running = consumer(SMALL)
        until(lambda share=share: verdict.count() > len(flood.malformed) // share, "a part is done")
        running.kill()
        assert not verdict.complete()
    consumer(SMALL)
    verdict.wait()
    verdict.check()


def test_a_view_that_throws_loses_nothing(
    flood: Flood, consumer: Any, verdict: Verdict, until: Any, target: Any, tmp_path: Path
) -> None:
    """It is said in the log, nothing passes meanwhile, and all is there once when the view is gone."""
    running = consumer(SMALL)
    flood.send(MALFORMED // 10)
    verdict.wait()
    target.run(
        "CREATE MATERIALIZED VIEW db.objecting ENGINE = Memory AS "
        "SELECT throwIf(writer = 1, 'this view objects') AS x FROM db.landing_metrics"
    )
    flood.send(MALFORMED // 10)
    until(lambda: "this view objects" in (tmp_path / "consumer0.log").read_text(), "it is said")
    assert not verdict.complete()
    running.kill()
    consumer(SMALL)
    until(lambda: "this view objects" in (tmp_path / "consumer1.log").read_text(), "the next one says so too")
    target.run("DROP VIEW db.objecting")
    verdict.wait()
    verdict.check()


@pytest.fixture
def quick_groups(flood: Flood) -> None:
    """Groups of KIP-848 that give away what a dead member had as quickly as the others here."""
    admin = AdminClient(flood.kafka.client)
    entries = [
        ConfigEntry(f"consumer.{name}.ms", value, incremental_operation=AlterConfigOpType.SET)
        for name, value in (("session.timeout", SESSION), ("heartbeat.interval", HEARTBEAT))
    ]
    groups = [f"{flood.kafka.group}-{stream}" for stream in STREAMS]
    resources = [ConfigResource(ResourceType.GROUP, group, incremental_configs=entries) for group in groups]
    for done in admin.incremental_alter_configs(resources).values():
        done.result()


@pytest.mark.usefixtures("quick_groups")
@pytest.mark.parametrize("settings", [CLASSIC, KIP_848], ids=["classic", "KIP-848"])
def test_two_consumers_hand_over_to_each_other(
    flood: Flood, consumer: Any, verdict: Verdict, until: Any, settings: dict[str, str]
) -> None:
    """One leaves, one is killed: the other has all partitions then, and everything arrives once."""
    first = consumer(SMALL, **settings)
    until(lambda: first.owned == PARTITIONS, "the first has all")
    flood.send(300)
    second = consumer(SMALL, **settings)
    until(lambda: first.owned == second.owned == PARTITIONS // 2, "both have a half")
    flood.send(300)
    first.stop()
    until(lambda: second.owned == PARTITIONS, "the second has all")
    third = consumer(SMALL, **settings)
    until(lambda: second.owned == third.owned == PARTITIONS // 2, "both have a half again")
    flood.send(300)
    second.kill()
    until(lambda: third.owned == PARTITIONS, "the third has all")
    verdict.wait()
    verdict.check()


def reasons(verdict: Verdict, flood: Flood) -> Counter[tuple[str, str]]:
    """How many dead letters there are of each kind and reason, less what differs from one to the next."""
    return Counter(
        (flood.malformed[stream, partition, offset][0], re.split(r"[0-9]| with [0-9a-f]| schema |'", reason)[0])
        for stream, partition, offset, reason, _ in verdict.letters()
    )
