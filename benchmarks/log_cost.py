"""What one call of log() costs the training loop, and what the sender behind it costs.

    python benchmarks/log_cost.py [--calls N] [--rounds N]

Rounds are interleaved, so that a busy minute of the machine hits all variants alike. `above the loop` is the figure
minus the empty loop's of the same round; the sender is on and writes to a temporary folder. With wandb installed, it
is measured offline as well.
"""

import argparse
import gc
import importlib.util
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Log = Callable[[dict[str, float]], object]
NARROW = {"loss": 0.25, "acc": 0.5, "lr": 0.001}
WIDE = {f"layer{number}/gradient_norm": number * 0.1 for number in range(1000)}


def measure(log: Log, data: dict[str, float], calls: int, pause: float) -> list[float]:
    """Microseconds of each call."""
    clock = time.perf_counter_ns
    taken = [0] * calls
    for position in range(calls):
        begin = clock()
        log(data)
        taken[position] = clock() - begin
        if pause:
            time.sleep(pause)
    return sorted(value / 1000 for value in taken)


def loop(data: dict[str, float]) -> None:
    """Nothing: the cost of calling and of reading the clock."""


@contextmanager
def runtide_log() -> Iterator[Log]:
    import runtide

    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(RUNTIDE_DIR=folder, RUNTIDE_SILENT="1")
        with runtide.init(project="benchmark") as run:
            yield runtide.log
            run.flush()
            if run.dropped:
                print(f"runtide dropped {run.dropped}")
        runtide.finish()


@contextmanager
def wandb_log() -> Iterator[Log]:
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        settings = wandb.Settings(silent=True)
        yield wandb.init(project="benchmark", mode="offline", dir=folder, settings=settings).log
        wandb.finish()


@contextmanager
def empty() -> Iterator[Log]:
    yield loop


def sender_seconds() -> float:
    """CPU seconds that the sender's thread has had (Linux)."""
    for thread in threading.enumerate():
        if thread.name == "runtide-sender" and thread.native_id:
            with open(f"/proc/self/task/{thread.native_id}/schedstat") as file:
                return int(file.read().split()[0]) / 1e9
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=100_000, help="narrow calls a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between calls (default: %(default)s)")
    args = parser.parse_args()
    few = max(1, args.calls // 20)
    variants = [
        ("empty loop", empty, NARROW, args.calls),
        ("runtide, 3 keys", runtide_log, NARROW, args.calls),
        ("runtide, 1,000 keys", runtide_log, WIDE, few),
    ]
    if importlib.util.find_spec("wandb"):
        variants += [
            ("wandb offline, 3 keys", wandb_log, NARROW, few),
            ("wandb offline, 1,000 keys", wandb_log, WIDE, 200),
        ]
    print(f"{'µs a call':28}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>10}   above the loop:{'p50':>8}{'p99':>9}   sender")
    for _ in range(args.rounds):
        floor = [0.0, 0.0]
        for name, variant, data, calls in variants:
            gc.collect()
            with variant() as log:
                log(data)
                before = sender_seconds()
                taken = measure(log, data, calls, args.pause)
                if name.startswith("runtide"):
                    import runtide

                    assert runtide.run is not None
                    runtide.run.flush(60)
                spent = (sender_seconds() - before) / (calls * len(data)) * 1e6
            p50, p99, p999 = statistics.median(taken), taken[int(calls * 0.99)], taken[int(calls * 0.999)]
            if variant is empty:
                floor = [p50, p99]
            cost = f"{spent:8.3f} s per million points" if spent else ""
            print(
                f"{name:28}{p50:9.2f}{p99:9.2f}{p999:9.2f}{taken[-1]:10.1f}{'':18}"
                f"{p50 - floor[0]:8.2f}{p99 - floor[1]:9.2f}{cost}"
            )


if __name__ == "__main__":
    main()
