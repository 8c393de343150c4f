"""What the devices of runs are, what happened to them, and how each did over a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtide_dashboards.queries import store

# More events than anybody reads.
MOST_EVENTS = 200
# Samplers say these once, and they say why there is nothing else.
_EXPLAINING = ("no_driver", "no_gpu", "sampler_failed", "sampler_ended", "call_failed", "gpu_lost")
_WAITS = "(?i)(data|loader|input|batch)[a-z_/ .-]*(wait|time|load|fetch)|(time|wait|load|fetch)[a-z_/ .-]*(data|batch)"

_DEVICES = """
SELECT
    toString(run_id) AS run, toString(host) AS host, toString(kind) AS kind, toString(device) AS device,
    argMax(toString(d.parent), d.time) AS parent, argMax(d.gpu_index, d.time) AS number,
    argMax(toString(d.name), d.time) AS name, argMax(d.mem_total_bytes, d.time) AS memory,
    argMax(d.facts, d.time) AS facts, argMax(d.absent, d.time) AS absent
FROM device_info AS d
WHERE run_id IN {runs:Array(String)}
GROUP BY run, host, kind, device
ORDER BY run, host, kind, number, device
"""

_COUNT = """
SELECT toString(run_id) AS run, uniqIf((host, device), kind != 'host') AS gpus, uniq(host) AS nodes
FROM device_info
WHERE run_id IN {runs:Array(String)}
GROUP BY run
"""

_EVENTS = """
SELECT
    toString(run_id) AS run, toUnixTimestamp64Milli(time) AS ms, toString(host) AS host, toString(kind) AS kind,
    toString(severity) AS severity, toString(device) AS device, rank, code, message
FROM device_events
WHERE run_id IN {{runs:Array(String)}} AND {condition}
ORDER BY severity = 'error' DESC, time DESC
LIMIT {{most:UInt32}}
"""

_GPUS = """
SELECT
    toString(host) AS host, if(mig_uuid = '', gpu_uuid, mig_uuid) AS device, max(g.rank) AS rank,
    max(toUnixTimestamp64Milli(g.start) + toInt64(least(g.covered_ms, 10000))) AS ms
FROM gpu_rollup_10s AS g
WHERE
    run_id = {run:String}
    AND g.start BETWEEN fromUnixTimestamp64Milli({low:Int64} - 10000) AND fromUnixTimestamp64Milli({high:Int64})
GROUP BY host, device
ORDER BY host, device
"""

_NODES = """
SELECT toString(host) AS host FROM host_samples
WHERE
    run_id = {run:String}
    AND time BETWEEN fromUnixTimestamp64Milli({low:Int64}) AND fromUnixTimestamp64Milli({high:Int64})
GROUP BY host
ORDER BY host
"""

_RANKS = """
SELECT
    toString(host) AS host, rank, argMax(p.pid, p.time) AS pid, max(p.step) AS step,
    argMax(p.processes, p.time) AS processes, argMax(p.rss_bytes, p.time) AS memory,
    argMax(p.threads, p.time) AS threads, argMax(toString(p.phase), p.time) AS phase,
    toUnixTimestamp64Milli(max(p.time)) AS ms
FROM rank_processes AS p
WHERE
    run_id = {run:String}
    AND p.time BETWEEN fromUnixTimestamp64Milli({low:Int64}) AND fromUnixTimestamp64Milli({high:Int64})
GROUP BY host, rank
ORDER BY rank, host
"""

_LOADER = """
SELECT key, rank, sum(s.sum) / sum(s.count - s.nan_count - s.inf_count) AS mean
FROM metric_summary_state AS s
WHERE run_id = {run:String} AND match(key, {pattern:String})
GROUP BY key, rank
HAVING isFinite(mean)
ORDER BY key, rank
"""


@dataclass(frozen=True)
class Device:
    """A device as it said last what it is; `number` is its place among the GPUs of its node."""

    run: str
    host: str
    kind: str
    device: str
    parent: str
    number: int | None
    name: str
    memory: int | None
    facts: Mapping[str, str]
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Event:
    """Something that happened to a device or a sampler."""

    run: str
    ms: int
    host: str
    kind: str
    severity: str
    device: str
    rank: int | None
    code: int | None
    message: str

    @property
    def short(self) -> str:
        """A word or two: XID 79."""
        if self.kind == "xid":
            return f"XID {self.code}"
        return self.kind.replace("_", " ")


def find(runs: Sequence[str]) -> list[Device]:
    """The devices of runs, by run, node and number."""
    rows = store.ask(_DEVICES, {"runs": list(runs)}).to_pylist()
    return [Device(**(row | {"facts": dict(row["facts"]), "absent": dict(row["absent"])})) for row in rows]


def events(runs: Sequence[str], severities: Sequence[str], most: int = MOST_EVENTS) -> list[Event]:
    """The latest events of some severities, errors first."""
    sql = _EVENTS.format(condition="severity IN {severities:Array(String)}")
    rows = store.ask(sql, {"runs": list(runs), "severities": list(severities), "most": most}).to_pylist()
    return [Event(**row) for row in rows]


def explaining(runs: Sequence[str]) -> list[Event]:
    """The latest events that say why there are no samples."""
    sql = _EVENTS.format(condition="kind IN {kinds:Array(String)}")
    rows = store.ask(sql, {"runs": list(runs), "kinds": list(_EXPLAINING), "most": MOST_EVENTS}).to_pylist()
    return [Event(**row) for row in rows]


@dataclass(frozen=True)
class Gpu:
    """A GPU or MIG instance that was sampled: the rank that computes on it, and when it was read last."""

    host: str
    device: str
    rank: int | None
    ms: int


@dataclass(frozen=True)
class Rank:
    """A rank's processes as they were last: `memory` in bytes."""

    host: str
    rank: int
    pid: int
    step: int | None
    processes: int
    memory: int | None
    threads: int | None
    phase: str
    ms: int


def gpus(run: str, low: int, high: int) -> list[Gpu]:
    """The GPUs that were sampled for a run between two moments."""
    return [Gpu(**row) for row in store.ask(_GPUS, {"run": run, "low": low, "high": high}).to_pylist()]


def ranks(run: str, low: int, high: int) -> list[Rank]:
    """The ranks that were seen between two moments."""
    return [Rank(**row) for row in store.ask(_RANKS, {"run": run, "low": low, "high": high}).to_pylist()]


def loader_waits(run: str) -> dict[str, dict[int, float]]:
    """Means of the metrics that look like the time spent waiting for data, by key and rank."""
    found: dict[str, dict[int, float]] = {}
    for row in store.ask(_LOADER, {"run": run, "pattern": _WAITS}).to_pylist():
        found.setdefault(row["key"], {})[row["rank"]] = row["mean"]
    return found


def count(runs: Sequence[str]) -> dict[str, tuple[int, int]]:
    """How many GPUs and how many nodes each run has; at least one of each."""
    rows = store.ask(_COUNT, {"runs": list(runs)}).to_pylist()
    return {row["run"]: (max(1, row["gpus"]), max(1, row["nodes"])) for row in rows}


def nodes(run: str, low: int, high: int) -> list[str]:
    """The nodes that were read for a run between two moments."""
    rows = store.ask(_NODES, {"run": run, "low": low, "high": high}).to_pylist()
    return [row["host"] for row in rows]
