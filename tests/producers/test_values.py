"""What may be logged, and what becomes of it."""

import dataclasses
import datetime
import enum
import gc
import json
import math
import struct
import weakref
from array import array
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import runtide
from runtide import _report
from runtide._frames import Cells, Frame, Framer, Shape
from runtide.testing import Memory, start_run


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Pair:
    left: int
    right: float


def logged(data: Any, **options: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """What one call stores: numbers by key, and JSON values by key."""
    memory = Memory()
    run = start_run(memory)
    run.log(data, **options)
    run.finish()
    numbers = {k: v for r in memory.records("metrics") for k, v in zip(r["keys"], r["values"], strict=True)}
    texts = {
        k: json.loads(v) for r in memory.records("metrics_json") for k, v in zip(r["keys"], r["values"], strict=True)
    }
    return numbers, texts


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
@example([-0.0, 0.0, 5e-324, math.nan, math.inf, -math.inf, 1.7976931348623157e308])
@example([struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\xff")[0]])
def test_floats_keep_their_bits(values: list[float]) -> None:
    """NaN's payload, the sign of zero and denormals arrive as they were."""
    numbers, texts = logged({f"k{i}": value for i, value in enumerate(values)})
    assert not texts
    assert array("d", numbers.values()).tobytes() == array("d", values).tobytes()


@settings(deadline=None, max_examples=50)
@given(st.integers())
@example(2**53)
@example(2**53 + 1)
@example(-(2**53) - 1)
@example(10**400)
def test_whole_numbers_are_never_rounded(value: int) -> None:
    """Up to 2^53 they are float64, beyond they are JSON, exactly."""
    numbers, texts = logged({"n": value, "other": 1.5})
    found = texts["n"] if abs(value) > 2**53 else numbers["n"]
    assert found == value
    assert numbers["other"] == 1.5


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1.0),
        (np.float32(0.1), 0.10000000149011612),
        (np.float16(65504), 65504.0),
        (np.int64(-3), -3.0),
        (np.uint8(200), 200.0),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array([7]), 7.0),
        (np.longdouble(1.5), 1.5),
        (datetime.timedelta(seconds=1.5), 1.5),
    ],
)
def test_numbers_of_other_types_are_numbers(value: Any, number: float) -> None:
    """Scalars of numpy and arrays of one element are exact float64, also the second time, on the fast path."""
    for _ in range(2):
        numbers, texts = logged({"x": value})
        assert (numbers, texts) == ({"x": number}, {})


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("text", "text"),
        ("ünï \n\x00'\"", "ünï \n\x00'\""),
        ("\ud800", "\\ud800"),
        (None, None),
        ([1, 2.5, "a", None], [1, 2.5, "a", None]),
        ((1, [2]), [1, [2]]),
        ([math.nan, -math.inf], ["NaN", "-Infinity"]),
        ({1}, [1]),
        (np.arange(3), [0, 1, 2]),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (b"bytes", "bytes"),
        (Colour.RED, "RED"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (Path("/a/b"), "/a/b"),
        (Pair(1, 2.0), {"left": 1, "right": 2.0}),
        (np.str_("numpy"), "numpy"),
        (len, "builtins.len"),
        ({}, {}),
    ],
)
def test_everything_else_is_json(value: Any, plain: Any) -> None:
    """Text, None, lists, sets, arrays, dates, enumerations and dataclasses are kept as JSON."""
    numbers, texts = logged({"x": value})
    assert (numbers, texts) == ({}, {"x": plain})


class Opaque:
    pass


RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize("value", [Opaque(), RECURSIVE, [1, Opaque()], {"inner": Opaque()}])
def test_what_cannot_be_stored_is_a_type_error_that_names_the_key(value: Any) -> None:
    """The call as a whole leaves no trace, and does not advance the step."""
    memory = Memory()
    run = start_run(memory)
    with pytest.raises(TypeError, match="my/key"):
        run.log({"fine": 1.0, "my/key": value})
    assert run.step == 0
    run.finish()
    assert not memory.records("metrics")


@pytest.mark.parametrize("data", [None, 3, [("a", 1)], "a", {1: 2.0}, {None: 1}])
def test_what_is_no_dictionary_of_names_is_a_type_error(data: Any) -> None:
    """Not a mapping, or a key that is no text."""
    run = start_run(Memory())
    with pytest.raises(TypeError):
        run.log(data)
    assert run.step == 0


def test_nested_dictionaries_become_dotted_names() -> None:
    """Of two leaves with the same name the later counts, and a mapping of any type will do."""
    data = OrderedDict({"a.b": 1.0, "a": {"b": 2.0, "c": MappingProxyType({"d": 3})}})
    assert logged(data) == ({"a.b": 2.0, "a.c.d": 3.0}, {})


@pytest.mark.parametrize("key", ["", " ", "a\nb", "'; DROP TABLE runs --", "日本語/🙂", "x" * 10_000, "a\x00b", "%s{}"])
def test_odd_names_arrive_as_they_are(key: str) -> None:
    """Nothing is special in the name of a metric."""
    assert logged({key: 1.0, "other": "text"}) == ({key: 1.0}, {"other": "text"})


def test_a_name_that_has_no_utf8_is_escaped() -> None:
    """A lone surrogate costs neither the call nor its neighbours."""
    assert logged({"a\ud800": 1.0, "b": 2.0}) == ({"a\\ud800": 1.0, "b": 2.0}, {})


def test_reserved_names() -> None:
    """_timestamp is the time of the call in seconds, _step and _runtime are dropped."""
    memory = Memory()
    run = start_run(memory)
    run.log({"a": 1.0, "_step": 99, "_runtime": 5.0, "_timestamp": 1_600_000_000.25})
    with pytest.raises(runtide.UsageError, match="1900"):
        run.log({"a": 1.0, "_timestamp": 1e300})
    with pytest.raises(TypeError, match="_timestamp"):
        run.log({"a": 1.0, "_timestamp": "soon"})
    run.finish()
    (record,) = memory.records("metrics")
    assert (record["keys"], record["steps"], record["times"]) == (["a"], [0], [1_600_000_000_250])


def test_later_changes_do_not_reach_what_was_logged_and_nothing_is_kept_alive() -> None:
    """Lists, arrays and the dictionary itself are copied in the call."""

    class Held(dict[str, Any]):
        pass

    memory = Memory()
    run = start_run(memory)
    inner = Held(b=1.0)
    data = {"list": [1, 2], "array": np.zeros(2), "nested": inner, "number": 1.0}
    array_alive, inner_alive = weakref.ref(data["array"]), weakref.ref(inner)  # type: ignore[type-var]
    run.log(data)
    data["list"].append(3)  # type: ignore[attr-defined]
    data["array"][:] = 9  # type: ignore[index]
    inner["b"] = 2.0
    data["number"] = 5.0
    data.clear()
    del inner
    gc.collect()
    assert array_alive() is None
    assert inner_alive() is None
    run.finish()
    (record,) = memory.records("metrics_json")
    assert dict(zip(record["keys"], record["values"], strict=True)) == {"list": "[1,2]", "array": "[0.0,0.0]"}
    assert memory.records("metrics")[0]["values"] == [1.0, 1.0]


def test_steps_with_the_same_keys_share_a_frame_even_with_others_between() -> None:
    """Grouping is by key set; calls that share a key with others keep their order instead."""
    loss, lr, both = Shape(("loss",)), Shape(("lr",)), Shape(("loss", "lr"))
    entries = [(shape, step, 0, (1.0,) * len(shape.keys)) for step in range(10) for shape in (loss, lr)]
    frames = list(Framer().frames(entries))
    assert [(f.keys, f.steps) for f in frames if isinstance(f, Frame)] == [
        (("loss",), list(range(10))),
        (("lr",), list(range(10))),
    ]
    entries = [(loss, 0, 0, (1.0,)), (both, 1, 0, (1.0, 1.0)), (loss, 2, 0, (1.0,)), (lr, 3, 0, (1.0,))]
    frames = list(Framer().frames(entries))
    assert [f.steps for f in frames if isinstance(f, Frame)] == [[0], [1], [2], [3]]
    assert all(f.ordered for f in frames if isinstance(f, Frame))


def test_records_are_bounded() -> None:
    """No frame has more than 100,000 values or a megabyte of names, no record of cells more than a megabyte of text."""
    wide = Shape(tuple(f"key{number}" for number in range(250_000)))
    frames = list(Framer().frames([(wide, step, 0, (0.5,) * 250_000) for step in range(2)]))
    assert sorted(len(f.values) for f in frames) == [50_000, 50_000, 100_000, 100_000, 100_000, 100_000]
    assert sum(len(f.values) for f in frames) == 500_000
    assert all(f.ordered for f in frames if isinstance(f, Frame))
    names = Shape(tuple("x" * 10_000 + str(number) for number in range(300)))
    assert all(sum(map(len, f.keys)) <= 1 << 20 for f in Framer().frames([(names, 0, 0, (0.5,) * 300)]))
    text = Shape(("text",))
    cells = list(Framer().frames([(text, step, 0, ("x" * 300_000,)) for step in range(10)]))
    assert [len(c.values) for c in cells if isinstance(c, Cells)] == [3, 3, 3, 1]


def test_no_reference_numbers_on_stderr_when_stderr_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stderr is no reason for an exception."""
    monkeypatch.setattr("sys.stderr", None)
    _report.say("nobody hears this")
