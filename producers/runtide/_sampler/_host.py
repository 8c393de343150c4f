"""The node itself as a source: processors, memory, pressure, network, disks.

Source: man 5 proc; kernel.org, Documentation/accounting/psi.rst, admin-guide/iostats.rst; infiniband's sysfs ABI
(`port_rcv_data` counts units of four bytes).
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtide._sampler._files import keyed, number, read
from runtide._sampler._source import Device, Event, Tier

_SECTOR = 512
_IB_UNIT = 4
# Disks in memory or on top of a file; what is on top of other disks (RAID, LVM) is told by its `slaves`.
_NO_DISK = re.compile(r"(loop|ram|zram|sr|fd|nbd)\d+")
_CGROUP_ABSENT = "the process is in no control group that has it, or it has no limit"
# Ticks of a processor below which shares say nothing: two samples that follow at once.
_LEAST_TICKS = 2
_MEMORY = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")


class HostSource:
    """Reads the node from `/proc` and `/sys`.

    Args:
        root: Stands for the file system's root.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._sys = root / "sys"
        self._times: list[list[int]] = _processor_times(read(f"{self._proc}/stat"))
        self._disks: set[str] | None = None
        self._bonded: set[str] = set()
        self._root = root

    def devices(self) -> list[Device]:
        """The host."""
        about = _about_processors(read(f"{self._proc}/cpuinfo"))
        memory = keyed(read(f"{self._proc}/meminfo"), *_MEMORY)
        facts = {
            "cores": str(about["cores"]) if about["cores"] else "",
            "threads": str(len(self._times) or os.cpu_count() or ""),
            "usable_threads": str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "",
            "kernel": (read(f"{self._proc}/sys/kernel/osrelease") or platform.release()).strip(),
            "os": _os_name(read(self._root / "etc/os-release")),
            "container": _container(self._root),
            "swap_bytes": str(memory["SwapTotal"] << 10) if "SwapTotal" in memory else "",
        }
        total = memory.get("MemTotal")
        return [
            Device(
                "host",
                name=str(about["name"]) or platform.machine(),
                vendor=str(about["vendor"]),
                mem_total_bytes=None if total is None else total << 10,
                facts={name: value for name, value in facts.items() if value},
                absent=self._absent(),
            )
        ]

    def tick(self, due: Set[Tier]) -> list[dict[str, Any]]:
        """One row, when the middle tier is due."""
        if Tier.MEDIUM not in due:
            return []
        if self._disks is None or Tier.SLOW in due:
            self._look_around()
        devices = [*self._network(), *self._infiniband(), *self._disk_traffic()]
        row = {**self._processors(), **self._memory(), **self._pressure(), "devices": devices}
        for kind, name in (("net", "net_{}"), ("ib", "ib_{}"), ("disk", "disk_{}")):
            mine = [device for device in devices if device["kind"] == kind and device["name"] not in self._bonded]
            if mine:
                way = ("read_bytes", "write_bytes") if kind == "disk" else ("rx_bytes", "tx_bytes")
                row[name.format(way[0])] = sum(device["in_bytes"] for device in mine)
                row[name.format(way[1])] = sum(device["out_bytes"] for device in mine)
        return [row]

    def events(self) -> list[Event]:
        """None: what is not there is absent."""
        return []

    def close(self) -> None:
        """Nothing is held open."""

    def _absent(self) -> dict[str, str]:
        missing: dict[str, str] = {}
        for what in ("cpu", "io", "mem"):
            if read(f"{self._proc}/pressure/{what.replace('mem', 'memory')}") is None:
                reason = "the kernel has no pressure information (CONFIG_PSI), or it is switched off (psi=1)"
                missing |= {f"psi_{what}_some_us": reason, f"psi_{what}_full_us": reason}
        if not any(self._infiniband()):
            missing |= dict.fromkeys(("ib_rx_bytes", "ib_tx_bytes"), "there is no InfiniBand port")
        return missing

    def _look_around(self) -> None:
        """Which names are whole disks, and which interfaces are counted by another one."""
        self._disks = set()
        for name in _names(self._sys / "block"):
            if not _NO_DISK.fullmatch(name) and not _names(self._sys / "block" / name / "slaves"):
                self._disks.add(name.replace("!", "/"))
        net = self._sys / "class/net"
        self._bonded = {name for name in _names(net) if (net / name / "bonding_slave").exists()}

    def _processors(self) -> dict[str, Any]:
        before, self._times = self._times, _processor_times(read(f"{self._proc}/stat"))
        load = (read(f"{self._proc}/loadavg") or "").split()
        row: dict[str, Any] = {}
        with suppress(IndexError, ValueError):
            row["load_1m"] = abs(float(load[0]))
        if not self._times or len(before) != len(self._times):  # a processor was switched on or off
            return row
        cores = [
            [max(0, new - old) for old, new in zip(*pair, strict=True)]
            for pair in zip(before, self._times, strict=True)
        ]
        passed = [sum(core) for core in cores]
        total = sum(passed)
        if total < _LEAST_TICKS:
            return row
        user, nice, system, _, iowait, irq, softirq, steal = (sum(column) for column in zip(*cores, strict=True))
        shares = {
            "cpu_pct": user + nice + system + irq + softirq,
            "cpu_user_pct": user + nice,
            "cpu_system_pct": system + irq + softirq,
            "cpu_iowait_pct": iowait,
            "cpu_steal_pct": steal,
        }
        row |= {name: _percent(value, total) for name, value in shares.items()}
        row["cpu_max_core_pct"] = max(
            _percent(ticks - core[3] - core[4] - core[7], ticks)
            for core, ticks in zip(cores, passed, strict=True)
            if ticks
        )
        return row

    def _memory(self) -> dict[str, int]:
        told = keyed(read(f"{self._proc}/meminfo"), *_MEMORY)
        row = {}
        total, available = told.get("MemTotal"), told.get("MemAvailable")
        if total is not None and available is not None:
            row = {"mem_used_bytes": max(0, total - available) << 10, "mem_available_bytes": available << 10}
        if "SwapTotal" in told and "SwapFree" in told:
            row["swap_used_bytes"] = max(0, told["SwapTotal"] - told["SwapFree"]) << 10
        return row

    def _pressure(self) -> dict[str, int]:
        row = {}
        for what in ("cpu", "io", "memory"):
            for line in (read(f"{self._proc}/pressure/{what}") or "").splitlines():
                words = line.split()
                total = number(words[-1].removeprefix("total=")) if words else None
                if total is not None and words[0] in ("some", "full"):
                    row[f"psi_{what.removesuffix('ory')}_{words[0]}_us"] = total
        return row

    def _network(self) -> Iterator[dict[str, Any]]:
        for line in (read(f"{self._proc}/net/dev") or "").splitlines():
            name, colon, rest = line.rpartition(":")
            words = rest.split()
            if colon and len(words) >= 9 and name.strip() != "lo":
                yield from _device("net", name.strip(), number(words[0]), number(words[8]))

    def _infiniband(self) -> Iterator[dict[str, Any]]:
        folder = self._sys / "class/infiniband"
        for device in _names(folder):
            for port in _names(folder / device / "ports"):
                counters = folder / device / "ports" / port / "counters"
                received, sent = (number(read(counters / name)) for name in ("port_rcv_data", "port_xmit_data"))
                if received is not None and sent is not None:
                    yield from _device("ib", f"{device}:{port}", received * _IB_UNIT, sent * _IB_UNIT)

    def _disk_traffic(self) -> Iterator[dict[str, Any]]:
        for line in (read(f"{self._proc}/diskstats") or "").splitlines():
            words = line.split()
            if len(words) >= 10 and words[2] in (self._disks or ()):
                read_, written = number(words[5]), number(words[9])
                if read_ is not None and written is not None:
                    yield from _device("disk", words[2], read_ * _SECTOR, written * _SECTOR)


def used_percent(folder: Path) -> float | None:
    """Space in use in the file system of a folder, percent of what is for us; None when that cannot be found out."""
    if sys.platform == "win32":
        return None
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    used = found.f_blocks - found.f_bfree
    return round(100 * used / (used + found.f_bavail), 1) if used + found.f_bavail > 0 else None


def _processor_times(stat: str | None) -> list[list[int]]:
    """Per processor: user, nice, system, idle, iowait, irq, softirq, steal. What guests use is within user and nice."""
    found: list[list[int]] = []
    for line in (stat or "").splitlines():
        if not line.startswith("cpu"):
            if found:  # they are the first lines; those that follow are long
                break
            continue
        name, *words = line.split(None, 9)[:9]
        if name != "cpu":
            with suppress(ValueError):
                found.append([*map(int, words), *[0] * 8][:8])
    return found


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1)


def _device(kind: str, name: str, received: int | None, sent: int | None) -> Iterator[dict[str, Any]]:
    if received is not None and sent is not None and max(received, sent) < 1 << 63:
        yield {"kind": kind, "name": name, "in_bytes": received, "out_bytes": sent}


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _about_processors(cpuinfo: str | None) -> dict[str, Any]:
    """Name and maker of the first processor, and how many cores all have: None where it does not say."""
    name = vendor = ""
    cores: set[tuple[str, str]] = set()
    socket = ""
    for line in (cpuinfo or "").splitlines():
        field, _, value = (part.strip() for part in line.partition(":"))
        if field in ("model name", "Model", "cpu model") and not name:
            name = value
        elif field in ("vendor_id", "CPU implementer") and not vendor:
            vendor = value
        elif field == "physical id":
            socket = value
        elif field == "core id":
            cores.add((socket, value))
    return {"name": name, "vendor": vendor, "cores": len(cores) or None}


def _os_name(release: str | None) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', release or "", re.MULTILINE)
    return found[1] if found else ""


def _container(root: Path) -> str:
    """What kind of container this is, as far as it shows; `no` for none."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    if (root / ".singularity.d").exists() or (root / "singularity").exists():
        return "singularity"
    return "no"
