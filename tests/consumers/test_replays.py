"""Crashes at the critical moments, many of them: every intent that is made again must change nothing.

RUNTIDE_CHAOS_ROUNDS (5; 100 in `make chaos`) sets how many: two intents made again for each round.
"""

import os
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from runtide_consumers import engine as engine_module
from runtide_consumers import kafka as kafka_source
from runtide_consumers.engine import Engine
from runtide_consumers.kafka import KafkaSource
from runtide_consumers.retry import Retry
from runtide_consumers.telemetry import Telemetry
from runtide_consumers.topics import Wishes, make_topics
from runtide_schemas import STREAMS, Kafka, encode

ROUNDS = int(os.environ.get("RUNTIDE_CHAOS_ROUNDS", "5"))
METRICS = STREAMS["metrics"]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120 + 20 * ROUNDS)]


class Crash(BaseException):
    """The process died here."""


class Traffic:
    """Good records of several writers, some of them sent twice, among bytes that are none and poison."""

    def __init__(self, kafka: Kafka, draw: random.Random) -> None:
        self.points: list[tuple[int, int, float]] = []
        self.bad = 0
        self._topic = kafka.topic("metrics")
        self._producer = Producer({**kafka.client, "enable.idempotence": True})
        self._draw = draw
        self._seqs = dict.fromkeys(range(1, 5), 0)
        self._sent: list[tuple[int, bytes]] = []

    def send(self, count: int) -> None:
        for _ in range(count):
            kind = self._draw.random()
            writer = self._draw.choice(list(self._seqs))
            if kind < 0.8:
                self._good(writer)
            elif kind < 0.9 and self._sent:
                writer, message = self._draw.choice(self._sent)
                self._produce(writer, message)
            else:
                self._bad(writer)
        self._producer.flush()

    def _good(self, writer: int) -> None:
        seq = self._seqs[writer]
        self._seqs[writer] += 1
        value = self._draw.random()
        message = encode(METRICS, self._record(writer, seq, value))
        self.points.append((writer, seq, value))
        self._sent.append((writer, message))
        self._produce(writer, message)

    def _bad(self, writer: int) -> None:
        """Bytes that are no record, or a record that ends too early: its number comes again, in a good one."""
        self.bad += 1
        whole = encode(METRICS, self._record(writer, self._seqs[writer], 0.0))
        self._produce(writer, self._draw.choice((self._draw.randbytes(20), whole[:-4], whole + b"more")))

    def _produce(self, writer: int, message: bytes) -> None:
        self._producer.produce(self._topic, message, b"key", writer % 2)

    @staticmethod
    def _record(writer: int, seq: int, value: float) -> dict[str, Any]:
        return {
            "run_id": "e/p/run", "writer": writer, "seq": seq, "attempt": 1, "rank": 0, "ordered": True,
            "keys": ["k"], "steps": [seq], "times": [0], "values": [value],
        }  # fmt: skip


def test_intents_made_again_change_nothing(
    kafka: Any, target: Any, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash at random between any two steps, hundreds of times: every record once, every bad message one letter."""
    draw = random.Random(11)
    cluster = kafka.fresh()
    make_topics(cluster, Wishes(partitions=2))
    traffic = Traffic(cluster, draw)
    telemetry = Telemetry()
    crashes = dict.fromkeys(("after_intent", "after_insert", "after_ledger"), 0)
    calm = False

    def failpoint(name: str, _: str) -> None:
        if not calm and draw.random() < 0.4:
            crashes[name] += 1
            raise Crash(name)

    monkeypatch.setattr(engine_module, "failpoint", failpoint)
    monkeypatch.setattr(kafka_source, "AGE", 0.0)

    def live() -> None:
        """One process: until it crashes, or until it is calm and has nothing left to do."""
        retry = Retry(threading.Event(), lambda: None)
        source = KafkaSource(cluster, "metrics", target.store, retry, telemetry)
        engine = Engine("metrics", source, target.store, threading.Event(), telemetry)
        try:
            if calm:
                until(lambda: not engine.step() and _count(target) >= len(traffic.points), "everything is there")
            while not calm:
                traffic.send(draw.randrange(1, 30))
                until(engine.step, "a batch is done")
        except Crash:
            pass
        finally:
            source.close()

    while telemetry.replays < 2 * ROUNDS:
        live()
    calm = True
    live()
    rows = target.ask("SELECT writer, step, value FROM db.metrics")
    assert sorted((int(w), int(s), v) for w, s, v in rows) == sorted(traffic.points)
    assert target.ask("SELECT toUInt32(sum(count)) FROM db.metric_summary_state") == [[len(traffic.points)]]
    assert target.ask("SELECT toUInt32(sum(records)) FROM db.ledger") == [[len(traffic.points)]]
    (letters,) = target.ask("SELECT toUInt32(count()), toUInt32(uniqExact(partition, offset)) FROM db.dead_letters")
    assert letters == [traffic.bad, traffic.bad]
    assert min(crashes.values()) > 0
    print(f"\n{telemetry.replays} intents made again, {crashes}, {len(traffic.points)} records, {traffic.bad} bad")


def _count(target: Any) -> int:
    return int(target.ask("SELECT toUInt32(count()) FROM db.metrics")[0][0])
