"""Dead letters: listed, shown, and replayed once after their cause is mended, whatever dies meanwhile."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from runtide_consumers.admin import dead_letters
from runtide_consumers.clickhouse import Store
from runtide_consumers.engine import Engine
from runtide_consumers.kafka import KafkaSource
from runtide_consumers.migrate import migrate
from runtide_consumers.retry import Retry
from runtide_consumers.telemetry import Telemetry
from runtide_consumers.topics import Wishes, make_topics
from runtide_schemas import STREAMS, Kafka, Stream, encode

Make = Callable[..., Any]
Run = Callable[..., tuple[int, str]]

# A replay that forgets what it asked for: every request has a token of its own.
FORGETFUL = """
import secrets, sys
from runtide_consumers.clickhouse import Store
insert = Store._raw_insert
Store._raw_insert = lambda self, table, body, form, token: insert(self, table, body, form, token + secrets.token_hex(4))
from runtide._cli import main
sys.exit(main())
"""
# What a later version's migration might do: any path is a run's.
RELAXED = "ALTER TABLE db.landing_metrics MODIFY COLUMN reason String MATERIALIZED if(empty(keys), 'no keys', '')"


def record(writer: int, seq: int, **changes: Any) -> dict[str, Any]:
    """A frame of one key and two steps that no other record has."""
    fields = {
        "run_id": "e/p/run", "writer": writer, "seq": seq, "attempt": 1_700_000_000_000_000, "rank": 0,
        "ordered": True, "keys": ["loss"], "steps": [2 * seq, 2 * seq + 1], "times": [1_700_000_000_000] * 2,
        "values": [0.5, seq + 0.25],
    }  # fmt: skip
    return {**fields, **changes}


def newer(**field: Any) -> Stream:
    """The stream `metrics` as a later version has it: with one more field."""
    schema = json.loads(STREAMS["metrics"].schema_json)
    schema["fields"].insert(-1, {"name": "extra", "type": "string", "default": "", **field})
    return Stream("metrics", json.dumps(schema))


@pytest.fixture
def run(target: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `runtide dead-letters` on the database: exit code and everything printed."""
    monkeypatch.setenv("RUNTIDE_CLICKHOUSE_URL", target.url)

    def command(*arguments: str) -> tuple[int, str]:
        code = dead_letters([*arguments])
        said = capfd.readouterr()
        return code, said.out + said.err

    return command


class Topic:
    """The topic `metrics` of a cluster, and a consumer that brings it into the store."""

    def __init__(self, kafka: Kafka, store: Store, until: Make) -> None:
        self.kafka = kafka
        self._until = until
        make_topics(kafka, Wishes(partitions=1))
        stop = threading.Event()
        self._telemetry = Telemetry()
        retry = Retry(stop, lambda: None)
        self._source = retry("find it", lambda: KafkaSource(kafka, "metrics", store, retry, self._telemetry))
        self._engine = Engine("metrics", self._source, store, stop, self._telemetry)
        self._producer = Producer(kafka.client)
        self._sent = 0

    def send(self, *messages: bytes) -> None:
        """Put messages on the topic and wait until the consumer has dealt with all."""
        for message in messages:
            self._producer.produce(self.kafka.topic("metrics"), message, b"key", 0)
        self._producer.flush()
        self._sent += len(messages)

        def all_done() -> bool:
            self._engine.step()
            return self._telemetry.records + self._telemetry.rejects + self._telemetry.duplicates == self._sent

        self._until(all_done, "the consumer is through with the topic")

    def announce(self, stream: Stream) -> None:
        value = json.dumps({"stream": stream.name, "schema": stream.schema_json})
        self._producer.produce(self.kafka.topic("schemas"), value, stream.prefix[2:].hex())
        self._producer.flush()

    def close(self) -> None:
        self._source.close()


@pytest.fixture
def topic(kafka: Any, target: Any, until: Make, monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    monkeypatch.setattr("runtide_consumers.partitions.PATIENCE", 0.0)
    cluster = kafka.fresh()
    monkeypatch.setenv("RUNTIDE_KAFKA", cluster.servers)
    monkeypatch.setenv("RUNTIDE_KAFKA_TOPIC_PREFIX", cluster.prefix)
    made = Topic(cluster, target.store, until)
    yield made
    made.close()


def values(target: Any) -> list[Any]:
    """Everything that a query of the points sees: writer, step, value; and how many the summaries count."""
    points = target.ask("SELECT toUInt32(writer), toInt32(step), value FROM db.metrics ORDER BY ALL")
    (counted,) = target.ask("SELECT toUInt32(sum(count)) FROM db.metric_summary_state")
    assert counted == [len(points)]
    return points


def expected(*records: dict[str, Any]) -> list[Any]:
    return sorted([r["writer"], s, v] for r in records for s, v in zip(r["steps"], r["values"], strict=True))


def numbers(target: Any) -> list[Any]:
    """What the ledger has: writer, seq and how often."""
    sql = "SELECT toUInt32(writer), toUInt32(arrayJoin(range(first_seq, last_seq + 1))) AS seq, toUInt32(count()) "
    return target.ask(sql + "FROM db.ledger WHERE records > 0 GROUP BY ALL ORDER BY ALL")


def test_nothing_there_is_said(target: Any, run: Run) -> None:
    """A store without tables says what makes them, one without letters that there are none, an unknown name so."""
    target.run(f"DROP DATABASE {target.database}")
    code, said = run("list")
    assert code == 2
    assert "`runtide consume` make them" in said
    migrate(target.store)
    assert run("list") == (0, "no dead letters\n")
    assert run("replay")[0] == 0
    assert "begins with abc" in run("replay", "abc")[1]


def test_they_are_counted_listed_and_shown(target: Any, spool: Path, writer: Make, run: Run) -> None:
    """The list counts by reason and names each letter; a name's first digits show bytes and, where they can, fields."""
    one = writer()
    one.log(1)
    one.append(one.spoil()[:-1])
    one.append(one.spoil(values=[1.0]))
    one.append(b"\xc3\x01" + bytes(8) + one.spoil()[10:])
    one.close()
    target.drain(spool)
    code, said = run("list")
    assert code == 0
    assert "values are not keys x steps" in said and "is unknown to the stream" in said
    lines = said.split("\n\n")[1].splitlines()[1:]
    assert len(lines) == 3
    assert len(run("list", "--limit", "1")[1].split("\n\n")[1].splitlines()) == 2
    assert len(run("list", "--reason", "UNKNOWN")[1].split("\n\n")[1].splitlines()) == 2
    assert run("list", "--stream", "runs") == (0, "no dead letters\n")
    unknown = next(line for line in lines if "unknown" in line).split()[0]
    _, shown = run("show", unknown[:6])
    assert "000000  c3 01 00 00" in shown and f"/{one.writer}/" in shown
    assert "cannot be decoded by this version" in shown
    refused = next(line for line in lines if "keys x steps" in line).split()[0]
    assert "values       [1]" in run("show", refused)[1]
    assert "give more digits" in run("show", "")[1]


def test_a_schema_becomes_known(topic: Topic, target: Any, run: Run) -> None:
    """Letters of an unknown schema stay, with the reason, until it is announced; then each is replayed, once."""
    stream = newer()
    good, *late = (record(1, seq) for seq in range(4))
    topic.send(encode(STREAMS["metrics"], good), *(encode(stream, {**r, "extra": "x"}) for r in late))
    code, said = run("replay")
    assert (code, values(target)) == (1, expected(good))
    assert "0 replayed" in said and stream.prefix.hex() in said and "is not known here" in said
    topic.announce(stream)
    assert run("replay", "--reason", "no such reason")[0] == 0
    assert values(target) == expected(good)
    assert run("replay")[1].startswith("3 replayed; 0 had arrived")
    assert values(target) == expected(good, *late)
    assert run("replay")[1].startswith("0 replayed; 0 had arrived by another copy; 3 were done with before")
    assert values(target) == expected(good, *late)
    assert numbers(target) == [[1, seq, 1] for seq in range(4)]
    assert run("list")[1].count("  yes  ") == 3


def test_a_check_is_relaxed(topic: Topic, target: Any, run: Run) -> None:
    """What a view refused is read again from its topic, and only once the check lets it pass."""
    records = [record(1, seq, run_id="no path" if seq else "e/p/run") for seq in range(3)]
    topic.send(*(encode(STREAMS["metrics"], r) for r in records))
    assert values(target) == expected(records[0])
    for _ in range(2):
        code, said = run("replay")
        assert code == 1
        assert "landing_metrics still refuses it: run_id is not entity/project/id" in said
    assert target.ask("SELECT toUInt32(count()) FROM db.dead_letters") == [[2]]
    target.run(RELAXED)
    assert run("replay")[1].startswith("2 replayed")
    assert run("replay")[1].startswith("0 replayed; 0 had arrived by another copy; 2 were")
    assert values(target) == expected(*records)
    assert numbers(target) == [[1, seq, 1] for seq in range(3)]
    tables = f"SELECT name FROM system.tables WHERE database = '{target.database}' AND startsWith(name, 'trial_')"
    assert target.ask(tables) == []


def test_a_tables_column_becomes_wide_enough(topic: Topic, target: Any, run: Run) -> None:
    """What the store could not parse goes in when the landing table takes it; what is torn never does."""
    schema = json.loads(STREAMS["metrics"].schema_json)
    schema["fields"][4]["type"] = "string"
    stream = Stream("metrics", json.dumps(schema))
    topic.announce(stream)
    wide = record(1, 1, rank="7")
    topic.send(
        encode(STREAMS["metrics"], record(1, 0)), encode(stream, wide), encode(STREAMS["metrics"], record(1, 2))[:-1]
    )
    assert values(target) == expected(record(1, 0))
    assert "2 cannot be replayed" in run("replay")[1]
    target.run("ALTER TABLE db.landing_metrics MODIFY COLUMN rank String")
    migrate(target.store)
    code, said = run("replay")
    assert code == 1
    assert said.startswith("1 replayed") and "still cannot parse it" in said
    assert values(target) == expected(record(1, 0), wide)
    assert target.ask("SELECT toUInt32(count()) FROM db.metrics WHERE rank = 7") == [[2]]


def test_more_than_is_kept_comes_from_the_topic(topic: Topic, target: Any, run: Run) -> None:
    """A letter of which the table has only the start is replayed whole."""
    stream = newer()
    steps = list(range(20_000))
    large = record(1, 0, steps=steps, times=[1_700_000_000_000] * len(steps), values=[step + 0.5 for step in steps])
    topic.send(encode(stream, {**large, "extra": ""}))
    topic.announce(stream)
    assert target.ask("SELECT length(payload) < length FROM db.dead_letters") == [[1]]
    assert run("replay")[1].startswith("1 replayed")
    assert values(target) == expected(large)


def test_what_cannot_be_had_is_said(target: Any, spool: Path, writer: Make, run: Run, kafka: Any) -> None:
    """A view's refusal from a spool, noise, and a topic that is not the one: each says why, and nothing changes."""
    one = writer()
    one.append(one.spoil(run_id="no path"))
    one.append(b"noise")
    one.log(1)
    one.close()
    target.drain(spool)
    target.run(RELAXED)
    target.run(
        "INSERT INTO db.dead_letters (stream, reason, source, partition, offset, digest, length, payload) "
        f"VALUES ('metrics', 'from a topic', '{'x' * 22}', 0, 7, repeat('a', 64), 9, 'elsewhere')"
    )
    before = values(target)
    code, said = run("replay")
    assert code == 1
    assert "a spool keeps nothing that is done" in said and "set RUNTIDE_KAFKA" in said
    cluster = kafka.fresh()
    make_topics(cluster, Wishes(partitions=1))
    os.environ["RUNTIDE_KAFKA_TOPIC_PREFIX"] = cluster.prefix
    try:
        assert "its id is another" in run("replay", "--kafka", cluster.servers, "aaaa")[1]
    finally:
        del os.environ["RUNTIDE_KAFKA_TOPIC_PREFIX"]
    assert "3 cannot be replayed" in said
    assert values(target) == before == sorted([w, s, v] for _, _, w, s, v in one.expected)


def test_a_copy_that_arrived_is_not_replayed(topic: Topic, target: Any, run: Run) -> None:
    """A record that came again, and then could be used, is there once: its dead letter is only marked."""
    stream = newer()
    fields = record(1, 0)
    topic.send(encode(stream, {**fields, "extra": ""}), encode(STREAMS["metrics"], fields))
    topic.announce(stream)
    assert run("replay")[1].startswith("0 replayed; 1 had arrived by another copy")
    assert run("replay")[1].startswith("0 replayed; 0 had arrived by another copy; 1 were done")
    assert values(target) == expected(fields)


def letters_of_both_kinds(topic: Topic, target: Any) -> list[dict[str, Any]]:
    """Two records that were rejected, one before the insert and one by a view; their causes are mended."""
    stream = newer()
    records = [record(1, 0), record(2, 0, run_id="no path")]
    topic.send(encode(stream, {**records[0], "extra": ""}), encode(STREAMS["metrics"], records[1]))
    topic.announce(stream)
    target.run(RELAXED)
    return records


@pytest.mark.chaos
@pytest.mark.parametrize("point", ["replay_after_insert", "replay_after_ledger"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_crash_in_the_middle_counts_nothing_twice(topic: Topic, target: Any, run: Run, point: str, nth: int) -> None:
    """A replay that dies behind the insert or behind the ledger is done again, and every point is there once."""
    records = letters_of_both_kinds(topic, target)
    environment = {**os.environ, "RUNTIDE_FAILPOINT": f"{point}:{nth}"}
    command = [sys.executable, "-m", "runtide", "dead-letters", "replay"]
    assert subprocess.run(command, env=environment, timeout=60).returncode == 41
    assert len(values(target)) == 2 * nth
    code, said = run("replay")
    assert (code, said.split(";")[-1].strip()) == (0, "0 cannot be replayed")
    assert values(target) == expected(*records)
    assert numbers(target) == [[1, 0, 1], [2, 0, 1]]
    assert run("replay")[1].startswith("0 replayed; 0 had arrived by another copy; 2 were")


def test_two_may_replay_at_once(topic: Topic, target: Any, run: Run) -> None:
    """Two replays of the same letters at the same time: every point once."""
    records = letters_of_both_kinds(topic, target)
    command = [sys.executable, "-m", "runtide", "dead-letters", "replay"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert values(target) == expected(*records)
    assert numbers(target) == [[1, 0, 1], [2, 0, 1]]


@pytest.mark.chaos
@pytest.mark.usefixtures("run")
def test_the_harness_notices_duplicates(topic: Topic, target: Any) -> None:
    """The same crash with tokens that never repeat does count twice: the tests above can fail."""
    records = letters_of_both_kinds(topic, target)
    command = [sys.executable, "-c", FORGETFUL, "dead-letters", "replay"]
    crash = {**os.environ, "RUNTIDE_FAILPOINT": "replay_after_insert:2"}
    assert subprocess.run(command, env=crash, timeout=60).returncode == 41
    assert subprocess.run(command, timeout=60, stdout=subprocess.DEVNULL).returncode == 0
    twice = [sorted(expected(*records) + expected(one)) for one in records]
    assert values(target) in twice
