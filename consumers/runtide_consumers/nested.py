"""Records within records, as their writer wrote them.

ClickHouse reads a record within a record into a tuple of exactly as many elements, whatever their names are: one field
more or less, and the whole record could not be parsed. Named tuples, on the other hand, are converted by name, and what
lacks is null or empty. So nested records are read as the writer's schema says, and converted to what the table has.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import fastavro

_SIMPLE = {
    "boolean": "Bool",
    "int": "Int32",
    "long": "Int64",
    "float": "Float32",
    "double": "Float64",
    "string": "String",
    "bytes": "String",
}


def nested_types(container: bytes) -> Mapping[str, str]:
    """The ClickHouse types of those fields of a container's records that hold records.

    Args:
        container: An Avro Object Container File.
    """
    return _types(fastavro.reader(io.BytesIO(container)).metadata["avro.schema"])


@lru_cache(maxsize=64)
def _types(schema_json: str) -> dict[str, str]:
    found = {field["name"]: _type(field["type"]) for field in json.loads(schema_json)["fields"]}
    return {name: kind for name, kind in found.items() if "Tuple(" in kind}


def _type(avro: Any) -> str:
    """The ClickHouse type that a value of an Avro type can be read as."""
    match avro:
        case ["null", inner] | [inner, "null"]:
            return f"Nullable({_type(inner)})"
        case {"type": "array", "items": items}:
            return f"Array({_type(items)})"
        case {"type": "map", "values": values}:
            return f"Map(String, {_type(values)})"
        case {"type": "record", "fields": fields}:
            elements = (f"`{field['name']}` {_type(field['type'])}" for field in fields)
            return f"Tuple({', '.join(elements)})"
        case {"type": str(inner)}:
            return _type(inner)
        case _:
            return _SIMPLE.get(avro, "String")
