"""What is decided in a sweep, as records of the stream `sweeps`."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from runtide import _names
from runtide._outbox import open_transport
from runtide._report import warn
from runtide._settings import Settings
from runtide._transport import RefusedError, Transport
from runtide._values import to_json
from runtide_schemas import STREAMS, encode

_STREAM = STREAMS["sweeps"]


def agent_name() -> str:
    """Who this process is."""
    return f"{socket.gethostname()}/{os.getpid()}"


class Recorder:
    """Writes the decisions that this process makes about one sweep. Never raises because of a disk or a network.

    Args:
        settings: Where records go.
        sweep: The sweep's path.
    """

    def __init__(self, settings: Settings, sweep: str) -> None:
        self._sweep = sweep
        self._lock = threading.Lock()
        self._writer = _names.writer_id()
        self._numbered = 0
        self._agent = agent_name()
        self._transport: Transport | None = None
        if settings.mode != "disabled":
            self._transport = open_transport(settings, self._writer, sweep)

    def sweep(self, event: str, state: str, why: str = "", **fields: str) -> None:
        """The sweep was created, or its state is another."""
        self._send(self._sweep, {"event": event, "state": state, "why": why, **fields})

    def trial(self, run: str, event: str, state: str, values: Mapping[str, Any], **fields: Any) -> None:
        """Something happened to a trial."""
        path = f"{self._sweep.rpartition('/')[0]}/{run}"
        self._send(path, {"event": event, "state": state, "parameters": to_json(dict(values)), **fields})

    def _send(self, path: str, fields: dict[str, Any]) -> None:
        if self._transport is None:
            return
        with self._lock:
            record = {
                "run_id": path, "writer": self._writer, "seq": self._numbered, "time": time.time_ns() // 1000,
                "sweep": self._sweep.rpartition("/")[2], "agent": self._agent, **fields,
            }  # fmt: skip
            try:
                self._transport.send(_STREAM, [encode(_STREAM, record)])
                self._numbered += 1
            except RefusedError as error:
                warn("sweep records", f"a decision of sweep {self._sweep} is not recorded: {error}")

    def close(self, timeout: float) -> None:
        """Nothing follows; waits so many seconds at most for what is on its way."""
        if self._transport is not None:
            self._transport.close(timeout)


def plain(values: Mapping[str, Any]) -> Any:
    """Values as JSON has them."""
    return json.loads(to_json(dict(values)))
