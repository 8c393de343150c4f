"""GET api/export: the rows behind a panel as CSV, as Parquet, or as the SQL that gives them."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import csv, parquet
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from runtide_dashboards.plans import axis_of
from runtide_dashboards.queries import lines, raw, store
from runtide_dashboards.questions import LOWEST, MAX_RUNS, BadQuestion, checked, checked_axis

_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


class Writer(Protocol):
    """What pyarrow's writers of CSV and Parquet have in common."""

    def write_table(self, table: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what belongs at the end."""


_WRITERS: Mapping[str, Callable[[io.BytesIO, pa.Schema], Writer]] = {
    "csv": csv.CSVWriter,
    "parquet": parquet.ParquetWriter,
}


async def export(request: Request) -> Response:
    """Answer GET api/export; the rows come while they are read.

    Raises:
        BadQuestion: A parameter is missing or not what it may be.
        DashboardError: There is nothing to read from.
    """
    given = request.query_params
    kind = given.get("format", "csv")
    if given.get("kind", "series") != "series":
        raise BadQuestion("kind must be series.")
    if kind not in ("csv", "parquet", "sql"):
        raise BadQuestion("format must be csv, parquet or sql.")
    runs = [checked(run, "r") for run in dict.fromkeys(given.getlist("r"))]
    if not 0 < len(runs) <= MAX_RUNS:
        raise BadQuestion(f"r must name a run, {MAX_RUNS} at most.")
    rank = _rank(given.get("ranks", "lowest"))
    origins = await _query(lines.origins, runs)
    wanted = _wanted(given, origins)
    if kind == "sql":
        return PlainTextResponse(raw.pasted(wanted, runs, rank))
    keys = [wanted.key, *([wanted.x_key] if wanted.x_key else [])]
    found = await _query(lines.series, list(origins), keys, rank)
    pieces = _pieces(kind, wanted, list(_pages(wanted, origins, found)))
    first = await anext(pieces)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted.key).strip("._")[:80] or "series"
    headers = {"Content-Disposition": f'attachment; filename="{name}.{kind}"', "Cache-Control": "no-store"}
    return StreamingResponse(_after(first, pieces), media_type=_TYPES[kind], headers=headers)


async def _query(call: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.wrap_future(store.pool.submit(call, *arguments))


def _rank(text: str) -> int | None:
    if text in ("lowest", "all"):
        return LOWEST if text == "lowest" else None
    if not text.isascii() or not text.isdigit() or int(text) >= 2**31:
        raise BadQuestion("ranks must be lowest, all or a rank.")
    return int(text)


def _wanted(given: QueryParams, origins: Mapping[str, lines.Origin]) -> raw.Wanted:
    key, asked = checked(given.get("key", ""), "key"), checked(given.get("axis", "auto"), "axis")
    if key.startswith("= "):
        raise BadQuestion("A formula has no rows of its own: export the metrics that it names.")
    axis = axis_of(checked_axis(asked), key, origins)
    return raw.Wanted(key, axis.kind, axis.key, _number(given, "from"), _number(given, "to"))


def _number(given: QueryParams, name: str) -> float | None:
    try:
        value = float(given[name]) if given.get(name) else None
    except ValueError as error:
        raise BadQuestion(f"{name} must be a number.") from error
    if value is not None and abs(value) > 1e308:
        raise BadQuestion(f"{name} is too large a number.")
    if value is not None and value != value:
        raise BadQuestion(f"{name} must be a number.")
    return value


Page = Callable[[int | None], pa.Table]


def _pages(wanted: raw.Wanted, origins: Mapping[str, lines.Origin], found: list[lines.Series]) -> Iterator[Page]:
    """For each series that is wanted, what reads its next page."""
    plain: dict[tuple[str, int], bool] = {}
    for one in found:
        plain[one.run, one.rank] = plain.get((one.run, one.rank), True) and one.plain
    for one in found:
        if one.key == wanted.key:
            yield _page(wanted, origins[one.run], one.rank, plain[one.run, one.rank])


def _page(wanted: raw.Wanted, origin: lines.Origin, rank: int, plain: bool) -> Page:
    def read(after: int | None) -> pa.Table:
        since = {} if after is None else {"after": after}
        table = raw.page(wanted, origin.run, rank, plain, origin.created, **since)
        names = [("run", origin.run), ("name", origin.name)]
        for place, (column, text) in enumerate(names):
            table = table.add_column(place, pa.field(column, pa.string()), pa.repeat(pa.scalar(text), table.num_rows))
        return table

    return read


async def _pieces(kind: str, wanted: raw.Wanted, pages: list[Page]) -> AsyncIterator[bytes]:
    """The file, piece by piece; the first one when the first rows are there."""
    sink = io.BytesIO()
    schema = _schema(wanted)
    writer = _WRITERS[kind](sink, schema)
    for page in pages:
        after: int | None = None
        while True:
            piece, after = await _query(_write, page, after, writer, sink, schema)
            yield piece
            if after is None:
                break
    writer.close()
    yield sink.getvalue()


def _write(
    page: Page, after: int | None, writer: Writer, sink: io.BytesIO, schema: pa.Schema
) -> tuple[bytes, int | None]:
    """Read a page and write it; the piece of the file, and the last step when more may follow."""
    table = page(after)
    writer.write_table(table.cast(schema))
    piece = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return piece, table["step"][-1].as_py() if table.num_rows == raw.PAGE else None


def _schema(wanted: raw.Wanted) -> pa.Schema:
    fields: list[tuple[str, pa.DataType]] = [
        ("run", pa.string()), ("name", pa.string()), ("rank", pa.int32()), ("step", pa.int64()),
        ("time", pa.timestamp("ms", "UTC")), ("value", pa.float64()),
    ]  # fmt: skip
    return pa.schema([*fields, *([("x", pa.float64())] if wanted.axis == "metric" else [])])


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
