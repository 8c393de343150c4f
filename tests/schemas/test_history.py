"""Every version of every stream's schema stays readable: records of old writers wait in spools and topics."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse
from fastavro import validate

from runtide_schemas import STREAMS

HISTORY = Path(__file__).with_name("history")
KEPT = ["run_id", "writer", "seq"]


def versions(stream: str) -> list[Path]:
    return sorted((HISTORY / stream).glob("[0-9][0-9][0-9].avsc"))


def bare(schema: Any) -> Any:
    """A schema without its docs: they may change."""
    if isinstance(schema, list):
        return [bare(one) for one in schema]
    if isinstance(schema, dict):
        return {key: bare(value) for key, value in schema.items() if key != "doc"}
    return schema


def objection(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Why a version may not follow another; empty when it may."""
    old, new = bare(old), bare(new)
    names = [field["name"] for field in new["fields"]]
    if names[:3] != KEPT:
        return f"the first fields are no longer {', '.join(KEPT)}"
    if new["name"] == "Metrics" and names[-1] != "values":
        return "values is no longer the last field"
    if why := objection_to_fields(old, new):
        return why
    found = ReaderWriterCompatibilityChecker().get_compatibility(parse(json.dumps(new)), parse(json.dumps(old)))
    return "" if found.compatibility is SchemaCompatibilityType.compatible else f"not readable: {found.messages}"


def objection_to_fields(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Why the fields of a record, or of one within it, may not follow others; empty when they may."""
    names = [field["name"] for field in new["fields"]]
    before = {field["name"]: field for field in old["fields"]}
    if [name for name in names if name in before] != list(before):
        return "a field is gone, or has moved"
    for field in new["fields"]:
        name = field["name"]
        if name not in before and "default" not in field:
            return f"the new field {name} has no default"
        if name in before:
            was, now = record_in(before[name]), record_in(field)
            if was and now and (why := objection_to_fields(was, now)):
                return f"{name}: {why}"
            if without_fields(before[name]) != without_fields(field):
                return f"the field {name} has changed"
        kind = field["type"][0] if isinstance(field["type"], list) else field["type"]
        if "default" in field and not validate(field["default"], kind, raise_errors=False):
            return f"the default of {name} is not of its type"
    return ""


def record_in(field: dict[str, Any]) -> dict[str, Any] | None:
    """The record of which a field holds an array; None when it holds something else."""
    items = field["type"].get("items") if isinstance(field["type"], dict) else None
    return items if isinstance(items, dict) and items["type"] == "record" else None


def without_fields(field: dict[str, Any]) -> dict[str, Any]:
    """A field without what the record in it has: that may grow."""
    record = record_in(field)
    if record is None:
        return field
    return {**field, "type": {**field["type"], "items": {**record, "fields": []}}}


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_the_history_is_complete(stream: str) -> None:
    """The versions are numbered from 001 without gaps, and the newest is the one that is in use."""
    files = versions(stream)
    assert [file.stem for file in files] == [f"{number:03}" for number in range(1, len(files) + 1)]
    assert files, f"copy {stream}.avsc to {HISTORY / stream}/001.avsc"
    following = HISTORY / stream / f"{len(files) + 1:03}.avsc"
    assert bare(json.loads(STREAMS[stream].schema_json)) == bare(json.loads(files[-1].read_text())), (
        f"{stream}.avsc has changed since {files[-1].name}: copy it to {following}, and keep the files that are there"
    )


def test_no_stream_was_taken_away() -> None:
    """A stream with a history is still there."""
    assert sorted(folder.name for folder in HISTORY.iterdir()) == sorted(STREAMS)


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_each_version_may_follow_the_ones_before(stream: str) -> None:
    """Fields are only added, with defaults, and what was written by any version before can be read."""
    schemas = [json.loads(file.read_text()) for file in versions(stream)]
    for position, new in enumerate(schemas):
        for old in schemas[:position]:
            assert objection(old, new) == ""


def _add(place: int, **field: Any) -> Callable[[list[Any]], object]:
    return lambda fields: fields.insert(place, field)


def _within(change: Callable[[list[Any]], object]) -> Callable[[list[Any]], object]:
    """The same change to the record of which the last field holds an array."""
    return lambda fields: change(fields[-1]["type"]["items"]["fields"])


@pytest.mark.parametrize(
    ("stream", "change", "why"),
    [
        ("runs", lambda fields: fields.pop(), "gone"),
        ("runs", lambda fields: fields.insert(7, fields.pop()), "moved"),
        ("runs", lambda fields: fields.insert(0, fields.pop(1)), "first fields"),
        ("runs", _add(3, name="new", type="string"), "no default"),
        ("runs", _add(1, name="new", type="string", default=""), "first fields"),
        ("runs", _add(9, name="new", type="string", default=7), "not of its type"),
        ("runs", lambda fields: fields[4].update(type="long"), "rank has changed"),
        ("runs", lambda fields: fields[8].pop("default"), "name has changed"),
        ("runs", lambda fields: fields[8].update(name="title", aliases=["name"]), "gone"),
        ("runs", lambda fields: fields.append({**fields[0], "name": "new", "default": None}), "not of its type"),
        ("metrics", _add(10, name="new", type="string", default=""), "values is no longer the last"),
        ("gpu_ticks", _within(lambda fields: fields.pop(7)), "gpus: a field is gone"),
        ("gpu_ticks", _within(lambda fields: fields.insert(9, fields.pop(8))), "gpus: a field is gone, or has moved"),
        (
            "gpu_ticks",
            _within(lambda fields: fields[5].update(type="long")),
            "gpus: the field gpu_util_pct has changed",
        ),
        ("gpu_ticks", _within(lambda fields: fields[5].update(default=0)), "gpus: the field gpu_util_pct has changed"),
        ("gpu_ticks", _within(_add(5, name="new", type="long")), "gpus: the new field new has no default"),
        ("gpu_ticks", _within(_add(5, name="new", type="long", default="x")), "gpus: the default of new is not of"),
        ("gpu_ticks", lambda fields: fields[-1]["type"].update(items="string"), "gpus has changed"),
        ("gpu_ticks", lambda fields: fields[-1]["type"]["items"].update(name="Sample"), "gpus has changed"),
        ("host_ticks", lambda fields: fields[-2].pop("default"), "ranks has changed"),
    ],
)
def test_what_may_not_follow_is_noticed(stream: str, change: Callable[[list[Any]], object], why: str) -> None:
    """A field removed, moved, retyped, renamed, without a default or in front of the first ones: each is refused."""
    old = json.loads(STREAMS[stream].schema_json)
    new = copy.deepcopy(old)
    change(new["fields"])
    assert why in objection(old, new)


def test_another_name_is_noticed() -> None:
    """A record of another name is another schema: what was written before could not be read."""
    old = json.loads(STREAMS["runs"].schema_json)
    assert "not readable" in objection(old, {**old, "name": "Jobs"})


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_what_may_follow_is_let_through(stream: str) -> None:
    """A field with a default, in front of the last one, and other docs are no fault."""
    old = json.loads(STREAMS[stream].schema_json)
    new = copy.deepcopy(old)
    new["doc"] = new["fields"][4]["doc"] = "Said better."
    new["fields"].insert(-1, {"name": "new", "type": ["null", "string"], "default": None})
    assert objection(old, new) == ""


@pytest.mark.parametrize(
    ("stream", "place"), [("gpu_ticks", "gpus"), ("host_ticks", "ranks"), ("host_ticks", "devices")]
)
def test_a_record_within_a_record_may_grow(stream: str, place: str) -> None:
    """A field with a default at its end, another doc: old records are read with the default."""
    old = json.loads(STREAMS[stream].schema_json)
    new = copy.deepcopy(old)
    within = next(field for field in new["fields"] if field["name"] == place)["type"]["items"]
    within["doc"] = within["fields"][0]["doc"] = "Said better."
    within["fields"].append({"name": "new", "type": ["null", "long"], "default": None})
    assert objection(old, new) == ""
