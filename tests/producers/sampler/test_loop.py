"""The loop by a clock that the tests turn, with GPUs of their making, and records that stay in memory."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from runtide._sampler import _loop, _writers
from runtide._sampler._host import HostSource
from runtide._sampler._loop import Loop
from runtide._sampler._nvml import NvmlSource
from runtide._sampler._processes import Processes
from runtide._sampler._runs import Runs
from runtide._sampler._source import Device, Event, Tier
from runtide._sampler._writers import Writer, open_writer
from runtide._settings import resolve
from runtide.testing import Memory, RefusedError

from .test_cadence import FakeClock

GPUS = [Device("gpu", f"GPU-{place}", name="H100", gpu_index=place) for place in range(4)]


class Gpus:
    """GPUs that answer at once, or as a test wants."""

    def __init__(self) -> None:
        self.happened: list[Event] = []
        self.ticks: list[frozenset[Tier]] = []
        self.all = list(GPUS)
        self.during: Callable[[], object] = lambda: None
        self.closed = False

    def devices(self) -> list[Device]:
        return self.all

    def tick(self, due: Any) -> list[dict[str, Any]]:
        self.ticks.append(due)
        self.during()
        return [{"gpu_uuid": gpu.device, "energy_mj": len(self.ticks)} for gpu in self.all]

    def events(self) -> list[Event]:
        happened, self.happened = self.happened, []
        return happened

    def close(self) -> None:
        self.closed = True


class Script:
    """What ranks say, by the seconds at which they do; waiting turns the clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.said: list[tuple[float, bytes]] = []
        self.before: dict[tuple[str, int], dict[str, Any]] = {}
        self.folded = False
        self.late: list[bytes] = []

    def say(self, at: float, run: str = "e/p/r", **fields: Any) -> None:
        rank = fields.get("rank", 0)
        told = {"run": run, "rank": rank, "pid": 100 + rank, "home": "/h", "mode": "spool"}
        told |= self.before.get((run, rank), {}) | fields
        self.before[run, rank] = told
        self.said.append((at, json.dumps(told).encode()))
        self.said.sort()

    def receive(self, timeout: float) -> bytes | None:
        if self.said and self.said[0][0] <= self.clock.now + timeout:
            at, data = self.said.pop(0)
            self.clock.now = max(self.clock.now, at)
            return data
        self.clock.now += timeout
        return None

    def fold(self) -> bytes | None:
        self.folded = True
        return self.late.pop() if self.late else None

    def close(self) -> None:
        return


class Living(Processes):
    """Processes that live until a test ends them."""

    def __init__(self) -> None:
        super().__init__()
        self.dead: set[int] = set()

    def started(self, pid: int) -> int | None:
        return None if pid in self.dead else pid

    def use(self, pid: int) -> dict[str, Any]:
        return {"processes": 0 if pid in self.dead else 2, "cpu_us": 5}


class Stage:
    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.script = Script(self.clock)
        self.gpus = Gpus()
        self.processes = Living()
        self.memories: dict[str, Memory] = {}
        self.runs = Runs(self._open, self.processes)
        self.loop = Loop(self.runs, HostSource(root), self.gpus, self.processes, self.script, self.clock)

    def _open(self, message: Any) -> Writer:
        memory = self.memories.setdefault(message.run, Memory())
        return Writer(resolve({"mode": "spool"}, {}), message.run, "node", lambda *_: memory)

    def play(self) -> None:
        thread = threading.Thread(target=self.loop.run, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()

    def records(self, stream: str, run: str = "e/p/r") -> list[dict[str, Any]]:
        found = self.memories[run].records(stream)
        assert [record["seq"] for record in found] == list(range(len(found)))
        return found

    def events(self, run: str = "e/p/r") -> list[str]:
        return [record["kind"] for record in self.records("device_events", run)]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "nothing")


def test_a_run_from_its_first_word_to_its_last(stage: Stage) -> None:
    """A sample at once, one a second, one at the end; with rank, step and phase as they were said."""
    stage.script.say(0.5, step=1)
    stage.script.say(3.2, step=7, phase="eval")
    stage.script.say(5.1, step=9, ended=True)
    stage.play()
    ticks = stage.records("gpu_ticks")
    offset = 1_700_000_000_300
    assert [tick["time"] - offset for tick in ticks] == [500, 700, 1700, 2700, 3700, 4700, 5200]
    assert [tick["gpus"][0]["step"] for tick in ticks] == [1, 1, 1, 1, 7, 7, 9]
    assert [tick["gpus"][0]["phase"] for tick in ticks][4] == "eval"
    assert {tick["host"] for tick in ticks} == {"node"}
    hosts = stage.records("host_ticks")
    assert [tick["time"] for tick in hosts] == [tick["time"] for tick in ticks]
    assert hosts[0]["ranks"][0] | {"rank": 0, "pid": 100, "step": 1, "processes": 2} == hosts[0]["ranks"][0]
    assert stage.events() == ["sampler_started", "sampler_ended"]
    assert stage.records("device_events")[-1]["facts"] == {"ticks": "7", "skipped": "0"}
    assert stage.memories["e/p/r"].closed
    assert stage.gpus.closed
    assert 7 < stage.clock.now < 9, "it waited a little for another run, and ended"


@pytest.mark.parametrize(("interval", "ranks", "wakes"), [(0.1, 8, 10), (0.1, 16, 30), (1, 8, 4), (1, 1, 4)])
def test_ranks_do_not_wake_it_with_every_word(stage: Stage, interval: float, ranks: int, wakes: int) -> None:
    """It hears many at once, while the kernel has room for what they say: ten messages."""
    gap = max(0.1, interval / 4)
    for rank in range(ranks):
        for turn in range(round(5 / gap)):
            stage.script.say(turn * gap + rank * gap / ranks, rank=rank, interval=interval, step=turn, ended=False)
        stage.script.say(5, rank=rank, ended=True)
    pauses: list[float] = []
    waiting: list[int] = []
    turn_on = stage.clock.sleep

    def sleep(seconds: float) -> None:
        turn_on(seconds)
        pauses.append(stage.clock.now)
        waiting.append(sum(at <= stage.clock.now for at, _ in stage.script.said))

    stage.clock.sleep = sleep  # type: ignore[method-assign]
    stage.play()
    inside = [place for place, now in enumerate(pauses) if 1 <= now < 4]
    assert len(inside) <= 3 * wakes + 1
    assert 0 < max(waiting[place] for place in inside) <= 10


def test_each_run_has_its_own_gpus_and_interval(stage: Stage) -> None:
    """The node is read as often as the quickest wants; the other gets every fifth tick, and none the other's GPUs."""
    stage.script.say(0, run="e/p/quick", local_rank=1, interval=0.2)
    stage.script.say(0, run="e/p/slow", rank=5, gpus=["GPU-3"])
    for run, rank in (("e/p/quick", 0), ("e/p/slow", 5)):
        stage.script.say(10, run=run, rank=rank, ended=True)
    stage.play()
    quick, slow = stage.records("gpu_ticks", "e/p/quick"), stage.records("gpu_ticks", "e/p/slow")
    assert {gpu["gpu_uuid"] for tick in quick for gpu in tick["gpus"]} == {"GPU-1"}
    assert {(gpu["gpu_uuid"], gpu["rank"]) for tick in slow for gpu in tick["gpus"] if gpu["rank"] is not None} == {
        ("GPU-3", 5)
    }
    assert len(quick) == pytest.approx(50, abs=4)
    assert len(slow) == pytest.approx(10, abs=3)
    assert [record["device"] for record in stage.records("device_info", "e/p/slow")] == ["", "GPU-3"]
    # The history comes every five seconds, and to both: the slower run must not miss the tick that brings it.
    with_history = [tick["time"] for tick in quick if tick["time"] % 5000 == 0]
    assert with_history and set(with_history) <= {tick["time"] for tick in slow}


def test_all_gpus_where_they_are_wanted(stage: Stage) -> None:
    """RUNTIDE_SAMPLER=all: also those that no rank computes on, which have no rank."""
    stage.script.say(0, local_rank=2, every_gpu=True)
    stage.script.say(2, ended=True)
    stage.play()
    assert [(gpu["gpu_uuid"], gpu["rank"]) for gpu in stage.records("gpu_ticks")[0]["gpus"]] == [
        ("GPU-0", None), ("GPU-1", None), ("GPU-2", 0), ("GPU-3", None),
    ]  # fmt: skip


def test_what_happens_is_told_to_whom_it_concerns(stage: Stage) -> None:
    """Once; a run that comes later is told what still holds, and nothing of the past."""
    stage.script.say(0, run="e/p/a", local_rank=0)
    stage.script.say(40, run="e/p/b", local_rank=1, rank=1)
    stage.script.say(49, run="e/p/a", ended=True)
    stage.script.say(49, run="e/p/b", rank=1, ended=True)
    stage.gpus.happened = [
        Event("no_driver", "info", "none"),
        Event("xid", "error", "fell off the bus", "GPU-0", 79),
        Event("gpu_lost", "error", "gone", "GPU-1"),
    ]
    stage.play()
    assert stage.events("e/p/a") == ["sampler_started", "no_driver", "xid", "sampler_ended"]
    (xid,) = [record for record in stage.records("device_events", "e/p/a") if record["kind"] == "xid"]
    assert (xid["rank"], xid["code"], xid["device"]) == (0, 79, "GPU-0")
    assert stage.events("e/p/b") == ["sampler_started", "gpu_lost", "sampler_ended"], "there are GPUs after all"


def absent() -> NoReturn:
    """nvidia-ml-py is not installed."""
    raise ModuleNotFoundError("No module named 'pynvml'", name="pynvml")


def test_without_gpus_the_reason_reaches_every_run(tmp_path: Path) -> None:
    """One event for each, and host samples nevertheless."""
    stage = Stage(tmp_path)
    stage.loop._gpus = NvmlSource(binding=absent)
    stage.script.say(0, run="e/p/a")
    stage.script.say(50, run="e/p/b", rank=1)
    stage.script.say(99, run="e/p/a", ended=True)
    stage.script.say(99, run="e/p/b", rank=1, ended=True)
    stage.play()
    for run in ("e/p/a", "e/p/b"):
        assert stage.events(run) == ["sampler_started", "no_driver", "sampler_ended"]
        assert stage.records("gpu_ticks", run) == []
        assert stage.records("host_ticks", run)


def test_devices_are_told_again_when_they_change(stage: Stage) -> None:
    """At the start and on a change, not with every tick."""
    stage.script.say(0, local_rank=0)
    stage.script.say(200, ended=True)
    stage.gpus.during = lambda: (
        stage.clock.now > 100
        and stage.gpus.all.__setitem__(0, Device("gpu", "GPU-0", name="H100", gpu_index=0, facts={"mig": "on"}))
    )
    stage.play()
    told = [record for record in stage.records("device_info") if record["kind"] == "gpu"]
    assert [record["facts"] for record in told] == [{}, {"mig": "on"}]


def test_ranks_come_and_go(stage: Stage) -> None:
    """The run ends with its last rank: one said so, one was killed."""
    stage.script.say(0, rank=0, local_rank=0)
    stage.script.say(0, rank=1, local_rank=1)
    stage.script.say(3.5, rank=0, ended=True)
    stage.gpus.during = lambda: stage.clock.now > 8 and stage.processes.dead.add(101)
    stage.play()
    ranks = [tuple(rank["rank"] for rank in tick["ranks"]) for tick in stage.records("host_ticks")]
    assert ranks[0] == (0, 1)
    assert (1,) in ranks
    assert stage.events()[-1] == "sampler_ended"


def test_a_source_that_raises_costs_a_tick(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Which none may; the next one is read all the same."""

    def fail() -> None:
        if len(stage.gpus.ticks) == 2:
            raise ZeroDivisionError

    stage.gpus.during = fail
    stage.script.say(0)
    stage.script.say(5.5, ended=True)
    stage.play()
    assert len(stage.records("host_ticks")) == 6
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_row_that_fits_no_field_is_counted(stage: Stage) -> None:
    """The others' records are good, and have numbers without a gap."""
    stage.gpus.tick = lambda due: [{"gpu_uuid": "GPU-0", "fan_pct": "x"}]  # type: ignore[method-assign]
    stage.script.say(0, local_rank=0)
    stage.script.say(3.5, ended=True)
    stage.play()
    assert stage.records("gpu_ticks") == []
    end = stage.records("device_events")[-1]
    assert end["severity"] == "warning"
    assert end["facts"]["dropped_not_encodable"] == end["facts"]["ticks"]


def test_a_full_disk_is_waited_for_and_what_was_lost_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is written when there is room again; beyond the bound it is dropped, counted and has no number."""
    monkeypatch.setattr(_writers, "_WAITING", 5)
    memory = stage.memories["e/p/r"] = Memory()
    memory.refusal = RefusedError("disk_full", "full")
    stage.gpus.during = lambda: stage.clock.now > 9.5 and setattr(memory, "refusal", None)
    stage.script.say(0)
    stage.script.say(20, ended=True)
    stage.play()
    times = [tick["time"] for tick in stage.records("host_ticks")]
    end = stage.records("device_events")[-1]
    assert int(end["facts"]["dropped_disk_full"]) >= 4
    assert len(times) + int(end["facts"]["dropped_disk_full"]) // 2 == int(end["facts"]["ticks"])
    assert "records were dropped" in end["message"]


def test_a_disk_that_stays_full_stops_nothing(stage: Stage) -> None:
    """The sampler ends when its run does."""
    memory = stage.memories["e/p/r"] = Memory()
    memory.refusal = RefusedError("disk_full", "full")
    stage.script.say(0)
    stage.script.say(20, ended=True)
    stage.play()
    assert memory.closed
    assert memory.messages == []


def test_slow_reading_is_said(stage: Stage) -> None:
    """And the rate of what is written is the real one."""
    stage.gpus.during = lambda: setattr(stage.clock, "now", stage.clock.now + 0.5)
    stage.script.say(0)
    stage.script.say(100, ended=True)
    stage.play()
    assert stage.events().count("slow_ticks") == 2
    assert stage.records("gpu_ticks")[-1]["period_ms"] == 4000


def test_a_rank_that_speaks_as_the_sampler_ends_is_heard(stage: Stage) -> None:
    """In the moment in which the address is taken away."""
    stage.script.say(0)
    stage.script.say(1, ended=True)
    stage.script.late = [json.dumps({"run": "e/p/late", "rank": 0, "pid": 1, "home": "/h", "mode": "spool"}).encode()]
    stage.gpus.during = lambda: stage.clock.now > 9 and stage.processes.dead.add(1)
    stage.play()
    assert len(stage.records("host_ticks", "e/p/late")) > 2


def test_a_reading_that_hangs_is_said_while_it_does(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    """By another thread, which ends the process when the runs have ended meanwhile."""
    monkeypatch.setattr(_loop, "_LOOK", 0.01)
    left: list[int] = []
    monkeypatch.setattr(_loop.os, "_exit", left.append)
    hang, reached = threading.Event(), threading.Event()
    stage.gpus.during = lambda: (reached.set(), hang.wait(60))
    stage.script.say(0)
    thread = threading.Thread(target=stage.loop.run, daemon=True)
    thread.start()
    assert reached.wait(60)
    stage.clock.now += 6
    until(lambda: "call_hangs" in stage.events(), "it is said")
    assert not left
    stage.processes.dead.add(100)
    until(lambda: left, "the process would have ended")
    assert stage.events().count("call_hangs") == 1
    stage.gpus.during = lambda: None
    stage.loop.stop()
    hang.set()
    thread.join(60)
    assert not thread.is_alive()


def test_records_go_where_the_rank_s_go(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With this process' credentials where it knows the same other side; else they wait in the outbox, named for it."""
    from runtide._sampler._ranks import Message

    here = {"RUNTIDE_KAFKA": "one:9092", "RUNTIDE_KAFKA_SASL_PASSWORD": "secret", "RANK": "3", "RUNTIDE_RUN_ID": "x"}
    mine = Message("e/p/r", 0, 1, str(home), "kafka", "kafka://one:9092/runtide.")
    writer = open_writer(mine, "node", here)
    assert type(writer._transport).__name__ == "Outbox"
    for environ in (here, {}):
        other = Message("e/p/r", 0, 1, str(home), "kafka", "kafka://two:9092/runtide.")
        writer = open_writer(other, "node", environ)
        writer.add("device_info", {"time": 0, "kind": "host", "device": "", "name": "n"})
        writer.close(0)
        about = json.loads((home / "outbox" / f"{writer.writer:016x}" / "writer.json").read_text())
        assert about["destination"] == "kafka://two:9092/runtide."
        assert "secret" not in json.dumps(about)
