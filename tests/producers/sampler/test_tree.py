"""Processes of ranks: their trees, and what vanishes while it is read."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtide._sampler._processes import Processes

Tree = Callable[[dict[str, str]], Path]


def stat(pid: int, parent: int, state: str = "S", ticks: int = 10, name: str = "python") -> str:
    words = ["0"] * 52
    words[0], words[1], words[2], words[3] = str(pid), f"({name})", state, str(parent)
    words[13], words[14], words[19], words[21], words[23] = str(ticks), "5", "3", str(pid * 100), "2"
    return " ".join(words) + "\n"


def files(*processes: tuple[int, int, str]) -> dict[str, str]:
    told = {f"proc/{pid}/stat": stat(pid, parent, state) for pid, parent, state in processes}
    return told | {f"proc/{pid}/io": f"rchar: 1\nread_bytes: {pid}\nwrite_bytes: 1\n" for pid, _, _ in processes}


def test_a_rank_is_its_whole_tree(tree: Tree) -> None:
    """Workers of workers too, and neither zombies nor another rank that it started."""
    root = tree(files((10, 1, "R"), (11, 10, "S"), (12, 11, "S"), (13, 10, "Z"), (20, 10, "R"), (21, 20, "S")))
    processes = Processes(root)
    processes.find_trees([10, 20])
    first, second = processes.use(10), processes.use(20)
    assert (first["processes"], second["processes"]) == (3, 2)
    assert first["cpu_us"] == 3 * 15 * 10_000
    assert first["rss_bytes"] == 3 * 2 * 4096
    assert (first["threads"], first["read_bytes"], first["write_bytes"]) == (9, 33, 3)
    assert "fds" not in first, "the folder is not there"


def test_what_ended_meanwhile_is_left_out(tree: Tree) -> None:
    """A worker that is gone, and then the rank itself."""
    root = tree(files((10, 1, "R"), (11, 10, "S")))
    processes = Processes(root)
    processes.find_trees([10])
    (root / "proc/11/stat").unlink()
    assert processes.use(10)["processes"] == 1
    (root / "proc/10/stat").write_text(stat(10, 1, "Z"))
    assert processes.use(10) == {"processes": 0}
    assert (processes.started(10), processes.started(99)) == (None, None)


def test_who_started_a_process_is_not_read_at_every_look(tree: Tree) -> None:
    """A new one is found at once; one that another has taken over, or whose number was given anew, a minute later."""
    root = tree(files((10, 1, "R"), (30, 1, "S"), (40, 1, "S")))
    processes = Processes(root)
    processes.find_trees([10])
    (root / "proc/30/stat").write_text(stat(30, 10))
    (root / "proc/40").rename(root / "proc/41")
    (root / "proc/41/stat").write_text(stat(41, 10))
    processes.find_trees([10])
    assert processes.use(10)["processes"] == 2
    for _ in range(11):
        processes.find_trees([10])
    assert processes.use(10)["processes"] == 3


def test_a_pid_that_is_given_again_is_another_process(tree: Tree) -> None:
    """When it began tells them apart; a program's name may hold brackets and blanks."""
    root = tree({"proc/10/stat": stat(10, 1, name="a) R 1 (b")})
    assert Processes(root).started(10) == 1000


def test_the_real_tree_of_this_process_agrees_with_psutil() -> None:
    """With a child that lives while it is looked at."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()  # it is there, and grows no more
        processes = Processes()
        processes.find_trees([child.pid])
        row = processes.use(child.pid)
        assert row["processes"] == 1
        assert row["fds"] == psutil.Process(child.pid).num_fds()
        assert row["rss_bytes"] == pytest.approx(psutil.Process(child.pid).memory_info().rss, rel=0.5)
        assert processes.started(child.pid) is not None
        assert processes.started(os.getpid()) is not None
    finally:
        child.communicate(b"\n")
    assert processes.started(child.pid) is None


@given(text=st.binary(max_size=300), pids=st.lists(st.integers(1, 50), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_garbage_never_raises(tree: Tree, text: bytes, pids: list[int]) -> None:
    """Neither in a process' files, nor by trees that bite their own tail."""
    root = tree(files((10, 11, "R"), (11, 10, "S"), (12, 12, "S")))
    (root / "proc/13").mkdir(exist_ok=True)
    (root / "proc/13/stat").write_bytes(text)
    (root / "proc/10/io").write_bytes(text)
    processes = Processes(root)
    processes.find_trees([10, 12, 13, *pids])
    for pid in (10, 12, 13, *pids):
        assert processes.use(pid)["processes"] >= 0
