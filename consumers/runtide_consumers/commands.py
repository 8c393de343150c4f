"""The commands `runtide consume` and `runtide sync`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from runtide_consumers import logs
from runtide_consumers._errors import ConsumerError, SetupError, SpoolBusy, Stopped, StoreError
from runtide_consumers.clickhouse import Store
from runtide_consumers.consume import Lanes, consume_kafka, consume_spool, drain_spool
from runtide_consumers.watching import wait_until_drained
from runtide_schemas import AddressError, Kafka, KafkaSettingsError, find_kafka, find_store, home, parse_address

_URL_HELP = (
    "the store, http://user:password@host:port/database "
    "(default: RUNTIDE_CLICKHOUSE_URL, else the stack that `runtide up` runs)"
)


def consume(argv: list[str]) -> int:
    """Tail a spool folder, or Kafka, into the store until SIGTERM or SIGINT; prints `ready` once it does."""
    parser = argparse.ArgumentParser(prog="runtide consume", description=consume.__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--spool", type=Path, help="the spool folder (default: RUNTIDE_DIR/spool)")
    where.add_argument(
        "--kafka", metavar="HOST:PORT", nargs="?", const="", help="a Kafka cluster (default: the one of RUNTIDE_KAFKA)"
    )
    parser.add_argument("--clickhouse", metavar="URL", help=_URL_HELP)
    parser.add_argument(
        "--metrics-port",
        type=_port_number,
        metavar="PORT",
        default=os.environ.get("RUNTIDE_METRICS_PORT") or None,
        help="answer /metrics, /healthz and /readyz on this port of all interfaces (RUNTIDE_METRICS_PORT; not at all)",
    )
    logs.add_option(parser)
    options = parser.parse_args(argv)
    logs.begin(options.log_format)
    try:
        store = _store(options.clickhouse)
        stop, ready = _stop_event(), partial(print, "ready", flush=True)
        if options.kafka is None:
            consume_spool(options.spool or home() / "spool", store, stop, ready, options.metrics_port)
        else:
            consume_kafka(_kafka(options.kafka), store, stop, ready, options.metrics_port)
    except (ConsumerError, AddressError, KafkaSettingsError) as error:
        print(f"runtide consume: {error}", file=sys.stderr)
        return 2
    return 0


def sync(argv: list[str]) -> int:
    """Bring what a spool folder holds into the store, and end."""
    parser = argparse.ArgumentParser(prog="runtide sync", description=sync.__doc__)
    parser.add_argument(
        "path", nargs="?", type=Path, help="a spool folder, or a folder with one (default: RUNTIDE_DIR)"
    )
    parser.add_argument("--clickhouse", metavar="URL", help=_URL_HELP)
    logs.add_option(parser)
    options = parser.parse_args(argv)
    logs.begin(options.log_format, logging.WARNING, "%(message)s")
    stop = _stop_event()
    try:
        spool = _spool_in(options.path or home())
        store = _store(options.clickhouse)
        _check(store)
        try:
            print(_summary(drain_spool(spool, store, stop)))
        except SpoolBusy:
            print(f"a consumer works on {spool}; waiting until it has brought everything that is there now")
            wait_until_drained(spool, stop)
            print("done")
    except Stopped:
        print("runtide sync: stopped before everything was in the store; run it again to go on", file=sys.stderr)
        return 130
    except (ConsumerError, AddressError) as error:
        print(f"runtide sync: {error}", file=sys.stderr)
        return 2
    return 0


def _port_number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} (or RUNTIDE_METRICS_PORT): give a number from 1 to 65535")
    return int(text)


def _check(store: Store) -> None:
    try:
        store.query("SELECT 1")
    except StoreError as error:
        raise SetupError(f"the store at {store.address} does not answer as it should: {error}") from error


def _summary(lanes: Lanes) -> str:
    def total(name: str) -> int:
        return sum(int(getattr(lane, name)) for lane in lanes.values())

    each = ", ".join(f"{lane.records:,} of {name}" for name, lane in lanes.items() if lane.records)
    return (
        f"{total('records'):,} records brought{each and f' ({each})'}; {total('duplicates'):,} were there already, "
        f"{total('rejects'):,} could not be used (see the table dead_letters)"
    )


def _spool_in(path: Path) -> Path:
    spool = path / "spool" if (path / "spool").is_dir() else path
    if not spool.is_dir():
        raise SetupError(f"there is no folder {path}; name a spool folder or set RUNTIDE_DIR")
    if spool is path and not any(path.glob("[0-7]" + "[0-9a-f]" * 15)) and not (path / "spool.id").exists():
        raise SetupError(f"{path} is no spool folder and has none in it: no writer's folder is there")
    return spool


def _kafka(servers: str) -> Kafka:
    kafka = find_kafka(servers=servers)
    if kafka is None:
        raise SetupError("which Kafka? Name its brokers: --kafka host:port, or RUNTIDE_KAFKA=host:port")
    return kafka


def _store(given: str | None) -> Store:
    return Store(parse_address(given, "--clickhouse") if given else find_store("default"))


def _stop_event() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
