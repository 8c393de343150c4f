"""Agents in processes of their own, killed at random: every trial is finished once, none is lost."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runtide
from runtide._sweeps._public import open_sweep

DEADLINE = 150.0
TRIALS = int(os.environ.get("RUNTIDE_TEST_SWEEP_TRIALS", "100"))
AGENT = Path(__file__).with_name("sweep_agent.py")


class Crew:
    """Agents of one sweep, and what they noted."""

    def __init__(self, sweep: str, folder: Path) -> None:
        self.sweep = sweep
        self.log = folder / "log.txt"
        self.errors = folder / "errors.txt"
        self.agents: list[subprocess.Popen[bytes]] = []

    def hire(self, **environ: str) -> None:
        quiet = {"RUNTIDE_SILENT": "true", "RUNTIDE_CONSOLE": "off", "RUNTIDE_SWEEP_LEASE": "30"}
        with self.errors.open("ab") as errors:
            command = [sys.executable, str(AGENT), self.sweep, str(self.log)]
            environment = {**os.environ, **quiet, **environ}
            self.agents.append(subprocess.Popen(command, env=environment, stdout=errors, stderr=errors))

    def notes(self, kind: str) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split() for line in lines if line.startswith(kind)]

    def wait(self, happened: Callable[[], Any], seconds: float = DEADLINE) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, self.errors.read_text()[-3000:]
            threading.Event().wait(0.02)

    def leave(self) -> None:
        for agent in self.agents:
            assert agent.wait(DEADLINE) in (0, -9), self.errors.read_text()[-3000:]


@pytest.fixture
def crew(home: Path, tmp_path: Path) -> Any:
    crews: list[Crew] = []

    def gather(config: dict[str, Any]) -> Crew:
        crews.append(Crew(f"default/p/{runtide.sweep(config, project='p')}", tmp_path))
        return crews[-1]

    yield gather
    for one in crews:
        for agent in one.agents:
            if agent.poll() is None:
                agent.kill()
                agent.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def states(sweep: str) -> Counter[str]:
    opened, _ = open_sweep(sweep)
    return Counter(trial.state.name for trial in opened.trials())


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("method", "agents", "trials"), [("random", 8, TRIALS), ("bayes", 3, 40)])
def test_every_trial_is_finished_once_though_agents_are_killed(
    method: str, agents: int, trials: int, crew: Callable[..., Crew]
) -> None:
    """Of several agents one is killed at a random moment, and another takes its place, a quarter as often as trials."""
    gathered = crew({
        "method": method, "metric": {"name": "loss"}, "run_cap": trials,
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
    })  # fmt: skip
    for _ in range(agents):
        gathered.hire(RUNTIDE_SWEEP_LEASE="3")
    chance = random.Random(1)
    for fallen in range(1, trials // 4):
        gathered.wait(lambda fallen=fallen: len(gathered.notes("begin")) >= min(3 * fallen, trials))
        living = [agent for agent in gathered.agents if agent.poll() is None]
        if not living:
            break
        chance.choice(living).kill()
        gathered.hire(RUNTIDE_SWEEP_LEASE="3")
    gathered.wait(lambda: all(agent.poll() is not None for agent in gathered.agents), 300)
    gathered.leave()
    assert states(gathered.sweep) == {"COMPLETE": trials}
    ended = Counter(run for _, run, *_ in gathered.notes("end"))
    assert len(ended) == trials
    begun = {run: {line[3] for line in gathered.notes("begin") if line[1] == run} for run in ended}
    assert all(len(points) == 1 for points in begun.values()), "a trial that is begun again has its parameters"
    opened, _ = open_sweep(gathered.sweep)
    assert opened.state == "finished"
    tries = opened._storage.get_all_trials(opened._id)
    told = Counter(trial.user_attrs["claim"]["run"] for trial in tries if trial.state.name == "COMPLETE")
    assert set(told.values()) == {1}
    assert any(trial.user_attrs["claim"]["losses"] for trial in opened.trials()), "no agent was killed at work"


@pytest.mark.timeout(400)
def test_a_grid_is_covered_exactly_by_several_agents(crew: Callable[..., Crew]) -> None:
    """Four agents at once; each point is one trial, and is run once."""
    gathered = crew({"method": "grid", "parameters": {"x": {"values": [*range(12)]}, "y": {"values": ["a", "b", "c"]}}})
    for _ in range(4):
        gathered.hire()
    gathered.leave()
    opened, _ = open_sweep(gathered.sweep)
    points = Counter(tuple(trial.user_attrs["claim"]["values"].values()) for trial in opened.trials())
    assert points == Counter((x, y) for x in range(12) for y in "abc")
    assert len(gathered.notes("begin")) == len(gathered.notes("end")) == 36
    assert len({pid for *_, pid, _ in gathered.notes("end")}) > 1


@pytest.mark.timeout(400)
@pytest.mark.parametrize("method", ["bayes", "tpe"])
def test_agents_meet_at_a_proxy(
    method: str, crew: Callable[..., Crew], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that know of the sweep no more than the address of Optuna's proxy; one is killed at work."""
    pytest.importorskip("grpc", reason="grpcio is not installed")
    from optuna.storages import RDBStorage
    from optuna.storages._grpc.server import make_server

    port = free_port()
    server = make_server(RDBStorage(f"sqlite:///{tmp_path / 'sweeps.db'}"), "127.0.0.1", port)
    server.start()
    try:
        monkeypatch.setenv("RUNTIDE_SWEEP_STORAGE", f"grpc://127.0.0.1:{port}")
        gathered = crew(
            {"method": method, "metric": {"name": "loss"}, "run_cap": 14, "parameters": {"x": {"min": 0.0, "max": 1.0}}}
        )
        for place in range(3):
            gathered.hire(RUNTIDE_SWEEP_LEASE="3", RUNTIDE_DIR=str(tmp_path / f"machine{place}"))
        gathered.wait(lambda: len(gathered.notes("begin")) >= 4)
        gathered.agents[0].kill()
        gathered.leave()
        assert states(gathered.sweep) == {"COMPLETE": 14}
        assert open_sweep(gathered.sweep)[0].state == "finished"
        assert len({pid for *_, pid, _ in gathered.notes("end")}) > 1
    finally:
        server.stop(None).wait()


@pytest.mark.timeout(400)
def test_pause_and_resume_lose_nothing(crew: Callable[..., Crew]) -> None:
    """Paused agents end what they run, begin nothing, and go on with what is left."""
    gathered = crew({"method": "grid", "parameters": {"x": {"values": [*range(30)]}}})
    gathered.hire(PAUSE="0.05")
    gathered.hire(PAUSE="0.05")
    gathered.wait(lambda: len(gathered.notes("begin")) >= 4)
    opened, _ = open_sweep(gathered.sweep)
    opened.set_state("paused")
    gathered.wait(lambda: len(gathered.notes("begin")) == len(gathered.notes("end")))
    assert len(gathered.notes("begin")) < 30
    assert all(agent.poll() is None for agent in gathered.agents)
    opened.set_state("running")
    gathered.leave()
    assert states(gathered.sweep) == {"COMPLETE": 30}
    assert len(gathered.notes("end")) == 30
