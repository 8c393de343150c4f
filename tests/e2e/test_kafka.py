"""Faults under load on a real broker: nothing lost, nothing twice, whatever dies, sleeps or comes back.

RUNTIDE_CHAOS_ROUNDS sets the number of faults (5 here, 100 in `make chaos`).
"""

import json
import os
import random
import secrets
import signal
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

ROUNDS = int(os.environ.get("RUNTIDE_CHAOS_ROUNDS", "5"))
TRAINER = Path(__file__).with_name("trainer.py")
ENDLESS = 10_000_000
# Seconds after which the broker takes a silent consumer for dead.
SESSION = 3.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120 + 30 * ROUNDS)]


class Line:
    """Trainings, a broker, consumers and a store; each can be killed, stopped and started again.

    Its topics, group and database are called `name`, and nobody else uses them.
    """

    def __init__(self, name: str, store, broker, address: str, folder: Path) -> None:
        self.name = name
        self.topic = f"{name}.metrics"
        self.store = store
        self.broker = broker
        self.folder = folder
        self.trainings: dict[int, subprocess.Popen] = {}
        self.consumers: list[subprocess.Popen] = []
        self.log = folder / "processes.log"
        self.environment = {
            **os.environ,
            "RUNTIDE_DIR": str(folder),
            "RUNTIDE_SILENT": "1",
            "RUNTIDE_CLICKHOUSE_URL": address,
            "RUNTIDE_KAFKA": broker.address,
            "RUNTIDE_KAFKA_TOPIC_PREFIX": f"{name}.",
            "RUNTIDE_KAFKA_GROUP": name,
            "RUNTIDE_KAFKA_SESSION_TIMEOUT_MS": str(int(1000 * SESSION)),
            "RUNTIDE_KAFKA_HEARTBEAT_INTERVAL_MS": "500",
            # Small segments, so that they end, rotate and are deleted while processes die.
            "RUNTIDE_SEGMENT_BYTES": "100000",
            "RUNTIDE_FINISH_TIMEOUT": "60",
            "TRAINER_PAUSE": "0.01",
        }
        self.run("topics", "--partitions", "4")

    def run(self, *command: str) -> None:
        """A command that must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "runtide", *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _start(self, *command: object, **environment: str) -> subprocess.Popen:
        with self.log.open("ab") as log:
            arguments = [sys.executable, *map(str, command)]
            return subprocess.Popen(arguments, env={**self.environment, **environment}, stdout=log, stderr=log)

    def train(self, seed: int) -> None:
        self.trainings[seed] = self._start(TRAINER, self.journal(seed), seed, ENDLESS)

    def consume(self, code: str = "", **environment: str) -> subprocess.Popen:
        source = ["-c", code] if code else ["-m", "runtide_consumers"]
        self.consumers.append(self._start(*source, "consume", "--kafka", **environment))
        return self.consumers[-1]

    def journal(self, seed: int) -> Path:
        return self.folder / f"journal-{seed}"

    def kill(self, process: subprocess.Popen) -> None:
        assert process.poll() is None, f"it ended before it was killed: see {self.log}"
        process.kill()
        process.wait()

    def end_training(self, seed: int) -> None:
        """Let a training end by itself; what it could not deliver in time waits in the outbox."""
        Path(f"{self.journal(seed)}.stop").touch()
        assert self.trainings[seed].wait(120) == 0, self.log.read_text()[-3000:]

    def close(self) -> None:
        for process in (*self.trainings.values(), *self.consumers):
            if process.poll() is None:
                process.kill()
                process.wait()

    def journaled(self, seed: int) -> list[list]:
        """The points of each call as (key, step, bits)."""
        calls = []
        for line in self.journal(seed).read_text().splitlines():
            _, step, data = json.loads(line)
            calls.append([(key, step, _bits(float.fromhex(value))) for key, value in data.items()])
        return calls

    def spooled(self, seed: int) -> set[int]:
        """Numbers of the calls that were on the disk; a torn last line never happened."""
        text = Path(f"{self.journal(seed)}.drained").read_text()
        return {n for line in text.splitlines(keepends=True) if line.endswith("\n") for n in json.loads(line)[1]}

    def stored(self, seed: int) -> Counter:
        columns = "key, step, reinterpretAsUInt64(value) FROM metrics"
        answer = self.ask(f"SELECT {columns} WHERE run_id = 'default/chaos/seed-{seed}' FORMAT JSONCompactEachRow")
        return Counter((key, int(step), int(bits)) for key, step, bits in map(json.loads, answer.splitlines()))

    def ask(self, sql: str) -> str:
        return self.store.query(sql, database=self.name)

    def rows(self) -> int:
        """Points so far; 0 before there is a table."""
        answer = self.store.query(
            f"SELECT sum(total_rows) FROM system.tables WHERE database = '{self.name}' AND name = 'metrics'"
        )
        return int(answer) if answer.strip().isdigit() else 0

    def replays(self) -> int:
        """Intents that a consumer found and inserted again, so far."""
        return self.log.read_text().count("is made again")

    def wait_for(self, seed: int, until: Callable[..., None]) -> None:
        """Until as many points are there as must be."""
        certain = self.spooled(seed)
        wanted = sum(len(points) for number, points in enumerate(self.journaled(seed)) if number in certain)
        # Distinct ones: a copy must not stand for what is still on its way.
        count = f"SELECT uniqExact(writer, seq, key, step) FROM metrics WHERE run_id = 'default/chaos/seed-{seed}'"
        until(lambda: int(self.ask(count)) >= wanted, f"all {wanted} points of seed {seed} are there")

    def check(self, seeds: list[int], until: Callable[..., None], killed: frozenset[int] = frozenset()) -> None:
        """Every point of every training once; statistics and ledger as the raw points say."""
        for seed in seeds:
            self.wait_for(seed, until)
        for seed in seeds:
            calls, certain, stored = self.journaled(seed), self.spooled(seed), self.stored(seed)
            sure = Counter(point for number in certain for point in calls[number])
            logged = Counter(point for points in calls for point in points)
            assert seed in killed or sure == logged, "a training that ended has given everything to the spool"
            assert sum(sure.values()) > 0
            assert sure <= stored, f"lost: {list((sure - stored).items())[:5]}"
            assert stored <= logged, f"never logged, or twice: {list((stored - logged).items())[:5]}"
        assert self.ask(_DIFFERENT) == "0\n"
        assert self.ask(_TWICE) == "0\n"


# Statistics made at insert against raw points; sums are of finite values in any order.
_DIFFERENT = """
SELECT count() FROM
(SELECT run_id, key, sum(count) AS n, sum(nan_count) AS nans, sum(inf_count) AS infs, min(min) AS low, max(max) AS high,
    sum(sum) AS total, min(first_step) AS first, max(last_step) AS last
 FROM metric_summary_state GROUP BY ALL) AS s
FULL JOIN
(SELECT run_id, key, count() AS n, countIf(isNaN(value)) AS nans, countIf(isInfinite(value)) AS infs,
    minIf(value, isFinite(value)) AS low, maxIf(value, isFinite(value)) AS high, sumIf(value, isFinite(value)) AS total,
    min(step) AS first, max(step) AS last
 FROM metrics GROUP BY ALL) AS m USING (run_id, key)
WHERE s.n != m.n OR s.nans != m.nans OR s.infs != m.infs OR s.low != m.low OR s.high != m.high
    OR abs(s.total - m.total) > 1e-6 * s.n OR s.first != m.first OR s.last != m.last
"""
# A record or a batch that the ledger has twice.
_TWICE = """
SELECT count() FROM
(SELECT stream, writer, source, partition, first_offset, records > 0 AS of_a_writer FROM ledger
 GROUP BY ALL HAVING count() > 1)
"""


def _bits(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]


@pytest.fixture(scope="module")
def servers(store_process, broker_process, tmp_path_factory):
    """A store and a broker that tests may kill."""
    folder = tmp_path_factory.mktemp("servers")
    running = store_process(folder / "engine"), broker_process(folder / "broker")
    yield running
    for one in running:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def line(servers, address, tmp_path: Path):
    for one in servers:
        if one.process.poll() is not None:
            one.restart()
    store, broker = servers
    name = f"chaos_{secrets.token_hex(4)}"
    line = Line(name, store, broker, address(store, name), tmp_path)
    yield line
    line.close()


def pause(draw: random.Random, longest: float = 1.5) -> None:
    """A random moment, which is what a fault needs."""
    threading.Event().wait(draw.uniform(0.2, longest))


def test_whatever_dies_under_load_every_point_is_stored_once(line: Line, until) -> None:
    """Kills and stops of consumers, the broker, the store and trainings, members that come and go."""
    draw = random.Random(7)
    seeds, killed = [0, 1], set()
    for seed in seeds:
        line.train(seed)
    for _ in range(3):
        line.consume()
    until(line.rows, "the first rows")

    def kill_consumer() -> None:
        victim = draw.choice(line.consumers)
        line.kill(victim)
        line.consumers.remove(victim)
        line.consume()

    def stop_consumer() -> None:
        victim = draw.choice(line.consumers)
        victim.send_signal(signal.SIGSTOP)
        threading.Event().wait(draw.choice((0.5, SESSION + 2)))
        victim.send_signal(signal.SIGCONT)

    def kill_store() -> None:
        line.store.kill()
        pause(draw)
        line.store.restart()

    def kill_broker() -> None:
        line.broker.kill()
        pause(draw)
        line.broker.restart()

    def kill_training() -> None:
        seed = draw.choice([seed for seed in seeds if seed not in killed])
        until(Path(f"{line.journal(seed)}.drained").exists, "the first drain")
        line.kill(line.trainings[seed])
        killed.add(seed)
        seeds.append(len(seeds))
        line.train(seeds[-1])

    def come_and_go() -> None:
        line.consume()
        pause(draw, 4.0)
        leaving = line.consumers.pop(0)
        leaving.terminate()
        # One that is still starting has no handler yet.
        assert leaving.wait(60) in (0, -signal.SIGTERM)

    faults = [kill_consumer, stop_consumer, kill_store, kill_broker, kill_training, come_and_go]
    for number in range(ROUNDS):
        fault = faults[number] if number < len(faults) else draw.choice(faults)
        fault()
        pause(draw)
    for seed in seeds:
        if seed not in killed:
            line.end_training(seed)
    line.run("forward")
    line.check(seeds, until, frozenset(killed))
    letters = line.ask("SELECT DISTINCT reason FROM dead_letters").splitlines()
    assert letters == []
    print(f"\n{ROUNDS} faults, {len(seeds)} trainings, {line.replays()} intents made again")


@pytest.mark.parametrize("point", ["after_intent", "after_insert", "after_ledger"])
def test_a_consumer_that_dies_at_the_worst_moment_is_replaced(line: Line, until, point: str) -> None:
    """It dies between two steps of a batch, again and again; another one goes on with the very same batch."""
    line.train(0)
    for number in range(max(2, ROUNDS // 5)):
        dying = line.consume(RUNTIDE_FAILPOINT=f"metrics/{point}:{1 + number % 3}")
        assert dying.wait(60) == 41, line.log.read_text()[-3000:]
        line.consumers.remove(dying)
    line.consume()
    line.end_training(0)
    line.check([0], until)
    assert line.replays() > 0 or point == "after_ledger"


# Stops itself when half of its third batch of metrics is on the wire.
HALF_SENT = """
import http.client, itertools, signal, sys, threading
send, batches = http.client.HTTPConnection.send, itertools.count(1)

def half(connection, data):
    if data[:4] == b"Obj\\x01" and b'"ordered"' in data[:4000] and next(batches) == 3:
        send(connection, data[: len(data) // 2])
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        data = data[len(data) // 2 :]
    send(connection, data)

http.client.HTTPConnection.send = half
from runtide_consumers.commands import consume
sys.exit(consume(sys.argv[2:]))
"""


@pytest.mark.parametrize("point", ["after_intent", "inside", "after_insert"])
def test_a_zombie_that_wakes_after_the_tokens_are_forgotten_is_refused(line: Line, until, point: str) -> None:
    """Stopped before, inside or behind its insert, it wakes when others inserted more than the store remembers."""
    line.train(0)
    zombie = line.consume(HALF_SENT if point == "inside" else "", RUNTIDE_FAILPOINT=f"metrics/{point}:3:stop")
    until(lambda: _is_stopped(zombie.pid), "the consumer stopped itself")
    _forget_tokens_after(line, 3)
    inserted = int(line.ask("SELECT count() FROM ledger WHERE stream = 'metrics'"))
    line.consume()
    behind = f"SELECT count() FROM ledger WHERE stream = 'metrics' HAVING count() > {inserted + 20}"
    until(lambda: line.ask(behind), "others went on")
    zombie.send_signal(signal.SIGCONT)
    until(lambda: "the ledger has gone past this batch" in line.log.read_text(), "the store refused the zombie")
    line.end_training(0)
    line.check([0], until)


def test_the_harness_notices_a_zombie_that_is_let_in(line: Line, until) -> None:
    """Without the ledger's refusal the same zombie counts its batch twice, and the check says so."""
    line.train(0)
    let_in = """
import sys
import runtide_consumers.engine as engine
engine.fence = lambda batch: ""
from runtide_consumers.commands import consume
sys.exit(consume(sys.argv[2:]))
"""
    zombie = line.consume(let_in, RUNTIDE_FAILPOINT="metrics/after_intent:3:stop")
    until(lambda: _is_stopped(zombie.pid), "the consumer stopped itself")
    _forget_tokens_after(line, 3)
    inserted = int(line.ask("SELECT count() FROM ledger WHERE stream = 'metrics'"))
    line.consume()
    behind = f"SELECT count() FROM ledger WHERE stream = 'metrics' HAVING count() > {inserted + 20}"
    until(lambda: line.ask(behind), "others went on")
    zombie.send_signal(signal.SIGCONT)
    line.end_training(0)
    doubled = "SELECT count() FROM (SELECT writer, seq, key, step FROM metrics GROUP BY ALL HAVING count() > 1)"
    until(lambda: int(line.ask(doubled)) > 0, "the zombie's batch is there twice")
    with pytest.raises(AssertionError, match="twice"):
        line.check([0], until)


def test_the_harness_notices_a_token_that_changes(line: Line, until) -> None:
    """With a new token for every try, a batch that is made again counts twice, and the check says so."""
    line.train(0)
    dying = line.consume(RUNTIDE_FAILPOINT="metrics/after_insert:2")
    assert dying.wait(60) == 41
    changing = """
import secrets, sys
from runtide_consumers.batch import Batch
Batch.token = property(lambda self: secrets.token_hex(16))
from runtide_consumers.commands import consume
sys.exit(consume(sys.argv[2:]))
"""
    line.consume(changing)
    line.end_training(0)
    with pytest.raises(AssertionError, match="twice"):
        line.check([0], until)


def test_offsets_that_somebody_moved_back_change_nothing(line: Line, until) -> None:
    """The ledger knows what is done: the consumer goes on there, and says so."""
    line.train(0)
    first = line.consume()
    until(lambda: line.rows() > 5000, "rows")
    first.terminate()
    assert first.wait(60) == 0
    admin = AdminClient({"bootstrap.servers": line.broker.address})
    back = [TopicPartition(line.topic, number, 0) for number in range(4)]
    group = ConsumerGroupTopicPartitions(f"{line.name}-metrics", back)
    for done in admin.alter_consumer_group_offsets([group]).values():
        done.result()
    line.consume()
    line.end_training(0)
    line.check([0], until)
    assert "the ledger has it up to" in line.log.read_text()


def test_a_rebalance_in_the_middle_of_everything(line: Line, until) -> None:
    """Members come and leave in good order while data flows: partitions move, nothing is read from the start."""
    line.train(0)
    line.train(1)
    for number in range(max(3, ROUNDS // 5)):
        line.consume()
        until(lambda n=number: line.log.read_text().count(f"{line.topic}: partitions") > n, "partitions moved")
        if len(line.consumers) > 2:
            leaving = line.consumers.pop(0)
            leaving.terminate()
            assert leaving.wait(60) in (0, -signal.SIGTERM)
    for seed in (0, 1):
        line.end_training(seed)
    line.check([0, 1], until)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _forget_tokens_after(line: Line, inserts: int) -> None:
    """Shrink the deduplication windows to a test's size."""
    for table in ("metrics", "metric_summary_state", "ledger"):
        line.ask(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = {inserts}")
