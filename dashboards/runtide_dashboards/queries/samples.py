"""The tables of samples, and how a metric reads in each: single samples, or rows of a rollup."""

from __future__ import annotations

from dataclasses import dataclass

from runtide_dashboards.hardware import Metric

_TABLES = {"gpu": "gpu_samples", "host": "host_samples", "rank": "rank_processes"}
_DEVICES = {"gpu": "if(mig_uuid = '', gpu_uuid, mig_uuid)", "host": "''", "rank": "toString(rank)"}
_ROLLUPS = ((60_000, "60s"), (10_000, "10s"))
# Read each half minute at most, or by few: they are in no rollup.
_NOT_ROLLED = frozenset(("cgroup_mem_limit_bytes",))


@dataclass(frozen=True)
class Measured:
    """A gauge in SQL: a row's sum and how many samples are in it, its smallest and its largest value."""

    amount: str
    per: str
    low: str
    high: str


@dataclass(frozen=True)
class Table:
    """A table of samples.

    Args:
        source: gpu, host or rank.
        row: Milliseconds that a row stands for; 0 for a single sample. Of ranks, which have no rollup, one sample of so
            many milliseconds is read then: of counters that loses nothing.
    """

    source: str
    row: int = 0

    @property
    def rolled(self) -> bool:
        """Whether rows are those of a rollup."""
        return self.row > 0 and self.source != "rank"

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.source}_rollup_{dict(_ROLLUPS)[self.row]}" if self.rolled else _TABLES[self.source]

    @property
    def time(self) -> str:
        """Its column of times."""
        return "start" if self.rolled else "time"

    @property
    def device(self) -> str:
        """What tells the devices of a node apart."""
        return _DEVICES[self.source]

    @property
    def until(self) -> str:
        """Up to when a row counts, in milliseconds since 1970: the newest row of a rollup is not full yet."""
        return f"toUnixTimestamp64Milli({self.time})" + (" + covered" if self.rolled else "")

    @property
    def ticks(self) -> str:
        """How many samples are in a row."""
        return "ticks" if self.rolled else "1"

    def rows(self, metric: Metric, condition: str) -> str:
        """The rows that a metric needs, as what stands behind FROM; counters of a rollup are merged."""
        if self.row and not self.rolled:
            return f"{self.name} WHERE {condition} AND toSecond(time) % {self.row // 1000} = 0"
        if not self.row or metric.kind != "rate":
            # Sums, smallest and largest values of parts of a row are as good as those of the row.
            return f"{self.name} WHERE {condition}"
        keys = "run_id, host, gpu_uuid, mig_uuid" if self.source == "gpu" else "run_id, host"
        ends = {"last": "argMaxMerge", **({"max": "max"} if self.source == "gpu" else {})}
        columns = ", ".join(
            f"{merge}(r.{name}_{end}) AS {name}_{end}" for name in metric.fields for end, merge in ends.items()
        )
        covered = f"least({self.row}, toInt64(sum(r.covered_ms))) AS covered, sum(r.samples) AS ticks"
        return (
            f"(SELECT {keys}, start, {covered}, {columns} FROM {self.name} AS r WHERE {condition}"
            f" GROUP BY {keys}, start) AS r"
        )

    def counted(self, fields: tuple[str, ...]) -> tuple[str, str]:
        """The sum of counters, null where none of them is known, and the most that it was before it began anew."""
        if not self.rolled:
            return _sum(fields), "0"
        last = _sum([f"{name}_last" for name in fields])
        # A node's counters begin anew with the node.
        return last, _sum([f"{name}_max" for name in fields]) if self.source == "gpu" else "0"

    def measured(self, metric: Metric) -> Measured:
        """A gauge or a share."""
        scale = repr(metric.scale)
        if not self.rolled:
            values = [f"toFloat64({field})" for field in metric.fields]
            value = " / ".join(values) if metric.kind == "share" else f"coalesce({', '.join(values)})"
            return Measured(f"{value} * {scale}", "1", f"{value} * {scale}", f"{value} * {scale}")
        amount, per, low, high = (_first(metric.fields, end) for end in ("sum", "count", "min", "max"))
        return Measured(f"{amount} * {scale}", per, f"{low} * {scale}", f"{high} * {scale}")


def _sum(columns: tuple[str, ...] | list[str]) -> str:
    unknown = " AND ".join(f"isNull({column})" for column in columns)
    return f"if({unknown}, NULL, {' + '.join(f'toFloat64(ifNull({column}, 0))' for column in columns)})"


def _first(fields: tuple[str, ...], end: str) -> str:
    """A statistic of the first field that was known."""
    known = ", ".join(f"{field}_count > 0, toFloat64({field}_{end})" for field in fields)
    return f"multiIf({known}, NULL)"


def table_of(metric: Metric, grain: float) -> Table:
    """The table to read a metric from where a row may stand for so many milliseconds."""
    if _NOT_ROLLED.intersection(metric.fields):
        return Table(metric.source)
    return Table(metric.source, next((row for row, _ in _ROLLUPS if grain >= row), 0))
