"""The thread that takes the outbox to the other side."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from runtide._backlog import Backlog
from runtide._leftovers import claim, writer_folders
from runtide._link import Link, ParcelError, TroubleError
from runtide._report import warn

_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
# Seconds until the positions are written down though nothing more happens, or what cannot go on is tried again.
_IDLE = 1.0
# Seconds until the next look at what is under way.
_SLOW = 0.1
# What dead writers left behind waits for what is logged now: a chunk of it in so many seconds.
_LEFTOVER_PAUSE = 0.1
# Seconds between two looks for it, and from one that cannot go on to the next.
_LOOK_INTERVAL, _NEXT_PAUSE = 30.0, 1.0


class Forwarder:
    """Delivers the folders of this process's writers through one link, from a thread of its own.

    The thread lives as long as there is such a folder. It also delivers, when it has nothing else to do, what writers
    of this host left behind that are dead now: one folder at a time.

    Args:
        link: The way to the other side.
        root: Where the folders are.
        destination: What the folders of dead writers must name as theirs.
    """

    def __init__(self, link: Link, root: Path, destination: str) -> None:
        self._link = link
        self._root = root
        self._destination = destination
        self._lock = threading.Lock()
        self._wake = threading.Event()
        # Like `_wake`, but also ends the pause after trouble.
        self._hurry = threading.Event()
        self._changed = threading.Condition(self._lock)
        self._backlogs: list[Backlog] = []
        self._leftover: Backlog | None = None
        self._tried = ""
        self._next_look = 0.0
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._pause = _SHORTEST_PAUSE

    def add(self, backlog: Backlog) -> None:
        """Deliver a folder, as long as it grows and until it is empty; then unlock it."""
        with self._lock:
            self._backlogs.append(backlog)
            if self._thread is None and not self._stopping:
                # A daemon: a broker that hangs must not keep the process from ending.
                thread = threading.Thread(target=self._work, name="runtide-forwarder", daemon=True)
                with suppress(RuntimeError):  # no new threads while the interpreter ends: the next run delivers it
                    thread.start()
                    self._thread = thread
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
        for backlog in [*self._backlogs, *filter(None, [self._leftover])]:
            backlog.unlock()

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
            if self._backlogs and (rest is None or rest > 0):
                self._wake.wait(rest)
            self._wake.clear()

    def _is_needed(self) -> bool:
        with self._lock:
            if self._backlogs and not self._stopping:
                return True
            self._link.close()  # before the next thread may use it
            for backlog in self._backlogs:
                backlog.save()
                if backlog.ended:  # others may deliver it now
                    backlog.unlock()
            if self._leftover:
                self._put_back(self._leftover)
            self._thread = None
            return False

    def _back_off(self) -> None:
        self._hurry.wait(self._pause)
        self._pause = _SHORTEST_PAUSE if self._hurry.is_set() else min(2 * self._pause, _LONGEST_PAUSE)
        self._hurry.clear()

    def _round(self) -> float | None:
        """Deliver a chunk of every stream; returns after how many seconds there is more to do, None when unknown."""
        rests = [self._deliver(backlog) for backlog in list(self._backlogs)]
        if 0.0 not in rests:
            rests.append(self._deliver_leftover())
        return min([rest for rest in rests if rest is not None], default=None)

    def _deliver_leftover(self) -> float | None:
        now = time.monotonic()
        if self._leftover is None:
            if now < self._next_look:
                return self._next_look - now
            self._leftover = self._claim()
            if self._leftover is None:
                self._next_look = now + _LOOK_INTERVAL
                return _LOOK_INTERVAL
        if self._deliver(self._leftover) != _IDLE:
            return _LEFTOVER_PAUSE
        # It waits for something that others may not need; its turn comes again.
        self._put_back(self._leftover)
        self._next_look = now + _NEXT_PAUSE
        return _NEXT_PAUSE

    def _claim(self) -> Backlog | None:
        """The next folder whose writer was on this host and is dead."""
        names = writer_folders(self._root)
        for name in [n for n in names if n > self._tried] + [n for n in names if n <= self._tried]:
            if backlog := claim(self._root / name, self._destination, socket.gethostname()):
                self._tried = name
                return backlog
        return None

    def _put_back(self, backlog: Backlog) -> None:
        self._leftover = None
        backlog.save()
        backlog.unlock()

    def _deliver(self, backlog: Backlog) -> float | None:
        if (rest := backlog.not_before - time.monotonic()) > 0:
            return rest
        under_way = False
        try:
            ended = backlog.ended  # before the look at the files
            chunks = backlog.chunks(ended)
            if chunks:
                under_way = self._link.deliver(backlog, chunks, lambda: self._stopping)
            elif ended:
                self._link.finish(backlog)
            backlog.tidy(done := ended and not chunks)
            if done:
                self._done(backlog)
                return None
        except ParcelError as error:
            warn(f"parcel {backlog.path}", f"{error}. Records wait in {backlog.path}")
            backlog.not_before = time.monotonic() + _IDLE
            return _IDLE
        except (OSError, ValueError, KeyError, TypeError) as error:  # must not stop the other folders
            if not backlog.path.exists():
                self._done(backlog)
                return None
            warn(f"outbox {backlog.path}", f"cannot deliver what is in {backlog.path}, it is tried again: {error!r}")
            return _IDLE
        if any(backlog.position(chunk.stream) > chunk.offset for chunk in chunks):
            return 0.0
        if under_way:
            return _SLOW
        return _IDLE if chunks or backlog.is_unsaved else None

    def _done(self, backlog: Backlog) -> None:
        backlog.unlock()
        if backlog is self._leftover:
            self._leftover = None
            if backlog.path.exists():  # somebody put a file of another kind there: not again at once
                self._next_look = time.monotonic() + _LOOK_INTERVAL
            return
        with self._changed:
            self._backlogs.remove(backlog)
            self._changed.notify_all()
