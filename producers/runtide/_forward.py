"""The thread that takes the outbox to the other side."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtide._backlog import Backlog
from runtide._link import Link, TroubleError
from runtide._report import warn

_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
# Seconds until the positions are written down though nothing more happens, or a stream that waits is tried again.
_IDLE = 1.0


class Forwarder:
    """Delivers the folders of this process's writers through one link, from a thread of its own.

    The thread lives as long as there is a folder to deliver.

    Args:
        link: The way to the other side.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._wake = threading.Event()
        # Like `_wake`, but also ends the pause after trouble.
        self._hurry = threading.Event()
        self._changed = threading.Condition(self._lock)
        # Folders, and how to unlock each when it is done with.
        self._backlogs: dict[Backlog, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._pause = _SHORTEST_PAUSE

    def add(self, backlog: Backlog, unlock: Callable[[], None]) -> None:
        """Deliver a folder, as long as it grows and until it is empty; then unlock it."""
        with self._lock:
            self._backlogs[backlog] = unlock
            if self._thread is None and not self._stopping:
                # A daemon: a broker that hangs must not keep the process from ending.
                self._thread = threading.Thread(target=self._work, name="runtide-forwarder", daemon=True)
                self._thread.start()
        self._wake.set()

    def wake(self) -> None:
        """There is something new in a folder."""
        self._wake.set()

    def wait(self, backlog: Backlog, timeout: float) -> bool:
        """Wait until a folder that has ended is delivered and gone; False when it is not after so many seconds."""
        self._rush()
        with self._changed:
            return self._changed.wait_for(lambda: backlog not in self._backlogs, timeout)

    def stop(self, timeout: float) -> None:
        """End the thread, whatever is left, waiting for it so many seconds at most."""
        self._stopping = True
        self._rush()
        if thread := self._thread:
            thread.join(timeout)

    def abandon(self) -> None:
        """In a forked child: let go of the locks; the thread and its link are the parent's."""
        for unlock in self._backlogs.values():
            unlock()

    def _rush(self) -> None:
        self._hurry.set()
        self._wake.set()

    def _work(self) -> None:
        while self._is_needed():
            try:
                rest = self._round()
                self._pause = _SHORTEST_PAUSE
            except TroubleError as error:
                warn(f"trouble {self._link.name}", f"{error}. Records wait in the outbox")
                self._back_off()
                continue
            except Exception as error:  # whatever it is, the records are still in the outbox
                warn("forwarder", f"delivering failed, it is tried again: {type(error).__name__}: {error}")
                self._link.close()
                self._back_off()
                continue
            if rest is None or rest > 0:
                self._wake.wait(rest)
            self._wake.clear()

    def _is_needed(self) -> bool:
        with self._lock:
            if self._backlogs and not self._stopping:
                return True
            self._link.close()  # before the next thread may use it
            self._thread = None
            return False

    def _back_off(self) -> None:
        self._hurry.wait(self._pause)
        self._pause = _SHORTEST_PAUSE if self._hurry.is_set() else min(2 * self._pause, _LONGEST_PAUSE)
        self._hurry.clear()

    def _round(self) -> float | None:
        """Deliver a chunk of every stream; returns after how many seconds there is more to do, None when unknown."""
        rests = [self._deliver(backlog) for backlog in list(self._backlogs)]
        return min([rest for rest in rests if rest is not None], default=None)

    def _deliver(self, backlog: Backlog) -> float | None:
        try:
            chunks = backlog.chunks()
            if chunks:
                self._link.deliver(backlog, chunks, lambda: self._stopping)
            if backlog.tidy():
                self._done(backlog)
                return None
        except OSError as error:  # must not stop the other folders
            if not backlog.path.exists():
                self._done(backlog)
                return None
            warn(f"outbox {backlog.path}", f"cannot deliver what is in {backlog.path}: {error}; it is tried again")
            return _IDLE
        if any(backlog.position(chunk.stream) > chunk.offset for chunk in chunks):
            return 0.0
        return _IDLE if chunks or backlog.is_unsaved else None

    def _done(self, backlog: Backlog) -> None:
        with self._changed:
            self._backlogs.pop(backlog)()
            self._changed.notify_all()
