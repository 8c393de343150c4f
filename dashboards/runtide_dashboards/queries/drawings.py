"""What a query for points asks: which parts of which lines, and how they lie on the x axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Steps of a row of the rollup.
ROLLUP = 256
FAR = 1 << 62
LARGEST = 1.7976931348623157e308


@dataclass(frozen=True)
class Reading:
    """Where a part of a line is read.

    Args:
        table: "rollup", "metrics", "metrics_latest", or "superseded" for what metrics_latest leaves out.
        run: Path of the run.
        rank: The rank.
        low: Smallest step read.
        high: Largest step read.
    """

    table: str
    run: str
    rank: int
    low: int = -FAR
    high: int = FAR


@dataclass(frozen=True)
class Place:
    """How a run is laid on the x axis.

    Args:
        width: Width of its buckets, a power of two: steps, milliseconds, or the unit of the axis metric.
        origin: Milliseconds since 1970 where its relative axis begins.
        group: Number of the band it belongs to, with bands.
    """

    width: float
    origin: int = 0
    group: int = 0


@dataclass(frozen=True)
class Drawing:
    """What one query asks.

    Args:
        keys: The metrics that are read.
        each: Whether every key has lines of its own; else a line needs all of them.
        value: What is drawn, as SQL over the values v0, v1, … of the keys.
        x: "step", "time", or the column of an axis metric: v0, v1, …
        log: Leave values out that are not above 0, and count them as hidden.
        low: Smallest x, None for all; on the step axis the readings say it.
        high: Largest x.
        ranks: Whether runs have a line for each rank.
        bands: Whether runs are merged to bands.
        places: By run.
        readings: What is read; a point is in one of them at most.
    """

    keys: tuple[str, ...]
    value: str
    x: str
    log: bool
    places: Mapping[str, Place]
    readings: tuple[Reading, ...]
    low: float | None = None
    high: float | None = None
    each: bool = False
    ranks: bool = False
    bands: bool = False
