"""What differs between operating systems: file locks and fork."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable


def lock_file(descriptor: int) -> None:
    """Lock an open file exclusively, without waiting.

    The lock ends when every process that holds the descriptor has closed it: a forked child has it too.

    Raises:
        OSError: Somebody else has it, or the file system has no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Call a function in every child that `os.fork` gives this process, before anything else runs there."""
    os.register_at_fork(after_in_child=function)
