"""How a range of x is cut into buckets: widths are powers of two and edges multiples of the width.

A run that grows only adds buckets, and when a range doubles, pairs merge: no curve changes its shape by being drawn
again.
"""

from __future__ import annotations

import math


def width(first: int, last: int, target: int) -> int:
    """The narrowest power of two that cuts a range into no more than `target` buckets, plus one that the edges may add.

    Args:
        first: Smallest x of the range.
        last: Largest x of the range.
        target: Buckets wanted.
    """
    span = last - first + 1
    if span <= target:
        return 1
    return 1 << (-(-span // target) - 1).bit_length()


def real_width(first: float, last: float, target: int) -> float:
    """The same for an x that is no whole number: the power of two may be below 1.

    Args:
        first: Smallest x of the range, finite.
        last: Largest x of the range, finite.
        target: Buckets wanted.
    """
    # Halves, as the span of two numbers may be none.
    half = last / 2 / target - first / 2 / target
    mantissa, exponent = math.frexp(half)
    return math.ldexp(1.0, max(exponent + (mantissa > 0.5), -1021)) if half > 0 else 1.0
