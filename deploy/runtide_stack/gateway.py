"""ClickHouse's HTTP interface over the embedded engine, as an ASGI application.

request ──read_call──▶ Statement ──Execution.begin──▶ first piece ──▶ headers ──next…──▶ body
                              └── refused or failed ──▶ code, name and text as a server answers them
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from runtide_stack.calls import Call, authenticate, read_call
from runtide_stack.engine import Engine, Execution
from runtide_stack.errors import EngineError
from runtide_stack.replies import Reply
from runtide_stack.sessions import Sessions
from runtide_stack.sql import first_word

# Statements at once: each holds a thread while the engine works for it. Readers have their own, so that slow
# queries never keep an insert waiting.
_WRITERS, _READERS = 16, 16


class Gateway:
    """The application; `passwords` are those of its users, empty for one who needs none."""

    def __init__(self, engine: Engine, passwords: Mapping[str, str]) -> None:
        self._engine = engine
        self._passwords = passwords
        self._sessions = Sessions(engine)
        self._writers, self._readers = anyio.CapacityLimiter(_WRITERS), anyio.CapacityLimiter(_READERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and stop."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            reply = Reply(send, self._engine, scope["method"] == "HEAD")
            try:
                await self._answer(Request(scope, receive), reply)
            except EngineError as error:
                await reply.fail(error)
            except ClientDisconnect:
                return  # it left before its body was complete: nothing has been run

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self._sessions.close()
        await send({"type": message["type"] + ".complete"})

    async def _answer(self, request: Request, reply: Reply) -> None:
        if request.url.path == "/ping" or (request.method in ("GET", "HEAD") and not request.url.query):
            await reply.whole(b"Ok.\n")
            return
        reply.query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        user = authenticate(request, self._passwords)
        call = await read_call(request, user)
        async with self._connection(call) as (connection, history):
            execution = Execution(self._engine, connection, call.statement, history)
            reply.of(execution, call.encoding)
            await self._run(execution, call, request, reply)
            if first_word(call.statement.sql) in (b"SET", b"USE"):
                history.append(call.statement.sql)
        # The session must be free before the client can know that the answer is complete.
        await reply.end()

    @contextlib.asynccontextmanager
    async def _connection(self, call: Call) -> AsyncIterator[tuple[Any, list[bytes]]]:
        """A session's connection with its history, or one for this request alone."""
        if not call.session_id:
            connection = await to_thread.run_sync(self._engine.connect)
            try:
                yield connection, []
            finally:
                connection.close()
            return
        session = self._sessions.take(call.session_id, call.session_check)
        try:
            yield session.connection, session.history
        finally:
            self._sessions.give_back(call.session_id, call.session_timeout)

    async def _run(self, execution: Execution, call: Call, request: Request, reply: Reply) -> None:
        limiter = self._readers if call.statement.as_reader else self._writers
        watcher = asyncio.create_task(_cancel_when_gone(request, execution))
        try:
            piece = await to_thread.run_sync(execution.begin, limiter=limiter)
            while piece:
                await reply.piece(piece, call.wait)
                piece = await to_thread.run_sync(execution.next, limiter=limiter)
        finally:
            watcher.cancel()
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(execution.close, bool(call.session_id))


async def _cancel_when_gone(request: Request, execution: Execution) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    await to_thread.run_sync(execution.cancel)
