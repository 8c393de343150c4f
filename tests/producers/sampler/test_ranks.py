"""What ranks say, and which GPUs are theirs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide._sampler._ranks import Message, claimed, parse_message, places_of, visible_devices
from runtide._sampler._source import Device

GPUS = [Device("gpu", f"GPU-{letter * 4}-1", gpu_index=place) for place, letter in enumerate("abcd")]
MIG = Device("mig", "MIG-x", parent="GPU-aaaa-1")
UUIDS = [device.device for device in GPUS]
A, B, C, D = UUIDS
SAID = {"run": "e/p/r", "rank": 1, "pid": 7, "home": "/h", "mode": "spool"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, UUIDS),
        ("", []),
        ("2,0", [C, A]),
        (" 1 , 3 ", [B, D]),
        ("0,9,1", [A]),
        ("0,-1,1", [A]),
        ("-1", []),
        ("1,1", []),
        ("NoDevFiles", []),
        ("GPU-b", [B]),
        ("GPU-bbbb-1,GPU-a", [B, A]),
        ("GPU-b,0", [B]),
        ("0,GPU-b", [A]),
        ("GPU-", []),
        ("GPU-z", []),
        ("MIG-x", ["MIG-x"]),
        ("MIG-x,MIG-y", ["MIG-x"]),
        ("MIG-y", []),
        ("²", []),
    ],
)
def test_what_cuda_visible_devices_means(value: str | None, expected: list[str]) -> None:
    """The first that is none ends the list, the same one twice empties it, and a process has one instance at most."""
    assert visible_devices(value, [*GPUS, MIG]) == expected


def test_places_are_those_of_the_driver() -> None:
    """In whatever order the devices are told."""
    assert visible_devices("0", list(reversed(GPUS))) == [A]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, UUIDS),
        ({"local_rank": 2}, [C]),
        ({"local_rank": 9}, []),
        ({"local_rank": 3, "visible": "1"}, [B]),
        ({"local_rank": 1, "visible": "3,2"}, [C]),
        ({"gpus": [B]}, [B]),
        ({"gpus": [B], "local_rank": 0}, [B]),
        ({"gpus": [1, 5, -1], "visible": "3,2"}, [C]),
        ({"torch": True}, []),
        ({"torch": True, "visible": "2"}, [C]),
        ({"torch": True, "local_rank": 1}, [B]),
        ({"visible": ""}, []),
        ({"visible": "MIG-x"}, ["MIG-x"]),
        ({"gpus": ["MIG-x"]}, ["MIG-x"]),
    ],
)
def test_which_gpus_a_rank_claims(said: dict[str, object], expected: list[str]) -> None:
    """Those that it names; else by its place on the node; never those that torch has not touched."""
    message = parse_message(json.dumps({**SAID, **said}).encode())
    assert message is not None
    assert claimed(message, visible_devices(message.visible, [*GPUS, MIG])) == frozenset(expected)


def test_rows_go_to_who_computes_on_the_device() -> None:
    """An instance's GPU is told too, since it has the power, but as nobody's; other instances are not."""
    names = [(A, ""), (A, "MIG-x"), (A, "MIG-y"), (B, "")]
    assert places_of({4: frozenset(["MIG-x"])}, names) == [(None, 0), (4, 1)]
    assert places_of({2: frozenset([B]), 1: frozenset([B])}, names) == [(1, 3)]
    assert places_of({}, names) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": "1"}, {"rank": True}, {"pid": 1.5}, {"run": None}, {"home": 3}, {"step": "x"}, {"interval": 0},
        {"interval": float("nan")}, {"interval": -1}, {"interval": "1"}, {"finish_timeout": float("inf")},
        {"visible": 3}, {"gpus": 5}, {"local_rank": []},
    ],
)  # fmt: skip
def test_what_is_no_message_is_nothing(wrong: dict[str, object]) -> None:
    """Any process of the user may send anything."""
    assert parse_message(json.dumps(SAID).encode()) is not None
    assert parse_message(json.dumps({**SAID, **wrong}).encode()) is None


def test_what_a_later_version_says_besides_is_left_out() -> None:
    """So that ranks of two versions can share a node."""
    message = parse_message(json.dumps({**SAID, "more": 1, "gpus": [A, None, 2.5, 3], "phase": "x" * 999}).encode())
    assert message == Message("e/p/r", 1, 7, "/h", "spool", gpus=(A, 3), phase="x" * 128)


TEXTS = st.text(max_size=20) | st.sampled_from([', "step": ', '"step": 1}', "\\", '", "step": 9, "phase": "'])


@given(TEXTS, TEXTS, st.lists(st.tuples(st.none() | st.integers(), TEXTS, st.booleans()), max_size=4), st.booleans())
def test_what_is_said_again_is_heard_as_if_for_the_first_time(
    home: str, visible: str, said: list[tuple[int | None, str, bool]], last: bool
) -> None:
    """Whatever is in the texts, and wherever a version has the step."""
    for step, phase, ended in said:
        news = {"step": step, "phase": phase, "ended": ended}
        told = {**SAID, "home": home, **news, "visible": visible} if last else {**news, **SAID, "home": home} | news
        expected = Message(**{**SAID, "home": home, "visible": told.get("visible"), **news})
        assert parse_message(json.dumps(told).encode()) == expected
        told = {**SAID, "home": home, "visible": visible, **news}
        assert parse_message(json.dumps(told).encode()) == expected._replace(visible=visible)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_garbage_is_no_message(data: bytes) -> None:
    """Bytes, and JSON of other things."""
    assert parse_message(data) is None
