"""Where batches come from."""

from __future__ import annotations

from typing import Protocol

from runtide_consumers.batch import Batch


class Source(Protocol):
    """One stream's records, in batches; used by one thread.

    A source keeps two things where they survive a crash: how far each partition is done, and per partition at most one
    *intent*, the batch that is being inserted. The first batch of a partition after a start is the intent's, if there
    is one.
    """

    def poll(self) -> Batch | None:
        """The next batch, or None when there is nothing to insert yet; does not wait for data.

        Everything from the last commit on comes again until it is committed. After a start, a batch that was intended
        and not committed comes first, marked `rebuilt`: the same ranges and exclusions, byte for byte the same records.

        Raises:
            OSError: The source cannot be read; the caller may try again.
        """

    def intend(self, batch: Batch) -> None:
        """Note, durably, that this batch will be inserted; replaces an earlier note. What it excludes is part of it.

        Called before every try of the insert, also of a rebuilt batch: whoever shares the source shows by it that the
        partition is still theirs.

        Raises:
            Fenced: It is not, or nobody can tell.
        """

    def commit(self, batch: Batch) -> None:
        """Note, durably and in one step, that the batch is in the store and that nothing is intended any more.

        Raises:
            Fenced: That could not be noted.
        """

    def reset(self) -> None:
        """Forget everything that was read; the next poll begins from what is noted, as after a start."""
