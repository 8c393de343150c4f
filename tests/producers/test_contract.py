"""Runs against the model of the contract, which `make test-wandb` holds against wandb itself."""

import itertools
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract import Call, Contract, differing, flat, same
from tests.contract_calls import ANY_STEP, CONFIGS, EXAMPLES, SETS, define, in_order, log, logs, play, put

from runtide._names import run_id
from runtide.testing import Memory, start_run

Calls = list[Call]


def held(calls: Calls, cuts: Iterable[int] = (), **arguments: Any) -> tuple[dict[int, Any], dict[str, Any], Any]:
    """Rows, summary and run after the calls; every call has a millisecond of its own, and `cuts` are drains between."""
    memory = Memory()
    ticks = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtide._buffer.time", SimpleNamespace(time_ns=lambda: next(ticks)))
        patch.setattr("runtide._environment._git", lambda *_: "")  # hundreds of runs, two processes each
        run = start_run(memory, **arguments)
        for position, call in enumerate(calls):
            play(run, [call])
            if position in cuts:
                assert run.flush()
        run.finish()
    return stored(memory), dict(flat(dict(run.summary))), run


def check(calls: Calls, cuts: Iterable[int] = (), contract: Contract | None = None) -> None:
    contract = (contract or Contract()).play(calls)
    rows, summary, run = held(calls, cuts)
    assert same(rows, contract.rows)
    assert run.step == contract.step
    assert same(run.config.as_dict(), contract.config)
    assert not differing(summary, contract)


def stored(memory: Memory) -> dict[int, dict[str, Any]]:
    """Rows by step; of a cell that was written twice, what was written last."""
    cells: dict[tuple[int, str], tuple[int, Any]] = {}
    for stream in ("metrics", "metrics_json"):
        for record in memory.records(stream):
            for key, step, moment, value in points(stream, record):
                if (step, key) not in cells or cells[step, key][0] <= moment:
                    cells[step, key] = moment, value
    rows: dict[int, dict[str, Any]] = {}
    for (step, key), (_, value) in cells.items():
        rows.setdefault(step, {})[key] = value
    return rows


def points(stream: str, record: dict[str, Any]) -> Any:
    if stream == "metrics_json":
        texts = [json.loads(text) for text in record["values"]]
        return zip(record["keys"], record["steps"], record["times"], texts, strict=True)
    count = len(record["steps"])
    return [
        (key, step, moment, record["values"][number * count + position])
        for number, key in enumerate(record["keys"])
        for position, (step, moment) in enumerate(zip(record["steps"], record["times"], strict=True))
    ]


CUTS = st.sets(st.integers(0, 40), max_size=5)


@settings(deadline=None, max_examples=150)
@given(calls=st.lists(st.one_of(*[logs(ANY_STEP)] * 3, SETS), max_size=40), cuts=CUTS)
def test_rows_and_summary_whatever_the_steps(calls: Calls, cuts: set[int]) -> None:
    """Late steps, repeated steps, open rows and values of every kind: the rows and the last values are the model's."""
    check(calls, cuts)


@settings(deadline=None, max_examples=150)
@given(calls=st.lists(CONFIGS, max_size=12))
def test_a_config_changes_only_where_that_is_allowed(calls: Calls) -> None:
    """A refused update changes nothing; NaN is None, a tuple is a list."""
    check(calls)


@settings(deadline=None, max_examples=200)
@given(calls=in_order(), cuts=CUTS)
def test_everything_at_once(calls: Calls, cuts: set[int]) -> None:
    """Definitions, summary and config between the calls of log: the model's rows, summary and config."""
    check(calls, cuts)


@settings(deadline=None, max_examples=50)
@given(before=st.lists(logs(st.none()), max_size=10), after=st.lists(logs(st.none()), min_size=1, max_size=10))
def test_a_resumed_run_begins_behind_its_last_row(before: Calls, after: Calls) -> None:
    """Whether that row was committed or not; its rows are those of a run that begins there."""
    first = Contract().play(before)
    name = run_id()
    held(before, id=name)
    second = Contract(step=first.next_step).play(after)
    rows, _, run = held(after, id=name, resume="allow")
    assert same(rows, second.rows)
    assert run.step == second.step


@pytest.mark.parametrize("what", EXAMPLES)
def test_examples(what: str) -> None:
    """Each clause of the contract by itself."""
    contract = Contract()
    check(EXAMPLES[what], contract=contract)
    assert not contract.open


def test_a_resumed_run_has_the_summary_and_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when everything was sent and noted before the end."""
    monkeypatch.setattr("runtide._sender._NOTE_INTERVAL", 0.0)
    for calls in ([define("loss", summary="min"), log({"acc": 1}), put("best", 7)], []):
        run = start_run(Memory(), id="again", resume="allow")
        play(run, calls)
        assert run.flush()
        run.finish()
    assert dict(run.summary) == {"acc": 1, "best": 7}
    assert run._definitions == {"loss": {"summary": "min"}}
