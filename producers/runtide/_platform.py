"""What differs between operating systems: file locks, forks, open files, file modes and names.

`sys.platform` is compared in each function, and not kept in a name, because type checkers understand that alone.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Windows would else write a carriage return before every byte 10. Descriptors are not inherited by any child program.
BINARY: int = getattr(os, "O_BINARY", 0)
# Else a black window would open for every git that a program without a console starts.
NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)
# Seconds that Windows is asked again to replace a file which somebody has open.
_PATIENCE, _PAUSE = 0.5, 0.01
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{name}{number}" for name in ("COM", "LPT") for number in range(10))}


def lock_file(descriptor: int) -> None:
    """Lock an open file exclusively, without waiting.

    The lock ends when every process that holds the descriptor has closed it: a forked child has it too.

    Raises:
        OSError: Somebody else has it, or the file system has no locks.
    """
    if sys.platform == "win32":
        # The lock is on a range of bytes, which need not be there, and nobody else can read them.
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Call a function in every child that `os.fork` gives this process, before anything else runs there."""
    if sys.platform != "win32":  # which has no fork
        os.register_at_fork(after_in_child=function)


def can_move_open_files() -> bool:
    """Whether a file can be deleted, and a folder renamed, while somebody has the file or one in the folder open."""
    return sys.platform != "win32"


def replace(draft: Path, target: Path) -> None:
    """Rename a file, over another one if that is there.

    Raises:
        OSError: It cannot be done; on Windows also because somebody has kept the other one open for half a second.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            draft.replace(target)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def is_open_to_others(path: Path) -> bool:
    """Whether the mode of a file lets others than its owner at it; Windows has access lists instead, of the folder.

    Raises:
        OSError: The file is not there, or its mode cannot be read.
    """
    mode = path.stat().st_mode
    return sys.platform != "win32" and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


def command_line(arguments: Sequence[str]) -> str:
    """Arguments as they are typed in a shell."""
    return subprocess.list2cmdline(arguments) if sys.platform == "win32" else shlex.join(arguments)


def path_of(folder: Path, name: str) -> Path:
    """The path for a name with slashes below a folder; on Windows without what no file there may be called."""
    if sys.platform == "win32":
        name = "/".join(_windows_name(part) for part in name.split("/"))
    return folder / name


def _windows_name(part: str) -> str:
    """A name without forbidden characters, names of devices, and a dot or blank at the end; distinct ones stay so."""
    escaped = "".join(f"%{ord(character):02X}" if character in '<>"|*' else character for character in part)
    if escaped[-1:] in (".", " "):
        escaped = f"{escaped[:-1]}%{ord(escaped[-1]):02X}"
    return f"{escaped}%" if escaped.partition(".")[0].rstrip().upper() in _RESERVED else escaped
