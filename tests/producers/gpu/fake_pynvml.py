"""Stands in for nvidia-ml-py where there is no GPU: invented GPUs, virtual time, and faults as data.

Constants, exceptions and structures are the real package's, which imports without a driver. What runtide does not use
is not here, nor is what it must never call: asking for it is an AttributeError. The C library beside it covers what
this cannot: layouts, calls that hang.
"""

import ctypes
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import pynvml

DOUBLE, UINT, ULONG, ULONGLONG, LONGLONG, INT, USHORT = range(7)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Fault:
    """Code that calls return instead of an answer.

    Args:
        code: NVML's return code.
        func: Which function; empty for all that are about a GPU.
        gpu: Place of the GPU; None for all, and for calls about none.
        start: From this second on.
        end: Until this second.
        times: So many times at most.
        field: Only this field of nvmlDeviceGetFieldValues, and the call itself succeeds.
        metric: Only this metric of nvmlGpmMetricsGet.
    """

    code: int
    func: str = ""
    gpu: int | None = None
    start: float = 0.0
    end: float = math.inf
    times: float = math.inf
    field: int | None = None
    metric: int | None = None


@dataclass
class Mig:
    """One MIG instance."""

    uuid: str
    instance: int
    memory_used: int = 1 << 30


@dataclass
class FakeGpu:
    """One GPU. What changes is a function of the time in seconds.

    Args:
        counter_reset: Second at which the counters begin anew, as when the driver is loaded again.
    """

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    architecture: int = pynvml.NVML_DEVICE_ARCH_HOPPER
    gpm: bool = True
    util: Callable[[float], int] = lambda t: 90
    power: Callable[[float], float] = lambda t: 450_123.0
    memory_used: int = 60 << 30
    migs: list[Mig] = field(default_factory=list)
    links: int = 4
    counter_reset: float = math.inf
    fields: dict[int, Any] = field(default_factory=dict)
    metrics: dict[int, float] = field(default_factory=dict)
    supported_events: int = 0x1FB
    processes: int = 1

    def energy(self, t: float) -> int:
        start = self.counter_reset if t >= self.counter_reset else 0.0
        steps = 200
        width = (t - start) / steps
        mean = sum(self.power(start + (i + 0.5) * width) for i in range(steps)) / steps
        return int(mean * (t - start)) + (1 if start else 1_000_000)


def _about_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """The first argument is a handle: it is looked up, and what is wrong with the GPU is raised."""

    @wraps(function)
    def call(self: "FakeNvml", handle: Any, *args: Any, **options: Any) -> Any:
        self.enter(function.__name__, self.place(handle))
        return function(self, handle, *args, **options)

    return call


def _about_node(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(self: "FakeNvml", *args: Any, **options: Any) -> Any:
        self.enter(function.__name__, None)
        return function(self, *args, **options)

    return call


class FakeNvml:
    """The binding's functions, on invented GPUs.

    Args:
        gpus: The GPUs of the node.
        clock: What time it is.
        faults: What goes wrong; may be changed at any time.
        missing: Functions that the driver is too old for.
    """

    def __init__(
        self, gpus: list[FakeGpu], clock: Clock, faults: list[Fault] | None = None, missing: set[str] | None = None
    ) -> None:
        self.gpus = gpus
        self.clock = clock
        self.faults = faults if faults is not None else []
        self.missing = missing or set()
        self.calls: list[tuple[str, int | None]] = []
        self._happened: deque[tuple[int, int, int]] = deque()
        self._told = threading.Condition()
        self.life = 0  # handles of another life of NVML are not valid
        self.running = False
        self._samples: dict[int, tuple[float, str]] = {}
        self._buffers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(pynvml, name)
        if name.startswith("_") or (name.startswith("nvml") and callable(found) and not isinstance(found, type)):
            raise AttributeError(f"the stand-in has no {name}")
        return found

    def count(self, name: str, gpu: int | None = None) -> int:
        """How often a function was called."""
        return sum(1 for func, place in self.calls if func == name and (gpu is None or place == gpu))

    def tell(self, place: int, kind: int, data: int = 0) -> None:
        """Let the driver tell of an event."""
        with self._told:
            self._happened.append((place, kind, data))
            self._told.notify()

    # Handles are pointers, as the real ones: 4096 x (life x 100 + place), and x 64 on top for an instance.

    def handle(self, place: int, instance: int = 0) -> Any:
        address = 4096 * (100 * self.life + place + 1) + 64 * instance
        return ctypes.cast(ctypes.c_void_p(address), pynvml.c_nvmlDevice_t)

    def address(self, handle: Any) -> int:
        return ctypes.cast(handle, ctypes.c_void_p).value or 0

    def place(self, handle: Any) -> int:
        return self.address(handle) // 4096 % 100 - 1

    def gpu(self, handle: Any) -> FakeGpu:
        return self.gpus[self.place(handle)]

    def mig(self, handle: Any) -> Mig | None:
        instance = self.address(handle) % 4096 // 64
        return next((m for m in self.gpu(handle).migs if m.instance == instance), None) if instance else None

    def enter(self, name: str, place: int | None) -> None:
        """What every call does first."""
        self.calls.append((name, place))
        if name in self.missing:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        if not self.running and name != "nvmlInit":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        for fault in self.faults:
            named = fault.func == name or (not fault.func and place is not None)
            if named and fault.field is None and fault.metric is None and self._strikes(fault, place):
                raise pynvml.NVMLError(fault.code)

    def _strikes(self, fault: Fault, place: int | None) -> bool:
        if fault.gpu is not None and fault.gpu != place:
            return False
        if not fault.start <= self.clock.now < fault.end or fault.times <= 0:
            return False
        fault.times -= 1
        return True

    def _whole_gpu(self, handle: Any) -> FakeGpu:
        """Not reported in MIG mode."""
        if self.gpu(handle).migs:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.gpu(handle)

    @_about_node
    def nvmlInit(self) -> None:
        self.running = True

    @_about_node
    def nvmlShutdown(self) -> None:
        self.running = False
        self.life += 1

    @_about_node
    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.86.15"

    @_about_node
    def nvmlSystemGetNVMLVersion(self) -> str:
        return "12.570.86.15"

    @_about_node
    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12080

    @_about_node
    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    @_about_node
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        if index >= len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        for fault in self.faults:
            if not fault.func and fault.code in (15, 16) and self._strikes(fault, index):
                raise pynvml.NVMLError(fault.code)
        return self.handle(index)

    @_about_node
    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        for place, gpu in enumerate(self.gpus):
            if gpu.uuid == uuid:
                return self.nvmlDeviceGetHandleByIndex(place)
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    @_about_gpu
    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        mig = self.mig(handle)
        return mig.uuid if mig else self.gpu(handle).uuid

    @_about_gpu
    def nvmlDeviceGetName(self, handle: Any) -> str:
        return self.gpu(handle).name

    @_about_gpu
    def nvmlDeviceGetSerial(self, handle: Any) -> str:
        return "1652923001234"

    @_about_gpu
    def nvmlDeviceGetVbiosVersion(self, handle: Any) -> str:
        return "96.00.89.00.01"

    @_about_gpu
    def nvmlDeviceGetPciInfo_v3(self, handle: Any) -> Any:
        info = pynvml.nvmlPciInfo_t()
        info.busId = f"00000000:{0x3B + self.place(handle):02X}:00.0".encode()
        return info

    @_about_gpu
    def nvmlDeviceGetArchitecture(self, device: Any) -> int:
        return self.gpu(device).architecture

    @_about_gpu
    def nvmlDeviceGetNumGpuCores(self, device: Any) -> int:
        return 16896

    @_about_gpu
    def nvmlDeviceGetNumaNodeId(self, handle: Any) -> int:
        return 0

    @_about_gpu
    def nvmlDeviceGetMaxClockInfo(self, handle: Any, type: int) -> int:
        return 1980 if type == pynvml.NVML_CLOCK_SM else 2619

    @_about_gpu
    def nvmlDeviceGetClockInfo(self, handle: Any, type: int) -> int:
        return 1755 if type == pynvml.NVML_CLOCK_SM else 2619

    @_about_gpu
    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle: Any) -> int:
        return 5

    @_about_gpu
    def nvmlDeviceGetMaxPcieLinkWidth(self, handle: Any) -> int:
        return 16

    @_about_gpu
    def nvmlDeviceGetCurrPcieLinkGeneration(self, handle: Any) -> int:
        return 5

    @_about_gpu
    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: Any) -> int:
        return 16

    @_about_gpu
    def nvmlDeviceGetPowerManagementLimitConstraints(self, handle: Any) -> list[int]:
        return [200_000, 700_000]

    @_about_gpu
    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle: Any) -> int:
        return 700_000

    @_about_gpu
    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int:
        return 650_000

    @_about_gpu
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:
        return int(self.gpu(handle).power(self.clock.now))

    @_about_gpu
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:
        return self.gpu(handle).energy(self.clock.now)

    @_about_gpu
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:
        rates = pynvml.c_nvmlUtilization_t()
        rates.gpu, rates.memory = self._whole_gpu(handle).util(self.clock.now), 40
        return rates

    @_about_gpu
    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int | None = None) -> Any:
        if version is not None and "nvmlDeviceGetMemoryInfo_v2" in self.missing:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        memory = pynvml.c_nvmlMemory_v2_t() if version else pynvml.c_nvmlMemory_t()
        mig = self.mig(handle)
        used = mig.memory_used if mig else self.gpu(handle).memory_used
        memory.total, memory.used = 80 << 30, used if version else used + (1 << 29)
        return memory

    @_about_gpu
    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any) -> int:
        return int(pynvml.nvmlClocksEventReasonSwPowerCap)

    @_about_gpu
    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int:
        return int(pynvml.nvmlClocksEventReasonSwPowerCap)

    @_about_gpu
    def nvmlDeviceGetTemperatureV(self, handle: Any, sensor: int, version: int = pynvml.nvmlTemperature_v1) -> int:
        return 61

    @_about_gpu
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:
        return 62

    @_about_gpu
    def nvmlDeviceGetFanSpeed_v2(self, handle: Any, fan: int) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    @_about_gpu
    def nvmlDeviceGetFanSpeed(self, handle: Any) -> int:
        return 33

    @_about_gpu
    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any) -> list[Any]:
        process = pynvml.c_nvmlProcessInfo_t()
        process.pid = 4242
        return [pynvml.nvmlStructToFriendlyObject(process)] * self.gpu(handle).processes

    @_about_gpu
    def nvmlDeviceGetComputeRunningProcesses_v2(self, handle: Any) -> list[Any]:
        return self.nvmlDeviceGetComputeRunningProcesses_v3(handle)  # type: ignore[no-any-return]

    @_about_gpu
    def nvmlDeviceGetMigMode(self, device: Any) -> list[int]:
        mode = int(bool(self.gpu(device).migs))
        return [mode, mode]

    @_about_gpu
    def nvmlDeviceGetMaxMigDeviceCount(self, device: Any) -> int:
        return 7

    @_about_gpu
    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, index: int) -> Any:
        migs = self.gpu(device).migs
        if index >= len(migs):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return self.handle(self.place(device), migs[index].instance)

    @_about_gpu
    def nvmlDeviceGetGpuInstanceId(self, device: Any) -> int:
        mig = self.mig(device)
        if mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return mig.instance

    @_about_gpu
    def nvmlDeviceGetFieldValues(self, handle: Any, fieldIds: list[Any]) -> Any:
        values = (pynvml.c_nvmlFieldValue_t * len(fieldIds))()
        place = self.place(handle)
        for value, (number, scope) in zip(values, fieldIds, strict=True):
            value.fieldId, value.scopeId = number, scope
            value.timestamp = int(self.clock.wall() * 1e6)
            broken = next((f for f in self.faults if f.field == number and self._strikes(f, place)), None)
            if broken is not None:
                value.nvmlReturn = broken.code
            else:
                self._fill(value, self.gpu(handle), number, scope)
        return values

    def _fill(self, value: Any, gpu: FakeGpu, number: int, scope: int) -> None:
        t = self.clock.now
        known: dict[int, Any] = {
            83: gpu.energy,
            185: gpu.power,
            186: gpu.power,
            190: 700_000,
            82: 71,
            74: int(t * 1e8),
            **dict.fromkeys((76, 269, 270, 271, 79), 0),
            **dict.fromkeys((3, 4, 142, 143, 144, 145), 0),
            94: 2,
            230: 0,
            91: gpu.links,
            161: 1,
            162: 2,
            163: 3 + scope,
            **gpu.fields,
        }
        found = known.get(number)
        if callable(found):
            found = found(t)
        if found is None:
            value.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
        elif isinstance(found, tuple):  # (type, bytes as they lie there, time)
            value.valueType, value.value.ullVal, value.timestamp = found
        else:
            value.valueType, value.value.ullVal = ULONGLONG, int(found)

    @_about_gpu
    def nvmlDeviceGetSamples(self, device: Any, sampling_type: int, timeStamp: int) -> Any:
        gpu = self._whole_gpu(device)
        if sampling_type not in (0, 1):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        base = int(self.clock.wall() * 1e6) - int(self.clock.now * 1e6)
        found = []
        for number in range(max(0, int((self.clock.now - 10) * 7)), int(self.clock.now * 7) + 1):
            t = number / 7
            at = base + int(t * 1e6)
            if at > timeStamp and t <= self.clock.now:
                sample = pynvml.c_nvmlSample_t()
                sample.timeStamp = at
                sample.sampleValue.ullVal = 0xAB << 32  # what is behind a 32-bit value is not zeroed
                sample.sampleValue.uiVal = int(gpu.power(t)) if sampling_type == 0 else gpu.util(t)
                found.append(sample)
        if not found:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return UINT, found

    @_about_gpu
    def nvmlGpmQueryDeviceSupport(self, device: Any) -> Any:
        support = pynvml.c_nvmlGpmSupport_t()
        support.isSupportedDevice = int(self.gpu(device).gpm)
        return support

    @_about_node
    def nvmlGpmSampleAlloc(self) -> Any:
        self._buffers.append(pynvml.struct_c_nvmlGpmSample_t())
        address = 0x10000 + 64 * len(self._buffers)
        return ctypes.cast(ctypes.c_void_p(address), pynvml.c_nvmlGpmSample_t)

    @_about_node
    def nvmlGpmSampleFree(self, gpmSample: Any) -> None:
        self._samples.pop(self.address(gpmSample), None)

    @_about_gpu
    def nvmlGpmSampleGet(self, device: Any, gpmSample: Any) -> Any:
        self._samples[self.address(gpmSample)] = (self.clock.now, self.gpu(device).uuid)
        return gpmSample

    @_about_gpu
    def nvmlGpmMigSampleGet(self, device: Any, gpuInstanceId: int, gpmSample: Any) -> Any:
        mig = next(m for m in self.gpu(device).migs if m.instance == gpuInstanceId)
        self._samples[self.address(gpmSample)] = (self.clock.now, mig.uuid)
        return gpmSample

    @_about_node
    def nvmlGpmMetricsGet(self, metricsGet: Any) -> Any:
        before = self._samples[self.address(metricsGet.sample1)]
        after = self._samples[self.address(metricsGet.sample2)]
        assert before[1] == after[1], "samples of two devices were compared"
        if after[0] - before[0] < 0.1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        gpu = next(g for g in self.gpus if after[1] == g.uuid or after[1] in {m.uuid for m in g.migs})
        for metric in metricsGet.metrics[: metricsGet.numMetrics]:
            broken = next((f for f in self.faults if f.metric == metric.metricId and self._strikes(f, None)), None)
            metric.nvmlReturn = broken.code if broken else 0
            # By default a percentage or rate that tells how long the interval was.
            metric.value = gpu.metrics.get(metric.metricId, (after[0] - before[0]) * 10)
        return metricsGet

    @_about_node
    def nvmlEventSetCreate(self) -> Any:
        return pynvml.c_nvmlEventSet_t()

    @_about_node
    def nvmlEventSetFree(self, eventSet: Any) -> None:
        pass

    @_about_gpu
    def nvmlDeviceGetSupportedEventTypes(self, handle: Any) -> int:
        return self.gpu(handle).supported_events

    @_about_gpu
    def nvmlDeviceRegisterEvents(self, handle: Any, eventTypes: int, eventSet: Any) -> None:
        if eventTypes & ~self.gpu(handle).supported_events:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    @_about_node
    def nvmlEventSetWait_v2(self, eventSet: Any, timeoutms: int) -> Any:
        with self._told:
            if not self._told.wait_for(lambda: self._happened, timeoutms / 1000):
                raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
            place, kind, data = self._happened.popleft()
        event = pynvml.c_nvmlEventData_t()
        event.device, event.eventType, event.eventData = self.handle(place), kind, data
        return event
