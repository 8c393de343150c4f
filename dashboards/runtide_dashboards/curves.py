"""What one line looks like: from the rows of a query to columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from scipy.special import stdtrit

from runtide_dashboards.plans import Line
from runtide_dashboards.wire import Column


@dataclass(frozen=True)
class Curve:
    """The buckets of one line.

    Args:
        x: x of each bucket's first point, of the last bucket's last point.
        mean: What is drawn; NaN where there is none.
        low: Lower edge of the envelope.
        high: Upper edge.
        count: Points, or runs in a band.
        bad: Points that are not finite.
        hidden: Points that a logarithmic axis cannot show.
    """

    x: Column
    mean: Column
    low: Column
    high: Column
    count: Column
    bad: Column
    hidden: int

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(column.nbytes for column in (self.x, self.mean, self.low, self.high, self.count, self.bad)) + 500


_NONE = np.empty(0)
EMPTY = Curve(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, 0)
# What counts (0), and superseded points by attempt: microseconds since 1970.
Curves = Mapping[int, Curve]


def _numbers(table: pa.Table) -> dict[str, Column]:
    return {name: table[name].to_numpy() for name in table.column_names if name not in ("key", "run", "means")}


def pieces(*keys: Column) -> list[tuple[int, int]]:
    """Where rows begin and end that have the same keys; the rows are in their order."""
    rows = len(keys[0])
    if not rows:
        return []
    changes = np.flatnonzero(np.logical_or.reduce([key[1:] != key[:-1] for key in keys])) + 1
    return list(pairwise([0, *changes.tolist(), rows]))


def of_lines(table: pa.Table, wanted: Mapping[str, Sequence[Line]]) -> dict[tuple[str, str], Curves]:
    """By key and line, of the lines that are wanted of each key."""
    columns = _numbers(table)
    lines = {(key, line.members[0].run, line.members[0].rank): line for key, some in wanted.items() for line in some}
    keys, runs = (np.asarray(table[name].to_pylist(), dtype=object) for name in ("key", "run"))
    found: dict[tuple[str, str], dict[int, Curve]] = {}
    for begin, end in pieces(keys, runs, columns["rank"], columns["attempt"]):
        line = lines.get((keys[begin], runs[begin], int(columns["rank"][begin])))
        if line is None:
            continue
        if line.tail is not None:
            begin += int(np.searchsorted(columns["x"][begin:end], line.tail))
        part = {name: column[begin:end] for name, column in columns.items()}
        if begin < end:
            curves = found.setdefault((keys[begin], line.id), {0: EMPTY})
            curves[int(part["attempt"][0])] = curve(part, part["mean"], part["low"], part["high"])
    return dict(found)


def curve(part: Mapping[str, Column], mean: Column, low: Column, high: Column) -> Curve:
    """A line of the rows of its buckets, at least one."""
    x = part["x"].copy()
    x[-1] = part["x_last"][-1]
    hidden = int(part["hidden"].sum())
    return Curve(x, mean.copy(), low.copy(), high.copy(), part["count"].copy(), part["bad"].copy(), hidden)


def of_bands(table: pa.Table, wanted: Sequence[Line], centre: str, kind: str) -> dict[str, Curves]:
    """By line: bands whose centre is `mean` or `median`, with edges as `edges` says."""
    columns = _numbers(table)
    found: dict[str, Curves] = {}
    for begin, end in pieces(columns["band"]):
        part = {name: column[begin:end] for name, column in columns.items()}
        low, high = edges(kind, part)
        found[wanted[int(part["band"][0])].id] = {0: curve(part, part[centre], low, high)}
    return found


def edges(kind: str, part: Mapping[str, Column]) -> tuple[Column, Column]:
    """The edges of a band over the means of its runs in each bucket; NaN where they need more runs than there are.

    minmax: smallest and largest. p10p90: quantiles by linear interpolation between order statistics, type 7 of Hyndman
    and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50(4), 1996. std: the mean less and
    plus the sample's standard deviation s. ci95: the 95 % confidence interval of the mean of n runs, mean ± t s / √n
    with the 97.5 % point t of Student's distribution with n - 1 degrees of freedom.

    Args:
        kind: One of these.
        part: Columns low, high, p10, p90, mean, sd and count of the buckets.
    """
    if kind == "minmax":
        return part["low"], part["high"]
    if kind == "p10p90":
        return part["p10"], part["p90"]
    half = part["sd"]
    if kind == "ci95":
        count = np.maximum(part["count"], 1)
        with np.errstate(invalid="ignore"):
            half = stdtrit(np.maximum(count - 1.0, 1.0), 0.975) * half / np.sqrt(count)
    return part["mean"] - half, part["mean"] + half
