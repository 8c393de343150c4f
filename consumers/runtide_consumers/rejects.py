"""What cannot be used: finding it, and keeping it where it can be inspected."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro

from runtide_consumers._errors import ParseError
from runtide_consumers.batch import Batch, Record, Reject, container
from runtide_consumers.clickhouse import Store

# Seconds after which a search is broken off: meanwhile nobody serves the group.
_LONGEST_SEARCH = 20.0
# Bytes of a dead letter that are kept.
_KEPT = 65_536
_NOISE = re.compile(r"^.*?DB::Exception: (?:std::exception\. )?|\s*\(version .*$|\s*\(for url .*$")

# Avro, because a payload is any bytes and JSON carries text.
_LETTER = fastavro.parse_schema(
    {
        "type": "record",
        "name": "DeadLetter",
        "fields": [
            {"name": "stream", "type": "string"},
            {"name": "reason", "type": "string"},
            {"name": "source", "type": "string"},
            {"name": "partition", "type": "long"},
            {"name": "offset", "type": "long"},
            {"name": "digest", "type": "string"},
            {"name": "length", "type": "long"},
            {"name": "payload", "type": "bytes"},
        ],
    }
)

_KNOWN = """
SELECT partition, offset FROM `{database}`.dead_letters
WHERE stream = {{stream:String}} AND source = {{source:String}} AND partition IN {{partitions:Array(Int64)}}
    AND offset BETWEEN {{first:Int64}} AND {{last:Int64}}
"""


def find_poison(store: Store, batch: Batch) -> dict[tuple[int, int], str]:
    """The batch's records that the store cannot parse, with its reason, by (partition, offset).

    Only the probe table is touched: it parses as the landing table does, keeps nothing and has no views. A trial
    insert into the landing table would leave the rows of the views that ran before the failure.

    With very many it returns when it has looked for some seconds: the caller notes what was found, and asks again.

    Raises:
        StoreError: The store does not answer.
    """
    # Not the batch's own fence: what is wrong with the ledger is not the records' fault.
    unless = "0" if batch.shared else ""

    def complaint(records: Sequence[Record]) -> str:
        try:
            store.insert(f"probe_{batch.stream}", container(batch, records), f"probe/{batch.token}", unless)
        except ParseError as error:
            return _NOISE.sub("", str(error))[:500] or "cannot be parsed"
        return ""

    if not complaint(batch.records):
        return {}
    # A schema that does not fit the table fails without any record, and each time: no need to look for one.
    if complaint(()) and (why := complaint(())):
        return {(record.partition, record.offset): why for record in batch.records}
    schema = fastavro.parse_schema(json.loads(batch.schema_json))
    poison: dict[tuple[int, int], str] = {}
    plain: list[Record] = []
    odd: list[Record] = []
    for record in batch.records:
        why, fields = _decode(record, schema)
        if why:
            poison[record.partition, record.offset] = why
        else:
            (plain if _encodes_to(record.body, fields, schema) else odd).append(record)
    # What only the store objects to is among the odd ones: no need to divide the whole batch for each.
    search = _Search(complaint, time.monotonic() + _LONGEST_SEARCH, poison)
    search.divide(odd)
    search.divide(plain)
    return search.found


def _decode(record: Record, schema: Any) -> tuple[str, Any]:
    """What another reader of Avro objects to: thousands of bad records then cost one probe instead of one each."""
    body = io.BytesIO(record.body)
    try:
        fields = fastavro.schemaless_reader(body, schema, None)
    except Exception as error:  # whatever a reader of hostile bytes may raise
        why = str(error).partition(" from <")[0] or "it ends too early"  # fastavro names its buffer's address
        return f"cannot be decoded: {type(error).__name__}: {why}"[:500], None
    left = len(record.body) - body.tell()
    return f"{left} bytes follow the record's end" if left else "", fields


def _encodes_to(body: bytes, fields: Any, schema: Any) -> bool:
    out = io.BytesIO()
    try:
        fastavro.schemaless_writer(out, schema, fields)
    except Exception:  # a writer is stricter than a reader; the store is asked
        return False
    return out.getvalue() == body


@dataclass
class _Search:
    """The search for records that only the store objects to.

    Args:
        complaint: What the store objects to in some records; empty for nothing.
        deadline: When to stop, once something is found (monotonic seconds).
        found: What was found, with the reason, by (partition, offset).
    """

    complaint: Callable[[Sequence[Record]], str]
    deadline: float
    found: dict[tuple[int, int], str]

    def divide(self, records: Sequence[Record]) -> None:
        """Look among some records."""
        if not records or (self.found and time.monotonic() > self.deadline) or not (why := self.complaint(records)):
            return
        if len(records) == 1:
            self.found[records[0].partition, records[0].offset] = why
            return
        middle = len(records) // 2
        self.divide(records[:middle])
        self.divide(records[middle:])


def write_rejects(store: Store, batch: Batch) -> None:
    """Put a batch's rejects into `dead_letters`, once each, also when the batch is made anew with other ranges.

    Raises:
        StoreError: The store did not take them; may be called again.
    """
    if not batch.rejects:
        return
    offsets = [reject.offset for reject in batch.rejects]
    rows = store.query(
        _KNOWN.format(database=store.database),
        stream=batch.stream,
        source=batch.source,
        partitions=sorted({reject.partition for reject in batch.rejects}),
        first=min(offsets),
        last=max(offsets),
    )
    known = {(partition, offset) for partition, offset in rows}
    letters = [letter(batch, one) for one in batch.rejects if (one.partition, one.offset) not in known]
    if letters:
        body = io.BytesIO()
        fastavro.writer(body, _LETTER, letters)
        store.insert("dead_letters", body.getvalue(), f"dead/{batch.token}")


def letter(batch: Batch, reject: Reject) -> dict[str, Any]:
    """A reject as `dead_letters` keeps it."""
    return {
        "stream": batch.stream,
        "reason": reject.reason,
        "source": batch.source,
        "partition": reject.partition,
        "offset": reject.offset,
        "digest": hashlib.sha256(reject.payload).hexdigest(),
        "length": len(reject.payload),
        "payload": reject.payload[:_KEPT],
    }
