"""Runs that go to a real Kafka: all arrives, once and in order, whatever the broker does."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

import runtide
from runtide import _hooks
from runtide_schemas import STREAMS
from runtide_schemas.kafka import SCHEMAS

Until = Callable[[Callable[[], object], str], None]


def outbox(home: Path) -> list[Path]:
    return sorted((home / "outbox").glob("*"))


def test_a_run_arrives_in_its_topics(topics: Any, home: Path) -> None:
    """Every record once, in order, under the writer's key, with the time of its appending; nothing stays on disk."""
    topics.create()
    run = runtide.init(project="p", config={"lr": 0.1})
    for number in range(1000):
        run.log({"a": float(number), "note": f"n{number}"})
    run.alert("done")
    print("a line")
    run.finish()
    assert outbox(home) == []
    assert topics.points() == [("a", step, float(step)) for step in range(1000)]
    ends = [record for record in topics.records("runs") if record["event"] == "finish"]
    assert [end["state"] for end in ends] == ["finished"]
    # People edit in the dashboard, a run does not.
    # Others are sent by the dashboard, by the sampler and by agents of sweeps.
    assert set(ends[0]["sent"]) == {"alerts", "console_lines", "metrics", "metrics_json", "runs"}
    for stream, sent in ends[0]["sent"].items():
        messages, records = topics.messages(stream), topics.records(stream)
        assert [record["seq"] for record in records] == list(range(sent))
        writer = records[0]["writer"]
        assert {message.key().decode() for message in messages} == {f"{run.path}/{writer:016x}"}
        assert len({message.partition() for message in messages}) == 1
        times = [message.timestamp()[1] for message in messages]
        assert times == sorted(times)
        assert run.start_time * 1000 - 1 <= times[0]


def test_the_schemas_are_announced(topics: Any) -> None:
    """Once a process, under their fingerprints."""
    topics.create()
    for _ in range(2):
        run = runtide.init(project="p", reinit="create_new")
        run.log({"a": 1.0})
        assert run.flush()
    for run in list(_hooks._runs):
        run.finish()
    announced = {message.key().decode(): json.loads(message.value()) for message in topics.messages(SCHEMAS)}
    for name in ("runs", "metrics"):
        stream = STREAMS[name]
        assert announced[stream.prefix[2:].hex()] == {"stream": name, "schema": stream.schema_json}
    assert len(topics.messages(SCHEMAS)) == len(announced)


def test_several_runs_of_a_process_share_a_forwarder(topics: Any, home: Path) -> None:
    """Writers of one process, one after the other and at once."""
    topics.create()
    first = runtide.init(project="p", id="first")
    second = runtide.init(project="p", id="second", reinit="create_new")
    for number in range(100):
        first.log({"first": float(number)})
        second.log({"second": float(number)})
    assert first.flush() and second.flush()
    assert [thread.name for thread in threading.enumerate()].count("runtide-forwarder") == 1
    first.finish()
    second.finish()
    third = runtide.init(project="p", id="third")
    third.log({"third": 1.0})
    third.finish()
    assert outbox(home) == []
    points = topics.points()
    assert len(points) == len(set(points)) == 201


def test_with_a_registry_records_carry_its_numbers(
    topics: Any,
    home: Path,
    start_registry: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Confluent's client reads them; while the registry is away, records wait and nothing is lost."""
    running = start_registry(auth="me:secret")
    monkeypatch.setenv("RUNTIDE_SCHEMA_REGISTRY_URL", running.url)
    running.kill()
    topics.create()
    run = runtide.init(project="p")
    for number in range(100):
        run.log({"a": float(number)})
    assert run.flush()
    said = ""

    def is_told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "cannot be reached" in said

    until(is_told, "the registry's absence is told")
    assert "secret" not in said
    assert topics.messages("metrics") == []
    running.start()
    run.finish()
    assert outbox(home) == []
    config = {"url": running.url.replace("me:secret@", ""), "basic.auth.user.info": "me:secret"}
    with SchemaRegistryClient(config) as client:
        read = AvroDeserializer(client)
        records = [
            read(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
            for message in topics.messages("metrics")
        ]
    assert [value for record in records for value in record["values"]] == list(map(float, range(100)))
