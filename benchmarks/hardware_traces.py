"""Hardware traces of a training that never ran: the records that the samplers of its nodes would have sent.

For benchmarks and for tests of pages. A synchronous job compiles, trains, writes checkpoints and evaluates; its GPUs
report with the resolution that the sampler has (whole MiB a second, tenths of a percent, 10 mW), and faults can be put
into it. The same arguments give the same records.

    seed(inserter(store.query, "runtide"), "default/big/run", nodes=64, gpus=8, seconds=600,
         faults=[Fault("throttle", node=3, gpu=2, start=120), Fault("hang", node=5, gpu=1, start=400)])
"""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

START = 1_760_000_000  # seconds since 1970
MIB = 1 << 20
# NVML's clock event reasons.
IDLE, POWER_CAP, HW_THERMAL = 0x1, 0x4, 0x40
IDLE_W, LIMIT_W, MAX_CLOCK = 90, 700, 1980
COMPILE, CHECKPOINT, EVAL = "compile", "checkpoint", "eval"
TOKENS_PER_STEP = 16_384  # of each rank
STEP_KEY, OWN_KEY, DATA_KEY, TOKENS_KEY = "time/step", "time/own", "time/data", "tokens"

Insert = Callable[[str, list[dict[str, Any]]], object]
_GPM = (
    "sm_active_pct", "sm_occupancy_pct", "tensor_active_pct", "dram_active_pct", "fp16_active_pct", "fp32_active_pct",
    "fp64_active_pct", "pcie_tx_bytes_s", "pcie_rx_bytes_s", "nvlink_tx_bytes_s", "nvlink_rx_bytes_s",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Args:
        kind: `throttle` a GPU's clock falls, for heat; `straggler` a GPU is slower without saying why; `stall` the
            node's loader is late; `hang` no step ends any more, the GPU named does nothing and all others wait for it;
            `lost` the GPU is gone; `xid` an event alone; `no_gpm` no activity and no traffic is reported; `no_driver`
            the node has no GPU that can be read.
        node: Which node; None for all.
        gpu: Which of its GPUs; None for all.
        start: Seconds after the start.
        end: Seconds after the start; None for ever.
        code: Number of the XID.
    """

    kind: str
    node: int | None = None
    gpu: int | None = None
    start: int = 0
    end: int | None = None
    code: int = 79

    def hits(self, node: int, gpu: int | None = None) -> bool:
        """Whether it is about this node, and about this GPU of it."""
        return self.node in (None, node) and (gpu is None or self.gpu in (None, gpu))


@dataclass(frozen=True)
class Job:
    """A training and its hardware.

    Args:
        run_id: Path of the run.
        nodes: How many nodes.
        gpus: GPUs of each.
        seconds: How long, one tick a second.
        start: Seconds since 1970.
        faults: What goes wrong.
        seed: Other noise.
        step_s: Seconds that a step takes.
        history: With the samples that the driver took between ticks: seven a second of two metrics.
    """

    run_id: str
    nodes: int = 64
    gpus: int = 8
    seconds: int = 600
    start: int = START
    faults: Sequence[Fault] = ()
    seed: int = 0
    step_s: float = 2.0
    history: bool = False

    def host(self, node: int) -> str:
        """Name of a node."""
        return f"node-{node:03}"

    def uuid(self, node: int, gpu: int) -> str:
        """UUID of a GPU."""
        digest = hashlib.sha256(f"{self.run_id} {self.seed} {node} {gpu}".encode()).digest()
        return f"GPU-{uuid.UUID(bytes=digest[:16])}"

    def writer(self, node: int) -> int:
        """The sampler of a node."""
        return int.from_bytes(hashlib.sha256(f"{self.run_id} {self.seed} {node}".encode()).digest()[:7], "big")

    def has_gpus(self, node: int) -> bool:
        """Whether its driver answers."""
        return not any(fault.kind == "no_driver" and fault.hits(node) for fault in self.faults)

    def during(self, kind: str, node: int, gpu: int | None = None) -> np.ndarray:
        """Which seconds a fault covers."""
        mask = np.zeros(self.seconds, bool)
        for fault in self.faults:
            if fault.kind == kind and fault.hits(node, gpu):
                mask[fault.start : fault.end] = True
        return mask

    def hung_from(self) -> int:
        """Second from which no step ends; beyond the end when none."""
        return min((fault.start for fault in self.faults if fault.kind == "hang"), default=self.seconds)

    def phases(self) -> list[str]:
        """What all ranks do, by second."""
        first = min(20, self.seconds // 10)
        result = [COMPILE] * first
        for second in range(first, self.seconds):
            until = min(second, self.hung_from() - 1)
            if until % 900 >= 870:
                result.append(EVAL)
            elif until % 300 >= 288:
                result.append(CHECKPOINT)
            else:
                result.append("")
        return result

    def steps(self) -> np.ndarray:
        """The step that all ranks are at, by second; it stands while nothing is trained."""
        trains = np.array([phase == "" for phase in self.phases()]) & (np.arange(self.seconds) < self.hung_from())
        return np.floor(np.cumsum(trains / (self.step_s * self.slowdown())) + 1e-9).astype(np.int64)

    def slowdown(self) -> np.ndarray:
        """How much longer a step takes, by second: all wait for the slowest."""
        result = np.ones(self.seconds)
        for fault in self.faults:
            result[fault.start : fault.end] += {"straggler": 0.3, "throttle": 0.4, "stall": 0.5}.get(fault.kind, 0)
        return result


def seed(
    insert: Insert,
    run_id: str,
    nodes: int = 64,
    gpus: int = 8,
    seconds: int = 600,
    start: int = START,
    faults: Sequence[Fault] = (),
    metrics: bool = True,
    **options: Any,
) -> Job:
    """Put a run with its hardware into the landing tables.

    Args:
        insert: Called with the name of a table and rows; see `inserter`.
        run_id: Path of the run: entity/project/id.
        nodes, gpus, seconds, start, faults: As in `Job`.
        metrics: Also the run itself, and step times and tokens of every rank as metrics.
        options: Others of `Job`.

    Returns:
        The job, which knows names and UUIDs.
    """
    job = Job(run_id, nodes, gpus, seconds, start, faults, **options)
    _insert(insert, landing_device_info=device_info(job), landing_device_events=device_events(job))
    _insert(insert, landing_host_ticks=host_ticks(job), landing_gpu_ticks=gpu_ticks(job))
    if metrics:
        seed_run(insert, job)
    return job


def seed_run(insert: Insert, job: Job) -> None:
    """The run itself alone, with step times and tokens of every rank as metrics."""
    _insert(insert, landing_runs=runs(job), landing_metrics=frames(job))


def _insert(insert: Insert, **records: Iterator[dict[str, Any]]) -> None:
    for table, made in records.items():
        while chunk := [{"_source": "traces", **record} for record in itertools.islice(made, 2000)]:
            insert(table, chunk)


def inserter(query: Callable[[str, bytes], object], database: str) -> Insert:
    """What `seed` inserts with.

    Args:
        query: Runs a statement with a body, as a user who may write; such as `store.query` of the tests.
        database: Name of the database.
    """

    def insert(table: str, rows: list[dict[str, Any]]) -> None:
        body = "\n".join(json.dumps(row) for row in rows).encode()
        query(f"INSERT INTO `{database}`.`{table}` FORMAT JSONEachRow", body)

    return insert


def gpu_ticks(job: Job, nodes: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
    """Records of the stream `gpu_ticks`, node after node."""
    phases, steps = job.phases(), job.steps().tolist()
    for node in range(job.nodes) if nodes is None else nodes:
        if not job.has_gpus(node):
            continue
        draw = np.random.default_rng([job.seed, node])
        series = [_gpu(job, node, gpu, phases, draw) for gpu in range(job.gpus)]
        cost = draw.integers(2500, 4500, job.seconds).tolist()
        for second in range(job.seconds):
            found = [_sample(job, one, second, steps[second], phases[second]) for one in series]
            present = [sample for sample in found if sample]
            if present:
                yield {**_head(job, node, second), "tick_us": cost[second], "gpus": present}


def _head(job: Job, node: int, second: int) -> dict[str, Any]:
    return {
        "run_id": job.run_id, "writer": job.writer(node), "seq": second, "host": job.host(node),
        "time": (job.start + second) * 1000, "period_ms": 1000, "skipped": 0,
    }  # fmt: skip


@dataclass
class _Series:
    fixed: dict[str, Any]
    names: list[str]
    rows: list[tuple[Any, ...]]
    slow: list[dict[str, Any]]
    gone: list[bool]
    power: list[int]
    util: list[int]


def _sample(job: Job, one: _Series, second: int, step: int, phase: str) -> dict[str, Any] | None:
    if one.gone[second]:
        return None
    sample = {**one.fixed, "step": step, "phase": phase, **dict(zip(one.names, one.rows[second], strict=True))}
    if second % 30 == 0:
        sample |= one.slow[second // 30]
    if job.history and second % 5 == 4:
        end = (job.start + second) * 1_000_000
        times = [end - 5_000_000 + 138_889 * i for i in range(36)]
        sample |= {
            "util_history_us": times, "util_history_pct": [float(one.util[second - 4 + i // 8]) for i in range(36)],
            "power_history_us": times, "power_history_mw": [one.power[second - 4 + i // 8] + i for i in range(36)],
        }  # fmt: skip
    return sample


def _gpu(job: Job, node: int, gpu: int, phases: list[str], draw: np.random.Generator) -> _Series:
    """One GPU by second: what the sampler reads every second, and every thirty."""
    n = job.seconds
    trains = np.array([phase in ("", EVAL) for phase in phases])
    hung = np.arange(n) >= job.hung_from()
    suspect = job.during("hang", node, gpu) & _named(job, node, gpu)
    hot, slow = job.during("throttle", node, gpu), job.during("straggler", node, gpu)
    load = np.where(trains, 1.0, 0.06) * np.where(job.during("stall", node), 0.45, 1.0)
    load = np.where(hung, 0.0, load)
    noise = draw.normal(0, 1, (14, n))

    wanted = IDLE_W + load * (640 + draw.normal(0, 8) - IDLE_W) + noise[0] * (6 + 45 * load) + hung * 55
    wanted = np.where(suspect, IDLE_W + noise[0], wanted)
    watts = np.clip(np.where(hot, wanted * 0.6, wanted), 70, LIMIT_W + 4)
    capped = np.clip((wanted - LIMIT_W + 40) / 200, 0, 1) * (load > 0.5)
    clock = np.where(hot, 1005, np.where(slow, 1500, MAX_CLOCK - capped * 400)) - 15 * (noise[1] > 1)
    clock = np.where((load < 0.1) & ~hung, 345, clock) // 15 * 15
    heat = _smooth(watts, 20)
    share = clock / MAX_CLOCK
    active = load * (0.93 + 0.02 * noise[2]) + np.where(hung & ~suspect, 0.99, 0)
    tensor = load * (0.52 * share + 0.03 * noise[3])
    traffic = load * (1 + 0.08 * noise[4])
    energy = draw.integers(10**11, 10**12) + np.cumsum(watts * 1000)
    reasons = np.where(load < 0.1, IDLE, 0) | np.where(capped > 0, POWER_CAP, 0) | np.where(hot, HW_THERMAL, 0)
    reasons = np.where(hung & ~suspect, 0, reasons)
    util = np.where(suspect, 0, np.where(hung, 100, np.clip(load * 100 - 3 * np.abs(noise[5]) * (load < 1), 0, 100)))
    loaded = np.where(trains | hung, 68_719_476_736 + gpu * 2 * MIB, 60_129_542_144)

    columns: dict[str, np.ndarray] = {
        "gpu_util_pct": util.astype(int),
        "mem_util_pct": np.clip(load * 42 + 3 * noise[6] * load, 0, 100).astype(int),
        "mem_used_bytes": loaded.astype(np.int64),
        "power_instant_mw": np.round(watts * 100).astype(int) * 10,
        "power_avg_mw": np.round(_smooth(watts, 2) * 100).astype(int) * 10,
        "energy_mj": energy.astype(np.int64),
        "sm_clock_mhz": clock.astype(int),
        "clock_event_reasons": reasons,
        "temp_gpu_c": np.round(30 + heat * 0.05 + hot * 22).astype(int),
        "temp_mem_c": np.round(38 + heat * 0.055 + hot * 15).astype(int),
        "throttle_power_ns": np.cumsum(np.round(capped * 1000) * 1_000_000).astype(np.int64),
        "throttle_sync_boost_ns": np.zeros(n, int),
        "throttle_sw_thermal_ns": np.zeros(n, int),
        "throttle_hw_thermal_ns": np.cumsum(hot * 900_000_000),
        "throttle_hw_brake_ns": np.zeros(n, int),
        "throttle_reliability_ns": np.zeros(n, int),
        "sm_active_pct": _percent(active),
        "sm_occupancy_pct": _percent(active * (0.31 + 0.01 * noise[7])),
        "tensor_active_pct": _percent(tensor),
        "dram_active_pct": _percent(load * (0.38 + 0.02 * noise[8])),
        "fp16_active_pct": _percent(load * (0.02 + 0.002 * noise[9])),
        "fp32_active_pct": _percent(load * (0.06 + 0.005 * noise[10])),
        "fp64_active_pct": np.zeros(n),
        "pcie_tx_bytes_s": _whole_mib(traffic * 900 + 3 * np.abs(noise[11])),
        "pcie_rx_bytes_s": _whole_mib(traffic * 400 + 3 * np.abs(noise[12])),
        "nvlink_tx_bytes_s": _whole_mib(traffic * 92_000),
        "nvlink_rx_bytes_s": _whole_mib(traffic * 92_000 * (1 + 0.001 * noise[13])),
    }
    if any(fault.kind == "no_gpm" and fault.hits(node, gpu) for fault in job.faults):
        columns = {name: column for name, column in columns.items() if name not in _GPM}
    slow_tier = {
        "mem_clock_mhz": 2619, "power_limit_mw": LIMIT_W * 1000, "ecc_corrected": 0, "ecc_uncorrected": 0,
        "remap_corrected": 0, "remap_uncorrected": 0, "remap_pending": 0, "remap_failure": 0, "pcie_replays": 0,
        "pcie_gen": 5, "pcie_width": 16, "nvlink_replays": 0, "nvlink_recoveries": 0, "nvlink_crc_errors": 0,
        "recovery_action": 0,
    }  # fmt: skip
    lists = [column.tolist() for column in columns.values()]
    slow_rows = [slow_tier | ({"processes": 1} if i % 2 == 0 else {}) for i in range((n + 29) // 30)]
    fixed = {"gpu_uuid": job.uuid(node, gpu), "rank": node * job.gpus + gpu}
    gone = job.during("lost", node, gpu).tolist()
    rows = list(zip(*lists, strict=True))
    power, used = columns["power_instant_mw"].tolist(), columns["gpu_util_pct"].tolist()
    return _Series(fixed, list(columns), rows, slow_rows, gone, power, used)


def _named(job: Job, node: int, gpu: int) -> bool:
    return any(fault.kind == "hang" and (fault.node, fault.gpu) == (node, gpu) for fault in job.faults)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    return np.convolve(np.pad(values, (width - 1, 0), mode="edge"), np.full(width, 1 / width), "valid")


def _percent(share: np.ndarray) -> np.ndarray:
    return np.round(np.clip(share, 0, 1) * 100, 1)


def _whole_mib(rate: np.ndarray) -> np.ndarray:
    return np.round(np.maximum(rate, 0)).astype(np.int64) * MIB


def host_ticks(job: Job, nodes: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
    """Records of the stream `host_ticks`, node after node."""
    phases, steps = job.phases(), job.steps().tolist()
    for node in range(job.nodes) if nodes is None else nodes:
        draw = np.random.default_rng([job.seed, node, 1])
        n, stalled = job.seconds, job.during("stall", node)
        saves = np.array([phase == CHECKPOINT for phase in phases])
        noise = draw.normal(0, 1, (6, n))
        busy = np.clip(18 + 1.5 * noise[0] + 25 * stalled, 0, 100)
        columns = {
            "cpu_pct": np.round(busy, 1),
            "cpu_user_pct": np.round(busy * 0.8, 1),
            "cpu_system_pct": np.round(busy * 0.2, 1),
            "cpu_iowait_pct": np.round(np.clip(0.2 + 0.1 * noise[1] + 6 * saves, 0, 100), 1),
            "cpu_steal_pct": np.zeros(n),
            "cpu_max_core_pct": np.round(np.where(stalled, 100, np.clip(70 + 6 * noise[2], 0, 100)), 1),
            "load_1m": np.round(30 + 20 * _smooth(stalled * 1.0, 60), 2),
            "mem_used_bytes": (400 * 2**30 + np.cumsum(noise[3]) * 2**20).astype(np.int64) // 4096 * 4096,
            "mem_available_bytes": (1600 * 2**30 - np.cumsum(noise[3]) * 2**20).astype(np.int64) // 4096 * 4096,
            "swap_used_bytes": np.zeros(n, int),
            "cgroup_cpu_limit": np.full(n, 128.0),
            "cgroup_cpu_us": np.cumsum(np.round(busy * 1.28e4)).astype(np.int64),
            "cgroup_throttled_us": np.zeros(n, int),
            "cgroup_throttled_periods": np.zeros(n, int),
            "cgroup_mem_bytes": (420 * 2**30 + np.cumsum(noise[4]) * 2**20).astype(np.int64) // 4096 * 4096,
            "cgroup_mem_anon_bytes": np.full(n, 390 * 2**30),
            "cgroup_oom_kills": np.zeros(n, int),
            "psi_cpu_some_us": np.cumsum(np.round(2000 + 300_000 * stalled)).astype(np.int64),
            "psi_cpu_full_us": np.zeros(n, int),
            "psi_io_some_us": np.cumsum(np.round(np.abs(noise[5]) * 3000 + 400_000 * saves)).astype(np.int64),
            "psi_io_full_us": np.cumsum(np.round(np.abs(noise[5]) * 1000 + 200_000 * saves)).astype(np.int64),
            "psi_mem_some_us": np.zeros(n, int),
            "psi_mem_full_us": np.zeros(n, int),
            "net_rx_bytes": np.cumsum(np.round(np.abs(1 + noise[0] / 9) * 120e6)).astype(np.int64),
            "net_tx_bytes": np.cumsum(np.round(np.abs(1 + noise[1] / 9) * 4e6)).astype(np.int64),
            "ib_rx_bytes": np.cumsum(np.round(np.abs(1 + noise[2] / 9) * 20e9)).astype(np.int64) // 4 * 4,
            "ib_tx_bytes": np.cumsum(np.round(np.abs(1 + noise[3] / 9) * 20e9)).astype(np.int64) // 4 * 4,
            "disk_read_bytes": np.cumsum(np.round(np.abs(noise[4]) * 30e6)).astype(np.int64) // 512 * 512,
            "disk_write_bytes": np.cumsum(np.round(2e6 + 3e9 * saves)).astype(np.int64) // 512 * 512,
            "disk_used_pct": np.round(41 + np.cumsum(saves) * 0.01, 1),
        }
        lists = [column.tolist() for column in columns.values()]
        workers = np.cumsum(np.round(1e6 + 8e6 * stalled)).astype(np.int64).tolist()
        for second, row in enumerate(zip(*lists, strict=True)):
            sample = dict(zip(columns, row, strict=True))
            traffic = [
                ("net", "eth0", "net_rx_bytes", "net_tx_bytes"), ("ib", "mlx5_0:1", "ib_rx_bytes", "ib_tx_bytes"),
                ("disk", "nvme0n1", "disk_read_bytes", "disk_write_bytes"),
            ]  # fmt: skip
            yield {
                **_head(job, node, second), "tick_us": 900, **sample,
                "devices": [
                    {"kind": kind, "name": name, "in_bytes": sample[read], "out_bytes": sample[written]}
                    for kind, name, read, written in traffic
                ],
                "ranks": [
                    {
                        "rank": node * job.gpus + gpu, "pid": 4000 + gpu, "step": steps[second],
                        "phase": phases[second], "processes": 9, "cpu_us": workers[second] + gpu,
                        "rss_bytes": 48 * 2**30, "threads": 140, "fds": 310,
                    }
                    for gpu in range(job.gpus)
                ],
            }  # fmt: skip


def device_info(job: Job) -> Iterator[dict[str, Any]]:
    """Records of the stream `device_info`."""
    for node in range(job.nodes):
        head = {"run_id": job.run_id, "writer": job.writer(node), "host": job.host(node), "time": job.start * 1000}
        yield {
            **head, "seq": 0, "kind": "host", "device": "", "name": "Intel(R) Xeon(R) Platinum 8480C",
            "vendor": "Intel", "mem_total_bytes": 2048 * 2**30, "facts": {"cores": "112", "kernel": "5.15.0"},
            "absent": {"cgroup_mem_limit_bytes": "the container has no limit of memory"},
        }  # fmt: skip
        for gpu in range(job.gpus) if job.has_gpus(node) else ():
            absent = {"fan_pct": "not supported by this device"}
            if any(fault.kind == "no_gpm" and fault.hits(node, gpu) for fault in job.faults):
                absent |= dict.fromkeys(_GPM, "this GPU has no GPM: needs Hopper or newer")
            yield {
                **head, "seq": 1 + gpu, "kind": "gpu", "device": job.uuid(node, gpu), "gpu_index": gpu,
                "name": "NVIDIA H100 80GB HBM3", "vendor": "NVIDIA", "mem_total_bytes": 85_520_809_984,
                "facts": {
                    "driver": "550.90.07", "cuda": "12.4", "pci_bus_id": f"00000000:{16 + gpu:02X}:00.0",
                    "max_sm_clock_mhz": str(MAX_CLOCK), "default_power_limit_mw": str(LIMIT_W * 1000),
                },
                "absent": absent,
            }  # fmt: skip


def device_events(job: Job) -> Iterator[dict[str, Any]]:
    """Records of the stream `device_events`."""
    for node in range(job.nodes):
        told = [("sampler_started", "info", 0, None, None, "Sampling started.")]
        for fault in job.faults:
            if fault.kind == "no_driver" and fault.hits(node):
                told.append(("no_driver", "warning", 0, None, 12, "No NVIDIA driver was found: GPUs are not sampled."))
            for gpu in range(job.gpus):
                if fault.kind in ("lost", "xid") and fault.hits(node, gpu):
                    told.append(("xid", "error", fault.start, gpu, fault.code, f"XID {fault.code} on GPU {gpu}."))
                if fault.kind == "lost" and fault.hits(node, gpu):
                    told.append(("gpu_lost", "error", fault.start, gpu, 15, f"GPU {gpu} is lost: reboot the node."))
        for seq, (kind, severity, second, gpu, code, message) in enumerate(told):
            yield {
                "run_id": job.run_id, "writer": job.writer(node), "seq": seq, "host": job.host(node),
                "time": (job.start + second) * 1000, "kind": kind, "severity": severity, "code": code,
                "device": "" if gpu is None else job.uuid(node, gpu),
                "rank": None if gpu is None else node * job.gpus + gpu, "message": message, "facts": {},
            }  # fmt: skip


def runs(job: Job) -> Iterator[dict[str, Any]]:
    """Rows of `landing_runs`: every rank starts, and finishes unless the job hangs."""
    last = "heartbeat" if job.hung_from() < job.seconds else "finish"
    for rank in range(job.nodes * job.gpus):
        for seq, (event, second) in enumerate((("start", 0), (last, job.seconds))):
            yield {
                "run_id": job.run_id, "writer": rank + 1, "seq": seq, "attempt": job.start * 1_000_000, "rank": rank,
                "child": False, "time": f"{job.start + second}.000000", "event": event, "launch": "traces",
                "name": job.run_id.rpartition("/")[2], "config": '{"hardware": "simulated"}', "definitions": "{}",
                "environment": json.dumps({"host": job.host(rank // job.gpus), "command": "train.py"}),
                "state": "finished" if event == "finish" else "",
            }  # fmt: skip


def frames(job: Job) -> Iterator[dict[str, Any]]:
    """Rows of `landing_metrics`: per rank and step its times, and the tokens that it took."""
    steps = job.steps()
    numbers, firsts = np.unique(steps, return_index=True)
    seconds = np.append(firsts[1:], min(job.hung_from(), job.seconds))[: len(numbers)]
    ends = np.minimum(seconds, job.seconds - 1)
    for rank in range(job.nodes * job.gpus):
        node, gpu = divmod(rank, job.gpus)
        draw = np.random.default_rng([job.seed, rank, 2])
        slow = 1 + 0.3 * job.during("straggler", node, gpu)[ends] + 0.4 * job.during("throttle", node, gpu)[ends]
        own = job.step_s * (0.8 + 0.008 * draw.normal(0, 1, len(numbers))) * slow
        data = job.step_s * (0.02 + 0.5 * job.during("stall", node)[ends])
        whole = job.step_s * job.slowdown()[ends]
        tokens = np.full(len(numbers), float(TOKENS_PER_STEP))
        yield {
            "run_id": job.run_id, "writer": rank + 1, "seq": 0, "attempt": job.start * 1_000_000, "rank": rank,
            "ordered": True, "keys": [STEP_KEY, OWN_KEY, DATA_KEY, TOKENS_KEY], "steps": numbers.tolist(),
            "times": ((job.start + ends) * 1000).tolist(),
            "values": np.round(np.concatenate([whole, own, data, tokens]), 4).tolist(),
        }  # fmt: skip
