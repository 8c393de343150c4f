"""A node of invented GPUs, and NVIDIA's library in C without a GPU."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.producers.gpu.fake_library import build, compiler
from tests.producers.gpu.fake_pynvml import Clock, FakeGpu, FakeNvml, Fault

from runtide._sampler import _nvml_events
from runtide._sampler._nvml import NvmlSource
from runtide._sampler._source import Device, Event, Tier

ALL = frozenset(Tier)


class Node:
    """A source over the stand-in, and time that passes when told."""

    def __init__(self, fake: FakeNvml, source: NvmlSource) -> None:
        self.fake = fake
        self.source = source

    def tick(self, *due: Tier, after: float = 0.0) -> list[dict[str, Any]]:
        """The rows of one tick of these tiers, or of all; after so many seconds."""
        self.fake.clock.pass_by(after)
        return self.source.tick(frozenset(due) or ALL)

    def device(self, place: int = 0) -> Device:
        return self.source.devices()[place]

    def events(self, kind: str = "") -> list[Event]:
        return [event for event in self.source.events() if not kind or event.kind == kind]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Node]]:
    """Makes a node of the GPUs, or of one."""
    monkeypatch.setattr(_nvml_events, "_WAIT_MS", 10)
    made: list[NvmlSource] = []

    def make(
        *gpus: FakeGpu,
        faults: list[Fault] | None = None,
        missing: set[str] | None = None,
        record: Path | None = None,
        kernel_log: Path = Path("/nowhere"),
    ) -> Node:
        fake = FakeNvml(list(gpus) or [FakeGpu(uuid(0))], clock, faults, missing)
        made.append(
            NvmlSource(record, binding=lambda: fake, clock=clock.monotonic, wall=clock.wall, kernel_log=kernel_log)
        )
        return Node(fake, made[-1])

    yield make
    for source in made:
        source.close()


def uuid(place: int) -> str:
    return f"GPU-00000000-1111-2222-3333-{place:012d}"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library in C. It stays loaded, so it is told what to be by the environment, in a process of its own."""
    if compiler() is None:
        pytest.skip("needs a C compiler named cc")
    return build(tmp_path_factory.mktemp("nvml"))
