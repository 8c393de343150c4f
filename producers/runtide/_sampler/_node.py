"""What a rank tells the sampler of its node, and how it starts one when there is none.

Everything here is done by the sender's thread and never waits nor fails: training needs no sampler.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import site
import socket
import stat
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from runtide._report import warn_once
from runtide._sampler._election import NoPlaceError, Place, Post, find_place, take_lock, unix_socket
from runtide._settings import Settings

# Seconds after which a rank speaks though nothing is new: it then notices that the sampler is dead.
_HEARTBEAT = 5.0
# Between two messages: a part of the interval between two samples, but not more often than ten times a second.
_PART, _LEAST = 4, 0.1
# Seconds from one start of a sampler to the next, doubled each time: one that cannot run must not cost much.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
# Seconds between two looks which GPUs are in use.
_LOOK = 30.0
# struct timeval: half a second for the last message.
_LAST_WAIT = struct.pack("@ll", 0, 500_000)
_NOBODY = (errno.ENOENT, errno.ECONNREFUSED)
_LOCAL_RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")


class Node:
    """One rank's side of the sampler.

    Args:
        settings: What the run was asked for.
        run_id: Path of the run.
    """

    def __init__(self, settings: Settings, run_id: str) -> None:
        self._settings = settings
        self._about: dict[str, Any] = {
            "run": run_id,
            "rank": settings.rank,
            "pid": os.getpid(),
            "home": str(settings.home),
            "mode": settings.mode,
            "destination": settings.destination,
            "interval": settings.sample_interval,
            "finish_timeout": settings.finish_timeout,
            "every_gpu": settings.sampler == "all",
            "local_rank": _local_rank(),
        }
        # Why there can be no sampler; empty when there can.
        self.reason = ""
        self._place: Place | None = None
        self._socket: socket.socket | None = None
        self._gap = max(_LEAST, min(settings.sample_interval, _HEARTBEAT) / _PART)
        self._told: tuple[int, str] | None = None
        self._sent = self._looked = -float("inf")
        self._next_start, self._pause = -float("inf"), _FIRST_PAUSE
        # What the process that is being started will own. While it is, there may be more than is listed here yet.
        self._held: list[Any] = []
        self._starting = False
        self._open()

    def _open(self) -> None:
        try:
            self._place = find_place()
            self._socket = unix_socket()
            if not _is_python(sys.executable):
                raise NoPlaceError(f"the program {sys.executable!r} cannot run it as Python would")
        except (NoPlaceError, OSError) as error:
            self.reason = str(error)
            self.abandon()

    def beat(self, step: int, phase: str) -> None:
        """Say where the rank is, when that is news; start a sampler where nobody listens.

        Args:
            step: Step that it is at.
            phase: What it is doing; empty for training.
        """
        now = time.monotonic()
        wait = _HEARTBEAT if (step, phase) == self._told else self._gap
        if self._socket is None or now - self._sent < wait:
            return
        if now - self._looked >= (_LOOK if self._about.get("gpus") else self._gap):
            self._looked = now
            self._look()
        self._sent = now
        if self._send(self._message(step, phase), now):
            self._told = (step, phase)

    def end(self, step: int, phase: str) -> None:
        """Say that the run has ended here; waits a moment for room, as this is not said again."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.setblocking(True)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _LAST_WAIT)
            self._send(self._message(step, phase, ended=True), time.monotonic())
            self._close()

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's.

        One that kept the lock or the socket open would stand in the way of the next sampler, as long as it lives.
        """
        self._close()
        for held in self._held:
            _let_go(held)
        if self._starting and self._place:
            _close_copies(self._place)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _look(self) -> None:
        """See which GPUs the process uses, as far as it says so by itself. Imports nothing and wakes no driver."""
        self._about["visible"] = os.environ.get("CUDA_VISIBLE_DEVICES")
        torch = sys.modules.get("torch")
        self._about["torch"] = torch is not None
        with suppress(Exception):  # a torch that is being imported, or one of another kind
            cuda = torch.cuda  # type: ignore[union-attr]
            if cuda.is_initialized():
                used = [place for place in range(cuda.device_count()) if cuda.memory_reserved(place)]
                self._about["gpus"] = [_uuid(cuda, place) for place in used]

    def _message(self, step: int, phase: str, ended: bool = False) -> bytes:
        return json.dumps({**self._about, "step": step, "phase": phase, "ended": ended}).encode()

    def _send(self, message: bytes, now: float) -> bool:
        assert self._place is not None and self._socket is not None
        try:
            self._socket.sendto(message, str(self._place.address))
            return True
        except OSError as error:
            if error.errno in _NOBODY and now >= self._next_start:
                try:
                    return self._start(message, now)
                except OSError as trouble:  # training goes on without it
                    warn_once("sampler", f"no samples of the hardware: {trouble}")
        return False

    def _start(self, message: bytes, now: float) -> bool:
        """Start the node's sampler, unless somebody is; it finds the message in its socket."""
        assert self._place is not None and self._socket is not None
        self._starting = True
        lock = take_lock(self._place)
        if lock is None:
            self._starting = False
            return False
        if now - self._next_start > _LONGEST_PAUSE:
            self._pause = _FIRST_PAUSE
        self._next_start, self._pause = now + self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        self._held = [lock]
        try:
            post = Post(self._place)
            self._held.append(post)
            self._socket.sendto(message, str(self._place.address))
            process = _launch(self._place, lock, post, _isolation())
        except OSError:
            self._release()
            raise
        arguments = (process, lock, post)
        try:
            threading.Thread(target=self._see_off, args=arguments, name="runtide-sampler", daemon=True).start()
        except RuntimeError:  # no new threads while the interpreter ends
            self._see_off(*arguments)
        return True

    def _see_off(self, process: int, lock: int, post: Post) -> None:
        """Wait for the process that was started: it leaves another one behind, which nobody here has to wait for."""
        assert self._place is not None
        try:
            # Isolated, it may not find what it needs for other reasons than those that can be told beforehand.
            if not _ended_well(process) and not _ended_well(_launch(self._place, lock, post, "-P")):
                warn_once("sampler", f"no samples of the hardware: the sampler did not start; see {self._place.log}")
        except OSError as error:
            warn_once("sampler", f"no samples of the hardware: {error}")
        finally:
            self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for one in held:
            _let_go(one)
        self._starting = False


def _launch(place: Place, lock: int, post: Post, isolation: str) -> int:
    """Start the program; its process id."""
    if sys.platform == "win32":
        raise NoPlaceError("Windows has no such processes")
    # Not by subprocess: it waits for the end of a pipe, which never comes when another thread forks in that moment.
    first = max(lock, post.socket.fileno()) + 1
    arguments = [sys.executable, isolation, "-m", "runtide._sampler", "--lock", str(first), "--socket", str(first + 1)]
    # Nothing of this process' terminal: whoever reads its output to the end would wait for the sampler too.
    return os.posix_spawn(
        sys.executable,
        arguments,
        _environment(),
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(place.log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, lock, first),
            (os.POSIX_SPAWN_DUP2, post.socket.fileno(), first + 1),
        ),
        setsigmask=(),
        setsigdef=(signal.SIGPIPE,),
    )


def _isolation() -> str:
    """What keeps a training's own modules out of the sampler, unless this package itself comes in by their way.

    Who ends within a moment sees to no second start, so the first should be the right one.
    """
    ways = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), site.getusersitepackages()]
    mine = os.path.realpath(__file__)
    found = any(way and mine.startswith(os.path.join(os.path.realpath(way), "")) for way in ways)
    return "-P" if found or "PYTHONHOME" in os.environ else "-I"


def _environment() -> dict[str, str]:
    while True:
        with suppress(RuntimeError):  # another thread has changed it meanwhile
            return dict(os.environ)


def _ended_well(pid: int) -> bool:
    """Wait for a process of ours."""
    try:
        return os.waitpid(pid, 0)[1] == 0
    except ChildProcessError:  # the training waits for all its children, and was first
        return True


def _let_go(held: int | Post) -> None:
    with suppress(OSError):
        if isinstance(held, Post):
            held.close()
        else:
            os.close(held)


def _close_copies(place: Place) -> None:
    """Close what a fork has copied in the moment in which another thread opened it."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        lock = os.stat(place.lock)
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.path.samestat(os.fstat(int(name)), lock) or _address(int(name)) == str(place.address):
                    os.close(int(name))


def _address(descriptor: int) -> Any:
    """Where a socket is bound; None for what is no socket."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return None
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.getsockname()


def _is_python(executable: str | None) -> bool:
    """Whether a program takes a module to run: the one that embeds Python, or was frozen, does not."""
    name = os.path.basename(executable or "").lower()
    return ("python" in name or "pypy" in name) and not getattr(sys, "frozen", False)


def _local_rank() -> int | None:
    for name in _LOCAL_RANKS:
        if (text := os.environ.get(name, "")).isdecimal():
            return int(text)
    return None


def _uuid(cuda: Any, place: int) -> str | int:
    """What names a GPU for sure; its place among those that this process sees where torch is too old to say."""
    found = str(getattr(cuda.get_device_properties(place), "uuid", ""))
    if not found:
        return place
    return found if found.startswith(("GPU-", "MIG-")) else f"GPU-{found}"
