"""Questions to the store, over ClickHouse's HTTP interface and with the standard library alone."""

from __future__ import annotations

import base64
import importlib
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

from runtide._errors import QueryError, UsageError
from runtide._parameters import encode, form
from runtide_schemas import Address, AddressError, find_store, parse_address

if TYPE_CHECKING:
    import urllib.request

    import pyarrow as pa

FRAMES = ("arrow", "pandas", "polars")
_TIMEOUT = 300.0
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Store:
    """Where to ask.

    Args:
        url: The store's address in the form of RUNTIDE_CLICKHOUSE_URL; empty for the one that the environment names.
        timeout: Seconds until an answer must be there.
    """

    url: str = ""
    timeout: float = _TIMEOUT

    def fetch(self, query: str, output: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The answer to a query, as the store formats it.

        Args:
            query: One SQL statement that reads, without FORMAT.
            output: Name of a ClickHouse format, such as CSVWithNames.
            parameters: What stands for the `{name:Type}` of the query, as `runtide._parameters.encode` writes it.

        Raises:
            QueryError: The store refused the query, or cannot be reached.
        """
        import http.client  # with what follows, a fifth of the time that `import runtide` may take
        import urllib.error
        import urllib.request

        try:
            store = parse_address(self.url, "base_url") if self.url else find_store("reader")
        except AddressError as error:
            raise QueryError(str(error)) from None
        request = _request(store, query, output, parameters or {})
        # A proxy in the environment is not for this machine's own addresses.
        own = store.host in ("localhost", "::1") or store.host.startswith("127.")
        opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] if own else [])
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                data = bytes(answer.read())
                tag = answer.headers.get("X-ClickHouse-Exception-Tag")
        except urllib.error.HTTPError as error:
            raise QueryError(_reason(error.read())) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise QueryError(
                f"the store at {store.url} does not answer ({reason}): is `runtide up` still running?"
            ) from None

        # What goes wrong after the first rows stands behind them.
        data, failed, reason = data.partition(f"\r\n__exception__\r\n{tag}\r\n".encode()) if tag else (data, b"", b"")
        if failed:
            raise QueryError(_reason(reason.partition(f" {tag}".encode())[0]))
        return data

    def rows(self, query: str, parameters: Mapping[str, str] | None = None) -> list[list[Any]]:
        """The answer as rows of plain values. NaN and the infinities have no place in it.

        Raises:
            QueryError: The store refused the query, or cannot be reached.
        """
        return [json.loads(line) for line in self.fetch(query, "JSONCompactEachRow", parameters).splitlines()]


def fetch(query: str, output: str, parameters: Mapping[str, Any] | None = None, timeout: float = _TIMEOUT) -> bytes:
    """The answer of the environment's store to a query.

    Args:
        query: One SQL statement that reads, without FORMAT.
        output: Name of a ClickHouse format, such as CSVWithNames.
        parameters: Values of the query's parameters: `{name:Type}` stands for the parameter `name`.
        timeout: Seconds to wait for the store.

    Raises:
        QueryError: The store refused the query, or cannot be reached.
    """
    encoded = {name: encode(value) for name, value in (parameters or {}).items()}
    return Store(timeout=timeout).fetch(query, output, encoded)


def _request(store: Address, query: str, output: str, parameters: Mapping[str, str]) -> urllib.request.Request:
    import urllib.request

    arguments = urllib.parse.urlencode({"database": store.database, "default_format": output})
    address = f"{store.url}/?{arguments}"
    if parameters:
        body, kind = form({"query": query} | {f"param_{name}": text for name, text in parameters.items()})
        request = urllib.request.Request(address, body, {"Content-Type": kind})
    else:
        request = urllib.request.Request(address, query.encode())
    secret = base64.b64encode(f"{store.user}:{store.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {secret}")
    return request


def _reason(answer: bytes) -> str:
    """The store's own words, less what nobody reads: the code, the list of expected tokens, the version."""
    text = answer.decode(errors="replace").strip()
    text = text.partition("DB::Exception: ")[2] or text
    return text.partition(" (version")[0].partition(" Expected one of:")[0]


@overload
def sql(query: str, parameters: Mapping[str, Any] | None = None, format: Literal["arrow"] = "arrow") -> pa.Table: ...


@overload
def sql(query: str, parameters: Mapping[str, Any] | None = None, format: str = ...) -> Any: ...


def sql(query: str, parameters: Mapping[str, Any] | None = None, format: str = "arrow") -> Any:
    """Ask the store.

    Args:
        query: One SQL statement that reads, without FORMAT. `{name:Type}` stands for a value that is given beside it:
            `runtide.sql("SELECT id FROM runs WHERE name = {name:String}", {"name": "baseline"})`.
        parameters: The values by name: texts, numbers, bools, None, times, and lists, tuples and dicts of them.
        format: arrow, pandas or polars.

    Returns:
        The answer: a `pyarrow.Table`, a `pandas.DataFrame` or a `polars.DataFrame`.

    Raises:
        QueryError: The store refused the query, or cannot be reached; or the library of the format is missing.
        UsageError: There is no such format, or a parameter has no form in SQL.
    """
    if format not in FRAMES:
        raise UsageError(f"format={format!r}: give one of {', '.join(FRAMES)}")
    if odd := [name for name in parameters or {} if not _NAME.fullmatch(name)]:
        raise UsageError(f"parameters: {odd[0]!r} cannot be a name: give letters, digits and underscores")
    encoded = {name: encode(value) for name, value in (parameters or {}).items()}
    return frame(Store().fetch(query, "ArrowStream", encoded), format, "runtide.sql()")


def frame(data: bytes, format: str, caller: str) -> Any:
    """An Arrow stream as a table of one of FRAMES.

    Raises:
        QueryError: The library is missing; the message names the caller.
    """
    try:
        if format == "polars":
            return importlib.import_module("polars").read_ipc_stream(data)
        import pyarrow as pa
    except ImportError:
        library = "polars" if format == "polars" else "pyarrow"
        raise QueryError(f"{caller} needs {library}: pip install {library}") from None
    with pa.ipc.open_stream(data) as reader:
        table = reader.read_all()
    try:
        return table.to_pandas() if format == "pandas" else table
    except ImportError:
        raise QueryError(f"{caller} needs pandas: pip install pandas") from None
