"""The client of a schema registry, against one that speaks Confluent's protocol."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from runtide_schemas import STREAMS
from runtide_schemas.registry import Registry, RegistryError, UnknownSchemaError, frame, unframe

SCHEMA = STREAMS["metrics"].schema_json


def test_a_registered_schema_is_found_by_its_number(start_registry: Callable[..., Any]) -> None:
    """By any client; the same text gets the same number, also under another subject and from another client."""
    running = start_registry()
    first = Registry(running.url)
    number = first.register("runtide.metrics", SCHEMA)
    assert Registry(running.url + "/").register("runtide.metrics", SCHEMA) == number
    assert first.register("other.topic", SCHEMA) == number
    assert Registry(running.url).schema(number) == SCHEMA


def test_what_was_answered_once_is_not_asked_again(start_registry: Callable[..., Any]) -> None:
    """A registry that is away does not hold up what is known; what is not known is an error that says who is away."""
    running = start_registry()
    registry = Registry(running.url)
    number = registry.register("t", SCHEMA)
    assert registry.schema(number) == SCHEMA
    running.kill()
    assert registry.register("t", SCHEMA) == number
    assert registry.schema(number) == SCHEMA
    with pytest.raises(RegistryError, match=rf"127.0.0.1:{running.port} cannot be reached") as error:
        registry.register("other", SCHEMA)
    assert not isinstance(error.value, UnknownSchemaError)
    running.start()
    assert registry.register("other", SCHEMA) == number


def test_an_unknown_number_is_told_from_a_refusal(start_registry: Callable[..., Any]) -> None:
    """Unknown is final; an incompatible schema and a wrong password are refusals, without the password in them."""
    running = start_registry(auth="me:p%40 ss:word")
    registry = Registry(running.url)
    registry.register("t", SCHEMA)
    with pytest.raises(UnknownSchemaError, match="404"):
        registry.schema(77)
    other = STREAMS["runs"].schema_json
    with pytest.raises(RegistryError, match=r"409.*incompatible") as refused:
        registry.register("t", other)
    assert not isinstance(refused.value, UnknownSchemaError)
    with pytest.raises(RegistryError, match="401") as refused:
        Registry(running.url.replace("word", "guess")).register("t", SCHEMA)
    assert "guess" not in str(refused.value) and "me:" not in str(refused.value)


def test_a_404_of_somebody_else_is_no_word_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy has it while the registry starts: the schema may be there all the same."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(RegistryError, match="404") as error:
            Registry(f"http://127.0.0.1:{server.server_address[1]}").schema(1)
    assert not isinstance(error.value, UnknownSchemaError)


def test_something_else_at_that_address_is_said(store: Any) -> None:
    """An HTTP server that is no registry."""
    with pytest.raises(RegistryError):
        Registry(store.url).register("t", SCHEMA)


@pytest.mark.parametrize("number", [0, 1, 2**31 - 1])
def test_frames_carry_the_number(number: int) -> None:
    """Zero, four bytes big-endian, the body; anything else is none."""
    message = frame(number, b"body")
    assert message == b"\x00" + number.to_bytes(4, "big") + b"body"
    assert unframe(message) == (number, b"body")
    assert unframe(frame(number, b"")) == (number, b"")
    for other in (b"", b"\x00\x00\x00\x00", b"\xc3\x01" + message):
        assert unframe(other) is None
