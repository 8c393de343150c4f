"""The order of runs, written as for W&B, to ORDER BY."""

from __future__ import annotations

from runtide._errors import UsageError
from runtide._filter_fields import BOOL, INTEGER, NUMBER, TEXT, Fields

# Numbers, texts, bools, and at the end whatever the direction: lists, null, NaN, and runs that have no such field.
_KEYS = (
    f"multiIf({{c}}.1 = {NUMBER} AND isNaN({{c}}.3), 4, {{c}}.1 IN ({INTEGER}, {NUMBER}), 0, "
    f"{{c}}.1 = {TEXT}, 1, {{c}}.1 = {BOOL}, 2, 3)",
    f"if({{c}}.1 = {INTEGER}, toFloat64({{c}}.2), {{c}}.3) {{way}}",
    "{c}.4 {way}",
)


def order_by(order: str, fields: Fields) -> str:
    """What stands behind ORDER BY.

    Args:
        order: Fields separated by commas, each with `-` in front for the largest first, or `+`. Runs that are equal in
            all of them are ordered by their path.
        fields: The fields of the query.

    Raises:
        UsageError: There is no such field.
    """
    parts = []
    for word in order.split(","):
        name = word.strip()
        way = "DESC" if name.startswith("-") else "ASC"
        name = name[1:] if name[:1] in ("+", "-") else name
        if not name:
            raise UsageError(f"order={order!r}: give fields separated by commas, such as '-summary_metrics.loss'")
        try:
            cells, _ = fields.cells(name)
        except UsageError as error:
            raise UsageError(f"order={order!r}: {error}") from None
        parts += [key.format(c=f"{cells}[1]", way=way) for key in _KEYS]
    return ", ".join([*parts, "run_id"])
