"""GPM: what the multiprocessors, pipes and links did, as means between two samples (Hopper and newer).

Each sample is kept and compared with the next one, so that no moment of a run is left out.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from typing import Any

# Source: NVML API reference, nvmlGpmMetricId_t. Percents; NVML gives traffic in MiB a second.
_PERCENTS = {
    2: "sm_active_pct",
    3: "sm_occupancy_pct",
    5: "tensor_active_pct",
    10: "dram_active_pct",
    13: "fp16_active_pct",
    12: "fp32_active_pct",
    11: "fp64_active_pct",
}
_TRAFFIC = {20: "pcie_tx_bytes_s", 21: "pcie_rx_bytes_s", 61: "nvlink_tx_bytes_s", 60: "nvlink_rx_bytes_s"}
COLUMNS = (*_PERCENTS.values(), *_TRAFFIC.values())
_IDS = (*_PERCENTS, *_TRAFFIC)
_MIB = 1_048_576

# NVML asks for more than 100 ms between two samples.
SHORTEST_S = 0.1

# nvmlGpmMetric_t: id, return code, value, and three names.
_METRIC = struct.Struct("<IidQQQ")


class GpmReader:
    """The one structure that all comparisons go through: it has room for every metric there is, 19 KB."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml
        self._get = nvml.c_nvmlGpmMetricsGet_t()
        self._get.version = nvml.NVML_GPM_METRICS_GET_VERSION
        self._get.numMetrics = len(_IDS)
        for metric, number in zip(self._get.metrics, _IDS, strict=False):
            metric.metricId = number
        start = type(self._get).metrics.offset
        self._bytes = memoryview(self._get).cast("B")[start : start + len(_IDS) * _METRIC.size]

    def compare(self, before: Any, after: Any, row: dict[str, Any]) -> dict[str, int]:
        """Put the means between two samples into the row. Returns the columns that it does not give, and why."""
        get = self._get
        get.sample1, get.sample2 = before, after
        self.nvml.nvmlGpmMetricsGet(get)
        missing: dict[str, int] = {}
        for column, (number, code, value, _, _, _) in zip(COLUMNS, _METRIC.iter_unpack(self._bytes), strict=True):
            if code != 0:
                missing[column] = code
            elif math.isfinite(value):
                row[column] = round(value, 1) if number in _PERCENTS else round(value) * _MIB
        return missing


class GpmChain:
    """Two samples of one device, by turns.

    Args:
        reader: What compares them.
        take: Takes a sample of the device into the buffer that it is given.
    """

    def __init__(self, reader: GpmReader, take: Callable[[Any], object]) -> None:
        self._reader = reader
        self._take = take
        nvml = reader.nvml
        self._before, self._after = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
        self._taken: float | None = None
        self.missing: dict[str, int] = {}

    def read(self, now: float, row: dict[str, Any]) -> None:
        """Take a sample, and put the means since the one before into the row. Raises NVMLError."""
        if self._taken is not None and now - self._taken <= SHORTEST_S:
            return
        before, self._taken = self._taken, None  # after an error a new chain begins
        self._take(self._after)
        if before is not None:
            self.missing = self._reader.compare(self._before, self._after, row)
        self._before, self._after = self._after, self._before
        self._taken = now

    def close(self) -> None:
        """Free both samples."""
        for sample in (self._before, self._after):
            self._reader.nvml.nvmlGpmSampleFree(sample)


def supported(nvml: Any, handle: Any) -> bool:
    """Whether the GPU has GPM. Raises NVMLError."""
    return bool(nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)


def readable(nvml: Any) -> bool:
    """Whether the binding's structure is the one that is unpacked here."""
    return ctypes.sizeof(nvml.c_nvmlGpmMetric_t) == _METRIC.size
