"""How a range of x is cut into buckets: widths are powers of two and edges multiples of the width.

A run that grows only adds buckets, and when a range doubles, pairs merge: no curve changes its shape by being drawn
again.
"""

from __future__ import annotations

# About one bucket for each pixel of a panel.
BUCKETS = 512


def width(first: int, last: int, target: int = BUCKETS) -> int:
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
