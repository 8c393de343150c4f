"""define_metric: statistics and x axes."""

from typing import Any

import pytest

from runtide.testing import Memory, start_run


def rows(memory: Memory) -> dict[int, dict[str, float]]:
    """What was logged, by step; of two values the later."""
    found: dict[int, dict[str, float]] = {}
    for record in sorted(memory.records("metrics"), key=lambda record: record["seq"]):
        for number, key in enumerate(record["keys"]):
            for position, step in enumerate(record["steps"]):
                found.setdefault(step, {})[key] = record["values"][number * len(record["steps"]) + position]
    return found


def told(memory: Memory, field: str) -> dict[str, str]:
    """All that the events said of the summary, in their order."""
    found: dict[str, str] = {}
    for record in memory.records("runs"):
        found |= record[field]
    return found


@pytest.mark.parametrize("drained", [False, True])
def test_the_last_x_goes_with_what_lacks_it(drained: bool) -> None:
    """0 before there is one; never for its own key or another step rule, and once per step."""
    memory = Memory()
    run = start_run(memory)
    run.define_metric("epoch")
    run.define_metric("val/*", step_metric="epoch")
    run.define_metric("free/*", step_metric="epoch", step_sync=False)
    calls: list[dict[str, Any]] = [
        {"val/a": 1.0},
        {"epoch": 3.0},
        {"val/a": 2.0, "val/b": 2.0},
        {"free/c": 1.0},
        {"other": 1.0},
        {"epoch": 4.0, "val/a": 5.0},
    ]
    for data in calls:
        run.log(data)
        if drained:
            run.flush()
    assert run.summary["epoch"] == 4.0
    run.log({"val/a": 6.0}, commit=False)
    run.log({"val/b": 6.0})
    run.finish()
    assert rows(memory) == {
        0: {"val/a": 1.0, "epoch": 0.0},
        1: {"epoch": 3.0},
        2: {"val/a": 2.0, "val/b": 2.0, "epoch": 3.0},
        3: {"free/c": 1.0},
        4: {"other": 1.0},
        5: {"epoch": 4.0, "val/a": 5.0},
        6: {"val/a": 6.0, "val/b": 6.0, "epoch": 4.0},
    }
    points = sum(len(record["values"]) for record in memory.records("metrics"))
    assert points == sum(map(len, rows(memory).values()))
    assert not run.dropped


def test_x_values_take_room_and_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rounds in little memory: none is dropped for what was added."""
    monkeypatch.setenv("RUNTIDE_MEMORY_MAX_POINTS", "100")
    memory = Memory()
    run = start_run(memory)
    run.define_metric("*", step_metric="x")
    for number in range(1000):
        run.log({"a": float(number)})
        if number % 20 == 0:
            assert run.flush()
    assert run.flush()
    assert run._room == 100
    run.finish()
    assert not run.dropped


def test_a_star_counts_only_for_names_that_have_no_rule_of_their_own() -> None:
    """An exact name stands above it as a whole; names with an underscore in front fit no star."""
    run = start_run(Memory())
    run.define_metric("t/*", summary="max")
    run.define_metric("t/plain", step_metric="e", step_sync=False)
    run.define_metric("*", summary="min")
    run.log({"t/a": 5.0, "t/plain": 5.0, "_own": 5.0, "b": 5.0})
    run.log({"t/a": 3.0, "t/plain": 3.0, "_own": 3.0, "b": 3.0})
    assert dict(run.summary) == {"t/a": {"max": 5.0}, "t/plain": 3.0, "_own": 3.0, "b": {"min": 3.0}}
    run.finish()


def test_definitions_add_up_until_they_are_overwritten() -> None:
    """Statistics of two calls are both kept, and the metric that is returned says what holds by now."""
    run = start_run(Memory())
    run.define_metric("loss", summary="min", goal="minimize")
    metric = run.define_metric("loss", summary="MAX", step_metric=run.define_metric("epoch"))
    assert (metric.name, metric.summary, metric.step_metric, metric.goal) == ("loss", "min,max", "epoch", "minimize")
    assert run.define_metric("loss", hidden=True, overwrite=True).summary is None
    run.finish()


def test_statistics_are_told_and_what_is_set_by_hand_ends_them() -> None:
    """The last word of the run: what a rule made of the points, and an empty text for what has no summary."""
    memory = Memory()
    run = start_run(memory)
    run.define_metric("loss", summary="min")
    run.define_metric("hand", summary="min")
    run.define_metric("none", summary="none")
    for number in (3.0, 1.0, 2.0):
        run.log({"loss": number, "hand": number, "none": number})
    run.summary["hand"] = 7
    run.finish()
    statistics = told(memory, "statistics")
    assert (statistics["loss"], statistics["none"]) == ('{"min":1.0}', "")
    assert told(memory, "summary") == {"hand": "7"}
    assert statistics.get("hand", '{"min":1.0}') == '{"min":1.0}'


class TestNested:
    """Values inside the summary."""

    def test_of_a_dict_that_was_set(self) -> None:
        """Every change goes on to the summary, at any depth, by item or by attribute."""
        run = start_run(Memory())
        run.summary["x"] = {}
        run.summary["x"]["y"] = 1
        run.summary["x"]["z"] = {"a": 1}
        run.summary["x"]["z"]["b"] = 2
        run.summary.x.w = 3
        run.summary["x"].update({"v": 4})
        del run.summary["x"]["z"]["a"]
        assert run.summary["x"] == {"y": 1, "z": {"b": 2}, "w": 3, "v": 4}
        run.finish()

    def test_of_what_was_logged_with_dots(self) -> None:
        """`{"n": {"a": 1}}` and `n.a` are the same."""
        run = start_run(Memory())
        run.log({"n": {"a": 1, "b": {"c": 2}}})
        assert run.summary["n"] == {"a": 1, "b": {"c": 2}}
        assert run.summary["n"]["b"]["c"] == run.summary.n.b.c == run.summary["n.b.c"] == 2
        run.summary["n"]["b"]["c"] = 5
        assert run.summary["n.b.c"] == 5
        del run.summary["n"]
        assert dict(run.summary) == {}
        del run.summary["n"]
        run.finish()

    def test_numbers_of_numpy(self) -> None:
        """Any scalar can be set by hand."""
        np = pytest.importorskip("numpy")
        memory = Memory()
        run = start_run(memory)
        run.summary.update({"f": np.float32(0.5), "b": np.bool_(True), "i": np.int16(3)})
        run.finish()
        assert told(memory, "summary") == {"f": "0.5", "b": "true", "i": "3"}

    def test_of_the_last_call(self) -> None:
        """_step, _timestamp and _runtime can be read, and are not listed."""
        run = start_run(Memory())
        run.log({"a": 1.0}, step=7)
        assert run.summary["_step"] == 7
        assert 0 <= run.summary["_runtime"] < 3600
        assert list(run.summary) == ["a"]
        run.finish()

    def test_the_summary_may_be_assigned_and_the_config_not(self) -> None:
        """An assignment adds to the summary, and cannot break the run."""
        memory = Memory()
        run = start_run(memory)
        run.summary = {"a": 1}
        with pytest.raises(AttributeError):
            run.config = {"a": 1}  # type: ignore[misc]
        run.log({"b": 2.0})
        run.finish()
        assert dict(run.summary) == {"a": 1, "b": 2.0}
        assert len(memory.records("metrics")) == 1


def test_what_was_set_by_hand_stays_until_its_own_rule_is_declared_again() -> None:
    """A rule for another name changes nothing; a second one for the name begins to count again."""
    run = start_run(Memory())
    run.define_metric("loss", summary="min")
    run.log({"loss": 3.0})
    run.summary["loss"] = 7
    run.define_metric("other", summary="max")
    run.log({"loss": 2.0})
    assert run.summary["loss"] == 2.0
    run.define_metric("loss", summary="max")
    run.log({"loss": 1.0})
    assert run.summary["loss"] == {"min": 1.0, "max": 1.0}
    run.finish()


def test_odd_values_in_statistics_and_on_axes() -> None:
    """A list is kept as a list, bool is no number, an x that is none is not carried on; `_step` is everywhere."""
    memory = Memory()
    run = start_run(memory)
    run.define_metric("l", summary="last,first,max", step_metric="x")
    run.define_metric("n", summary="none")
    run.define_metric("n", summary="max")
    run.define_metric("s", step_metric="_step")
    run.log({"x": 2.0})
    run.log({"x": None})
    run.log({"l": [1], "n": 3, "s": 1.0})
    run.log({"l": True, "n": True})
    assert run.summary["l"] == {"first": [1], "last": 1.0}
    assert run.summary["n"] == {"max": 3}
    run.finish()
    stored = rows(memory)
    assert (stored[2]["x"], stored[3]["x"]) == (2.0, 2.0)
    assert "_step" not in stored[2]


@pytest.mark.parametrize("flush", [False, True])
def test_the_end_is_noted_whatever_was_noted_before(flush: bool) -> None:
    """A run that goes on has the summary of its last attempt, also when nothing was logged after the last note."""
    first = start_run(Memory(), id="same")
    first.define_metric("a", summary="min")
    for number in (3.0, 1.0, 2.0):
        first.log({"a": number, "b": number})
    if flush:
        first.flush()
    first.summary["by hand"] = "x"
    first.finish()
    second = start_run(Memory(), id="same")
    assert dict(second.summary) == {"a": {"min": 1.0}, "b": 2.0, "by hand": "x"}
    second.finish()
