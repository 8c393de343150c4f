"""The source over a C library with the structures of NVML's header: layouts, the fast path, calls that hang."""

import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from runtide._sampler import _nvml_calls, _nvml_fields, _nvml_history
from runtide._sampler._nvml import NvmlSource
from runtide._sampler._source import Event, Tier

ALL = frozenset(Tier)
Open = Callable[..., NvmlSource]


@pytest.fixture
def opened(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a source over the library, with settings of its environment."""
    made: list[NvmlSource] = []
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setenv("RUNTIDE_NVML_LIBRARY", str(library))

    def make(record: Path | None = None, **settings: object) -> NvmlSource:
        for name, value in settings.items():
            monkeypatch.setenv(f"RUNTIDE_FAKE_NVML_{name.upper()}", str(value))
        made.append(NvmlSource(record))
        return made[-1]

    yield make
    for source in made:
        source.close()
    pynvml._nvmlGetFunctionPointer_cache.clear()


def calls(name: str) -> int:
    counter: Any = pynvml.nvmlLib.fake_calls
    return int(counter(name.encode()))


def everything(source: NvmlSource, until: Callable[..., None]) -> list[dict[str, Any]]:
    """Everything that ticks bring, once the driver has new samples and GPM an interval."""
    rows = source.tick(ALL)

    def complete() -> bool:
        for row, more in zip(rows, source.tick(ALL), strict=True):
            row.update(more)
        return all({"util_history_us", "power_history_us", "sm_active_pct"} <= set(row) for row in rows)

    until(complete, "GPM and history")
    return rows


def test_every_structure_is_laid_out_as_in_the_header(opened: Open, until: Callable[..., None]) -> None:
    source = opened()
    rows = everything(source, until)
    assert [row["gpu_uuid"][-2:] for row in rows] == [f"{i:02d}" for i in range(8)]
    for i, row in enumerate(rows):
        assert (row["gpu_util_pct"], row["mem_util_pct"]) == (90 + i, 40)
        assert row["mem_used_bytes"] == 59_500_000_000 + i
        assert (row["sm_clock_mhz"], row["mem_clock_mhz"]) == (1755 + i, 2619)
        assert (row["temp_gpu_c"], row["temp_mem_c"]) == (60 + i, 70 + i)
        assert (row["power_avg_mw"], row["power_instant_mw"], row["power_limit_mw"]) == (450_120, 455_680, 700_000)
        assert 1e9 + i * 1e6 <= row["energy_mj"] < 1e9 + i * 1e6 + 450e3 * 600
        assert (row["ecc_corrected"], row["ecc_uncorrected"], row["remap_pending"]) == (0, 1, 0)
        assert (row["nvlink_replays"], row["nvlink_recoveries"], row["nvlink_crc_errors"]) == (1, 2, 3)
        assert (row["pcie_gen"], row["pcie_width"], row["pcie_replays"], row["processes"]) == (5, 16, 2, 1)
        assert row["clock_event_reasons"] == 4
        assert (row["sm_active_pct"], row["sm_occupancy_pct"], row["tensor_active_pct"]) == (2.5, 3.8, 6.3)
        assert "fp64_active_pct" not in row, "NaN"
        assert row["pcie_tx_bytes_s"] == (120 + i) * 1_048_576
        assert row["nvlink_rx_bytes_s"] == (160 + i) * 1_048_576
        for at, value in zip(row["util_history_us"], row["util_history_pct"], strict=True):
            assert value == at // (1_000_000 // 7) % 101, "32 bits of the value, whatever is behind them"
        for at, value in zip(row["power_history_us"], row["power_history_mw"], strict=True):
            assert value == 450_000 + at // (1_000_000 // 7) % 100 * 10
    devices = source.devices()
    assert devices[3].facts["pci_bus_id"] == "00000000:13:00.0"
    assert (devices[3].facts["max_power_limit_mw"], devices[3].facts["cuda"]) == ("700000", "12.8")
    assert set(devices[3].absent) == {"fan_pct"}
    assert not source.events()


def test_the_fast_path_reads_what_the_wrappers_read(
    opened: Open, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = everything(opened(), until)
    for module in (_nvml_calls, _nvml_fields, _nvml_history):
        monkeypatch.setattr(module, "pointer", lambda nvml, name: None)
    slow = everything(opened(), until)
    moving = {"energy_mj", "throttle_power_ns"}
    for one, other in zip(fast, slow, strict=True):
        assert set(one) == set(other)
        stays = {name for name in one if name not in moving and "history" not in name}
        assert {name: one[name] for name in stays} == {name: other[name] for name in stays}
        assert slow[0]["util_history_us"] == sorted(set(slow[0]["util_history_us"]))


def test_one_call_brings_all_fields_and_all_samples(opened: Open) -> None:
    source = opened()
    before = {name: calls(name) for name in ("nvmlDeviceGetFieldValues", "nvmlDeviceGetSamples")}
    source.tick({Tier.FAST, Tier.MEDIUM})
    assert calls("nvmlDeviceGetFieldValues") - before["nvmlDeviceGetFieldValues"] == 8 * 2
    source.tick({Tier.HISTORY})
    assert calls("nvmlDeviceGetSamples") - before["nvmlDeviceGetSamples"] == 8 * 2, "power and utilization, once each"
    assert calls("nvmlInitWithFlags") == 1


def test_an_error_of_the_whole_call_of_fields(opened: Open) -> None:
    source = opened(fail="nvmlDeviceGetFieldValues:999")
    rows = source.tick(ALL)
    assert all("temp_mem_c" not in row and row["gpu_util_pct"] >= 90 for row in rows)
    assert {event.kind for event in source.events()} == {"call_failed"}
    assert "999" in source.devices()[0].absent["temp_mem_c"]


def test_an_xid_comes_through_the_structure_of_events(opened: Open, until: Callable[..., None]) -> None:
    source = opened(xid="3:79")
    found: list[Event] = []
    until(lambda: found.extend(source.events()) or found, "the XID")
    assert (found[0].kind, found[0].code) == ("xid", 79)
    assert found[0].device.endswith("03")
    assert len(source.tick({Tier.FAST})) == 7


def test_a_recording_is_the_same_calls(opened: Open, tmp_path: Path) -> None:
    source = opened(record=tmp_path / "trace.jsonl")
    assert len(source.tick(ALL)) == 8
    source.close()
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text("utf-8").splitlines()]
    assert {"nvmlDeviceGetFieldValues", "nvmlDeviceGetSamples", "nvmlGpmSampleGet"} <= {
        line["func"] for line in lines[1:]
    }
    assert "fa4e0000" not in (tmp_path / "trace.jsonl").read_text("utf-8")


SCRIPT = """
import sys, threading, time
from runtide._sampler._nvml import NvmlSource
from runtide._sampler._source import Tier
source = NvmlSource()
source.tick(frozenset(Tier))
print("ready", flush=True)
def look():
    while True:
        time.sleep(0.05)
        print(*source.doing, flush=True)
threading.Thread(target=look, daemon=True).start()
while True:
    source.tick({Tier.FAST})
    time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_call_that_hangs_holds_neither_the_gil_nor_the_end(library: Path) -> None:
    environment = os.environ | {
        "RUNTIDE_NVML_LIBRARY": str(library),
        "RUNTIDE_FAKE_NVML_HANG": "nvmlDeviceGetUtilizationRates:5",
    }
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        hung = "GPU-fa4e0000-aaaa-bbbb-cccc-000000000000 nvmlDeviceGetUtilizationRates"
        seen = 0
        for line in process.stdout:
            seen = seen + 1 if line.strip() == hung else 0
            if seen == 10:
                break
        assert seen == 10, "another thread runs on, and knows which call hangs"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def test_what_eight_gpus_cost(opened: Open) -> None:
    """CPU time of this thread: 80 rows a second must stay far below one percent of a core, so below 1 ms a tick."""
    source = opened()
    source.tick(ALL)
    lines = []
    for tiers in ({Tier.FAST}, {Tier.FAST, Tier.MEDIUM}, {Tier.HISTORY}, {Tier.SLOW}, {Tier.RARE}):
        costs = []
        for _ in range(50):
            begun = time.thread_time_ns()
            source.tick(tiers)
            costs.append((time.thread_time_ns() - begun) / 1000)
        lines.append(f"{'+'.join(sorted(t.name for t in tiers)):14} {statistics.median(costs):6.0f} µs")
        if tiers == {Tier.FAST}:
            assert statistics.median(costs) < 1_000
    print("CPU time of a tick of 8 GPUs:", *lines, sep="\n  ")


def test_the_layout_of_the_binding_is_checked_before_it_is_relied_on(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Longer(ctypes.Structure):
        _fields_ = (*pynvml.c_nvmlFieldValue_t._fields_, ("more", ctypes.c_uint64))

    monkeypatch.setattr(pynvml, "c_nvmlFieldValue_t", Longer)
    batch = _nvml_fields.FieldBatch(pynvml, "", (), None)  # type: ignore[arg-type]
    assert batch._call is None, "the wrapper is asked instead"
