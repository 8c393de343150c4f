"""`python -m runtide_stack.ingest`: takes the records of other machines over HTTP into the spool.

A process of its own, because the store's port must not be opened to other machines, and this one may be.

    GET  /health                          200; needs no token
    GET  /ingest                          200 with the right token
    PUT  /ingest/WRITER                   the client's writer.json
    POST /ingest/WRITER/STREAM?offset=N   bytes of the client's segment files from offset N of the stream; with
                                          &segment=1 they begin a segment, and with &gap=1 also where nobody has what
                                          should be before it
    POST /ingest/WRITER/closed            nothing follows

`mirror.py` has what happens to the bytes.
"""

import argparse
import asyncio
import contextlib
import fcntl
import hmac
import json
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runtide_consumers import logs
from runtide_schemas import STREAMS
from runtide_stack.errors import IngestError, StartError
from runtide_stack.listening import listen
from runtide_stack.mirror import Mirror
from runtide_stack.secret import kept_secret

log = logging.getLogger("runtide.ingest")

_MAX_BODY, _MAX_DESCRIPTION = 16 << 20, 64 << 10
_MAX_SPOOL = 10 << 30
_WRITER = re.compile(r"[0-7][0-9a-f]{15}")
_OFFSET = re.compile(r"[0-9]{1,18}")
_SWEEP_INTERVAL = 600.0
# What tells our answers from a proxy's.
_OURS = {"runtide": "ingest"}


class Ingest:
    """The requests' ends.

    Args:
        mirror: Where the bytes go.
        token: What a client has to send as `Authorization: Bearer TOKEN`.
    """

    def __init__(self, mirror: Mirror, token: str) -> None:
        self._mirror = mirror
        self._expected = f"Bearer {token}".encode()

    def application(self) -> Starlette:
        """All of it as an ASGI application."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/ingest", self._verify),
                Route("/ingest/{writer}", self._describe, methods=["PUT"]),
                Route("/ingest/{writer}/closed", self._close, methods=["POST"]),
                Route("/ingest/{writer}/{stream}", self._append, methods=["POST"]),
            ],
            exception_handlers={IngestError: _refused, HTTPException: _no_route, ClientDisconnect: _gone},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(self._sweep())
        yield
        sweeper.cancel()

    async def _sweep(self) -> None:
        while True:
            try:
                await to_thread.run_sync(self._mirror.close_silent)
            except Exception as error:  # whatever it is, it must not be the last look
                log.warning("cannot look for silent writers: %s: %s", type(error).__name__, error)
            await asyncio.sleep(_SWEEP_INTERVAL)

    async def _health(self, _: Request) -> Response:
        return JSONResponse(_OURS)

    async def _verify(self, request: Request) -> Response:
        self._authenticate(request)
        return JSONResponse(_OURS)

    async def _describe(self, request: Request) -> Response:
        self._authenticate(request)
        writer = _writer(request)
        try:
            description = json.loads(await _body(request, _MAX_DESCRIPTION))
        except (ValueError, RecursionError):
            description = None
        if not isinstance(description, dict):
            raise IngestError(400, "the body is not a JSON object")
        await to_thread.run_sync(self._mirror.describe, writer, description)
        return JSONResponse(_OURS)

    async def _close(self, request: Request) -> Response:
        self._authenticate(request)
        await to_thread.run_sync(self._mirror.close, _writer(request))
        return JSONResponse(_OURS)

    async def _append(self, request: Request) -> Response:
        self._authenticate(request)
        writer, stream, text = _writer(request), request.path_params["stream"], request.query_params.get("offset", "")
        if stream not in STREAMS:
            raise IngestError(400, f"there is no stream {stream!r} here; these are: {', '.join(STREAMS)}")
        if not _OFFSET.fullmatch(text):
            raise IngestError(400, f"offset={text!r} is not a number of bytes")
        segment, gap = (request.query_params.get(name) == "1" for name in ("segment", "gap"))
        offset = int(text)
        data = await _body(request, _MAX_BODY)

        def append() -> None:
            self._mirror.append(writer, stream, offset, data, segment=segment, gap=gap)

        await to_thread.run_sync(append)
        return JSONResponse({"next": offset + len(data)})

    def _authenticate(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            raise IngestError(401, "the token is missing or wrong: `runtide login` keeps the right one")


def _writer(request: Request) -> str:
    writer = str(request.path_params["writer"])
    if not _WRITER.fullmatch(writer):
        raise IngestError(400, f"{writer!r} is no writer's id: 16 hexadecimal digits, the first below 8")
    return writer


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, before anything is done with it.

    Raises:
        IngestError: It is longer than `limit` bytes.
        ClientDisconnect: It broke off.
    """
    body = bytearray()
    announced = request.headers.get("content-length", "0")
    async for piece in request.stream():
        body += piece
        if len(body) > limit or int(announced) > limit:
            raise IngestError(413, f"the body is longer than {limit} bytes: send it in pieces")
    return bytes(body)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, IngestError)
    answer: dict[str, Any] = {"error": str(error)}
    if error.following is not None:
        answer["next"] = error.following
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return JSONResponse(answer, error.status, headers)


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it: the client left before its body was complete


def serve(folder: Path, host: str, port: int, limit: int) -> None:
    """Serve one stack's folder until SIGTERM or SIGINT.

    Args:
        folder: The stack's folder; its spool is in there, and the token.
        host: Address to listen on.
        port: Port to listen on.
        limit: Bytes that the spool may hold.

    Raises:
        StartError: The folder or the port cannot be used.
    """
    try:
        (folder / "spool").mkdir(parents=True, exist_ok=True)
        lock = (folder / "ingest.lock").open("a")
    except OSError as error:
        raise StartError(f"the folder {folder} cannot be used ({error.strerror}): choose another with --dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"another one works on {folder}; a folder has one at a time") from None
        app = Ingest(Mirror(folder / "spool", limit), kept_secret(folder / "ingest.token")).application()
        listener = listen(host, port)
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises the signal again when it has stopped.
            signal.signal(number, lambda *_: sys.exit(0))
        config = uvicorn.Config(app, access_log=False, log_config=None, timeout_graceful_shutdown=5)
        uvicorn.Server(config).run([listener])


def main(argv: list[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the server; RUNTIDE_SPOOL_MAX_BYTES says how much the spool may hold."""
    parser = argparse.ArgumentParser(prog="runtide ingest", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="the stack's folder; made when missing")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    logs.add_option(parser)
    options = parser.parse_args(argv)
    logs.begin(options.log_format)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        serve(
            options.dir, options.host, options.port, _limit(environ.get("RUNTIDE_SPOOL_MAX_BYTES") or str(_MAX_SPOOL))
        )
    except StartError as error:
        print(f"runtide ingest: {error}", file=sys.stderr)
        return 1
    return 0


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise StartError(f"RUNTIDE_SPOOL_MAX_BYTES={text!r}: give a number of bytes")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
