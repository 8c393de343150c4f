"""The runs of a node: who logs to them, what they get of each tick, and when they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtide._sampler._cgroup import Cgroup
from runtide._sampler._host import used_percent
from runtide._sampler._processes import Processes
from runtide._sampler._ranks import STANDING, Message, Name, claimed, places_of, visible_devices
from runtide._sampler._source import Device, Event
from runtide._sampler._writers import Writer

_LEAST_TICKS = 2

Opened = Callable[[Message], Writer]


class NodeRun:
    """One run on the node.

    Args:
        message: What the first of its ranks has said.
        writer: Takes its records.
        pid: A process whose control group is the run's; None for this one.
    """

    def __init__(self, message: Message, writer: Writer, pid: int | None) -> None:
        self.path = message.run
        self.writer = writer
        self.home = Path(message.home)
        self.finish_timeout = message.finish_timeout
        # By pid: what the rank said last, and when its process began.
        self.ranks: dict[int, Message] = {}
        self.started: dict[int, int | None] = {}
        self.every_gpu = message.every_gpu
        # Milliseconds between two samples that it wants.
        self.interval_ms = round(message.interval * 1000)
        self.permanent = False
        self.ticks = self.skipped = 0
        self._cgroup = Cgroup(pid)
        self._told: dict[tuple[str, str], Device] = {}
        # The devices, what the rows are of, and which of them are the run's: until a rank or a device is another one.
        self._shares: tuple[list[Device], list[Name], list[tuple[int | None, int]]] | None = None
        self._last_ms: int | None = None
        self._left_out = 0

    def hear(self, message: Message) -> None:
        """Note what a rank says."""
        before = self.ranks.get(message.pid)
        self.ranks[message.pid] = message
        if before is None or before[:STANDING] != message[:STANDING]:
            self.every_gpu = self.every_gpu or message.every_gpu
            self._ranks_changed()

    def forget(self, pid: int) -> None:
        """The rank's process has ended, or it logs no more."""
        del self.ranks[pid]
        self._ranks_changed()

    def _ranks_changed(self) -> None:
        self._shares = None
        wanted = [round(message.interval * 1000) for message in self.ranks.values()]
        self.interval_ms = min(wanted, default=self.interval_ms)

    @property
    def has_ended(self) -> bool:
        """Nobody logs to it any more."""
        return not self.permanent and all(message.ended for message in self.ranks.values())

    def wants(self, moment: int, extra: bool) -> bool:
        """Whether it gets this tick: one in each of its intervals, and every one that is out of turn."""
        return extra or self._last_ms is None or moment // self.interval_ms != self._last_ms // self.interval_ms

    def skip(self, ticks: int) -> None:
        """So many ticks were left out."""
        self.skipped += ticks
        self._left_out += ticks

    def tell(self, devices: list[Device], moment: int) -> None:
        """Say what the devices are, where that is news; GPUs of others are none of its business."""
        uuids = frozenset[str]().union(*self._claims(devices).values())
        for device in devices:
            mine = device.kind == "host" or self.every_gpu or {device.device, device.parent} & uuids
            if not mine or self._told.get(key := (device.kind, device.device)) == device:
                continue
            self._told[key] = device
            fields = {name: getattr(device, name) for name in Device.__dataclass_fields__}
            self.writer.add("device_info", fields | {"time": moment})

    def report(self, event: Event, devices: list[Device], moment: int) -> None:
        """Say what happened, if it happened to the node or to a device of the run."""
        claims = self._claims(devices)
        family = {event.device, *(d.parent for d in devices if d.device == event.device)}
        ranks = [rank for rank, uuids in claims.items() if uuids & family]
        if event.device and not ranks and not self.every_gpu:
            return
        fields = {name: getattr(event, name) for name in Event.__dataclass_fields__}
        rank = min(ranks) if event.device and ranks else None
        self.writer.add("device_events", fields | {"time": moment, "rank": rank})

    def take(
        self, tick: Mapping[str, Any], gpus: list[dict[str, Any]], host: Mapping[str, Any] | None,
        devices: list[Device], processes: Processes,
    ) -> None:  # fmt: skip
        """Write what was read at a tick.

        Args:
            tick: The fields that all records of a tick have: time, period_ms, tick_us.
            gpus: A row for each device.
            host: The row of the node; None when it was not its turn.
            devices: What there is on the node.
            processes: Asked for those of the ranks.
        """
        common = {**tick, "skipped": self._left_out}
        if mine := self._mine(devices, [(row["gpu_uuid"], row.get("mig_uuid", "")) for row in gpus]):
            at: dict[int | None, dict[str, Any]] = {None: {"rank": None}}
            at |= {message.rank: _at(message) for message in self.ranks.values()}
            rows = [{**gpus[place], **at[rank]} for rank, place in mine]
            self.writer.add("gpu_ticks", {**common, "gpus": rows})
        if host is not None:
            ranks = [{"pid": pid, **_at(message), **processes.use(pid)} for pid, message in sorted(self.ranks.items())]
            living = [row for row in ranks if row["processes"]]
            own = {**self._cgroup.read(), "disk_used_pct": used_percent(self.home), "ranks": living}
            self.writer.add("host_ticks", {**common, **host, **own})
        self.ticks += 1
        self._left_out = 0
        self._last_ms = tick["time"]
        for pid in [pid for pid, message in self.ranks.items() if message.ended]:
            self.forget(pid)

    def _mine(self, devices: list[Device], names: list[Name]) -> list[tuple[int | None, int]]:
        """Of the rows of these names, the places of those that are the run's, each with its rank."""
        if self._shares is None or self._shares[0] is not devices or self._shares[1] != names:
            mine = places_of(self._claims(devices), names)
            if self.every_gpu:
                ranked = {place: rank for rank, place in mine}
                mine = [(ranked.get(place), place) for place in range(len(names))]
            self._shares = devices, names, mine
        return self._shares[2]

    def _claims(self, devices: list[Device]) -> dict[int, frozenset[str]]:
        seen = {visible: visible_devices(visible, devices) for visible in {m.visible for m in self.ranks.values()}}
        return {message.rank: claimed(message, seen[message.visible]) for message in self.ranks.values()}


def _at(message: Message) -> dict[str, Any]:
    return {"rank": message.rank, "step": message.step, "phase": message.phase}


class Runs:
    """All runs of the node.

    Args:
        opened: Opens the writer of a run.
        processes: Asked whether ranks live.
    """

    def __init__(self, opened: Opened, processes: Processes) -> None:
        self.all: dict[str, NodeRun] = {}
        self._opened = opened
        self._processes = processes

    def hear(self, message: Message) -> NodeRun | None:
        """Note what a rank says; the run, if it is new."""
        run, new = self.all.get(message.run), None
        if run is None:
            run = new = NodeRun(message, self._opened(message), message.pid)
            self.all[message.run] = run
        if message.pid not in run.ranks:
            run.started[message.pid] = self._processes.started(message.pid)
        run.hear(message)
        return new

    def look(self) -> None:
        """Forget ranks whose processes have ended. One that is stopped or hangs has not."""
        for run in self.all.values():
            for pid in list(run.ranks):
                started = self._processes.started(pid)
                if started is None or started != run.started[pid]:
                    run.forget(pid)

    @property
    def pids(self) -> set[int]:
        """Processes of all ranks."""
        return {pid for run in self.all.values() for pid in run.ranks}

    def take_ended(self) -> list[NodeRun]:
        """The runs that nobody logs to any more, with a first and a last tick; they are no longer among all."""
        ended = [run for run in self.all.values() if run.has_ended and run.ticks >= _LEAST_TICKS]
        for run in ended:
            del self.all[run.path]
        return ended


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
