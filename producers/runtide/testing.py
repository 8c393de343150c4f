"""For tests of code that logs: runs whose records stay in memory."""

from __future__ import annotations

from typing import Any

from runtide._run import Run
from runtide._settings import Settings, resolve
from runtide._transport import RefusedError, Transport
from runtide_schemas import Stream, decode

__all__ = ["Memory", "RefusedError", "Transport", "start_run"]


class Memory:
    """A transport that keeps what it is given.

    Args:
        settings, writer, run_id: As every transport is opened; not used.

    Attributes:
        messages: What was taken, in order, as (stream, encoded record).
        refusal: While set, everything is refused with it.
        closed: Nothing follows.
    """

    def __init__(self, settings: Settings | None = None, writer: int = 1, run_id: str = "") -> None:
        self.messages: list[tuple[Stream, bytes]] = []
        self.refusal: RefusedError | None = None
        self.closed = False

    def send(self, stream: Stream, messages: list[bytes]) -> None:
        """Take all of the messages, or none while there is a refusal."""
        if self.refusal:
            raise self.refusal
        self.messages += [(stream, message) for message in messages]

    def close(self, timeout: float = 0.0) -> None:
        """Note the end."""
        self.closed = True

    def abandon(self) -> None:
        """Forget what the parent process had."""
        self.messages = []

    def records(self, stream: str) -> list[dict[str, Any]]:
        """The decoded records of one stream, in order."""
        return [decode(kind, message) for kind, message in list(self.messages) if kind.name == stream]


def start_run(memory: Memory, **arguments: Any) -> Run:
    """Start a run that sends to memory; RUNTIDE_DIR gets no more than a note of the attempt, and no sampler is started.

    Args:
        memory: Where records go.
        arguments: As `runtide.init` takes them; the configuration is set on the run.
    """
    run = Run(resolve({"sampler": "off"} | arguments), lambda *_: memory)
    run._start()
    return run
