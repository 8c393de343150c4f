"""A consumer: a lane (a thread with an engine) per stream, on a spool folder or on Kafka."""

from __future__ import annotations

import fcntl
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from runtide_consumers._errors import SetupError, SpoolBusy, Stopped
from runtide_consumers.clickhouse import Store
from runtide_consumers.engine import Engine
from runtide_consumers.kafka import KafkaSource
from runtide_consumers.migrate import migrate
from runtide_consumers.monitor import Health, serve
from runtide_consumers.positions import Key, Positions
from runtide_consumers.retry import Retry
from runtide_consumers.spool import AGE, SpoolSource
from runtide_consumers.telemetry import Report, Telemetry
from runtide_consumers.topics import Wishes, faults_of_topics
from runtide_consumers.writers import Spool
from runtide_schemas import STREAMS, Kafka

log = logging.getLogger("runtide.consumer")

# Seconds that the lanes get to finish their batches; what they were doing is noted and done again at the next start.
_GRACE = 8.0

_POSITIONS = """
SELECT stream, partition, max(next_offset) FROM `{database}`.ledger
WHERE source = {{source:String}} GROUP BY stream, partition
"""

Lanes = dict[str, Telemetry]


def consume_spool(
    path: Path, store: Store, stop: threading.Event, ready: Callable[[], None], metrics_port: int | None = None
) -> None:
    """Bring a spool folder's records into the store until stopped.

    Args:
        path: The spool folder; made when missing.
        store: Where the records go.
        stop: Ends the work after the current batches.
        ready: Called once the store's tables are there and the spool was read.
        metrics_port: Where to answer /metrics, /healthz and /readyz; None: nowhere.

    Raises:
        SpoolBusy, SetupError, MigrationError: A person must do something.
        Exception: What a lane raised.
    """
    lanes: Lanes = {name: Telemetry() for name in STREAMS}
    _consume(lanes, _spool_engines(path, store, stop, lanes, AGE), stop, ready, metrics_port)


def consume_kafka(
    kafka: Kafka, store: Store, stop: threading.Event, ready: Callable[[], None], metrics_port: int | None = None
) -> None:
    """Bring the records of Kafka's topics into the store until stopped; others may do so at the same time.

    Args:
        kafka: The cluster.
        store: Where the records go.
        stop: Ends the work after the current batches.
        ready: Called once the store's tables are there and the topics were found.
        metrics_port: Where to answer /metrics, /healthz and /readyz; None: nowhere.

    Raises:
        SetupError, MigrationError: A person must do something.
        Exception: What a lane raised.
    """
    lanes: Lanes = {name: Telemetry() for name in STREAMS}
    _consume(lanes, _kafka_engines(kafka, store, stop, lanes), stop, ready, metrics_port)


def _consume(
    lanes: Lanes,
    opening: AbstractContextManager[list[Engine]],
    stop: threading.Event,
    ready: Callable[[], None],
    metrics_port: int | None,
) -> None:
    report, health = Report(lanes), Health(lanes)
    try:
        with nullcontext() if metrics_port is None else serve(metrics_port, health), opening as engines:
            ready()
            _run(engines, Engine.run, stop, report, health)
    except Stopped:
        log.info("stopped while the store or the broker did not answer; nothing is lost")
    finally:
        report.tick(now=True)


def drain_spool(path: Path, store: Store, stop: threading.Event) -> Lanes:
    """Bring into the store what a spool folder holds now.

    Returns:
        What was done, by stream.

    Raises:
        SpoolBusy, SetupError, MigrationError: A person must do something.
        Stopped: Before everything was done.
        Exception: What a lane raised.
    """
    lanes: Lanes = {name: Telemetry() for name in STREAMS}

    def lane(engine: Engine) -> None:
        while engine.step():
            if stop.is_set():
                raise Stopped(f"sync of {path}")

    with _spool_engines(path, store, stop, lanes, 0.0) as engines:
        _run(engines, lane, stop, Report(lanes), Health(lanes))
    return lanes


@contextmanager
def _kafka_engines(kafka: Kafka, store: Store, stop: threading.Event, lanes: Lanes) -> Iterator[list[Engine]]:
    retry = Retry(stop, lambda: None)
    retry("make the store's tables", lambda: migrate(store))
    _tell_of_topics(kafka, retry)
    with ExitStack() as sources:
        engines = []
        for name, telemetry in lanes.items():
            patient = Retry(stop, telemetry.count_retry)
            source = retry(f"find the topic of {name}", partial(KafkaSource, kafka, name, store, patient, telemetry))
            sources.callback(source.close)
            engines.append(Engine(name, source, store, stop, telemetry))
        yield engines


def _tell_of_topics(kafka: Kafka, retry: Retry) -> None:
    """Say what is missing or too small, before the wait for it begins."""
    try:
        faults = retry("look at the topics", partial(faults_of_topics, kafka, Wishes()))
    except SetupError as error:
        faults = [f"cannot look at the topics' settings: {error}"]
    for fault in faults:
        log.error("%s", fault)


@contextmanager
def _spool_engines(path: Path, store: Store, stop: threading.Event, lanes: Lanes, age: float) -> Iterator[list[Engine]]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "consumer.lock").open("a")
    except OSError as error:
        raise SetupError(
            f"cannot write to the spool {path}: {error.strerror}; choose another folder or change its owner"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolBusy(f"another consumer works on {path}; a spool has one at a time") from None
        retry = Retry(stop, lambda: None)
        retry("make the store's tables", lambda: migrate(store))
        source = _spool_id(path)

        def recover() -> dict[Key, int]:
            sql = _POSITIONS.format(database=store.database)
            rows = retry("read the positions from the ledger", lambda: store.query(sql, source=source))
            return {(stream, partition): offset for stream, partition, offset in rows}

        positions = Positions(path / "positions.sqlite", recover)
        spool = Spool(path)
        try:
            spool.writers()
            yield [
                Engine(name, SpoolSource(spool, positions, name, source, telemetry, age), store, stop, telemetry)
                for name, telemetry in lanes.items()
            ]
        finally:
            positions.close()


def _run(
    engines: list[Engine], lane: Callable[[Engine], None], stop: threading.Event, report: Report, health: Health
) -> None:
    """Run every engine in a thread of its own until all have ended; the first error ends all and is raised."""
    errors: list[BaseException] = []

    def guarded(engine: Engine) -> None:
        try:
            lane(engine)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(e,), name=f"runtide-{e.stream}", daemon=True) for e in engines]
    for thread in threads:
        thread.start()
    health.threads = threads
    while any(thread.is_alive() for thread in threads) and not stop.wait(0.1):
        report.tick()
    deadline = time.monotonic() + _GRACE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])


def _spool_id(path: Path) -> str:
    """The spool's id, 16 hexadecimal digits; made at first."""
    file = path / "spool.id"
    if not file.exists():
        draft = path / "spool.id.new"
        draft.write_text(secrets.token_hex(8))
        draft.replace(file)
    text = file.read_text().strip()
    if len(text) != 16 or set(text) - set("0123456789abcdef"):
        raise SetupError(f"{file} should hold 16 hexadecimal digits; delete it, and the spool gets a new id")
    return text
