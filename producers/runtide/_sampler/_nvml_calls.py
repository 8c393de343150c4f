"""What is asked of NVML, and how often: calls of their own, and fields that one call brings together.

Never asked: nvmlDeviceGetPcieThroughput, which sleeps 20 ms. docs/hardware_nvml.md has the table with units.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from runtide._sampler._source import Tier

# The scope of a field that stands for all NVLinks together.
ALL_LINKS = 0xFFFFFFFF


# A way to ask: of NVML and a handle it makes a reader, which gives the values of the columns.
Reader = Callable[[], Iterable[int]]


@dataclass(frozen=True)
class Way:
    """One function of NVML.

    Args:
        name: Its name.
        prepare: Makes a reader for one device.
    """

    name: str
    prepare: Callable[[Any, Any], Reader]


@dataclass(frozen=True)
class Call:
    """One call for one or two columns.

    Args:
        tier: How often.
        columns: What it fills, in the order of what a reader gives.
        ways: The newest first; the next is taken where the driver is too old.
    """

    tier: Tier
    columns: tuple[str, ...]
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Field:
    """One field of nvmlDeviceGetFieldValues.

    Args:
        id: NVML's number of it.
        column: What it fills. Fields of one column are added up, as of one NVLink each.
        scope: NVML's scope: 0, or an NVLink.
        step: Rounded to a multiple of this: rounded values take less than half the space.
        positive: 0 is not a value but one of NVML's spurious answers.
    """

    id: int
    column: str
    scope: int = 0
    step: int = 1
    positive: bool = False


def pointer(nvml: Any, name: str) -> Any:
    """The C function itself, or None where nvidia-ml-py does not give it or the library lacks it."""
    find = getattr(nvml, "_nvmlGetFunctionPointer", None)
    if find is None:
        return None
    try:
        return find(name)
    except nvml.NVMLError:
        return None


def _into(nvml: Any, name: str, arguments: tuple[Any, ...], take: Callable[[], Iterable[int]]) -> Reader | None:
    """A reader that calls the C function, with memory that is allocated once: a third of the wrapper's cost."""
    function = pointer(nvml, name)
    if function is None:
        return None

    def read() -> Iterable[int]:
        code = function(*arguments)
        if code != 0:
            raise nvml.NVMLError(code)
        return take()

    return read


def number(name: str, kind: type[Any] = ctypes.c_uint, *which: int) -> Way:
    """A function that gives one number; `which` says of what, such as of which clock."""

    def prepare(nvml: Any, handle: Any) -> Reader:
        value = kind()
        arguments = (handle, *(ctypes.c_uint(one) for one in which), ctypes.byref(value))
        wrapper = getattr(nvml, name)
        return _into(nvml, name, arguments, lambda: (value.value,)) or (lambda: (wrapper(handle, *which),))

    return Way(name, prepare)


def _utilization() -> Way:
    name = "nvmlDeviceGetUtilizationRates"

    def prepare(nvml: Any, handle: Any) -> Reader:
        kind = nvml.c_nvmlUtilization_t
        rates = kind()
        # Views of the structure's memory: its own attributes go through Python.
        gpu, memory = (ctypes.c_uint.from_buffer(rates, field.offset) for field in (kind.gpu, kind.memory))

        def ask() -> Iterable[int]:
            answer = nvml.nvmlDeviceGetUtilizationRates(handle)
            return answer.gpu, answer.memory

        return _into(nvml, name, (handle, ctypes.byref(rates)), lambda: (gpu.value, memory.value)) or ask

    return Way(name, prepare)


def _memory() -> Way:
    name = "nvmlDeviceGetMemoryInfo_v2"

    def prepare(nvml: Any, handle: Any) -> Reader:
        memory = nvml.c_nvmlMemory_v2_t()
        memory.version = nvml.nvmlMemory_v2
        used = ctypes.c_ulonglong.from_buffer(memory, nvml.c_nvmlMemory_v2_t.used.offset)

        def ask() -> Iterable[int]:
            return (nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2).used,)

        return _into(nvml, name, (handle, ctypes.byref(memory)), lambda: (used.value,)) or ask

    return Way(name, prepare)


def _wrapped(name: str, ask: Callable[[Any, Any], int]) -> Way:
    """What is asked rarely goes through nvidia-ml-py's wrapper."""
    return Way(name, lambda nvml, handle: lambda: (ask(nvml, handle),))


# What the driver reserves counts as used in the old call.
MEMORY = Call(
    Tier.FAST,
    ("mem_used_bytes",),
    (_memory(), _wrapped("nvmlDeviceGetMemoryInfo", lambda nvml, handle: nvml.nvmlDeviceGetMemoryInfo(handle).used)),
)

_SM, _MEM = 1, 2  # nvmlClockType_t
_CHIP = 0  # nvmlTemperatureSensors_t

CALLS = (
    Call(Tier.FAST, ("gpu_util_pct", "mem_util_pct"), (_utilization(),)),
    MEMORY,
    Call(Tier.FAST, ("sm_clock_mhz",), (number("nvmlDeviceGetClockInfo", ctypes.c_uint, _SM),)),
    Call(
        Tier.FAST,
        ("clock_event_reasons",),
        (
            number("nvmlDeviceGetCurrentClocksEventReasons", ctypes.c_ulonglong),
            number("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong),
        ),
    ),
    Call(
        Tier.MEDIUM,
        ("temp_gpu_c",),
        (
            _wrapped("nvmlDeviceGetTemperatureV", lambda nvml, handle: nvml.nvmlDeviceGetTemperatureV(handle, _CHIP)),
            number("nvmlDeviceGetTemperature", ctypes.c_uint, _CHIP),
        ),
    ),
    Call(Tier.MEDIUM, ("mem_clock_mhz",), (number("nvmlDeviceGetClockInfo", ctypes.c_uint, _MEM),)),
    Call(Tier.SLOW, ("pcie_gen",), (number("nvmlDeviceGetCurrPcieLinkGeneration"),)),
    Call(Tier.SLOW, ("pcie_width",), (number("nvmlDeviceGetCurrPcieLinkWidth"),)),
    Call(
        Tier.SLOW,
        ("fan_pct",),
        (number("nvmlDeviceGetFanSpeed_v2", ctypes.c_uint, 0), number("nvmlDeviceGetFanSpeed")),
    ),
    Call(
        Tier.RARE,
        ("processes",),
        (
            _wrapped(
                "nvmlDeviceGetComputeRunningProcesses_v3",
                lambda nvml, handle: len(nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)),
            ),
            _wrapped(
                "nvmlDeviceGetComputeRunningProcesses_v2",
                lambda nvml, handle: len(nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)),
            ),
        ),
    ),
)

POWER = _wrapped("nvmlDeviceGetPowerUsage", lambda nvml, handle: round(nvml.nvmlDeviceGetPowerUsage(handle), -1))

# Asked only while the field that brings the column does not answer: GPUs and drivers before the fields.
INSTEAD = (
    Call(Tier.FAST, ("energy_mj",), (number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong),)),
    Call(Tier.SLOW, ("power_limit_mw",), (number("nvmlDeviceGetEnforcedPowerLimit"),)),
)

FIELDS = {
    Tier.FAST: (
        Field(83, "energy_mj", positive=True),
        Field(185, "power_avg_mw", step=10, positive=True),
        Field(186, "power_instant_mw", step=10, positive=True),
    ),
    Tier.MEDIUM: (
        Field(82, "temp_mem_c"),
        Field(74, "throttle_power_ns"),
        Field(76, "throttle_sync_boost_ns"),
        Field(269, "throttle_sw_thermal_ns"),
        Field(270, "throttle_hw_thermal_ns"),
        Field(271, "throttle_hw_brake_ns"),
        Field(79, "throttle_reliability_ns"),
    ),
    Tier.SLOW: (
        Field(190, "power_limit_mw", positive=True),
        Field(3, "ecc_corrected"),
        Field(4, "ecc_uncorrected"),
        Field(142, "remap_corrected"),
        Field(143, "remap_uncorrected"),
        Field(144, "remap_pending"),
        Field(145, "remap_failure"),
        Field(94, "pcie_replays"),
        Field(230, "recovery_action"),
    ),
}

# Bytes over PCIe, and KiB over all NVLinks: counters, for GPUs that have no GPM.
TRAFFIC = {
    "pcie_tx_bytes_s": (Field(197, "pcie_tx_bytes_s"), 1),
    "pcie_rx_bytes_s": (Field(198, "pcie_rx_bytes_s"), 1),
    "nvlink_tx_bytes_s": (Field(138, "nvlink_tx_bytes_s", ALL_LINKS), 1024),
    "nvlink_rx_bytes_s": (Field(139, "nvlink_rx_bytes_s", ALL_LINKS), 1024),
}

NVLINK_COUNT = 91
BLACKWELL = 10


def nvlink_fields(architecture: int, links: int) -> tuple[Field, ...]:
    """The error counters of every NVLink: Hopper and Blackwell have different ones."""
    numbers = (211, 215, 208) if architecture >= BLACKWELL else (161, 162, 163)
    columns = ("nvlink_replays", "nvlink_recoveries", "nvlink_crc_errors")
    return tuple(
        Field(number, column, link) for number, column in zip(numbers, columns, strict=True) for link in range(links)
    )
