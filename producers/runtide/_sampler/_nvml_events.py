"""XIDs and other events: the driver tells of them, a thread waits for that."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable
from typing import Any

from runtide._sampler._nvml_policy import GONE, TIMEOUT, Reports
from runtide._sampler._source import Event

_WAIT_MS = 500

# Source: the list of k8s-device-plugin: what a program does to itself. Everything else is the hardware or the driver.
_APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
# The GPU has fallen off the bus, or its firmware does not answer: a call may never come back.
FATAL_XIDS = frozenset({79, 119, 120})

# Source: NVIDIA's catalogue of XID errors.
_XIDS = {
    13: "an exception in a kernel, such as an address out of bounds",
    31: "a kernel read or wrote memory that is not its own",
    43: "the GPU stopped working on a program",
    45: "a program's channels were torn down, usually after an earlier error",
    48: "a memory error that could not be corrected",
    63: "a row of memory was remapped or retired",
    64: "a row of memory could not be remapped or retired",
    68: "an error of the video processor",
    74: "an error of NVLink",
    79: "the GPU has fallen off the bus: the node needs a reboot, the slot or the power a look",
    92: "many corrected memory errors",
    94: "a memory error that could not be corrected, confined to one program",
    95: "a memory error that could not be corrected, and not confined: reset the GPU",
    109: "a program's context switch timed out",
    119: "the GPU's own processor does not answer: reset the GPU",
    120: "an error of the GPU's own processor: reset the GPU",
}

_MIG_CHANGE = 0x100
_XID = 0x8
# Source: NVML API reference, nvmlEventType*. Kind, severity, what to say.
_TYPES = {
    0x2: ("ecc_error", "error", "A memory error that could not be corrected."),
    _MIG_CHANGE: ("mig_changed", "info", "The MIG instances of the GPU were changed."),
    0x200: ("ecc_error", "warning", "A storm of corrected memory errors."),
    0x400: ("ecc_error", "warning", "A row of memory was retired."),
    0x800: ("ecc_error", "error", "A row of memory could not be retired: the GPU should be replaced."),
    0x1000: ("ecc_error", "warning", "Poisoned data was met, and confined to one program."),
    0x2000: ("ecc_error", "error", "Poisoned data was met, and not confined: reset the GPU."),
    0x4000: ("gpu_unavailable", "error", "The GPU is not available."),
    0x8000: ("recovery", "warning", "The driver asks for an action to recover the GPU: see recovery_action."),
}
_WANTED = _XID
for _bit in _TYPES:
    _WANTED |= _bit


def xid_event(device: str, number: int) -> Event:
    """The event of an XID."""
    meaning = _XIDS.get(number, "see NVIDIA's catalogue of XID errors")
    severity = "warning" if number in _APPLICATION_XIDS else "error"
    return Event("xid", severity, f"XID {number}: {meaning}.", device, number)


def tell_xid(reports: Reports, device: str, number: int) -> None:
    """Tell of an XID; of a fatal one once, as it may come from NVML and from the kernel's log."""
    if number in FATAL_XIDS:
        reports.once((device, "xid", number), xid_event(device, number))
    else:
        reports.add(xid_event(device, number))


def address(handle: Any) -> int:
    """A handle is a pointer: two of one GPU have the same address."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


class EventThread:
    """Waits for the driver's events and puts them into the reports.

    Args:
        nvml: The binding.
        gpus: Handle and UUID of each GPU.
        reports: Where events go.
        noticed: Called with the UUID and the XID, or with 0 when MIG instances have changed; from the thread.
    """

    def __init__(
        self, nvml: Any, gpus: Iterable[tuple[Any, str]], reports: Reports, noticed: Callable[[str, int], None]
    ) -> None:
        self._nvml = nvml
        self._reports = reports
        self._noticed = noticed
        self._uuids: dict[int, str] = {}
        self._set: Any = None
        self._ending = threading.Event()
        self.refused: int | None = None  # why events are not delivered
        self._thread: threading.Thread | None = None
        try:
            self._set = nvml.nvmlEventSetCreate()
        except nvml.NVMLError as error:
            self.refused = error.value
            return
        for handle, uuid in gpus:
            self._register(handle, uuid)

    def _register(self, handle: Any, uuid: str) -> None:
        nvml = self._nvml
        try:
            wanted = _WANTED & nvml.nvmlDeviceGetSupportedEventTypes(handle)
            if wanted:
                nvml.nvmlDeviceRegisterEvents(handle, wanted, self._set)
                self._uuids[address(handle)] = uuid
        except nvml.NVMLError as error:
            self.refused = error.value

    def start(self) -> None:
        """Begin to wait, if any GPU delivers events."""
        if self._uuids:
            self._thread = threading.Thread(target=self._run, name="runtide-nvml-events", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            if not self.wait(_WAIT_MS):
                self._ending.wait(_WAIT_MS / 1000)

    def wait(self, timeout_ms: int) -> bool:
        """Wait for one event. False when waiting itself failed."""
        nvml = self._nvml
        try:
            data = nvml.nvmlEventSetWait_v2(self._set, timeout_ms)
        except nvml.NVMLError as error:
            return bool(error.value == TIMEOUT)
        uuid = self._uuids.get(address(data.device), "")
        if data.eventType == _XID:
            tell_xid(self._reports, uuid, data.eventData)
            self._noticed(uuid, data.eventData)
        else:
            kind, severity, message = _TYPES.get(data.eventType, ("gpu_event", "info", "The driver told of an event."))
            self._reports.add(Event(kind, severity, message, uuid, facts={"type": hex(data.eventType)}))
            if data.eventType == _MIG_CHANGE:
                self._noticed(uuid, 0)
        return True

    def close(self) -> bool:
        """End the thread. False when it hangs in the driver: then NVML must not be shut down."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(4 * _WAIT_MS / 1000)
            if self._thread.is_alive():
                return False
        if self._set is not None:
            try:
                self._nvml.nvmlEventSetFree(self._set)
            except self._nvml.NVMLError as error:
                return error.value in GONE
        return True
