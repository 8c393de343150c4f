import threading
from dataclasses import replace
from typing import Any

import pytest

from runtide_consumers._errors import MigrationError
from runtide_consumers.migrate import migrate
from runtide_schemas import Migration, migrations

MORE = Migration(9001, "9001_more.sql", "CREATE TABLE IF NOT EXISTS `${database}`.more (x Int8) ENGINE = Null;\n")
LAST = Migration(
    9002, "9002_last.sql", "CREATE TABLE IF NOT EXISTS `${database}`.last AS `${database}`.more ENGINE = Null;\n"
)


def applied(bare: Any) -> list[Any]:
    return [row[0] for row in bare.ask("SELECT toUInt32(number) FROM db.migrations ORDER BY applied, number")]


def test_all_are_applied_once_in_order(bare: Any) -> None:
    """A fresh database gets all of them in order; a second start has nothing to do; a new one is added."""
    numbers = [migration.number for migration in migrations()]
    assert migrate(bare.store) == len(numbers)
    assert applied(bare) == numbers
    assert migrate(bare.store) == 0
    assert migrate(bare.store, [*migrations(), MORE, LAST]) == 2
    assert applied(bare) == [*numbers, 9001, 9002]


def test_the_database_is_made(store: Any, bare: Any) -> None:
    """A store without the database gets it."""
    bare.run("DROP DATABASE " + bare.database)
    migrate(bare.store)
    assert bare.ask("SELECT toUInt32(count()) FROM db.metrics") == [[0]]


def test_an_edited_file_is_refused(bare: Any) -> None:
    """A migration that was changed after it was applied is named, and nothing further is applied."""
    migrate(bare.store, [*migrations(), MORE])
    with pytest.raises(MigrationError, match=r"9001_more\.sql was edited after it was applied"):
        migrate(bare.store, [*migrations(), replace(MORE, text=MORE.text + "\n-- a comment\n"), LAST])
    assert 9002 not in applied(bare)


def test_a_newer_store_is_refused(bare: Any) -> None:
    """A store with a migration that this version lacks is left alone."""
    migrate(bare.store, [*migrations(), MORE])
    with pytest.raises(MigrationError, match=r"9001_more\.sql.*newer version"):
        migrate(bare.store)


def test_a_number_out_of_order_is_refused(bare: Any) -> None:
    """A file that would have to be applied before one that was applied is refused, and so are two with one number."""
    migrate(bare.store, [*migrations(), LAST.__class__(9002, "9002_a.sql", MORE.text)])
    with pytest.raises(MigrationError, match=r"9001_more\.sql comes before .* above 9002"):
        migrate(bare.store, [*migrations(), MORE, LAST.__class__(9002, "9002_a.sql", MORE.text)])
    with pytest.raises(MigrationError, match="same number"):
        migrate(bare.store, [*migrations(), MORE, replace(MORE, name="9001_other.sql")])


def test_a_migration_cut_short_is_done_again(bare: Any) -> None:
    """A failure in the middle leaves the file unrecorded; the next start repeats it from its beginning."""
    broken = Migration(9001, "9001_more.sql", MORE.text + "CREATE NONSENSE;\n")
    with pytest.raises(Exception, match="NONSENSE"):
        migrate(bare.store, [*migrations(), broken])
    assert 9001 not in applied(bare)
    assert migrate(bare.store, [*migrations(), MORE]) == 1


def test_two_may_start_at_once(bare: Any) -> None:
    """Starts at the same time all succeed, and every migration is recorded once."""
    barrier, errors = threading.Barrier(4), []

    def start() -> None:
        barrier.wait()
        try:
            migrate(bare.store)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert applied(bare) == [migration.number for migration in migrations()]
