"""Why there are no samples of something, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from runtide_dashboards import texts
from runtide_dashboards.hardware import Metric, Subject
from runtide_dashboards.queries.devices import Device, Event

NOTHING = "Nothing was sampled for this run: its sampler was switched off, could not start, or has not reported yet."
_LONGEST = 300


def why(metric: Metric, without: Sequence[Subject], known: Sequence[Device], told: Sequence[Event], some: bool) -> str:
    """Why a panel lacks lines.

    Args:
        metric: What it draws.
        without: What it has no line of.
        known: The devices of these runs.
        told: Events of these runs that say why there is nothing.
        some: Whether it has other lines.
    """
    kinds = ("gpu", "mig") if metric.source == "gpu" else ("host",)
    of_them = [one for one in known if one.kind in kinds and any(_has(subject, one) for subject in without)]
    said = Counter(one.absent[name] for one in of_them for name in metric.fields if name in one.absent)
    if said:
        reason, times = said.most_common(1)[0]
        who = texts.count(times, "GPU" if metric.source == "gpu" else "node")
        verb = "does" if times == 1 else "do"
        return f"{who} {verb} not report it: {texts.short(reason, _LONGEST)}"
    if some:
        return ""
    if metric.source == "gpu":
        return no_gpus(known, told)
    if metric.source == "rank":
        return "Not read of any rank."
    return "No node has reported it." if known or told else NOTHING


def no_gpus(known: Sequence[Device], told: Sequence[Event]) -> str:
    """Why no GPU was sampled."""
    reason = next((one for kind in ("no_driver", "no_gpu") for one in told if one.kind == kind), None)
    here = [one for one in known if one.kind == "gpu"]
    if here:
        nodes = texts.count(len({(one.run, one.host) for one in here}), "node")
        return f"{texts.count(len(here), 'GPU')} on {nodes}, and none was sampled: no rank of this run has claimed one."
    if reason is not None:
        return texts.short(reason.message, _LONGEST) or "There is no driver for GPUs on this machine."
    return "The sampler found no GPU on this machine." if known or told else NOTHING


def _has(subject: Subject, device: Device) -> bool:
    """Whether a device is part of a subject."""
    if subject.run != device.run or subject.host not in ("", device.host):
        return False
    return subject.kind != "gpu" or subject.device == device.device
