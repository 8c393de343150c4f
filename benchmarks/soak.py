"""Hours at a steady rate: does anything grow that should not?

    python benchmarks/soak.py [--seconds N] [--rate POINTS] [--keys N] [--every SECONDS] [--dir FOLDER]

One producer, a broker on this machine (`make kafka`), the consumer and the store, all views and merges on, with
float32-born noise that never repeats. Needs about 10 bytes of disk a point, in a folder that is deleted at the end. A
line every minute:

    points   rows of `metrics` so far, in millions
    parts    active parts of the tables metrics, metric_summary_state and ledger, and of all others together
    MB       resident memory of the processes
    cpu      core-seconds per million points of each process in that minute; the producer's has in it what making the
             noise costs, the last line says how much
    fresh    seconds from log() to the ledger's row, which is written after the points can be queried: median and 99th
             percentile over the points of one key that arrived in that minute
    lag      messages of the topic that the consumer had not read

At the end, the medians of the first quarter of the lines against those of the last.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from throughput import Stack, cpu

_PARTS = """
SELECT countIf(table = 'metrics'), countIf(table = 'metric_summary_state'), countIf(table = 'ledger'),
    count() - countIf(table IN ('metrics', 'metric_summary_state', 'ledger'))
FROM system.parts WHERE database = 'runtide' AND active FORMAT TSV
"""
_TABLES = ("metrics", "summary", "ledger", "others")
_STAGES = ("producer", "broker", "consumer", "store")
_GROUPS = (
    ("", ("s", "points")),
    ("parts", _TABLES),
    ("MB", _STAGES),
    ("cpu", _STAGES),
    ("fresh", ("p50", "p99")),
    ("", ("lag",)),
)
_WIDTH = 9


class Watch:
    """Takes the lines.

    Args:
        stack: What is watched.
        producer: The process that logs.
    """

    def __init__(self, stack: Stack, producer: psutil.Process) -> None:
        self._stack = stack
        self._processes = {"producer": producer, **stack.processes()}
        self._began = self._since = time.time()
        self._rows = 0
        self._cpu = self._seconds()

    def line(self) -> list[float]:
        """What happened since the last line, in the order of _GROUPS."""
        now, spent = time.time(), self._seconds()
        rows = int(self._stack.ask("SELECT count() FROM metrics")[0])
        million = max(1, rows - self._rows) / 1e6
        median, late, _ = self._stack.fresh(
            f"m.seq <= l.last_seq AND toUnixTimestamp64Milli(l.inserted) BETWEEN {self._since * 1000:.0f} "
            f"AND {now * 1000:.0f}"
        )
        values = [now - self._began, rows / 1e6, *map(float, self._stack.ask(_PARTS))]
        values += [self._processes[stage].memory_info().rss / 1e6 for stage in _STAGES]
        values += [(spent[stage] - self._cpu[stage]) / million for stage in _STAGES]
        self._since, self._rows, self._cpu = now, rows, spent
        return [*values, median, late, self._stack.lag()]

    def _seconds(self) -> dict[str, float]:
        return {name: cpu(process) for name, process in self._processes.items()}


def soak(options: argparse.Namespace) -> None:
    """Produce, watch, and compare the first quarter with the last."""
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        stack = Stack(Path(folder), kafka=True, partitions=4)
        script = str(Path(__file__).with_name("throughput.py"))
        arguments = ["--keys", str(options.keys), "--rate", str(options.rate), "--seconds", str(options.seconds + 5)]
        command = [sys.executable, script, "--produce", *arguments]
        try:
            stack.start()
            with subprocess.Popen(command, env=stack.environment, stdout=subprocess.PIPE) as producer:
                lines = watch(Watch(stack, psutil.Process(producer.pid)), producer, options)
                result = json.loads(producer.communicate()[0].splitlines()[-1])
            rows = stack.wait(result["logged"])
        finally:
            stack.stop()
    compare(lines)
    print(f"{rows:,} of {result['logged']:,} points are there; without making the noise, the producer took "
          f"{result['cpu'] / result['logged'] * 1e6:.3f} core-seconds per million points")  # fmt: skip


def watch(eye: Watch, producer: subprocess.Popen[bytes], options: argparse.Namespace) -> list[list[float]]:
    """A line every so often, as long as the producer logs."""
    print(" " * 9 + "".join(f"{title:>{len(names) * _WIDTH}}" for title, names in _GROUPS))
    print(" " * 9 + "".join(f"{name:>{_WIDTH}}" for _, names in _GROUPS for name in names), flush=True)
    lines: list[list[float]] = []
    begin = time.monotonic()
    for number in range(1, int(options.seconds // options.every) + 1):
        time.sleep(max(0.0, begin + number * options.every - time.monotonic()))
        if producer.poll() is not None:
            break
        lines.append(eye.line())
        show(f"{number}", lines[-1])
    return lines


def compare(lines: list[list[float]]) -> None:
    """Medians of the first quarter of the lines and of the last."""
    few = max(1, len(lines) // 4)
    show("first", [statistics.median(column) for column in zip(*lines[:few], strict=True)])
    show("last", [statistics.median(column) for column in zip(*lines[-few:], strict=True)])


def show(title: str, values: list[float]) -> None:
    cells = (f"{value:>{_WIDTH}.0f}" if value >= 20 else f"{value:>{_WIDTH}.3g}" for value in values)
    print(f"{title:9}" + "".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0, help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200_000, help="points a second (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=1000, help="keys a step (default: %(default)s)")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two lines (default: %(default)s)")
    parser.add_argument("--dir", help="where the temporary folder is made")
    soak(parser.parse_args())


if __name__ == "__main__":
    main()
