"""From log() to rows: how many points a second this machine carries, and what each stage costs.

    python benchmarks/throughput.py [--kafka] [--keys N ...] [--rate POINTS] [--seconds N] [--producers N]

Real producers, a real consumer and a real store, all views and merges on; by the spool, or with --kafka through a
broker on the same machine (`make kafka`). Producers log at a fixed rate, since the SDK drops rather than waits when
asked for more than the machine has. Values are float32-born noise that never repeats: data that repeats compresses
better and makes the store look cheaper. `log to rows` is every row in the store divided by the time from the first
producer's first call until the last row can be queried; CPU is core-seconds per million points. `fresh` is, over all
points of one key but those of the first ten seconds, in which processes start and find one another, the time from
log() to the ledger's row, which is written after the points can be queried.
"""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "deploy" / "kafka"))
from broker import Broker, free_port

DEFAULT_RATE = {1000: 1_200_000, 3: 600_000}


def produce(keys: int, rate: float, seconds: float) -> None:
    """Log noise at a rate (points a second); prints what was logged and the CPU seconds it took."""
    import numpy as np

    import runtide

    names = [f"layer{number}/gradient_norm" for number in range(keys)]
    run = runtide.init(project="throughput")
    random = np.random.default_rng(int.from_bytes(os.urandom(8)))
    spent, logged = 0.0, 0
    block = max(1, int(min(50_000, rate / 50)) // keys)
    begin, began = time.perf_counter(), time.time()
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
    print(json.dumps({"logged": logged, "began": began, "cpu": time.process_time() - cpu - spent}))


class Stack:
    """Perhaps a broker, and a store and a consumer once `start` was called, on a folder that is deleted at the end."""

    def __init__(self, folder: Path, kafka: bool, partitions: int) -> None:
        self.port, self.monitor = free_port(), free_port()
        self.folder = folder
        self.password = secrets.token_hex(8)
        url = f"http://default:{self.password}@127.0.0.1:{self.port}/runtide"
        self.environment = {
            **os.environ, "RUNTIDE_DIR": str(folder), "RUNTIDE_CLICKHOUSE_URL": url, "RUNTIDE_SILENT": "1"
        }  # fmt: skip
        self.broker = Broker(folder / "kafka") if kafka else None
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        if self.broker:
            self.environment["RUNTIDE_KAFKA"] = self.broker.address
            topics = [sys.executable, "-m", "runtide", "topics", "--partitions", str(partitions)]
            subprocess.run(topics, env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start the store and the consumer."""
        store = ["runtide_stack.store", "--dir", str(self.folder / "store"), "--port", str(self.port)]
        self.started["store"] = self._start(*store, RUNTIDE_STORE_PASSWORD=self.password)
        arguments = ["consume", "--metrics-port", str(self.monitor), *(["--kafka"] if self.broker else [])]
        consumer = self.started["consumer"] = self._start("runtide_consumers", *arguments, stdout=subprocess.PIPE)
        assert consumer.stdout is not None
        if consumer.stdout.readline() != b"ready\n":
            raise SystemExit(f"the consumer did not start: {(self.folder / 'stack.log').read_text()}")

    def _start(self, *module: str, stdout: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *module]
        with (self.folder / "stack.log").open("ab") as log:
            return subprocess.Popen(command, env={**self.environment, **environment}, stdout=stdout or log, stderr=log)

    def rows(self, sql: str) -> list[list[str]]:
        """The rows of an answer in the format TSV."""
        url = f"http://127.0.0.1:{self.port}/?user=default&password={self.password}&database=runtide"
        try:
            answer = urllib.request.urlopen(url, sql.encode(), timeout=300)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{sql}: {error.read().decode()}") from error
        with answer:
            return [line.split("\t") for line in answer.read().decode().splitlines()]

    def ask(self, sql: str) -> list[str]:
        """The only row of an answer."""
        return self.rows(sql)[0]

    def wait(self, points: int, seconds: float = 300) -> int:
        """Wait until so many points can be queried; returns how many there are, at the latest after so long."""
        deadline = time.monotonic() + seconds
        while (rows := int(self.ask("SELECT count() FROM metrics")[0])) < points and time.monotonic() < deadline:
            time.sleep(0.05)
        return rows

    def processes(self) -> dict[str, psutil.Process]:
        """The process of each stage."""
        stages = self.started | ({"broker": self.broker.process} if self.broker else {})
        return {name: psutil.Process(process.pid) for name, process in stages.items()}

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU by stage so far."""
        return {name: cpu(process) for name, process in self.processes().items()}

    def fresh(self, condition: str) -> list[float]:
        """Median, 99th percentile and maximum of the seconds from log() to the ledger, over points of one key."""
        return [float(value) for value in self.ask(_FRESH.format(condition=condition))]

    def lag(self) -> float:
        """Messages of the topic (with a spool: bytes) that the consumer has not read yet."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return next(
            float(line.split()[1]) for line in lines if line.startswith('runtide_consumer_lag{stream="metrics"}')
        )

    def wire(self, stream: str = "metrics") -> int:
        """Bytes of a stream's topic in the broker's log, 0 without a broker."""
        return sum(path.stat().st_size for path in self.folder.glob(f"kafka/logs/runtide.{stream}-*/*.log"))

    def stop(self) -> None:
        for process in reversed(self.started.values()):
            process.send_signal(signal.SIGTERM)
            process.communicate()
        if self.broker:
            self.broker.stop()


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


_FRESH = """
SELECT quantile(0.5)(age), quantile(0.99)(age), max(age) FROM
(
    SELECT (toUnixTimestamp64Milli(l.inserted) - toUnixTimestamp64Milli(m.time)) / 1000 AS age
    FROM (SELECT writer, seq, time, min(time) OVER () AS start FROM metrics WHERE key = 'layer0/gradient_norm') AS m
    ASOF JOIN (SELECT writer, first_seq, last_seq, inserted FROM ledger WHERE stream = 'metrics' AND records > 0) AS l
    ON m.writer = l.writer AND m.seq >= l.first_seq
    WHERE {condition}
)
FORMAT TSV
"""


def measure(keys: int, rate: float, options: argparse.Namespace) -> dict[str, float]:
    """One round: producers, until all rows are there."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), options.kafka, options.partitions)
        try:
            stack.start()
            before = stack.cpu()
            arguments = [
                "--keys",
                str(keys),
                "--rate",
                str(rate / options.producers),
                "--seconds",
                str(options.seconds),
            ]
            command = [sys.executable, __file__, "--produce", *arguments]
            running = [
                subprocess.Popen(command, env=stack.environment, stdout=subprocess.PIPE)
                for _ in range(options.producers)
            ]
            results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
            began = min(result["began"] for result in results)
            produced, logged = time.time(), sum(result["logged"] for result in results)
            rows = stack.wait(logged)
            ended = time.time()
            spent = {name: value - before[name] for name, value in stack.cpu().items()}
            size, parts = (float(value) for value in stack.ask(
                "SELECT sum(data_compressed_bytes), count() FROM system.parts "
                "WHERE database = 'runtide' AND table = 'metrics' AND active FORMAT TSV"))  # fmt: skip
            median, late, latest = stack.fresh("m.time > m.start + INTERVAL 10 SECOND")
            wire = stack.wire()
        finally:
            stack.stop()
    spent = {"producer": sum(result["cpu"] for result in results), **spent}
    return {
        "keys": keys,
        "logged": logged,
        "rows": rows,
        "log to rows, points/s": rows / (ended - began),
        "behind at the end, s": ended - produced,
        **{f"{name}, core-s/M": value / rows * 1e6 for name, value in spent.items()},
        "all, core-s/M": sum(spent.values()) / rows * 1e6,
        "fresh, median, s": median,
        "fresh, p99, s": late,
        "fresh, max, s": latest,
        "wire, bytes/point": wire / rows,
        "stored, bytes/point": size / rows,
        "parts": parts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", action="store_true", help="through a broker on this machine")
    parser.add_argument("--partitions", type=int, default=4, help="of the topic (default: %(default)s)")
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
        for name, value in measure(keys, rate, options).items():
            print(f"{name:>24}  {value:>14,.0f}" if value >= 100 else f"{name:>24}  {value:>14.3f}")
        print()


if __name__ == "__main__":
    main()
