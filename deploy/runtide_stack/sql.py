"""As much of ClickHouse's SQL as the HTTP interface must see: where an INSERT's data starts, and the format."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""(?P<skip>\s+|--[^\n]*|\#[!\ ][^\n]*|//[^\n]*)
       | (?P<comment>/\*)
       | (?P<text>'(?:[^'\\]|\\.|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
       | (?P<name>`(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*")
       | (?P<word>\w+)
       | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN_INSERT = (b"SELECT", b"WITH", b"FROM", b"WATCH", b"EXPLAIN")
_EXPRESSIONS = (b"DEFAULT", b"MATERIALIZED", b"ALIAS", b"EPHEMERAL", b"SELECT")
_COMMENT = re.compile(rb"/\*|\*/")
_DATA_START = re.compile(rb"[ \t\f]*(?:\r?\n)?")


@dataclass(frozen=True)
class Token:
    """One token that is neither space nor comment; `word` is upper-cased, empty for anything quoted."""

    kind: str
    word: bytes
    start: int
    end: int


@dataclass(frozen=True)
class Insert:
    """An INSERT whose data follows: the statement up to the file clause, after it, and where the data starts.

    In `INSERT … SELECT … FROM input('structure') … FORMAT F` the data is a table function; `source` is then F.
    """

    before: bytes
    after: bytes
    data_start: int
    source: str = ""

    def reading(self, path: str) -> bytes:
        """The same INSERT, taking its data from a file."""
        if self.source:
            return self.before + f"file('{path}', {self.source}, ".encode() + self.after
        return self.before + f" FROM INFILE '{path}' COMPRESSION 'none' ".encode() + self.after


def tokens(sql: bytes) -> Iterator[Token]:
    """Yield the tokens of `sql` in order, without spaces and comments."""
    at = 0
    while match := _TOKEN.match(sql, at):
        at = match.end()
        if match["comment"]:
            at = _comment_end(sql, at)
        elif not match["skip"]:
            kind = "text" if match["text"] else str(match.lastgroup)
            yield Token(kind, match[0].upper() if kind in ("word", "mark") else b"", match.start(), at)


def _comment_end(sql: bytes, at: int) -> int:
    """Where the comment opened before `at` ends: ClickHouse nests them."""
    depth = 1
    while depth and (mark := _COMMENT.search(sql, at)):
        depth += 1 if mark[0] == b"/*" else -1
        at = mark.end()
    return at if depth == 0 else len(sql)


def first_word(sql: bytes) -> bytes:
    """The statement's first word in upper case, opening brackets passed over."""
    return next((token.word for token in tokens(sql) if token.word != b"("), b"")


def find_insert(head: bytes, whole: bool) -> Insert | None:
    """Find where the data of an INSERT starts.

    Args:
        head: the statement from its start.
        whole: whether nothing follows `head`; if more follows, a format's name at the very end may be cut.

    Returns:
        None while that cannot be said yet, and for every statement without data of its own.
    """
    stream = tokens(head)
    token = _after_name(stream)
    depth, cut = 0, None
    while token is not None:
        following = next(stream, None)
        depth += (token.word in (b"(", b"{")) - (token.word in (b")", b"}"))
        if depth == 0 and token.kind == "word":
            if token.word == b"SELECT":
                return _find_input(head, stream, following, whole)
            if token.word in _PLAIN_INSERT:
                return None
            if token.word in (b"SETTINGS", b"VALUES", b"FORMAT") and cut is None:
                cut = token.start  # the file clause comes before SETTINGS
            if token.word == b"VALUES":
                return Insert(head[:cut], head[cut : token.start] + b"FORMAT Values", token.end)
            if token.word == b"FORMAT" and following is not None and following.kind == "word":
                start = _data_start(head, following.end, whole)
                return None if start is None else Insert(head[:cut], head[cut : following.end], start)
        token = following
    return None


def _find_input(head: bytes, stream: Iterator[Token], token: Token | None, whole: bool) -> Insert | None:
    """The data of an INSERT that selects from input(), from behind its SELECT."""
    depth, place = 0, None
    while token is not None:
        following = next(stream, None)
        depth += (token.word in (b"(", b"{")) - (token.word in (b")", b"}"))
        if following is not None and place is None and token.word == b"INPUT" and following.word == b"(":
            place = (token.start, following.end)
        if depth == 0 and token.word == b"FORMAT" and following is not None and following.kind == "word":
            start = _data_start(head, following.end, whole)
            if start is None or place is None:
                return None
            name = quote(head[following.start : following.end].decode())
            return Insert(head[: place[0]], head[place[1] : token.start], start, name)
        token = following
    return None


def _after_name(stream: Iterator[Token]) -> Token | None:
    """Read past INSERT INTO and the table's name (which may be `format` or `db.values`); None if no INSERT."""
    token, before, depth = next(stream, None), b"", 0
    if token is not None and token.word == b"WITH":
        # WITH … INSERT, but not WITH 1 AS insert SELECT …
        while (token := next(stream, None)) is not None and token.word != b"SELECT":
            depth += (token.word in (b"(", b"{")) - (token.word in (b")", b"}"))
            if token.word == b"INSERT" and before != b"AS" and depth == 0:
                break
            before = token.word
    if token is None or token.word != b"INSERT":
        return None
    while token is not None and token.word in (b"INSERT", b"INTO", b"TABLE", b"FUNCTION"):
        token = next(stream, None)
    while (token := next(stream, None)) is not None and token.word == b".":
        next(stream, None)
    return token


def _data_start(head: bytes, end: int, whole: bool) -> int | None:
    match = _DATA_START.match(head, end)
    start = match.end() if match else end
    # A name cut by the end of this piece, or the newline that belongs to the statement, may still be on its way.
    undecided = start == len(head) and not head[end:start].endswith(b"\n") and not whole
    return None if undecided else start


def output_format(sql: bytes) -> str | None:
    """The format that a query's own FORMAT clause names."""
    words = list(tokens(sql))
    for index in range(len(words) - 2, -1, -1):
        name = words[index + 1]
        rest = words[index + 2].word if index + 2 < len(words) else b";"
        if words[index].word == b"FORMAT" and name.kind == "word" and rest in (b";", b"SETTINGS"):
            return sql[name.start : name.end].decode()
    return None


def is_structure(text: bytes) -> bool:
    """Whether `text` is columns and types and nothing else: it is put into a CREATE before a reader is locked in."""
    depth = 0
    for token in tokens(text):
        depth += (token.word == b"(") - (token.word == b")")
        unsafe = token.kind == "mark" and token.word not in b"(),.=-"
        if depth < 0 or unsafe or token.word in _EXPRESSIONS:
            return False
    return depth == 0


def quote(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """A quoted identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def set_statement(settings: Mapping[str, str]) -> str:
    """One SET for all `settings`; values are quoted, the engine converts them to each setting's type."""
    return "SET " + ", ".join(f"{quote_name(name)} = {quote(value)}" for name, value in settings.items())
