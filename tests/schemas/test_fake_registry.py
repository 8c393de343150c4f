"""The tests' schema registry speaks Confluent's protocol: so says Confluent's own client."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from runtide_schemas import STREAMS


@pytest.fixture
def client(start_registry: Callable[..., Any]) -> Iterator[Any]:
    with SchemaRegistryClient({"url": start_registry().url, "max.retries": 0}) as client:
        yield client


def changed(**field: Any) -> Schema:
    """The schema of the stream `runs` with one more field."""
    schema = json.loads(STREAMS["runs"].schema_json)
    schema["fields"].append(field)
    return Schema(json.dumps(schema), "AVRO")


def test_every_stream_is_registered_and_read_back(client: Any) -> None:
    """Each schema gets an id, the same again and under another subject, and comes back under it as it was."""
    ids = {}
    for name, stream in STREAMS.items():
        schema = Schema(stream.schema_json, "AVRO")
        ids[name] = client.register_schema(f"{name}-value", schema)
        assert client.register_schema(f"other-{name}-value", schema) == ids[name]
        assert json.loads(client.get_schema(ids[name]).schema_str) == json.loads(stream.schema_json)
        assert client.lookup_schema(f"{name}-value", schema).schema_id == ids[name]
        assert client.get_latest_version(f"{name}-value").version == 1
    assert len(set(ids.values())) == len(STREAMS)


def test_versions_must_be_able_to_read_the_one_before(client: Any) -> None:
    """A field with a default makes version 2; one without is refused with 409, and what is no schema with 422."""
    first = client.register_schema("s", Schema(STREAMS["runs"].schema_json, "AVRO"))
    second = client.register_schema("s", changed(name="extra", type="string", default=""))
    assert second != first
    assert client.get_latest_version("s").version == 2
    for schema, status, code in (
        (changed(name="more", type="string"), 409, 409),
        (Schema('{"type": "nonsense"}', "AVRO"), 422, 42201),
    ):
        with pytest.raises(SchemaRegistryError) as refusal:
            client.register_schema("s", schema)
        assert (refusal.value.http_status_code, refusal.value.error_code) == (status, code)
    assert client.get_latest_version("s").version == 2


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda client: client.get_schema(99), 40403),
        (lambda client: client.lookup_schema("nobody", changed(name="x", type="int")), 40401),
        (lambda client: client.get_latest_version("nobody"), 40401),
    ],
)
def test_what_is_not_there_is_404(client: Any, ask: Callable[[Any], object], code: int) -> None:
    """Unknown ids and subjects are answered as Confluent's registry does."""
    with pytest.raises(SchemaRegistryError) as refusal:
        ask(client)
    assert (refusal.value.http_status_code, refusal.value.error_code) == (404, code)


def test_it_asks_for_the_password_and_remembers(start_registry: Callable[..., Any]) -> None:
    """Without the password nothing is answered; after a kill the ids are the same."""
    registry = start_registry(auth="me:a pass:word")
    stranger = {"url": f"http://127.0.0.1:{registry.port}", "max.retries": 0}
    friend = {**stranger, "basic.auth.user.info": "me:a pass:word"}
    schema = Schema(STREAMS["runs"].schema_json, "AVRO")
    with SchemaRegistryClient(stranger) as client, pytest.raises(SchemaRegistryError) as refusal:
        client.register_schema("s", schema)
    assert refusal.value.http_status_code == 401
    with SchemaRegistryClient(friend) as client:
        number = client.register_schema("s", schema)
    registry.kill()
    registry.start()
    with SchemaRegistryClient(friend) as client:
        assert json.loads(client.get_schema(number).schema_str) == json.loads(schema.schema_str)
