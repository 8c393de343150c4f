"""What people changed."""

from __future__ import annotations

from typing import Any

from runtide_dashboards.queries import store


def list_edits(run: str) -> list[dict[str, Any]]:
    """The latest changes of a run: time, who, field and value (JSON), the newest first."""
    sql = """
    SELECT e.time AS time, e.who AS who, e.field AS field, e.value AS value
    FROM run_edits AS e WHERE e.run_id = {run:String} ORDER BY e.time DESC, e.id LIMIT 200
    """
    return store.rows(sql, run=run)
