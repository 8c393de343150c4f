"""What NVML answers when something is wrong: each costs a field, a GPU or an event, and never the tick."""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest
from tests.producers.gpu.conftest import ALL, Node, uuid
from tests.producers.gpu.fake_pynvml import Clock, FakeGpu, FakeNvml, Fault

from runtide._sampler import _nvml
from runtide._sampler._nvml import NvmlSource
from runtide._sampler._source import Tier

Make = Callable[..., Node]

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND_FUNCTION, LOST, RESET, UNKNOWN = 3, 4, 13, 15, 16, 999


def rows_of(of: Node, seconds: int, column: str, *tiers: Tier) -> list[int]:
    """The seconds at which the first GPU's row has the column, ticking once a second."""
    return [second for second in range(seconds) if column in of.tick(*tiers, after=1)[0]]


@pytest.mark.parametrize(
    ("code", "severity", "words"),
    [
        (12, "info", "no NVIDIA driver"),
        (9, "warning", "not loaded"),
        (18, "error", "reboot"),
        (999, "warning", "does not start"),
    ],
)
def test_no_driver_is_one_event_and_is_tried_again(
    node: Make, clock: Clock, code: int, severity: str, words: str
) -> None:
    of = node(faults=[Fault(code, "nvmlInit", end=5_000)])
    assert of.tick() == []
    assert of.source.devices() == []
    [event] = of.events()
    assert (event.kind, event.severity, event.code, event.device) == ("no_driver", severity, code, "")
    assert words in event.message
    assert words in of.source.reason
    for _ in range(59):
        of.tick(after=1)
    assert of.fake.count("nvmlInit") == 1
    of.tick(after=2)
    assert of.fake.count("nvmlInit") == 2, "after a minute"
    for _ in range(59):
        of.tick(after=60)
    assert of.fake.count("nvmlInit") == 2, "then every hour"
    of.tick(after=60)
    assert of.fake.count("nvmlInit") == 3
    assert not of.events(), "the same reason is not told again"
    of.tick(after=3_600)
    assert [event.kind for event in of.events()] == ["driver_found"]
    assert of.source.reason == ""
    assert len(of.tick(after=1)) == 1


def test_without_the_binding_there_is_one_event(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    source = NvmlSource(clock=clock.monotonic)
    assert (source.tick(ALL), source.devices()) == ([], [])
    [event] = source.events()
    assert event.kind == "no_driver"
    assert "pip install 'runtide[gpu]'" in event.message
    source.close()


def test_on_this_machine_the_real_binding_gives_rows_or_one_event(clock: Clock) -> None:
    source = NvmlSource()
    events = source.events()
    assert source.tick(ALL) if source.devices() else [event.kind for event in events] == ["no_driver"]
    assert bool(source.devices()) != bool(source.reason)
    source.close()


def test_a_library_that_does_not_load_is_one_event(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(_nvml._LIBRARY, str(tmp_path / "missing.so"))
    source = NvmlSource(clock=clock.monotonic)
    assert source.tick(ALL) == []
    [event] = source.events()
    assert "RUNTIDE_NVML_LIBRARY names a library that does not load" in event.message
    source.close()


def test_a_driver_that_shows_no_gpu(node: Make, clock: Clock) -> None:
    fake = FakeNvml([], clock)
    source = NvmlSource(binding=lambda: fake, clock=clock.monotonic, wall=clock.wall)
    for _ in range(3):
        clock.pass_by(60)
        assert source.tick(ALL) == []
    assert [event.message for event in source.events()] == ["The NVIDIA driver shows no GPU here."]
    fake.gpus.append(FakeGpu(uuid(0)))
    clock.pass_by(60)
    assert len(source.tick(ALL)) == 1
    source.close()


@pytest.mark.parametrize("code", [LOST, RESET, 28])
def test_a_lost_gpu_is_dropped_alone_and_comes_back(node: Make, code: int) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)), FakeGpu(uuid(2)), faults=[Fault(code, gpu=1, start=10, end=100)])
    assert len(of.tick()) == 3
    of.events()
    assert [row["gpu_uuid"] for row in of.tick(after=11)] == [uuid(0), uuid(2)]
    [event] = of.events()
    assert (event.kind, event.severity, event.device, event.code) == ("gpu_lost", "error", uuid(1), code)
    before = of.fake.count("nvmlDeviceGetUtilizationRates", 1)
    for _ in range(80):
        assert len(of.tick(Tier.FAST, after=1)) == 2
    assert of.fake.count("nvmlDeviceGetUtilizationRates", 1) == before, "it is left in peace"
    assert of.fake.count("nvmlDeviceGetHandleByUUID") == 2, "but for one look every 30 s"
    assert uuid(1) in [device.device for device in of.source.devices()], "its page stays"
    rows = [len(of.tick(after=1)) for _ in range(40)]
    assert rows[-1] == 3
    assert [(event.kind, event.device) for event in of.events()] == [("gpu_returned", uuid(1))]


def test_a_gpu_that_is_lost_before_the_start(node: Make) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)), faults=[Fault(LOST, gpu=0, end=70)])
    assert [row["gpu_uuid"] for row in of.tick()] == [uuid(1)]
    [event] = of.events()
    assert event.kind == "gpu_lost"
    assert "GPU 0" in event.message
    assert len(of.tick(after=60)) == 1
    assert len(of.tick(after=60)) == 2
    assert not of.events("gpu_lost"), "told once"


def test_a_gpu_that_is_not_listed_any_more(node: Make) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)))
    of.tick()
    gone = of.fake.gpus.pop(0)
    rows = of.tick(after=30)
    assert [row["gpu_uuid"] for row in rows] == [uuid(1)]
    assert [(event.kind, event.device) for event in of.events()] == [("gpu_lost", uuid(0))]
    of.fake.gpus.insert(0, gone)
    of.tick(after=30)
    assert len(of.tick(after=30)) == 2
    assert [(event.kind, event.device) for event in of.events()] == [("gpu_returned", uuid(0))]


@pytest.mark.parametrize(
    ("fault", "column", "tier"),
    [
        (Fault(NOT_SUPPORTED, "nvmlDeviceGetUtilizationRates"), "gpu_util_pct", Tier.FAST),
        (Fault(NOT_SUPPORTED, field=82), "temp_mem_c", Tier.MEDIUM),
        (Fault(NOT_SUPPORTED, "nvmlDeviceGetFieldValues"), "temp_mem_c", Tier.MEDIUM),
        (Fault(NOT_SUPPORTED, "nvmlDeviceGetSamples"), "power_history_mw", Tier.HISTORY),
        (Fault(NOT_SUPPORTED, "nvmlGpmSampleGet"), "sm_active_pct", Tier.MEDIUM),
    ],
)
def test_what_is_not_supported_is_absent_with_a_reason_and_never_given_up(
    node: Make, fault: Fault, column: str, tier: Tier
) -> None:
    fault.end = 1_000
    of = node(faults=[fault])
    assert rows_of(of, 900, column, tier) == []
    assert of.device().absent[column] == "the driver says that this GPU does not report it"
    assert not of.events(), "no error: most GPUs lack something"
    back = rows_of(of, 500, column, tier)
    assert back[0] <= 100 + 300, "within five minutes of when it works again"
    assert back == list(range(back[0], 500))
    assert column not in of.device().absent


def test_what_is_not_supported_is_asked_ever_more_rarely(node: Make) -> None:
    of = node(faults=[Fault(NOT_SUPPORTED, "nvmlDeviceGetUtilizationRates")])
    for _ in range(3_600):
        of.tick(Tier.FAST, after=1)
    # After 1, 2, 4, …, 256 s, then every 300 s.
    assert 9 <= of.fake.count("nvmlDeviceGetUtilizationRates") <= 22


def test_fields_that_are_not_supported_leave_the_batch(node: Make) -> None:
    of = node(FakeGpu(uuid(0), fields={82: None, 79: None}))
    sizes = []
    real = of.fake.nvmlDeviceGetFieldValues
    of.fake.nvmlDeviceGetFieldValues = lambda handle, fieldIds: (  # type: ignore[method-assign]
        sizes.append(len(fieldIds)),
        real(handle, fieldIds),
    )[1]
    for _ in range(20):
        of.tick(Tier.MEDIUM, after=1)
    assert sizes[0] == 7
    assert sizes.count(7) == 5, "asked again after 1, 2, 4 and 8 s"
    assert set(sizes) == {5, 7}


@pytest.mark.parametrize("code", [NOT_SUPPORTED, UNKNOWN])
def test_one_spurious_error_costs_one_second(node: Make, code: int) -> None:
    of = node(faults=[Fault(code, "nvmlDeviceGetUtilizationRates", start=3, times=1), Fault(code, field=83, times=1)])
    seen = rows_of(of, 10, "gpu_util_pct", Tier.FAST)
    assert seen == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert "energy_mj" in of.tick(Tier.FAST, after=1)[0]
    assert not of.device().absent


def test_a_spurious_zero_is_no_value(node: Make) -> None:
    zero = {number: (lambda t: 0 if 3 <= t < 5 else 450_000) for number in (83, 185, 186)}
    of = node(FakeGpu(uuid(0), fields=zero, power=lambda t: 450_000.0))
    rows = [of.tick(Tier.FAST, after=1)[0] for _ in range(8)]
    assert all(row.get("power_instant_mw") in (None, 450_000) for row in rows)
    assert [i for i, row in enumerate(rows) if "power_instant_mw" not in row] == [2, 3]
    assert all(row["energy_mj"] > 0 for row in rows), "by the call of its own meanwhile"


@pytest.mark.parametrize("code", [UNKNOWN, 17, 20])
def test_an_unknown_error_backs_that_call_off_and_is_told_once(node: Make, code: int) -> None:
    of = node(faults=[Fault(code, "nvmlDeviceGetClockInfo", end=100)])
    for _ in range(90):
        row = of.tick(Tier.FAST, after=1)[0]
        assert "sm_clock_mhz" not in row
        assert "gpu_util_pct" in row
    assert of.fake.count("nvmlDeviceGetClockInfo") < 10
    [event] = of.events()
    assert (event.kind, event.severity, event.code, event.device) == ("call_failed", "warning", code, uuid(0))
    assert "sm_clock_mhz" in event.message
    assert str(code) in of.device().absent["sm_clock_mhz"]
    assert rows_of(of, 150, "sm_clock_mhz", Tier.FAST)


@pytest.mark.parametrize(
    ("missing", "column", "value"),
    [
        ("nvmlDeviceGetTemperatureV", "temp_gpu_c", 62),
        ("nvmlDeviceGetCurrentClocksEventReasons", "clock_event_reasons", 4),
        ("nvmlDeviceGetMemoryInfo_v2", "mem_used_bytes", (60 << 30) + (1 << 29)),
        ("nvmlDeviceGetFanSpeed_v2", "fan_pct", 33),
    ],
)
def test_an_old_driver_is_asked_by_the_older_call(node: Make, missing: str, column: str, value: int) -> None:
    of = node(missing={missing})
    for _ in range(5):
        assert of.tick(after=1)[0][column] == value
    assert of.fake.count(missing) <= 1, "what is not there is not looked for at every tick"
    assert not of.events()
    assert column not in of.device().absent


def test_what_no_call_of_an_old_driver_gives_is_absent(node: Make) -> None:
    of = node(missing={"nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", "nvmlGpmQueryDeviceSupport"})
    row = of.tick(after=1)[0]
    assert not {"temp_gpu_c", "sm_active_pct"} & set(row)
    absent = of.device().absent
    assert absent["temp_gpu_c"] == absent["sm_active_pct"] == "the driver is too old for it"
    assert not of.events()


def test_a_permission_is_one_event_for_all_gpus(node: Make) -> None:
    gpus = [FakeGpu(uuid(place)) for place in range(8)]
    of = node(*gpus, faults=[Fault(NO_PERMISSION, "nvmlGpmSampleGet", end=500)])
    for _ in range(100):
        of.tick(Tier.MEDIUM, after=1)
    [event] = of.events()
    assert (event.kind, event.severity, event.code) == ("no_permission", "warning", NO_PERMISSION)
    assert "nvmlGpmSampleGet" in event.message
    assert "sm_active_pct" in event.message
    assert "does not allow" in of.device().absent["sm_active_pct"]
    assert of.fake.count("nvmlGpmSampleGet", 0) < 10
    assert rows_of(of, 800, "sm_active_pct", Tier.MEDIUM)


@pytest.mark.parametrize("tier", [Tier.FAST, Tier.MEDIUM])
def test_nvml_that_somebody_shut_down_is_started_again(node: Make, tier: Tier) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)))
    of.tick()
    of.fake.nvmlShutdown()
    of.tick(tier, after=1)
    rows = of.tick(after=1)
    assert [row["gpu_uuid"] for row in rows] == [uuid(0), uuid(1)]
    assert {"gpu_util_pct", "temp_mem_c", "processes"} <= set(rows[0])
    assert "sm_active_pct" in of.tick(after=1)[0], "GPM begins a new chain"
    assert of.fake.count("nvmlInit") == 2
    assert not of.events("gpu_lost")


def test_handles_of_another_life_are_renewed(node: Make) -> None:
    of = node()
    of.tick()
    # As if another user of the library in this process had ended and begun it: our handles are invalid.
    of.fake.nvmlShutdown()
    of.fake.nvmlInit()
    of.fake.faults.append(Fault(2, times=1))
    of.tick(Tier.FAST, after=1)
    assert len(of.tick(after=1)) == 1
    assert of.fake.count("nvmlInit") == 3


def test_an_invalid_argument_is_not_taken_for_a_stale_handle_for_ever(node: Make) -> None:
    of = node(faults=[Fault(2, "nvmlDeviceGetClockInfo", start=5)])
    for _ in range(120):
        of.tick(Tier.FAST, after=1)
    assert of.fake.count("nvmlInit") <= 3
    assert "gpu_util_pct" in of.tick(Tier.FAST, after=1)[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_starts_nvml_for_itself(node: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    of = node()
    of.tick()
    assert of.source._table is not None
    parents = of.source._table._events
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    assert len(of.tick(after=1)) == 1
    assert of.fake.count("nvmlInit") == 2
    assert of.fake.count("nvmlEventSetFree") == 0, "the thread of events is the parent's"
    assert len(of.tick(after=1)) == 1
    assert of.fake.count("nvmlInit") == 2
    assert parents is not None
    parents.close()


def test_nvml_that_does_not_start_again_is_one_event_and_tried_later(node: Make) -> None:
    of = node(faults=[Fault(UNKNOWN, "nvmlInit", start=5, end=200)])
    of.tick()
    of.fake.nvmlShutdown()
    assert of.tick(after=10) == []
    assert [event.kind for event in of.events()] == ["no_driver"]
    assert of.source.devices() == []
    for _ in range(4):
        of.tick(after=3_600)
    assert len(of.tick(after=1)) == 1


def test_energy_of_a_driver_that_was_loaded_again_is_stored_as_it_is(node: Make) -> None:
    of = node(FakeGpu(uuid(0), counter_reset=15.0))
    before, after = (of.tick(Tier.FAST, after=10)[0]["energy_mj"] for _ in range(2))
    assert 0 < after < before, "differences are the queries' business"


def test_events_are_bounded_and_the_loss_is_told(node: Make) -> None:
    gpus = [FakeGpu(uuid(place)) for place in range(40)]
    of = node(*gpus, faults=[])
    for code in range(100, 130):
        of.fake.faults[:] = [Fault(code, "nvmlDeviceGetClockInfo")]
        of.tick(Tier.FAST, after=400)
    events = of.events()
    assert len(events) == 1_001
    assert events[-1].kind == "events_dropped"
    assert events[-1].message.startswith(f"{30 * 40 - 1_000} events")


def test_close_frees_what_was_taken_and_can_be_repeated(node: Make) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)))
    of.tick()
    of.source.close()
    assert of.fake.count("nvmlGpmSampleFree") == of.fake.count("nvmlGpmSampleAlloc") == 4
    assert of.fake.count("nvmlShutdown") == 1
    of.source.close()


def test_what_is_being_waited_for_is_known_to_a_watchdog(node: Make) -> None:
    of = node()
    seen: list[tuple[str, str]] = []
    real = of.fake.nvmlDeviceGetUtilizationRates

    def look(handle: Any) -> Any:
        seen.append(of.source.doing)
        return real(handle)

    of.fake.nvmlDeviceGetUtilizationRates = look  # type: ignore[method-assign]
    of.tick()
    assert seen == [(uuid(0), "nvmlDeviceGetUtilizationRates")]
    assert of.source.doing == ("", "")


def test_the_real_exceptions_are_what_the_stand_in_raises() -> None:
    assert isinstance(pynvml.NVMLError(LOST), pynvml.NVMLError_GpuIsLost)
    assert isinstance(pynvml.NVMLError(18), pynvml.NVMLError_LibRmVersionMismatch)
    assert ctypes.sizeof(pynvml.c_nvmlDevice_t) == ctypes.sizeof(ctypes.c_void_p)
