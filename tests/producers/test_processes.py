"""Runs in processes that end, fork, and are killed."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Script = Callable[..., subprocess.CompletedProcess[str]]
INIT = "import runtide as wandb\nrun = wandb.init(project='p', config={'lr': 0.1})\n"


@pytest.mark.parametrize(
    ("source", "code", "state"),
    [
        ("", 0, "finished"),
        ("wandb.finish()", 0, "finished"),
        ("wandb.finish(exit_code=3)", 0, "failed"),
        ("raise ValueError('boom')", 1, "failed"),
        ("import sys; sys.exit(4)", 4, "failed"),
        ("import sys; sys.exit('no')", 1, "failed"),
        ("import sys; sys.exit(0)", 0, "finished"),
        ("with run: raise ValueError('boom')", 1, "failed"),
        ("raise KeyboardInterrupt", None, "failed"),
    ],
)
def test_how_a_process_ends_is_how_its_run_ends(
    script: Script, spooled: Any, source: str, code: int | None, state: str
) -> None:
    """Without finish(), the end of the process ends the run, and everything logged is there."""
    done = script(INIT + "for i in range(10): run.log({'a': i})\n" + source, expect=code)
    end = spooled.end()
    assert end["state"] == state
    assert end["exit_code"] == (3 if "exit_code" in source else code or int(state == "failed"))
    assert len(spooled.points()) == 10
    told = ["metrics", "runs", *(["console_lines"] if done.stderr.count("\n") > 1 else [])]  # Python's last words
    assert end["sent"] == {name: len(spooled.records(name)) for name in told}
    assert end["sent"]["runs"] == end["seq"] + 1
    assert (spooled.writers()[0] / "closed").exists()
    if "boom" in source:
        assert done.stderr.count("ValueError: boom") == 1


def test_nothing_but_the_name_is_printed(script: Script) -> None:
    """One line on stderr, none when silent, and stdout is the script's own."""
    done = script(INIT + "wandb.log({'a': 1})")
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("runtide: run ")
    for name in ("RUNTIDE_SILENT", "WANDB_SILENT"):
        assert script(INIT, **{name: "true"}).stderr == ""


KILLED = """
import os, signal, sys
import runtide
run = runtide.init(project='p')
journal = os.open(sys.argv[0] + '.journal', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for number in range(200_000):
    run.log({'a': float(number), 'b': number * 0.5})
    if number % 3 == 0:
        run.log({'c': float(number)}, step=number // 2)
    if number % 5000 == 4999:
        assert run.flush(30)
        os.write(journal, b'%d\\n' % number)
        if number >= STOP:
            break
for number in range(number + 1, number + 3000):
    run.log({'a': float(number), 'b': number * 0.5})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("stop", [0, 20_000, 60_000])
def test_a_killed_process_loses_at_most_what_was_not_drained(
    script: Script, spooled: Any, tmp_path: Path, stop: int
) -> None:
    """kill -9: all that was drained is there once, what came after is there once or not at all, and nothing else."""
    script(KILLED.replace("STOP", str(stop)), expect=-9)
    drained = int((tmp_path / "script.py.journal").read_text().splitlines()[-1])
    points = spooled.points(torn=True)
    assert len(points) == len({(key, value) for key, _, value in points}), "a point is there twice"
    values = {key: sorted(value for k, _, value in points if k == key) for key in "abc"}
    count = len(values["a"])
    assert drained < count <= drained + 3000
    assert values["a"] == [float(number) for number in range(count)]
    assert values["b"] == [number * 0.5 for number in range(count)]
    assert values["c"] == [float(number) for number in range(0, drained + 1, 3)]
    seqs = [record["seq"] for record in spooled.records("metrics", torn=True)]
    assert seqs == list(range(len(seqs)))
    folder = spooled.writers()[0]
    assert not (folder / "closed").exists()
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


FORK = """
import os, sys, time
import runtide
run = runtide.init(project='p', id='forked')
for number in range(1000):
    run.log({'parent': float(number)})
if (child := os.fork()) == 0:
    for number in range(100):
        run.log({'child': float(number)})
    runtide.log({'child': 100.0})
    END
run.log({'parent': 1000.0})
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("end", ["runtide.finish(); os._exit(0)", "sys.exit(0)", "assert run.flush(); os._exit(0)"])
def test_a_forked_child_is_a_writer_of_its_own(script: Script, spooled: Any, end: str) -> None:
    """It continues attempt and step, sends nothing of its parent's, and has no say in the run's state."""
    script(FORK.replace("END", end))
    points = spooled.points()
    assert sorted(v for k, _, v in points if k == "parent") == list(map(float, range(1001)))
    assert sorted(v for k, _, v in points if k == "child") == list(map(float, range(101)))
    assert sorted(s for k, s, _ in points if k == "child") == list(range(1000, 1101))
    starts = [event for event in spooled.records("runs") if event["event"] == "start"]
    assert sorted(event["child"] for event in starts) == [False, True]
    assert len({event["writer"] for event in starts}) == 2
    assert len({event["attempt"] for event in spooled.records("runs")}) == 1
    assert spooled.end()["state"] == "finished"
    assert {r["writer"] for r in spooled.records("metrics") if "child" in r["keys"]} == {
        event["writer"] for event in starts if event["child"]
    }


def test_a_forked_child_that_outlives_its_parent_does_not_keep_its_lock(
    script: Script, home: Path, spooled: Any
) -> None:
    """The child closes what it inherited: flock counts open descriptions, not processes."""
    source = """
import os, sys, time
import runtide
run = runtide.init(project='p')
run.log({'a': 1})
assert run.flush()
ready, go = os.pipe()
if (child := os.fork()) == 0:
    os.write(go, b'x')
    sys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)
    time.sleep(60)
os.read(ready, 1)
print(child, flush=True)
os._exit(0)
"""
    child = int(script(source).stdout)
    try:
        with (spooled.writers()[0] / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, 9)


def test_a_fork_while_threads_log_leaves_no_lock_behind(script: Script, spooled: Any) -> None:
    """Forks in the midst of logging: every child can log and end, and nothing is there twice."""
    source = """
import os, sys, threading
import runtide
sys.setswitchinterval(1e-5)
run = runtide.init(project='p')
stop = threading.Event()
def work():
    number = 0
    while not stop.is_set():
        run.log({'parent': float(number)})
        number += 1
threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
[thread.start() for thread in threads]
for number in range(20):
    if (child := os.fork()) == 0:
        run.log({'child': float(number)})
        run.summary['x'] = dict(run.summary)['child']
        run.finish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
[thread.join() for thread in threads]
"""
    script(source)
    points = spooled.points()
    assert sorted(v for k, _, v in points if k == "child") == list(map(float, range(20)))
    steps = [s for k, s, _ in points if k == "parent"]
    assert sorted(steps) == list(range(len(steps)))


@pytest.mark.skipif(sys.platform != "linux", reason="the lock is glibc's")
def test_a_fork_while_threads_look_up_addresses_leaves_no_lock_behind(script: Script, spooled: Any) -> None:
    """As librdkafka's do whenever they connect: the child, and what it trains with, can look up addresses too."""
    source = """
import os, signal, socket, threading
import runtide
run = runtide.init(project='p')
stop = threading.Event()
def work():
    while not stop.is_set():
        socket.getaddrinfo(b'127.0.0.1', 1, flags=socket.AI_ADDRCONFIG)
threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
[thread.start() for thread in threads]
for number in range(40):
    if (child := os.fork()) == 0:
        signal.alarm(20)
        socket.getaddrinfo(b'127.0.0.1', 1, flags=socket.AI_ADDRCONFIG)
        run.log({'child': float(number)})
        run.finish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, number
stop.set()
[thread.join() for thread in threads]
"""
    script(source)
    assert sorted(v for k, _, v in spooled.points() if k == "child") == list(map(float, range(40)))


WORKERS = """
import multiprocessing
import runtide

def work(run, number):
    for value in range(50):
        run.log({f'worker{number}': float(value)})

if __name__ == '__main__':
    context = multiprocessing.get_context('METHOD')
    run = runtide.init(project='p', name='n')
    run.log({'main': 1.0})
    workers = [context.Process(target=work, args=(run, number)) for number in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert all(worker.exitcode == 0 for worker in workers)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_log_into_the_run_they_are_given(script: Script, spooled: Any, method: str) -> None:
    """Of multiprocessing, by whatever method; their last points are not lost though they end by os._exit."""
    script(WORKERS.replace("METHOD", method))
    points = spooled.points()
    for number in range(2):
        assert [v for k, _, v in points if k == f"worker{number}"] == list(map(float, range(50)))
    assert len({record["run_id"] for record in spooled.records("runs")}) == 1
    ends = [event for event in spooled.records("runs") if event["event"] == "finish"]
    assert sorted(event["child"] for event in ends) == [False, True, True]


def test_random_generators_are_left_alone(script: Script) -> None:
    """A seeded experiment gives the same numbers with and without us."""
    script("""
import random
import numpy as np
import runtide
random.seed(1); np.random.seed(1)
before = random.getstate(), np.random.get_state()[1].tolist()
run = runtide.init(project='p')
run.log({'a': 1.0, 'b': [1]})
run.summary['c'] = 1
run.flush()
runtide.finish()
assert (random.getstate(), np.random.get_state()[1].tolist()) == before
""")


def test_log_touches_no_file(script: Script) -> None:
    """In the thread that calls log(), not one audit event of the interpreter: no open, no socket, no process."""
    script("""
import sys, threading
import runtide
run = runtide.init(project='p')
run.log({'a': 1.0})
seen, main, armed = [], threading.get_ident(), []
def hook(event, args):
    if armed and threading.get_ident() == main:
        seen.append(event)
sys.addaudithook(hook)
import os
write = os.write
os.write = lambda *args: seen.append('write') if threading.get_ident() == main else write(*args)
armed.append(1)
for number in range(10_000):
    run.log({'a': float(number)})
    run.log({'new%d' % (number % 50): [number], 'text': 'x'}, step=number)
armed.clear()
assert not seen, set(seen)
""")


def test_importing_is_light(script: Script) -> None:
    """The SDK loads neither numpy nor pandas nor Kafka nor Arrow, and no HTTP where nothing goes by it."""
    script("""
import sys
import runtide
runtide.init(project='p').log({'a': 1.0})
heavy = {'numpy', 'pandas', 'pyarrow', 'confluent_kafka', 'clickhouse_connect', 'torch', 'http.client', 'ssl'}
heavy &= set(sys.modules)
assert not heavy, heavy
""")


def test_a_hanging_disk_delays_neither_training_nor_the_end(script: Script) -> None:
    """finish() gives up after its timeout and says so, though the sender never comes back."""
    done = script(
        """
import threading, time
import runtide
from runtide._spool import Spool
Spool.send = lambda *args: threading.Event().wait()
begin = time.monotonic()
run = runtide.init(project='p')
for number in range(100_000):
    run.log({'a': float(number)})
assert not run.flush(0.05)
assert run.summary['a'] == 99_999.0
runtide.finish()
assert time.monotonic() - begin < 30
""",
        RUNTIDE_FINISH_TIMEOUT="0.5",
    )
    assert "RUNTIDE_FINISH_TIMEOUT" in done.stderr


def test_the_environment_is_described_without_secrets(script: Script, spooled: Any, tmp_path: Path) -> None:
    """Host, command, Python and Git state: commit, branch, whether dirty, and the remote without credentials."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    (tmp_path / "tracked").write_text("1")
    for command in (
        ["init", "-q", "-b", "trunk"],
        ["add", "tracked"],
        ["commit", "-q", "-m", "m"],
        ["remote", "add", "origin", "https://user:secret@example.org/team/code.git"],
    ):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "tracked").write_text("2")
    script(INIT)
    text = spooled.description()["environment"]
    found = json.loads(text)
    assert found["git"] == {
        "commit": commit,
        "branch": "trunk",
        "dirty": True,
        "remote": "https://example.org/team/code.git",
    }
    assert found["command"].endswith("script.py")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_an_odd_environment_costs_nothing(script: Script, spooled: Any) -> None:
    """No UTF-8 in a variable, infinity in the config, and a working folder that is gone: the run is described."""
    source = """
import os
os.environ['RUNTIDE_NOTES'] = 'a\\udcff'
os.environ['RUNTIDE_TAGS'] = 'b\\udcff'
os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')
import runtide
run = runtide.init(project='p', config={'inf': float('inf'), 'k\\udcff': 1}, group='g\\udcff')
run.name = 'n\\udcff'
run.define_metric('m\\udcff')
"""
    script(source)
    last = spooled.description()
    assert (last["notes"], last["tags"], last["group"]) == ("a\\udcff", ["b\\udcff"], "g\\udcff")
    assert json.loads(last["config"]) == {"inf": "Infinity", "k\\udcff": 1}
    assert last["name"] == "n\\udcff"
    assert json.loads(last["environment"])["folder"] == ""


def test_without_git_a_run_is_described_all_the_same(script: Script, spooled: Any) -> None:
    """An empty PATH: no error, no `git` in the description."""
    script(INIT, PATH="/nonexistent")
    found = json.loads(spooled.description()["environment"])
    assert "git" not in found
    assert found["pid"] > 0
