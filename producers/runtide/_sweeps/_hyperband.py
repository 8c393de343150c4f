"""Which runs end early, as W&B's hyperband decides it.

Source: `hyperband_stop_runs` of W&B's package `sweeps` (MIT). An iteration is one logged value of the metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MOST_BANDS = 100


def bands(options: Mapping[str, Any]) -> list[int]:
    """The iterations after which runs are compared."""
    eta = options.get("eta", 3)
    if "max_iter" in options:
        band, found = float(options["max_iter"]), list[int]()
        for _ in range(int(options["s"])):
            band /= eta
            if band < 1:
                break
            found.append(int(band))
        return sorted(found)
    return [int(options["min_iter"] * eta**power) for power in range(_MOST_BANDS)]


def stops(options: Mapping[str, Any], history: Sequence[float], others: Mapping[int, Sequence[float]]) -> bool:
    """Whether a run has to end.

    Args:
        options: `early_terminate` of the sweep.
        history: The values that the run has logged; small ones are good.
        others: By band, the values that all runs, this one too, had there.
    """
    reached = [band for band in bands(options) if band <= len(history)]
    if not reached:
        return False
    at = sorted(others.get(reached[-1], ()))
    if not at:
        return False
    threshold = at[int(len(at) / options.get("eta", 3))]
    value = history[reached[-1] - 1] if options.get("strict", True) else min(history)
    return value > threshold
