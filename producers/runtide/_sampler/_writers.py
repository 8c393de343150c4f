"""The sampler as a writer: one for each run on the node, with a spool or an outbox of its own."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from runtide import _names
from runtide._errors import Error
from runtide._outbox import open_transport
from runtide._report import warn
from runtide._sampler._ranks import Message
from runtide._sampler._wire import encode_gpu_ticks
from runtide._settings import Settings, resolve
from runtide._spool import Spool
from runtide._transport import RefusedError, Transport
from runtide_schemas import STREAMS, encode

_STREAMS = ("gpu_ticks", "host_ticks", "device_info", "device_events")
# Of each stream, what may wait while the disk is full or cannot be written to.
_WAITING = 1_000

# What says where records go, and how much of the disk they may take: nothing of the job or of the run.
_KAFKA = ("RUNTIDE_KAFKA", "RUNTIDE_SCHEMA_REGISTRY")
_VARIABLES = frozenset((
    "RUNTIDE_URL", "RUNTIDE_TOKEN", "RUNTIDE_API_KEY", "WANDB_API_KEY", "RUNTIDE_SPOOL_MAX_BYTES",
    "RUNTIDE_SEGMENT_BYTES",
))  # fmt: skip

Opener = Callable[[Settings, int, str], Transport]


class Writer:
    """Numbers, encodes and hands over the records of one run. Called by the loop and by its watchdog.

    Args:
        settings: Where records go.
        run_id: Path of the run.
        host: Name of the node.
        opener: Opens the way out.
    """

    def __init__(self, settings: Settings, run_id: str, host: str, opener: Opener = open_transport) -> None:
        self.writer = _names.writer_id()
        self.dropped: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self._head = {"run_id": run_id, "writer": self.writer, "host": host}
        self._transport = opener(settings, self.writer, run_id)
        self._numbered: Counter[str] = Counter()
        # Encoded when they are handed over: ten in a row cost less than one by one, each after a pause.
        self._taken = {name: list[Mapping[str, Any]]() for name in _STREAMS}
        self._waiting = {name: deque[bytes]() for name in _STREAMS}
        self._trouble = "no_room"
        self._lock = threading.Lock()

    def add(self, stream: str, fields: Mapping[str, Any]) -> None:
        """Take a record; what cannot be kept is counted and has no number."""
        with self._lock:
            if len(self._taken[stream]) + len(self._waiting[stream]) >= _WAITING:
                self.dropped[self._trouble] += 1
            else:
                self._taken[stream].append(fields)

    def flush(self) -> None:
        """Hand over what waits. What is refused waits for the next time."""
        with self._lock:
            for name, waiting in self._waiting.items():
                self._encode(name)
                if not waiting:
                    continue
                try:
                    self._transport.send(STREAMS[name], list(waiting))
                except RefusedError as error:
                    self._trouble = error.reason
                    warn(f"refused {error.reason}", f"{error}. Samples wait as long as there is room")
                    continue
                self.sent[name] += len(waiting)
                waiting.clear()

    def _encode(self, stream: str) -> None:
        taken, self._taken[stream] = self._taken[stream], []
        for fields in taken:
            record = {**fields, **self._head, "seq": self._numbered[stream]}
            try:
                message = encode_gpu_ticks(record) if stream == "gpu_ticks" else encode(STREAMS[stream], record)
            except Exception as error:  # whatever a source gave: the others' records are good
                self.dropped["not_encodable"] += 1
                warn(f"encode {stream}", f"a record of {stream} fits no field: {type(error).__name__}: {error}")
                continue
            self._numbered[stream] += 1
            self._waiting[stream].append(message)

    def give_up(self) -> None:
        """Count what cannot be handed over as dropped; the numbers of what was show no gap."""
        self.flush()
        with self._lock:
            for name, waiting in self._waiting.items():
                self._numbered[name] -= len(waiting)
                self.dropped[self._trouble] += len(waiting)
                waiting.clear()
            self.dropped = +self.dropped

    def close(self, timeout: float) -> None:
        """Hand over what is left and let go; waits so many seconds at most until it is delivered."""
        self.flush()
        self._transport.close(timeout)


def _outbox_alone(settings: Settings, writer: int, run_id: str) -> Transport:
    return Spool(settings, writer, run_id, "outbox")


def open_writer(message: Message, host: str, environ: Mapping[str, str] = os.environ) -> Writer:
    """A writer for the run that a rank has told of.

    The message holds no credentials: they are this process' own, or those that were kept in the run's home. Where they
    lead elsewhere, records wait in the outbox for whoever delivers there: the run's ranks, or `runtide forward`.

    Args:
        message: What the rank has said.
        host: Name of the node.
        environ: Environment of this process.
    """
    known = {name: value for name, value in environ.items() if name.startswith(_KAFKA) or name in _VARIABLES}
    known["RUNTIDE_DIR"] = message.home
    try:
        settings = resolve({"mode": message.mode}, known)
    except Error as error:
        warn(f"settings {message.run}", f"{error}. Samples of {message.run} wait in the outbox of {message.home}")
        settings = resolve({"mode": "spool"}, {"RUNTIDE_DIR": message.home})
    if settings.destination == message.destination:
        return Writer(settings, message.run, host)
    elsewhere = dataclasses.replace(settings, kafka=None, url=message.destination)
    return Writer(elsewhere, message.run, host, _outbox_alone)
