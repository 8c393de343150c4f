"""kill -9 of the trainer, the consumer and the store at random moments under load: nothing lost, nothing twice.

RUNTIDE_CHAOS_ROUNDS sets how many kills each gets (5).
"""

import json
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

ROUNDS = int(os.environ.get("RUNTIDE_CHAOS_ROUNDS", "5"))
TRAINER = Path(__file__).with_name("trainer.py")
ENDLESS = 10_000_000

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(60 * ROUNDS)]


class Line:
    """A store, a consumer and trainings over one folder; any of them can be killed and started again."""

    def __init__(self, store, address: str, folder: Path, seed: int) -> None:
        self.store = store
        self.folder = folder
        self.draw = random.Random(seed)
        self.trainings: dict[int, subprocess.Popen[bytes]] = {}
        self.consumer: subprocess.Popen[bytes] | None = None
        self.log = (folder / "processes.log").open("ab")
        self.environment = {
            **os.environ,
            "RUNTIDE_DIR": str(folder),
            "RUNTIDE_SILENT": "1",
            "RUNTIDE_CLICKHOUSE_URL": address,
            # Small segments, so that they end, rotate and are deleted while processes die.
            "RUNTIDE_SEGMENT_BYTES": "100000",
        }

    def _start(self, *command: object) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, *map(str, command)]
        return subprocess.Popen(arguments, env=self.environment, stdout=self.log, stderr=self.log)

    def train(self, seed: int, calls: int) -> None:
        self.trainings[seed] = self._start(TRAINER, self.journal(seed), seed, calls)

    def consume(self) -> None:
        self.consumer = self._start("-m", "runtide_consumers", "consume", "--spool", self.folder / "spool")

    def journal(self, seed: int) -> Path:
        return self.folder / f"journal-{seed}"

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        assert process.poll() is None, f"it ended before it was killed: see {self.log.name}"
        process.kill()
        process.wait()

    def pause(self) -> None:
        """A random moment, which is what a kill needs."""
        threading.Event().wait(self.draw.uniform(0.3, 1.5))

    def drain(self) -> None:
        """Stop the consumer in good order and deliver the rest."""
        if self.consumer:
            self.consumer.terminate()
            # One that is still starting has no handler yet.
            assert self.consumer.wait(60) in (0, -signal.SIGTERM)
        command = [sys.executable, "-m", "runtide", "sync", str(self.folder)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        for process in (*self.trainings.values(), self.consumer):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        self.log.close()

    def journaled(self, seed: int) -> list[tuple[float, list]]:
        """Of each call: when, and its points as (key, step, bits)."""
        calls = []
        for line in self.journal(seed).read_text().splitlines():
            time, step, data = json.loads(line)
            calls.append((time, [(key, step, _bits(float.fromhex(value))) for key, value in data.items()]))
        return calls

    def drained(self, seed: int) -> list[tuple[float, list[int]]]:
        """Of each drain: when, and the numbers of its calls; a torn last line never happened."""
        text = Path(f"{self.journal(seed)}.drained").read_text()
        return [tuple(json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def stored(self, seed: int) -> Counter:
        columns = "key, step, reinterpretAsUInt64(value) FROM metrics"
        query = f"SELECT {columns} WHERE run_id = 'default/chaos/seed-{seed}' FORMAT JSONCompactEachRow"
        answer = self.store.query(query, database="chaos")
        return Counter((key, int(step), int(bits)) for key, step, bits in map(json.loads, answer.splitlines()))


@pytest.fixture
def line(start_store, address, tmp_path: Path):
    store = start_store()
    line = Line(store, address(store, "chaos"), tmp_path, seed=1)
    line.consume()
    yield line
    line.close()


def check_views(line: Line, allowed: frozenset[str] = frozenset()) -> None:
    """Summaries, rollups and the ledger equal what raw points give; dead letters have allowed reasons only."""
    different = line.store.query(
        """
        SELECT count() FROM
        (SELECT run_id, key, sum(count) AS n, min(min) AS low, max(max) AS high
         FROM metric_summary_state GROUP BY ALL) AS s
        FULL JOIN
        (SELECT run_id, key, count() AS n, minIf(value, isFinite(value)) AS low, maxIf(value, isFinite(value)) AS high
         FROM metrics GROUP BY ALL) AS m USING (run_id, key)
        WHERE s.n != m.n OR s.low != m.low OR s.high != m.high
        """,
        database="chaos",
    )
    assert different == "0\n"
    unequal = line.store.query(
        """
        SELECT count() FROM
        (SELECT run_id, key, start, sum(count) AS n, min(min) AS low, max(max) AS high, sum(nan_count) AS bad
         FROM metric_rollup GROUP BY ALL) AS s
        FULL JOIN
        (SELECT run_id, key, bitAnd(step, -256) AS start, count() AS n, minIf(value, isFinite(value)) AS low,
                maxIf(value, isFinite(value)) AS high, countIf(isNaN(value)) AS bad
         FROM metrics GROUP BY ALL) AS m USING (run_id, key, start)
        WHERE s.n != m.n OR s.bad != m.bad OR (isFinite(s.low) AND (s.low != m.low OR s.high != m.high))
        """,
        database="chaos",
    )
    assert unequal == "0\n"
    twice = "SELECT count() FROM (SELECT stream, writer, first_seq FROM ledger GROUP BY ALL HAVING count() > 1)"
    assert line.store.query(twice, database="chaos") == "0\n"
    letters = line.store.query("SELECT DISTINCT reason FROM dead_letters", database="chaos").splitlines()
    assert set(letters) <= allowed


def _bits(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def test_a_killed_trainer_loses_nothing_that_the_spool_has(line: Line, until) -> None:
    """Every point of every drain is stored once, and nothing that was never logged."""
    delays = []
    for seed in range(ROUNDS):
        line.train(seed, ENDLESS)
        until(Path(f"{line.journal(seed)}.drained").exists, "the first drain", process=line.trainings[seed])
        line.pause()
        line.kill(line.trainings[seed])
    line.drain()
    for seed in range(ROUNDS):
        calls, stored = line.journaled(seed), line.stored(seed)
        sure = Counter(point for _, numbers in line.drained(seed) for n in numbers for point in calls[n][1])
        logged = Counter(point for _, points in calls for point in points)
        assert sum(sure.values()) > 0
        assert sure <= stored, f"lost: {list((sure - stored).items())[:5]}"
        assert stored <= logged, f"never logged, or twice: {list((stored - logged).items())[:5]}"
        delays += [time - calls[n][0] for time, numbers in line.drained(seed) for n in numbers]
    # A kill in the middle of a write leaves a torn entry, which was never promised.
    check_views(line, frozenset(("incomplete entry at the end",)))
    print(f"\ndrain delay over {len(delays)} calls: median {1e3 * statistics.median(delays):.0f} ms")


@pytest.mark.parametrize("victim", ["consumer", "store"])
def test_a_killed_consumer_or_store_loses_nothing_and_doubles_nothing(line: Line, victim: str) -> None:
    """What two trainings logged is stored exactly, whatever died meanwhile and however often."""
    seeds = (100, 101)
    for seed in seeds:
        line.train(seed, 4000 * ROUNDS)
    for _ in range(ROUNDS):
        line.pause()
        if victim == "consumer":
            assert line.consumer
            line.kill(line.consumer)
            line.consume()
        else:
            line.store.kill()
            line.store.restart()
    for seed in seeds:
        assert line.trainings[seed].wait(120) == 0
    line.drain()
    for seed in seeds:
        logged = Counter(point for _, points in line.journaled(seed) for point in points)
        stored = line.stored(seed)
        assert logged == stored, f"lost {sum((logged - stored).values())}, twice {sum((stored - logged).values())}"
    check_views(line)
