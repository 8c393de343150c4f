"""Many fields by one call: an array that is allocated once, and one unpacking of its bytes.

nvidia-ml-py's own wrapper makes the array anew and reads it attribute by attribute, at 15 times the cost.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from runtide._sampler._nvml_calls import Field, pointer
from runtide._sampler._nvml_policy import NOT_FILLED, Guard, Reports, refuse

_CALL = "nvmlDeviceGetFieldValues"
# nvmlFieldValue_t: field, scope, time in µs, latency in µs, type of the value, return code, and the value's 8 bytes.
_ENTRY = struct.Struct("<IIqqIiQ")
_DOUBLE, _UNSIGNED = 0, 3
_NOT_AVAILABLE = (1 << 64) - 1


def _signed(bits: int, width: int) -> int:
    bits &= (1 << width) - 1
    return bits - (1 << width) if bits >> (width - 1) else bits


# By nvmlValueType_t: a value is only as many bytes as its type has; what is behind them is left from before.
DECODE: tuple[Callable[[int], float], ...] = (
    lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0],
    lambda bits: bits & 0xFFFFFFFF,
    (lambda bits: bits & 0xFFFFFFFF) if sys.platform == "win32" else (lambda bits: bits),
    lambda bits: bits,
    lambda bits: _signed(bits, 64),
    lambda bits: _signed(bits, 32),
    lambda bits: bits & 0xFFFF,
)


class FieldBatch:
    """Reads fields of one GPU by one call, and leaves out for a while those that it does not report."""

    def __init__(self, nvml: Any, device: str, fields: Sequence[Field], reports: Reports) -> None:
        self._nvml = nvml
        self._device = device
        self._reports = reports
        self._whole = Guard([field.column for field in fields])
        self._guards = [(field, Guard((field.column,))) for field in fields]
        self._call = pointer(nvml, _CALL) if ctypes.sizeof(nvml.c_nvmlFieldValue_t) == _ENTRY.size else None
        self._again = float("inf")
        self._added_up = len({field.column for field in fields}) < len(fields)
        self._ask_for(self._guards)

    def _ask_for(self, active: list[tuple[Field, Guard]]) -> None:
        self._active = active
        self._ids = [(field.id, field.scope) for field, _ in active]
        self._array = (self._nvml.c_nvmlFieldValue_t * len(active))()
        for entry, (number, scope) in zip(self._array, self._ids, strict=True):
            entry.fieldId, entry.scopeId = number, scope
        self._reference = ctypes.byref(self._array)
        self._bytes = memoryview(self._array).cast("B")
        self._count = ctypes.c_int(len(active))

    def read(self, handle: Any, now: float, row: dict[str, Any]) -> None:
        """Put what the fields say into the row.

        Raises:
            NvmlGone, NvmlStale: Nothing more can be asked of this GPU now.
        """
        if now >= self._again:
            self._choose(now)
        if not self._active or now < self._whole.until:
            return
        try:
            entries = self._ask(handle)
        except self._nvml.NVMLError as error:
            refuse(self._whole, now, error.value, self._device, _CALL, self._reports)
            return
        if not self._whole.worked:
            self._whole.succeeded()
        missing = False
        for (field, guard), (_, _, at, _, kind, code, bits) in zip(self._active, entries, strict=True):
            # Without a type and a time it was not filled; all ones stand for no value.
            if code == 0 and not (kind == _DOUBLE and at == 0) and bits != _NOT_AVAILABLE:
                value = bits if kind == _UNSIGNED else int(DECODE[kind](bits)) if kind < len(DECODE) else bits
                if field.positive and value == 0:
                    guard.code, guard.worked = NOT_FILLED, False
                    continue
                if field.step != 1:
                    value = (value + field.step // 2) // field.step * field.step
                if not guard.worked:
                    guard.succeeded()
                column = field.column
                row[column] = row.get(column, 0) + value if self._added_up else value
            else:
                missing = True
                guard.worked = False  # a field is asked for by number, not by a handle that may be stale
                refuse(guard, now, code or NOT_FILLED, self._device, _CALL, self._reports)
        if missing:
            self._choose(now)

    def _ask(self, handle: Any) -> Iterable[tuple[int, ...]]:
        if self._call is not None:
            code = self._call(handle, self._count, self._reference)
            if code != 0:
                raise self._nvml.NVMLError(code)
            return _ENTRY.iter_unpack(self._bytes)
        return [
            (v.fieldId, v.scopeId, v.timestamp, v.latencyUsec, v.valueType, v.nvmlReturn, v.value.ullVal)
            for v in self._nvml.nvmlDeviceGetFieldValues(handle, self._ids)
        ]

    def states(self) -> list[Guard]:
        """How each field, or all of them together, last answered."""
        return [self._whole] if self._whole.code is not None else [guard for _, guard in self._guards]

    def _choose(self, now: float) -> None:
        """Ask from now on for the fields that answer, and for those whose time to be tried again has come."""
        waiting = [guard.until for _, guard in self._guards if guard.code is not None and guard.until > now]
        self._again = min(waiting, default=float("inf"))
        self._ask_for([(f, guard) for f, guard in self._guards if guard.code is None or guard.until <= now])
