"""W&B names whose features are not there yet, and the small functions beside the tracking."""

from typing import Any

import pytest

import runtide
import runtide as wandb
from runtide import _later

VALUES = [name for names in _later._FEATURES.values() for name in names.values.split()]
RECORDS = [name for names in _later._FEATURES.values() for name in names.records.split()]
RESULTS = [name for names in _later._FEATURES.values() for name in names.results.split()]


class Figure:
    """What a drawing library makes."""

    __module__ = "matplotlib.figure"


class DataFrame:
    __module__ = "pandas.core.frame"


def test_names_that_are_there_are_not_promised() -> None:
    """What has arrived left the table."""
    assert not set(runtide.__all__) & {*VALUES, *RECORDS, *RESULTS}
    assert not set(dir(runtide.Run)) & {*VALUES, *RECORDS, *RESULTS}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_left_out_of_what_is_logged(name: str, spooled: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Alone, in a list or nested; the rest of the call is stored at its step, and it is said once."""
    kind = getattr(wandb, name)
    value = kind([[1]], caption="c")
    assert isinstance(value, kind)
    with wandb.init(project="p", settings={"silent": True}) as run:
        run.log({"a": 1.0, "x": value, "y": [value, kind()], "z": {"deep": value, "b": 2.0}})
        run.log({"only": value})
        run.log({"a": 3.0})
        run.summary["x"] = value
        assert dict(run.summary) == {"a": 3.0, "z.b": 2.0}
    assert sorted(spooled.points()) == [("a", 0, 1.0), ("a", 2, 3.0), ("z.b", 0, 2.0)]
    assert spooled.cells() == []
    (line,) = capfd.readouterr().err.splitlines()
    assert name in line
    assert "not recorded yet" in line


@pytest.mark.parametrize("value", [Figure(), DataFrame(), [Figure()]])
def test_what_would_become_a_chart_or_a_table(value: Any, spooled: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Figures and data frames of other libraries are left out as well, under the key's name."""
    with wandb.init(project="p", settings={"silent": True}) as run:
        run.log({"a": 1.0, "drawn": value})
    assert spooled.points() == [("a", 0, 1.0)]
    assert "'drawn'" in capfd.readouterr().err


def test_artifacts_and_tables_can_be_filled(capfd: pytest.CaptureFixture[str]) -> None:
    """As frameworks do it; one warning for each feature."""
    run = wandb.init(project="p", mode="disabled")
    artifact = wandb.Artifact("model", type="model", metadata={"a": 1})
    artifact.metadata["b"] = 2
    artifact.add_file("file", name="x")
    with artifact.new_file("name", mode="wb") as file:
        file.write(b"data")
    assert run.log_artifact(artifact, aliases=["best"]).wait() is artifact
    table = wandb.Table(columns=["a"])
    table.add_data(1)
    wandb.log({"chart": wandb.plot.line(table, "x", "y"), "table": table})
    wandb.log({"chart": wandb.plot.bar(table, "x", "y")})
    assert len(capfd.readouterr().err.splitlines()) == 3  # artifacts, tables, charts
    with pytest.raises(AttributeError, match="artifacts are not there yet"):
        artifact.download()


@pytest.mark.parametrize("name", RECORDS)
def test_what_only_records_goes_on(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Of the package, and of the run where W&B has it there: says so once."""
    run = wandb.init(project="p", mode="disabled")
    getattr(wandb, name)("anything", log="all")
    getattr(wandb, name)()
    if name != "box3d":
        getattr(run, name)("anything")
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{name}()" in line


@pytest.mark.parametrize("name", RESULTS)
def test_what_has_a_result_is_refused(name: str) -> None:
    """With an Error that names the feature."""
    with pytest.raises(runtide.Error, match=f"{name}.* not there yet"):
        getattr(wandb, name)("anything")


def test_other_names_are_unknown() -> None:
    """Of the package, of a run and of a value."""
    run = wandb.init(project="p", mode="disabled")
    for thing in (wandb, run, wandb.Image(1), wandb.plot):
        assert not hasattr(thing, "_nonsense")
    assert not hasattr(run, "sweep")
    assert not hasattr(run, "Image")


def test_a_run_is_finished_by_teardown() -> None:
    """Also one that is not the current run."""
    other = wandb.init(project="p", reinit="create_new")
    run = wandb.init(project="p")
    wandb.teardown(exit_code=1)
    assert wandb.run is None
    for ended in (run, other):
        with pytest.raises(wandb.errors.UsageError, match="after finish"):
            ended.log({"a": 1})


def test_words_at_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Printed as often as called, unless they shall not be repeated."""
    for _ in range(2):
        wandb.termlog("log", repeat=False)
        wandb.termwarn("warn", repeat=False)
        wandb.termerror("error")
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["runtide: log", "runtide: warning: warn", "runtide: error: error", "runtide: error: error"]


def test_what_needs_nothing() -> None:
    """Scripts call these first, and catch these."""
    wandb.require("core")
    wandb.setup()
    assert len({wandb.util.generate_id(20) for _ in range(50)}) == 50
    assert len(wandb.util.generate_id()) == 8
    assert wandb.util.make_artifact_name_safe("a b/ü-1_2.pt") == "a_b__-1_2.pt"
    assert wandb.util.make_artifact_name_safe("a" * 99 + "b" * 99) == "a" * 63 + ".." + "b" * 63
    assert issubclass(wandb.QueryError, wandb.errors.CommError)
