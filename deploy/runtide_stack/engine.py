"""The chDB engine that this process owns, and one statement's life on one of its connections."""

import contextlib
import fcntl
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from chdb import _chdb  # the public Connection hides classify_query and the streams' order of closing

from runtide_stack import reader
from runtide_stack import sql as syntax
from runtide_stack.errors import EngineError, StartError, refusal

# The engine encodes each block on its own: only these formats can be sent as the blocks come.
_BLOCKWISE = {"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow", "JSONCompactEachRow"}
# Merges and caches of a default ClickHouse assume a server of their own; here training runs on the same machine.
_OPTIONS = "max_server_memory_usage_to_ram_ratio=0.5"


@dataclass(frozen=True)
class ExternalTable:
    """A temporary table that a request brings with it."""

    name: str
    structure: str
    format: str
    data: BinaryIO


@dataclass
class Statement:
    """One statement as a request asks for it."""

    sql: bytes
    insert: syntax.Insert | None = None
    data: BinaryIO | None = None
    database: str = ""
    format: str = ""
    as_reader: bool = False
    read_only: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    tables: list[ExternalTable] = field(default_factory=list)


def anonymous_file() -> BinaryIO:
    """A file without a name that the engine can open through its descriptor."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("runtide-insert"), "w+b")
    return tempfile.TemporaryFile()


def _path(data: BinaryIO) -> str:
    data.flush()
    data.seek(0)
    return f"/dev/fd/{data.fileno()}"


class Engine:
    """Owns the engine's folder; every method may block, and every connection belongs to one thread at a time.

    Raises:
        StartError: another process holds the folder, or it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._target = f"{folder}?{_OPTIONS}"
        _check_folder(folder)
        try:
            # The engine lives as long as one connection does.
            self._anchor = self.connect()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise StartError(f"the engine cannot open the folder {folder}: {reason}") from error
        self.timezone = self._scalar("SELECT timezone()")
        self.version = self._scalar("SELECT version()")
        self.name = socket.gethostname()
        self.forbidden = reader.forbidden_functions(self._anchor)

    def _scalar(self, query: str) -> str:
        return bytes(self._anchor.query(query, "TSVRaw").bytes()).decode().rstrip("\n")

    def connect(self) -> Any:
        """A connection of its own: settings, database and temporary tables live on it and end with it."""
        return _chdb.connect(self._target)  # type: ignore[attr-defined]

    def kill(self, ending: str = "") -> None:
        """Ask every statement to stop whose text ends so."""
        connection = self.connect()
        connection.query(f"KILL QUERY WHERE endsWith(query, {syntax.quote(ending)}) ASYNC", "Null")
        connection.close()

    def close(self) -> None:
        """Write out what is in memory and release the folder."""
        self._anchor.close()


def _check_folder(folder: Path) -> None:
    """Find out before the engine does: it writes its reason to the log and raises without one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            # Root could write here, and its files would lock the owner out.
            raise StartError(
                f"the folder {folder} belongs to another user (uid {folder.stat().st_uid}): "
                "run as that user, or choose another folder with --dir"
            )
        with (folder / "status").open("a") as status:  # the file that the engine itself locks
            fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartError(
            f"another process already uses the folder {folder}: stop it, or choose another folder with --dir"
        ) from error
    except OSError as error:
        raise StartError(
            f"the folder {folder} cannot be used ({error.strerror}): check its owner, or choose another with --dir"
        ) from error


class Execution:
    """One statement on one connection: begin, next until it returns nothing, close.

    Every method may block. Never two calls at once, except that cancel may come from another thread.
    """

    def __init__(self, engine: Engine, connection: Any, statement: Statement, history: list[bytes]) -> None:
        self._engine = engine
        self._connection = connection
        self._statement = statement
        self._stream: Any = None
        self._history = history  # the session's own SET and USE: they win over the defaults
        self._ending = threading.Lock()
        self._cancelled = False
        # How a query's text ends: the binding gives it no id, and ending its stream does not stop a long first block.
        self._mark = f"\n-- {uuid.uuid4()}"
        self._reads = False
        self._started = time.monotonic_ns()
        self.format = statement.format or "TabSeparated"
        self._read_rows = self._read_bytes = self._written_rows = self._written_bytes = self._result_rows = 0

    def begin(self) -> bytes:
        """Prepare the connection, run the statement, return the first piece of the result.

        Raises:
            EngineError: the statement was refused or failed.
        """
        try:
            self._prepare()
            return self._run()
        except RuntimeError as error:
            raise EngineError(str(error)) from error

    def next(self) -> bytes:
        """The next piece of the result, empty at its end.

        Raises:
            EngineError: the statement failed halfway.
        """
        try:
            return self._fetch()
        except RuntimeError as error:
            raise EngineError(str(error)) from error

    def cancel(self) -> None:
        """Stop the statement, while another thread may be inside begin or next: the client has left."""
        self._cancelled = True
        self._engine.kill(self._mark)
        self._end_stream()

    def close(self, keep_session: bool) -> None:
        """End the stream, release files, and take this statement's traces off a session's connection."""
        self._end_stream()
        for data in (self._statement.data, *(table.data for table in self._statement.tables)):
            if data is not None:
                data.close()
        if keep_session:
            self._restore()

    def _end_stream(self) -> None:
        # Under the lock, so that close waits for a cancel: a stream that ends after its connection hangs the engine.
        with self._ending:
            stream, self._stream = self._stream, None
            if stream is not None:
                with contextlib.suppress(RuntimeError):
                    self._connection.streaming_cancel_query(stream)

    def counters(self) -> dict[str, int]:
        """What the statement has read and written so far."""
        return {
            "read_rows": self._read_rows,
            "read_bytes": self._read_bytes,
            "written_rows": self._written_rows,
            "written_bytes": self._written_bytes,
            "total_rows_to_read": 0,
            "result_rows": self._written_rows or self._result_rows,
            "elapsed_ns": time.monotonic_ns() - self._started,
        }

    def _restore(self) -> None:
        statement = self._statement
        for table in statement.tables:
            self._quietly(f"DROP TEMPORARY TABLE IF EXISTS {syntax.quote_name(table.name)}".encode())
        for name in statement.settings:
            self._quietly(f"SET {syntax.quote_name(name)} = DEFAULT".encode())
        if statement.database:
            self._quietly(b"USE default")
        if statement.database or statement.settings:
            for line in self._history:
                self._quietly(line)

    def _quietly(self, line: bytes) -> None:
        with contextlib.suppress(RuntimeError):  # an unknown setting was refused before, a table may not exist
            self._connection.query(line, "Null")

    def _prepare(self) -> None:
        statement = self._statement
        if statement.as_reader:
            self._connection.query(syntax.set_statement(reader.LIMITS), "Null")
            self._load_tables()
            self._connection.query("SET readonly = 1", "Null")
        if statement.database:
            self._connection.query("USE " + syntax.quote_name(statement.database), "Null")
        if statement.settings:
            self._connection.query(syntax.set_statement(statement.settings), "Null")
        if not statement.as_reader:
            self._load_tables()
        self._check()

    def _load_tables(self) -> None:
        for table in self._statement.tables:
            name, path = syntax.quote_name(table.name), _path(table.data)
            self._connection.query(f"CREATE TEMPORARY TABLE {name} ({table.structure}\n) ENGINE = Memory", "Null")
            insert = f"INSERT INTO {name} FROM INFILE '{path}' COMPRESSION 'none' FORMAT {table.format}"
            self._connection.query(insert, "Null")

    def _check(self) -> None:
        statement = self._statement
        found = self._connection.classify_query(statement.sql)
        kind = found["query_class"].name
        self._reads = kind == "READ_ONLY"
        if found["statement_count"] > 1:
            raise refusal(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
        if statement.read_only and kind.startswith("MUTATING"):
            raise refusal(164, "READONLY", "Cannot execute query in readonly mode: use POST, GET only reads")
        if statement.as_reader:
            reader.check(self._connection, statement.sql, statement.parameters, kind, self._engine.forbidden)

    def _run(self) -> bytes:
        statement, query = self._statement, self._statement.sql
        if statement.insert is not None and statement.data is not None:
            query = statement.insert.reading(_path(statement.data))
            return self._count(self._connection.query(query, "Null", params=dict(statement.parameters)))
        self.format = syntax.output_format(query) or self.format
        if not self._reads:
            return self._count(self._connection.query(query, self.format, params=dict(statement.parameters)))
        query += self._mark.encode()
        if syntax.first_word(query) in (b"SELECT", b"WITH") and self.format in _BLOCKWISE:
            self._stream = self._connection.send_query(query, self.format, params=dict(statement.parameters))
            return self._fetch()
        return self._count(self._connection.query(query, self.format, params=dict(statement.parameters)))

    def _fetch(self) -> bytes:
        stream = self._stream
        if stream is None or self._cancelled:
            return b""
        result = self._connection.streaming_fetch_result(stream)
        if result is None or result.rows_read() == 0:
            self._stream = None
            return b""
        self._result_rows += result.rows_read()
        self._read_rows += result.storage_rows_read()
        self._read_bytes += result.storage_bytes_read()
        return bytes(result.bytes())

    def _count(self, result: Any) -> bytes:
        self._result_rows = result.rows_read()
        self._read_rows, self._read_bytes = result.storage_rows_read(), result.storage_bytes_read()
        self._written_rows, self._written_bytes = result.rows_written(), result.bytes_written()
        piece = bytes(result.bytes() or b"")
        if not piece and not self._reads:
            self.format = ""  # clients take an answer without a format for a command's
        return piece
