"""The data path: from a source into the store, exactly once."""

from __future__ import annotations

import threading
import time
from functools import partial

from runtide_consumers._errors import ParseError
from runtide_consumers.batch import Batch, container, ledger_rows
from runtide_consumers.clickhouse import Store
from runtide_consumers.failpoints import failpoint
from runtide_consumers.known import Known
from runtide_consumers.rejects import find_poison, write_rejects
from runtide_consumers.retry import Retry
from runtide_consumers.source import Source
from runtide_consumers.telemetry import Telemetry

# Seconds between two polls that found nothing; longer when polls take long: they get a twentieth of a core.
_PAUSE = 0.05
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
        self._retry = Retry(stop, self._count_retry)

    def run(self) -> None:
        """Move batches until stopped.

        Raises:
            Stopped: While the store did not answer.
        """
        while not self._stop.is_set():
            started = time.monotonic()
            if not self.step():
                self._stop.wait(max(_PAUSE, _PAUSE_SHARE * (time.monotonic() - started)))

    #   poll ──▶ known? ──▶ intend ──▶ insert ──▶ dead letters ──▶ ledger ──▶ commit
    #                          ▲          │
    #                          └─ poison ─┘
    #
    # A crash anywhere before the commit: the next start polls the same batch again, with the same token, and every
    # step after the intent is one that the store does once per token.
    def step(self) -> bool:
        """Move one batch, if there is one.

        Raises:
            Stopped: While the store did not answer.
        """
        batch = self._source.poll()
        if batch is None:
            return False
        if batch.rebuilt:
            self._telemetry.replays += 1
        else:
            batch = self._without_duplicates(batch)
            self._source.intend(batch)
        failpoint("after_intent")
        batch = self._insert(batch)
        failpoint("after_insert")
        self._retry("write dead letters", partial(write_rejects, self._store, batch))
        self._write_ledger(batch)
        failpoint("after_ledger")
        self._source.commit(batch)
        self._known.add(batch)
        self._count(batch)
        return True

    def _without_duplicates(self, batch: Batch) -> Batch:
        found = self._retry("read the ledger", partial(self._known.duplicates, batch))
        self._telemetry.duplicates += len(found)
        return batch.without(found)

    def _insert(self, batch: Batch) -> Batch:
        """Insert a batch less its poison."""
        while batch.records:
            try:
                self._retry("insert into the store", partial(self._try_insert, batch), parse_errors_too=False)
                break
            except ParseError:
                poison = self._retry("look for records that do not parse", partial(find_poison, self._store, batch))
            if not poison:
                # The bytes are sound, so a view objects: as with any other trouble of the store, nothing is skipped.
                self._retry("insert into the store, whose views object", partial(self._try_insert, batch))
                break
            batch = batch.without(poison)
            self._source.intend(batch)
        return batch

    def _try_insert(self, batch: Batch) -> None:
        body = container(batch, batch.records)
        self._store.insert(f"landing_{batch.stream}", body, batch.token)
        self._telemetry.bytes += len(body)

    def _write_ledger(self, batch: Batch) -> None:
        rows = list(ledger_rows(batch))
        if rows:
            token = f"ledger/{batch.token}"
            self._retry("write the ledger", partial(self._store.insert_rows, "ledger", rows, token))

    def _count(self, batch: Batch) -> None:
        self._telemetry.batches += 1
        self._telemetry.records += len(batch.records)
        self._telemetry.rejects += len(batch.rejects)

    def _count_retry(self) -> None:
        self._telemetry.retries += 1
