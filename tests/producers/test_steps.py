"""The step of a call of log()."""

import sys
import threading
import time
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runtide
from runtide._settings import resolve
from runtide.testing import Memory, start_run

CALLS = st.lists(
    st.tuples(
        st.sampled_from([{"a": 1.0}, {"a": 2.0, "b": 3.0}, {"b": 4.0}, {"c": "text"}, {"a": None, "b": 0.5}, {}]),
        st.one_of(st.none(), st.integers(-3, 12)),
        st.sampled_from([None, True, False]),
    ),
    max_size=60,
)


@pytest.fixture(autouse=True)
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of runs, of which each would start two processes."""
    monkeypatch.setattr("runtide._environment._git", lambda *_: "")


def expected(calls: list[tuple[dict[str, Any], int | None, bool | None]]) -> tuple[list[tuple[str, int, Any]], int]:
    """The rule in plain words: (points in the order of the calls, the step that comes next)."""
    current, points = 0, []
    for data, step, commit in calls:
        row = current if step is None else step
        points += [(key, row, value) for key, value in data.items()]
        if step is None:
            if commit is not False:
                current += 1
        elif step >= current:
            current = step + 1 if commit else step
    return points, current


@settings(deadline=None, max_examples=150)
@given(calls=CALLS, cuts=st.sets(st.integers(0, 60)))
def test_every_call_is_stored_at_the_step_that_the_rule_gives(calls: Any, cuts: set[int]) -> None:
    """Whatever the order of steps and drains: every point once, and the later of two at a step in the later record."""
    memory = Memory()
    run = start_run(memory)
    for position, (data, step, commit) in enumerate(calls):
        run.log(data, step=step, commit=commit)
        if position in cuts:
            assert run.flush()
    points, current = expected(calls)
    assert run.step == current
    run.finish()
    stored: dict[tuple[str, int], list[tuple[int, Any]]] = {}
    beyond: dict[str, int] = {}
    for record in memory.records("metrics"):
        steps, keys = record["steps"], record["keys"]
        assert steps == sorted(set(steps))
        assert record["ordered"] == all(steps[0] > beyond.get(key, -99) for key in keys)
        for number, key in enumerate(keys):
            beyond[key] = max(beyond.get(key, -99), steps[-1])
            for position, step in enumerate(steps):
                value = record["values"][number * len(steps) + position]
                stored.setdefault((key, step), []).append((record["seq"], value))
    for record in memory.records("metrics_json"):
        for key, step, text in zip(record["keys"], record["steps"], record["values"], strict=True):
            stored.setdefault((key, step), []).append((record["seq"], {"null": None, '"text"': "text"}[text]))
    assert sorted((k, s, repr(v)) for (k, s), values in stored.items() for _, v in values) == sorted(
        (k, s, repr(v)) for k, s, v in points
    )
    for (key, step), values in stored.items():
        logged = [v for k, s, v in points if (k, s) == (key, step) and type(v) is float]
        assert [v for _, v in sorted(values, key=lambda item: item[0]) if type(v) is float] == logged


def test_a_step_that_is_no_whole_number_is_refused() -> None:
    """A float step is a TypeError and leaves no trace; numpy's whole numbers are steps."""
    memory = Memory()
    run = start_run(memory)
    for step in (1.0, "1", np.float64(2), [1]):
        with pytest.raises(TypeError, match="whole number"):
            run.log({"a": 1.0}, step=step)
    with pytest.raises(runtide.UsageError, match=r"2\^62"):
        run.log({"a": 1.0}, step=2**62)
    run.log({"a": 1.0}, step=np.int32(7), commit=True)
    assert run.step == 8
    run.finish()
    assert [record["steps"] for record in memory.records("metrics")] == [[7]]


def test_a_call_without_values_advances() -> None:
    """log({}) completes a step unless told otherwise, and stores nothing."""
    memory = Memory()
    run = start_run(memory)
    run.log({})
    run.log({}, commit=False)
    run.log({"a": 1.0})
    assert run.step == 2
    run.finish()
    assert [record["steps"] for record in memory.records("metrics")] == [[1]]


def test_threads_that_log_together_lose_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads that lose the interpreter after every instruction: every step is given once, and nothing is lost."""
    monkeypatch.setenv("RUNTIDE_FLUSH_INTERVAL", "0.001")
    memory = Memory()
    run = start_run(memory)

    def let_go(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes = frame.f_code.co_name == "log"
        if event == "opcode":
            time.sleep(0)
        return let_go

    def work(number: int) -> None:
        sys.settrace(let_go)
        for value in range(200):
            run.log({f"thread{number}": float(value), "shared": float(number)})
        sys.settrace(None)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    assert run.step == 800
    assert not run.dropped
    steps: list[int] = []
    for number in range(4):
        mine = [r for r in memory.records("metrics") if r["keys"] == [f"thread{number}", "shared"]]
        steps += [step for record in mine for step in record["steps"]]
        assert [v for r in mine for v in r["values"][: len(r["steps"])]] == list(map(float, range(200)))
    assert sorted(steps) == list(range(800))


def test_a_signal_handler_may_log_while_log_is_running() -> None:
    """The lock is reentrant: a call from a handler on top of a call must not wait for itself."""
    memory = Memory()
    run = start_run(memory)
    with run._lock:
        run.log({"from/handler": 1.0})
    run.finish()
    assert len(memory.records("metrics")) == 1


def test_an_attempt_is_later_than_all_before_it_even_when_the_clock_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A given id is continued from its last step, by an attempt whose number is higher."""
    first = start_run(Memory(), id="same")
    first.log({"a": 1.0}, step=41, commit=True)
    first.finish()
    monkeypatch.setattr("runtide._run.time.time_ns", lambda: 1_000_000_000)
    second = start_run(Memory(), id="same")
    assert (second.step, second._attempt) == (42, first._attempt + 1)
    second.finish()
    with pytest.raises(runtide.UsageError, match="never"):
        start_run(Memory(), id="same", resume="never")
    assert start_run(Memory(), id="same", project="other").step == 0


def test_ranks_of_a_run_do_not_continue_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 starts at step 0 though rank 0 of the same run is further; the rank is in every record."""
    first = start_run(Memory(), id="job")
    first.log({"a": 1.0}, step=9)
    first.finish()
    monkeypatch.setenv("RANK", "1")
    assert resolve({}).rank == 1
    memory = Memory()
    run = start_run(memory, id="job")
    run.log({"a": 1.0})
    run.finish()
    assert [(r["rank"], r["steps"]) for r in memory.records("metrics")] == [(1, [0])]


def test_strict_steps_drop_what_comes_late_and_count_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As W&B does, where that is asked for: the whole call, and the step stays."""
    monkeypatch.setenv("RUNTIDE_STRICT_STEPS", "1")
    memory = Memory()
    run = start_run(memory)
    run.log({"a": 1.0}, step=5)
    run.log({"a": 2.0, "b": 2.0}, step=3)
    run.log({"a": 3.0}, step=-1)
    run.log({"a": 4.0}, step=5)
    assert run.step == 5
    assert run.dropped == {"late_step": 3}
    run.finish()
    assert [v for r in memory.records("metrics") for v in r["values"]] == [1.0, 4.0]
    assert memory.records("runs")[-1]["dropped"] == {"late_step": 3}
