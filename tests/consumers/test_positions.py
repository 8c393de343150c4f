import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from runtide_consumers.positions import Key, Positions


def never() -> Mapping[Key, int]:
    raise AssertionError("must not be asked")


def test_positions_and_intents_survive(tmp_path: Path) -> None:
    """What was committed and intended is there after the file was opened again."""
    one = Positions(tmp_path / "p", dict)
    one.intend("metrics", {"ranges": [[1, 0, 10]]})
    one.commit("runs", {7: 70, 2**62: 2**40})
    one.close()
    again = Positions(tmp_path / "p", never)
    assert (again.get("runs", 7), again.get("runs", 2**62), again.get("metrics", 7)) == (70, 2**40, 0)
    assert again.intent("metrics") == {"ranges": [[1, 0, 10]]}
    again.commit("metrics", {1: 10})
    assert again.intent("metrics") is None
    again.close()


def test_a_commit_leaves_other_streams_intents(tmp_path: Path) -> None:
    """A stream's commit forgets its own intent only."""
    one = Positions(tmp_path / "p", dict)
    one.intend("metrics", {"n": 1})
    one.intend("runs", {"n": 2})
    one.commit("runs", {})
    assert (one.intent("metrics"), one.intent("runs")) == ({"n": 1}, None)
    one.close()


def test_forgotten_writers_start_over(tmp_path: Path) -> None:
    """A forgotten writer's positions are 0 again, now and after a restart."""
    one = Positions(tmp_path / "p", dict)
    one.commit("runs", {7: 70, 8: 80})
    one.forget(7)
    assert (one.get("runs", 7), one.get("runs", 8)) == (0, 80)
    one.close()
    again = Positions(tmp_path / "p", never)
    assert (again.get("runs", 7), again.get("runs", 8)) == (0, 80)
    again.close()


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "header", "page", "half"])
def test_a_damaged_file_is_made_anew_from_what_the_store_has(tmp_path: Path, damage: str) -> None:
    """Whatever happened to the file, the positions come from the store, and the next start trusts them."""
    path = tmp_path / "positions.sqlite"
    one = Positions(path, dict)
    one.commit("runs", {writer: writer for writer in range(1, 500)})
    one.close()
    data = path.read_bytes()
    damaged = {
        "empty": b"", "garbage": b"\x00\xff" * 999, "header": b"X" * 16 + data[16:], "half": data[: len(data) // 2],
        "page": data[:4096] + b"\xff" * 4096 + data[8192:],
    }  # fmt: skip
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    again = Positions(path, lambda: {("runs", 7): 700})
    assert (again.get("runs", 7), again.get("runs", 8)) == (700, 0)
    again.close()
    third = Positions(path, never)
    assert third.get("runs", 7) == 700
    third.close()


def test_a_recovery_cut_short_is_done_again(tmp_path: Path) -> None:
    """A crash while the store is asked does not leave an empty file that looks whole."""

    def crash() -> Mapping[Key, int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Positions(tmp_path / "p", crash)
    again = Positions(tmp_path / "p", lambda: {("runs", 7): 700})
    assert again.get("runs", 7) == 700
    again.close()


def test_every_change_waits_for_the_disk(tmp_path: Path) -> None:
    """SQLite runs with synchronous=FULL: a position that was committed survives a power cut."""
    one = Positions(tmp_path / "p", dict)
    assert one._db.execute("PRAGMA synchronous").fetchone() == (2,)
    one.close()
    with closing(sqlite3.connect(tmp_path / "p")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
