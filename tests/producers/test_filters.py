"""Filters and orders of runs as SQL: values are never part of the text, and what is wrong is named."""

from typing import Any

import pytest

from runtide import UsageError
from runtide._filter_fields import Fields, microseconds
from runtide._filters import Filters
from runtide._orders import order_by
from runtide._parameters import Parameters, encode, form


def compiled(filters: Any) -> tuple[str, Parameters]:
    """The whole query for some filters, and its values."""
    parameters = Parameters()
    fields = Fields(parameters)
    condition = Filters(fields, parameters).condition(filters)
    return f"SELECT run_id FROM ({fields.source('1')}) WHERE {condition}", parameters


@pytest.mark.parametrize("name", ["config", "summary_metrics"])
def test_no_name_and_no_value_is_part_of_the_query(name: str) -> None:
    """Two filters of one form give the same text, whatever they look for and in what."""
    forms = (
        lambda key, value: {f"{name}.{key}": value},
        lambda key, value: {f"{name}.{key}": {"$in": [value], "$regex": value}},
        lambda key, value: {"$nor": [{f"{name}.{key}": {"$not": {"$gte": value}}}]},
    )
    for form_of in forms:
        query, parameters = compiled(form_of("key", "value"))
        other, others = compiled(form_of("it's {x:String} `", "'; DROP TABLE runs --"))
        assert query == other
        assert parameters.keys() == others.keys()
        assert parameters != others


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"lr": 1}, r"filters: lr: unknown field 'lr': give config\.x, summary_metrics\.x, or one of .*display_name"),
        (
            {"config.lr": {"$near": 1}},
            r"filters: config\.lr: unknown operator '\$near': give one of \$eq, \$ne, .*\$regex",
        ),
        ({"$xor": []}, r"'\$xor' is no field and none of \$and, \$or, \$nor"),
        ({7: 1}, r"7 is no field"),
        ({"$and": []}, r"\$and takes a list of filters that is not empty"),
        ({"$or": {"state": "x"}}, r"\$or takes a list"),
        ([], r"\[\] is no dict"),
        ({"config.x": {}}, r"no value that can be compared"),
        ({"config.x": {"a": 1}}, r"no value that can be compared"),
        ({"config.x": {"$gt": 1, "a": 1}}, r"no value that can be compared"),
        ({"config.x": [1, 2]}, r"cannot be compared as a whole"),
        ({"config.x": {"$gt": {"a": 1}}}, r"cannot be compared as a whole"),
        ({"config.x": {"$in": 5}}, r"\$in and \$nin take a list"),
        ({"config.x": {"$exists": "yes"}}, r"\$exists takes True or False"),
        ({"config.x": {"$not": 5}}, r"\$not takes a dict of operators .*see \$ne"),
        ({"config.x": {"$regex": 5}}, r"\$regex takes a text"),
        ({"config.x": {"$regex": "a", "$options": "x"}}, r"\$options some of the letters i, m, s"),
        ({"config.x": {"$options": "i"}}, r"\$options stands beside \$regex"),
        ({"config.x": object()}, r"cannot be compared: .*not serialisable"),
        ({"config.x": 2**255 + 1}, r"integers go to 2\^255"),
        ({"config.x": 10**400}, r"integers go to 2\^255"),
        ({"created_at": "yesterday"}, r"'yesterday' is no time"),
        ({"config." + ".".join("a" * 21): 1}, r"more than 20 parts"),
    ],
)
def test_what_is_wrong_is_named(filters: Any, message: str) -> None:
    """With what could stand there instead."""
    with pytest.raises(UsageError, match=message):
        compiled(filters)


def test_nesting_without_end_is_refused() -> None:
    """Before Python's own limit, and before the store's."""
    filters: dict[str, Any] = {"state": "finished"}
    negated: dict[str, Any] = {"$gt": 1}
    for _ in range(5000):
        filters, negated = {"$and": [filters]}, {"$not": negated}
    for nested in (filters, {"config.x": negated}):
        with pytest.raises(UsageError, match="nested more than 50 deep"):
            compiled(nested)


def test_orders_name_what_is_wrong() -> None:
    """Unknown fields and empty ones."""
    fields = Fields(Parameters())
    assert order_by("-created_at", fields).count("DESC") == 2
    for order, message in (
        ("lr", "unknown field 'lr'"),
        ("", "give fields separated by commas"),
        ("state,,", "give fields"),
    ):
        with pytest.raises(UsageError, match=message):
            order_by(order, fields)


def test_times_are_microseconds_since_1970() -> None:
    """To the microsecond, in UTC where no zone is named."""
    assert microseconds("1970-01-01T00:00:01.000002") == microseconds("1970-01-01T01:00:01.000002+01:00") == 1_000_002
    assert microseconds("1970-01-02") == 86_400_000_000
    assert microseconds(1.5) == 1_500_000
    for wrong in (True, [], "soon"):
        with pytest.raises(UsageError, match="is no time"):
            microseconds(wrong)


def test_parameters_are_written_as_the_store_reads_them() -> None:
    """Quotes inside lists only, escapes everywhere, no control character left."""
    assert encode("it's\ta\\b\n\0") == "it's\\ta\\\\b\\n\\0"
    assert encode(["it's", None, True, 1.5, (1, "x")]) == "['it\\'s',NULL,true,1.5,(1,'x')]"
    assert encode({"a": 1}) == "{'a':1}"
    assert encode(None) == "\\N"
    with pytest.raises(UsageError, match="a parameter of type object"):
        encode(object())


def test_long_lists_become_several_values() -> None:
    """A server takes 128 KiB in a field: no value is longer, and all are there."""
    parameters = Parameters()
    texts = [f"{number}'" * 50 for number in range(3000)]
    condition = parameters.among("x", texts)
    assert condition.count(" OR ") == len(parameters) - 1 > 1
    assert max(len(value) for value in parameters.values()) < 128 * 1024
    assert sum(value.count("\\'") for value in parameters.values()) == 3000 * 50
    assert Parameters().among("x", []) == "(x IN {p0:Array(String)})"


def test_forms_carry_their_fields() -> None:
    """As the standard library's own parser of mail reads them."""
    from email.parser import BytesParser

    body, kind = form({"query": "SELECT\n1", "param_a": "ключ"})
    message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    parts = message.get_payload()
    assert isinstance(parts, list)
    found = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}
    assert found == {"query": b"SELECT\n1", "param_a": "ключ".encode()}
