"""What the sampler reads of GPUs, hosts and ranks, as it is drawn: metrics, and what lines stand for."""

from __future__ import annotations

import json
from dataclasses import dataclass

GIB = 1 << 30
# Above it lines would be too many to be found in a legend; a wider choice is drawn by node or by run.
MAX_SUBJECTS = 64


@dataclass(frozen=True)
class Metric:
    """One panel.

    Args:
        key: What it is called in questions and URLs; the part before the slash is its section.
        title: What it is, with its unit.
        source: Where it is read: gpu, host or rank.
        fields: Columns. Of `gauge` the first that is known counts; counters are added up.
        kind: `gauge`, `rate` of counters, `share` of the second field in the first in percent, or `steps` for the time
            that a step takes.
        scale: What a value is multiplied with; rates are by milliseconds before that.
        low: What y begins at or below, None for no say.
        high: What y ends at or above.
        unit: For a single value.
        worst: Whether large or small values are the ones to look at, for the grid of GPUs.
    """

    key: str
    title: str
    source: str
    fields: tuple[str, ...]
    kind: str = "gauge"
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    unit: str = ""
    worst: str = "high"


def _percent(key: str, title: str, source: str, field: str, worst: str = "high") -> Metric:
    return Metric(key, f"{title}, %", source, (field,), low=0.0, high=100.0, unit="%", worst=worst)


def _held(key: str, title: str, *fields: str) -> Metric:
    """Nanoseconds in a millisecond are a share of a million; 100 of it is a percent."""
    return Metric(key, f"{title}, % of time", "gpu", fields, "rate", 1e-4, 0.0, 1.0, "%")


def _waited(key: str, title: str, field: str) -> Metric:
    return Metric(key, f"{title}, % of time", "host", (field,), "rate", 0.1, 0.0, 1.0, "%")


def _traffic(key: str, title: str, source: str, field: str, kind: str) -> Metric:
    return Metric(key, f"{title}, B/s", source, (field,), kind, 1000.0 if kind == "rate" else 1.0, 0.0, unit="B/s")


HEAT = ("throttle_sw_thermal_ns", "throttle_hw_thermal_ns", "throttle_hw_brake_ns")
METRICS = {
    one.key: one
    for one in (
        _percent("GPU/utilisation", "Utilisation", "gpu", "gpu_util_pct", worst="low"),
        Metric("GPU/memory", "GPU memory in use, GiB", "gpu", ("mem_used_bytes",), scale=1 / GIB, low=0.0, unit="GiB"),
        Metric(
            "GPU/power", "Power, W", "gpu", ("power_instant_mw", "power_avg_mw"), scale=1e-3, low=0.0, unit="W",
            worst="low",
        ),
        Metric("GPU/temperature", "Temperature, °C", "gpu", ("temp_gpu_c",), unit="°C"),
        _held("GPU/throttled", "Throttled for heat or by the brake", *HEAT),
        Metric("GPU/sm_clock", "Clock of the multiprocessors, MHz", "gpu", ("sm_clock_mhz",), unit="MHz", worst="low"),
        _percent("GPU/sm_active", "Multiprocessors active", "gpu", "sm_active_pct", worst="low"),
        _percent("GPU/tensor_active", "Tensor cores active", "gpu", "tensor_active_pct", worst="low"),
        _percent("GPU/dram_active", "Memory moves data", "gpu", "dram_active_pct", worst="low"),
        Metric("GPU/energy", "Power by the energy counter, W", "gpu", ("energy_mj",), "rate", low=0.0, unit="W"),
        Metric("GPU/temperature_memory", "Temperature of the memory, °C", "gpu", ("temp_mem_c",), unit="°C"),
        _percent("Host/cpu", "Node's processor", "host", "cpu_pct"),
        _percent("Host/busiest_core", "Busiest core", "host", "cpu_max_core_pct"),
        Metric(
            "Host/memory", "Node's memory in use, GiB", "host", ("mem_used_bytes",), scale=1 / GIB, low=0.0, unit="GiB"
        ),
        Metric(
            "Host/memory_limit", "Container's memory but cache, % of its limit", "host",
            ("cgroup_mem_anon_bytes", "cgroup_mem_limit_bytes"), "share", 100.0, 0.0, 100.0, "%",
        ),
        _waited("Host/psi_cpu", "Something waited for a core", "psi_cpu_some_us"),
        _waited("Host/psi_io", "Something waited for a disk", "psi_io_some_us"),
        _waited("Host/psi_io_full", "Everything waited for a disk", "psi_io_full_us"),
        _waited("Host/psi_memory", "Something waited for memory", "psi_mem_some_us"),
        _waited("Host/cpu_throttled", "Container held back by its limit", "cgroup_throttled_us"),
        _traffic("Host/net_received", "Network received", "host", "net_rx_bytes", "rate"),
        _traffic("Host/net_sent", "Network sent", "host", "net_tx_bytes", "rate"),
        _traffic("Host/ib_received", "InfiniBand received", "host", "ib_rx_bytes", "rate"),
        _traffic("Host/ib_sent", "InfiniBand sent", "host", "ib_tx_bytes", "rate"),
        _traffic("Host/disk_read", "Disks read", "host", "disk_read_bytes", "rate"),
        _traffic("Host/disk_written", "Disks written", "host", "disk_write_bytes", "rate"),
        _percent("Host/disk_used", "Disk space in use", "host", "disk_used_pct"),
        _percent("Host/iowait", "Idle while waiting for a disk", "host", "cpu_iowait_pct"),
        Metric("Ranks/step_time", "Time of a step, s", "rank", ("step",), "steps", 1e-3, 0.0, unit="s"),
        Metric("Ranks/cpu", "Cores in use, with workers", "rank", ("cpu_us",), "rate", 1e-3, 0.0, unit="cores"),
        Metric(
            "Ranks/memory", "Memory, with workers, GiB", "rank", ("rss_bytes",), scale=1 / GIB, low=0.0, unit="GiB"
        ),
        _traffic("Ranks/read", "Read from disks, with workers", "rank", "read_bytes", "rate"),
        _held("Throttling/power_cap", "By the power cap, as is normal under load", "throttle_power_ns"),
        _held("Throttling/driver_heat", "By the driver for heat", "throttle_sw_thermal_ns"),
        _held("Throttling/hardware_heat", "By the hardware for heat", "throttle_hw_thermal_ns"),
        _held("Throttling/brake", "By the external power brake", "throttle_hw_brake_ns"),
        _held("Throttling/sync_boost", "By another GPU's clock", "throttle_sync_boost_ns"),
        _held("Throttling/voltage", "By the limit of voltage", "throttle_reliability_ns"),
        _traffic("Links/pcie_sent", "PCIe sent", "gpu", "pcie_tx_bytes_s", "gauge"),
        _traffic("Links/pcie_received", "PCIe received", "gpu", "pcie_rx_bytes_s", "gauge"),
        _traffic("Links/nvlink_sent", "NVLink sent", "gpu", "nvlink_tx_bytes_s", "gauge"),
        _traffic("Links/nvlink_received", "NVLink received", "gpu", "nvlink_rx_bytes_s", "gauge"),
    )
}  # fmt: skip
# What the grid of GPUs can show.
OF_GPUS = tuple(one.key for one in METRICS.values() if one.source == "gpu")
# What the page of one run and Compare show; the System page shows all.
FEW = (
    "GPU/utilisation", "GPU/memory", "GPU/power", "GPU/temperature", "GPU/throttled",
    "Host/cpu", "Host/memory", "Host/disk_read", "Host/disk_written", "Host/net_received", "Host/net_sent",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What a line stands for: a run, one of its nodes, or a GPU or rank of a node.

    Args:
        run: Path of the run.
        host: Name of the node; empty for all of the run.
        device: UUID of the GPU or MIG instance, or the number of a rank; empty for all of the node.
        kind: run, node, gpu or rank.
    """

    run: str
    host: str = ""
    device: str = ""
    kind: str = "run"

    @property
    def id(self) -> str:
        """What the browser calls it."""
        parts = [self.kind, self.run, self.host, self.device]
        return json.dumps(parts[: {"run": 2, "node": 3}.get(self.kind, 4)], separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Subject:
        """The subject of an id.

        Raises:
            ValueError: It is none.
        """
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError("no subject of samples") from error
        lengths = {"run": 2, "node": 3, "gpu": 4, "rank": 4}
        if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
            raise ValueError("no subject of samples")
        if lengths.get(parts[0]) != len(parts) or len(parts[1].split("/")) != 3:
            raise ValueError("no subject of samples")
        run, host, device = (*parts[1:], "", "")[:3]
        return cls(run, host, device, parts[0])

    def has(self, source: str) -> bool:
        """Whether a metric of a source has a line for it."""
        return self.kind in ("run", "node", source)
