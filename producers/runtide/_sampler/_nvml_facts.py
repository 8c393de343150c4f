"""What a GPU is: read once, when it appears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}


def quietly(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call answers, or None."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return None


def text(value: Any) -> str:
    """A name as NVML gives it: str, or bytes of the structures."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def node_facts(nvml: Any) -> dict[str, str]:
    """Versions of the driver and what comes with it."""
    cuda = quietly(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    found = {
        "driver": quietly(nvml, nvml.nvmlSystemGetDriverVersion),
        "nvml": quietly(nvml, nvml.nvmlSystemGetNVMLVersion),
        "cuda": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
    }
    return {name: text(value) for name, value in found.items() if value is not None}


def architecture(nvml: Any, handle: Any) -> int | None:
    """NVML's number of it: 7 Ampere, 9 Hopper, 10 Blackwell; None when the call fails."""
    number = quietly(nvml, nvml.nvmlDeviceGetArchitecture, handle)
    return None if number is None else int(number)


def gpu_facts(nvml: Any, handle: Any, generation: int | None) -> dict[str, str]:
    """What does not change while the driver is loaded, as text."""
    pci = quietly(nvml, nvml.nvmlDeviceGetPciInfo_v3, handle)
    limits = quietly(nvml, nvml.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (None, None)
    mig = quietly(nvml, nvml.nvmlDeviceGetMigMode, handle)
    found = {
        "architecture": _ARCHITECTURES.get(generation or 0),
        "pci_bus_id": None if pci is None else pci.busId,
        "serial": quietly(nvml, nvml.nvmlDeviceGetSerial, handle),
        "vbios": quietly(nvml, nvml.nvmlDeviceGetVbiosVersion, handle),
        "cores": quietly(nvml, nvml.nvmlDeviceGetNumGpuCores, handle),
        "numa_node": quietly(nvml, nvml.nvmlDeviceGetNumaNodeId, handle),
        "max_sm_clock_mhz": quietly(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        "max_mem_clock_mhz": quietly(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM),
        "max_pcie_gen": quietly(nvml, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        "max_pcie_width": quietly(nvml, nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        "min_power_limit_mw": limits[0],
        "max_power_limit_mw": limits[1],
        "default_power_limit_mw": quietly(nvml, nvml.nvmlDeviceGetPowerManagementDefaultLimit, handle),
        "mig": None if mig is None else ("on" if mig[0] else "off"),
    }
    return {name: text(value) for name, value in found.items() if value is not None}


def memory_total(nvml: Any, handle: Any) -> int | None:
    """Bytes of memory that it has."""
    info = quietly(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return None if info is None else int(info.total)
