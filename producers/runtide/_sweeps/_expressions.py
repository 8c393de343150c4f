"""Conditions and constraints over parameters: read with `ast`, held against a list of what may stand there, never run.

A name is a parameter; one inside another is written `optimizer.momentum`, any name `parameters["odd-name"]`. One that
does not count because of its own condition is None: a comparison with it is false, unless it asks for None.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runtide._errors import UsageError

_LONGEST = 1000
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_ALWAYS = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)  # those that None has an answer to
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "log": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp,
    "sqrt": math.sqrt,
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """What a text says about parameters.

    Args:
        text: The text.
        names: The parameters that it needs.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is true of these parameters; what cannot be computed, such as 1 / 0, is not."""
        try:
            return bool(_value(self._tree, values))
        except (ArithmeticError, TypeError, ValueError):
            return False


def parse(text: Any, key: str) -> Expression:
    """Read an expression.

    Args:
        text: Such as `optimizer == 'sgd' and lr * batch < 1`.
        key: What to call it when it cannot be read.

    Raises:
        UsageError: It cannot be read, or has something in it that may not be there.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise UsageError(f"{key}={text!r}: give an expression over parameters, such as \"optimizer == 'sgd'\"")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names: set[str] = set()
        _check(tree, names, key, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{key}={text!r} cannot be read: {error}") from None
    return Expression(text.strip(), frozenset(names), tree)


def _check(node: ast.expr, names: set[str], key: str, text: str) -> None:
    if (name := _name(node)) is not None:
        names.add(name)
        return
    inner: list[ast.expr]
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            inner = []
        case ast.BoolOp():
            inner = node.values
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd()):
            inner = [node.operand]
        case ast.BinOp() if type(node.op) in _OPERATORS or isinstance(node.op, ast.Pow):
            inner = [node.left, node.right]
        case ast.Compare() if all(type(op) in _COMPARISONS for op in node.ops):
            inner = [node.left, *node.comparators]
        case ast.List() | ast.Tuple():
            inner = node.elts
        case ast.Call(func=ast.Name(id=function), keywords=[]) if function in _FUNCTIONS:
            inner = node.args
        case _:
            raise UsageError(
                f"{key}={text!r}: {ast.unparse(node)!r} may not stand there; take names of parameters, numbers, texts, "
                f"comparisons, and, or, not, in, + - * / // % **, and {', '.join(_FUNCTIONS)}"
            )
    for one in inner:
        _check(one, names, key, text)


def _name(node: ast.expr) -> str | None:
    """The parameter that a node names; None for something else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            outer = _name(value)
            return None if outer is None else f"{outer}.{name}"
        case ast.Subscript(value=ast.Name(id="parameters"), slice=ast.Constant(value=str() as name)):
            return name
    return None


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if (name := _name(node)) is not None:
        return values.get(name)
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BoolOp(op=ast.And()):
            return all(_value(one, values) for one in node.values)
        case ast.BoolOp():
            return any(_value(one, values) for one in node.values)
        case ast.UnaryOp():
            value = _value(node.operand, values)
            return not value if isinstance(node.op, ast.Not) else -value if isinstance(node.op, ast.USub) else +value
        case ast.BinOp():
            left, right = _number(node.left, values), _number(node.right, values)
            return math.pow(left, right) if isinstance(node.op, ast.Pow) else _OPERATORS[type(node.op)](left, right)
        case ast.Compare():
            left = _value(node.left, values)
            for op, other in zip(node.ops, node.comparators, strict=True):
                right = _value(other, values)
                if not isinstance(op, _ALWAYS) and (left is None or right is None):
                    return False
                if not _COMPARISONS[type(op)](left, right):
                    return False
                left = right
            return True
        case ast.List() | ast.Tuple():
            return [_value(one, values) for one in node.elts]
        case ast.Call(func=ast.Name(id=function)):
            return _FUNCTIONS[function](*[_value(one, values) for one in node.args])
    raise TypeError(ast.dump(node))


def _number(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """A number: "a" * 10 ** 9 must not fill the memory."""
    value = _value(node, values)
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value
