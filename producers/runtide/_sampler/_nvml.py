"""NVIDIA's GPUs, by NVML. The only module that imports NVIDIA's binding; it runs in the sampler's process alone.

docs/hardware_nvml.md says what is read, how often, and what needs which permission.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from runtide._sampler._gpm import GpmReader, readable
from runtide._sampler._kernel_log import KernelLog
from runtide._sampler._nvml_facts import node_facts, quietly
from runtide._sampler._nvml_gpu import Shared
from runtide._sampler._nvml_policy import (
    DRIVER_NOT_LOADED,
    LIBRARY_NOT_FOUND,
    VERSION_MISMATCH,
    NvmlGone,
    NvmlStale,
    Reports,
)
from runtide._sampler._nvml_table import Table
from runtide._sampler._source import Device, Event, Tier
from runtide._sampler._trace import Recording

_LIBRARY = "RUNTIDE_NVML_LIBRARY"
_FIRST_DRIVER_RETRY_S = 60.0
_DRIVER_RETRY_S = 3600.0
_STALE_RETRY_S = 5.0

_NO_DRIVER = {
    LIBRARY_NOT_FOUND: ("info", "There is no NVIDIA driver on this machine, so no GPU is watched."),
    DRIVER_NOT_LOADED: (
        "warning",
        "The NVIDIA driver is installed but not loaded, so no GPU is watched: nvidia-smi tells more.",
    ),
    VERSION_MISMATCH: (
        "error",
        "The NVIDIA driver was updated while its old version is still in the kernel, so no GPU is watched: "
        "reboot this machine.",
    ),
}


def _binding() -> Any:
    """NVIDIA's binding, on the library that the environment names instead of the driver's."""
    import pynvml

    path = os.environ.get(_LIBRARY)
    if path:
        pynvml.nvmlLib = ctypes.CDLL(path)
        pynvml._nvmlGetFunctionPointer_cache.clear()
    return pynvml


class NvmlSource:
    """Reads every NVIDIA GPU of the node.

    Args:
        record: File to which every call and its answer are written, without names that tell which machine it was.
        binding: Gives the binding of NVML; tests give a stand-in.
        clock: Seconds that only grow.
        wall: Seconds since 1970.
        kernel_log: The kernel's log, where it may be read.
    """

    def __init__(
        self,
        record: Path | None = None,
        *,
        binding: Callable[[], Any] = _binding,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        kernel_log: Path = Path("/dev/kmsg"),
    ) -> None:
        self._record = record
        self._binding = binding
        self._clock = clock
        self._wall = wall
        self._reports = Reports()
        self._shared: Shared | None = None
        self._table: Table | None = None
        self._recording: Recording | None = None
        self._retry_at = 0.0
        self._retry_s = _FIRST_DRIVER_RETRY_S
        self._pid = os.getpid()
        self.reason = ""
        self._kernel_log = KernelLog(kernel_log)
        self._open(self._clock())

    @property
    def doing(self) -> tuple[str, str]:
        """UUID and call that is being waited for, for a watchdog; both empty between ticks."""
        return self._shared.doing if self._shared is not None else ("", "")

    def devices(self) -> list[Device]:
        """Every GPU, those that are lost too, each followed by its MIG instances."""
        gpus = self._table.in_order() if self._table is not None else []
        return [one.device() for gpu in gpus for one in (gpu, *gpu.instances)]

    def events(self) -> list[Event]:
        """What happened since the last time."""
        return self._reports.take()

    def tick(self, due: Set[Tier]) -> list[dict[str, Any]]:
        """Read what is due: one row for each GPU and MIG instance that answers."""
        now = self._clock()
        if self._pid != os.getpid():
            self._renew(now)
        if self._table is None and now >= self._retry_at:
            self._open(now)
        rows: list[dict[str, Any]] = []
        if self._table is not None:
            try:
                self._read(self._table, due, now, rows)
            except NvmlStale:
                self._renew(now)
        if self._shared is not None:
            self._shared.doing = ("", "")
        return rows

    def _read(self, table: Table, tiers: Set[Tier], now: float, rows: list[dict[str, Any]]) -> None:
        if Tier.MEDIUM in tiers:
            for place_on_bus, xid in self._kernel_log.xids():
                table.fell(place_on_bus, xid)
        table.watch(tiers, now)
        due = tuple(tiers)  # in a set, every look for an enum's member calls Python
        for gpu in table.in_order():
            if gpu.gone is not None:
                table.retry(gpu, now)
            if gpu.gone is None:
                try:
                    for one in (gpu, *gpu.instances):
                        rows.append(one.read(due, now))
                except NvmlGone as error:
                    table.lose(gpu, now, error.code)

    def close(self) -> None:
        """Let go of the driver. Bounded: a call that hangs is left behind."""
        if self._shared is not None and self._table is not None:
            ended = self._table.deafen()
            self._table.free()
            if ended:
                quietly(self._shared.nvml, self._shared.nvml.nvmlShutdown)
        if self._recording is not None:
            self._recording.close()
        self._kernel_log.close()

    def _open(self, now: float) -> None:
        """Start NVML, or tell once why not and try again later."""
        try:
            nvml = self._binding()
        except ImportError:
            self._no_driver(
                now, "info", "nvidia-ml-py is not installed, so no GPU is watched: pip install 'runtide[gpu]'.", None
            )
            return
        except OSError as error:
            self._no_driver(now, "warning", f"{_LIBRARY} names a library that does not load: {error}.", None)
            return
        if self._record is not None:
            self._recording = self._recording or Recording(nvml, self._record, self._wall, self._unrecorded)
            nvml = self._recording
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            severity, message = _NO_DRIVER.get(
                error.value,
                ("warning", f"NVML does not start ({error}), so no GPU is watched: nvidia-smi tells more."),
            )
            self._no_driver(now, severity, message, error.value)
            return
        if self.reason:
            self._reports.add(Event("driver_found", "info", "NVML has started: GPUs are watched."))
        self.reason = ""
        self._retry_s = _FIRST_DRIVER_RETRY_S
        gpm = GpmReader(nvml) if readable(nvml) else None
        self._shared = Shared(nvml, self._reports, self._clock, self._wall, gpm, node_facts(nvml))
        self._table = Table(self._shared)
        self._table.scan(now)

    def _unrecorded(self, error: OSError) -> None:
        self._reports.add(
            Event("recording_ended", "warning", f"{self._record} takes no more of what NVML says: {error}.")
        )

    def _no_driver(self, now: float, severity: str, message: str, code: int | None) -> None:
        if message != self.reason:
            self._reports.add(Event("no_driver", severity, message, code=code))
        self.reason = message
        self._retry_at = now + self._retry_s
        self._retry_s = _DRIVER_RETRY_S

    def _renew(self, now: float) -> None:
        """Start NVML again: it does not know our handles, after a fork or when somebody has shut it down."""
        forked = self._pid != os.getpid()
        if self._table is None or self._shared is None or (now < self._retry_at and not forked):
            return
        self._pid = os.getpid()
        self._retry_at = now + _STALE_RETRY_S
        nvml = self._shared.nvml
        if self._table.deafen(forked):
            quietly(nvml, nvml.nvmlShutdown)
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self._no_driver(now, "warning", f"NVML does not start again ({error}), so no GPU is watched.", error.value)
            self._shared = self._table = None
            return
        self._table.renew(now)
