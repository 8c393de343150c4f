"""Rows that wait for a device: calls of log() some of whose values are tensors that have not arrived yet."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from runtide._frames import Entry, Shape
from runtide._report import warn
from runtide._tensors import Copy, Transfer, pool
from runtide._values import freeze, plain_value

# Characters of a text that take the room of a point.
_TEXT_PER_POINT = 32
# Seconds that a tensor holds back what was logged after it. A device that hangs must not keep that from the disk.
_HOLD = 1.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02


class Late:
    """A value that is, or holds, tensors on their way.

    Args:
        plain: A copy, or lists and dicts of copies and of plain values.
    """

    __slots__ = ("plain",)

    def __init__(self, plain: Any) -> None:
        self.plain = plain


class Row(tuple[Any, ...]):
    """The values of a call, some of which are late.

    Attributes:
        transfer: What they wait for.
        since: Since when (monotonic seconds).
        extra: Room of points that its texts and lists take.
    """

    transfer: Transfer
    since: float
    extra: int


def freeze_row(leaves: Mapping[str, Any]) -> tuple[Any, ...]:
    """Freeze the values of a call; they are a Row when a CUDA device has to be waited for.

    Raises:
        TypeError: One of them is nothing that can be stored.
    """
    torch = sys.modules.get("torch")
    kinds = _kinds(torch) if torch else ()
    if not kinds or not any(_is_far(value, kinds) for value in leaves.values()):
        return tuple([freeze(key, value) for key, value in leaves.items()])
    transfer = Transfer(pool(torch))
    try:
        row = Row([_late(key, value, kinds, transfer) for key, value in leaves.items()])
    finally:  # also what was queued before a value that cannot be stored
        transfer.send()
    row.transfer = transfer
    row.since = time.monotonic()
    row.extra = _text_room(row) + sum([copy.target.numel() for copy in transfer.copies if copy.slot is None])
    return row


def _kinds(torch: Any) -> tuple[type, ...]:
    """The types of tensors. Not their subclasses: what those mean by their data is their own affair."""
    try:
        return torch.Tensor, torch.nn.Parameter
    except AttributeError:  # in the midst of its import
        return ()


def _is_far(value: Any, kinds: tuple[type, ...]) -> bool:
    kind = type(value)
    if kind in kinds:
        return bool(value.is_cuda and value.layout is sys.modules["torch"].strided and not value.is_quantized)
    if kind is list or kind is tuple:
        return any(_is_far(item, kinds) for item in value)
    return kind is dict and any(_is_far(item, kinds) for item in value.values())


def _late(key: str, value: Any, kinds: tuple[type, ...], transfer: Transfer) -> Any:
    if not _is_far(value, kinds):
        return freeze(key, value)
    try:
        return Late(_queued(value, kinds, transfer))
    except TypeError as error:
        raise TypeError(f"cannot log {key!r}: {error}") from None


def _queued(value: Any, kinds: tuple[type, ...], transfer: Transfer) -> Any:
    """The plain form of a value, with copies in the place of its tensors."""
    if not _is_far(value, kinds):
        return plain_value(value)
    if type(value) is dict:
        return {str(key): _queued(item, kinds, transfer) for key, item in value.items()}
    if type(value) in kinds:
        return transfer.copy(value)
    return [_queued(item, kinds, transfer) for item in value]


def room(values: tuple[Any, ...]) -> int:
    """Points whose room the texts of a call take."""
    return values.extra if type(values) is Row else _text_room(values)


def _text_room(values: tuple[Any, ...]) -> int:
    return sum([len(value) for value in values if isinstance(value, str)]) // _TEXT_PER_POINT


def settle(entries: list[Entry], last: bool) -> tuple[list[Entry], list[Entry], Counter[str]]:
    """Sort calls into those that can go on and those that wait for a device, both in their order. Does not wait.

    Args:
        entries: The calls. What is behind one that waits waits too, but not for ever.
        last: There will be no other time: what has not arrived yet is left out.

    Returns:
        Complete calls, those that wait, and how many values were left out, by reason.
    """
    done: list[Entry] = []
    rest: list[Entry] = []
    lost = Counter[str]()
    overtaking = False
    for entry in entries:
        row = entry[3]
        if type(row) is not Row:
            (done if not rest or overtaking else rest).append(entry)
        elif not rest and (row.transfer.has_ended() or last):
            done.append(_complete(entry, row, lost))
        else:
            overtaking = overtaking or time.monotonic() - row.since > _HOLD
            rest.append(entry)
    return done, rest, lost


def _complete(entry: Entry, row: Row, lost: Counter[str]) -> Entry:
    """The call with the values of its tensors, or without those of a device that gave none."""
    shape, step, moment, _ = entry
    transfer = row.transfer
    if transfer.read:
        pairs = zip(shape.keys, row, strict=True)
        values = tuple([freeze(k, _value(v.plain)) if type(v) is Late else v for k, v in pairs])
        return shape, step, moment, values
    kept = {key: value for key, value in zip(shape.keys, row, strict=True) if type(value) is not Late}
    lost["device_failed" if transfer.failed else "device_silent"] += len(row) - len(kept)
    if transfer.failed:
        warn("device", f"the values of CUDA tensors are lost: {transfer.failed}")
    return Shape(tuple(kept)), step, moment, tuple(kept.values())


def _value(plain: Any) -> Any:
    if type(plain) is Copy:
        return plain.value
    if type(plain) is dict:
        return {key: _value(item) for key, item in plain.items()}
    return [_value(item) for item in plain] if type(plain) is list else plain


def wait(entries: Iterable[Entry], timeout: float) -> None:
    """Wait until all tensors of some calls have arrived or been given up, for so many seconds at most."""
    deadline, pause = time.monotonic() + timeout, _SHORTEST_PAUSE
    for row in [entry[3] for entry in entries if type(entry[3]) is Row]:
        while not row.transfer.has_ended() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
