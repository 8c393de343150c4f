"""What the user `editor` may run: one INSERT of rows into the landing table of the stream `edits`."""

import re

from runtide_stack.engine import Statement
from runtide_stack.errors import refusal

# The whole statement, by its letters: what is not understood here is not run there. Not FORMAT Values, in which a
# value may be a subquery.
_NAME = rb"(?:[A-Za-z_]\w*|`[A-Za-z_]\w*`)"
_COLUMNS = rb"\(\s*%s(?:\s*,\s*%s)*\s*\)" % (_NAME, _NAME)
_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s+(?:%s\s*\.\s*)?(?:landing_edits|`landing_edits`)\s*(?:%s\s*)?FORMAT\s+JSONEachRow\s*"
    % (_NAME, _COLUMNS),
    re.IGNORECASE,
)
_SETTINGS = {"insert_deduplication_token", "deduplicate_blocks_in_dependent_materialized_views"}


def check(statement: Statement) -> None:
    """Refuse what the editor may not run.

    Raises:
        EngineError: READONLY (164).
    """
    insert = statement.insert
    allowed = insert is not None and _INSERT.fullmatch(statement.sql[: insert.data_start]) is not None
    if not allowed or statement.tables or statement.parameters:
        raise refusal(
            164, "READONLY", "the user `editor` may only run INSERT INTO landing_edits (...) FORMAT JSONEachRow"
        )
    if odd := sorted(statement.settings.keys() - _SETTINGS):
        raise refusal(164, "READONLY", f"the user `editor` may not set {odd[0]}")
