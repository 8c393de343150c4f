"""Calls to hold against the contract: single clauses by name, and strategies that draw sequences."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from tests.contract import Call


def play(run: Any, calls: list[Call]) -> None:
    """The same calls on a run of either library; a config value that may not change is what its `update` says."""
    for name, arguments, options in calls:
        if name == "set_summary":
            run.summary[arguments[0]] = arguments[1]
        elif name == "delete_summary":
            with suppress(KeyError):  # runtide's, where there is nothing to delete
                del run.summary[arguments[0]]
        elif name == "update_config":
            try:
                run.config.update(arguments[0], allow_val_change=arguments[1])
            except Exception as error:
                assert type(error).__name__ == "ConfigError", error
        else:
            getattr(run, name)(*arguments, **options)


def define(name: str, **options: Any) -> Call:
    return "define_metric", (name,), options


def log(data: Mapping[str, Any], **options: Any) -> Call:
    return "log", (data,), options


def put(key: str, value: Any) -> Call:
    return "set_summary", (key, value), {}


# What each is about, and the calls.
EXAMPLES: dict[str, list[Call]] = {
    "an uncommitted call shares the row of the next one": [log({"a": 1}, commit=False), log({"b": 2}), log({"a": 3})],
    "a given step stays open, and the next call ends it": [
        log({"a": 1}, step=5),
        log({"c": 2}),
        log({"d": 3}),
    ],
    "commit ends a step that was given": [log({"a": 1}, step=5, commit=True), log({"b": 2})],
    "empty calls count": [log({}), log({}, commit=False), log({"a": 1}), log({}, step=7), log({"b": 1})],
    "what is open at the end is stored": [log({"a": 1}, step=3), log({"n": {"b": {"c": 2}}}, commit=False)],
    "x is added where it lacks": [
        define("loss", step_metric="epoch"),
        *[
            log(row)
            for row in ({"loss": 1}, {"epoch": 3}, {"loss": 2}, {"acc": 1}, {"loss": 2, "epoch": 9}, {"loss": 1})
        ],
    ],
    "x is not added where it comes later in the row": [
        define("loss", step_metric="epoch"),
        *[log({"epoch": 2}), log({"loss": 1}, commit=False), log({"epoch": 3}), log({"loss": 2})],
    ],
    "a star, as Lightning and Hugging Face use it": [
        define("train/step"),
        define("*", step_metric="train/step", step_sync=True),
        *[log({"train/step": 10, "train/loss": 1.0}), log({"eval/loss": 2.0}), log({"train/step": 20, "lr": 0.1})],
    ],
    "no x is added when that was not wanted": [
        define("loss", step_metric="epoch", step_sync=False),
        *[log({"epoch": 3}), log({"loss": 1})],
    ],
    "a nested x, and a nested metric": [
        define("n.loss", step_metric="n.epoch", summary="min"),
        *[log({"n": {"epoch": 3}}), log({"n": {"loss": 2}}), log({"n": {"loss": 1}})],
    ],
    "statistics add up": [define("a", summary="min"), define("a", summary="max"), *[log({"a": v}) for v in (3, 1, 2)]],
    "statistics that are overwritten": [
        define("a", summary="min"),
        define("a", summary="max,mean", overwrite=True),
        *[log({"a": v}) for v in (3, 1, 2)],
    ],
    "an exact name beats a star wholly": [
        define("t/*", summary="max", step_metric="epoch"),
        define("t/a", summary="min"),
        *[log({"epoch": 1}), log({"t/a": 1, "t/b": 2}), log({"t/a": 5})],
    ],
    "no star fits a name that begins with an underscore": [
        define("*", summary="max"),
        log({"_own": 2}),
        log({"_own": 1}),
    ],
    "none has no summary": [define("a", summary="none"), log({"a": 1}), log({"a": 2, "b": 3})],
    "copy is the last value": [define("a", summary="copy"), log({"a": 1}), log({"a": 2})],
    "a value set by hand ends the statistics": [
        define("a", summary="min,max"),
        *[log({"a": 3}), log({"a": 1}), put("a", 7), log({"a": 5}), log({"a": 4})],
    ],
    "a value set by hand stays until it is logged": [put("best", 1), log({"a": 1}), put("a", 9), log({"b": 1})],
    "a value set by hand goes when it is logged": [put("best", 1), log({"best": 5}), log({"best": 3})],
    "NaN in statistics": [define("a", summary="min,max,mean,last"), *[log({"a": v}) for v in (1, math.nan, 3)]],
    "text in statistics": [define("a", summary="min,first,last"), *[log({"a": v}) for v in ("one", 3, "two")]],
    "a step below the current one": [log({"a": 1}, step=3), log({"b": 2}, step=1), log({"c": 3}, step=4)],
    "a negative step": [log({"a": 1}, step=-1), log({"b": 2})],
    "a later summary ends none": [
        define("a", summary="none"),
        define("a", summary="max"),
        log({"a": 3}),
        log({"a": 1}),
    ],
    "what was set by hand stays so when another name is defined": [
        define("a", summary="min"),
        *[log({"a": 3}), put("a", 9), define("b", summary="max"), log({"a": 1})],
    ],
    "first and last of a list": [define("a", summary="first,last"), log({"a": [1]}), log({"a": [2]})],
    "an x that is no number is passed by": [
        define("loss", step_metric="epoch"),
        *[log({"epoch": 3}), log({"epoch": None}), log({"loss": 1}), log({"epoch": "four"}), log({"loss": 1})],
    ],
    "the step itself as x": [define("loss", step_metric="_step"), log({"loss": 3}), log({"loss": 4})],
    "an x that is no number, in a call of its own, stays": [
        define("loss", step_metric="epoch"),
        *[log({"epoch": "one"}, commit=False), log({"loss": 1})],
    ],
    "none keeps what was set by hand": [define("a", summary="none"), put("a", 9), log({"a": 1}), log({"a": 2})],
    "a bool is no x": [define("loss", step_metric="epoch"), log({"epoch": True}), log({"loss": 1})],
    "an x logged before the definition, in the open row, stays": [
        log({"epoch": 3}, commit=False),
        define("loss", step_metric="epoch"),
        log({"loss": 1}),
    ],
}


KEYS = ("loss", "acc", "train/a", "train/b")
_NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-100, 100), st.sampled_from([math.nan, math.inf, -math.inf]))
VALUES = st.one_of(_NUMBERS, st.sampled_from(["text", "", None, True, False, 2**53 + 1, -(2**70), [1, "two", None]]))
NESTED = st.fixed_dictionaries({}, optional={"n": st.fixed_dictionaries({"a": VALUES}, optional={"b": VALUES})})
DATA = st.builds(
    lambda row, epoch, nested: row | epoch | nested,
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    st.dictionaries(st.just("epoch"), VALUES, max_size=1),
    NESTED,
)
COMMITS = st.sampled_from([None, True, False])


def logs(steps: st.SearchStrategy[int | None]) -> st.SearchStrategy[Call]:
    return st.builds(
        lambda data, step, commit: ("log", (data,), {"step": step, "commit": commit}), DATA, steps, COMMITS
    )


ANY_STEP = st.one_of(st.none(), st.integers(-3, 12))
DEFINITIONS: st.SearchStrategy[Call] = st.builds(
    lambda name, options: ("define_metric", (name,), {k: v for k, v in options.items() if v is not None}),
    st.sampled_from([*KEYS, "epoch", "n.a"]),
    st.fixed_dictionaries(
        {},
        optional={
            "step_metric": st.sampled_from(["epoch", "epoch", "_step"]),
            "step_sync": st.booleans(),
            "summary": st.sampled_from(["min", "max", "mean", "first", "last", "copy", "none", "min,max", "last,mean"]),
            "overwrite": st.booleans(),
        },
    ),
)
GLOBS = st.builds(
    lambda name, summary, x: ("define_metric", (name,), {"summary": summary, "step_metric": x}),
    st.sampled_from(["*", "train/*", "n*"]),
    st.sampled_from([None, "min", "max,last"]),
    st.sampled_from([None, "epoch"]),
)
SETS: st.SearchStrategy[Call] = st.one_of(
    st.builds(lambda key, value: ("set_summary", (key, value), {}), st.sampled_from(KEYS), VALUES),
    st.builds(lambda key: ("delete_summary", (key,), {}), st.sampled_from(KEYS)),
)
_CONFIG = st.one_of(VALUES, st.tuples(st.integers(0, 2)), st.fixed_dictionaries({"deep": VALUES}))
CONFIGS: st.SearchStrategy[Call] = st.builds(
    lambda values, allow: ("update_config", (values, allow), {}),
    st.dictionaries(st.sampled_from(["lr", "layers", "a.b", "_private"]), _CONFIG, max_size=3),
    st.booleans(),
)


@st.composite
def in_order(draw: st.DrawFn) -> list[Call]:
    """Calls of every kind, no step before the current one, and at most one glob."""
    calls: list[Call] = [draw(GLOBS)] if draw(st.booleans()) else []
    calls += draw(st.lists(st.one_of(DEFINITIONS, SETS, CONFIGS, *[logs(st.none())] * 4), max_size=40))
    step, ordered = 0, []
    for name, arguments, options in calls:
        if name == "log" and draw(st.booleans()):
            step += draw(st.integers(0, 3))
            options = {**options, "step": step}
        if name == "log":
            given, commit = options["step"], options["commit"]
            step += (commit is not False) if given is None else bool(commit)
        ordered.append((name, arguments, options))
    return ordered
