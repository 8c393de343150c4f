"""Formulas over metrics, like `{train/loss} - {val/loss}`: read, checked and turned into SQL.

    sum     = product (("+" | "-") product)*
    product = unary (("*" | "/") unary)*
    unary   = "-" unary | power
    power   = atom ("**" unary)?
    atom    = number | "{" key "}" | name "(" sum ("," sum)* ")" | "(" sum ")"

A `}` within a key is written twice. Nothing of a formula's text gets into SQL: names come from a list, numbers are
printed anew, keys are columns that the caller fills.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_KEYS = 8
_DEEPEST = 50
_MOST_SIGNS = 100
_FUNCTIONS = {"abs": 1, "log": 1, "log10": 1, "exp": 1, "sqrt": 1, "min": 2, "max": 2}
_SQL = {"min": "least", "max": "greatest"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<key>\{(?:[^{}]|\}\}|\{)*\})|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>\*\*|[-+*/(),]))"
)


class FormulaError(ValueError):
    """A formula that cannot be read; says where."""


@dataclass(frozen=True)
class Formula:
    """What a panel draws.

    Args:
        keys: The metrics that it needs, each once.
        sql: An expression over the columns v0, v1, … which hold the values of the keys.
    """

    keys: tuple[str, ...]
    sql: str

    @classmethod
    def key(cls, key: str) -> Formula:
        """A metric itself."""
        return cls((key,), "v0")

    @classmethod
    def parse(cls, text: str) -> Formula:
        """Read a formula.

        Raises:
            FormulaError: The text is none; says at which character.
        """
        reader = _Reader(text)
        sql = reader.sum()
        reader.end()
        if not reader.keys:
            raise FormulaError("The formula names no metric: write one as {key}.")
        if len(reader.keys) > MAX_KEYS:
            raise FormulaError(f"The formula has {len(reader.keys)} metrics, at most {MAX_KEYS} are possible.")
        return cls(tuple(reader.keys), sql)

    @property
    def plain(self) -> bool:
        """Whether it is one metric as it was logged."""
        return self.sql == "v0"


class _Reader:
    """Reads from left to right; every method returns SQL in brackets, or something that needs none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._signs = 0
        self._kind, self._token, self._next = "", "", 0
        self.keys: list[str] = []
        self._advance()

    def _advance(self) -> None:
        self._at = self._next + len(self._text[self._next :]) - len(self._text[self._next :].lstrip())
        if self._at >= len(self._text):
            self._kind, self._token = "end", ""
            return
        match = _TOKEN.match(self._text, self._next)
        if match is None or match.lastgroup is None:
            raise self._wrong(f"{self._text[self._at]!r} has no meaning here")
        self._kind, self._token, self._next = match.lastgroup, match[match.lastgroup], match.end()

    def _wrong(self, what: str) -> FormulaError:
        return FormulaError(f"The formula cannot be read at character {self._at + 1}: {what}.")

    def _found(self) -> str:
        return "it ends there" if self._kind == "end" else f"{self._token[:40]!r} stands there"

    def _take(self, *signs: str) -> str:
        token = self._token
        if self._kind != "sign" or token not in signs:
            return ""
        self._signs += 1
        if self._signs > _MOST_SIGNS:
            raise self._wrong(f"it has more than {_MOST_SIGNS} operators and brackets")
        self._advance()
        return token

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise self._wrong(f"a {sign} is missing, {self._found()}")

    def end(self) -> None:
        if self._kind != "end":
            raise self._wrong(f"an operator is missing, {self._found()}")

    def sum(self) -> str:
        left = self._product()
        while sign := self._take("+", "-"):
            left = f"({left} {sign} {self._product()})"
        return left

    def _product(self) -> str:
        left = self._unary()
        while sign := self._take("*", "/"):
            left = f"({left} {sign} {self._unary()})"
        return left

    def _unary(self) -> str:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong("it is nested too deeply")
        result = f"(-{self._unary()})" if self._take("-") else self._power()
        self._depth -= 1
        return result

    def _power(self) -> str:
        base = self._atom()
        return f"pow({base}, {self._unary()})" if self._take("**") else base

    def _atom(self) -> str:
        kind, token = self._kind, self._token
        if kind == "number":
            self._advance()
            return f"toFloat64({float(token)!r})"
        if kind == "key":
            self._advance()
            return self._column(token[1:-1].replace("}}", "}"))
        if kind == "name":
            return self._call(token)
        if self._take("("):
            inner = self.sum()
            self._need(")")
            return inner
        raise self._wrong(f"a number, a {{key}} or a bracket is missing, {self._found()}")

    def _column(self, key: str) -> str:
        if key not in self.keys:
            self.keys.append(key)
        return f"v{self.keys.index(key)}"

    def _call(self, name: str) -> str:
        if name not in _FUNCTIONS:
            raise self._wrong(f"there is no function {name[:40]}, only {', '.join(_FUNCTIONS)}")
        self._advance()
        self._need("(")
        arguments = [self.sum()]
        while self._take(","):
            arguments.append(self.sum())
        least = _FUNCTIONS[name]
        if len(arguments) < least or (least == 1 and len(arguments) > 1) or len(arguments) > 20:
            raise self._wrong(f"{name} takes {'one value' if least == 1 else 'two values or more'}")
        self._need(")")
        return f"{_SQL.get(name, name)}({', '.join(arguments)})"
