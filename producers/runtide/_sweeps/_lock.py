"""The lock of a journal file. It ends with the process that has it: Optuna's own stay behind one that was killed."""

from __future__ import annotations

import os
import sys
import time

from optuna.storages.journal._file import BaseJournalFileLock

from runtide import _platform

if sys.platform != "win32":
    import fcntl

_PAUSE = 0.002


class FileLock(BaseJournalFileLock):
    """A lock between processes, and between the threads of one. Whoever gets it finds a journal of whole lines.

    Args:
        journal: The file that is written with the lock held.
    """

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self._path = f"{journal}.lock"
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock; the storage that asks has a lock between its threads around it."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | _platform.BINARY, 0o644)
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            else:
                while True:
                    try:
                        _platform.lock_file(descriptor)
                        break
                    except PermissionError:
                        time.sleep(_PAUSE)
            self._mend()
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _mend(self) -> None:
        """Cut off what somebody could not write to the end: the disk was full, or the machine went down."""
        with open(self._journal, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
