"""Dead letters through the data path once more, after what was wrong with them was mended."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from runtide_consumers._errors import NotReplayed, ParseError
from runtide_consumers.announced import Announced
from runtide_consumers.batch import Batch, Range, Record, Reject, container, ledger_rows
from runtide_consumers.clickhouse import Store
from runtide_consumers.dead_letters import DeadLetters, Letter
from runtide_consumers.failpoints import failpoint
from runtide_consumers.fetch import fetch
from runtide_consumers.partitions import Message, read_message
from runtide_consumers.rejects import find_poison
from runtide_schemas import STREAMS, Kafka

REPLAYED, THERE = "replayed", "there already"
# Digits of a spool's id; those of topics are longer.
_SPOOL_ID = 16

# Rows of the ledger that have the record: of its own insert (a view refused it then), of a replay, and others.
_LEDGER = """
SELECT countIf(here AND source = {{source:String}}), countIf(here AND source = {{replay:String}}), count()
FROM
(
    SELECT source,
        partition = {{partition:Int64}} AND first_offset <= {{offset:Int64}} AND {{offset:Int64}} < next_offset AS here
    FROM `{database}`.ledger
    WHERE stream = {{stream:String}} AND run_id = {{run_id:String}} AND writer = {{writer:UInt64}} AND records > 0
        AND {{seq:UInt64}} BETWEEN first_seq AND last_seq
)
"""
_HAS_REASON = """
SELECT count() FROM system.columns WHERE database = {database:String} AND table = {table:String} AND name = 'reason'
"""


class Replay:
    """Replays dead letters, each once: with a token of its own, an entry in the ledger, and a mark.

    Args:
        store: The store.
        letters: Its dead letters.
        kafka: Where letters of topics can be read again as they were, and where schemas are announced.
    """

    def __init__(self, store: Store, letters: DeadLetters, kafka: Kafka | None) -> None:
        self._store = store
        self._letters = letters
        self._kafka = kafka
        self._announced: dict[str, Announced] = {}

    #   payload or topic ──▶ schema? ──▶ parses? ──▶ passes the checks? ──▶ insert ──▶ ledger ──▶ mark
    #
    # Whatever is not as it should be is found before the insert, in tables without views. A crash behind the insert:
    # the next replay sends the same again with the same tokens, and the store drops what it has.
    def replay(self, letter: Letter) -> str:
        """Replay one letter; returns REPLAYED, or THERE when another copy of the record had arrived.

        Raises:
            NotReplayed: It cannot be; nothing was changed.
            StoreError: The store does not answer; may be called again.
        """
        prefix, record = self._find(letter)
        own, replayed, rows = self._in_ledger(letter, record)
        if rows > own:
            return self._mark(letter, REPLAYED if replayed else THERE)
        batch = self._batch(letter, prefix, record)
        self._check(batch)
        token = f"{_source(letter)}/{letter.stream}/{letter.partition}/{letter.offset}"
        self._store.insert(f"landing_{letter.stream}", container(batch, batch.records), token)
        failpoint("replay_after_insert", batch.stream)
        if not own:
            # Under a name of its own: how far a source is done is read from the rows with the source's.
            noted = list(ledger_rows(replace(batch, source=_source(letter))))
            self._store.insert_rows("ledger", noted, f"ledger/{token}")
        failpoint("replay_after_ledger", batch.stream)
        return self._mark(letter, REPLAYED)

    def _find(self, letter: Letter) -> tuple[bytes, Record]:
        """The record, with the bytes in front that name its schema, from the letter's payload or from its topic."""
        payload = self._letters.payload(letter)
        read = self._read(letter, payload)
        if isinstance(read, Reject):
            read = self._read(letter, self._original(letter, f"it holds no record ({read.reason})"))
        elif letter.length > len(payload):
            read = self._read(letter, self._original(letter, "it holds only the start of its record"))
        if isinstance(read, Reject):
            raise NotReplayed(f"it is no record: {read.reason}")
        return read

    def _read(self, letter: Letter, value: bytes) -> tuple[bytes, Record] | Reject:
        # The letter's time, as the record's own is not kept: the same however often it is replayed.
        return read_message(letter.partition, Message(letter.offset, letter.time * 1000, value))

    def _original(self, letter: Letter, lack: str) -> bytes:
        if len(letter.source) == _SPOOL_ID:
            raise NotReplayed(f"{lack}, and a spool keeps nothing that is done")
        if self._kafka is None:
            raise NotReplayed(f"{lack}: set RUNTIDE_KAFKA or use --kafka, the topic may have it")
        return fetch(self._kafka, letter.stream, letter.source, letter.partition, letter.offset)

    def _in_ledger(self, letter: Letter, record: Record) -> tuple[int, int, int]:
        """Rows of the ledger that have the record: of its own insert, of its replay, all."""
        rows = self._store.query(
            _LEDGER.format(database=self._store.database),
            stream=letter.stream, run_id=record.run_id, writer=record.writer, seq=record.seq,
            source=letter.source, replay=_source(letter), partition=letter.partition, offset=letter.offset,
        )  # fmt: skip
        own, replayed, all_rows = rows[0]
        return int(own), int(replayed), int(all_rows)

    def _batch(self, letter: Letter, prefix: bytes, record: Record) -> Batch:
        return Batch(
            stream=letter.stream,
            source=letter.source,
            schema_json=self._schema(letter.stream, prefix),
            prefix=prefix,
            ranges=(Range(letter.partition, letter.offset, letter.offset + 1),),
            records=(record,),
        )

    def _schema(self, stream: str, prefix: bytes) -> str:
        if stream not in STREAMS:
            raise NotReplayed(f"this version knows no stream {stream}")
        found = STREAMS[stream].schema_json if prefix == STREAMS[stream].prefix else None
        if found is None and self._kafka is not None:
            announced = self._announced.setdefault(stream, Announced(self._kafka, stream))
            found = announced.find(prefix)
        if found is None:
            raise NotReplayed(f"its schema {prefix.hex()} is not known here; the version that wrote it knows it")
        return found

    def _check(self, batch: Batch) -> None:
        """See that the store can parse the record, and that the landing table's checks let it pass.

        Raises:
            NotReplayed: It is still as bad as it was.
        """
        if poison := find_poison(self._store, batch):
            raise NotReplayed(f"the store still cannot parse it: {next(iter(poison.values()))}")
        with self._trial(batch.stream) as (table, has_reason):
            try:
                self._store.insert(table, container(batch, batch.records), f"trial/{table}")
            except ParseError as error:
                raise NotReplayed(f"the store still cannot parse it: {error}") from error
            rows = self._store.query(f"SELECT reason FROM `{self._store.database}`.`{table}`") if has_reason else [[""]]
        if reason := rows[0][0]:
            raise NotReplayed(f"landing_{batch.stream} still refuses it: {reason}")

    @contextmanager
    def _trial(self, stream: str) -> Iterator[tuple[str, bool]]:
        """A table that is like the landing table, but keeps what is inserted and has no views."""
        table = f"trial_{stream}_{secrets.token_hex(4)}"
        name = f"`{self._store.database}`.`{table}`"
        self._store.command(f"CREATE TABLE {name} AS `{self._store.database}`.`landing_{stream}` ENGINE = Memory")
        try:
            rows = self._store.query(_HAS_REASON, database=self._store.database, table=table)
            yield table, bool(rows[0][0])
        finally:
            self._store.command(f"DROP TABLE IF EXISTS {name}")

    def _mark(self, letter: Letter, outcome: str) -> str:
        keys = ("stream", "source", "partition", "offset", "digest")
        row = {**{key: getattr(letter, key) for key in keys}, "outcome": outcome}
        self._store.insert_rows("replays", [row], f"mark/{'/'.join(str(row[key]) for key in keys)}")
        return outcome


def _source(letter: Letter) -> str:
    """What the ledger calls the source of a replayed letter."""
    return f"replay/{letter.source}"
