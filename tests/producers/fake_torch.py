"""Stands for the module torch: as much of it as the SDK uses, with a CUDA device that works when it is told to.

A tensor is a flat list. What would make the host wait, or let it read what has not arrived yet, is an assertion error.
`gpu` is the device; test_tensors.py holds everything else against the real module, where that is installed.
"""

import math
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class dtype:
    def __init__(self, size: int) -> None:
        self.itemsize = size


uint8, float32, int64, complex128 = dtype(1), dtype(4), dtype(8), dtype(16)
strided = object()


class Stream:
    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []


class Gpu:
    def __init__(self) -> None:
        self.current = Stream()
        self.capturing = False
        self.broken = ""
        self.events = 0
        # Sizes of the pinned memory that was allocated.
        self.pinned: list[int] = []

    def run(self, stream: Stream | None = None) -> None:
        """Do what is queued."""
        work = (stream or self.current).work
        while work:
            work.pop(0)()


gpu = Gpu()


class Event:
    def __init__(self) -> None:
        gpu.events += 1
        self._done = False
        self._process = os.getpid()

    def record(self, stream: Stream) -> None:
        self._done = False
        stream.work.append(lambda: setattr(self, "_done", True))

    def query(self) -> bool:
        assert os.getpid() == self._process, "there is no device in a forked child"
        if gpu.broken:
            raise RuntimeError(gpu.broken)
        return self._done

    def __del__(self) -> None:
        assert os.getpid() == self._process, "there is no device in a forked child"


class Block:
    """Device memory. Once it is free, its own stream overwrites it, unless another one was recorded as its user."""

    def __init__(self, cells: list[Any]) -> None:
        self.cells = cells
        self.owner = gpu.current
        self.users = {gpu.current}

    def __del__(self) -> None:
        if self.users == {self.owner}:
            cells = self.cells
            self.owner.work.append(lambda: cells.__setitem__(slice(None), ["overwritten"] * len(cells)))


class Tensor:
    layout = strided
    is_quantized = False

    def __init__(self, values: Any, kind: dtype = float32, cuda: bool = True, block: Block | None = None, at: int = 0):
        self.shape = (len(values),) if isinstance(values, list) else ()
        self.dtype = kind
        self.is_cuda = cuda
        self.device = "cuda:0" if cuda else "cpu"
        self._block = block or Block(values if isinstance(values, list) else [values])
        self._at = at

    def detach(self) -> "Tensor":
        return self

    def is_conj(self) -> bool:
        return False

    def resolve_conj(self) -> "Tensor":
        return self

    def is_neg(self) -> bool:
        return False

    def resolve_neg(self) -> "Tensor":
        return self

    def numel(self) -> int:
        return math.prod(self.shape)

    def element_size(self) -> int:
        return self.dtype.itemsize

    def dim(self) -> int:
        return len(self.shape)

    def reshape(self, shape: tuple[()]) -> "Tensor":
        assert self.numel() == 1
        return Tensor(None, self.dtype, self.is_cuda, self._block)

    def view(self, dtype: Any) -> "Tensor":
        count = self.numel() * self.dtype.itemsize // dtype.itemsize
        return Tensor([None] * count, dtype, self.is_cuda, self._block)

    def __getitem__(self, index: int) -> "Tensor":
        return Tensor(None, self.dtype, self.is_cuda, self._block, index * self.dtype.itemsize)

    def copy_(self, other: "Tensor", non_blocking: bool = False) -> "Tensor":
        assert non_blocking and other.is_cuda and not self.is_cuda, "this would wait for the device"
        assert (self.dtype, self.shape) == (other.dtype, other.shape), "the host would convert it too early"
        source, target, first = other._block.cells, self._block.cells, self._at
        gpu.current.work.append(lambda: target.__setitem__(slice(first, first + len(source)), source))
        return self

    def record_stream(self, s: Stream) -> None:
        self._block.users.add(s)

    def item(self) -> Any:
        assert not self.is_cuda, "this would wait for the device"
        assert self.numel() == 1
        return self._block.cells[self._at]

    def tolist(self) -> Any:
        assert not self.is_cuda, "this would wait for the device"
        return list(self._block.cells) if self.shape else self._block.cells[0]


def change(tensor: Tensor, value: float) -> None:
    """Change a tensor in place, on the current stream."""
    cells = tensor._block.cells
    gpu.current.work.append(lambda: cells.__setitem__(slice(None), [value] * len(cells)))


class Parameter(Tensor):
    pass


class inference_mode:
    def __init__(self, mode: bool = True) -> None:
        assert not mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def empty(size: Any, *, dtype: Any, device: str, pin_memory: bool) -> Tensor:
    assert (device, pin_memory) == ("cpu", True)
    cells = [None] * (size if isinstance(size, int) else math.prod(size))
    gpu.pinned.append(len(cells))
    return Tensor(None if size == () else cells, dtype, cuda=False)


def _current_stream(device: Any = None) -> Stream:
    assert device == "cuda:0"
    return gpu.current


nn = SimpleNamespace(Parameter=Parameter)
cuda = SimpleNamespace(Event=Event, current_stream=_current_stream, is_current_stream_capturing=lambda: gpu.capturing)
