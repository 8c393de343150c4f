"""What a GPU is given to do while it is measured. Needs torch, and says so.

    python benchmarks/gpu/work.py full|bursty    works until its input ends

`full` multiplies large bf16 matrices without a pause; `bursty` does so for 0.2 s of every second.
"""

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HAS_TORCH = importlib.util.find_spec("torch") is not None


def cuda() -> Any:
    """Torch, if it has a device; else None."""
    if not HAS_TORCH:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def multiply(torch: Any, size: int = 8192) -> Callable[[], None]:
    """One step of some milliseconds: full load of the tensor cores, and memory taken and given back to the driver."""
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)

    def step() -> None:
        for _ in range(4):
            a @ b
        torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
        torch.cuda.empty_cache()
        torch.cuda.synchronize()

    return step


def launch(torch: Any, kernels: int = 500) -> Callable[[], None]:
    """One step that is bound by Python and by launches: many small kernels."""
    x = torch.zeros(1024, device="cuda")

    def step() -> None:
        for _ in range(kernels):
            x.add_(1.0)
        torch.cuda.synchronize()

    return step


def copy_to_device(torch: Any, bytes_: int) -> Callable[[], None]:
    """One copy of so many bytes from pinned memory over the bus."""
    source = torch.empty(bytes_, dtype=torch.uint8, pin_memory=True)
    target = torch.empty(bytes_, dtype=torch.uint8, device="cuda")

    def step() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return step


@contextmanager
def working(kind: str) -> Iterator[None]:
    """A process that works beside; `idle` is none."""
    if kind == "idle":
        yield
        return
    process = subprocess.Popen([sys.executable, __file__, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()  # it has begun
        time.sleep(2)
        yield
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def main() -> None:
    torch = cuda()
    step = multiply(torch)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    step()
    print("begun", flush=True)
    while not ended.is_set():
        begun = time.monotonic()
        while time.monotonic() - begun < 0.2:
            step()
        if sys.argv[1] == "bursty":
            time.sleep(0.8)


if __name__ == "__main__":
    main()
