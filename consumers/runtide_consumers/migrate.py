"""Brings the store's tables to the state that this version's SQL files describe."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from runtide_consumers._errors import MigrationError
from runtide_consumers.clickhouse import Store
from runtide_schemas import STREAMS, Migration, migrations

log = logging.getLogger("runtide.consumer")

_TABLE = """
CREATE TABLE IF NOT EXISTS `{database}`.migrations
(
    number UInt32 COMMENT 'Its place in the order',
    name String COMMENT 'The file',
    digest FixedString(64) COMMENT 'SHA-256 of the file, hexadecimal',
    applied DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When'
)
ENGINE = MergeTree ORDER BY number
SETTINGS non_replicated_deduplication_window = 20000
COMMENT 'SQL files that made these tables'
"""


def migrate(store: Store, wanted: Sequence[Migration] | None = None) -> int:
    """Apply the migrations that the store lacks, in order; two may do so at once, every statement can be repeated.

    Args:
        store: The database; made when missing.
        wanted: All migrations; those of the package by default.

    Returns:
        How many were applied.

    Raises:
        MigrationError: What was applied is not what this version has.
        StoreError: The store does not answer; may be called again.
    """
    wanted = migrations() if wanted is None else wanted
    store.command(f"CREATE DATABASE IF NOT EXISTS `{store.database}`")
    store.command(_TABLE.format(database=store.database))
    rows = store.query(f"SELECT number, name, digest FROM `{store.database}`.migrations ORDER BY number")
    applied = {number: (name, _text(digest)) for number, name, digest in rows}
    _check(applied, wanted)
    pending = [migration for migration in wanted if migration.number not in applied]
    for migration in pending:
        for statement in migration.statements(store.database):
            store.command(statement)
        row = {"number": migration.number, "name": migration.name, "digest": migration.digest}
        store.insert_rows("migrations", [row], f"migration/{migration.number}/{migration.digest}")
        log.info("applied %s", migration.name)
    _make_probes(store)
    return len(pending)


def _check(applied: dict[int, tuple[str, str]], wanted: Sequence[Migration]) -> None:
    by_number = {migration.number: migration for migration in wanted}
    if len(by_number) != len(wanted):
        raise MigrationError("two SQL files have the same number; give every migration its own")
    for number, (name, digest) in applied.items():
        migration = by_number.get(number)
        if migration is None:
            raise MigrationError(
                f"the store has the migration {name}, this version does not: "
                "the store was made by a newer version; install that one"
            )
        if migration.digest != digest:
            raise MigrationError(
                f"{migration.name} was edited after it was applied to the store (as {name}); "
                "restore the file and put the change into a new one"
            )
    last = max(applied, default=0)
    if late := [m.name for m in wanted if m.number < last and m.number not in applied]:
        raise MigrationError(
            f"{late[0]} comes before migrations that were applied already; give it a number above {last}"
        )


def _make_probes(store: Store) -> None:
    """Tables that parse as the landing tables do and do nothing else, made anew because those may have changed."""
    rows = store.query("SELECT name FROM system.tables WHERE database = {database:String}", database=store.database)
    tables = {row[0] for row in rows}
    for stream in STREAMS.values():
        if stream.landing_table in tables:
            store.command(
                f"CREATE OR REPLACE TABLE `{store.database}`.`probe_{stream.name}` "
                f"AS `{store.database}`.`{stream.landing_table}` ENGINE = Null"
            )


def _text(digest: str | bytes) -> str:
    return digest.decode() if isinstance(digest, bytes) else digest
