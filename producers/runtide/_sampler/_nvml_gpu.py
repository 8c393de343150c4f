"""One GPU, or one MIG instance: what is asked of it, and what it does not report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtide._sampler import _gpm
from runtide._sampler._gpm import GpmChain, GpmReader
from runtide._sampler._kernel_log import place_on_bus
from runtide._sampler._nvml_calls import (
    CALLS,
    FIELDS,
    INSTEAD,
    MEMORY,
    NVLINK_COUNT,
    POWER,
    TRAFFIC,
    Call,
    Field,
    Reader,
    nvlink_fields,
)
from runtide._sampler._nvml_events import address
from runtide._sampler._nvml_facts import architecture, gpu_facts, memory_total, quietly, text
from runtide._sampler._nvml_fields import FieldBatch
from runtide._sampler._nvml_history import KINDS, History
from runtide._sampler._nvml_policy import (
    NOT_FOUND,
    NOT_SUPPORTED,
    QUIET,
    TOO_OLD,
    Guard,
    NvmlStale,
    Reports,
    reason,
    refuse,
)
from runtide._sampler._source import Device, Tier

_AMPERE = 7
# GPUs of the chip GA100, which is Ampere by number and tells power as the GPUs before it.
_GA100 = ("A100", "A800", "A30")
_NO_GPM = "needs GPM, which NVIDIA GPUs have from Hopper on"
_IN_MIG_MODE = "not reported for a GPU in MIG mode; its instances report what there is"
_OF_THE_GPU = "reported for the whole GPU only"
_TIERS = (Tier.FAST, Tier.MEDIUM, Tier.SLOW, Tier.RARE)


@dataclass
class Shared:
    """What all GPUs of a node share.

    Args:
        nvml: The binding.
        reports: Where events go.
        clock: Seconds that only grow.
        wall: Seconds since 1970.
        gpm: What compares samples of GPM; None where the binding's structure is not the known one.
        node: Facts about the driver.
        doing: GPU and call that is being waited for; both empty between ticks. A watchdog tells of it.
    """

    nvml: Any
    reports: Reports
    clock: Callable[[], float]
    wall: Callable[[], float]
    gpm: GpmReader | None
    node: Mapping[str, str] = field(default_factory=dict)
    doing: tuple[str, str] = ("", "")


class Question:
    """A call that is asked of one device, again and again."""

    __slots__ = ("call", "guard", "naming", "reader")

    def __init__(self, call: Call, device: str) -> None:
        self.call = call
        self.guard = Guard(call.columns)
        self.naming = (device, call.ways[0].name)
        self.reader: Reader | None = None


class Gpu:
    """One device that rows come from.

    Args:
        shared: What all GPUs share.
        handle: NVML's handle.
        uuid: Its UUID.
        index: Place among the node's GPUs.
        parent: The GPU that a MIG instance is part of.
    """

    def __init__(self, shared: Shared, handle: Any, uuid: str, index: int, parent: Gpu | None = None) -> None:
        self._shared = shared
        self.handle = handle
        self.uuid = uuid
        self.index = index
        self.parent = parent
        self.instances: list[Gpu] = []
        self.gone: int | None = None  # the error by which it was lost
        self.retry_at = 0.0
        self._gpm_guard = Guard(_gpm.COLUMNS)
        self._gpm: GpmChain | None = None
        self._has_gpm = True
        self._counters: dict[str, tuple[int, float]] = {}
        self._histories: list[tuple[History, Guard]] = []
        self._complete = False
        self.describe()

    def describe(self) -> None:
        """Ask what it is, until all that the questions depend on is known."""
        if self._complete:
            return
        nvml, handle = self._shared.nvml, self.handle
        self.name = text(quietly(nvml, nvml.nvmlDeviceGetName, handle) or "")
        self.mem_total = memory_total(nvml, handle)
        self._calls: dict[Tier, list[Question]] = {tier: [] for tier in _TIERS}
        self._instead: dict[Tier, list[Question]] = {tier: [] for tier in _TIERS}
        self._fields: dict[Tier, list[FieldBatch]] = {tier: [] for tier in _TIERS}
        self._plan = [(tier, self._calls[tier], self._fields[tier], self._instead[tier]) for tier in _TIERS]
        self._traffic: FieldBatch | None = None
        if self.parent is not None:
            self._instance = quietly(nvml, nvml.nvmlDeviceGetGpuInstanceId, handle)
            self.facts: dict[str, str] = {"gpu_instance": text(self._instance)}
            self._add(self._calls, (MEMORY,))
            self._complete = None not in (self._instance, self.mem_total)
            return
        generation, links = architecture(nvml, handle), self._links()
        self.facts = {**self._shared.node, **gpu_facts(nvml, handle, generation)}
        self._complete = None not in (generation, links, self.mem_total) and bool(self.name)
        self._add(self._calls, CALLS)
        newer = generation is None or generation > _AMPERE
        old_power = not newer and (generation != _AMPERE or any(name in self.name for name in _GA100))
        column = "power_instant_mw" if old_power else "power_avg_mw"
        self._add(self._instead, (*INSTEAD, Call(Tier.FAST, (column,), (POWER,))))
        for tier, fields in FIELDS.items():
            self._fields[tier].append(self._batch(fields))
        if links:
            self._fields[Tier.SLOW].append(self._batch(nvlink_fields(generation or 0, links)))
        if not self._histories:
            since = int(self._shared.wall() * 1e6)
            self._histories = [(History(nvml, kind, since), Guard(columns[:2])) for kind, columns in KINDS.items()]

    def _add(self, to: dict[Tier, list[Question]], calls: Sequence[Call]) -> None:
        for call in calls:
            to[call.tier].append(Question(call, self.uuid))

    def _batch(self, fields: Sequence[Field]) -> FieldBatch:
        return FieldBatch(self._shared.nvml, self.uuid, fields, self._shared.reports)

    def _links(self) -> int | None:
        """How many NVLinks it has; None when the call fails."""
        answer: dict[str, Any] = {}
        batch = FieldBatch(self._shared.nvml, self.uuid, (Field(NVLINK_COUNT, "links"),), Reports())
        try:
            batch.read(self.handle, 0.0, answer)
        except NvmlStale:
            return None  # the next tick's calls find out, and start NVML again
        codes = {guard.code for guard in batch.states()}
        return answer.get("links", 0 if codes <= QUIET else None)

    @property
    def place_on_bus(self) -> tuple[int, ...]:
        """Domain, bus and device; empty when not known."""
        bus_id = self.facts.get("pci_bus_id")
        return place_on_bus(bus_id) if bus_id else ()

    def hold(self, handle: Any) -> None:
        """Go on with this handle, which is usually the one that it has."""
        if address(handle) != address(self.handle):
            self.handle = handle
            for question in self._questions():
                question.reader = None

    def renew(self, handle: Any) -> None:
        """Go on with this handle, after NVML was started anew or the GPU was lost."""
        self.hold(handle)
        self._gpm = None  # its buffers were the old NVML's

    def _questions(self) -> list[Question]:
        return [one for questions in (self._calls, self._instead) for of in questions.values() for one in of]

    def close(self) -> None:
        """Free what NVML holds for it."""
        if self._gpm is not None:
            quietly(self._shared.nvml, self._gpm.close)
            self._gpm = None

    def read(self, due: Collection[Tier], now: float) -> dict[str, Any]:
        """One row.

        Raises:
            NvmlGone, NvmlStale: There is none.
        """
        shared, handle = self._shared, self.handle
        if self.parent is None:
            row: dict[str, Any] = {"gpu_uuid": self.uuid, "mig_uuid": ""}
        else:
            row = {"gpu_uuid": self.parent.uuid, "mig_uuid": self.uuid}
        for tier, calls, batches, instead in self._plan:
            if tier not in due:
                continue
            for question in calls:
                if now >= question.guard.until:
                    self._ask(question, now, row)
            for batch in batches:
                shared.doing = (self.uuid, "nvmlDeviceGetFieldValues")
                batch.read(handle, now, row)
            for question in instead:
                if question.call.columns[0] not in row and now >= question.guard.until:
                    self._ask(question, now, row)
        if Tier.MEDIUM in due:
            self._read_gpm(now, row)
        if Tier.HISTORY in due:
            self._read_histories(now, row)
        return row

    def _ask(self, question: Question, now: float, row: dict[str, Any]) -> None:
        nvml, call, guard = self._shared.nvml, question.call, question.guard
        self._shared.doing = question.naming
        while True:
            try:
                if question.reader is None:
                    question.reader = call.ways[guard.which].prepare(nvml, self.handle)
                values = question.reader()
                break
            except nvml.NVMLError as error:
                question.reader = None
                if error.value in TOO_OLD and guard.which + 1 < len(call.ways):
                    guard.which += 1
                    continue
                self._refused(guard, now, error.value, call.ways[0].name)
                return
        if not guard.worked:
            guard.succeeded()
        for column, value in zip(call.columns, values, strict=True):
            row[column] = value

    def _refused(self, guard: Guard, now: float, code: int, call: str) -> None:
        refuse(guard, now, code, self.uuid, call, self._shared.reports)

    def _read_gpm(self, now: float, row: dict[str, Any]) -> None:
        shared, guard = self._shared, self._gpm_guard
        if shared.gpm is not None and now >= guard.until:
            shared.doing = (self.uuid, "nvmlGpmSampleGet")
            try:
                if self._gpm is None:
                    self._has_gpm = self.parent is not None or _gpm.supported(shared.nvml, self.handle)
                    if not self._has_gpm:
                        raise shared.nvml.NVMLError(NOT_SUPPORTED)
                    self._gpm = GpmChain(shared.gpm, self._take)
                self._gpm.read(shared.clock(), row)
            except shared.nvml.NVMLError as error:
                guard.worked = False  # two samples that are too close are an invalid argument too
                self._refused(guard, now, error.value, "nvmlGpmSampleGet")
            else:
                guard.succeeded()
        if guard.code is not None and self.parent is None:
            self._read_traffic(now, row)

    def _take(self, sample: Any) -> None:
        nvml = self._shared.nvml
        if self.parent is None:
            nvml.nvmlGpmSampleGet(self.handle, sample)
        elif self._instance is None:  # NVML would take another instance's
            raise nvml.NVMLError(NOT_FOUND)
        else:
            nvml.nvmlGpmMigSampleGet(self.parent.handle, self._instance, sample)

    def _read_traffic(self, now: float, row: dict[str, Any]) -> None:
        """Rates from counters. A counter that went back has begun anew or wrapped, so that tick has none."""
        if self._traffic is None:
            self._traffic = self._batch([counter for counter, _ in TRAFFIC.values()])
        counters: dict[str, Any] = {}
        self._shared.doing = (self.uuid, "nvmlDeviceGetFieldValues")
        self._traffic.read(self.handle, now, counters)
        for column, value in counters.items():
            before = self._counters.get(column)
            self._counters[column] = (value, now)
            if before is not None and value >= before[0] and now > before[1]:
                row[column] = round((value - before[0]) * TRAFFIC[column][1] / (now - before[1]))

    def _read_histories(self, now: float, row: dict[str, Any]) -> None:
        for history, guard in self._histories:
            if now < guard.until:
                continue
            self._shared.doing = (self.uuid, "nvmlDeviceGetSamples")
            try:
                history.read(self.handle, row)
            except self._shared.nvml.NVMLError as error:
                self._refused(guard, now, error.value, "nvmlDeviceGetSamples")
            else:
                guard.succeeded()

    def device(self) -> Device:
        """What it is, and what it does not report."""
        return Device(
            kind="gpu" if self.parent is None else "mig",
            device=self.uuid,
            name=self.name,
            parent="" if self.parent is None else self.parent.uuid,
            gpu_index=self.index,
            vendor="NVIDIA",
            mem_total_bytes=self.mem_total,
            facts=self.facts,
            absent=self._absent(),
        )

    def _absent(self) -> dict[str, str]:
        guards = [question.guard for question in self._questions()]
        guards += [guard for _, guard in self._histories]
        batches = [batch for of in self._fields.values() for batch in of]
        if self._traffic is not None and self._gpm_guard.code is not None:
            batches.append(self._traffic)
        guards += [guard for batch in batches for guard in batch.states()]
        answered = {column for guard in guards if guard.worked and guard.code is None for column in guard.columns}
        absent: dict[str, str] = {}
        if self.parent is not None:
            absent = {
                c: _OF_THE_GPU for calls in (CALLS, INSTEAD) for call in calls for c in call.columns if call != MEMORY
            }
            absent |= {f.column: _OF_THE_GPU for fields in FIELDS.values() for f in fields}
        for guard in (*guards, self._gpm_guard):
            if guard.code is not None:
                absent |= {c: self._reason(guard, guard.code) for c in guard.columns if c not in answered}
        if self._gpm is not None and self._gpm_guard.code is None:
            absent |= {column: reason(code) for column, code in self._gpm.missing.items()}
        return absent

    def _reason(self, guard: Guard, code: int) -> str:
        if guard is self._gpm_guard and not self._has_gpm:
            return _NO_GPM
        if code == NOT_SUPPORTED and self.instances:
            return _IN_MIG_MODE
        return reason(code)
