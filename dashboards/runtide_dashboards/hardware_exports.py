"""GET api/hardware/export: the samples behind a panel as CSV, as Parquet, or as the SQL that gives them."""

from __future__ import annotations

import asyncio
import math
import re

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from runtide_dashboards import url_values
from runtide_dashboards.hardware import METRICS
from runtide_dashboards.hardware_answers import reach
from runtide_dashboards.hardware_questions import AXES, WINDOWS, subjects
from runtide_dashboards.queries import hardware, raw_samples, store
from runtide_dashboards.queries import lines as line_queries
from runtide_dashboards.questions import BadQuestion

_FORMATS = {
    "csv": ("CSVWithNames", "text/csv; charset=utf-8"),
    "parquet": ("Parquet", "application/vnd.apache.parquet"),
}


async def export_samples(request: Request) -> Response:
    """Answer with the rows.

    Raises:
        BadQuestion: A parameter is missing or not what it may be.
        DashboardError: There is nothing to read from.
    """
    given = request.query_params
    form, key, axis = given.get("format", "csv"), given.get("key", ""), given.get("axis", "auto")
    window = given.get("within", "all")
    if form not in ("sql", *_FORMATS):
        raise BadQuestion("format must be csv, parquet or sql.")
    if key not in METRICS:
        raise BadQuestion("key is no metric of samples.")
    if axis not in ("auto", *AXES):
        raise BadQuestion(f"axis must be auto, {' or '.join(AXES)}.")
    if window not in WINDOWS:
        raise BadQuestion(f"within must be one of {', '.join(WINDOWS)}.")
    some = subjects(given.getlist("r"))
    metric = METRICS[key]
    finest = next((kind for kind in (metric.source, "node", "run") if any(one.kind == kind for one in some)), "")
    some = tuple(one for one in some if one.kind == finest)
    if not some:
        raise BadQuestion("r must name what the samples are of.")
    runs = tuple(dict.fromkeys(one.run for one in some))
    origins: dict[str, int] = {}
    if axis == "relative":
        found = await asyncio.wrap_future(store.pool.submit(line_queries.origins, runs))
        origins = {run: one.created for run, one in found.items()}
    low, high = (url_values.number(given.get(name, "")) for name in ("from", "to"))
    if WINDOWS[window]:
        extents = await asyncio.wrap_future(store.pool.submit(hardware.extent, runs))
        if extents:
            first, _ = reach({run: origins.get(run, 0) for run in extents}, extents, WINDOWS[window])
            low = first if low is None else max(first, low)
    wanted = raw_samples.Wanted(
        metric, some, origins, None if low is None else math.floor(low), None if high is None else math.ceil(high)
    )
    if form == "sql":
        return PlainTextResponse(raw_samples.pasted(wanted))
    kind, media = _FORMATS[form]
    data = await asyncio.wrap_future(store.pool.submit(raw_samples.download, wanted, kind))
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", key)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"', "Cache-Control": "no-store"}
    return Response(data, media_type=media, headers=headers)
