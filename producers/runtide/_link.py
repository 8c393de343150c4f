"""What stands between a writer's folder on this disk and the other side: chunks go in, positions come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from runtide_schemas import Entry


class TroubleError(Exception):
    """Nothing can be delivered now; the message says why and what to do. It is tried again."""


class ParcelError(Exception):
    """One parcel cannot be delivered now, others may be; the message says why. It is tried again."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive bytes of one segment: whole entries, with the segment's header in front where it begins here.

    Args:
        stream: Name of the stream.
        schema_json: Avro schema of its records; empty when the header cannot be read and the stream is not ours.
        offset: Where the bytes begin in the stream.
        base: Where their segment begins in the stream.
        data: The bytes.
        entries: Each sound entry, and the offset behind it in the stream.
    """

    stream: str
    schema_json: str
    offset: int
    base: int
    data: bytes
    entries: list[tuple[Entry, int]]

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.offset + len(self.data)


class Parcel(Protocol):
    """A writer's folder as a link sees it."""

    run_id: str
    writer: int

    def partition(self, stream: str, count: int) -> int:
        """The partition, of so many, that the writer's records of a stream have always gone to and always will."""

    def advance(self, stream: str, offset: int) -> None:
        """Everything of the stream before the offset has been acknowledged."""

    def rewind(self, stream: str, offset: int) -> int:
        """Go back to an offset, from which on all has to be delivered again, or to the first that is still there."""

    def description(self) -> bytes:
        """Who writes, as JSON."""


class Link(Protocol):
    """The way to the other side. Used by one thread.

    Attributes:
        name: The other side, as a person knows it.
        identity: Equal for two links that are the same way, credentials and all.
    """

    name: str
    identity: tuple[object, ...]

    def deliver(self, parcel: Parcel, chunks: list[Chunk], stopped: Callable[[], bool]) -> bool:
        """Deliver chunks of different streams, and advance each stream as far as it was acknowledged.

        Returns when all are acknowledged, when `stopped` says that nobody waits any more, or after a moment in which
        nothing was. A stream that alone cannot be delivered may be left where it is.

        Returns:
            Whether some of it is still under way: another call waits for it on, and does not send it again.

        Raises:
            ParcelError: Nothing of it is acknowledged for long; what is under way may be delivered yet.
            TroubleError: What was not acknowledged has to be delivered again, later.
        """

    def finish(self, parcel: Parcel) -> None:
        """Say that everything of a parcel was acknowledged and nothing follows.

        Raises:
            ParcelError, TroubleError: It has to be said again, later.
        """

    def close(self) -> None:
        """Let go of everything. Does not raise; may be used again afterwards."""
