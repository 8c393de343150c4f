"""What a rank says to its sampler, and what that costs it."""

import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import runtide
from runtide._sampler import _node
from runtide._sampler._election import Post, find_place, take_lock
from runtide._sampler._node import Node
from runtide._settings import resolve
from runtide.testing import Memory, start_run

A = "6f1b2c3d-0000-1111-2222-333344445555"


@pytest.fixture
def post(node: Any) -> Iterator[Post]:
    """A sampler's ear, without a sampler."""
    place = find_place()
    lock = take_lock(place)
    assert lock is not None
    made = Post(place)
    yield made
    made.close()
    os.close(lock)


def heard(post: Post) -> dict[str, Any] | None:
    data = post.receive(0)
    return None if data is None else json.loads(data)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seconds that pass when a test says so."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(_node, "time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def rank(**environ: str) -> Node:
    return Node(resolve({"project": "p"}, {"RUNTIDE_DIR": os.environ["RUNTIDE_DIR"], **environ}), "default/p/x")


def test_what_is_said_has_no_credentials(post: Post, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where records go, but not by what right; all of it each time."""
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    one = rank(RUNTIDE_URL="http://stack:1", RUNTIDE_TOKEN="secret", RANK="11", RUNTIDE_FINISH_TIMEOUT="7")
    one.beat(5, "eval")
    said = heard(post)
    assert said == {
        "run": "default/p/x", "rank": 11, "local_rank": 3, "pid": os.getpid(), "home": os.environ["RUNTIDE_DIR"],
        "mode": "http", "destination": "http://stack:1", "interval": 1.0, "finish_timeout": 7.0, "every_gpu": False,
        "visible": "4,5,6,7", "torch": "torch" in sys.modules, "step": 5, "phase": "eval", "ended": False,
    }  # fmt: skip
    one.end(6, "")
    assert heard(post) == said | {"step": 6, "phase": "", "ended": True}
    one.beat(7, "")
    assert heard(post) is None


def test_news_at_most_ten_times_a_second_and_else_every_five_seconds(post: Post, clock: Any) -> None:
    """A loop of a million steps a second sends no more than one that samples can tell apart."""
    for interval, most in ((0.1, 10), (1, 4), (60, 1)):
        one = rank(RUNTIDE_SAMPLE_INTERVAL=str(interval))
        count = 0
        for step in range(1000):
            clock.now += 0.01
            one.beat(step, "")
            count += heard(post) is not None
        assert count <= most * 10 + 1
        assert count >= min(most, 0.8) * 10 * 0.9
        count = 0
        for _ in range(2000):
            clock.now += 0.01
            one.beat(999, "")
            count += heard(post) is not None
        assert 3 <= count <= 5
        one.end(0, "")
        heard(post)


def test_a_sampler_that_does_not_listen_blocks_nobody(post: Post, clock: Any) -> None:
    """Stopped, with a full queue: what is said is lost, and said again later."""
    one = rank()
    for step in range(2000):
        clock.now += 1
        one.beat(step, "")
    last = None
    while (said := heard(post)) is not None:
        last = said
    assert last is not None and last["step"] < 2000
    clock.now += 1
    one.beat(2000, "")
    assert heard(post) == last | {"step": 2000}
    one.end(0, "")


def test_the_end_is_said_though_there_is_no_room_at_first(post: Post, clock: Any, until: Callable[..., None]) -> None:
    """It is said once: a run whose end is not heard is sampled as long as its process lives."""
    one = rank()
    for step in range(2000):
        clock.now += 1
        one.beat(step, "")
    thread = threading.Thread(target=one.end, args=(2000, ""))
    thread.start()
    state = Path(f"/proc/self/task/{thread.native_id}/stat")
    until(lambda: not state.exists() or ") S" in state.read_text(), "it waits, or has given up")
    said = heard(post)
    assert said is not None and not said["ended"]
    thread.join(60)
    while (more := heard(post)) is not None:
        said = more
    assert said["ended"]


def test_starts_are_rare_where_they_are_in_vain(node: Any, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that dies at once costs a start in five seconds, then in ten, and so on up to five minutes."""
    started: list[float] = []
    monkeypatch.setattr(_node, "_launch", lambda *_: started.append(clock.now) or -1)
    monkeypatch.setattr(_node, "_ended_well", lambda _: True)
    one = rank()
    for step in range(20_000):
        clock.now += 0.1
        one.beat(step, "")
        while one._starting:  # the thread that sees it off has not let go
            threading.Event().wait(0.001)
    gaps = [round(b - a) for a, b in itertools.pairwise(started)]
    assert gaps[:7] == [5, 10, 20, 40, 80, 160, 300]
    one.end(0, "")


class Cuda:
    """As much of torch.cuda as says which GPUs a process uses."""

    def __init__(self, used: list[int], uuids: list[str]) -> None:
        self.used, self.uuids = used, uuids
        self.initialized = False

    def is_initialized(self) -> bool:
        return self.initialized

    def device_count(self) -> int:
        assert self.initialized, "asking this would wake the driver"
        return len(self.uuids)

    def memory_reserved(self, place: int) -> int:
        assert self.initialized
        return 100 * (place in self.used)

    def get_device_properties(self, place: int) -> Any:
        assert self.initialized
        return SimpleNamespace(uuid=self.uuids[place]) if self.uuids[place] else SimpleNamespace()


def test_gpus_are_named_once_torch_uses_them(post: Post, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before CUDA is awake, nor those that are only visible; an old torch says their place."""
    cuda = Cuda([1, 2], [A, A, ""])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    one = rank()

    def say() -> dict[str, Any]:
        clock.now += 31
        one.beat(0, "")
        said = heard(post)
        assert said is not None
        return said

    assert say()["torch"]
    assert "gpus" not in say()
    cuda.initialized = True
    assert say()["gpus"] == [f"GPU-{A}", 2]
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert say()["gpus"] == [f"GPU-{A}", 2], "what is known stays"
    one.end(0, "")


def test_nothing_that_wakes_a_driver_is_imported(script: Callable[..., Any], node: Any) -> None:
    """Training pays for neither psutil nor NVML nor torch, nor for the sampler itself."""
    script(
        "import sys, runtide\nbefore = set(sys.modules)\nrun = runtide.init(project='p')\nrun.log({'a': 1})\n"
        "assert run.flush()\nrunning = {'psutil', 'pynvml', 'torch', 'numpy', 'runtide._sampler._loop'}\n"
        "assert not running & set(sys.modules), running & set(sys.modules)\n"
        "assert not any('subprocess' in name for name in set(sys.modules) - before)\nrunning = sys.stdin",
        RUNTIDE_DIR=str(node.home),
    )


def test_phases_nest_and_end_with_an_error(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there before is there again."""
    run = start_run(Memory(), project="p")
    with run.phase("eval"):
        with pytest.raises(ZeroDivisionError), run.phase("checkpoint"):
            assert run._phase == "checkpoint"
            raise ZeroDivisionError
        assert run._phase == "eval"
        with run.phase(""):
            assert run._phase == ""
    assert run._phase == ""
    with run.phase("x" * 999 + "\ud800"):
        assert run._phase == "x" * 128
    run.finish()
    with pytest.raises(runtide.Error, match=r"You must call runtide\.init\(\) before runtide\.phase"):
        runtide.phase("eval")


def test_a_run_says_where_it_is(post: Post, until: Callable[..., None]) -> None:
    """The step that is being computed, and the phase, as the sender sees them."""
    said: list[dict[str, Any]] = []

    def listen() -> bool:
        while (message := heard(post)) is not None:
            said.append(message)
        return bool(said)

    run = runtide.init(project="p")
    for number in range(7):
        run.log({"a": number})
    with runtide.phase("eval"):
        until(lambda: listen() and (said[-1]["step"], said[-1]["phase"]) == (7, "eval"), "it is said")
    run.log({"a": 1}, step=90)
    until(lambda: listen() and (said[-1]["step"], said[-1]["phase"]) == (90, ""), "and that it trains again")
    runtide.finish()
    until(lambda: listen() and said[-1]["ended"], "and that it ended")


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ({}, {}, "on"),
        ({}, {"RUNTIDE_SAMPLER": "OFF"}, "off"),
        ({}, {"RUNTIDE_SAMPLER": "all"}, "all"),
        ({"sampler": "off"}, {"RUNTIDE_SAMPLER": "all"}, "off"),
        ({"sampler": False}, {}, "off"),
    ],
)
def test_settings(arguments: dict[str, Any], environ: dict[str, str], expected: str) -> None:
    """An argument stands above the environment."""
    assert resolve(arguments, environ).sampler == expected


@pytest.mark.parametrize(
    "environ", [{"RUNTIDE_SAMPLER": "maybe"}, {"RUNTIDE_SAMPLE_INTERVAL": "0.01"}, {"RUNTIDE_SAMPLE_INTERVAL": "x"}]
)
def test_settings_that_cannot_be_used(environ: dict[str, str]) -> None:
    """It says which, and what can be."""
    with pytest.raises(runtide.SettingsError, match=r"SAMPLE.*: give"):
        resolve({}, environ)


def test_a_long_temporary_folder_is_not_used(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has room for a hundred characters: then the files are in /tmp."""
    monkeypatch.setenv("TMPDIR", str(node.tmp / ("x" * 120)))
    place = find_place()
    assert str(place.address).startswith(f"/tmp/runtide-{os.getuid()}/")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, pytest.raises(OSError):
        probe.bind(str(node.tmp / ("x" * 120)))


def test_only_one_has_the_lock(node: Any) -> None:
    """And it is free again when its holder lets go, which a sampler does as soon as it hears nobody any more."""
    place = find_place()
    lock = take_lock(place)
    assert lock is not None
    assert take_lock(place) is None
    Post(place, lock=lock).close()
    again = take_lock(place)
    assert again is not None
    os.close(again)


def test_a_fork_in_the_midst_of_a_start_keeps_nothing_open(node: Any) -> None:
    """What another thread had opened a moment before, and nobody has noted yet, is found and closed."""
    place = find_place()
    lock = take_lock(place)
    assert lock is not None
    post = Post(place)
    copies = [os.dup(lock), os.dup(post.socket.fileno())]
    os.close(lock)
    post.close()
    assert take_lock(place) is None, "a copy holds it"
    _node._close_copies(place)
    for copy in copies:
        with pytest.raises(OSError):
            os.fstat(copy)
    again = take_lock(place)
    assert again is not None
    os.close(again)
