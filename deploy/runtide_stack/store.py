"""`python -m runtide_stack.store`: one process that owns an engine's folder and serves it over ClickHouse's HTTP."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from runtide_stack.engine import Engine
from runtide_stack.errors import StartError
from runtide_stack.gateway import Gateway
from runtide_stack.listening import listen

# Seconds that running statements get to finish after SIGTERM before they are killed.
_GRACE = 3


class _Server(uvicorn.Server):
    """Kills what still runs when the grace is over: a thread inside the engine cannot be cancelled from outside."""

    engine: Engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        killer = asyncio.get_running_loop().call_later(_GRACE, self.engine.kill)
        await super().shutdown(sockets)
        killer.cancel()


def serve(folder: Path, host: str, port: int, passwords: Mapping[str, str]) -> None:
    """Serve the engine in `folder` to these users until SIGTERM or SIGINT.

    Raises:
        StartError: the folder or the port cannot be used.
    """
    listener = listen(host, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has stopped; by default that would end us with the engine open.
        signal.signal(number, lambda *_: sys.exit(0))
    engine = Engine(folder)
    try:
        config = uvicorn.Config(
            Gateway(engine, passwords), lifespan="on", access_log=False, log_level="warning",
            timeout_graceful_shutdown=2 * _GRACE,
        )  # fmt: skip
        server = _Server(config)
        server.engine = engine
        server.run([listener])
    finally:
        engine.close()


def main(argv: list[str] | None = None) -> int:
    """Run the store; RUNTIDE_STORE_PASSWORD is that of the user `default`, RUNTIDE_EDITOR_PASSWORD that of `editor`."""
    parser = argparse.ArgumentParser(prog="runtide store", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the engine's folder; made when missing")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args(argv)
    passwords = {"default": os.environ.get("RUNTIDE_STORE_PASSWORD", ""), "reader": ""}
    if editor := os.environ.get("RUNTIDE_EDITOR_PASSWORD"):
        passwords["editor"] = editor
    try:
        serve(options.dir, options.host, options.port, passwords)
    except StartError as error:
        print(f"runtide store: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
