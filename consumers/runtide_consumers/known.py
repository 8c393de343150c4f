"""Which records the store has: what a writer's numbers say about copies."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable

from runtide_consumers.batch import Batch
from runtide_consumers.clickhouse import Store

# Writers that one query asks for: a server takes at most 128 KiB of a parameter.
_ASKED = 5_000
# Writers remembered; one forgotten is read again from the ledger when it comes back.
_WRITERS = 20_000

_SQL = """
SELECT writer, run_id, min(first_seq), max(last_seq)
FROM
(
    SELECT *, sum(apart) OVER (PARTITION BY writer, run_id ORDER BY first_seq, last_seq) AS island
    FROM
    (
        SELECT writer, run_id, first_seq, last_seq,
            first_seq > 1 + max(last_seq) OVER (
                PARTITION BY writer, run_id ORDER BY first_seq, last_seq
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS apart
        FROM `{database}`.ledger
        WHERE stream = {{stream:String}} AND writer IN {{writers:Array(UInt64)}}
    )
)
GROUP BY writer, run_id, island
"""


class Ranges:
    """Numbers, kept as ranges."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Add every number from `first` to `last`; joins ranges that touch."""
        low = bisect_right(self._firsts, first)
        if low and self._lasts[low - 1] >= first - 1:
            low -= 1
            first = self._firsts[low]
        high = bisect_right(self._firsts, last + 1)
        if high > low:
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]


class Known:
    """Numbers of one stream's records that are in the ledger, by writer and run.

    Args:
        store: Where the ledger is.
        stream: Name of the stream.
    """

    def __init__(self, store: Store, stream: str) -> None:
        self._store = store
        self._stream = stream
        self._writers: OrderedDict[int, dict[str, Ranges]] = OrderedDict()

    def duplicates(self, batch: Batch) -> dict[tuple[int, int], str]:
        """Offsets of records that are in the ledger or stand twice in the batch, to exclude without a reason.

        Raises:
            StoreError: The ledger cannot be read.
        """
        self.load({record.writer for record in batch.records})
        found = {}
        fresh: dict[tuple[int, str], Ranges] = {}
        for record in batch.records:
            here = fresh.setdefault((record.writer, record.run_id), Ranges())
            if record.seq in here or record.seq in self._writers[record.writer].get(record.run_id, ()):
                found[record.partition, record.offset] = ""
            else:
                here.add(record.seq, record.seq)
        return found

    def load(self, writers: Iterable[int]) -> None:
        """Read what the ledger has of writers that are not remembered.

        Raises:
            StoreError: The ledger cannot be read.
        """
        unseen = [writer for writer in writers if writer not in self._writers]
        sql = _SQL.format(database=self._store.database)
        for start in range(0, len(unseen), _ASKED):
            asked = unseen[start : start + _ASKED]
            rows = self._store.query(sql, stream=self._stream, writers=asked)
            self._writers.update({writer: {} for writer in asked})
            for writer, run_id, first, last in rows:
                self._writers[writer].setdefault(run_id, Ranges()).add(first, last)

    def add(self, batch: Batch) -> None:
        """Remember a batch that is in the ledger now."""
        for record in batch.records:
            runs = self._writers.get(record.writer)
            if runs is not None:
                runs.setdefault(record.run_id, Ranges()).add(record.seq, record.seq)
                self._writers.move_to_end(record.writer)
        while len(self._writers) > _WRITERS:
            self._writers.popitem(last=False)
