"""The GPUs of the node: which there are, which are lost, and which may not be asked any more."""

from __future__ import annotations

from collections.abc import Set

from runtide._sampler._nvml_events import FATAL_XIDS, EventThread, tell_xid
from runtide._sampler._nvml_facts import quietly, text
from runtide._sampler._nvml_gpu import Gpu, Shared
from runtide._sampler._nvml_policy import GONE, NOT_THERE, RESET_REQUIRED, UNINITIALIZED, NvmlGone, NvmlStale
from runtide._sampler._source import Event, Tier

_RETRY_S = 30.0
_NEVER = float("inf")


class Table:
    """The GPUs of one life of NVML, and the thread that waits for their events.

    Args:
        shared: What all GPUs share.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._gpus: dict[str, Gpu] = {}
        self._events: EventThread | None = None
        self._count = 0
        self._rescan = False
        self._fatal: dict[str, int] = {}

    def in_order(self) -> list[Gpu]:
        """Every GPU, those that are lost too, by its place in the node."""
        return sorted(self._gpus.values(), key=lambda gpu: gpu.index)

    def watch(self, due: Set[Tier], now: float) -> None:
        """Look whether GPUs or MIG instances have come or gone.

        Raises:
            NvmlStale: NVML has to be started again.
        """
        for uuid, xid in list(self._fatal.items()):
            gpu = self._gpus.get(uuid)
            if gpu is not None and gpu.retry_at != _NEVER:
                self._give_up(gpu, xid)
        nvml = self._shared.nvml
        count = self._count
        if Tier.SLOW in due:
            try:
                count = nvml.nvmlDeviceGetCount()
            except nvml.NVMLError as error:
                if error.value == UNINITIALIZED:
                    raise NvmlStale from error
        if self._rescan or Tier.RARE in due or count != self._count:
            self._rescan = False
            self.scan(now)

    def scan(self, now: float) -> None:
        """Build the table of GPUs anew. What is known of a GPU by its UUID is kept."""
        nvml = self._shared.nvml
        count = quietly(nvml, nvml.nvmlDeviceGetCount)
        if count is None:
            return
        self._count = count
        before = set(self._gpus)
        untouchable = {gpu.index: uuid for uuid, gpu in self._gpus.items() if gpu.retry_at == _NEVER}
        seen = set(untouchable.values())
        for index in set(range(count)) - set(untouchable):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = text(nvml.nvmlDeviceGetUUID(handle))
                gpu = self._gpus.get(uuid)
                if gpu is None:
                    gpu = self._gpus[uuid] = Gpu(self._shared, handle, uuid, index)
                gpu.index = index
                gpu.hold(handle)
                gpu.describe()
                self._scan_instances(gpu)
                seen.add(uuid)
            except nvml.NVMLError as error:
                seen |= self._closed(index, now, error.value)
            except NvmlGone as error:
                seen |= self._closed(index, now, error.code)
        for uuid in before - seen:
            if self._gpus[uuid].gone is None:
                self.lose(self._gpus[uuid], now, NOT_THERE)
        if not self._gpus:
            self._shared.reports.once(("none",), Event("no_driver", "info", "The NVIDIA driver shows no GPU here."))
        if set(self._gpus) != before or self._events is None:
            self._listen()

    def _closed(self, index: int, now: float, code: int) -> set[str]:
        """A GPU that could not be opened by its place. Gives its UUID if it is known: another error is no loss."""
        for gpu in self._gpus.values():
            if gpu.index == index:
                if gpu.gone is None and code in GONE:
                    self.lose(gpu, now, code)
                return {gpu.uuid}
        self._shared.reports.once(
            ("closed", index, code),
            Event("gpu_lost", "error", f"GPU {index} cannot be opened (NVML code {code}); tried again.", code=code),
        )
        return set()

    def _scan_instances(self, gpu: Gpu) -> None:
        nvml = self._shared.nvml
        mode = quietly(nvml, nvml.nvmlDeviceGetMigMode, gpu.handle)
        if mode is not None:
            gpu.facts["mig"] = "on" if mode[0] else "off"
        known = {one.uuid: one for one in gpu.instances}
        found: list[Gpu] = []
        if mode is not None and mode[0]:
            for place in range(quietly(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, gpu.handle) or 0):
                handle = quietly(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu.handle, place)
                uuid = None if handle is None else quietly(nvml, nvml.nvmlDeviceGetUUID, handle)
                if uuid is not None:
                    one = known.pop(text(uuid), None) or Gpu(self._shared, handle, text(uuid), gpu.index, gpu)
                    one.hold(handle)
                    one.describe()
                    found.append(one)
        for left in known.values():
            left.close()
        gpu.instances = found

    def _listen(self) -> None:
        """Wait for the events of the GPUs that there are now."""
        if self._events is not None:
            self._events.close()
        listed = [(gpu.handle, gpu.uuid) for gpu in self.in_order() if gpu.gone is None]
        self._events = EventThread(self._shared.nvml, listed, self._shared.reports, self._noticed)
        if self._events.refused is not None and listed:
            self._shared.reports.refused("", "nvmlDeviceRegisterEvents", ("events such as XIDs",), self._events.refused)
        self._events.start()

    def _noticed(self, uuid: str, xid: int) -> None:
        """From the thread of events: only leaves a note for the next tick."""
        if xid in FATAL_XIDS:
            self._fatal[uuid] = xid
        elif xid == 0:
            self._rescan = True

    def lose(self, gpu: Gpu, now: float, code: int) -> None:
        """A GPU that is lost is left in peace, but for one look every 30 seconds."""
        gpu.gone = code
        gpu.retry_at = now + _RETRY_S
        what = "needs a reset" if code == RESET_REQUIRED else "is lost"
        self._shared.reports.add(
            Event(
                "gpu_lost",
                "error",
                f"GPU {gpu.index} {what} (NVML code {code}); it is tried again every 30 seconds. "
                "dmesg and nvidia-smi tell more.",
                gpu.uuid,
                code,
            )
        )

    def _give_up(self, gpu: Gpu, xid: int) -> None:
        gpu.gone, gpu.retry_at = xid, _NEVER
        self._shared.reports.add(
            Event(
                "gpu_lost",
                "error",
                f"GPU {gpu.index} is not asked any more after XID {xid}, as a call might never come back; "
                "when it has been reset, start the sampler again.",
                gpu.uuid,
                xid,
            )
        )

    def retry(self, gpu: Gpu, now: float) -> None:
        """Look whether a lost GPU is back."""
        if now < gpu.retry_at:
            return
        gpu.retry_at = now + _RETRY_S
        nvml = self._shared.nvml
        self._shared.doing = (gpu.uuid, "nvmlDeviceGetHandleByUUID")
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
            nvml.nvmlDeviceGetMemoryInfo(handle)  # a handle alone is no sign of life
            gpu.renew(handle)
            gpu.instances = []
            self._scan_instances(gpu)
        except (nvml.NVMLError, NvmlGone):
            return
        gpu.gone = None
        self._listen()
        self._shared.reports.add(Event("gpu_returned", "info", f"GPU {gpu.index} answers again.", gpu.uuid))

    def fell(self, place_on_bus: tuple[int, ...], xid: int) -> None:
        """An XID that the kernel's log tells of. Of those that NVML delivers it tells itself."""
        gpu = next((gpu for gpu in self._gpus.values() if gpu.place_on_bus == place_on_bus), None)
        if gpu is not None and xid in FATAL_XIDS:
            tell_xid(self._shared.reports, gpu.uuid, xid)
            self._fatal[gpu.uuid] = xid

    def renew(self, now: float) -> None:
        """Go on with new handles, as NVML was started again."""
        nvml = self._shared.nvml
        for gpu in self._gpus.values():
            gpu.instances = []
            handle = None if gpu.retry_at == _NEVER else quietly(nvml, nvml.nvmlDeviceGetHandleByUUID, gpu.uuid)
            if handle is not None:
                gpu.renew(handle)
            elif gpu.gone is None:
                self.lose(gpu, now, NOT_THERE)
        self.scan(now)

    def deafen(self, forked: bool = False) -> bool:
        """Wait for events no more. False when the thread hangs in NVML, which then must not be shut down."""
        events, self._events = self._events, None
        return events is None or forked or events.close()  # after a fork the thread is the parent's

    def free(self) -> None:
        """Free what NVML holds for the GPUs."""
        for gpu in self._gpus.values():
            if gpu.gone is None:
                for one in (*gpu.instances, gpu):
                    one.close()
