"""What runs printed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runtide_dashboards.queries import store

# What moves the cursor, sets colours or the window's title: a terminal acts on it and shows none of it.
_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])"
_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f]"
_LINES = """
SELECT {columns} FROM
(
    SELECT
        number, writer, time, stream,
        replaceRegexpAll(replaceRegexpAll(text, {{escapes:String}}, ''), {{controls:String}}, '') AS plain
    FROM console_lines
    WHERE run_id = {{run:String}} AND rank = {{rank:Int32}}
        AND attempt = fromUnixTimestamp64Micro({{attempt:Int64}}, 'UTC')
)
WHERE {condition}
"""


@dataclass(frozen=True)
class Printed:
    """What one process of a run printed: a rank in one of its attempts, with its children.

    Args:
        rank: Its rank.
        attempt: Microseconds since 1970 at which its attempt began.
        lines: How many lines there are.
        missing: How many lines it had to drop.
    """

    rank: int
    attempt: int
    lines: int
    missing: int


@dataclass(frozen=True)
class Line:
    """A line as a terminal shows it, without colours.

    Args:
        number: Its number among the attempt's lines, from 1.
        time: When it was completed, UTC.
        stream: stdout or stderr.
        text: The line.
    """

    number: int
    time: datetime
    stream: str
    text: str


def find_printed(run: str) -> list[Printed]:
    """Who printed something, by rank and attempt.

    Args:
        run: Path of the run.
    """
    sql = """
    SELECT
        rank, toUnixTimestamp64Micro(c.attempt) AS attempt, toInt64(count()) AS lines,
        toInt64(max(number) - uniqExact(number)) AS missing
    FROM console_lines AS c
    WHERE run_id = {run:String}
    GROUP BY rank, c.attempt
    ORDER BY rank, c.attempt
    """
    return [Printed(**row) for row in store.rows(sql, run=run)]


def _asked(run: str, printed: Printed, search: str, columns: str) -> tuple[str, dict[str, Any]]:
    parameters = {
        "run": run, "rank": printed.rank, "attempt": printed.attempt, "escapes": _ESCAPES, "controls": _CONTROLS,
    }  # fmt: skip
    condition = "1"
    if len(search) > 2 and search[0] == search[-1] == "/":
        condition, parameters["search"] = "match(plain, {search:String})", search[1:-1]
    elif search:
        condition, parameters["search"] = "positionCaseInsensitiveUTF8(plain, {search:String}) > 0", search
    return _LINES.format(columns=columns, condition=condition), parameters


def count_lines(run: str, printed: Printed, search: str) -> int:
    """How many lines of a process match.

    Args:
        run: Path of the run.
        printed: The process.
        search: A text that they contain, in any case; a regular expression (RE2) between slashes; empty for all.

    Raises:
        QueryFailed: The expression is none.
    """
    sql, parameters = _asked(run, printed, search, "toInt64(count()) AS lines")
    return int(store.rows(sql, **parameters)[0]["lines"]) if search else printed.lines


def load_lines(run: str, printed: Printed, search: str, offset: int, limit: int) -> list[Line]:
    """Lines of a process that match, in their order.

    Args:
        run: Path of the run.
        printed: The process.
        search: As in `count_lines`.
        offset: So many are left out before.
        limit: Most lines returned.

    Raises:
        QueryFailed: The expression is none.
    """
    sql, parameters = _asked(run, printed, search, "toInt64(number) AS number, time, stream, plain AS text")
    order = "ORDER BY number, writer LIMIT {limit:UInt64} OFFSET {offset:UInt64}"
    return [Line(**row) for row in store.rows(sql + order, **parameters, limit=limit, offset=offset)]
