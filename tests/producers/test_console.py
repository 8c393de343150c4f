"""What a run prints: kept line by line, without a difference for who prints."""

import contextlib
import gc
import io
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import runtide
from runtide import _report, _taps
from runtide.testing import Memory, RefusedError, start_run

Script = Callable[..., subprocess.CompletedProcess[str]]
Streams = Callable[[], tuple[io.StringIO, io.StringIO]]


def lines(source: Any, stream: str = "") -> list[str]:
    """The lines of a Memory or a spool, in the order of their numbers; all numbers are there."""
    records = source.records("console_lines")
    numbers = [number for r in records for number in range(r["first"], r["first"] + len(r["lines"]))]
    assert numbers == list(range(1, len(numbers) + 1))
    rows = [row for r in records for row in zip(r["streams"], r["lines"], r["times"], strict=True)]
    assert all(time > 1_700_000_000_000 for _, _, time in rows)
    return [text for name, text, _ in rows if stream in ("", name)]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Gives the test stdout and stderr of its own; in the test, as pytest sets its own ones before every phase."""

    def make() -> tuple[io.StringIO, io.StringIO]:
        monkeypatch.setenv("RUNTIDE_SILENT", "1")  # a working tree that is not clean is none of the lines here
        made = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", made[0])
        monkeypatch.setattr(sys, "stderr", made[1])
        return made

    return make


def test_lines_are_kept_and_printed_as_ever(own: Streams) -> None:
    """print, writelines, a logging handler and a broken line: all there, in order, and unchanged on the stream."""
    out, err = own()
    handler = logging.StreamHandler(sys.stderr)
    memory = Memory()
    run = start_run(memory, project="p")
    print("one", 1, flush=True)
    print("two\nthree")
    assert sys.stdout.write("fo") == 2
    sys.stdout.writelines(["ur\n", "five\n"])
    handler.emit(logging.LogRecord("x", 20, "f", 1, "said", None, None))
    print("ünïcode \ud800 \x1b[31mred\x1b[0m\x00")
    print("unfinished", end="")
    run.finish()
    assert out.getvalue() == ("one 1\ntwo\nthree\nfour\nfive\nünïcode \ud800 \x1b[31mred\x1b[0m\x00\nunfinished")
    assert err.getvalue() == "said\n"
    expected = ["one 1", "two", "three", "four", "five", "ünïcode \\ud800 \x1b[31mred\x1b[0m\x00", "unfinished"]
    assert lines(memory, "stdout") == expected
    assert lines(memory, "stderr") == ["said"]
    assert lines(memory)[5] == "said"


def test_streams_are_given_back(own: Streams) -> None:
    """After finish() nothing is captured and the stream is as it was, unless somebody wrapped it since."""
    out, _ = own()
    memory = Memory()
    run = start_run(memory, project="p")
    assert "write" in vars(out)
    run.finish()
    assert "write" not in vars(out)
    print("later")
    assert lines(memory) == []

    run = start_run(memory, project="p")
    ours, loud = out.write, list[str]()
    out.write = lambda text: loud.append(text) or ours(text)
    theirs = out.write
    print("wrapped")
    run.finish()
    assert out.write is theirs
    print("again")
    assert lines(memory) == ["wrapped"]
    assert loud == ["wrapped", "\n", "again", "\n"]
    second = Memory()
    run = start_run(second, project="p")
    print("third")
    run.finish()
    assert out.write is theirs
    assert (lines(second), lines(memory)) == (["third"], ["wrapped"])
    assert out.getvalue() == "later\nwrapped\nagain\nthird\n"


def test_a_write_of_its_own_is_put_back(own: Streams) -> None:
    """A stream whose write was replaced before, as by a notebook's tools, has that one again."""
    out, _ = own()
    seen: list[str] = []
    out.write = seen.append
    before = vars(out)["write"]
    run = start_run(memory := Memory(), project="p")
    print("x")
    run.finish()
    assert vars(out)["write"] is before
    assert (seen, lines(memory)) == (["x", "\n"], ["x"])


def test_two_runs_at_once(own: Streams) -> None:
    """Each has what was printed while it was open, once, whichever ends first."""
    out, _ = own()
    first, second = Memory(), Memory()
    one = start_run(first, project="p")
    print("a")
    two = start_run(second, project="p")
    print("b")
    one.finish()
    print("c")
    two.finish()
    print("d")
    assert lines(first) == ["a", "b"]
    assert lines(second) == ["b", "c"]
    assert out.getvalue() == "a\nb\nc\nd\n"


def test_one_stream_for_both_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is stdout, a line is there once; where there is no stream, nothing happens."""
    monkeypatch.setattr(sys, "stdout", both := io.StringIO())
    monkeypatch.setattr(sys, "stderr", both)
    run = start_run(memory := Memory(), project="p")
    print("x", file=sys.stderr)
    run.finish()
    assert lines(memory) == ["x"]
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    run = start_run(empty := Memory(), project="p")
    print("x")
    run.finish()
    assert lines(empty) == []


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class Odd:
    """A stream that takes no attributes and anything at all."""

    __slots__ = ("got",)

    def __init__(self) -> None:
        self.got: list[Any] = []

    def write(self, what: Any) -> None:
        self.got.append(what)

    def flush(self) -> None: ...


def test_a_broken_stream_fails_as_without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, a closed file, a text that is none, a stream that cannot be wrapped: the same errors, or none."""
    monkeypatch.setattr(sys, "stdout", Full())
    run = start_run(memory := Memory(), project="p")
    with pytest.raises(OSError, match="No space"):
        print("lost")
    run.finish()
    monkeypatch.setattr(sys, "stdout", closed := io.StringIO())
    run = start_run(memory, project="p")
    with pytest.raises(TypeError):
        closed.write(7)  # type: ignore[arg-type]
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        print("lost")
    run.finish()
    monkeypatch.setattr(sys, "stdout", odd := Odd())
    run = start_run(memory, project="p")
    print("odd")
    run.finish()
    assert odd.got == ["odd", "\n"]
    assert lines(memory) == []


def test_what_is_no_text_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that takes anything gets it, and the lines around it are kept."""

    class Loose(Odd):
        __slots__ = ("__dict__",)

    monkeypatch.setattr(sys, "stdout", loose := Loose())
    run = start_run(memory := Memory(), project="p")
    for what in (None, 7, b"bytes\n", ["\n"], "text\n"):
        sys.stdout.write(what)  # type: ignore[arg-type]
    run.finish()
    assert loose.got == [None, 7, b"bytes\n", ["\n"], "text\n"]
    assert lines(memory) == ["text"]


def test_redirected_output_is_not_of_the_run(own: Streams) -> None:
    """What the program captures itself does not reach the console, nor the run; streams restored later still work."""
    own()
    run = start_run(memory := Memory(), project="p")
    with contextlib.redirect_stdout(io.StringIO()) as inner:
        print("inside")
    print("outside")
    run.finish()
    assert inner.getvalue() == "inside\n"
    assert lines(memory) == ["outside"]


def test_a_progress_bar_is_the_line_that_it_ends_as(own: Streams) -> None:
    """As tqdm writes it, a hundred states of one line: the last one counts; CR LF is an end of line like LF."""
    _, err = own()
    run = start_run(memory := Memory(), project="p")
    for done in range(101):
        sys.stderr.write(f"\rbar: {done}% {'#' * (done // 10):10} {done}/100")
        run.flush()
    sys.stderr.write("\n")
    sys.stdout.write("a\rb\r\n")
    sys.stdout.write("10%\r")
    run.flush()
    sys.stdout.write("20%\r")
    run.flush()
    sys.stdout.write("\nc\r\n   \r")
    run.finish()
    (bar,) = lines(memory, "stderr")
    assert bar.startswith("bar: 100%")
    assert "100/100" in bar
    assert lines(memory, "stdout") == ["b", "20%", "c"]
    assert err.getvalue().count("\r") >= 100


def test_long_lines_are_cut_and_say_so(own: Streams) -> None:
    """By one write or by many: the first 16,384 characters, and how many more there were."""
    own()
    run = start_run(memory := Memory(), project="p")
    print("x" * 16_384)
    print("y" * 16_385)
    for _ in range(100_000):
        sys.stdout.write("z")
    sys.stdout.write("\nend\n")
    run.finish()
    assert lines(memory) == [
        "x" * 16_384,
        "y" * 16_384 + "… 1 more characters",
        "z" * 16_384 + "… 83,616 more characters",
        "end",
    ]


def test_threads_break_no_line_of_each_other(own: Streams) -> None:
    """Eight threads that print in pieces at once: every line once, whole, and each thread's in order."""
    own()
    run = start_run(memory := Memory(), project="p")
    start = threading.Barrier(8)

    def talk(name: int) -> None:
        start.wait()
        for number in range(500):
            print("thread", name, "line", number)

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    found = lines(memory)
    assert sorted(found) == sorted(f"thread {name} line {number}" for name in range(8) for number in range(500))
    for name in range(8):
        mine = [line for line in found if line.startswith(f"thread {name} ")]
        assert mine == [f"thread {name} line {number}" for number in range(500)]


def test_a_hundred_thousand_lines_at_once(own: Streams) -> None:
    """All are there, in order, however late the sender comes; records stay small, and nothing is held afterwards."""
    own()
    run = start_run(memory := Memory(), project="p")
    for number in range(100_000):
        print("line", number)
    run.finish()
    assert run.dropped == {}
    assert lines(memory) == [f"line {number}" for number in range(100_000)]
    assert max(len(record["lines"]) for record in memory.records("console_lines")) <= 10_000
    assert not _taps._queue


def test_what_does_not_fit_is_dropped_and_counted(own: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded while nothing can be sent; the rest is counted, and numbers show where it is missing."""
    _, err = own()
    monkeypatch.setattr(_taps, "ROOM", 5000)
    monkeypatch.setattr(_taps, "_LOW", 2500)
    memory = Memory()
    memory.refusal = RefusedError("disk_full", "the disk is full")
    run = start_run(memory, project="p")
    _taps.pump()
    for number in range(10_000):
        print(f"{number:08}")
        if number % 250 == 0:
            _taps.pump()  # as the sender of another run does
    memory.refusal = None
    assert run.flush()
    print("after")
    run.finish()
    records = memory.records("console_lines")
    kept = {r["first"] + place: line for r in records for place, line in enumerate(r["lines"])}
    assert kept.pop(10_001) == "after"
    assert run.dropped == {"console": 10_000 - len(kept)}
    assert 50 < len(kept) < 5000
    # Of a line at the edge of a gap, the end may be all that found room.
    assert all(text in (f"{number - 1:08}", "") for number, text in kept.items())
    assert err.getvalue().count("lines that were printed are dropped") == 1


def test_lines_that_were_refused_are_sent_later(own: Streams) -> None:
    """Once the disk has room again, all is there; what is refused to the end is counted."""
    own()
    memory = Memory()
    run = start_run(memory, project="p")
    memory.refusal = RefusedError("disk_full", "the disk is full")
    print("one")
    run.flush()
    print("two")
    memory.refusal = None
    run.flush()
    assert lines(memory, "stdout") == ["one", "two"]
    memory.refusal = RefusedError("disk_full", "the disk is full")
    print("three")
    run.finish()
    assert lines(memory, "stdout") == ["one", "two"]
    assert run.dropped == {"console": 1}


def test_the_traceback_of_a_run_that_fails_is_there(own: Streams) -> None:
    """`with` ends the run before anybody prints the traceback: it is among the lines, and not printed twice."""
    _, err = own()
    memory = Memory()
    with pytest.raises(ZeroDivisionError), start_run(memory, project="p"):
        _ = 1 / 0
    found = lines(memory, "stderr")
    assert found[0] == "Traceback (most recent call last):"
    assert found[-1] == "ZeroDivisionError: division by zero"
    assert err.getvalue() == ""
    with pytest.raises(SystemExit), start_run(empty := Memory(), project="p"):
        sys.exit(3)
    assert lines(empty) == []


@pytest.mark.parametrize(
    ("arguments", "environ", "kept"),
    [
        ({}, {}, True),
        ({"console": "off"}, {}, False),
        ({"console": "OFF"}, {"RUNTIDE_CONSOLE": "wrap"}, False),
        ({"console": "redirect"}, {"RUNTIDE_CONSOLE": "off"}, True),
        ({}, {"WANDB_CONSOLE": "off"}, False),
        ({}, {"RUNTIDE_CONSOLE": "off", "WANDB_CONSOLE": "auto"}, False),
        ({}, {"WANDB_CONSOLE": "wrap_emu"}, True),
        ({"mode": "disabled"}, {}, False),
    ],
)
def test_it_can_be_turned_off(
    own: Streams, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str], environ: dict[str, str], kept: bool
) -> None:
    """By argument, by environment, by W&B's names, and where nothing is stored anyway."""
    out, _ = own()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    run = start_run(memory := Memory(), project="p", **arguments)
    assert ("write" in vars(out)) == kept
    print("x")
    run.finish()
    assert lines(memory) == (["x"] if kept else [])


def test_settings_as_scripts_give_them(own: Streams, spooled: Any) -> None:
    """`settings=wandb.Settings(console="off")` is heard, an unknown value refused, and the run says what it does."""
    own()
    with runtide.init(project="p", settings=runtide.Settings(console="off")):
        print("x")
    assert spooled.records("console_lines") == []
    assert '"console":"off"' in spooled.description()["environment"]
    with pytest.raises(runtide.SettingsError, match="console='loud'"):
        runtide.init(project="p", settings={"console": "loud"})


def test_what_we_say_is_no_line(own: Streams) -> None:
    """Warnings of ours are on stderr, and not among the lines; a stderr that was closed is no matter."""
    _, err = own()
    run = start_run(memory := Memory(), project="p")
    _report.warn("x", "of ours")
    assert err.getvalue() == "runtide: warning: of ours\n"
    err.close()
    _report.warn("y", "of ours")
    run.finish()
    assert lines(memory) == []


def test_a_script_that_prints_nothing_has_no_record(script: Script, spooled: Any) -> None:
    """Nothing is sent of a stream without lines."""
    script("import runtide\nrun = runtide.init(project='p')\nrun.log({'a': 1})\n")
    assert spooled.records("console_lines") == []
    assert "console_lines" not in spooled.end()["sent"]


KILLED = """
import os, signal
import runtide
run = runtide.init(project='p')
for number in range(5000):
    print('line', number)
print('begun', end='')
assert run.flush(30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_the_line_without_an_end(script: Script, spooled: Any) -> None:
    """kill -9 after a flush: all lines are there, but for the one that was not complete."""
    script(KILLED, expect=-9)
    assert lines(spooled) == [f"line {number}" for number in range(5000)]


def test_a_crash_is_the_end_of_the_log(script: Script, spooled: Any) -> None:
    """An exception that nobody catches, and what sys.exit prints, are its last lines."""
    script("import runtide\nruntide.init(project='p')\nprint('begun', end='')\nraise ValueError('boom')", expect=1)
    assert lines(spooled, "stdout") == ["begun"]
    assert lines(spooled, "stderr")[-1] == "ValueError: boom"


FORK = """
import os, sys
import runtide
run = runtide.init(project='p', id='forked')
print('parent 1', flush=True)
assert run.flush()
if (child := os.fork()) == 0:
    assert 'write' not in vars(sys.stdout)
    print('before it logs')
    run.log({'child': 1.0})
    print('child 1')
    run.finish()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print('parent 2')
"""


def test_a_forked_child_has_lines_once_it_logs(script: Script, spooled: Any) -> None:
    """They are its own writer's, numbered on from its parent's; the parent's go on, and are nobody else's."""
    script(FORK)
    found = {}
    for writer in spooled.writers():
        child = spooled.records("runs", writer)[0]["child"]
        records = spooled.records("console_lines", writer)
        found[child] = [(r["first"] + i, line) for r in records for i, line in enumerate(r["lines"])]
    assert found[False] == [(1, "parent 1"), (2, "parent 2")]
    assert found[True] == [(2, "child 1")]


def test_forks_while_threads_print(script: Script, spooled: Any) -> None:
    """A child that is forked in the midst of other threads' prints does not hang, and ends."""
    script("""
import os, threading
import runtide
run = runtide.init(project='p')
stop = threading.Event()
def talk():
    while not stop.is_set():
        print('x')
threads = [threading.Thread(target=talk) for _ in range(4)]
[thread.start() for thread in threads]
for _ in range(20):
    if (child := os.fork()) == 0:
        run.log({'a': 1.0})
        run.finish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
[thread.join() for thread in threads]
""")
    assert spooled.end()["state"] == "finished"


def test_ranks_have_lines_of_their_own(script: Script, spooled: Any) -> None:
    """Two processes of one job: each line carries the rank of who printed it."""
    for rank in "01":
        script("import runtide, os\nruntide.init(project='p', id='job')\nprint('rank', os.environ['RANK'])", RANK=rank)
    found = {record["rank"]: record["lines"] for record in spooled.records("console_lines")}
    assert found == {0: ["rank 0"], 1: ["rank 1"]}


def test_nothing_is_kept_alive(own: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has ended holds neither the stream nor is held by it."""
    own()
    run = start_run(Memory(), project="p")
    console = weakref.ref(run._console)
    print("x")
    run.finish()
    assert not _taps._queue
    del run
    gc.collect()
    assert console() is None


def test_capsys_sees_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """pytest's own capture works beside a run."""
    run = start_run(memory := Memory(), project="p")
    print("seen")
    run.finish()
    assert capsys.readouterr().out == "seen\n"
    assert lines(memory, "stdout") == ["seen"]


def test_a_signal_handler_may_print(script: Script, spooled: Any) -> None:
    """A handler that prints while the program prints neither hangs nor loses a line of either."""
    done = script("""
import itertools, signal, sys
import runtide
class Plain:  # Python's own streams refuse a write inside a write
    def __init__(self, inner):
        self.inner = inner
    def write(self, text):
        return len(text)
    def flush(self):
        pass
sys.stdout = Plain(sys.stdout)
run = runtide.init(project='p')
counter, hits = itertools.count(1), 0
def handler(*_):  # one may interrupt another
    global hits
    hits = mine = next(counter)
    sys.stdout.write(f'handler {mine}\\n')
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
number = 0
while hits < 50:
    number += 1
    sys.stdout.write(f'line {number}\\n')
signal.setitimer(signal.ITIMER_REAL, 0)
run.finish()
sys.stdout.inner.write(f'{next(counter) - 1} {number}')
""")
    hits, number = map(int, done.stdout.split())
    found = lines(spooled, "stdout")
    assert [line for line in found if line.startswith("line")] == [f"line {n + 1}" for n in range(number)]
    assert sorted(line for line in found if line.startswith("handler")) == sorted(
        f"handler {n + 1}" for n in range(hits)
    )


def test_a_run_that_ends_while_it_is_drained_loses_nothing(own: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender looks all the time while runs begin and end, and other runs' senders with it: every line is there."""
    monkeypatch.setenv("RUNTIDE_FLUSH_INTERVAL", "0.001")
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        own()
        beside = start_run(all_of_them := Memory(), project="p")
        for number in range(100):
            run = start_run(memory := Memory(), project="p")
            print("first", number)
            print("last", number)
            run.finish()
            assert lines(memory) == [f"first {number}", f"last {number}"]
        beside.finish()
    finally:
        sys.setswitchinterval(switch)
    assert lines(all_of_them) == [f"{word} {number}" for number in range(100) for word in ("first", "last")]
