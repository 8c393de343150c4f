"""The data path: from a source into the store, exactly once."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial

from runtide_consumers._errors import Fenced, ParseError
from runtide_consumers.batch import Batch, container, fence, ledger_rows
from runtide_consumers.clickhouse import Store
from runtide_consumers.failpoints import failpoint
from runtide_consumers.known import Known
from runtide_consumers.rejects import find_poison, write_rejects
from runtide_consumers.retry import Retry
from runtide_consumers.source import Source
from runtide_consumers.telemetry import Telemetry

log = logging.getLogger("runtide.consumer")

# Seconds between two polls that found nothing; longer when polls have much to do: they get a twentieth of a core.
_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_PAUSE_SHARE = 20


class Engine:
    """Moves one stream's batches from its source into the store; used by one thread.

    Args:
        stream: Name of the stream.
        source: Where the batches come from.
        store: Where they go.
        stop: Ends the run after the current batch, or at once while the store does not answer.
        telemetry: Counts what happens.
    """

    def __init__(self, stream: str, source: Source, store: Store, stop: threading.Event, telemetry: Telemetry) -> None:
        self.stream = stream
        self._source = source
        self._store = store
        self._stop = stop
        self._telemetry = telemetry
        self._known = Known(store, stream)
        self._tenure = 0
        self._retry = Retry(stop, telemetry.count_retry)

    def run(self) -> None:
        """Move batches until stopped.

        Raises:
            Stopped: While the store did not answer.
        """
        while not self._stop.is_set():
            # Work, not waiting: a poll may have waited for a broker or for the store, and the group expects the next.
            worked = time.thread_time()
            if not self.step():
                worked = time.thread_time() - worked
                self._stop.wait(min(_LONGEST_PAUSE, max(_PAUSE, _PAUSE_SHARE * worked)))

    #   poll ──▶ known? ──▶ intend ──▶ insert ──▶ dead letters ──▶ ledger ──▶ commit
    #                          ▲          │
    #                          └─ poison ─┘
    #
    # A crash anywhere before the commit: the next start polls the same batch again, with the same token, and every
    # step after the intent is one that the store does once per token. Whoever comes late, after the token is forgotten,
    # is refused by the ledger.
    def step(self) -> bool:
        """Move one batch, if there is one.

        Raises:
            Stopped: While the store did not answer.
        """
        batch = self._source.poll()
        if batch is None:
            self._telemetry.progressed = time.monotonic()
            return False
        try:
            self._move(batch)
            self._telemetry.progressed = time.monotonic()
        except Fenced as error:
            log.info("%s: a batch is left to whoever has its partition now: %s", self.stream, error)
            self._telemetry.fenced += 1
            self._telemetry.failed = time.monotonic()
            self._source.reset()
        return True

    def _move(self, batch: Batch) -> None:
        if batch.tenure != self._tenure:
            self._known, self._tenure = Known(self._store, self.stream), batch.tenure
        if batch.rebuilt:
            log.info("%s: the batch %s of an earlier start is made again", self.stream, batch.ranges)
            self._telemetry.replays += 1
        else:
            batch = self._without_duplicates(batch)
        batch = self._insert(batch)
        failpoint("after_insert", self.stream)
        self._retry("write dead letters", partial(write_rejects, self._store, batch))
        self._write_ledger(batch)
        failpoint("after_ledger", self.stream)
        self._source.commit(batch)
        self._known.add(batch)
        self._count(batch)

    def _without_duplicates(self, batch: Batch) -> Batch:
        if not self._duplicates(batch):
            return batch
        # A record that does not parse may have the number of a good one, which must not be taken for its copy.
        batch = batch.without(self._poison(batch))
        return batch.without(self._duplicates(batch))

    def _duplicates(self, batch: Batch) -> dict[tuple[int, int], str]:
        return self._retry("read the ledger", partial(self._known.duplicates, batch))

    def _poison(self, batch: Batch) -> dict[tuple[int, int], str]:
        return self._retry("look for records that do not parse", partial(find_poison, self._store, batch))

    def _insert(self, batch: Batch) -> Batch:
        """Insert a batch less its poison; returns it so."""
        while True:
            try:
                self._retry("insert into the store", partial(self._try_insert, batch), parse_errors_too=False)
                return batch
            except ParseError:
                poison = self._poison(batch)
            if not poison:
                # The bytes are sound, so a view objects: as with any other trouble of the store, nothing is skipped.
                self._retry("insert into the store, whose views object", partial(self._try_insert, batch))
                return batch
            batch = batch.without(poison)

    def _try_insert(self, batch: Batch) -> None:
        # Made before the intent is noted: between that and the insert nothing should take time.
        body = container(batch, batch.records) if batch.records else b""
        self._source.intend(batch)
        failpoint("after_intent", self.stream)
        if body:
            started = time.monotonic()
            rows = self._store.insert(f"landing_{batch.stream}", body, batch.token, fence(batch))
            self._telemetry.inserts.add(time.monotonic() - started)
            self._telemetry.bytes += len(body)
            self._telemetry.rows += rows

    def _write_ledger(self, batch: Batch) -> None:
        rows = list(ledger_rows(batch))
        if rows:
            token = f"ledger/{batch.token}"
            self._retry("write the ledger", partial(self._store.insert_rows, "ledger", rows, token, fence(batch)))

    def _count(self, batch: Batch) -> None:
        self._telemetry.batches += 1
        self._telemetry.records += len(batch.records)
        self._telemetry.duplicates += sum(not why for why in batch.excluded.values())
        self._telemetry.rejects += len(batch.rejects)
