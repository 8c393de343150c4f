"""What a driver answered, written down: a test plays it back where there is no GPU.

A file of JSON lines. The first says when it began; each other one is a call: t (seconds since then), gpu, func, args,
rc (return code of NVML) and value. What would tell which machine it was is replaced: UUIDs, serials, bus ids and
process ids become numbers in the order of their appearance.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_UUID = re.compile(r"(GPU|MIG)-[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_BUS = re.compile(r"\b[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}(?:\.[0-9])?\b")
# Structures and handles that only carry something through: not written.
_UNWRITTEN = frozenset({"nvmlGpmSampleAlloc", "nvmlGpmSampleFree", "nvmlEventSetFree", "nvmlErrorString"})


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


class Recording:
    """The binding of NVML with a pen: every call goes through and is written down.

    Thread-safe. The binding's private door to the C functions stays shut, so that every call passes here.

    Args:
        nvml: The binding.
        path: File to write.
        wall: Seconds since 1970.
        ended: Told of the error when the file takes no more; the calls go on.
    """

    def __init__(self, nvml: Any, path: Path, wall: Callable[[], float], ended: Callable[[OSError], None]) -> None:
        self._nvml = nvml
        self._wall = wall
        self._start = wall()
        self._lock = threading.Lock()
        self._ended = ended
        self._out = path.open("w", encoding="utf-8")
        self._out.write(json.dumps({"trace": 1, "wall": self._start}) + "\n")
        self._handles: dict[int, str] = {}
        self._sampled: dict[int, str] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._wrapped: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._nvml, name)
        if not name.startswith("nvml") or isinstance(found, type) or not callable(found):
            return found
        if name not in self._wrapped:
            self._wrapped[name] = self._through(name, found)
        return self._wrapped[name]

    def close(self) -> None:
        """Finish the file."""
        with self._lock, contextlib.suppress(OSError):
            self._out.close()

    def _through(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            begun = self._wall()
            try:
                value = function(*args, **options)
            except self._nvml.NVMLError as error:
                self._write(name, begun, args, options, error.value, None)
                raise
            self._write(name, begun, args, options, 0, value)
            return value

        return call

    def _write(self, name: str, begun: float, args: Any, options: Any, code: int, value: Any) -> None:
        if name in _UNWRITTEN:
            return
        with self._lock:
            if self._out.closed:
                return
            device = next((self._label(a) for a in args if self._is_device(a)), None)
            if name in ("nvmlGpmSampleGet", "nvmlGpmMigSampleGet"):
                self._sampled[_address(args[-1])] = f"{device}/{args[1]}" if len(args) == 3 else str(device)
                value = None
            elif name == "nvmlGpmMetricsGet":
                device = self._sampled.get(_address(args[0].sample2))
                if code == 0:
                    value = [[m.metricId, m.nvmlReturn, m.value] for m in args[0].metrics[: args[0].numMetrics]]
            line = {
                "t": round(begun - self._start, 6),
                "gpu": device,
                "func": name,
                "args": [self._plain(name, a) for a in (*args, *options.values()) if not self._is_carrier(a)],
                "rc": code,
                "value": self._plain(name, value, answer=True),
            }
            try:
                self._out.write(json.dumps(line) + "\n")
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._out.close()
                self._ended(error)

    def _is_device(self, value: Any) -> bool:
        return isinstance(value, self._nvml.c_nvmlDevice_t)

    def _is_carrier(self, value: Any) -> bool:
        return isinstance(value, (ctypes.Structure, ctypes._Pointer)) or self._is_device(value)

    def _label(self, handle: Any) -> str:
        return self._handles.setdefault(_address(handle), f"device{len(self._handles)}")

    def _alias(self, kind: str, text: str) -> str:
        same = [alias for (known, _), alias in self._names.items() if known == kind]
        if (kind, text) not in self._names:
            self._names[kind, text] = self._numbered(kind, len(same) + 1)
        return self._names[kind, text]

    @staticmethod
    def _numbered(kind: str, number: int) -> str:
        if kind in ("GPU", "MIG"):
            return f"{kind}-00000000-0000-0000-0000-{number:012d}"
        return f"00000000:{number:02X}:00.0" if kind == "bus" else str(number)

    def _scrub(self, text: str) -> str:
        text = _UUID.sub(lambda found: self._alias(found[1], found[0]), text)
        return _BUS.sub(lambda found: self._alias("bus", found[0]), text)

    def _plain(self, name: str, value: Any, answer: bool = False) -> Any:
        """A value as JSON has it, without what tells which machine it was."""
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, str):
            return self._alias("serial", value) if name == "nvmlDeviceGetSerial" else self._scrub(value)
        if value is None or isinstance(value, (int, float)):
            return value
        if self._is_device(value):
            return self._label(value)
        if isinstance(value, ctypes._Pointer):
            return None
        if name.startswith("nvmlDeviceGetPciInfo"):
            return {"busId": self._scrub(value.busId if isinstance(value.busId, str) else value.busId.decode())}
        if isinstance(value, ctypes.Union):
            return {"ullVal": value.ullVal}
        fields = getattr(value, "_fields_", None)
        if fields is not None and not isinstance(value, ctypes.Array):
            return {field[0]: self._plain(name, getattr(value, field[0])) for field in fields}
        if isinstance(value, (list, tuple, ctypes.Array)):
            return [self._plain(name, one) for one in value]
        # nvidia-ml-py's friendly objects: of processes, whose ids and memory stay out.
        return {"pid": int(self._alias("pid", str(value.pid)))} if hasattr(value, "pid") else None
