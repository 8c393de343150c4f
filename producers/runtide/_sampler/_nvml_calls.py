"""What is asked of NVML, and how often: calls of their own, and fields that one call brings together.

Never asked: nvmlDeviceGetPcieThroughput, which sleeps 20 ms. docs/hardware_nvml.md has the table with units.
"""

from __future__ import annotations

import ctypes
import struct
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


class Direct:
    """A reader that calls the C function, past the wrapper, with memory that is allocated once.

    Args:
        function: The C function.
        arguments: Its arguments; one of them points to the memory.
        memory: What it writes to.
        form: Where in it the values are, as struct says it.
        error: What is raised with its return code.
    """

    __slots__ = ("_error", "arguments", "function", "memory", "unpack")

    def __init__(
        self, function: Any, arguments: tuple[Any, ...], memory: Any, form: str, error: Callable[[int], Exception]
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.memory = memory
        self.unpack = struct.Struct(f"={form}").unpack_from
        self._error = error

    def __call__(self) -> Iterable[int]:
        """The values."""
        code = self.function(*self.arguments)
        if code != 0:
            raise self._error(code)
        return self.unpack(self.memory)


def number(name: str, form: str = "I", *which: int) -> Way:
    """A function that gives one number, of this form of struct; `which` says of what, such as of which clock."""

    def prepare(nvml: Any, handle: Any) -> Reader:
        function = pointer(nvml, name)
        if function is None:
            wrapper = getattr(nvml, name)
            return lambda: (wrapper(handle, *which),)
        value = (ctypes.c_ubyte * struct.calcsize(f"={form}"))()
        arguments = (handle, *(ctypes.c_uint(one) for one in which), ctypes.byref(value))
        return Direct(function, arguments, value, form, nvml.NVMLError)

    return Way(name, prepare)


def _utilization() -> Way:
    name = "nvmlDeviceGetUtilizationRates"

    def prepare(nvml: Any, handle: Any) -> Reader:
        def ask() -> Iterable[int]:
            answer = nvml.nvmlDeviceGetUtilizationRates(handle)
            return answer.gpu, answer.memory

        function, rates = pointer(nvml, name), nvml.c_nvmlUtilization_t()
        if function is None:
            return ask
        return Direct(function, (handle, ctypes.byref(rates)), rates, "II", nvml.NVMLError)

    return Way(name, prepare)


def _memory() -> Way:
    name = "nvmlDeviceGetMemoryInfo_v2"

    def prepare(nvml: Any, handle: Any) -> Reader:
        def ask() -> Iterable[int]:
            return (nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2).used,)

        function, memory = pointer(nvml, name), nvml.c_nvmlMemory_v2_t()
        if function is None:
            return ask
        memory.version = nvml.nvmlMemory_v2
        used = f"{type(memory).used.offset}xQ"
        return Direct(function, (handle, ctypes.byref(memory)), memory, used, nvml.NVMLError)

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
    Call(Tier.FAST, ("sm_clock_mhz",), (number("nvmlDeviceGetClockInfo", "I", _SM),)),
    Call(
        Tier.FAST,
        ("clock_event_reasons",),
        (
            number("nvmlDeviceGetCurrentClocksEventReasons", "Q"),
            number("nvmlDeviceGetCurrentClocksThrottleReasons", "Q"),
        ),
    ),
    Call(
        Tier.MEDIUM,
        ("temp_gpu_c",),
        (
            _wrapped("nvmlDeviceGetTemperatureV", lambda nvml, handle: nvml.nvmlDeviceGetTemperatureV(handle, _CHIP)),
            number("nvmlDeviceGetTemperature", "I", _CHIP),
        ),
    ),
    Call(Tier.MEDIUM, ("mem_clock_mhz",), (number("nvmlDeviceGetClockInfo", "I", _MEM),)),
    Call(Tier.SLOW, ("pcie_gen",), (number("nvmlDeviceGetCurrPcieLinkGeneration"),)),
    Call(Tier.SLOW, ("pcie_width",), (number("nvmlDeviceGetCurrPcieLinkWidth"),)),
    Call(
        Tier.SLOW,
        ("fan_pct",),
        (number("nvmlDeviceGetFanSpeed_v2", "I", 0), number("nvmlDeviceGetFanSpeed")),
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
    Call(Tier.FAST, ("energy_mj",), (number("nvmlDeviceGetTotalEnergyConsumption", "Q"),)),
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
