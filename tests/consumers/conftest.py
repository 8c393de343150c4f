"""A spool to write into, and consumers on it."""

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from runtide_consumers.batch import Batch
from runtide_consumers.clickhouse import Store
from runtide_consumers.consume import Lanes, drain_spool
from runtide_consumers.migrate import migrate
from runtide_consumers.positions import Positions
from runtide_consumers.spool import SpoolSource
from runtide_consumers.telemetry import Telemetry
from runtide_consumers.writers import Spool
from runtide_schemas import STREAMS, encode, encode_entry, encode_header, parse_address

Point = tuple[str, str, int, int, float]


def metrics_record(writer: int, seq: int, run: str = "e/p/run", **changes: Any) -> dict[str, Any]:
    """A frame of two keys and two steps that no other record has."""
    steps = [2 * seq, 2 * seq + 1]
    fields = {
        "run_id": run, "writer": writer, "seq": seq, "attempt": 1_700_000_000_000_000, "rank": 0, "ordered": True,
        "keys": ["loss", "acc"], "steps": steps, "times": [1_700_000_000_000 + step for step in steps],
        "values": [writer + step / 7 for step in steps] + [writer - step / 3 for step in steps],
    }  # fmt: skip
    return {**fields, **changes}


def points(record: dict[str, Any]) -> list[Point]:
    """The rows of `metrics` that a frame stands for: run_id, key, writer, step, value."""
    steps = len(record["steps"])
    return [
        (record["run_id"], key, record["writer"], step, record["values"][i * steps + j])
        for i, key in enumerate(record["keys"])
        for j, step in enumerate(record["steps"])
    ]


@dataclass
class FakeWriter:
    """Writes a folder as the SDK does; lives (holds its lock) until `close` or `die`."""

    spool: Path
    writer: int
    host: str = field(default_factory=socket.gethostname)
    seq: int = 0
    expected: list[Point] = field(default_factory=list)
    _open: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.spool / f"{self.writer:016x}"
        self.folder.mkdir(parents=True)
        self.lock = (self.folder / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        (self.folder / "writer.json").write_text(json.dumps({"host": self.host, "pid": os.getpid()}))

    def log(self, count: int = 1, run: str = "e/p/run") -> None:
        """Append good frames."""
        for _ in range(count):
            record = metrics_record(self.writer, self.seq, run)
            self.expected += points(record)
            self.append(encode(STREAMS["metrics"], record))
            self.seq += 1

    def spoil(self, **changes: Any) -> bytes:
        """A message with a number of its own that is not expected anywhere."""
        self.seq += 1
        return encode(STREAMS["metrics"], metrics_record(self.writer, self.seq - 1, **changes))

    def append(self, payload: bytes, stream: str = "metrics") -> None:
        """Append any payload."""
        self.raw(encode_entry(payload, 1_700_000_000_000_000 + self.seq), stream)

    def raw(self, data: bytes, stream: str = "metrics") -> None:
        """Append any bytes."""
        if stream not in self._open:
            self.rotate(stream)
        with self._open[stream][0].open("ab") as file:
            file.write(data)

    def rotate(self, stream: str = "metrics", header: bytes | None = None) -> Path:
        """Begin a segment."""
        base = 0
        if stream in self._open:
            path, base = self._open[stream]
            base += path.stat().st_size
        path = self.folder / f"{stream}-{base:020d}.seg"
        path.write_bytes(encode_header(STREAMS[stream]) if header is None else header)
        self._open[stream] = (path, base)
        return path

    def close(self) -> None:
        """End as a writer that finished."""
        (self.folder / "closed").touch()
        self.lock.close()

    def die(self) -> None:
        """End as a writer that was killed."""
        self.lock.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


@pytest.fixture
def writer(spool: Path) -> Iterator[Callable[..., FakeWriter]]:
    """Makes writers with ids 1, 2, ... in the spool."""
    made: list[FakeWriter] = []

    def make(**options: Any) -> FakeWriter:
        made.append(FakeWriter(options.pop("spool", spool), options.pop("writer", len(made) + 1), **options))
        return made[-1]

    yield make
    for one in made:
        one.lock.close()


@dataclass
class Reading:
    """A spool read to its end without a store."""

    path: Path
    batches: list[Batch] = field(default_factory=list)

    def read(self, positions: Positions, stream: str = "metrics") -> "Reading":
        source = SpoolSource(Spool(self.path), positions, stream, "f" * 16, Telemetry(), age=0)
        while batch := source.poll():
            source.intend(batch)
            self.batches.append(batch)
            source.commit(batch)
        return self

    @property
    def seqs(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for batch in self.batches:
            for record in batch.records:
                found.setdefault(record.writer, []).append(record.seq)
        return found

    @property
    def rejects(self) -> dict[int, list[tuple[int, int, str]]]:
        """Offset, length and reason, by partition."""
        found: dict[int, list[tuple[int, int, str]]] = {}
        for batch in self.batches:
            for reject in batch.rejects:
                found.setdefault(reject.partition, []).append((reject.offset, len(reject.payload), reject.reason))
        return found


@pytest.fixture
def positions(spool: Path) -> Iterator[Positions]:
    made = Positions(spool / "positions.sqlite", dict)
    yield made
    made.close()


@pytest.fixture
def reading(spool: Path) -> Reading:
    return Reading(spool)


@dataclass
class Target:
    """A database in a running store, as the consumer and as a person see it."""

    process: Any
    database: str

    @property
    def url(self) -> str:
        password = quote(self.process.password, safe="")
        return f"http://default:{password}@{self.process.host}:{self.process.port}/{self.database}"

    @property
    def store(self) -> Store:
        return Store(parse_address(self.url))

    def ask(self, sql: str) -> list[list[Any]]:
        """Rows of a query, in which `db.` stands for the database."""
        text = self.process.query(sql.replace("db.", f"{self.database}.") + " FORMAT JSONCompactEachRow")
        return [json.loads(line) for line in text.splitlines()]

    def run(self, sql: str) -> None:
        self.process.query(sql.replace("db.", f"{self.database}."))

    def points(self) -> list[Point]:
        """Every row of `metrics`."""
        rows = self.ask("SELECT run_id, key, writer, step, value FROM db.metrics ORDER BY ALL")
        return [(run, key, int(writer), int(step), value) for run, key, writer, step, value in rows]

    def has_exactly(self, *writers: FakeWriter) -> None:
        """Every point of the writers is there once, and nothing else; so says the ledger too, and the summaries."""
        wanted = sorted(point for writer in writers for point in writer.expected)
        assert self.points() == wanted
        assert self.ask("SELECT toUInt32(sum(count)) FROM db.metric_summary_state") == [[len(wanted)]]
        ledger = self.ask("SELECT toUInt32(sum(records)) FROM db.ledger WHERE stream = 'metrics'")
        assert ledger == [[len(wanted) // 4]]

    def shape(self) -> list[list[Any]]:
        """What its tables are, and how many statements of others are still under way there."""
        others = f"query_id != queryID() AND (current_database = '{self.database}' OR query LIKE '%{self.database}%')"
        return self.ask(
            "SELECT count(), sum(sipHash64(create_table_query)), "
            f"(SELECT count() FROM system.processes WHERE {others}) "
            f"FROM system.tables WHERE database = '{self.database}'"
        )

    def drain(self, spool: Path) -> Lanes:
        return drain_spool(spool, self.store, threading.Event())


@pytest.fixture
def bare(store: Any, database: str) -> Target:
    """A database of the session's store, without tables."""
    return Target(store, database)


@pytest.fixture(scope="session")
def spares(store: Any) -> Iterator[list[Target]]:
    """Databases with all tables, which are empty."""
    made: list[Target] = []
    yield made
    for one in made:
        store.query(f"DROP DATABASE {one.database}")


@pytest.fixture
def target(store: Any, spares: list[Target]) -> Iterator[Target]:
    """A database of the session's store with all tables, which are empty; to make one takes more than a second."""
    if not spares:
        spares.append(Target(store, f"target_{secrets.token_hex(5)}"))
        migrate(spares[0].store)
    one = spares.pop()
    before = one.shape()
    yield one
    if one.shape() == before:
        store.empty(one.database)
        spares.append(one)
    else:
        store.query(f"DROP DATABASE {one.database}")


@dataclass
class ConsumerProcess:
    """A consumer in a process of its own."""

    spool: Path
    url: str
    environment: dict[str, str]
    code: str

    def __post_init__(self) -> None:
        self.log = self.spool.parent / "consumer.log"
        arguments = ["-c", self.code] if self.code else ["-m", "runtide_consumers"]
        command = [sys.executable, *arguments, "consume", "--spool", str(self.spool)]
        environment = {**os.environ, "RUNTIDE_CLICKHOUSE_URL": self.url, **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)

    def ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.log.read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(60)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def consumer(spool: Path) -> Iterator[Callable[..., ConsumerProcess]]:
    """Starts consumers on the spool: `consumer(url, code="", **environment)`."""
    started: list[ConsumerProcess] = []

    def start(url: str, code: str = "", **environment: str) -> ConsumerProcess:
        started.append(ConsumerProcess(spool, url, environment, code))
        return started[-1]

    yield start
    for one in started:
        one.end()
