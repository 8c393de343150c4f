"""Questions to the store, over ClickHouse's HTTP interface and with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtide._errors import QueryError
from runtide._settings import home

if TYPE_CHECKING:
    import pyarrow as pa

_TIMEOUT = 300.0


@dataclass(frozen=True)
class Store:
    """Where the store answers, and as whom to ask.

    Args:
        url: Scheme, host and port.
        user: Name of the user.
        password: The user's password, empty for none.
        database: The database that a question without one means.
    """

    url: str
    user: str
    password: str
    database: str


def locate() -> Store:
    """The store in RUNTIDE_CLICKHOUSE_URL, else the one of the embedded stack that is running.

    Raises:
        QueryError: Neither is there.
    """
    if address := os.environ.get("RUNTIDE_CLICKHOUSE_URL"):
        parts = urllib.parse.urlsplit(address)
        if not parts.hostname:
            raise QueryError(f"RUNTIDE_CLICKHOUSE_URL={address!r}: give http://user:password@host:port/database")
        port = f":{parts.port}" if parts.port else ""
        user, password = (urllib.parse.unquote(text or "") for text in (parts.username, parts.password))
        return Store(
            f"{parts.scheme}://{parts.hostname}{port}", user or "default", password, parts.path.strip("/") or "runtide"
        )
    try:
        stack = json.loads((home() / "stack.json").read_text())
    except FileNotFoundError:
        raise QueryError(
            f"no stack is running on {home()}: start one with `runtide up`, or set RUNTIDE_CLICKHOUSE_URL"
        ) from None
    except (OSError, ValueError) as error:
        raise QueryError(
            f"{home() / 'stack.json'} cannot be read ({error}): start the stack again with `runtide up`"
        ) from error
    return Store(stack["store_url"], "reader", "", stack["database"])


def fetch(query: str, output: str) -> bytes:
    """The answer to a query, as the store formats it.

    Args:
        query: One SQL statement that reads, without FORMAT.
        output: Name of a ClickHouse format, such as CSVWithNames.

    Raises:
        QueryError: The store refused the query, or cannot be reached.
    """
    store = locate()
    parameters = urllib.parse.urlencode({"database": store.database, "default_format": output})
    request = urllib.request.Request(f"{store.url}/?{parameters}", query.encode())
    secret = base64.b64encode(f"{store.user}:{store.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {secret}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise QueryError(error.read().decode(errors="replace").strip()) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise QueryError(
            f"the store at {store.url} does not answer ({reason}): is `runtide up` still running?"
        ) from None


def sql(query: str) -> pa.Table:
    """Ask the store.

    Args:
        query: One SQL statement that reads, without FORMAT.

    Returns:
        The answer as a pyarrow table (`.to_pandas()` makes a frame of it).

    Raises:
        QueryError: The store refused the query, or cannot be reached; or pyarrow is missing.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise QueryError("runtide.sql() needs pyarrow: pip install pyarrow") from None
    with pa.ipc.open_stream(fetch(query, "ArrowStream")) as reader:
        return reader.read_all()
