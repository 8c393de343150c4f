"""The store, over ClickHouse's HTTP interface; the one file of the package that knows the client library."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from clickhouse_connect.driver.summary import QuerySummary

from runtide_consumers._errors import Fenced, ParseError, StoreError
from runtide_consumers.batch import END
from runtide_consumers.nested import nested_types
from runtide_schemas import Address

# The client warns about every request that fails; the caller says it once per interval.
logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)
logging.getLogger("urllib3").setLevel(logging.ERROR)

# An insert that the server splits into blocks is neither atomic nor deduplicated as a whole. And the rows that views
# make from it should end in one part, not in one per 65,409 rows: ten times the parts, to be merged again.
_ONE_BLOCK = {
    "max_block_size": 1_048_449,
    "max_insert_block_size": 1_048_449,
    "min_insert_block_size_rows": 1_048_449,
    "min_insert_block_size_bytes": 268_402_944,
    "input_format_max_block_size_bytes": 0,
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "input_format_avro_allow_missing_fields": 1,
}

_COLUMNS = """
SELECT name, type FROM system.columns
WHERE database = {database:String} AND table = {table:String} AND default_kind = '' ORDER BY position
"""
_LATE = "the ledger has gone past this batch"
_LONGER = "bytes follow the end of a record"
_THROWN = 395  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO

# What ClickHouse answers when the bytes, or a schema that does not fit the table, are at fault: TYPE_MISMATCH and
# its kin, ILLEGAL_COLUMN, CANNOT_PARSE_*, INCORRECT_DATA, AVRO_EXCEPTION. Views may fail with some of them too: only a
# probe can tell. When the insert has no SELECT, an AVRO_EXCEPTION comes as one of many that are a STD_EXCEPTION.
_PARSE_CODES = frozenset({6, 15, 16, 26, 27, 32, 33, 38, 41, 44, 53, 69, 70, 72, 117, 128, 130, 131, 349, 748})
_STD_EXCEPTION, _AVRO = 1001, "avro::"


class Store:
    """A ClickHouse database; used by many threads.

    Args:
        address: Where it is, and as whom to write to it.
    """

    def __init__(self, address: Address) -> None:
        self.database = address.database
        self.address = address.url
        self._options: dict[str, Any] = {
            "interface": address.scheme,
            "host": address.host,
            "port": address.port,
            "username": address.user,
            "password": address.password,
            "compress": False,
            # Sessions forbid two requests at once.
            "autogenerate_session_id": False,
            "client_name": "runtide-consumer",
        }
        self._client: Client | None = None
        self._structures: dict[str, list[tuple[str, str]]] = {}
        self._lock = threading.Lock()

    def insert(self, table: str, body: bytes, token: str, unless: str = "") -> int:
        """Insert an Avro container as one block, once per token; answers when the rows and all views' rows are there.

        Args:
            table: Name of the table.
            body: The container.
            token: What the store knows the insert by.
            unless: A condition on `ledger`; if it has such rows when the insert begins, the store refuses it, and so
                it does when a record of a batch's container is longer than it should be.

        Returns:
            Rows that it made, in this table and in those behind its views; also when the token was known.

        Raises:
            Fenced: The ledger has such rows.
            ParseError: The bytes, or something that looks like them, are at fault.
            StoreError: Anything else; the same insert may be sent again with the same token.
        """
        nested = nested_types(body)
        if unless or nested:
            whole = f"throwIf(_end != {END}, '{_LONGER}') = 0"
            condition = f"{whole} AND {self._not_late(unless)}" if unless else whole
            return self._guarded_insert(table, body, "Avro", token, condition, nested)
        return self._raw_insert(table, body, "Avro", token)

    def insert_rows(self, table: str, rows: Iterable[Mapping[str, Any]], token: str, unless: str = "") -> None:
        """Insert rows given as JSON-able dicts, as one block, once per token.

        Args:
            table: Name of the table.
            rows: The rows.
            token: What the store knows the insert by.
            unless: As with `insert`.

        Raises:
            Fenced, StoreError: As with `insert`.
        """
        body = "\n".join(json.dumps(row) for row in rows).encode()
        if unless:
            self._guarded_insert(table, body, "JSONEachRow", token, self._not_late(unless))
        else:
            self._raw_insert(table, body, "JSONEachRow", token)

    def query(self, sql: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        """Rows of a query, which names its parameters as `{name:Type}`.

        Raises:
            StoreError: It could not be answered.
        """
        try:
            return self._connected().query(sql, parameters=parameters).result_rows
        except (ClickHouseError, OSError) as error:
            raise _mapped(error) from error

    def command(self, sql: str) -> None:
        """Run a statement that answers nothing.

        Raises:
            StoreError: It could not be run.
        """
        try:
            self._connected().command(sql)
        except (ClickHouseError, OSError) as error:
            raise _mapped(error) from error

    def _raw_insert(self, table: str, body: bytes, form: str, token: str) -> int:
        settings = {**_ONE_BLOCK, "insert_deduplication_token": token}
        name = f"`{self.database}`.`{table}`"
        try:
            return self._connected().raw_insert(name, insert_block=body, fmt=form, settings=settings).written_rows
        except (ClickHouseError, OSError) as error:
            raise _mapped(error) from error

    def _not_late(self, unless: str) -> str:
        return f"throwIf((SELECT count() FROM `{self.database}`.ledger WHERE {unless}) > 0, '{_LATE}') = 0"

    def _guarded_insert(
        self, table: str, body: bytes, form: str, token: str, condition: str, nested: Mapping[str, str] | None = None
    ) -> int:
        columns, structure = self._columns(table, nested or {})
        sql = (
            f"INSERT INTO `{self.database}`.`{table}` ({columns}) SELECT {columns} FROM input({structure}) "
            f"WHERE {condition} FORMAT {form}"
        )
        settings = {**_ONE_BLOCK, "insert_deduplication_token": token}
        try:
            answer = self._connected().command(sql, data=body, settings=settings)
        except (ClickHouseError, OSError) as error:
            if isinstance(error, Error) and error.code == _THROWN:
                if _LATE in str(error):
                    raise Fenced(_LATE) from error
                if _LONGER in str(error):
                    raise ParseError(_LONGER) from error
            raise _mapped(error) from error
        return answer.written_rows if isinstance(answer, QuerySummary) else 0

    def _columns(self, table: str, nested: Mapping[str, str]) -> tuple[str, str]:
        """The names of a table's columns that an insert fills, and their names and types as a literal, and `_end`.

        Args:
            table: Name of the table.
            nested: Types that are not the table's, but the writer's.
        """
        if table not in self._structures:
            rows = self.query(_COLUMNS, database=self.database, table=table)
            if not rows:
                raise StoreError(f"there is no table {self.database}.{table}")
            self._structures[table] = [(name, kind) for name, kind in rows]
        columns = self._structures[table]
        kinds = [(name, nested.get(name, kind)) for name, kind in [*columns, ("_end", "Int64")]]
        structure = ", ".join(f"`{name}` {kind}" for name, kind in kinds)
        literal = "'" + structure.replace("\\", "\\\\").replace("'", "\\'") + "'"
        return ", ".join(f"`{name}`" for name, _ in columns), literal

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = clickhouse_connect.get_client(**self._options)
            return self._client


def _mapped(error: Exception) -> StoreError:
    text = " ".join(str(error).split())
    if isinstance(error, Error):
        from_avro = error.code == _STD_EXCEPTION and _AVRO in text
        if from_avro or error.code in _PARSE_CODES:
            return ParseError(text)
    return StoreError(text)
