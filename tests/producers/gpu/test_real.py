"""The source on a real GPU, where there is one."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest
from tests.producers.gpu.replay import Replay

from runtide._sampler._nvml import NvmlSource
from runtide._sampler._source import Tier

ALL = frozenset(Tier)


def _gpus() -> int:
    try:
        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return 0


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(_gpus() == 0, reason="needs a GPU of NVIDIA's")]


@pytest.fixture
def source() -> Iterator[NvmlSource]:
    source = NvmlSource()
    yield source
    source.close()


def test_a_gpu_reports_what_every_gpu_has(source: NvmlSource) -> None:
    rows = [row for row in source.tick(ALL) if not row["mig_uuid"]]
    assert len(rows) == _gpus()
    for row, device in zip(rows, [d for d in source.devices() if d.kind == "gpu"], strict=True):
        assert row["gpu_uuid"] == device.device
        assert 0 < row["mem_used_bytes"] < (device.mem_total_bytes or 0)
        assert 0 < row["temp_gpu_c"] < 120
        assert 0 < row["sm_clock_mhz"] < 5_000
        power = row.get("power_instant_mw", row.get("power_avg_mw", 0))
        assert 3_000 < power < 2_000_000
        assert device.name
        assert {"driver", "pci_bus_id", "architecture"} <= set(device.facts)
    print(*source.devices(), *rows, *source.events(), sep="\n")


def test_energy_goes_up_as_power_says(source: NvmlSource) -> None:
    begun = time.monotonic()
    first = source.tick(ALL)[0]
    if "energy_mj" not in first:
        pytest.skip(source.devices()[0].absent.get("energy_mj", "no energy"))
    powers = []
    while time.monotonic() - begun < 5:
        time.sleep(0.1)
        powers.append(source.tick({Tier.FAST})[0].get("power_instant_mw", 0))
    last = source.tick({Tier.FAST})[0]
    watts = (last["energy_mj"] - first["energy_mj"]) / 1000 / (time.monotonic() - begun)
    assert watts == pytest.approx(sum(powers) / len(powers) / 1000, rel=0.35)


def test_gpm_and_history_where_the_gpu_has_them(source: NvmlSource, until: Callable[..., None]) -> None:
    seen: dict[str, Any] = {}

    def complete() -> bool:
        seen.update(source.tick(ALL)[0])
        absent = source.devices()[0].absent
        return all(name in seen or name in absent for name in ("sm_active_pct", "power_history_us", "util_history_us"))

    until(complete, "a value or a reason")
    for name in ("sm_active_pct", "tensor_active_pct", "dram_active_pct"):
        assert name not in seen or 0 <= seen[name] <= 100
    times = seen.get("util_history_us", [])
    assert times == sorted(times)
    assert all(abs(at / 1e6 - time.time()) < 60 for at in times)


def test_a_trace_of_it_plays_back(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    recording = NvmlSource(path)
    rows = [recording.tick(ALL)]
    recording.close()
    name = rows[0][0]["gpu_uuid"]
    assert name not in path.read_text("utf-8")
    replay = Replay(path)
    source = NvmlSource(binding=lambda: replay, wall=lambda: replay.wall)
    [first, *_] = source.tick(ALL)
    source.close()
    assert set(first) == set(rows[0][0])
    assert {k: v for k, v in first.items() if k != "gpu_uuid"} == {
        k: v for k, v in rows[0][0].items() if k != "gpu_uuid"
    }
