"""How runs that are shown together look and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from runtide_dashboards.colours import Style, styles
from runtide_dashboards.records import Run


def looks(runs: Sequence[Run]) -> dict[str, Style]:
    """The look of each run, by its path."""
    chosen = styles([run.ordinal for run in runs], [run.colour for run in runs])
    return dict(zip((run.path for run in runs), chosen, strict=True))


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """What each run is called, by its path: never two alike, as Streamlit's choices are told apart by their labels.

    That is the name alone, with the id where others have the same name, and with the path where they also share the id.
    """
    found = {run.path: run.label for run in runs}
    for whole in (False, True):
        times = Counter(found.values())
        longer = {run.path: f"{run.label} · {run.path if whole else run.path.rpartition('/')[2]}" for run in runs}
        found = {path: longer[path] if times[label] > 1 else label for path, label in found.items()}
    return found
