"""The outbox: records go to files of the local disk, and from there to Kafka or to a stack on another machine."""

from __future__ import annotations

import threading
from pathlib import Path

from runtide import _platform
from runtide._backlog import Backlog
from runtide._forward import Forwarder
from runtide._link import Link
from runtide._report import say
from runtide._settings import Settings
from runtide._spool import Spool
from runtide._transport import Transport
from runtide_schemas import Stream

# Seconds that the end of the process waits for a thread that has nothing to do any more.
_STOP_TIMEOUT = 2.5
_forwarders: dict[tuple[Path, tuple[object, ...]], Forwarder] = {}
_lock = threading.Lock()
_installed = False


class Outbox:
    """One writer's folder in the outbox, and the thread that delivers what is written there.

    Args:
        settings: Where, and how much of the disk may be used.
        writer: Id of the writer, which names the folder.
        run_id: Path of the run.
    """

    def __init__(self, settings: Settings, writer: int, run_id: str) -> None:
        self._spool = Spool(settings, writer, run_id, "outbox")
        self._run_id = run_id
        self._forwarder = _forwarder(settings)
        self._backlog: Backlog | None = None

    def send(self, stream: Stream, messages: list[bytes]) -> None:
        """Append the messages to the stream's segment with one write; they are delivered later."""
        self._spool.send(stream, messages)
        if self._backlog is None and self._spool.folder:
            self._backlog = Backlog(self._spool.folder, self._run_id, self._spool.abandon)
            self._forwarder.add(self._backlog)
        self._forwarder.wake()

    def close(self, timeout: float = 0.0) -> None:
        """Leave the mark that says that nothing follows, and wait so many seconds at most until all is delivered."""
        self._spool.mark_closed()
        backlog = self._backlog
        if backlog is None:
            self._spool.abandon()
            return
        backlog.ended = True
        if not self._forwarder.wait(backlog, timeout):
            say(
                f"warning: {backlog.left()} bytes of {self._run_id} are not delivered yet. They wait in "
                f"{backlog.path}: `runtide forward` delivers them, and so does the next run here, while it lasts"
            )

    def abandon(self) -> None:
        """Close the files; the thread is the parent's."""
        self._spool.abandon()


def open_transport(settings: Settings, writer: int, run_id: str) -> Transport:
    """The way out that the settings ask for."""
    return Spool(settings, writer, run_id) if settings.mode == "spool" else Outbox(settings, writer, run_id)


def whereto(settings: Settings) -> str:
    """Where records go, in words."""
    if settings.mode in ("kafka", "http"):
        return f"it goes to {settings.kafka.servers if settings.kafka else settings.url}"
    return f"`runtide up` shows it; until then it waits in {settings.home}"


def stop() -> None:
    """End the threads: librdkafka must not run on while the interpreter is taken down."""
    for forwarder in _forwarders.values():
        forwarder.stop(_STOP_TIMEOUT)


def _forwarder(settings: Settings) -> Forwarder:
    """One for the whole process and each other side."""
    global _installed
    with _lock:
        if not _installed:
            _installed = True
            _platform.after_fork_in_child(_become_child)
        link = open_link(settings)
        forwarder = Forwarder(link, settings.home / "outbox", settings.destination)
        return _forwarders.setdefault((settings.home, link.identity), forwarder)


def open_link(settings: Settings) -> Link:
    """The way to the other side that the settings name."""
    # Imported where one is needed, but by the thread that calls init() and not by the forwarder: a child forked in the
    # midst of an import would wait for it for ever.
    if settings.kafka is None:
        from runtide._http import HttpLink

        return HttpLink(settings.url, settings.token)
    from runtide._kafka import KafkaLink

    return KafkaLink(settings.kafka)


def _become_child() -> None:
    global _lock
    _lock = threading.Lock()
    for forwarder in _forwarders.values():
        forwarder.abandon()
    _forwarders.clear()
