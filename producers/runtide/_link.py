"""What stands between a writer's folder on this disk and the other side: chunks go in, positions come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from runtide_schemas import Entry


class TroubleError(Exception):
    """Nothing can be delivered now; the message says why and what to do. It is tried again."""


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

    def rewind(self, stream: str, offset: int) -> bool:
        """Go back to an offset, from which on all has to be delivered again; False when that is no longer there."""

    def description(self) -> bytes:
        """Who writes, as JSON."""


class Link(Protocol):
    """The way to the other side. Used by one thread.

    Attributes:
        name: The other side, as a person knows it.
    """

    name: str

    def deliver(self, parcel: Parcel, chunks: list[Chunk], stopped: Callable[[], bool]) -> None:
        """Deliver chunks of different streams, and advance each stream as far as it was acknowledged.

        Returns when all are acknowledged, or when `stopped` says that nobody waits any more. A stream that alone
        cannot be delivered may be left where it is.

        Raises:
            TroubleError: What was not acknowledged has to be delivered again, later.
        """

    def finish(self, parcel: Parcel) -> None:
        """Say that everything of a parcel was acknowledged and nothing follows.

        Raises:
            TroubleError: It has to be said again, later.
        """

    def close(self) -> None:
        """Let go of everything. Does not raise; may be used again afterwards."""
