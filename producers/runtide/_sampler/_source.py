"""What the sampler's loop asks of whatever can be sampled: NVML, the host, later AMD.

Rows are dicts with the fields of `gpu_ticks.avsc` or `host_ticks.avsc`. What is not known is left out and never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol


class Tier(Enum):
    """How often something is read. What blocks the driver is read rarely.

    The value is the period in seconds, at the default of one tick a second and at ten ticks a second.
    """

    FAST = (1.0, 0.1)
    MEDIUM = (1.0, 0.5)
    HISTORY = (5.0, 5.0)
    SLOW = (30.0, 30.0)
    RARE = (60.0, 60.0)

    # Members are compared by identity; Enum's own is a function in Python, called a hundred times in a tick.
    __hash__ = object.__hash__


@dataclass(frozen=True)
class Device:
    """One record of the stream `device_info`, without what every record has.

    Args:
        kind: host, gpu or mig.
        device: UUID of the GPU or MIG instance; empty for the host.
        name: Name of the product.
        parent: UUID of the GPU that a MIG instance is part of.
        gpu_index: Place among the node's GPUs.
        vendor: Such as NVIDIA.
        mem_total_bytes: Memory that it has.
        facts: What else is known, as text.
        absent: Columns that it does not report, and why, in words.
    """

    kind: str
    device: str = ""
    name: str = ""
    parent: str = ""
    gpu_index: int | None = None
    vendor: str = ""
    mem_total_bytes: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """One record of the stream `device_events`, without what every record has.

    Args:
        kind: Such as xid, gpu_lost, gpu_returned, no_driver, call_failed, call_hangs.
        severity: info, warning or error.
        message: What happened and what to do about it.
        device: UUID of the GPU or MIG instance; empty for the node.
        code: Number of the XID, or NVML's return code.
        facts: Details, as text.
    """

    kind: str
    severity: str
    message: str
    device: str = ""
    code: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Reads one kind of device, from one thread. Nothing here raises: what fails is an event and an absent field."""

    def devices(self) -> list[Device]:
        """What there is. The loop asks after every tick of the slow tier, and sends what has changed."""

    def tick(self, due: Set[Tier]) -> list[dict[str, Any]]:
        """Read the tiers that are due: one row per device."""

    def events(self) -> list[Event]:
        """What happened since the last time."""

    def close(self) -> None:
        """Let go of the driver."""
