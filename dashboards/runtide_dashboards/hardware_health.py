"""Which GPU of a run to look at first, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Seconds without a sample, while others are read, after which a GPU counts as silent.
SILENT = 30
# Percent of time held down for heat, degrees and percent points away from the peers' median: from there on it is told.
_HELD, _HOT, _IDLE = 1.0, 10.0, 10.0


@dataclass(frozen=True)
class Gpu:
    """How a GPU did over a while; None is a value that it does not report.

    Args:
        host: Its node.
        device: Its UUID.
        rank: The rank that computes on it.
        ms: When it was read last.
        utilisation: Percent of time with a kernel running, the mean.
        temperature: The highest, degrees Celsius.
        held: Percent of time in which it was held down for heat or by the power brake.
    """

    host: str
    device: str
    rank: int | None
    ms: int
    utilisation: float | None
    temperature: float | None
    held: float | None


def worst(gpus: Sequence[Gpu]) -> list[tuple[Gpu, list[str]]]:
    """The GPUs that are not as their peers are, the worst first, and how.

    A GPU that is not read any more comes before one that is held down for heat, that before a hot one, and that before
    one with less to do.
    """
    newest = max((one.ms for one in gpus), default=0)
    hot = _median([one.temperature for one in gpus])
    busy = _median([one.utilisation for one in gpus])
    ranked = []
    for one in gpus:
        faults = list(_faults(one, newest, hot, busy))
        if faults:
            ranked.append((min(place for place, *_ in faults), -max(size for _, size, _ in faults), one, faults))
    ranked.sort(key=lambda entry: (*entry[:2], entry[2].host, entry[2].device))
    return [(one, [text for _, _, text in faults]) for *_, one, faults in ranked]


def is_silent(one: Gpu, newest: int) -> bool:
    """Whether a GPU is not read any more while others are."""
    return newest - one.ms > 1000 * SILENT


def _faults(one: Gpu, newest: int, hot: float | None, busy: float | None) -> list[tuple[int, float, str]]:
    """How bad it is, how large that is, and in words."""
    found: list[tuple[int, float, str]] = []
    if is_silent(one, newest):
        silent = (newest - one.ms) / 1000
        found.append((0, silent, f"not read any more: {silent:,.0f} s behind the others"))
    if one.held is not None and one.held > _HELD:
        found.append((1, one.held, f"throttled for heat or by the power brake {one.held:.0f} % of the time"))
    if one.temperature is not None and hot is not None and one.temperature - hot > _HOT:
        more = one.temperature - hot
        found.append((2, more, f"{one.temperature:.0f} °C, {more:.0f} more than the median of its peers"))
    elif one.temperature is not None and found:
        found.append((2, 0, f"{one.temperature:.0f} °C"))
    if one.utilisation is not None and busy is not None and busy - one.utilisation > _IDLE:
        less = busy - one.utilisation
        found.append((3, less, f"utilisation {one.utilisation:.0f} %, {less:.0f} points below the median of its peers"))
    return found


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
