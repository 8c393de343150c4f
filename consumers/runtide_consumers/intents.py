"""An intent as the metadata of a committed Kafka offset: fewer than 4,096 characters, a broker's default limit."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

# Offsets of the longest batch: two bit maps of so many bits still fit, whatever is in them.
MAX_SPAN = 12_000
# Characters of base 85 have no comma among them.
_FORM = re.compile(r"v1:(\d+)-(\d+),([^,]*),([^,]*)")


@dataclass(frozen=True)
class Intent:
    """The batch [first, next) of a partition, less some offsets.

    Args:
        first: Offset of the first message.
        next: Offset behind the last.
        known: Offsets of records that the store had already.
        poison: Offsets of records that cannot be used, though that cannot be seen from the message alone.
    """

    first: int
    next: int
    known: frozenset[int] = frozenset()
    poison: frozenset[int] = frozenset()

    def encode(self) -> str:
        """As text: `v1:first-next,known,poison`, the last two as bit maps."""
        return f"v1:{self.first}-{self.next},{self._pack(self.known)},{self._pack(self.poison)}"

    def _pack(self, offsets: Iterable[int]) -> str:
        bits = sum(1 << (offset - self.first) for offset in offsets)
        if not bits:
            return ""
        data = bits.to_bytes((self.next - self.first + 7) // 8, "little")
        return base64.b85encode(zlib.compress(data)).decode()


def decode_intent(text: str | None, offset: int) -> Intent | None:
    """The intent that a committed offset carries; None when it carries none.

    Args:
        text: The metadata.
        offset: The committed offset. An intent begins there; if it does not, somebody moved the offset by hand.
    """
    match = _FORM.fullmatch(text or "")
    if match is None or int(match[1]) != offset:
        return None
    first, following = int(match[1]), int(match[2])
    try:
        return Intent(first, following, _unpack(match[3], first), _unpack(match[4], first))
    except (ValueError, zlib.error):
        return None


def _unpack(text: str, first: int) -> frozenset[int]:
    if not text:
        return frozenset()
    bits = int.from_bytes(zlib.decompress(base64.b85decode(text)), "little")
    return frozenset(first + position for position, bit in enumerate(reversed(bin(bits)[2:])) if bit == "1")
