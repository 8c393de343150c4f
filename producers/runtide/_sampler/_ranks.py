"""Who computes on the node: what ranks say of themselves, and which GPUs are theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from runtide._sampler._source import Device

_LONGEST_PHASE = 128
# What a rank says anew each time is the end of its message, and begins with the step.
_NEWS = b', "step": '
_NEW = frozenset(("step", "phase", "ended"))
# Half of the cost of json.loads().
_DECODER = json.JSONDecoder()

# UUIDs of what a row is of: the GPU, and the MIG instance or nothing.
Name = tuple[str, str]


class Message(NamedTuple):
    """What a rank says: all of it each time, so that a sampler that is new knows it with the next one.

    Args:
        run: Path of the run.
        rank: Rank of the process.
        pid: Its process id.
        home: Folder of what runtide keeps, of which the spool or the outbox takes the run's records.
        mode: spool, kafka or http.
        destination: Where records go over a network, without credentials.
        interval: Seconds between two samples that the run wants.
        finish_timeout: Seconds that may be spent on delivering what is left.
        local_rank: Rank among those on this node; None where no launcher has said so.
        gpus: UUIDs of the GPUs that it has memory on, or their places among those that it sees.
        visible: CUDA_VISIBLE_DEVICES; None when it is not set.
        torch: It will say which GPUs it uses, as soon as it does.
        every_gpu: The run wants all GPUs of the node.
        step: Step that it is at.
        phase: What it is doing; empty for training.
        ended: The run has ended in this process.
    """

    run: str
    rank: int
    pid: int
    home: str
    mode: str
    destination: str = ""
    interval: float = 1.0
    finish_timeout: float = 10.0
    local_rank: int | None = None
    gpus: tuple[str | int, ...] = ()
    visible: str | None = None
    torch: bool = False
    every_gpu: bool = False
    step: int | None = None
    phase: str = ""
    ended: bool = False


# So many fields of a message stay as they are from one to the next.
STANDING = Message._fields.index("step")


def parse_message(data: bytes) -> Message | None:
    """The message that a rank has sent; None for anything else. What a later version adds is left out."""
    # Ten times a second from each rank: what it has said before is not looked through again.
    head, found, tail = data.rpartition(_NEWS)
    before, news = (_parse_again(head + b"}"), _load(b"{" + found[2:] + tail)) if found else (None, None)
    if before is None or news is None or not news.keys() <= _NEW:
        return _parse(data)
    step, phase = news["step"], news.get("phase", before.phase)
    if type(step) is not int or type(phase) is not str:
        return _parse(data)
    return Message._make((*before[:STANDING], step, phase[:_LONGEST_PHASE], news.get("ended", before.ended)))


def _load(data: bytes) -> dict[str, Any] | None:
    try:
        text = data.decode()
        told, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return told if type(told) is dict and end == len(text) else None


def _parse(data: bytes) -> Message | None:
    told = _load(data)
    if told is None:
        return None
    try:
        known = {name: told[name] for name in Message._fields if name in told}
        known["gpus"] = tuple(gpu for gpu in known.get("gpus", ()) if type(gpu) in (str, int))
        known["phase"] = str(known.get("phase", ""))[:_LONGEST_PHASE]
        message = Message(**known)
    except (TypeError, RecursionError):
        return None
    whole = all(type(value) is int for value in (message.rank, message.pid))
    texts = all(type(value) is str for value in (message.run, message.home, message.mode, message.destination))
    optional = all(value is None or type(value) is int for value in (message.local_rank, message.step))
    times = _is_within(message.interval, 0.1, 3600) and _is_within(message.finish_timeout, 0, 86400)
    visible = message.visible is None or type(message.visible) is str
    return message if whole and texts and optional and times and visible else None


_parse_again = lru_cache(maxsize=256)(_parse)


def _is_within(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


def claimed(message: Message, seen: Sequence[str]) -> frozenset[str]:
    """UUIDs of the GPUs or MIG instances that a rank computes on, as far as that can be known.

    Args:
        message: What the rank has said last.
        seen: The devices that its CUDA_VISIBLE_DEVICES lets it see.
    """
    if message.gpus:
        given = (gpu if isinstance(gpu, str) else seen[gpu] if 0 <= gpu < len(seen) else "" for gpu in message.gpus)
        return frozenset(uuid for uuid in given if uuid)
    if len(seen) > 1:
        if message.local_rank is not None:
            return frozenset(seen[message.local_rank : message.local_rank + 1] if message.local_rank >= 0 else ())
        if message.torch:  # it has not used any yet, and others may be computing on them
            return frozenset()
    return frozenset(seen)


def visible_devices(value: str | None, devices: Sequence[Device]) -> list[str]:
    """UUIDs of the devices that CUDA_VISIBLE_DEVICES lets a process see, in its order.

    Places are NVML's, which are CUDA's when all GPUs are alike, or with CUDA_DEVICE_ORDER=PCI_BUS_ID.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables"; nvitop's `parse_cuda_visible_devices`.

    Args:
        value: What the variable says; None when it is not set.
        devices: What there is on the node.
    """
    gpus = [device for device in devices if device.kind == "gpu"]
    if all(device.gpu_index is not None for device in gpus):
        gpus.sort(key=lambda device: device.gpu_index or 0)
    uuids = [device.device for device in gpus]
    if value is None:
        return uuids
    found: list[str] = []
    tokens = [token.strip() for token in value.split(",")]
    if tokens[0].startswith("MIG-"):  # a process has one instance at most
        instances = (device.device for device in devices if device.kind == "mig")
        return [uuid for uuid in instances if uuid == tokens[0]]
    by_place = not tokens[0].startswith("GPU-")
    for token in tokens:
        uuid = _by_place(token, uuids) if by_place else _by_prefix(token, uuids)
        if uuid is None:  # the first that is none ends the list
            break
        if uuid in found:
            return []
        found.append(uuid)
    return found


def _by_place(token: str, uuids: list[str]) -> str | None:
    place = int(token) if token.isascii() and token.isdecimal() else -1
    return uuids[place] if 0 <= place < len(uuids) else None


def _by_prefix(token: str, uuids: list[str]) -> str | None:
    matches = [uuid for uuid in uuids if token.startswith("GPU-") and uuid.startswith(token)]
    return matches[0] if len(matches) == 1 else None


def places_of(claims: dict[int, frozenset[str]], names: list[Name]) -> list[tuple[int | None, int]]:
    """Of all devices' rows, the places of those that somebody computes on, each with the rank.

    Args:
        claims: By rank, the UUIDs that it computes on.
        names: What each row is of.
    """
    found: list[tuple[int | None, int]] = []
    for place, (gpu, instance) in enumerate(names):
        ranks = [rank for rank, uuids in claims.items() if (instance or gpu) in uuids or gpu in uuids]
        if ranks:
            found.append((min(ranks), place))
        elif not instance:  # power and temperature of an instance are those of its GPU
            parts = {other for parent, other in names if parent == gpu}
            if any(parts & uuids for uuids in claims.values()):
                found.append((None, place))
    return found
