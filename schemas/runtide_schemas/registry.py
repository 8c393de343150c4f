"""A Confluent Schema Registry: schemas to numbers and back.

Source: Confluent Schema Registry API reference, "Subjects" and "Schemas".
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

_TYPE = "application/vnd.schemaregistry.v1+json"
_TIMEOUT = 10.0
_FRAME_MAGIC = b"\x00"
_ID_BYTES = 4
_SCHEMA_NOT_FOUND = 40403


class RegistryError(Exception):
    """The registry cannot be reached, or refuses: worth another try, later."""


class UnknownSchemaError(RegistryError):
    """The registry knows no schema of that number."""


class Registry:
    """A registry; what it has answered once it is not asked again. Used by one thread at a time.

    Args:
        url: Its address, as http://user:password@host:port; user and password may be left out.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._url = parts._replace(netloc=host).geturl().rstrip("/")
        self._headers = {"Accept": _TYPE, "Content-Type": _TYPE}
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        self._numbers: dict[tuple[str, str], int] = {}
        self._schemas: dict[int, str] = {}

    def register(self, topic: str, schema_json: str) -> int:
        """Number of the schema under which a topic's records are written; the registry learns it where it is new.

        Raises:
            RegistryError: It cannot be reached, or refuses.
        """
        if (topic, schema_json) not in self._numbers:
            path = f"/subjects/{topic}-value/versions"
            self._numbers[topic, schema_json] = int(self._ask(path, "id", {"schema": schema_json}))
        return self._numbers[topic, schema_json]

    def schema(self, number: int) -> str:
        """The schema (JSON text) of a number.

        Raises:
            UnknownSchemaError: There is none.
            RegistryError: It cannot be reached, or refuses.
        """
        if number not in self._schemas:
            self._schemas[number] = str(self._ask(f"/schemas/ids/{number}", "schema"))
        return self._schemas[number]

    def _ask(self, path: str, field: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read())[field]
        except urllib.error.HTTPError as error:
            with error:
                code, message = _refusal(error)
            text = f"the schema registry {self._url} answers {error.code} to {path}: {message}"
            # A proxy's 404, while the registry starts, says nothing of the schema.
            raise (UnknownSchemaError if code == _SCHEMA_NOT_FOUND else RegistryError)(text) from error
        except (OSError, http.client.HTTPException) as error:
            raise RegistryError(f"the schema registry {self._url} cannot be reached: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            text = f"{self._url} does not answer as a schema registry: see RUNTIDE_SCHEMA_REGISTRY_URL"
            raise RegistryError(text) from error


def frame(number: int, body: bytes) -> bytes:
    """A record's Avro body behind the number of its schema, as readers of a registry expect it."""
    return _FRAME_MAGIC + number.to_bytes(_ID_BYTES, "big") + body


def unframe(message: bytes) -> tuple[int, bytes] | None:
    """The number of the schema and the Avro body of a message in that form; None when it has another."""
    start = len(_FRAME_MAGIC) + _ID_BYTES
    if len(message) < start or not message.startswith(_FRAME_MAGIC):
        return None
    return int.from_bytes(message[1:start], "big"), message[start:]


def _refusal(error: urllib.error.HTTPError) -> tuple[int, str]:
    """The registry's own code and message; 0 when it was not the registry that answered."""
    try:
        answer = json.loads(error.read())
        return int(answer["error_code"]), str(answer["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, error.reason
