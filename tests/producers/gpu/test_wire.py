"""The encoder of GPU records writes the bytes that the general one writes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtide._sampler._wire import encode_gpu_ticks
from runtide_schemas import STREAMS, encode

STREAM = STREAMS["gpu_ticks"]
FIELDS = next(field for field in STREAM.schema["fields"] if field["name"] == "gpus")["type"]["items"]["fields"]
HEAD = {
    "run_id": "e/p/r", "writer": 2**63 - 1, "seq": 7, "host": "n", "time": 1_800_000_000_000, "period_ms": 100,
    "tick_us": 300, "skipped": 0,
}  # fmt: skip

LONGS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32)


def values(schema: Any) -> st.SearchStrategy[Any]:
    if schema == "string":
        return st.text(max_size=40)
    if isinstance(schema, list):
        bounds = {"int": st.integers(-(2**31), 2**31 - 1), "long": LONGS, "float": FLOATS | st.integers(0, 100)}
        return st.none() | bounds[schema[1]]
    if schema["type"] == "array":
        return st.lists(LONGS if schema["items"] == "long" else FLOATS, max_size=5)
    return st.dictionaries(st.text(max_size=5), st.floats(), max_size=3)


ROWS = st.fixed_dictionaries(
    {"gpu_uuid": st.text(max_size=40)},
    optional={field["name"]: values(field["type"]) for field in FIELDS if field["name"] != "gpu_uuid"},
)


@settings(deadline=None, max_examples=200)
@given(st.lists(ROWS, max_size=3))
def test_the_same_bytes(rows: list[dict[str, Any]]) -> None:
    assert encode_gpu_ticks({**HEAD, "gpus": rows}) == encode(STREAM, {**HEAD, "gpus": rows})


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu_util_pct": 2**63},
        {"gpu_util_pct": 1.5},
        {"gpu_util_pct": "90"},
        {"sm_active_pct": "much"},
        {"sm_active_pct": 1e300},
        {"phase": 7},
        {"util_history_us": ["now"]},
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode_gpu_ticks({**HEAD, "gpus": [{"gpu_uuid": "GPU-1", **wrong}]})


def test_a_record_without_gpus_and_a_field_that_is_not_in_the_stream() -> None:
    assert encode_gpu_ticks({**HEAD, "gpus": []}) == encode(STREAM, {**HEAD, "gpus": []})
    rows = [{"gpu_uuid": "GPU-1", "mig_uuid": "", "unheard_of": 1}]
    assert encode_gpu_ticks({**HEAD, "gpus": rows}) == encode(STREAM, {**HEAD, "gpus": rows})
