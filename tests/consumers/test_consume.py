"""Exactly once, whatever dies: the consumer and the store as real processes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtide_consumers.positions import Positions
from runtide_schemas import STREAMS, encode

Make = Callable[..., Any]
POINTS = ["after_intent", "after_insert", "after_ledger"]

# A consumer that forgets what it asked for: every request has a token of its own.
FORGETFUL = """
import secrets, sys
from runtide_consumers.clickhouse import Store
insert = Store._raw_insert
Store._raw_insert = lambda self, table, body, form, token: insert(self, table, body, form, token + secrets.token_hex(4))
from runtide_consumers.commands import consume
sys.exit(consume(sys.argv[2:]))
"""


def target_on(target: Any, process: Any) -> Any:
    """A database of the default name in a store of its own."""
    return type(target)(process, "runtide")


@pytest.mark.chaos
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [1, 3])
def test_a_crash_between_any_two_steps_changes_nothing(
    target: Any, spool: Path, writer: Make, consumer: Make, until: Make, point: str, nth: int
) -> None:
    """The consumer dies after the intent, the insert or the ledger; the next one brings every point once."""
    writers = [writer() for _ in range(3)]
    for one in writers:
        for _ in range(3):
            one.log(5)
            one.rotate()
    crashing = consumer(target.url, RUNTIDE_FAILPOINT=f"{point}:{nth}")
    assert crashing.wait() == 41, crashing.log.read_text()
    for one in writers:
        one.log(5)
        one.close()
    calm = consumer(target.url)
    calm.ready()
    until(lambda: not any(one.folder.exists() for one in writers), "the writers' folders are gone")
    assert calm.stop() == 0
    target.has_exactly(*writers)
    assert "replays=1" in calm.log.read_text()


@pytest.mark.chaos
@pytest.mark.parametrize("point", POINTS)
def test_the_store_may_die_too(
    target: Any, start_store: Make, spool: Path, writer: Make, consumer: Make, until: Make, point: str
) -> None:
    """The consumer and the store are both killed, in the middle of a batch and again under load: every point once."""
    process = start_store()
    mine = target_on(target, process)
    one = writer()
    one.log(20)
    crashing = consumer(mine.url, RUNTIDE_FAILPOINT=point)
    assert crashing.wait() == 41, crashing.log.read_text()
    process.kill()
    one.rotate()
    one.log(20)
    calm = consumer(mine.url)
    process.restart()
    calm.ready()
    process.kill()
    for _ in range(10):
        one.log(10)
        one.rotate()
    process.restart()
    one.close()
    until(lambda: not one.folder.exists(), "the writer's folder is gone")
    assert calm.stop() == 0
    mine.has_exactly(one)


@pytest.mark.chaos
def test_the_harness_notices_duplicates(target: Any, spool: Path, writer: Make, consumer: Make, until: Make) -> None:
    """The same crash with a consumer whose tokens never repeat does count twice: the tests above can fail."""
    one = writer()
    one.log(5)
    assert consumer(target.url, FORGETFUL, RUNTIDE_FAILPOINT="after_insert").wait() == 41
    one.close()
    calm = consumer(target.url, FORGETFUL)
    until(lambda: not one.folder.exists(), "the writer's folder is gone")
    assert calm.stop() == 0
    with pytest.raises(AssertionError):
        target.has_exactly(one)
    assert sorted(target.points()) == sorted(one.expected * 2)


@pytest.mark.chaos
def test_kills_at_any_moment(target: Any, spool: Path, writer: Make, consumer: Make, until: Make) -> None:
    """kill -9 while data flows, over and over: every point once at the end."""
    writers = [writer() for _ in range(2)]
    for _ in range(6):
        running = consumer(target.url)
        running.ready()
        for one in writers:
            one.log(30)
            one.rotate()
        before = len(target.points())
        until(lambda before=before: len(target.points()) > before, "something arrived")
        running.process.kill()
        running.wait()
    for one in writers:
        one.close()
    calm = consumer(target.url)
    until(lambda: not any(one.folder.exists() for one in writers), "the writers' folders are gone")
    assert calm.stop() == 0
    target.has_exactly(*writers)


def test_poison_goes_to_the_dead_letters_and_nothing_else_does(target: Any, spool: Path, writer: Make) -> None:
    """Records that do not parse, lie about lengths or cannot be used are kept with a reason; neighbours land."""
    one = writer()
    one.log(2)
    cut = one.spoil()[:-1]
    one.append(cut)
    one.log(1)
    one.append(one.spoil()[:10] + b"\xff\xff")  # not even a run_id
    one.append(one.spoil(values=[1.0, 2.0, 3.0]))
    one.append(b"\xc3\x01" + bytes(8) + one.spoil()[10:])
    one.log(1)
    one.close()
    lanes = target.drain(spool)
    assert target.points() == sorted(one.expected)
    letters = target.ask("SELECT reason, offset, length, payload = '' FROM db.dead_letters ORDER BY offset")
    reasons = [reason for reason, _, _, _ in letters]
    assert len(letters) == 4
    assert "EOF" in reasons[0] and "run_id" in reasons[1] and "keys x steps" in reasons[2] and "unknown" in reasons[3]
    assert all(int(length) > 0 and not empty for _, _, length, empty in letters)
    assert lanes["metrics"].rejects == 3
    assert target.ask("SELECT length, hex(payload) FROM db.dead_letters ORDER BY offset LIMIT 1") == [
        [len(cut), cut.hex().upper()]
    ]


@pytest.mark.chaos
@pytest.mark.parametrize("point", ["after_intent", "after_insert", "after_ledger"])
def test_a_crash_with_poison_keeps_every_dead_letter_once(
    target: Any, spool: Path, writer: Make, consumer: Make, point: str
) -> None:
    """A crash anywhere in a batch with poison: the good records once, the poison once in the dead letters."""
    one = writer()
    one.log(3)
    one.append(one.spoil()[:-1])
    one.append(b"nonsense")
    one.log(3)
    one.close()
    assert consumer(target.url, RUNTIDE_FAILPOINT=point).wait() == 41
    target.drain(spool)
    assert target.points() == sorted(one.expected)
    assert target.ask("SELECT toUInt32(count()), toUInt32(uniqExact(offset)) FROM db.dead_letters") == [[2, 2]]


def test_what_is_excluded_is_noted_before_the_rest_goes_in(
    target: Any, spool: Path, writer: Make, consumer: Make
) -> None:
    """The intent on the disk names the poison: a store that parses it by the next start changes nothing."""
    one = writer()
    one.log(1)
    one.append(one.spoil()[:-1])
    one.close()
    assert consumer(target.url, RUNTIDE_FAILPOINT="after_insert").wait() == 41
    positions = Positions(spool / "positions.sqlite", dict)
    intent = positions.intent("metrics")
    positions.close()
    assert intent is not None
    assert [(partition, "EOF" in why) for partition, _, why in intent["excluded"]] == [(one.writer, True)]


@pytest.mark.parametrize("expression", ["throwIf(1)", "toInt64(run_id)"], ids=["throws", "fails to parse"])
def test_a_view_that_throws_holds_everything_back_and_loses_nothing(
    target: Any, spool: Path, writer: Make, consumer: Make, until: Make, expression: str
) -> None:
    """A broken view is not the records' fault: none is rejected, other streams go on, all is there after the repair."""
    target.run("CREATE TABLE db.other (x Int64) ENGINE = MergeTree ORDER BY x")
    target.run(f"CREATE MATERIALIZED VIEW db.broken TO db.other AS SELECT {expression} AS x FROM db.landing_metrics")
    one = writer()
    one.log(10)
    running = consumer(target.url)
    running.ready()
    until(lambda: "cannot insert into the store" in running.log.read_text(), "the alarm")
    one.append(encode(STREAMS["runs"], _start(one.writer)), "runs")
    until(lambda: target.ask("SELECT toUInt32(count()) FROM db.run_writers") == [[1]], "the other stream's record")
    assert target.ask("SELECT toUInt32(count()) FROM db.dead_letters") == [[0]]
    target.run("DROP VIEW db.broken")
    one.close()
    until(lambda: not one.folder.exists(), "the writer's folder is gone")
    assert running.stop() == 0
    target.has_exactly(one)


def _start(writer: int) -> dict[str, Any]:
    return {
        "run_id": "e/p/run", "writer": writer, "seq": 0, "attempt": 1_700_000_000_000_000, "rank": 0, "child": False,
        "time": 1_700_000_000_000_000, "event": "start",
    }  # fmt: skip


def test_a_store_that_is_away_is_waited_for_and_sigterm_still_works(
    target: Any, start_store: Make, spool: Path, writer: Make, consumer: Make, until: Make
) -> None:
    """Without a store the consumer says so, deletes nothing and ends at once on SIGTERM; with one it goes on."""
    process = start_store()
    mine = target_on(target, process)
    one = writer()
    one.log(5)
    process.stop()
    waiting = consumer(mine.url)
    until(lambda: "trying again" in waiting.log.read_text(), "the alarm")
    assert waiting.stop() == 0
    assert len(list(one.folder.glob("*.seg"))) == 1
    running = consumer(mine.url)
    process.restart()
    running.ready()
    one.close()
    until(lambda: not one.folder.exists(), "the writer's folder is gone")
    assert running.stop() == 0
    mine.has_exactly(one)


def test_a_second_consumer_is_refused(target: Any, spool: Path, consumer: Make) -> None:
    """One consumer per spool: another says so in one sentence and ends with 2."""
    first = consumer(target.url)
    first.ready()
    second = consumer(target.url)
    assert second.wait() == 2
    assert second.log.read_text().splitlines()[-1].startswith(f"runtide consume: another consumer works on {spool}")
    assert first.stop() == 0


@pytest.mark.parametrize("loss", ["deleted", "damaged"])
def test_lost_positions_count_nothing_twice(target: Any, spool: Path, writer: Make, loss: str) -> None:
    """Without the positions file the consumer goes on from the ledger; dead letters are not repeated either."""
    one = writer()
    one.log(5)
    one.append(b"nonsense")
    one.log(5)
    one.append(b"nonsense at the end")
    target.drain(spool)
    assert len(list(one.folder.glob("*.seg"))) == 1
    file = spool / "positions.sqlite"
    file.unlink() if loss == "deleted" else file.write_bytes(os.urandom(5000))
    one.log(5)
    one.close()
    target.drain(spool)
    target.has_exactly(one)
    assert target.ask("SELECT toUInt32(count()) FROM db.dead_letters") == [[2]]


def test_an_unwritable_spool_is_one_sentence(target: Any, spool: Path, consumer: Make) -> None:
    """A spool that cannot be written to is named, with what to do."""
    spool.rmdir()
    spool.write_text("a file")
    refused = consumer(target.url)
    assert refused.wait() == 2
    assert refused.log.read_text().splitlines()[-1].startswith(f"runtide consume: cannot write to the spool {spool}")
