"""What could not be used, as it is kept in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runtide_consumers._errors import SetupError
from runtide_consumers.clickhouse import Store

# Digits of a digest that name a letter in what is printed; fewer will do when they are unique.
NAME_LENGTH = 12

_KEY = "stream, source, partition, offset, digest"
_REPLAYED = f"toBool(({_KEY}) IN (SELECT {_KEY} FROM {{db}}.replays))"
_COLUMNS = f"""
toUnixTimestamp64Milli(time) AS milliseconds, toString(stream) AS stream, reason, source, partition, offset,
toString(digest) AS digits, length, {_REPLAYED} AS replayed
"""
_WHERE = """
FROM {db}.dead_letters
WHERE ({{stream:String}} = '' OR stream = {{stream:String}})
    AND positionCaseInsensitiveUTF8(reason, {{reason:String}}) > 0
    AND (empty({{names:Array(String)}})
        OR arrayExists(name -> startsWith(toString(digest), name), {{names:Array(String)}}))
"""
_ONCE = f"LIMIT 1 BY {_KEY}"
_LETTERS = f"SELECT {_COLUMNS} {_WHERE} ORDER BY time DESC, partition, offset DESC {_ONCE} LIMIT {{{{limit:UInt64}}}}"
_COUNTS = f"""
SELECT toString(stream), reason, count(), countIf(replayed), max(milliseconds)
FROM (SELECT {_COLUMNS} {_WHERE} {_ONCE})
GROUP BY stream, reason ORDER BY max(milliseconds) DESC
"""
_PAYLOAD = """
SELECT hex(payload) FROM {db}.dead_letters
WHERE stream = {{stream:String}} AND source = {{source:String}} AND partition = {{partition:Int64}}
    AND offset = {{offset:Int64}} AND digest = {{digest:String}}
LIMIT 1
"""


@dataclass(frozen=True)
class Letter:
    """A dead letter without its payload.

    Args:
        time: When it was rejected, milliseconds since 1970 UTC.
        stream: Name of the stream.
        reason: Why it was rejected.
        source: Id of the topic or spool.
        partition: Partition of the topic, or writer of the spool.
        offset: Where it starts there.
        digest: SHA-256 of the payload, hexadecimal.
        length: Length of the payload in bytes, of which the store has the first 64 KiB.
        replayed: It is done with.
    """

    time: int
    stream: str
    reason: str
    source: str
    partition: int
    offset: int
    digest: str
    length: int
    replayed: bool

    @property
    def name(self) -> str:
        """The first digits of its digest."""
        return self.digest[:NAME_LENGTH]

    @property
    def origin(self) -> str:
        """Source, partition and offset."""
        return f"{self.source}/{self.partition}/{self.offset}"

    @property
    def when(self) -> str:
        """When it was rejected, to the second, UTC."""
        return said_time(self.time)


@dataclass(frozen=True)
class Choice:
    """Which letters are meant.

    Args:
        stream: Of this stream; empty for any.
        reason: Text that the reason contains, in any case.
        names: First digits of digests; any of them; none for all.
    """

    stream: str = ""
    reason: str = ""
    names: Sequence[str] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """For the queries."""
        return {"stream": self.stream, "reason": self.reason, "names": [name.lower() for name in self.names]}


class DeadLetters:
    """The dead letters of a store.

    Args:
        store: The store.

    Raises:
        SetupError: The store has no such tables yet.
        StoreError: The store does not answer, here and in the methods.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        sql = "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'replays'"
        if not store.query(sql, database=store.database)[0][0]:
            raise SetupError(
                f"the database {store.database} has not the tables of this version yet: `runtide up` and "
                "`runtide consume` make them when they start"
            )

    def letters(self, choice: Choice, limit: int = 1_000_000) -> list[Letter]:
        """The letters that are meant, newest first."""
        rows = self._query(_LETTERS, **choice.parameters, limit=limit)
        return [Letter(*row) for row in rows]

    def counts(self, choice: Choice) -> list[tuple[str, str, int, int, int]]:
        """Stream, reason, number of letters, of replayed ones, time of the newest (ms); the newest first."""
        return [(*row,) for row in self._query(_COUNTS, **choice.parameters)]

    def payload(self, letter: Letter) -> bytes:
        """What the store has of a letter's payload: its first 64 KiB."""
        keys = {name: getattr(letter, name) for name in ("stream", "source", "partition", "offset", "digest")}
        # Hexadecimal, because the client takes text for text.
        return bytes.fromhex(self._query(_PAYLOAD, **keys)[0][0])

    def _query(self, sql: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        return self._store.query(sql.format(db=f"`{self._store.database}`"), **parameters)


def said_time(milliseconds: int) -> str:
    """A time as people read it, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
