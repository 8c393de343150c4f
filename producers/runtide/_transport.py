"""The way out of the process: what the sender hands its messages to."""

from __future__ import annotations

from typing import Protocol

from runtide_schemas import Stream


class RefusedError(Exception):
    """A transport took nothing of what it was given.

    Args:
        reason: One word, the name under which lost points are counted.
        message: What is wrong and what to do about it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Transport(Protocol):
    """Takes encoded records. Called by one thread at a time; the caller keeps and repeats what was refused."""

    def send(self, stream: Stream, messages: list[bytes]) -> None:
        """Take all of the messages, in order, or none.

        May block on a disk or a network, never for longer than one write.

        Raises:
            RefusedError: Nothing was taken; the same call may work later.
        """

    def close(self, timeout: float = 0.0) -> None:
        """Say that nothing follows, and let go of all resources. Does not raise.

        Args:
            timeout: Seconds to wait, where something has to be waited for.
        """

    def abandon(self) -> None:
        """In a forked child: let go of what was inherited, without any effect on the parent's transport."""
