"""From log() to rows: how many points a second this machine carries, and what each stage costs.

    python benchmarks/throughput.py [--keys N ...] [--rate POINTS] [--seconds N] [--producers N]

Real producers, a real consumer and a real store, all views and merges on. Producers log at a fixed rate, since the SDK
drops rather than waits when asked for more than the machine has. Values are float32-born noise that never repeats: data
that repeats compresses better and makes the store look cheaper. `log to rows` is every row in the store divided by the
time from the first producer's start until the last row can be queried; CPU is core-seconds per million points.
"""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

DEFAULT_RATE = {1000: 1_200_000, 3: 600_000}


def produce(keys: int, rate: float, seconds: float) -> None:
    """Log noise at a rate (points a second); prints what was logged and the CPU seconds it took."""
    import numpy as np

    import runtide

    names = [f"layer{number}/gradient_norm" for number in range(keys)]
    run = runtide.init(project="throughput")
    random = np.random.default_rng(int.from_bytes(os.urandom(8)))
    spent = logged = 0.0
    block = max(1, 50_000 // keys)
    begin = time.perf_counter()
    cpu = time.process_time()
    while (now := time.perf_counter()) - begin < seconds:
        if logged > rate * (now - begin):
            time.sleep(0.005)
            continue
        # Making the noise is not the SDK's cost.
        before = time.thread_time()
        noise = random.standard_normal((block, keys)).astype(np.float32).tolist()
        steps = [dict(zip(names, values, strict=True)) for values in noise]
        spent += time.thread_time() - before
        for step in steps:
            run.log(step)
        logged += block * keys
    run.finish()
    print(json.dumps({"logged": logged, "cpu": time.process_time() - cpu - spent}))


class Stack:
    """A store and a consumer on a folder that is deleted at the end."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.password = secrets.token_hex(8)
        url = f"http://default:{self.password}@127.0.0.1:{self.port}/runtide"
        self.environment = {**os.environ, "RUNTIDE_DIR": str(folder), "RUNTIDE_CLICKHOUSE_URL": url}
        self.spool = folder / "spool"
        store = ["runtide_stack.store", "--dir", str(folder / "store"), "--port", str(self.port)]
        self.store = self._start(*store, RUNTIDE_STORE_PASSWORD=self.password)
        self.consumer = self._start("runtide_consumers", "consume", stdout=subprocess.PIPE)
        assert self.consumer.stdout is not None
        if self.consumer.stdout.readline() != b"ready\n":
            raise SystemExit("the consumer did not start")

    def _start(self, *module: str, stdout: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *module]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, env={**self.environment, **environment}, stdout=stdout, stderr=quiet)

    def ask(self, sql: str) -> list[str]:
        url = f"http://127.0.0.1:{self.port}/?user=default&password={self.password}&database=runtide"
        with urllib.request.urlopen(url, sql.encode(), timeout=300) as answer:
            return answer.read().decode().split("\t")

    def stop(self) -> None:
        for process in (self.consumer, self.store):
            process.send_signal(signal.SIGTERM)
            process.wait()
        assert self.consumer.stdout is not None
        self.consumer.stdout.close()


def _cpu(process: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def measure(keys: int, rate: float, seconds: float, producers: int) -> dict[str, float]:
    """One round: producers, until the spool is empty and all rows are there."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            before = {name: _cpu(process) for name, process in (("consumer", stack.consumer), ("store", stack.store))}
            options = ["--produce", "--keys", str(keys), "--rate", str(rate / producers), "--seconds", str(seconds)]
            command = [sys.executable, __file__, *options]
            began = time.perf_counter()
            running = [
                subprocess.Popen(command, env=stack.environment, stdout=subprocess.PIPE) for _ in range(producers)
            ]
            results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
            produced = time.perf_counter()
            while any(stack.spool.glob("*/*.seg")):
                time.sleep(0.05)
            ended = time.perf_counter()
            spent = {name: _cpu(getattr(stack, name)) - value for name, value in before.items()}
            rows, size, parts = (float(value) for value in stack.ask(
                "SELECT (SELECT count() FROM metrics), sum(data_compressed_bytes), count() FROM system.parts "
                "WHERE database = 'runtide' AND table = 'metrics' AND active FORMAT TSV"))  # fmt: skip
        finally:
            stack.stop()
    million = rows / 1e6
    return {
        "keys": keys,
        "logged": sum(result["logged"] for result in results),
        "rows": rows,
        "log to rows, points/s": rows / (ended - began),
        "behind at the end, s": ended - produced,
        "producer": sum(result["cpu"] for result in results) / million,
        "consumer": spent["consumer"] / million,
        "store": spent["store"] / million,
        "bytes/point": size / rows,
        "parts": parts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, nargs="+", default=list(DEFAULT_RATE), help="keys a step; one round each")
    parser.add_argument("--rate", type=float, help="points a second, all producers together")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the producers log")
    parser.add_argument("--producers", type=int, default=2)
    parser.add_argument("--produce", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.produce:
        produce(options.keys[0], options.rate, options.seconds)
        return
    for keys in options.keys:
        rate = options.rate or DEFAULT_RATE.get(keys, 600_000)
        for name, value in measure(keys, rate, options.seconds, options.producers).items():
            print(f"{name:>24}  {value:>14,.0f}" if value >= 100 else f"{name:>24}  {value:>14.3f}")
        print()


if __name__ == "__main__":
    main()
