"""From an HTTP request to a Statement: ClickHouse's parameters, headers, bodies and forms."""

import base64
import binascii
import hmac
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from starlette.datastructures import UploadFile
from starlette.requests import Request

from runtide_stack import editor
from runtide_stack import sql as syntax
from runtide_stack.compression import Decoder, choose_encoding
from runtide_stack.engine import ExternalTable, Statement, anonymous_file
from runtide_stack.errors import refusal

_MAX_STATEMENT = 16 * 1024 * 1024
_SESSION_TIMEOUT = 60.0
# Parameters of the HTTP interface itself; all others are settings. The last group are settings of the engine
# that speak of HTTP only: they cost a round through the engine on every request and change nothing there.
_OWN = {
    "query", "database", "default_format", "user", "password", "query_id", "quota_key", "role", "stacktrace",
    "session_id", "session_timeout", "session_check", "buffer_size", "wait_end_of_query", "compress", "decompress",
    "client_protocol_version",
    "enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A request, read to its end: what to run, in which session, and how to answer."""

    statement: Statement
    session_id: str
    session_timeout: float
    session_check: bool
    encoding: str | None
    wait: bool


def authenticate(request: Request, passwords: Mapping[str, str]) -> str:
    """Check who asks.

    Args:
        request: the request, whose body is not touched.
        passwords: of each user; empty for none.

    Returns:
        The user's name.

    Raises:
        EngineError: AUTHENTICATION_FAILED (516).
    """
    user, given = _credentials(request)
    expected = passwords.get(user)
    if expected is None or not hmac.compare_digest(expected.encode(), given.encode()):
        text = f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
        raise refusal(516, "AUTHENTICATION_FAILED", text)
    return user


def _credentials(request: Request) -> tuple[str, str]:
    headers, query = request.headers, request.query_params
    if "x-clickhouse-user" in headers:
        return headers["x-clickhouse-user"], headers.get("x-clickhouse-key", "")
    scheme, _, blob = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, given = base64.b64decode(blob, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise refusal(516, "AUTHENTICATION_FAILED", "The Authorization header cannot be read") from error
        return user, given
    return query.get("user", "default"), query.get("password", "")


async def read_call(request: Request, user: str) -> Call:
    """Read a request to its end.

    Raises:
        EngineError: the body, a parameter or an external table is not what it says.
        ClientDisconnect: the client left before the body was complete; nothing may be run.
    """
    values = dict(request.query_params)
    tables: list[ExternalTable] = []
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        tables = await _read_form(request, values)
        statement = Statement(values.get("query", "").encode())
        statement.insert, statement.data = _inline_insert(statement.sql)
    else:
        decoder = Decoder(request.headers.get("content-encoding", "").strip().lower())
        statement = await _read_body(
            values.get("query", "").encode("utf-8", "surrogateescape"), request.stream(), decoder
        )
    statement.tables = tables
    statement.database = values.get("database") or request.headers.get("x-clickhouse-database", "")
    statement.format = values.get("default_format") or request.headers.get("x-clickhouse-format", "")
    statement.as_reader, statement.read_only = user == "reader", request.method == "GET"
    statement.parameters = {name[6:]: value for name, value in values.items() if name.startswith("param_")}
    statement.settings = _settings(values, tables)
    if user == "editor":
        editor.check(statement)
    compresses = values.get("enable_http_compression", "1") != "0"
    return Call(
        statement,
        # Only `default` may leave a trace on a connection; a reader's is locked, too: never one that others use.
        values.get("session_id", "") if user == "default" else "",
        _seconds(values.get("session_timeout", "")),
        values.get("session_check", "0") == "1",
        choose_encoding(request.headers.get("accept-encoding", "")) if compresses else None,
        values.get("wait_end_of_query", "0") == "1",
    )


def _settings(values: Mapping[str, str], tables: list[ExternalTable]) -> dict[str, str]:
    described = {f"{table.name}_{suffix}" for table in tables for suffix in ("format", "structure", "types")}
    return {
        name: value
        for name, value in values.items()
        if name not in _OWN and name not in described and not name.startswith("param_")
    }


def _seconds(text: str) -> float:
    try:
        return min(float(text), 3600.0) if text else _SESSION_TIMEOUT
    except ValueError as error:
        raise refusal(667, "INVALID_SESSION_TIMEOUT", f"session_timeout={text!r} is not a number of seconds") from error


async def _read_body(query: bytes, body: AsyncIterator[bytes], decoder: Decoder) -> Statement:
    """Read statement and data: the text in the URL, a newline, the body; an INSERT's data goes to a file."""
    head = bytearray(query + b"\n" if query else b"")
    insert, data = None, None
    async for piece in body:
        plain = decoder.decode(piece)
        if data is not None:
            data.write(plain)
            continue
        head += plain
        if len(head) > _MAX_STATEMENT:
            raise refusal(62, "SYNTAX_ERROR", f"The statement is longer than {_MAX_STATEMENT} bytes")
        insert = syntax.find_insert(bytes(head), whole=False) if plain else None
        if insert is not None:
            data = anonymous_file()
            data.write(head[insert.data_start :])
    decoder.close()
    if insert is not None:
        return Statement(bytes(head[: insert.data_start]), insert, data)
    insert, data = _inline_insert(bytes(head))
    return Statement(bytes(head), insert, data)


def _inline_insert(text: bytes) -> tuple[syntax.Insert | None, BinaryIO | None]:
    insert = syntax.find_insert(text, whole=True)
    if insert is None:
        return None, None
    data = anonymous_file()
    data.write(text[insert.data_start :])
    return insert, data


async def _read_form(request: Request, values: dict[str, str]) -> list[ExternalTable]:
    """Read a multipart form: text fields join `values`, every file is an external table."""
    tables = []
    async with request.form(max_files=1000, max_fields=10_000, max_part_size=_MAX_STATEMENT) as form:
        for name, part in form.multi_items():
            if not isinstance(part, UploadFile):
                values[name] = part
                continue
            data = anonymous_file()
            while piece := await part.read(1024 * 1024):
                data.write(piece)
            tables.append(ExternalTable(name, _structure(name, values), _format(name, values), data))
    return tables


def _format(name: str, values: Mapping[str, str]) -> str:
    found = values.get(f"{name}_format", "TabSeparated")
    if not found.isidentifier():
        raise refusal(73, "UNKNOWN_FORMAT", f"External table {name}: unknown format {found!r}")
    return found


def _structure(name: str, values: Mapping[str, str]) -> str:
    structure = values.get(f"{name}_structure", "")
    if types := values.get(f"{name}_types"):
        structure = ", ".join(f"_{number} {kind}" for number, kind in enumerate(types.split(","), 1))
    if not structure:
        raise refusal(36, "BAD_ARGUMENTS", f"External table {name}: give {name}_structure or {name}_types")
    if not syntax.is_structure(structure.encode()):
        raise refusal(36, "BAD_ARGUMENTS", f"External table {name}: {structure!r} is not a list of names and types")
    return structure
