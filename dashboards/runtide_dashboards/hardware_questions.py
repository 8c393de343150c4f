"""What POST api/hardware is asked: the same JSON as api/series, with subjects of samples in the place of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtide_dashboards.hardware import MAX_SUBJECTS, METRICS, Metric, Subject
from runtide_dashboards.questions import MAX_PANELS, BadQuestion, Fields, Held, checked, held_lines, loaded

AXES = ("wall", "relative")
# Seconds of the windows that the page offers; 0 for all.
WINDOWS = {"15m": 900, "1h": 3600, "all": 0}


@dataclass(frozen=True)
class SamplesPanel:
    """One panel. `low` and `high` are the range of x in milliseconds, None for all; `held` is what the client holds."""

    metric: Metric
    low: float | None
    high: float | None
    held: Mapping[str, Held]


@dataclass(frozen=True)
class SamplesQuestion:
    """One request. `seconds` is how far back from the newest sample it looks, 0 for all."""

    subjects: tuple[Subject, ...]
    axis: str
    buckets: int
    seconds: int
    log: bool
    panels: tuple[SamplesPanel, ...]


def parse(body: bytes, window: str) -> SamplesQuestion:
    """The question in a request's body.

    Args:
        body: JSON.
        window: One of WINDOWS.

    Raises:
        BadQuestion: A field is missing, unknown, or not what it may be.
    """
    fields = Fields(loaded(body), "The body")
    # What is asked of points only: one component draws both.
    for name, kind in (("groups", list), ("ranks", (int, str)), ("attempts", bool), ("band", dict)):
        fields.take(name, kind, None)
    axis = fields.take("axis", str, "auto")
    if axis not in ("auto", *AXES):
        raise BadQuestion(f"axis must be auto, {' or '.join(AXES)}.")
    if window not in WINDOWS:
        raise BadQuestion(f"within must be one of {', '.join(WINDOWS)}.")
    question = SamplesQuestion(
        subjects=subjects(fields.list("runs", MAX_SUBJECTS)),
        axis=AXES[0] if axis == "auto" else axis,
        buckets=fields.integer("buckets", 512, 16, 2048),
        seconds=WINDOWS[window],
        log=fields.take("log_y", bool, False),
        panels=tuple(_panel(one, number) for number, one in enumerate(fields.list("panels", MAX_PANELS))),
    )
    fields.end()
    return question


def subjects(ids: Sequence[object]) -> tuple[Subject, ...]:
    """The subjects of some ids.

    Raises:
        BadQuestion: One is none.
    """
    try:
        return tuple(Subject.parse(checked(str(one), "runs")) for one in dict.fromkeys(map(str, ids)))
    except ValueError as error:
        raise BadQuestion('runs must hold lists as texts, such as ["gpu", run, node, UUID].') from error


def _panel(given: object, number: int) -> SamplesPanel:
    place = f"panels[{number}]"
    fields = Fields(given, place)
    key = fields.take("key", str, "")
    if key not in METRICS:
        raise BadQuestion(f"{place}.key is no metric of samples.")
    panel = SamplesPanel(METRICS[key], fields.number("from"), fields.number("to"), held_lines(fields, f"{place}.have"))
    fields.end()
    return panel
