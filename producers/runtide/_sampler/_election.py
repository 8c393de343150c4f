"""Where the ranks of a node and its sampler meet: a lock that one process holds, and a socket at which it listens.

    rank: send ──nobody listens──▶ take the lock ──▶ bind the socket ──▶ start a process that inherits both

Only who has the lock may bind, and the kernel frees it when its holder dies, so that there is one sampler and the next
one follows by itself. The files are in the folder for temporary files: containers that share none have a sampler each.
Used by training processes too, so it imports little.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtide import _platform

# What sockaddr_un takes on all systems, less the zero at its end.
_LONGEST = 103
_MESSAGE_BYTES = 1 << 16


class NoPlaceError(Exception):
    """There can be no sampler here; the text says why."""


@dataclass(frozen=True)
class Place:
    """The files of one user's sampler on one node.

    Args:
        lock: Locked by the sampler as long as it lives.
        address: Its socket.
        log: What it has to complain about.
    """

    lock: Path
    address: Path
    log: Path


def find_place(environ: Mapping[str, str] = os.environ) -> Place:
    """Where this user's sampler is, or would be; makes the folder.

    Raises:
        NoPlaceError: There can be none.
    """
    if sys.platform != "linux":
        raise NoPlaceError(f"the sampler runs on Linux only, and this is {sys.platform}")
    user = os.getuid()
    identity = f"{_read('/proc/sys/kernel/random/boot_id')}/{user}/{_link('/proc/self/ns/pid')}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder = Path(environ.get("TMPDIR") or "/tmp").absolute() / f"runtide-{user}"
    if len(os.fsencode(folder / f"{key}.sock")) > _LONGEST:
        folder = Path("/tmp") / folder.name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise NoPlaceError(f"{folder} cannot be made: {error.strerror}; set TMPDIR to a folder that is yours") from None
    # In a folder that everybody may write to, somebody else may have been first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or stat.S_IMODE(found.st_mode) & 0o077:
        raise NoPlaceError(f"{folder} is not a folder of this user alone; delete it, or set TMPDIR to another one")
    return Place(folder / f"{key}.lock", folder / f"{key}.sock", folder / f"{key}.log")


def take_lock(place: Place) -> int | None:
    """A descriptor that holds the lock; None while another process does.

    Raises:
        OSError: The folder cannot be written to.
    """
    descriptor = os.open(place.lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _platform.lock_file(descriptor)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_ours(place: Place, lock: int) -> bool:
    """Whether the files are still those of this process; keeps them young, since what tidies up goes by their age."""
    try:
        if os.stat(place.lock).st_ino != os.fstat(lock).st_ino:
            return False
        os.utime(place.lock)
        os.utime(place.address)
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


class Post:
    """The sampler's end of the socket. Only the holder of the lock has one.

    Args:
        place: Where the socket is.
        descriptor: The socket, where it was bound by the process that started this one; None to bind it.
        lock: The lock, where it ends with the socket.
    """

    def __init__(self, place: Place, descriptor: int | None = None, lock: int | None = None) -> None:
        self._place = place
        self._lock = lock
        self.socket = socket.socket(fileno=descriptor) if descriptor is not None else self._bind()

    def _bind(self) -> socket.socket:
        with suppress(FileNotFoundError):  # its owner is dead, or the lock would not be ours
            self._place.address.unlink()
        bound = unix_socket()
        try:
            bound.bind(str(self._place.address))
        except OSError:
            bound.close()
            raise
        return bound

    def receive(self, timeout: float) -> bytes | None:
        """The next message; None when there is none within so many seconds."""
        if self.socket.gettimeout() != timeout:
            self.socket.settimeout(timeout)
        try:
            return self.socket.recv(_MESSAGE_BYTES)
        except (BlockingIOError, TimeoutError):
            return None

    def fold(self) -> bytes | None:
        """Take the socket away, so that nobody can send; a message that came before goes on with a new socket."""
        with suppress(FileNotFoundError):
            self._place.address.unlink()
        if (message := self.receive(0)) is not None:
            left, self.socket = self.socket, self._bind()
            left.settimeout(0)
            with suppress(OSError):  # the others are handed on, as far as there is room: ranks repeat themselves
                while True:
                    self.socket.sendto(left.recv(_MESSAGE_BYTES), str(self._place.address))
            left.close()
        return message

    def close(self) -> None:
        """Let go of the socket, and of the lock: another one may follow while what is left is delivered."""
        self.socket.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def unix_socket() -> socket.socket:
    """A datagram socket that never blocks."""
    if sys.platform == "win32":
        raise NoPlaceError("Windows has no datagram sockets of this kind")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
