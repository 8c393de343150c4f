"""The store as the dashboard asks it: the only file that knows the client."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import clickhouse_connect

# pandas: the client imports it at its first query, which would then take seconds.
import pandas  # noqa: F401
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3 import Timeout
from urllib3.exceptions import ReadTimeoutError

from runtide_dashboards.errors import QueryFailed, StoreAway
from runtide_schemas import AddressError, find_store

Answer = TypeVar("Answer")

# The store answers four queries at once about as fast as one after the other; more would only wait there.
pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="runtide-query")
_CONNECT, _LONG = 5, 30.0
# It logs what it raises, with a traceback.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
# UNKNOWN_TABLE, UNKNOWN_DATABASE: what a store says that was just made.
_NO_TABLES = (60, 81)
# TIMEOUT_EXCEEDED, MEMORY_LIMIT_EXCEEDED.
_TIMEOUT, _MEMORY = 159, 241
# A client takes one query at a time, and belongs to one address: a store that was restarted may be elsewhere.
_local = threading.local()


def _client() -> Any:
    try:
        address = find_store("reader")
    except AddressError as error:
        raise StoreAway(f"{error}.") from error
    if getattr(_local, "address", None) != address:
        _local.client = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            username=address.user,
            password=address.password,
            database=address.database,
            secure=address.scheme == "https",
            autogenerate_session_id=False,
            connect_timeout=_CONNECT,
            send_receive_timeout=30,
            query_limit=0,
            # Hundreds of paths and keys of thousands of characters do not fit into a URL.
            form_encode_query_params=True,
        )
        _local.address = address
    return _local.client


def ask(sql: str, parameters: dict[str, Any], seconds: float = _LONG) -> pa.Table:
    """Run one query in this thread.

    Args:
        sql: The query.
        parameters: Values of its `{name:Type}`.
        seconds: How long it may take. A reader may not set a limit of the store's, so we hang up: the embedded store
            then ends the query at once, a server when it has cancel_http_readonly_queries_on_client_close.

    Raises:
        StoreAway: Nobody answers.
        QueryFailed: The store refused, or it took too long.
    """
    return _asked(lambda client: cast(pa.Table, client.query_arrow(sql, parameters=parameters)), seconds)


def download(sql: str, parameters: dict[str, Any], form: str) -> bytes:
    """The answer to a query as a file.

    Args:
        sql: The query, without FORMAT.
        parameters: Its values by name.
        form: A format of ClickHouse, such as CSVWithNames or Parquet.
    """
    return _asked(lambda client: bytes(client.raw_query(sql, parameters=parameters, fmt=form)), _LONG)


def _asked(question: Callable[[Any], Answer], seconds: float) -> Answer:
    try:
        client = _client()
        client.timeout = Timeout(connect=_CONNECT, read=seconds)
        return question(client)
    except ClickHouseError as error:
        code = getattr(error, "code", None)
        if code is None and isinstance(error.__cause__, ReadTimeoutError):
            raise QueryFailed(f"Took > {seconds:.0f} s. Narrow the range, or choose fewer runs.") from error
        if code is None:
            raise StoreAway("The store does not answer.") from error
        if code == _TIMEOUT:
            raise QueryFailed("Took longer than the store allows. Narrow the range, or choose fewer runs.") from error
        if code == _MEMORY:
            raise QueryFailed(
                "Needs more memory than the store gives. Narrow the range, or choose fewer runs."
            ) from error
        if code in _NO_TABLES:
            raise StoreAway("The store has no tables yet: the consumer makes them when it starts.") from error
        raise QueryFailed(_reason(str(error))) from error


def _reason(text: str) -> str:
    """The store's own words, without the address and the numbers around them, and without the query."""
    words = text.partition("DB::Exception: ")[2].partition(" (for url")[0] or text
    return words.partition(" In scope ")[0][:500]


def rows(sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """Run one query, with no more than four at a time, and wait for its rows."""
    found: list[dict[str, Any]] = pool.submit(ask, sql, parameters).result().to_pylist()
    return found


def answers() -> bool:
    """Whether the store can be asked again."""
    try:
        rows("SELECT run_id FROM runs LIMIT 0")
    except (StoreAway, QueryFailed):
        return False
    return True
