"""Questions to the store, over ClickHouse's HTTP interface and with the standard library alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from runtide._errors import QueryError
from runtide_schemas import AddressError, find_store

if TYPE_CHECKING:
    import pyarrow as pa

_TIMEOUT = 300.0


def fetch(query: str, output: str, parameters: Mapping[str, str] | None = None, timeout: float = _TIMEOUT) -> bytes:
    """The answer to a query, as the store formats it.

    Args:
        query: One SQL statement that reads, without FORMAT.
        output: Name of a ClickHouse format, such as CSVWithNames.
        parameters: Texts of the query's parameters: `{name:Type}` stands for the parameter `name`.
        timeout: Seconds to wait for the store.

    Raises:
        QueryError: The store refused the query, or cannot be reached.
    """
    # Here, as not every script that logs also asks, and their import takes a while.
    import base64
    import urllib.error
    import urllib.parse
    import urllib.request

    try:
        store = find_store("reader")
    except AddressError as error:
        raise QueryError(str(error)) from None
    given = {f"param_{name}": _escaped(text) for name, text in (parameters or {}).items()}
    options = urllib.parse.urlencode({"database": store.database, "default_format": output, **given})
    request = urllib.request.Request(f"{store.url}/?{options}", query.encode())
    secret = base64.b64encode(f"{store.user}:{store.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {secret}")
    # A proxy in the environment is not for this machine's own addresses.
    own = store.host in ("localhost", "::1") or store.host.startswith("127.")
    opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] if own else [])
    try:
        with opener.open(request, timeout=timeout) as answer:
            data = bytes(answer.read())
            tag = answer.headers.get("X-ClickHouse-Exception-Tag")
    except urllib.error.HTTPError as error:
        raise QueryError(_reason(error.read())) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise QueryError(
            f"the store at {store.url} does not answer ({reason}): is `runtide up` still running?"
        ) from None

    # What goes wrong after the first rows stands behind them.
    data, failed, reason = data.partition(f"\r\n__exception__\r\n{tag}\r\n".encode()) if tag else (data, b"", b"")
    if failed:
        raise QueryError(_reason(reason.partition(f" {tag}".encode())[0]))
    return data


def _escaped(text: str) -> str:
    """A parameter's text as the store wants it: with its control characters and backslashes escaped."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _reason(answer: bytes) -> str:
    """The store's own words, less what nobody reads: the code, the list of expected tokens, the version."""
    text = answer.decode(errors="replace").strip()
    text = text.partition("DB::Exception: ")[2] or text
    return text.partition(" (version")[0].partition(" Expected one of:")[0]


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
