"""Where the store is and as whom to read it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runtide_dashboards.errors import StoreAway


@dataclass(frozen=True)
class Address:
    """A store as `clickhouse_connect.get_client` wants it."""

    host: str
    port: int
    username: str
    password: str
    database: str
    secure: bool = False


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the stack on this machine."""
    return Path(environ.get("RUNTIDE_DIR") or "~/.runtide").expanduser()


def find(environ: Mapping[str, str] = os.environ) -> Address:
    """The store that the environment names, else the one that `runtide up` started.

    Raises:
        StoreAway: neither is there, or what is there cannot be read.
    """
    url = environ.get("RUNTIDE_CLICKHOUSE_URL")
    if url:
        return _from_url(url, "RUNTIDE_CLICKHOUSE_URL")
    path = folder(environ) / "stack.json"
    try:
        stack = json.loads(path.read_text("utf-8"))
        return _from_url(stack["store_url"], str(path), username="reader", database=stack["database"])
    except FileNotFoundError:
        raise StoreAway(
            f"There is no {path}: start the stack with `runtide up`, or set RUNTIDE_CLICKHOUSE_URL."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreAway(f"{path} cannot be read ({error}): stop `runtide up` and start it again.") from error


def _from_url(url: str, name: str, username: str = "default", database: str = "runtide") -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # Without the value: it holds a password.
        raise StoreAway(f"{name} is not of the form http://user:password@host:port/database.")
    return Address(
        host=parts.hostname,
        port=port,
        username=unquote(parts.username or username),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")) or database,
        secure=parts.scheme == "https",
    )
