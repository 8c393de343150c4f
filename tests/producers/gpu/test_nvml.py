"""What the NVML source reads: tiers, units, means of GPM, the driver's own history, MIG."""

import math
import struct
from collections.abc import Callable

import pynvml
import pytest
from tests.producers.gpu.conftest import Node, uuid
from tests.producers.gpu.fake_pynvml import DOUBLE, INT, LONGLONG, UINT, ULONGLONG, USHORT, Clock, FakeGpu, Fault, Mig

from runtide._sampler._source import Tier
from runtide_schemas import STREAMS, decode, encode

Make = Callable[..., Node]
MIB = 1_048_576
FAST = {
    "gpu_uuid", "mig_uuid", "gpu_util_pct", "mem_util_pct", "mem_used_bytes", "sm_clock_mhz", "clock_event_reasons",
    "energy_mj", "power_avg_mw", "power_instant_mw",
}  # fmt: skip


def test_a_tick_reads_what_is_due_and_nothing_else(node: Make) -> None:
    of = node()
    assert set(of.tick(Tier.FAST)[0]) == FAST
    before = len(of.fake.calls)
    of.tick(Tier.FAST, after=0.1)
    assert {name for name, _ in of.fake.calls[before:]} == {
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetFieldValues",
    }, "no process list, no search for GPUs, no facts"
    of.tick(after=60)
    assert of.fake.count("nvmlInit") == 1
    assert of.fake.count("nvmlDeviceGetComputeRunningProcesses_v3") == 1


def test_values_and_units(node: Make) -> None:
    of = node(FakeGpu(uuid(0), power=lambda t: 450_127.0))
    of.tick()
    [row] = of.tick(after=10)
    assert row["power_instant_mw"] == row["power_avg_mw"] == 450_130, "to 10 mW"
    assert row["energy_mj"] == 1_000_000 + 4_501_270, "450 W for 10 s are 4500 J, on top of the counter's million"
    assert row["mem_used_bytes"] == 60 << 30, "without what the driver reserves"
    assert row["throttle_power_ns"] == 10**9
    assert (row["temp_gpu_c"], row["temp_mem_c"], row["power_limit_mw"]) == (61, 71, 700_000)
    assert (row["gpu_util_pct"], row["mem_util_pct"], row["sm_clock_mhz"], row["mem_clock_mhz"]) == (90, 40, 1755, 2619)
    assert (row["pcie_gen"], row["pcie_width"], row["pcie_replays"], row["processes"]) == (5, 16, 2, 1)
    assert "fan_pct" not in row
    assert of.device().absent == {"fan_pct": "the driver says that this GPU does not report it"}
    # Four links: each has 1, 2 and 3 + its number.
    assert (row["nvlink_replays"], row["nvlink_recoveries"], row["nvlink_crc_errors"]) == (4, 8, 3 + 4 + 5 + 6)


def test_rows_fit_the_stream_and_come_back_the_same(node: Make) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)))
    of.tick()
    rows = of.tick(after=5)
    head = {
        "run_id": "e/p/r", "writer": 1, "seq": 0, "host": "n", "time": 1, "period_ms": 1, "tick_us": 1, "skipped": 0
    }  # fmt: skip
    back = decode(STREAMS["gpu_ticks"], encode(STREAMS["gpu_ticks"], {**head, "gpus": rows}))["gpus"]
    for row, again in zip(rows, back, strict=True):
        # 32-bit floats on the wire.
        near = {
            name: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value for name, value in row.items()
        }
        assert {name: again[name] for name in row} == near
        assert {name for name, value in again.items() if value not in (None, "", [], {})} <= set(row)


@pytest.mark.parametrize(
    ("kind", "bits", "value"),
    [
        (UINT, 0xABABABAB_00000047, 0x47),
        (INT, 0xABABABAB_FFFFFFFB, -5),
        (USHORT, 0xABABABAB_ABAB0047, 0x47),
        (LONGLONG, 2**64 - 7, -7),
        (ULONGLONG, 2**40, 2**40),
        (DOUBLE, struct.unpack("<Q", struct.pack("<d", 71.0))[0], 71),
    ],
)
def test_a_field_is_read_by_its_type(node: Make, kind: int, bits: int, value: int) -> None:
    of = node(FakeGpu(uuid(0), fields={82: (kind, bits, 1)}))
    assert of.tick()[0]["temp_mem_c"] == value


def test_what_nvml_means_by_no_value_is_no_value(node: Make) -> None:
    nothing = {
        3: (DOUBLE, 0, 0),  # never filled: neither a type nor a time
        4: (ULONGLONG, 2**64 - 1, 1),  # NVML_VALUE_NOT_AVAILABLE
        190: (UINT, 0, 1),  # no power limit is 0
    }
    of = node(FakeGpu(uuid(0), fields=nothing))
    row = of.tick()[0]
    assert not {"ecc_corrected", "ecc_uncorrected"} & set(row)
    assert row["power_limit_mw"] == 650_000, "asked by its own call instead"
    assert "left it empty" in of.device().absent["ecc_corrected"]


def test_gpm_covers_all_the_time_between_ticks(node: Make) -> None:
    of = node()
    assert "sm_active_pct" not in of.tick(Tier.MEDIUM)[0], "one sample is no interval"
    for seconds in (0.5, 1.0, 3.0):
        # The stand-in's percentage is ten times the interval in seconds.
        assert of.tick(Tier.MEDIUM, after=seconds)[0]["sm_active_pct"] == 10 * seconds


def test_gpm_rounds_percents_turns_mib_into_bytes_and_leaves_nan_out(node: Make) -> None:
    metrics = {2: 33.3333, 5: math.nan, 10: math.inf, 20: 1.6, 21: 0.0, 60: 900_000.25, 61: 1 / 3}
    of = node(FakeGpu(uuid(0), metrics=metrics))
    of.tick(Tier.MEDIUM)
    row = of.tick(Tier.MEDIUM, after=1)[0]
    assert row["sm_active_pct"] == 33.3
    assert not {"tensor_active_pct", "dram_active_pct"} & set(row)
    assert (row["pcie_tx_bytes_s"], row["pcie_rx_bytes_s"]) == (2 * MIB, 0)
    assert (row["nvlink_rx_bytes_s"], row["nvlink_tx_bytes_s"]) == (900_000 * MIB, 0)


def test_gpm_is_not_sampled_faster_than_nvml_allows(node: Make) -> None:
    of = node()
    of.tick(Tier.MEDIUM)
    assert "sm_active_pct" not in of.tick(Tier.MEDIUM, after=0.05)[0]
    assert of.tick(Tier.MEDIUM, after=0.06)[0]["sm_active_pct"] == 1.1, "since the first, as nothing came between"
    assert not of.events(), "the driver was never asked about an interval that it refuses"


def test_one_metric_that_gpm_lacks_is_absent_alone(node: Make) -> None:
    of = node(faults=[Fault(3, metric=61), Fault(3, metric=60)])
    of.tick(Tier.MEDIUM)
    row = of.tick(Tier.MEDIUM, after=1)[0]
    assert "nvlink_tx_bytes_s" not in row
    assert row["pcie_tx_bytes_s"] == 10 * MIB
    assert set(of.device().absent) & set(row) == set()
    assert "does not report" in of.device().absent["nvlink_tx_bytes_s"]


def test_without_gpm_traffic_comes_from_counters(node: Make) -> None:
    counters = {
        197: lambda t: 5_000_000 * t if t < 20 else 0,  # begins anew at 20 s
        138: lambda t: 2_000 * t,
    }
    ampere = FakeGpu(uuid(0), "NVIDIA A40", pynvml.NVML_DEVICE_ARCH_AMPERE, gpm=False, fields=counters)
    of = node(ampere)
    assert "pcie_tx_bytes_s" not in of.tick(Tier.MEDIUM)[0]
    row = of.tick(Tier.MEDIUM, after=2)[0]
    assert row["pcie_tx_bytes_s"] == 5_000_000
    assert row["nvlink_tx_bytes_s"] == 2_000 * 1024, "the counter is in KiB"
    assert "pcie_tx_bytes_s" not in of.tick(Tier.MEDIUM, after=18)[0], "a counter that went back"
    assert of.tick(Tier.MEDIUM, after=1)[0]["pcie_tx_bytes_s"] == 0
    absent = of.device().absent
    assert "from Hopper on" in absent["sm_active_pct"]
    assert "pcie_tx_bytes_s" not in absent
    assert "from Hopper on" in absent["pcie_rx_bytes_s"], "it has no counter of it either"


def test_history_has_every_sample_of_the_driver_once(node: Make, clock: Clock) -> None:
    of = node(FakeGpu(uuid(0), util=lambda t: int(t) % 2 * 100))
    of.tick()
    times: list[int] = []
    values: list[float] = []
    for _ in range(4):
        row = of.tick(Tier.HISTORY, after=5)[0]
        times += row["util_history_us"]
        values += row["util_history_pct"]
        assert row["power_history_mw"] == [450_120] * len(row["power_history_us"])
    assert len(times) == 20 * 7, "seven a second, none twice, none lost"
    assert times == sorted(set(times))
    assert values[:14] == [0] * 6 + [100] * 7 + [0], "what five seconds between ticks would not show"
    assert all(clock.wall() - 20 <= at / 1e6 <= clock.wall() for at in times), "of before the start nothing is told"


def test_no_new_sample_is_no_error(node: Make) -> None:
    of = node()
    of.tick()
    row = of.tick(Tier.HISTORY)[0]
    assert "util_history_us" not in row
    assert not of.events()
    assert "util_history_us" not in of.device().absent
    assert of.tick(Tier.HISTORY, after=1)[0]["util_history_us"], "asked again at once"


def test_mig_instances_are_rows_of_their_own(node: Make) -> None:
    migs = [Mig("MIG-a", 1, 1 << 30), Mig("MIG-b", 5, 2 << 30)]
    of = node(FakeGpu(uuid(0), migs=migs), FakeGpu(uuid(1)))
    of.tick()
    parent, first, second, whole = of.tick(after=1)
    assert [(r["gpu_uuid"], r["mig_uuid"]) for r in (parent, first, second, whole)] == [
        (uuid(0), ""), (uuid(0), "MIG-a"), (uuid(0), "MIG-b"), (uuid(1), "")
    ]  # fmt: skip
    assert (first["mem_used_bytes"], second["mem_used_bytes"]) == (1 << 30, 2 << 30)
    assert first["sm_active_pct"] == 10.0
    assert not {"power_instant_mw", "temp_gpu_c", "energy_mj"} & set(first)
    assert {"power_instant_mw", "temp_gpu_c", "energy_mj"} <= set(parent)
    assert "gpu_util_pct" not in parent
    gpu, mig, *_ = of.source.devices()
    assert (mig.kind, mig.device, mig.parent, mig.gpu_index) == ("mig", "MIG-a", uuid(0), 0)
    assert "its instances" in gpu.absent["gpu_util_pct"]
    assert gpu.facts["mig"] == "on"
    assert "whole GPU only" in mig.absent["power_instant_mw"]
    assert not of.events(), "nothing of this is an error"


def test_an_instance_whose_number_is_not_known_is_not_taken_for_another(node: Make) -> None:
    """NVML asks for it by its number, and a number that is missing would be 0, another instance's."""
    migs = [Mig("MIG-a", 1), Mig("MIG-b", 5)]
    of = node(FakeGpu(uuid(0), migs=migs), faults=[Fault(pynvml.NVML_ERROR_NO_DATA, "nvmlDeviceGetGpuInstanceId")])
    of.tick()
    for row in of.tick(after=1)[1:]:
        assert row["mem_used_bytes"] and "sm_active_pct" not in row
    assert "nothing to report" in of.device(1).absent["sm_active_pct"]
    of.fake.faults.clear()
    of.tick(after=60)
    of.tick(after=301)
    assert all(row["sm_active_pct"] == 10.0 for row in of.tick(after=1)[1:])


def test_mig_instances_that_change_are_found(node: Make) -> None:
    gpu = FakeGpu(uuid(0))
    of = node(gpu)
    assert len(of.tick()) == 1
    gpu.migs.append(Mig("MIG-a", 1))
    assert len(of.tick(Tier.FAST, after=1)) == 1
    assert len(of.tick(after=60)) == 2
    gpu.migs[:] = [Mig("MIG-b", 2)]
    assert [row["mig_uuid"] for row in of.tick(after=60)] == ["", "MIG-b"]
    gpu.migs.clear()
    assert [row["mig_uuid"] for row in of.tick(after=60)] == [""]
    assert of.device().facts["mig"] == "off"


def test_a_gpu_that_is_added_is_found(node: Make) -> None:
    of = node()
    assert len(of.tick()) == 1
    of.fake.gpus.append(FakeGpu(uuid(1)))
    assert len(of.tick(Tier.FAST, after=1)) == 1
    assert len(of.tick(Tier.SLOW, after=29)) == 2
    assert [device.gpu_index for device in of.source.devices()] == [0, 1]


def test_facts(node: Make) -> None:
    of = node()
    device = of.device()
    assert (device.kind, device.device, device.vendor, device.gpu_index) == ("gpu", uuid(0), "NVIDIA", 0)
    assert device.mem_total_bytes == 80 << 30
    assert dict(device.facts) == {
        "driver": "570.86.15",
        "nvml": "12.570.86.15",
        "cuda": "12.8",
        "architecture": "Hopper",
        "pci_bus_id": "00000000:3B:00.0",
        "serial": "1652923001234",
        "vbios": "96.00.89.00.01",
        "cores": "16896",
        "numa_node": "0",
        "max_sm_clock_mhz": "1980",
        "max_mem_clock_mhz": "2619",
        "max_pcie_gen": "5",
        "max_pcie_width": "16",
        "min_power_limit_mw": "200000",
        "max_power_limit_mw": "700000",
        "default_power_limit_mw": "700000",
        "mig": "off",
    }


@pytest.mark.parametrize(
    "fault",
    [
        Fault(999, "nvmlDeviceGetArchitecture", end=30),
        Fault(999, "nvmlDeviceGetName", end=30),
        Fault(999, "nvmlDeviceGetFieldValues", end=30),
        Fault(999, field=91, end=30),
        Fault(1, field=91, end=30),
    ],
)
def test_what_could_not_be_known_at_the_start_is_asked_again(node: Make, fault: Fault) -> None:
    of = node(FakeGpu(uuid(0)), faults=[fault])
    of.tick()
    of.tick(after=60)
    row = of.tick(after=60)[0]
    assert row["nvlink_replays"] == 4
    assert (of.device().name, of.device().facts["architecture"]) == ("NVIDIA H100 80GB HBM3", "Hopper")
    assert len(row["util_history_us"]) > 0, "history goes on"


@pytest.mark.parametrize(
    ("name", "architecture", "column"),
    [
        ("Tesla V100-SXM2-32GB", pynvml.NVML_DEVICE_ARCH_VOLTA, "power_instant_mw"),
        ("NVIDIA A100-SXM4-80GB", pynvml.NVML_DEVICE_ARCH_AMPERE, "power_instant_mw"),
        ("NVIDIA A40", pynvml.NVML_DEVICE_ARCH_AMPERE, "power_avg_mw"),
    ],
)
def test_power_of_gpus_before_the_fields(node: Make, name: str, architecture: int, column: str) -> None:
    """The old call is the power now on GPUs up to the A100, and a mean over a second on those after it."""
    of = node(FakeGpu(uuid(0), name, architecture, gpm=False, fields={185: None, 186: None, 83: None}))
    row = of.tick()[0]
    assert {"power_instant_mw", "power_avg_mw"} & set(row) == {column}
    assert row[column] == 450_120
    assert row["energy_mj"] == 1_000_000
    other = {"power_instant_mw", "power_avg_mw"} - {column}
    assert other <= set(of.device().absent)
    assert not {column, "energy_mj"} & set(of.device().absent)
