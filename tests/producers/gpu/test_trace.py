"""What a driver answers is written down and played back, without names that tell which machine it was."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest
from tests.producers.gpu.conftest import ALL, Node, uuid
from tests.producers.gpu.fake_pynvml import Clock, FakeGpu, Fault, Mig
from tests.producers.gpu.replay import Replay

from runtide._sampler._nvml import NvmlSource
from runtide._sampler._source import Device, Event, Tier
from runtide._sampler._trace import Recording

Make = Callable[..., Node]
REAL = "GPU-3f2a9c41-7b1e-4d5c-9e8f-0a1b2c3d4e5f"
REAL_MIG = "MIG-9a3f2c41-1b7e-5d4c-8f9e-1a0b3c2d5e4f"


def drive(source: NvmlSource, clock: Clock) -> tuple[list[list[dict[str, Any]]], list[Device], list[Event]]:
    """A minute of ticks."""
    rows = [source.tick(ALL)]
    for second in range(1, 60):
        clock.pass_by(1)
        tiers = {t for t in Tier if second % t.value[0] == 0}
        rows.append(source.tick(tiers))
    return rows, source.devices(), source.events()


def recorded(node: Make, path: Path) -> tuple[list[list[dict[str, Any]]], list[Device], list[Event]]:
    gpus = [
        FakeGpu(REAL, util=lambda t: int(t) % 2 * 100, metrics={5: float("nan")}),
        FakeGpu(uuid(1), "NVIDIA A40", pynvml.NVML_DEVICE_ARCH_AMPERE, gpm=False, fields={197: lambda t: 1000 * t}),
        FakeGpu(uuid(2), migs=[Mig(REAL_MIG, 3), Mig("MIG-" + uuid(3)[4:], 5)]),
    ]
    faults = [Fault(15, gpu=1, start=20, end=45), Fault(999, "nvmlDeviceGetClockInfo", gpu=0, start=10, times=2)]
    of = node(*gpus, faults=faults, record=path)
    answers = drive(of.source, of.fake.clock)
    of.source.close()
    return answers


def unnamed(value: Any, names: dict[str, str]) -> Any:
    """The same with other names."""
    text = repr(value)
    for name, other in names.items():
        text = text.replace(name, other)
    return text


def test_what_is_played_back_gives_the_same_rows_devices_and_events(node: Make, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    rows, devices, events = recorded(node, path)
    replay, clock = Replay(path), Clock()
    source = NvmlSource(binding=lambda: replay, clock=clock.monotonic, wall=clock.wall)
    again = drive(source, clock)
    source.close()
    # The trace's names are in the order of their appearance.
    names = {
        REAL: "GPU-00000000-0000-0000-0000-000000000001",
        uuid(1): "GPU-00000000-0000-0000-0000-000000000002",
        uuid(2): "GPU-00000000-0000-0000-0000-000000000003",
        REAL_MIG: "MIG-00000000-0000-0000-0000-000000000001",
        "MIG-" + uuid(3)[4:]: "MIG-00000000-0000-0000-0000-000000000002",
        "1652923001234": "1",
        "00000000:3B:00.0": "00000000:01:00.0",
        "00000000:3C:00.0": "00000000:02:00.0",
        "00000000:3D:00.0": "00000000:03:00.0",
    }
    assert {len(tick) for tick in rows} == {4, 5}, "with a GPU that is lost for a while"
    for expected, found in zip(rows, again[0], strict=True):
        assert repr(found) == unnamed(expected, names)
    assert repr(again[1]) == unnamed(devices, names)
    assert repr(again[2]) == unnamed(events, names)
    assert {event.kind for event in events} == {"gpu_lost", "gpu_returned", "call_failed"}


def test_nothing_in_a_trace_tells_which_machine_it_was(node: Make, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    recorded(node, path)
    text = path.read_text("utf-8")
    for name in (REAL, REAL_MIG, uuid(1), uuid(2), "1652923001234", "3B:00", '"pid": 4242'):
        assert name not in text
    uuids = set(re.findall(r"(?:GPU|MIG)-[0-9a-f-]{36}", text))
    assert len(uuids) == 5
    assert all(re.fullmatch(r"(?:GPU|MIG)-00000000-0000-0000-0000-0{11}\d", one) for one in uuids)


def test_a_trace_is_one_call_a_line(node: Make, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    recorded(node, path)
    head, *lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert set(head) == {"trace", "wall"}
    assert all(set(line) == {"t", "gpu", "func", "args", "rc", "value"} for line in lines)
    [lost] = {line["rc"] for line in lines if line["gpu"] == "device1" and line["rc"] not in (0, 3, 6)}
    assert lost == 15
    fields = next(line for line in lines if line["func"] == "nvmlDeviceGetFieldValues" and len(line["args"][0]) == 3)
    assert [v["fieldId"] for v in fields["value"]] == [83, 185, 186]
    assert all({"valueType", "nvmlReturn", "value", "timestamp"} <= set(v) for v in fields["value"])


def test_what_the_disk_does_not_take_is_told_and_costs_no_tick(node: Make, tmp_path: Path) -> None:
    of = node(record=tmp_path / "trace.jsonl")
    recording = of.source._recording
    assert isinstance(recording, Recording)

    class Full:
        closed = False

        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.closed = True

    recording._out.close()
    recording._out = Full()  # type: ignore[assignment]
    for _ in range(3):
        assert len(of.tick(after=1)) == 1
    [event] = of.events()
    assert event.kind == "recording_ended"
    assert "No space left" in event.message


def test_a_place_where_nothing_can_be_written_is_told_at_the_start(node: Make, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        node(record=tmp_path / "missing" / "trace.jsonl")
