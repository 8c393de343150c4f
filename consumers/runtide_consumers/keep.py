"""The command `runtide keep`: how long the store keeps what the samplers of nodes sent."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping

from runtide_consumers._errors import ConsumerError, SetupError
from runtide_consumers.clickhouse import Store
from runtide_schemas import AddressError, find_store, parse_address

# The tables that may forget, and the column that says how old a row is. What a run logged is never among them.
TABLES = {
    "gpu_samples": "time",
    "gpu_history": "time",
    "host_samples": "time",
    "host_devices": "time",
    "rank_processes": "time",
    "sample_extras": "time",
    "gpu_rollup_10s": "start",
    "gpu_rollup_60s": "start",
    "host_rollup_10s": "start",
    "host_rollup_60s": "start",
}
_FOUND = """
SELECT name, engine_full, ifNull(total_rows, 0), ifNull(total_bytes, 0) FROM system.tables
WHERE database = {database:String} AND name IN {names:Array(String)}
"""
_TTL = re.compile(r" TTL \w+ \+ toIntervalDay\((\d+)\)")


def keep(argv: list[str]) -> int:
    """Say how many days a table of samples is kept, or show it; all are kept for ever until it is said."""
    parser = argparse.ArgumentParser(prog="runtide keep", description=keep.__doc__)
    parser.add_argument("wishes", metavar="TABLE=DAYS", nargs="*", type=_wish, help="0 days: for ever")
    parser.add_argument(
        "--clickhouse", metavar="URL", help="the store (default: RUNTIDE_CLICKHOUSE_URL, else the stack)"
    )
    options = parser.parse_args(argv)
    try:
        address = parse_address(options.clickhouse, "--clickhouse") if options.clickhouse else find_store("default")
        store = Store(address)
        set_days(store, dict(options.wishes))
        for name, (days, rows, size) in days_of(store).items():
            print(f"{name:16}{f'{days} days' if days else 'for ever':>12}{rows:16,} rows{size / 1e6:12,.1f} MB")
    except (ConsumerError, AddressError) as error:
        print(f"runtide keep: {error}", file=sys.stderr)
        return 2
    return 0


def set_days(store: Store, wishes: Mapping[str, int]) -> None:
    """Set how many days tables are kept, 0 for ever; a store deletes what is older at its next merges.

    Raises:
        SetupError: The store has no such table.
        StoreError: The store did not do it.
    """
    found = days_of(store)
    for name, days in wishes.items():
        if name not in found:
            raise SetupError(f"the store has no table {name} yet: the consumer makes it when it starts")
        if days == found[name][0]:
            continue
        what = f"MODIFY TTL {TABLES[name]} + INTERVAL {days} DAY" if days else "REMOVE TTL"
        store.command(f"ALTER TABLE `{store.database}`.`{name}` {what}")


def days_of(store: Store) -> dict[str, tuple[int, int, int]]:
    """Days, 0 for ever, rows and bytes of each table that may forget.

    Raises:
        StoreError: The store does not answer.
    """
    rows = {row[0]: row[1:] for row in store.query(_FOUND, database=store.database, names=list(TABLES))}
    result = {}
    for name in TABLES:
        if name in rows:
            engine, count, size = rows[name]
            days = _TTL.search(engine)
            result[name] = (int(days.group(1)) if days else 0, int(count), int(size))
    return result


def _wish(text: str) -> tuple[str, int]:
    name, _, days = text.partition("=")
    if name not in TABLES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(TABLES)}")
    if not days.isdecimal() or int(days) > 36_500:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of days from 0 (for ever) to 36500")
    return name, int(days)
