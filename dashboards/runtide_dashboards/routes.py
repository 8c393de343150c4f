"""What does not pass through Streamlit's scripts: the data that charts in the browser ask for, and a page's HTML."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from streamlit import file_util

from runtide_dashboards import answers, hardware_answers, hardware_questions, sweep_data
from runtide_dashboards.errors import DashboardError
from runtide_dashboards.exports import export
from runtide_dashboards.hardware_exports import export_samples
from runtide_dashboards.questions import MAX_BODY, BadQuestion, parse
from runtide_dashboards.sweep_views import read_sweep

T = TypeVar("T")
_HTML = Path(file_util.get_static_dir()) / "index.html"


async def series(request: Request) -> Response:
    """POST api/series: buckets of the lines of some panels."""
    question = parse(await _body(request))
    data = await _while_wanted(request, answers.answer(question))
    return Response(data, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


async def hardware(request: Request) -> Response:
    """POST api/hardware: buckets of what samplers read of GPUs, hosts and ranks."""
    window = request.query_params.get("within", "all")
    question = hardware_questions.parse(await _body(request), window)
    data = await _while_wanted(request, hardware_answers.answer(question))
    return Response(data, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


async def sweep(request: Request) -> Response:
    """GET sweep: Streamlit's HTML. Until it has a socket and the page's script runs, its trials are being loaded."""
    query = request.query_params
    sweep_data.expect(read_sweep({name: query.getlist(name) for name in query}))
    return FileResponse(_HTML, headers={"Cache-Control": "no-cache"})


def routes(base: str) -> list[BaseRoute]:
    """The routes.

    Args:
        base: The path below which the dashboard is served, as server.baseUrlPath says it; empty for none.
    """
    start = f"/{base.strip('/')}" if base.strip("/") else ""
    return [
        Route(f"{start}/api/series", _said(series), methods=["POST"]),
        Route(f"{start}/api/hardware", _said(hardware), methods=["POST"]),
        Route(f"{start}/api/hardware/export", _said(export_samples), methods=["GET"]),
        Route(f"{start}/api/export", _said(export), methods=["GET"]),
        Route(f"{start}/sweep", sweep, methods=["GET"]),
    ]


def _said(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, with what goes wrong said in one sentence."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BadQuestion as error:
            return JSONResponse({"error": str(error)}, 400)
        except DashboardError as error:
            return JSONResponse({"error": str(error)}, 503)
        except ClientDisconnect:
            # Nobody reads this.
            return Response(status_code=499)

    return answer


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            raise BadQuestion(f"The request is longer than {MAX_BODY:,} bytes.")
    return bytes(data)


async def _while_wanted(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for an answer; when the client leaves first, what still waits for its turn is given up.

    Raises:
        ClientDisconnect: Nobody waits any more.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
