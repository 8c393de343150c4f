"""What a control group may use and has used: version 2, and where a controller is not in it, version 1.

A limit may stand at any level above the process, and the tightest counts; usage is read where it stands.
Source: kernel.org, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from runtide._sampler._files import keyed, number, read

# So many times it is read before limits, which hardly ever change, are read again.
_BELIEVED = 11
_NO_LIMIT = 1 << 60


class _Mount(NamedTuple):
    """A hierarchy that is mounted: for version 1 with its controllers."""

    version: int
    controllers: tuple[str, ...]
    root: str
    folder: Path


class Cgroup:
    """The control group of one process; found again when the process was moved.

    Args:
        pid: The process; None for this one.
        root: Stands for the file system's root.
    """

    def __init__(self, pid: int | None = None, root: Path = Path("/")) -> None:
        self._membership = root / "proc" / ("self" if pid is None else str(pid)) / "cgroup"
        self._own = root / "proc/self/cgroup"
        self._root = root
        self._known: str | None = None
        self._believed = 0
        self._cpu: tuple[int, list[Path]] = (0, [])
        self._memory: tuple[int, list[Path]] = (0, [])
        # The tightest limit, and the level that has it.
        self._cpu_limit: tuple[float | None, Path] = (None, root)
        self._memory_limit: tuple[int | None, Path] = (None, root)
        self._cpuacct: list[Path] = []

    def read(self) -> dict[str, Any]:
        """Fields of `host_ticks`; those that there are."""
        # When the process has ended, its group has not; of one that was never seen, ours is the best guess.
        membership = read(self._membership) or self._known or read(self._own)
        if membership is not None and membership != self._known:
            self._known = membership
            self._find(membership)
            self._believed = 0
        if self._believed == 0:
            self._find_limits()
        self._believed = (self._believed + 1) % _BELIEVED
        return _present({**self._read_cpu(), **self._read_memory()})

    def _find(self, membership: str) -> None:
        mounts = _mounts(read(self._root / "proc/self/mountinfo") or "", self._root)
        self._cpu = _levels(mounts, membership, "cpu", "cpu.max", "cpu.cfs_quota_us")
        self._memory = _levels(mounts, membership, "memory", "memory.max", "memory.limit_in_bytes")
        self._cpuacct = _levels(mounts, membership, "cpuacct", "", "cpuacct.usage")[1]

    def _find_limits(self) -> None:
        version, levels = self._cpu
        if levels:
            cores = [(_cores(version, level), level) for level in levels]
            self._cpu_limit = min(((n, level) for n, level in cores if n is not None), default=(None, levels[0]))
        version, levels = self._memory
        if levels:
            name = "memory.max" if version == 2 else "memory.limit_in_bytes"
            sizes = [(number(read(f"{level}/{name}")), level) for level in levels]
            real = [(size, level) for size, level in sizes if size is not None and size < _NO_LIMIT]
            self._memory_limit = min(real, default=(None, levels[0]))

    def _read_cpu(self) -> dict[str, Any]:
        version, levels = self._cpu
        if not levels:
            return {}
        limit, level = self._cpu_limit
        told = keyed(read(f"{level}/cpu.stat"), "usage_usec", "throttled_usec", "throttled_time", "nr_throttled")
        if version == 2:
            used, throttled = told.get("usage_usec"), told.get("throttled_usec")
        else:
            nanoseconds = number(read(f"{self._cpuacct[0]}/cpuacct.usage")) if self._cpuacct else None
            used = None if nanoseconds is None else nanoseconds // 1000
            throttled = None if (waited := told.get("throttled_time")) is None else waited // 1000
        return {
            "cgroup_cpu_limit": limit,
            "cgroup_cpu_us": used,
            "cgroup_throttled_us": throttled,
            "cgroup_throttled_periods": told.get("nr_throttled"),
        }

    def _read_memory(self) -> dict[str, Any]:
        version, levels = self._memory
        if not levels:
            return {}
        limit, level = self._memory_limit
        stat = keyed(read(f"{level}/memory.stat"), "anon", "total_rss")
        if version == 2:
            used, anon = number(read(f"{level}/memory.current")), stat.get("anon")
            kills = keyed(read(f"{level}/memory.events"), "oom_kill").get("oom_kill")
        else:
            used, anon = number(read(f"{level}/memory.usage_in_bytes")), stat.get("total_rss")
            kills = keyed(read(f"{level}/memory.oom_control"), "oom_kill").get("oom_kill")
        return {
            "cgroup_mem_bytes": used,
            "cgroup_mem_limit_bytes": limit,
            "cgroup_mem_anon_bytes": anon,
            "cgroup_oom_kills": kills,
        }


def _cores(version: int, level: Path) -> float | None:
    """Processors that a level may use; None for no limit."""
    if version == 2:
        words = (read(f"{level}/cpu.max") or "").split()
        quota, period = (number(words[0]), number(words[1])) if len(words) == 2 else (None, None)
    else:
        quota, period = number(read(f"{level}/cpu.cfs_quota_us")), number(read(f"{level}/cpu.cfs_period_us"))
    return round(quota / period, 3) if quota is not None and quota >= 0 and period else None


def _levels(mounts: list[_Mount], membership: str, controller: str, file2: str, file1: str) -> tuple[int, list[Path]]:
    """The version in which a controller is, and the process' folder there with all above it that have the file.

    The root of version 2 has no such file: it is the machine and no container.
    """
    for version, file in ((2, file2), (1, file1)):
        for mount in mounts:
            if not file or mount.version != version or (version == 1 and controller not in mount.controllers):
                continue
            levels = [level for level in _ancestors(mount, membership, controller) if (level / file).exists()]
            if levels:
                return version, levels
    return 0, []


def _ancestors(mount: _Mount, membership: str, controller: str) -> list[Path]:
    """The folder that the process is in, and those above it, as far as they are mounted."""
    for line in membership.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        named = controllers.split(",")
        if (mount.version == 2) != (not controllers) or (mount.version == 1 and controller not in named):
            continue
        if mount.root != "/" and (path == mount.root or path.startswith(f"{mount.root}/")):
            path = path[len(mount.root) :]
        parts = [part for part in path.split("/") if part]
        if ".." in parts:  # outside of what is mounted here
            parts = []
        return [mount.folder.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return []


def _mounts(mountinfo: str, root: Path) -> list[_Mount]:
    found = []
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if not dash or len(left) < 5 or not right or right[0] not in ("cgroup", "cgroup2"):
            continue
        folder = root / left[4].replace("\\040", " ").lstrip("/")
        controllers = tuple(right[2].split(",")) if right[0] == "cgroup" and len(right) > 2 else ()
        found.append(_Mount(2 if right[0] == "cgroup2" else 1, controllers, left[3], folder))
    return found


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
