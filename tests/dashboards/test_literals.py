"""Values and names as SQL text."""

import pytest

from runtide_dashboards import literals


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        ("it's \\ x", r"'it\'s \\ x'"),
        ("a\0b", r"'a\0b'"),
        (True, "true"),
        (3, "3"),
        (0.1, "0.1"),
        (["a", "b'"], r"['a', 'b\'']"),
        ([], "[]"),
    ],
)
def test_values_as_sql(value, sql):
    """Texts are quoted, and lists are arrays."""
    assert literals.literal(value) == sql


def test_only_parameters_are_filled_in():
    """Braces that are no parameter of the query stay, and a value with braces is not read again."""
    assert literals.fill("{a:String} {b:UInt8} {c:String}", {"a": "{b:UInt8}", "b": 1}) == "'{b:UInt8}' 1 {c:String}"
    assert literals.name("a`{x:Y}\\") == "`a\\`(x:Y)\\\\`"
