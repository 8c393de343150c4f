"""One partition's messages that wait, and the batches they make; knows nothing of Kafka's client."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from runtide_consumers._errors import SourceError
from runtide_consumers.batch import Batch, Range, Record, Reject
from runtide_consumers.intents import MAX_SPAN, Intent
from runtide_schemas import CodecError, peek, split
from runtide_schemas.registry import unframe

# Bytes of a full batch.
FULL_BYTES = 8_000_000
# Seconds that a record of an unknown schema waits for its announcement, which was sent before it.
PATIENCE = 30.0

# Seconds that may be spent on asking for schemas before what is there is made a batch: the group must be served.
_LONGEST_BUILD = 2.0

_UNPARSED = "cannot be parsed (found before a restart)"

Schemas = Callable[[bytes], str | None]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came; `appended` in microseconds since 1970 UTC."""

    offset: int
    appended: int
    value: bytes


@dataclass
class _Draft:
    """A batch in the making."""

    next: int
    prefix: bytes = b""
    schema_json: str = ""
    records: list[Record] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    excluded: dict[tuple[int, int], str] = field(default_factory=dict)


class Partition:
    """The messages of one partition from its position on.

    Attributes:
        since: When the oldest of them came, or the last batch was done (seconds, monotonic).
        bytes: What they hold.

    Args:
        stream: Name of the stream.
        source: Id of the topic.
        number: Number of the partition.
        position: Offset of the first message that is not done.
        intent: The batch that begins there and may be in the store.
        schemas: Schema (JSON text) of a message's prefix, None when it is unknown.
    """

    def __init__(
        self, stream: str, source: str, number: int, position: int, intent: Intent | None, schemas: Schemas
    ) -> None:
        self.number = number
        self.position = position
        self.intent = intent
        self.bytes = 0
        self._stream = stream
        self._source = source
        self._schemas = schemas
        self._messages: deque[Message] = deque()
        self.since = 0.0
        # The prefix that the first message waits with, and since when.
        self._unknown: tuple[bytes, float] = b"", 0.0

    def add(self, message: Message) -> None:
        """Append a message; one that was there before is passed over."""
        if message.offset < (self._messages[-1].offset + 1 if self._messages else self.position):
            return
        if not self._messages:
            self.since = time.monotonic()
        self._messages.append(message)
        self.bytes += len(message.value)

    @property
    def is_full(self) -> bool:
        """Nothing more fits into the next batch."""
        return self.bytes >= FULL_BYTES or len(self._messages) >= MAX_SPAN

    def has_read(self, offset: int) -> bool:
        """Whether the messages before an offset are all here."""
        return bool(self._messages) and self._messages[-1].offset + 1 >= offset

    def is_due(self, age: float) -> bool:
        """Whether a new batch can be built; `age` in seconds is how long it waits to become full."""
        return bool(self._messages) and (self.is_full or time.monotonic() - self.since >= age)

    def build(self) -> Batch | None:
        """The next batch; None while its first message waits for a schema.

        Raises:
            SourceError: Nobody can be asked for a schema now.
        """
        if self.intent is None and self._messages:
            # What was between is gone: a gap longer than a batch would hold the partition up for ever.
            self.position = max(self.position, self._messages[0].offset)
        draft = _Draft(self.position)
        intent, size, deadline = self.intent, 0, time.monotonic() + _LONGEST_BUILD
        for message in self._messages:
            if intent is None:
                size += len(message.value)
                enough = size > FULL_BYTES or time.monotonic() > deadline
                if (enough and draft.next > self.position) or message.offset >= self.position + MAX_SPAN:
                    break
            elif message.offset >= intent.next:
                break
            try:
                taken = self._take(message, draft, intent)
            except SourceError:
                if intent is not None or draft.next == self.position:
                    raise
                break
            if not taken:
                if intent is not None:
                    return None  # a part of it under the token of the whole would lose the rest
                break
            draft.next = message.offset + 1
        if intent is not None:
            draft.next = intent.next
        elif draft.next == self.position:
            return None
        return self._finish(draft, rebuilt=intent is not None)

    def done(self, following: int) -> None:
        """The batch up to this offset is done."""
        self.position, self.intent = following, None
        while self._messages and self._messages[0].offset < following:
            self.bytes -= len(self._messages.popleft().value)
        self.since = time.monotonic()

    def _take(self, message: Message, draft: _Draft, intent: Intent | None) -> bool:
        """Sort a message into the draft's records or rejects; False when the batch ends before it."""
        read = read_message(self.number, message)
        if isinstance(read, Reject):
            draft.rejects.append(read)
            return True
        prefix, record = read
        if intent is not None and message.offset in intent.known:
            draft.excluded[self.number, message.offset] = ""
            return True
        if intent is not None and message.offset in intent.poison:
            self._refuse(message, _UNPARSED, draft)
            return True
        schema_json = draft.schema_json if prefix == draft.prefix else self._schemas(prefix)
        if schema_json is None:
            if intent is not None or self._waits(message, prefix):
                return False
            why = f"schema {prefix.hex()} is unknown to the stream {self._stream} and was not announced"
            self._refuse(message, why, draft)
            return True
        if draft.prefix and prefix != draft.prefix:
            return False
        draft.prefix, draft.schema_json = prefix, schema_json
        draft.records.append(record)
        return True

    def _refuse(self, message: Message, why: str, draft: _Draft) -> None:
        draft.excluded[self.number, message.offset] = why
        draft.rejects.append(Reject(self.number, message.offset, message.value, why))

    def _waits(self, message: Message, prefix: bytes) -> bool:
        if self._unknown[0] != prefix:
            self._unknown = prefix, time.monotonic()
        return max(time.time() - message.appended / 1e6, time.monotonic() - self._unknown[1]) < PATIENCE

    def _finish(self, draft: _Draft, *, rebuilt: bool) -> Batch:
        return Batch(
            stream=self._stream,
            source=self._source,
            schema_json=draft.schema_json,
            prefix=draft.prefix,
            ranges=(Range(self.number, self.position, draft.next),),
            records=tuple(draft.records),
            rejects=tuple(draft.rejects),
            excluded=draft.excluded,
            rebuilt=rebuilt,
            shared=True,
        )


def intent_of(batch: Batch) -> Intent:
    """What must be noted to build a batch again."""
    (part,) = batch.ranges
    known = frozenset(offset for (_, offset), why in batch.excluded.items() if not why)
    poison = frozenset(offset for (_, offset), why in batch.excluded.items() if why)
    return Intent(part.first, part.next, known, poison)


def read_message(partition: int, message: Message) -> tuple[bytes, Record] | Reject:
    """A message as a record, with the bytes in front that name its schema, or why it is none."""
    value = message.value
    try:
        if framed := unframe(value):
            body = framed[1]
            prefix = value[: len(value) - len(body)]
        else:
            prefix, body = split(value)
        run_id, writer, seq = peek(body)
    except CodecError as error:
        return Reject(partition, message.offset, value, str(error))
    return prefix, Record(partition, message.offset, message.offset + 1, message.appended, body, run_id, writer, seq)
