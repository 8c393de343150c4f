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


def around_fork(before: Callable[[], None], in_parent: Callable[[], None], in_child: Callable[[], None]) -> None:
    """Call functions around every `os.fork` of this process, for as long as it lives."""
    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
