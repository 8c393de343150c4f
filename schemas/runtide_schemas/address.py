"""Where runtide lives on this machine, and where its store answers: the settings that all sides share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

_VARIABLE = "RUNTIDE_CLICKHOUSE_URL"
_EDITOR = "RUNTIDE_EDITOR_URL"


class AddressError(ValueError):
    """There is no store to be found; the message says what to do."""


@dataclass(frozen=True)
class Address:
    """A ClickHouse database, and as whom to use it.

    Args:
        scheme: http or https.
        host: Name or number of the host.
        port: Port of the HTTP interface.
        user: Name of the user.
        password: The user's password, empty for none.
        database: Name of the database.
    """

    scheme: str
    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder of everything that runtide keeps on this machine: RUNTIDE_DIR, else ~/.runtide."""
    return Path(os.path.expanduser(environ.get("RUNTIDE_DIR") or "~/.runtide")).absolute()


def parse_address(text: str, name: str = _VARIABLE) -> Address:
    """Take an address apart.

    Args:
        text: http://user:password@host:port/database; user, password, port and database may be left out.
        name: The setting that it comes from, for the message.

    Raises:
        AddressError: It is none.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # Without the value: it holds a password.
        raise AddressError(f"{name} is not of the form http://user:password@host:port/database")
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.strip("/")) or "runtide",
    )


def find_store(user: str, environ: Mapping[str, str] = os.environ) -> Address:
    """The store that RUNTIDE_CLICKHOUSE_URL names, else the one that `runtide up` runs on this machine.

    Args:
        user: As whom to use the latter: `default`, who may write, `reader`, or `editor`, who may only insert edits. For
            the editor RUNTIDE_EDITOR_URL stands in the place of RUNTIDE_CLICKHOUSE_URL, whose user may be a reader.
        environ: The environment.

    Raises:
        AddressError: Neither is there, or what is there cannot be read.
    """
    if user == "editor" and (text := environ.get(_EDITOR)):
        return parse_address(text, _EDITOR)
    if user == "editor" and environ.get(_VARIABLE):
        raise AddressError(f"read-only: set {_EDITOR}")
    if text := environ.get(_VARIABLE):
        return parse_address(text)
    file = home(environ) / "stack.json"
    try:
        stack = json.loads(file.read_text())
        found = parse_address(stack["store_url"], str(file))
        # A stack of an earlier version has no editor, and refuses its password.
        password = {"default": stack["store_password"], "editor": stack.get("editor_password", "")}.get(user, "")
        return replace(found, user=user, password=password, database=stack["database"])
    except FileNotFoundError:
        raise AddressError(
            f"no stack is running on {file.parent}: start one with `runtide up`, or set {_VARIABLE}"
        ) from None
    except AddressError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AddressError(f"{file} cannot be read ({error}): stop `runtide up` and start it again") from error
