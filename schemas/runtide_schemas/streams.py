"""The registry of streams: one `.avsc` file each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

MAGIC = b"\xc3\x01"


@dataclass(frozen=True)
class Stream:
    """One kind of fact: one Avro schema, one topic, one landing table.

    Args:
        name: The stream's name, which is also the schema file's.
        schema_json: The Avro schema as text.
    """

    name: str
    schema_json: str

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The schema as a parsed Avro schema."""
        return parse_schema(json.loads(self.schema_json))  # type: ignore[return-value]

    @cached_property
    def prefix(self) -> bytes:
        """Ten bytes in front of every record: Avro's single-object marker and the schema's CRC-64 fingerprint."""
        canonical = to_parsing_canonical_form(json.loads(self.schema_json))
        return MAGIC + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))

    @property
    def landing_table(self) -> str:
        """Table (without storage) whose views take the stream's records apart."""
        return f"landing_{self.name}"


def _load() -> Mapping[str, Stream]:
    # Not importlib.resources: every script that logs would wait milliseconds for its import.
    found = sorted(Path(__file__).with_name("avro").glob("*.avsc"))
    streams = (Stream(entry.stem, entry.read_text("utf-8")) for entry in found)
    return MappingProxyType({stream.name: stream for stream in streams})


STREAMS: Mapping[str, Stream] = _load()
