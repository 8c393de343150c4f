"""Configs as flat tables."""

import json

from hypothesis import given
from hypothesis import strategies as st

from runtide_dashboards.configs import differing, flatten, parse, paths, segments

leaves = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())
objects = st.dictionaries(
    st.text(), st.recursive(leaves, lambda inner: st.dictionaries(st.text(), inner), max_leaves=20)
)


def test_leaves_have_dot_paths_and_keep_their_type():
    """1, 1.0, "1" and true are four different values; an empty object and a list are leaves."""
    config = {"optim": {"lr": 1e-3, "name": "adam"}, "a": 1, "b": 1.0, "c": "1", "d": True, "e": {}, "f": [1, {"x": 2}]}
    assert flatten(config) == {
        "optim.lr": "0.001",
        "optim.name": '"adam"',
        "a": "1",
        "b": "1.0",
        "c": '"1"',
        "d": "true",
        "e": "{}",
        "f": '[1, {"x": 2}]',
    }
    assert list(flatten(config)) == ["optim.lr", "optim.name", "a", "b", "c", "d", "e", "f"]


def count(value):
    return sum(map(count, value.values())) if isinstance(value, dict) and value else 1


@given(objects)
def test_no_two_leaves_share_a_path(config):
    """Keys with dots or quotes in them, or empty ones, stay apart."""
    assert len(flatten(config)) == (count(config) if config else 0)


def test_keys_with_dots_are_not_mistaken_for_paths():
    """A key a.b and a key b inside a are two rows."""
    assert flatten({"a.b": 1, "a": {"b": 2}}) == {'"a.b"': "1", "a.b": "2"}


def test_only_what_differs_is_listed():
    """A key that one run lacks differs; the type alone makes a difference too."""
    configs = [flatten(c) for c in ({"same": 1, "type": 1, "gone": 1}, {"same": 1, "type": 1.0, "new": None})]
    assert differing(configs) == ["type", "gone", "new"]
    assert paths(configs) == ["same", "type", "gone", "new"]


def test_a_single_config_is_shown_whole():
    """With nothing to be equal to, no key is hidden; without any config there is none."""
    assert differing([flatten({"lr": 0.1, "optim": {"name": "adam"}})]) == ["lr", "optim.name"]
    assert differing([]) == []


@given(st.text() | objects.map(json.dumps) | st.just("[1]"))
def test_any_stored_text_can_be_read(text):
    """A config that is no JSON object is shown as empty, not as an error."""
    assert isinstance(flatten(parse(text)), dict)


def test_a_path_leads_back_to_its_keys():
    """Dots part keys, quotes keep those with dots; other quotes belong to the key."""
    assert segments("optim.lr") == ["optim", "lr"]
    assert segments('"a.b".c') == ["a.b", "c"]
    assert segments('"x".""') == ['"x"', ""]
    assert segments("a..b.") == ["a", "", "b", ""]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_nesting_is_found_again(keys):
    """What flatten made one path of, segments takes apart."""
    config = 1
    for key in reversed(keys):
        config = {key: config}
    (path,) = flatten(config)
    assert segments(path) == keys
