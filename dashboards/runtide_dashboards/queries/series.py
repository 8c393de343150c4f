"""Which metrics there are."""

from __future__ import annotations

from collections.abc import Sequence

from runtide_dashboards.queries import store

# Where as many runs have one key as another, what people look at first comes first, and what only counts comes last.
_INTEREST = r"""multiIf(
    match(key, '(?i)(^|[^a-z])(epoch|step|iter|iteration)s?$'), 4,
    match(key, '(?i)loss') AND match(key, '(?i)(^|[^a-z])(val|valid|validation|eval|dev|test)([^a-z]|$)'), 0,
    match(key, '(?i)loss'), 1,
    match(key, '(?i)(^|[^a-z])(acc|accuracy|score|reward|return|f1|auc|bleu|perplexity|error)s?([^a-z]|$)'), 2,
    3)"""


def find_keys(runs: Sequence[str], search: str, limit: int) -> tuple[list[str], int]:
    """Keys that most of the runs logged first, then by what they are, and how many there are in all.

    Args:
        runs: Run paths.
        search: Text that the keys contain, in any case.
        limit: Most keys returned.
    """
    sql = f"""
    SELECT key, count() OVER () AS matching
    FROM metric_summary_state
    WHERE run_id IN {{runs:Array(String)}} AND positionCaseInsensitiveUTF8(key, {{search:String}}) > 0
    GROUP BY key
    ORDER BY uniqExact(run_id) DESC, {_INTEREST}, key
    LIMIT {{limit:UInt32}}
    """
    # positionCaseInsensitive finds the empty text at 1, so no search finds all.
    rows = store.rows(sql, runs=list(runs), search=search, limit=limit)
    return [row["key"] for row in rows], rows[0]["matching"] if rows else 0
