"""The supervisor over stand-in processes, and `runtide up`'s refusals; the whole stack is tested in tests/e2e."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from runtide_stack.errors import StartError
from runtide_stack.supervisor import Child, ChildSpec, Supervisor

DEADLINE = 30.0


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s until {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., ChildSpec]:
    """Makes a child that says `ready` and waits, or does what its code says."""

    def make(name: str, code: str = "print('ready'); signal.pause()") -> ChildSpec:
        (tmp_path / f"{name}_child.py").write_text("import os, signal, sys, time\n" + textwrap.dedent(code))
        ready = lambda written: "ready" in written.splitlines()  # noqa: E731
        return ChildSpec(name, [f"{name}_child"], ready, {"PYTHONPATH": str(tmp_path)})

    return make


@contextlib.contextmanager
def running(supervisor: Supervisor) -> Iterator[None]:
    ready = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        yield
    finally:
        supervisor.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def pid(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


def test_a_killed_child_is_started_again_and_the_others_are_left_alone(stand_in, tmp_path: Path) -> None:
    """kill -9 of one process costs that process only, and is told in one line."""
    told: list[str] = []
    supervisor = Supervisor([stand_in("one"), stand_in("two")], tmp_path, told.append)
    with running(supervisor):
        one, two = supervisor.children
        first, other = pid(one), pid(two)
        for _ in range(3):
            before = pid(one)
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: pid(one) != before and "ready" in one.written(), "the child is back")
        assert pid(two) == other
        assert pid(one) != first
    assert told == ["the one ended (signal 9), starting it again"] * 3
    assert not psutil.pid_exists(other)


def test_children_stop_in_the_reverse_order_of_their_start(stand_in, tmp_path: Path) -> None:
    """What depends on another goes first."""
    ends = tmp_path / "ends"
    code = f"""
    def end(*_):
        with open({str(ends)!r}, "a") as file:
            file.write(sys.argv[0] + chr(10))
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    print("ready")
    signal.pause()
    """
    with running(Supervisor([stand_in(name, code) for name in ("a", "b", "c")], tmp_path, print)):
        pass
    assert [Path(line).stem for line in ends.read_text().split()] == ["c_child", "b_child", "a_child"]


def test_a_child_that_cannot_start_says_why_in_one_sentence(stand_in, tmp_path: Path) -> None:
    """After five deaths at once the supervisor gives up with the child's own last words, and leaves nothing behind."""
    bad = stand_in("bad", "sys.exit('runtide bad: the folder is made of cheese')")
    supervisor = Supervisor([stand_in("good"), bad], tmp_path, lambda _: None)
    with pytest.raises(
        StartError, match=r"the bad does not start: runtide bad: the folder is made of cheese .*bad\.log"
    ):
        supervisor.run(lambda: pytest.fail("it is not ready"))
    assert all(child.process is None for child in supervisor.children)


def test_a_child_that_served_once_is_never_given_up(stand_in, tmp_path: Path) -> None:
    """What breaks later takes nothing else down with it: the others go on, and so do the tries."""
    broken = tmp_path / "broken"
    code = f"""
    if os.path.exists({str(broken)!r}):
        sys.exit("runtide broken: no disk")
    print("ready")
    signal.pause()
    """
    told: list[str] = []
    supervisor = Supervisor([stand_in("one"), stand_in("broken", code)], tmp_path, told.append)
    with running(supervisor):
        one, other = supervisor.children
        before = pid(one)
        broken.touch()
        os.kill(pid(other), signal.SIGKILL)
        until(lambda: len(told) >= 7, "the child died six times more")
        broken.unlink()
        until(lambda: "ready" in other.written(), "the child is back")
        assert pid(one) == before
    assert told[1] == "the broken ended (exit code 1: runtide broken: no disk), starting it again"


def test_children_end_when_the_supervisor_is_killed(stand_in, tmp_path: Path) -> None:
    """kill -9 of the supervisor leaves no process behind."""
    spec = stand_in("orphan")
    script = textwrap.dedent(f"""
        from pathlib import Path
        from runtide_stack.supervisor import ChildSpec, Supervisor
        spec = ChildSpec("orphan", {spec.command!r}, lambda written: "ready" in written, {dict(spec.environment)!r})
        supervisor = Supervisor([spec], Path({str(tmp_path)!r}), print)
        supervisor.run(lambda: print(supervisor.children[0].process.pid, flush=True))
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone")


def up(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from runtide_stack.commands import up; sys.exit(up(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=DEADLINE)


def test_a_port_in_use_is_said_with_its_option(tmp_path: Path) -> None:
    """The message names the port and the option to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = up("--dir", str(tmp_path), "--port", port)
    assert answer.returncode == 2
    assert answer.stderr == (
        f"runtide up: port {port} is in use: give another one with --port, or none to have one chosen\n"
    )


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """A file where the folder should be gives one sentence, not a traceback."""
    (tmp_path / "file").write_text("")
    answer = up("--dir", str(tmp_path / "file"))
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"runtide up: the folder {tmp_path / 'file'} cannot be used (")
    assert answer.stderr.count("\n") == 1


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    """--ingest-host takes addresses of this machine only, and says so before anything is started."""
    answer = up("--dir", str(tmp_path), "--ingest-host", "192.0.2.1")
    assert answer.returncode == 2
    assert answer.stderr.startswith("runtide up: cannot listen on 192.0.2.1 (")
    assert answer.stderr.endswith("): give an address of this machine\n")


def test_one_port_for_two_parts_is_refused(tmp_path: Path) -> None:
    """The same number for two parts is said with the options to change."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    answer = up("--dir", str(tmp_path), "--ingest-port", port, "--store-port", port)
    assert answer.returncode == 2
    assert answer.stderr == (
        f"runtide up: port {port} cannot serve two: give different ones with --port, --store-port, --ingest-port\n"
    )
