"""Ids, drawn from the operating system, and names.

Never from the generators of `random`, numpy or torch: a seeded experiment must give the same result with and
without us.
"""

from __future__ import annotations

import hashlib
import os
import re

from runtide._errors import UsageError

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_FORBIDDEN = re.compile(r"[/\\#?%:]")
_ADJECTIVES = """
    amber autumn azure bold brave breezy bright brisk calm clear copper coral cosmic crimson crisp daring deep
    early eager electric ember fair fleet fresh gentle gilded glad golden grand happy hidden honest icy ivory
    jolly keen kind light lively lucky lunar mellow merry misty noble olive patient polished proud quick quiet
    rapid rosy royal rustic sandy serene silent silver solar steady still stormy sunny swift vivid warm wild
    wise
"""
_NOUNS = """
    anchor aurora bay beacon bloom breeze brook canyon cedar cliff cloud comet cove creek crest current dawn
    delta dew dune echo ember falcon fern field fjord flame forest galaxy glacier glade grove harbor haze heron
    hill island lagoon lake lark leaf maple marsh meadow mesa meteor moon oak ocean orbit otter peak pebble pine
    planet pond rain reef ridge river shore sky snow spring star stone stream summit surf swan tide valley wave
    wind wren
"""


def _below(limit: int) -> int:
    return int.from_bytes(os.urandom(8), "little") % limit


def run_id() -> str:
    """Eight lowercase letters and digits."""
    return random_text(8)


def random_text(length: int = 8) -> str:
    """Lowercase letters and digits.

    Args:
        length: How many.
    """
    return "".join(_ALPHABET[_below(len(_ALPHABET))] for _ in range(length))


def run_name(path: str) -> str:
    """Two words, always the same ones for the same run: a resumed run keeps its name wherever it is resumed."""
    digest = hashlib.sha256(path.encode()).digest()
    adjectives, nouns = _ADJECTIVES.split(), _NOUNS.split()
    first, second = (int.from_bytes(part, "little") for part in (digest[:8], digest[8:16]))
    return f"{adjectives[first % len(adjectives)]}-{nouns[second % len(nouns)]}"


def writer_id() -> int:
    """A random number, 1 <= id < 2^63."""
    return _below(2**63 - 1) + 1


def check_part(what: str, value: str) -> str:
    """Return one part of the run's path `entity/project/id`, or say why it cannot be one.

    Raises:
        UsageError: It is empty, too long, or holds a character that the path or a URL needs for itself.
    """
    if not value or len(value) > 128:
        raise UsageError(f"{what}={value!r}: give 1 to 128 characters")
    if found := _FORBIDDEN.search(value):
        raise UsageError(f"{what}={value!r}: the character {found[0]!r} cannot be used (nor any of /\\#?%:)")
    if not value.isprintable():
        raise UsageError(f"{what}={value!r}: control characters and lone surrogates cannot be used")
    return value
