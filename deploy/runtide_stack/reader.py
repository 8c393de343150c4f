"""What the user `reader` may run: one query that reads tables, and nothing that reaches files or the network.

readonly=1 alone is not enough on an embedded engine: KILL, SYSTEM and SELECT … INTO OUTFILE run under it, the
function file() returns any file of this machine, and DESCRIBE url(…) opens connections.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from runtide_stack import sql as syntax
from runtide_stack.errors import refusal

LIMITS = {
    "max_execution_time": "60",
    "max_memory_usage": "4000000000",
    # In JSON a NaN would be null, as if it had never been logged.
    "output_format_json_quote_denormals": "1",
    "output_format_json_escape_forward_slashes": "0",
}
# Table functions that only compute; every other one reaches files, the network, or runs SQL out of a string.
_PURE = (
    "numbers", "numbers_mt", "zeros", "zeros_mt", "values", "view", "merge", "null", "generateRandom",
    "generateSeries", "generate_series", "primes", "format", "mergeTreeIndex", "mergeTreeProjection",
)  # fmt: skip
_READS = ("READ_ONLY", "UNKNOWN")  # what the parser does not know fails to parse, with a better message


def forbidden_functions(connection: Any) -> frozenset[bytes]:
    """Names of the engine's table functions that the reader may not call, in lower case."""
    pure = ", ".join(syntax.quote(name) for name in _PURE)
    query = f"SELECT lower(name) FROM system.table_functions WHERE name NOT IN ({pure})"
    return frozenset(bytes(connection.query(query, "TSVRaw").bytes()).split())


def check(
    connection: Any, sql: bytes, parameters: Mapping[str, str], query_class: str, forbidden: frozenset[bytes]
) -> None:
    """Refuse what the reader may not run.

    Args:
        connection: where the statement would run.
        sql: the statement.
        parameters: its query parameters.
        query_class: the engine's own classification of the statement.
        forbidden: see `forbidden_functions`.

    Raises:
        EngineError: READONLY (164).
    """
    if query_class not in _READS:
        raise refusal(
            164,
            "READONLY",
            "the user `reader` may only read: for anything else connect as `default` (password in store.password)",
        )
    suspects = sql.lower()
    # A backslash can spell a quoted name in hexadecimal.
    named = b"identifier" in suspects and any(value == "file" or "\\" in value for value in parameters.values())
    if not named and b"\\" not in sql and not any(name in suspects for name in forbidden):
        return
    plain = bytes(connection.query("SELECT formatQuery({q:String})", "RawBLOB", params={"q": _tsv(sql)}).bytes())
    name = _forbidden_use(plain, forbidden)
    if name or named:
        raise refusal(
            164, "READONLY", f"reader: {name or 'file'} reaches outside the database; qualify a column of that name"
        )


def _forbidden_use(plain: bytes, forbidden: frozenset[bytes]) -> str:
    """Find a forbidden name in a statement that the engine has brought into its own plain form."""
    before = b""
    words = list(syntax.tokens(plain + b" ;"))
    for token, following in itertools.pairwise(words):
        name = plain[token.start : token.end].strip(b'`"').lower()
        called = following.word == b"("
        # file is an ordinary function too, and functions are passed by name: arrayMap(file, …), APPLY(file).
        loose = name == b"file" and before not in (b".", b"AS")
        if token.kind in ("word", "name") and name in forbidden and (called or loose):
            return name.decode()
        before = token.word
    return ""


def _tsv(sql: bytes) -> str:
    escaped = sql.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n")
    return escaped.decode("utf-8", "surrogateescape")
