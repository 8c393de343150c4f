"""Samples that the driver takes by itself, some seven a second: what happened between two ticks."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

from runtide._sampler._nvml_calls import pointer
from runtide._sampler._nvml_fields import DECODE
from runtide._sampler._nvml_policy import INSUFFICIENT_SIZE, NOT_FOUND

_SAMPLE = struct.Struct("<QQ")
_MOST = 8192

# Source: nvmlSamplingType_t. The columns of the times and of the values.
KINDS = {
    1: ("util_history_us", "util_history_pct", 1),
    0: ("power_history_us", "power_history_mw", 10),
}


class History:
    """The driver's ring of one kind of sample of one GPU. It wraps after 10 s, and is read every 5.

    nvidia-ml-py's wrapper calls twice, for the size and for the data; each call costs the driver the same.

    Args:
        nvml: The binding.
        kind: nvmlSamplingType_t.
        since: Microseconds since 1970: samples before are another run's.
    """

    def __init__(self, nvml: Any, kind: int, since: int) -> None:
        self._nvml = nvml
        self._kind = kind
        self._times, self._values, self._step = KINDS[kind]
        self._last = since
        self._call = pointer(nvml, "nvmlDeviceGetSamples")
        self._make(128)

    def _make(self, room: int) -> None:
        self._room = room
        self._array = (self._nvml.c_nvmlSample_t * room)()
        self._bytes = memoryview(self._array).cast("B")

    def read(self, handle: Any, row: dict[str, Any]) -> None:
        """Put the samples since the last time into the row. Raises NVMLError."""
        try:
            kind, samples = self._ask(handle)
        except self._nvml.NVMLError as error:
            if error.value == NOT_FOUND:  # nothing new
                return
            if error.value == INSUFFICIENT_SIZE and self._room < _MOST:
                self._make(self._room * 2)
                return
            raise
        decode = DECODE[kind]
        new = sorted((at, bits) for at, bits in samples if at > self._last)
        if new:
            self._last = new[-1][0]
            step = self._step
            row[self._times] = [at for at, _ in new]
            row[self._values] = [(int(decode(bits)) + step // 2) // step * step for _, bits in new]

    def _ask(self, handle: Any) -> tuple[int, list[tuple[int, int]]]:
        if self._call is None:
            kind, samples = self._nvml.nvmlDeviceGetSamples(handle, self._kind, self._last)
            return kind, [(sample.timeStamp, sample.sampleValue.ullVal) for sample in samples]
        kind, count = ctypes.c_int(), ctypes.c_uint(self._room)
        code = self._call(
            handle, self._kind, ctypes.c_ulonglong(self._last), ctypes.byref(kind), ctypes.byref(count), self._array
        )
        if code != 0:
            raise self._nvml.NVMLError(code)
        used = self._bytes[: min(count.value, self._room) * _SAMPLE.size]
        return kind.value, list(_SAMPLE.iter_unpack(used))
