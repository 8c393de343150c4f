"""Stands in for nvidia-ml-py by what a recorded trace says that a driver answered."""

import ctypes
import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml


class Replay:
    """Answers each call as the trace has it, in the trace's order; the last answer is repeated.

    Args:
        path: A trace that `Recording` has written.
    """

    def __init__(self, path: Path) -> None:
        head, *lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert head["trace"] == 1
        self.wall: float = head["wall"]
        self._answers: dict[tuple[str, str | None, str], deque[dict[str, Any]]] = {}
        for line in lines:
            key = (line["func"], line["gpu"], json.dumps(line["args"]))
            self._answers.setdefault(key, deque()).append(line)
        self._sampled: dict[int, str] = {}
        self._buffers = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(pynvml, name)
        if name.startswith("_"):
            raise AttributeError(name)
        if not name.startswith("nvml") or isinstance(found, type) or not callable(found):
            return found
        return self._player(name)

    def nvmlGpmSampleAlloc(self) -> Any:
        self._buffers += 1
        return ctypes.cast(ctypes.c_void_p(0x10000 + 64 * self._buffers), pynvml.c_nvmlGpmSample_t)

    def nvmlGpmSampleFree(self, gpmSample: Any) -> None:
        pass

    def nvmlEventSetFree(self, eventSet: Any) -> None:
        pass

    def _player(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            device = next((self._label(a) for a in args if isinstance(a, pynvml.c_nvmlDevice_t)), None)
            plain = [a for a in (*args, *options.values()) if not isinstance(a, (ctypes._Pointer, ctypes.Structure))]
            if name in ("nvmlGpmSampleGet", "nvmlGpmMigSampleGet"):
                self._sampled[self._address(args[-1])] = f"{device}/{args[1]}" if len(args) == 3 else str(device)
            elif name == "nvmlGpmMetricsGet":
                device = self._sampled[self._address(args[0].sample2)]
            answers = self._answers.get((name, device, json.dumps(plain)))
            if answers is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            answer = answers.popleft() if len(answers) > 1 else answers[0]
            if answer["rc"] == pynvml.NVML_ERROR_TIMEOUT:
                time.sleep(0.01)  # or the thread that waits for events would spin
            if answer["rc"]:
                raise pynvml.NVMLError(answer["rc"])
            if name == "nvmlGpmMetricsGet":
                for metric, (number, code, value) in zip(args[0].metrics, answer["value"], strict=False):
                    metric.metricId, metric.nvmlReturn, metric.value = number, code, value
            return self._object(answer["value"])

        return call

    def _address(self, pointer: Any) -> int:
        return ctypes.cast(pointer, ctypes.c_void_p).value or 0

    def _label(self, handle: Any) -> str:
        return f"device{self._address(handle) // 4096 - 1}"

    def _object(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("device") and value[6:].isdigit():
            return ctypes.cast(ctypes.c_void_p(4096 * (int(value[6:]) + 1)), pynvml.c_nvmlDevice_t)
        if isinstance(value, dict):
            return SimpleNamespace(**{name: self._object(one) for name, one in value.items()})
        return [self._object(one) for one in value] if isinstance(value, list) else value
