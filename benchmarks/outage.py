"""Ten minutes without a broker: what the training loop feels of it, what it costs in memory, and what is lost.

    python benchmarks/outage.py [--outage SECONDS] [--calm SECONDS] [--rate POINTS] [--keys N] [--trace]

Two trainers run at the same time, so that whatever else the machine does hits both, each with a broker of its own
(`make kafka`) and a RUNTIDE_DIR of its own. One broker stays; the other is killed for --outage seconds, with --calm
seconds before and after. Both trainers call log() at a fixed pace; what is logged is made outside of the timed part.

`µs a call` is the wall time of log() alone, by the phase in which it was called; `after` begins when the broker is
started again and has in it the delivery of what waited. MB is resident memory, looked at every second: at the end of
`before`, and how far it rose above that. The latencies go into arrays that are there from the start. At the end a
consumer and a store are started on each broker, and every point that was logged must be a row.

With --trace, only the trainer with the outage runs, under strace, 20 seconds unless told otherwise: what the calling
thread asked of the kernel inside of log(), and the system calls that are for input and output among them.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from throughput import Stack

_PHASES = ("before", "during", "after")
# Seconds that the trainers get to import and to start their run, so that both begin at the same moment.
_HEAD_START = 5.0
# Nothing else has a reason to ask for these.
_ENTER, _LEAVE = os.getpgid, os.getsid
_SYSTEM_CALL = re.compile(r"(\d+) +(\w+)\(")
# What a call to log() may ask for: memory, and its turn to run Python.
_HARMLESS = {"futex", "brk", "mmap", "munmap", "mremap", "madvise", "sched_yield", "gettid", "getpid"}


def train(options: argparse.Namespace) -> None:
    """Log at a pace from a moment on; leaves when each call began and how long it took, in nanoseconds."""
    import runtide

    calls = int(options.seconds * options.rate / options.keys)
    begun, taken = array("q", bytes(8 * calls)), array("q", bytes(8 * calls))
    names = [f"layer{number}/gradient_norm" for number in range(options.keys)]
    clock, pause = time.perf_counter_ns, options.keys / options.rate * 1e9
    # For strace to see: whatever stands between the two was asked for by log().
    enter, leave = (_ENTER, _LEAVE) if options.trace else (int, int)
    run = runtide.init(project="outage")
    for number in range(calls):
        data = {name: random.random() for name in names}
        if (rest := options.at + number * pause - clock()) > 0:
            time.sleep(rest / 1e9)
        enter(0)
        begin = clock()
        run.log(data)
        taken[number] = clock() - begin
        leave(0)
        begun[number] = begin
    with options.results.open("wb") as file:
        begun.tofile(file)
        taken.tofile(file)
    run.finish()
    print(json.dumps({"logged": calls * options.keys, "dropped": run.dropped}))


class Arm:
    """A broker and the trainer that logs to it.

    Args:
        folder: Of everything that belongs to it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.stack = Stack(folder, kafka=True, partitions=4)
        self.results = folder / "calls"
        self.memory: list[tuple[int, float]] = []
        self.trainer: subprocess.Popen[bytes] | None = None

    def start(self, at: int, seconds: float, options: argparse.Namespace, *prefix: str) -> None:
        """Start the trainer, which begins at a moment of perf_counter_ns and logs for so long."""
        arguments = ["--at", str(at), "--seconds", str(seconds), "--results", str(self.results)]
        arguments += ["--rate", str(options.rate), "--keys", str(options.keys), *["--trace"] * options.trace]
        command = [*prefix, sys.executable, __file__, "--train", *arguments]
        self.trainer = subprocess.Popen(command, env=self.stack.environment, stdout=subprocess.PIPE)

    def look(self) -> None:
        """Note the trainer's memory, if it still runs."""
        assert self.trainer is not None
        if self.trainer.poll() is None:
            memory = psutil.Process(self.trainer.pid).memory_info().rss / 1e6
            self.memory.append((time.perf_counter_ns(), memory))

    def end(self) -> str:
        """Wait for the trainer, bring what it delivered into the store, and tell what became of its points."""
        assert self.trainer is not None
        output = self.trainer.communicate()[0]
        if self.trainer.returncode:
            raise SystemExit(f"a trainer ended with {self.trainer.returncode}")
        result = json.loads(output.splitlines()[-1])
        self.stack.start()
        rows = self.stack.wait(result["logged"])
        (distinct,) = self.stack.ask("SELECT uniqExact(run_id, key, step) FROM metrics")
        return (
            f"{result['logged']:,} points logged, {sum(result['dropped'].values()):,} dropped, "
            f"{rows:,} rows in the store, {int(distinct):,} of them distinct"
        )

    def stop(self) -> None:
        """End whatever still runs."""
        if self.trainer is not None and self.trainer.poll() is None:
            trainer = psutil.Process(self.trainer.pid)
            for process in [*trainer.children(recursive=True), trainer]:  # strace would leave its child running
                process.kill()
            self.trainer.communicate()
        self.stack.stop()

    def latencies(self, begin: int, end: int) -> list[float]:
        """Microseconds of the calls that began between two moments, ascending."""
        values = array("q", self.results.read_bytes())
        calls = len(values) // 2
        return sorted(values[calls + number] / 1000 for number in range(calls) if begin <= values[number] < end)

    def growth(self, begin: int, end: int) -> tuple[float, float]:
        """Megabytes at a moment, and by how much they rose above that until another."""
        before = [memory for at, memory in self.memory if at < begin][-1]
        return before, max(memory for at, memory in self.memory if begin <= at < end) - before


@contextmanager
def arms(*names: str) -> Iterator[list[Arm]]:
    """Arms in a temporary folder; everything is stopped at the end."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        made = []
        for name in names:
            made.append(Arm(Path(folder) / name))
            stack.callback(made[-1].stop)
        yield made


def interrupt(arm: Arm, watched: list[Arm], start: int, options: argparse.Namespace) -> list[int]:
    """Kill the arm's broker and start it again, at its time; returns where the phases begin and where the last ends."""
    assert arm.stack.broker is not None
    wait(start + int(options.calm * 1e9), watched)
    arm.stack.broker.kill()
    killed = time.perf_counter_ns()
    wait(killed + int(options.outage * 1e9), watched)
    back = time.perf_counter_ns()
    arm.stack.broker.restart()
    end = start + int((2 * options.calm + options.outage) * 1e9)
    wait(end, watched)
    return [start, killed, back, end]


def wait(moment: int, watched: list[Arm]) -> None:
    """Until a moment of perf_counter_ns, with a look at the memory every second."""
    while (rest := (moment - time.perf_counter_ns()) / 1e9) > 0:
        for arm in watched:
            arm.look()
        time.sleep(min(rest, 1.0))


def measure(options: argparse.Namespace) -> None:
    """Both arms, and the table."""
    with arms("steady", "outage") as (steady, outage):
        start = time.perf_counter_ns() + int(_HEAD_START * 1e9)
        for arm in (steady, outage):
            arm.start(start, 2 * options.calm + options.outage, options)
        moments = interrupt(outage, [steady, outage], start, options)
        fates = {"broker stays": steady.end(), "broker away": outage.end()}
        print(f"{'µs a call':24}{'calls':>9}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>10}")
        for phase, begin, end in zip(_PHASES, moments, moments[1:], strict=False):
            for name, arm in zip(fates, (steady, outage), strict=True):
                taken = arm.latencies(begin, end)
                cells = "".join(f"{taken[int(len(taken) * part)]:9.1f}" for part in (0.5, 0.99, 0.999))
                print(f"{phase + ', ' + name:24}{len(taken):9,}{cells}{taken[-1]:10.1f}")
        for name, arm in zip(fates, (steady, outage), strict=True):
            for phase, end in (("during", moments[2]), ("to the end", moments[3])):
                before, growth = arm.growth(moments[1], end)
                print(f"MB, {name}: {before:.1f} before, {growth:+.1f} at most {phase}")
        for name, fate in fates.items():
            print(f"{name}: {fate}")


def trace(options: argparse.Namespace) -> None:
    """One arm under strace, and what was asked of the kernel inside of log()."""
    if shutil.which("strace") is None:
        raise SystemExit("there is no strace: install it (apt-get install strace)")
    with arms("traced") as (arm,):
        record = arm.stack.folder / "strace"
        start = time.perf_counter_ns() + int(2 * _HEAD_START * 1e9)
        arm.start(start, 2 * options.calm + options.outage, options, "strace", "-f", "-o", str(record))
        interrupt(arm, [], start, options)
        print(arm.end())
        inside, calls = asked(record)
    print(f"{calls:,} calls of log(); system calls of the calling thread inside of them:")
    for name, count in inside.most_common():
        print(f"{name:>16}  {count:8,}  {'' if name in _HARMLESS else 'INPUT OR OUTPUT'}".rstrip())
    print(f"for input or output: {sum(count for name, count in inside.items() if name not in _HARMLESS):,}")


def asked(record: Path) -> tuple[Counter[str], int]:
    """The system calls of the first thread that stand between the marks, and how many pairs of marks there are."""
    counts, calls, inside, first = Counter[str](), 0, False, ""
    with record.open() as lines:
        for match in filter(None, map(_SYSTEM_CALL.match, lines)):
            thread, name = match.groups()
            first = first or thread
            if thread != first:
                continue
            if name in (_ENTER.__name__, _LEAVE.__name__):
                calls += inside
                inside = name == _ENTER.__name__
            elif inside:
                counts[name] += 1
    return counts, calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outage", type=float, help="seconds without a broker (default: 600; traced: 10)")
    parser.add_argument("--calm", type=float, help="seconds before it and after it (default: 60; traced: 5)")
    parser.add_argument("--rate", type=float, default=10_000, help="points a second (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=20, help="keys a step (default: %(default)s)")
    parser.add_argument("--trace", action="store_true", help="the system calls of log() instead of its latency")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.outage = options.outage or (10.0 if options.trace else 600.0)
    options.calm = options.calm or (5.0 if options.trace else 60.0)
    (train if options.train else trace if options.trace else measure)(options)


if __name__ == "__main__":
    main()
