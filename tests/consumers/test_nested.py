"""A record within a record may gain fields: older and newer writers' records arrive, with what the store knows of."""

import io
import json
from typing import Any

import fastavro
import pytest

from runtide_consumers._errors import ParseError
from runtide_consumers.batch import Batch, Range, Record, container
from runtide_consumers.nested import nested_types
from runtide_schemas import STREAMS

TICK = {
    "run_id": "e/p/r", "writer": 1, "seq": 0, "host": "n", "time": 1_700_000_000_000, "period_ms": 1000, "tick_us": 1,
    "skipped": 0,
}  # fmt: skip


def _batch(schema: dict[str, Any], *records: dict[str, Any]) -> tuple[Batch, bytes]:
    bodies = []
    for record in records:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), record)
        bodies.append(out.getvalue())
    made = tuple(Record(0, i, i + 1, 5, body, "e/p/r", 1, i) for i, body in enumerate(bodies))
    batch = Batch("gpu_ticks", "s", json.dumps(schema), b"", (Range(0, 0, len(made)),), made)
    return batch, container(batch, made)


def _changed(drop: str = "", add: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = json.loads(STREAMS["gpu_ticks"].schema_json)
    fields = schema["fields"][-1]["type"]["items"]["fields"]
    if drop:
        fields[:] = [field for field in fields if field["name"] != drop]
    if add:
        fields.insert(7, add)
    return schema


@pytest.mark.parametrize("late", ["", "stream = 'nobody'"], ids=["spool", "kafka"])
@pytest.mark.parametrize("table", ["landing_gpu_ticks", "probe_gpu_ticks"])
def test_older_and_newer_records_are_read(target: Any, table: str, late: str) -> None:
    """One without a field that the table has, one with a field that it lacks, and one that is as it should be."""
    gpu = {"gpu_uuid": "G", "gpu_util_pct": 7, "temp_gpu_c": 40, "fan_pct": 9, "new": 3.5, "extra": {"odd": 1.0}}
    schemas = [_changed(drop="fan_pct"), _changed(add={"name": "new", "type": "double"}), _changed()]
    for at, schema in enumerate(schemas):
        record = TICK | {"time": TICK["time"] + 1000 * at, "gpus": [gpu, gpu | {"gpu_uuid": "H"}]}
        _, body = _batch(schema, record)
        target.store.insert(table, body, f"{table}/{late}/{at}", late)
    rows = target.ask("SELECT gpu_uuid, gpu_util_pct, temp_gpu_c, fan_pct FROM db.gpu_samples ORDER BY time, gpu_uuid")
    wanted = [[name, 7, 40, fan] for fan in (None, 9, 9) for name in "GH"]
    assert rows == (wanted if table.startswith("landing") else [])
    assert len(target.ask("SELECT name FROM db.sample_extras")) == (6 if rows else 0)


def test_garbage_is_garbage(target: Any) -> None:
    """A record that goes on behind its end, or is cut, is a parse error and no row."""
    batch, _ = _batch(_changed(), TICK | {"gpus": [{"gpu_uuid": "G"}]})
    (record,) = batch.records
    for body in (record.body + b"\x02", record.body[:-4]):
        made = Record(0, 0, 1, 5, body, "e/p/r", 1, 0)
        with pytest.raises(ParseError):
            target.store.insert("landing_gpu_ticks", container(batch, [made]), f"t{len(body)}")
    assert target.ask("SELECT gpu_uuid FROM db.gpu_samples") == []


def test_types_are_the_writers() -> None:
    """Only of fields that hold records; null, maps, arrays and logical types within them too."""
    within = [
        {"name": "a", "type": ["null", "long"]},
        {"name": "b", "type": {"type": "map", "values": "double"}},
        {"name": "c", "type": {"type": "array", "items": "float"}},
        {"name": "d", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "e", "type": "boolean"},
    ]
    schema = {"type": "record", "name": "T", "fields": [
        {"name": "x", "type": "long"},
        {"name": "y", "type": {"type": "array", "items": {"type": "record", "name": "U", "fields": within}}},
    ]}  # fmt: skip
    body = io.BytesIO()
    fastavro.writer(body, fastavro.parse_schema(schema), [])
    types = "`a` Nullable(Int64), `b` Map(String, Float64), `c` Array(Float32), `d` Int64, `e` Bool"
    assert nested_types(body.getvalue()) == {"y": f"Array(Tuple({types}))"}
