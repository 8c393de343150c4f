"""Filters of runs mean what they mean to MongoDB: the store and a small evaluator in Python choose the same runs."""

import datetime
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runtide

NAN, INF = float("nan"), float("inf")
ATTACKS = [
    "it's", "a' OR 1=1 --", "\\", "\\'", "{x:String}", "{p0:String}", "nul\0byte", "\udcff", "`; DROP TABLE runs",
    '"', "%", "\n", "$gt", "ключ",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 1.5, -0.5, 0.1, 0.30000000000000004, 1e-7, 5e-324, 1e21, 1e300, 2**53, 2**53 + 1, -(2**53) - 1, 2**60,
    2**63, 2**64 - 1, 2**64, -(2**70), 10**30, 123456789.123456789,
]  # fmt: skip
TEXTS = [
    "",
    "adam",
    "Adam",
    "sgd",
    "1",
    "true",
    "null",
    "a.b",
    "x/y",
    "line\nbreak",
    "zebra",
    *(text for text in ATTACKS if text != "\udcff"),
]
SCALARS: list[Any] = [*NUMBERS, *TEXTS, True, False, None]
LISTS: list[Any] = [[], [1, 2], ["adam", None], [1.5, "sgd", True], [[1], 2], [2**60, "it's"]]
KEYS = ["x", "y", "a", "a.b", "opt", "value", "", "it's", "{x:String}", "nul\0byte", "ключ"]
SCRIPT = """
import tests_query_filters as t, runtide
for run in t.RUNS:
    t.log(runtide, run)
"""


def _runs() -> list[dict[str, Any]]:
    """Runs whose values are drawn from those above, always the same."""
    draw = random.Random(20260101)

    def config(depth: int = 0) -> dict[str, Any]:
        pool = SCALARS + LISTS
        made = {key: draw.choice(pool) for key in draw.sample(KEYS, 4)}
        if depth < 2 and draw.random() < 0.8:
            made[draw.choice(["opt", "a", "x"])] = config(depth + 1)
        return made

    def summary() -> dict[str, Any]:
        pool = [*NUMBERS, *TEXTS, NAN, INF, -INF, True, False, *LISTS[1:4], {"b": 1.5, "c": {"d": "adam"}}]
        return {key: draw.choice(pool) for key in draw.sample([key for key in KEYS if key], 4)}

    return [
        {
            "name": f"run{number:02}", "display_name": draw.choice(["adam", "sgd", *ATTACKS[:5]]), "config": config(),
            "summary": summary(), "tags": draw.sample(["adam", "sgd", *ATTACKS], draw.randrange(3)),
            "group": draw.choice(["", "sgd", "it's"]), "by_hand": draw.random() < 0.5,
        }
        for number in range(60)
    ]  # fmt: skip


RUNS = _runs()


def log(runtide: Any, run: dict[str, Any]) -> None:
    """Give the SDK one of the runs."""
    with runtide.init(
        project="filters",
        id=run["name"],
        name=run["display_name"],
        config=run["config"],
        tags=run["tags"],
        group=run["group"],
    ) as open_run:
        if run["by_hand"]:
            for key, value in run["summary"].items():
                open_run.summary[key] = value
        else:
            open_run.log(run["summary"])


@pytest.fixture(scope="module")
def created(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The runs in a database that the API is pointed at; when each began, by id."""
    name, folder = f"filters_{os.getpid()}", tmp_path_factory.mktemp("filters")
    (folder / "tests_query_filters.py").write_bytes(Path(__file__).read_bytes())
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RUNTIDE_", "WANDB_"))}
    address = f"http://default:{quote(store.password, safe='')}@{store.host}:{store.port}/{name}"
    environment = {**kept, "PYTHONPATH": str(folder), "RUNTIDE_DIR": str(folder), "RUNTIDE_CLICKHOUSE_URL": address}
    environment["RUNTIDE_SAMPLER"] = "off"
    for command in (["-c", SCRIPT], ["-m", "runtide", "sync", str(folder)]):
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIDE_CLICKHOUSE_URL", f"http://reader@{store.host}:{store.port}/{name}")
        found = {run.id: run.created_at for run in runtide.Api().runs("filters")}
        assert sorted(found) == [run["name"] for run in RUNS]
        yield found
    store.query(f"DROP DATABASE {name}")


# --- The evaluator: MongoDB's rules, as far as W&B has them.

_ABSENT = object()
_SPELLED = {"displayName": "display_name", "id": "name"}


def _text(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _inside(tree: Any, names: list[str]) -> Any:
    for name in names:
        if not isinstance(tree, dict) or name not in tree:
            return _ABSENT
        tree = tree[name]
    return tree


def _look(tree: dict[str, Any], path: str) -> Any:
    """The first reading of the path that is there: a key with dots before a key within a key."""
    parts = path.split(".")
    for names in [parts, parts[:-1]] if len(parts) > 1 and parts[-1] == "value" else [parts]:
        for number in range(len(names), 0, -1):
            found = _inside(tree, [".".join(names[:number]), *names[number:]])
            if found is not _ABSENT:
                return found
    return _ABSENT


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return found


def _value(run: dict[str, Any], field: str) -> Any:
    tree, _, path = field.partition(".")
    if tree == "config":
        return _look(run["config"], path)
    if tree in ("summary", "summary_metrics"):
        # What is logged is flat; bools are numbers; "NaN" set by hand is NaN.
        summary = run["summary"] if run["by_hand"] else _flat(run["summary"])
        found = _look(summary, path)
        return int(found) if isinstance(found, bool) else found
    found = run[_SPELLED.get(field, field)]
    return _ABSENT if found in ("", []) else found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "text" if isinstance(value, str) else "other"


def _equal(cell: Any, wanted: Any) -> bool:
    if wanted is None or cell is None:
        return cell is wanted
    if _kind(cell) != _kind(wanted) or _kind(cell) == "other":
        return False
    if isinstance(cell, float) and isinstance(wanted, float) and math.isnan(cell) and math.isnan(wanted):
        return True
    return bool(_text(cell) == _text(wanted))


def _compare(name: str, cell: Any, wanted: Any) -> bool:
    if name in ("$gte", "$lte") and _equal(cell, wanted):
        return True
    if wanted is None or _kind(cell) != _kind(wanted) or _kind(cell) == "other":
        return False
    left, right = (_text(value).encode() if isinstance(value, str) else value for value in (cell, wanted))
    return bool(left > right if name in ("$gt", "$gte") else left < right)


def _operator(field: str, value: Any, name: str, wanted: Any) -> bool:
    cells = [] if value is _ABSENT else [value, *(value if isinstance(value, list) else ())]
    if field.startswith("summary"):
        wanted = [int(w) if isinstance(w, bool) else w for w in wanted] if isinstance(wanted, list) else wanted
        wanted = int(wanted) if isinstance(wanted, bool) and name != "$exists" else wanted
    if not field.startswith(("summary", "config", "tags")):
        # An empty text is one that nobody gave.
        wanted = (
            [None if w == "" else w for w in wanted] if isinstance(wanted, list) else None if wanted == "" else wanted
        )
    match name:
        case "$eq":
            return any(_equal(cell, wanted) for cell in cells) or (wanted is None and not cells)
        case "$ne":
            return not _operator(field, value, "$eq", wanted)
        case "$in":
            return any(_operator(field, value, "$eq", one) for one in wanted)
        case "$nin":
            return not _operator(field, value, "$in", wanted)
        case "$exists":
            return bool(cells) == bool(wanted)
        case "$regex":
            # In RE2 a dollar is the end, and not a newline before it.
            pattern = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", wanted))
            return any(isinstance(cell, str) and pattern.search(_text(cell)) is not None for cell in cells)
        case "$not":
            return not all(_operator(field, value, *one) for one in wanted.items())
    if wanted is None and name in ("$gte", "$lte") and not cells:
        return True
    return any(_compare(name, cell, wanted) for cell in cells)


def passes(run: dict[str, Any], filters: dict[str, Any]) -> bool:
    """Whether a run passes the filters."""
    for name, value in filters.items():
        if name in ("$and", "$or", "$nor"):
            found = [passes(run, part) for part in value]
            holds = all(found) if name == "$and" else any(found) if name == "$or" else not any(found)
        else:
            operators = value if isinstance(value, dict) else {"$eq": value}
            holds = all(_operator(name, _value(run, name), *one) for one in operators.items())
        if not holds:
            return False
    return True


def chosen(filters: dict[str, Any], order: str = "name") -> list[str]:
    """What the store chooses."""
    return [path.rpartition("/")[2] for path in runtide.Api().runs("filters", filters, order=order).paths()]


# --- Random filters.

_PATHS = st.lists(st.sampled_from(["x", "a", "b", "opt", "value", "a.b", "c.d", *KEYS]), min_size=1, max_size=3).map(
    ".".join
)
FIELDS = st.one_of(
    st.builds("{}.{}".format, st.sampled_from(["config", "summary_metrics", "summary"]), _PATHS),
    st.sampled_from(["display_name", "displayName", "tags", "group", "name", "id"]),
)
OPERANDS = st.sampled_from([*SCALARS, NAN, INF, -INF, 1.0, 2.0**60, 2**255, "run07", "b"])
COMPARISON = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), OPERANDS),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(OPERANDS, max_size=4)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(
        st.just("$regex"), st.sampled_from(["^a", "da", "m$", "(?i)ADAM", "[0-9]+", "it's", r"\\", "b.eak", "^$"])
    ),
)
OPERATORS = st.lists(COMPARISON, min_size=1, max_size=2).map(dict)
NEGATED = st.one_of(OPERATORS, OPERATORS.map(lambda inner: {"$not": inner}))
SIMPLE = st.dictionaries(FIELDS, st.one_of(OPERANDS, NEGATED), min_size=1, max_size=2)
FILTERS = st.recursive(
    SIMPLE,
    lambda inner: st.builds(
        lambda name, parts, more: {name: parts} | more,
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
        st.one_of(st.just({}), SIMPLE),
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(filters=FILTERS)
def test_the_store_chooses_what_mongodb_would(created: dict[str, str], filters: dict[str, Any]) -> None:
    """Random filters over random runs: the same set as the evaluator's, whatever is in names and values."""
    assert chosen(filters) == [run["name"] for run in RUNS if passes(run, filters)]


def test_every_value_is_found_by_itself(created: dict[str, str]) -> None:
    """To the last bit, and nothing else is."""
    for key in ("x", "it's", "nul\0byte", "a.b"):
        for value in [*SCALARS, NAN, INF]:
            for tree in ("config", "summary_metrics"):
                filters = {f"{tree}.{key}": value}
                assert chosen(filters) == [run["name"] for run in RUNS if passes(run, filters)], filters


@pytest.mark.parametrize("attack", ATTACKS)
def test_quotes_braces_and_nul_are_only_text(created: dict[str, str], attack: str) -> None:
    """In values, in names and in patterns."""
    for filters in (
        {"display_name": attack}, {"tags": attack}, {"tags": {"$nin": [attack]}}, {f"config.{attack}": attack},
        {f"config.{attack}.{attack}": {"$exists": False}}, {f"summary.{attack}": {"$ne": attack}},
        {"tags": {"$regex": re.escape(attack.encode("utf-8", "backslashreplace").decode())}},
    ):  # fmt: skip
        assert chosen(filters) == [run["name"] for run in RUNS if passes(run, filters)]
    assert len(chosen({}, order=f"config.{attack},-summary_metrics.{attack}".replace("\n", ""))) == len(RUNS)


def test_times_are_compared_as_times(created: dict[str, str]) -> None:
    """ISO 8601 as created_at gives it, a datetime with and without a zone, and seconds since 1970."""
    middle = sorted(created.values())[30]
    moment = datetime.datetime.fromisoformat(middle)
    later = sorted(run for run, time in created.items() if time >= middle)
    zone = datetime.timezone(datetime.timedelta(hours=5))
    for value in (
        middle,
        moment,
        moment.replace(tzinfo=None),
        moment.astimezone(zone),
        moment.astimezone(zone).isoformat(),
    ):
        assert chosen({"created_at": {"$gte": value}}) == later
        assert chosen({"createdAt": value}) == [run for run, time in created.items() if time == middle]
    assert chosen({"createdAt": {"$gt": moment.timestamp() + 3600}}) == []
    assert len(chosen({"createdAt": {"$gt": moment.date()}, "heartbeat_at": {"$lt": "2200-01-01"}})) == len(RUNS)


def test_fields_of_the_run_itself(created: dict[str, str]) -> None:
    """State, host, entity, project, length and exit code."""
    everything = [run["name"] for run in RUNS]
    for filters in (
        {"state": "finished"}, {"exit_code": 0}, {"username": "default", "project": "filters"},
        {"duration": {"$gte": 0}}, {"host": {"$exists": True}},
        {"job_type": None}, {"notes": {"$exists": False}}, {"jobType": {"$ne": "eval"}},
    ):  # fmt: skip
        assert chosen(filters) == everything
    assert chosen({"state": {"$in": ["running", "crashed"]}}) == []
    assert chosen({"name": {"$in": [f"run{number:02}" for number in range(5000)]}}) == everything
    assert chosen({"config.x": {"$in": list(range(5000))}}) == [
        run["name"] for run in RUNS if passes(run, {"config.x": {"$in": list(range(5000))}})
    ]


def test_patterns_take_options(created: dict[str, str]) -> None:
    """As letters, or compiled; a point matches no newline unless it is asked to."""
    adams = [run["name"] for run in RUNS if run["display_name"] == "adam"]
    assert chosen({"display_name": {"$regex": "^ADAM$", "$options": "i"}}) == adams
    assert chosen({"display_name": re.compile("^ADAM$", re.IGNORECASE)}) == adams
    assert chosen({"display_name": {"$not": re.compile("^adam$")}}) == [
        n["name"] for n in RUNS if n["name"] not in adams
    ]
    breaks = {"config.x": {"$regex": "line.break"}}
    assert chosen(breaks) == []
    assert set(chosen({"config.x": {"$regex": "line.break", "$options": "s"}})) == {
        run["name"] for run in RUNS if run["config"].get("x") == "line\nbreak"
    }
    with pytest.raises(runtide.QueryError, match=r"\(\("):
        chosen({"name": {"$regex": "(("}})


def test_orders_put_numbers_before_texts_and_what_is_missing_last(created: dict[str, str]) -> None:
    """In both directions; several fields one after the other; equal runs by their path."""

    def rank(run: dict[str, Any], field: str) -> tuple[int, float, bytes]:
        value = _value(run, field)
        if isinstance(value, float) and math.isnan(value):
            return 4, 0.0, b""
        if _kind(value) == "number":
            return 0, float(value), b""
        text = _text(value).encode() if isinstance(value, str) else str(value).lower().encode()
        return ({"text": 1, "bool": 2}.get(_kind(value), 3), 0.0, text if _kind(value) != "other" else b"")

    plain = [run for run in RUNS if not isinstance(_value(run, "config.x"), (list, dict))]
    found = chosen({"name": {"$in": [run["name"] for run in plain]}}, order="config.x")
    for group in (0, 1, 2, 3):
        of_group = [run for run in plain if rank(run, "config.x")[0] == group]
        if group < 3:
            wanted = [run["name"] for run in sorted(of_group, key=lambda run: rank(run, "config.x"))]
            assert [name for name in found if name in wanted] == wanted
    groups = [rank(next(run for run in RUNS if run["name"] == name), "config.x")[0] for name in found]
    assert groups == sorted(groups)
    backwards = chosen({}, order="-summary_metrics.y")
    numbers = [rank(next(r for r in RUNS if r["name"] == n), "summary_metrics.y") for n in backwards]
    assert [kind for kind, _, _ in numbers] == sorted(kind for kind, _, _ in numbers)
    values = [number for kind, number, _ in numbers if kind == 0]
    assert values == sorted(values, reverse=True) and len(values) > 3
    assert chosen({}, order="group,-name") == [
        run["name"]
        for run in sorted(sorted(RUNS, key=lambda r: r["name"], reverse=True), key=lambda r: r["group"] or "~")
    ]
    assert chosen({}, order="-created_at") == sorted(created, key=created.__getitem__, reverse=True)


def test_configs_come_back_as_they_were_given(created: dict[str, str]) -> None:
    """Whole: what filters compare is what run.config says."""
    for run, given_run in zip(runtide.Api().runs("filters", order="name"), RUNS, strict=True):
        assert run.config == given_run["config"]
        assert run.tags == [_text(tag) for tag in given_run["tags"]]
