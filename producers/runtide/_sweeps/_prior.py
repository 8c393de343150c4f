"""What earlier runs tell a new sweep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from runtide._report import say
from runtide._sweeps._study import Sweep


def learn(sweep: Sweep, paths: Iterable[str]) -> None:
    """Tell a sweep's sampler what runs in the store came to; those outside of its space are left out, which is said.

    Raises:
        NotFoundError: There is no such run.
        QueryError: The store cannot be asked.
    """
    from runtide._query import Api

    entity, project, _ = sweep.path.split("/")
    api = Api(overrides={"entity": entity, "project": project})
    taken = left = 0
    for path in paths:
        run = api.run(path)
        point = sweep.definition.space.point_of(run.config)
        values = [_last(run.summary.get(metric.name)) for metric in sweep.definition.metrics]
        if point is None or not all(map(math.isfinite, values)):
            left += 1
            continue
        sweep.learn(point, values)
        taken += 1
    say(f"sweep {sweep.path} begins with what {taken} runs came to; {left} are outside of its space or lack its metric")


def _last(found: Any) -> float:
    if isinstance(found, Mapping):
        found = next((found[kind] for kind in ("best", "min", "max", "last", "mean") if kind in found), None)
    return float(found) if isinstance(found, int | float) else math.nan
