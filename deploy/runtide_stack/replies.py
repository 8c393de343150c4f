"""One HTTP answer in ClickHouse's form: its headers, its summary, and errors before and after the headers."""

import json
import secrets

from starlette.types import Send

from runtide_stack.compression import Encoder
from runtide_stack.engine import Engine, Execution
from runtide_stack.errors import EngineError

# A result up to this size is complete before its headers go: its errors have a status, its summary is exact.
_BUFFER = 8 * 1024 * 1024
_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
}


class Reply:
    """Sends one answer; headers go with the first piece that cannot be held back."""

    def __init__(self, send: Send, engine: Engine, bodiless: bool) -> None:
        self._send = send
        self._engine = engine
        self._bodiless = bodiless
        self._tag = secrets.token_hex(8)
        self._held = b""
        self._started = False
        self._encoder = Encoder(None)
        self._encoding: str | None = None
        self._execution: Execution | None = None
        self.query_id = ""

    def of(self, execution: Execution, encoding: str | None) -> None:
        """Say what the answer is of: its format and counters are read when the headers go."""
        self._execution = execution
        self._encoder, self._encoding = Encoder(encoding), encoding

    async def piece(self, data: bytes, hold: bool) -> None:
        """Take the next piece of the result.

        Args:
            data: bytes as the engine formatted them.
            hold: whether the client asked to wait for the end, as far as memory allows.
        """
        self._held += self._encoder.encode(data)
        if not self._started and hold and len(self._held) <= _BUFFER:
            return
        await self._start(200, [])
        held, self._held = self._held, b""
        if held and not self._bodiless:
            await self._send({"type": "http.response.body", "body": held, "more_body": True})

    async def end(self) -> None:
        """Send what is held back and end the answer."""
        rest = self._held + self._encoder.close()
        await self._start(200, [("content-length", str(len(rest)))])
        await self._send({"type": "http.response.body", "body": b"" if self._bodiless else rest})

    async def whole(self, body: bytes) -> None:
        """Answer a request that runs no statement."""
        self._held = body
        await self.end()

    async def fail(self, error: EngineError) -> None:
        """Answer with an error: by status while no header has gone, else in a tagged block behind the data."""
        text = f"{error} (version {self._engine.version})\n".encode()
        if self._started:
            mark, tag = b"__exception__\r\n", self._tag.encode()
            block = b"\r\n%s%s\r\n%s%d %s\r\n%s" % (mark, tag, text, len(text), tag, mark)
            rest = self._held + self._encoder.encode(block) + self._encoder.close()
            await self._send({"type": "http.response.body", "body": rest})
            return
        self._encoding, self._execution = None, None
        length = ("content-length", str(len(text)))
        await self._start(error.status, [("x-clickhouse-exception-code", str(error.code)), length])
        await self._send({"type": "http.response.body", "body": b"" if self._bodiless else text})

    async def _start(self, status: int, extra: list[tuple[str, str]]) -> None:
        if self._started:
            return
        self._started = True
        headers = [*self._headers(), *extra]
        if self._encoding:
            headers.append(("content-encoding", self._encoding))
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    def _headers(self) -> list[tuple[str, str]]:
        name = self._execution.format if self._execution else ""
        headers = [
            (
                "content-type",
                _CONTENT_TYPES.get(name, "application/octet-stream" if name else "text/plain; charset=UTF-8"),
            ),
            ("x-clickhouse-server-display-name", self._engine.name),
            ("x-clickhouse-query-id", self.query_id),
            ("x-clickhouse-timezone", self._engine.timezone),
            ("x-clickhouse-exception-tag", self._tag),
        ]
        if self._execution:
            summary = {name: str(value) for name, value in self._execution.counters().items()}
            headers.append(("x-clickhouse-summary", json.dumps(summary)))
        if name:
            headers.append(("x-clickhouse-format", name))
        return headers
