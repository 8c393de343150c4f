"""The package as scripts see it."""

import argparse
import copy
import json
import math
import pkgutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import runtide
import runtide as wandb
from runtide.testing import Memory, start_run

ODD = object()
PUBLIC = [
    "AlertLevel", "Api", "CommError", "ConfigError", "Error", "NotFoundError", "QueryError", "Run", "Settings",
    "SettingsError", "UnavailableError", "UsageError", "agent", "alert", "config", "define_metric", "errors", "finish",
    "init", "install_as_wandb", "join", "log", "login", "mark_preempting", "phase", "require", "run", "setup", "sql",
    "summary", "sweep", "teardown", "termerror", "termlog", "termwarn", "util",
]  # fmt: skip


def test_the_public_names_are_pinned() -> None:
    """A name is public on purpose only, and none is hidden by a module of the same name."""
    assert sorted(runtide.__all__) == PUBLIC
    modules = {module.name for module in pkgutil.iter_modules(runtide.__path__)}
    assert {name for name in modules if not name.startswith("_")} == {"integrations", "testing"}
    assert not modules & set(PUBLIC)


def test_names_that_need_a_run_follow_it() -> None:
    """run, config and summary are the current run's, and gone with it."""
    assert wandb.run is None
    with wandb.init(project="p", config={"lr": 0.5}) as run:
        assert wandb.run is run
        assert wandb.config.lr == 0.5
        wandb.log({"a": 2.0})
        assert wandb.summary["a"] == 2.0
    assert wandb.run is None
    with pytest.raises(runtide.Error, match=r"before runtide\.config"):
        _ = wandb.config.lr
    with pytest.raises(AttributeError, match="nonsense"):
        _ = wandb.nonsense  # type: ignore[attr-defined]


def test_using_the_package_before_init_and_after_finish_says_so() -> None:
    """Before init: Error with the words that scripts look for; on an ended run: UsageError."""
    for call in (lambda: wandb.log({"a": 1}), lambda: wandb.define_metric("a")):
        with pytest.raises(runtide.Error, match=r"You must call runtide\.init\(\) before runtide\."):
            call()
    wandb.finish()
    run = wandb.init(project="p")
    run.finish()
    run.finish(exit_code=1)
    with pytest.raises(runtide.UsageError, match="after finish"):
        run.log({"a": 1})
    assert wandb.init(project="p") is not run


def test_a_second_init(spooled: Any) -> None:
    """Returns the same run, or ends it first, or leaves it alone, as reinit says."""
    first = wandb.init(project="p", config={"a": 1})
    assert wandb.init(project="q", config={"b": 2}) is first
    assert first.config.as_dict() == {"a": 1, "b": 2}
    other = wandb.init(project="p", reinit="create_new")
    assert (wandb.run is first, other is first) == (True, False)
    second = wandb.init(project="p", reinit=True)
    assert wandb.run is second
    with pytest.raises(runtide.UsageError):
        first.log({"a": 1})
    other.log({"a": 1})
    for run in (other, second):
        run.finish()
    assert len(spooled.writers()) == 3


def test_what_a_run_says_of_itself(home: Path, spooled: Any) -> None:
    """Everything given to init is in the run's description, and later changes follow."""
    run = wandb.init(
        project="proj", entity="team", name="n", notes="note", tags=["a", "b", "a"], group="g", job_type="j", id="id1",
        config={"x": 1, "drop": 2}, config_exclude_keys=["drop"],
    )  # fmt: skip
    assert (run.path, run.id, run.project, run.entity, run.name) == ("team/proj/id1", "id1", "proj", "team", "n")
    assert (run.notes, run.tags, run.group, run.job_type) == ("note", ("a", "b", "a"), "g", "j")
    assert (run.step, run.url, run.disabled, run.offline) == (0, None, False, False)
    assert Path(run.dir).is_dir()
    (home / "stack.json").write_text(json.dumps({"dashboard_url": "http://127.0.0.1:1/"}))
    assert run.url == run.get_url() == "http://127.0.0.1:1/run?r=team/proj/id1"
    assert run.project_url == run.get_project_url() == "http://127.0.0.1:1/?project=team/proj"
    assert run.sweep_url is run.get_sweep_url() is None
    with pytest.raises(AttributeError):
        run.foo = 1  # type: ignore[attr-defined]
    run.flush()
    run.name, run.notes, run.tags = "other", "new", ("c",)
    run.config["y"] = [1]
    run.define_metric("val/*", summary="min", step_metric="epoch")
    run.finish()
    start, *_, update, finish = spooled.records("runs")
    assert (start["event"], start["name"], json.loads(start["config"])) == ("start", "n", {"x": 1})
    assert (update["name"], update["notes"], update["tags"]) == ("other", "new", ["c"])
    assert (update["group"], update["job_type"]) == ("g", "j")
    assert json.loads(update["config"]) == {"x": 1, "y": [1]}
    assert json.loads(update["definitions"]) == {"val/*": {"summary": "min", "step_metric": "epoch"}}
    assert finish["event"] == "finish"


def test_arguments_of_other_times_are_taken_with_one_warning(capfd: pytest.CaptureFixture[str]) -> None:
    """Old scripts run; what is ignored is named."""
    wandb.init(
        project="p", anonymous="must", magic=True, sync_tensorboard=False, dir="/tmp/x",
        settings=wandb.Settings(start_method="fork", silent=True),
    )  # fmt: skip
    wandb.log({"a": 1.0}, sync=False)
    wandb.finish(quiet=True)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "magic, start_method, sync_tensorboard" in lines[0]
    assert "RUNTIDE_DIR" in lines[1]


def test_disabled_runs_leave_no_trace(home: Path) -> None:
    """No files, no thread; log() still keeps the summary, without end and without growing."""
    run = wandb.init(project="p", mode="disabled")
    assert run.id.startswith("dummy-")
    for number in range(30_000):
        run.log({"a": float(number), "b": 1.0})
    assert dict(run.summary) == {"a": 29_999.0, "b": 1.0}
    assert len(run._entries) <= 10_000
    assert not run.dropped
    run.summary["c"] = 1
    run.finish()
    assert not home.exists()


def test_a_heartbeat_says_that_the_run_lives(monkeypatch: pytest.MonkeyPatch, until: Any) -> None:
    """Without anything to say the run says so, with what it has sent."""
    monkeypatch.setenv("RUNTIDE_HEARTBEAT_INTERVAL", "0.05")
    memory = Memory()
    run = start_run(memory)
    until(lambda: sum(r["event"] == "heartbeat" for r in memory.records("runs")) >= 3, "there are heartbeats")
    run.finish()
    events = memory.records("runs")
    assert [event["sent"]["runs"] for event in events] == list(range(1, len(events) + 1))
    times = [event["time"] for event in events]
    assert times == sorted(times)


def test_a_number_beyond_all_floats_spoils_no_statistics() -> None:
    """What was logged with it arrives, and the summary can be read."""
    memory = Memory()
    run = start_run(memory)
    run.define_metric("n", summary="max,mean")
    for number in (1, 10**400, 2):
        run.log({"n": number, "a": float(number % 7)})
    assert run.summary["n"] == {"max": 10**400, "mean": math.inf}
    run.finish()
    logged = sorted(value for record in memory.records("metrics") for value in record["values"])
    assert logged == sorted([1.0, 2.0, *(float(number % 7) for number in (1, 10**400, 2))])
    assert [value for record in memory.records("metrics_json") for value in record["values"]] == [str(10**400)]
    assert not run.dropped


def test_a_summary_that_fails_loses_nothing(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Whatever is wrong with it, the points go on and reading it raises nothing."""
    memory = Memory()
    run = start_run(memory)
    monkeypatch.setattr(type(run.summary), "_fold", lambda *_: 1 / 0)
    run.log({"a": 1.0})
    assert dict(run.summary) == {}
    run.finish()
    assert [record["values"] for record in memory.records("metrics")] == [[1.0]]
    assert "the summary misses what was logged: ZeroDivisionError" in capfd.readouterr().err


class TestConfig:
    def test_access(self) -> None:
        """By item, attribute and get; missing ones are KeyError and AttributeError."""
        run = start_run(Memory(), mode="disabled")
        run.config.update({"-lr": 0.1, "layers": (1, 2), "nan": float("nan")})
        run.config.update(argparse.Namespace(epochs=3))
        run.config.name = "n"
        run.config["path"] = Path("/x")
        run.config.setdefaults({"lr": 9, "new": 1})
        assert run.config.as_dict() == {
            "lr": 0.1, "layers": [1, 2], "nan": None, "epochs": 3, "name": "n", "path": "/x", "new": 1,
        }  # fmt: skip
        assert run.config.get("none", 5) == 5
        assert "lr" in run.config
        assert dict(run.config.items())["lr"] == run.config.lr == run.config["lr"]
        with pytest.raises(AttributeError, match="absent"):
            _ = run.config.absent
        with pytest.raises(KeyError):
            _ = run.config["absent"]

    def test_a_value_changes_only_when_that_is_meant(self) -> None:
        """Equal values are fine; of a refused update nothing is taken."""
        run = start_run(Memory(), mode="disabled")
        run.config.update({"lr": 0.1})
        run.config.update({"lr": 0.1})
        with pytest.raises(runtide.ConfigError, match=r"config\.lr .*allow_val_change"):
            run.config.update({"new": 1, "lr": 0.2})
        with pytest.raises(runtide.ConfigError):
            run.config.lr = 0.3
        assert run.config.as_dict() == {"lr": 0.1}
        run.config.update({"lr": 0.2}, allow_val_change=True)
        assert run.config.lr == 0.2

    @pytest.mark.parametrize(("bad", "error"), [("no/such.yaml", wandb.ConfigError), (3, TypeError), ([1], TypeError)])
    def test_what_is_no_config_is_refused(self, bad: Any, error: type[Exception]) -> None:
        """A file that is not there, and what has no names."""
        with pytest.raises(error):
            wandb.init(project="p", config=bad)
        assert wandb.run is None

    def test_whatever_has_names_is_a_config(self, tmp_path: Path) -> None:
        """Flags of absl, a namespace, a YAML file as W&B writes it; a value of no use is stored as its text."""
        flags = SimpleNamespace(flag_values_dict=lambda: {"lr": 0.1})
        file = tmp_path / "config.yaml"
        file.write_text("wandb_version: 1\nlr: {value: 0.1, desc: null}\nplain: 3\n")
        for given, wanted in (
            (flags, {"lr": 0.1}),
            (SimpleNamespace(lr=0.1), {"lr": 0.1}),
            (str(file), {"lr": 0.1, "plain": 3}),
            ({"odd": Path, "steps": range(3), "device": {"a": ODD}}, None),
        ):
            config = start_run(Memory()).config
            config.update(given)
            if wanted is None:
                wanted = {"odd": "pathlib.Path", "steps": [0, 1, 2], "device": {"a": str(ODD)}}
            assert config.as_dict() == wanted

    def test_a_copy_has_the_values(self) -> None:
        """copy.copy and pickle of a config work, and leave the run alone."""
        config = start_run(Memory()).config
        config.lr = 1
        assert copy.copy(config).as_dict() == {"lr": 1}

    def test_names_with_an_underscore_are_not_listed(self) -> None:
        """They can be read."""
        config = start_run(Memory()).config
        config.update({"_hidden": 1, "lr": 2})
        assert (list(config.keys()), dict(config.items()), config._hidden) == (["lr"], {"lr": 2}, 1)


class TestSummary:
    def test_last_values_and_what_was_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A value set by hand counts until the metric is logged again; None is no value."""
        monkeypatch.setenv("RUNTIDE_FLUSH_INTERVAL", "3600")
        memory = Memory()
        run = start_run(memory)
        run.flush()
        run.log({"a": 1.0, "b": 1.0, "c": [1]})
        run.log({"a": 2.0, "b": None})
        run.summary["a"] = 10
        run.summary["kept"] = {"x": float("nan")}
        assert dict(run.summary) == {"a": 10, "b": 1.0, "c": [1], "kept": {"x": "NaN"}}
        run.log({"a": 3.0})
        assert run.summary["a"] == 3.0
        with pytest.raises(KeyError):
            _ = run.summary["absent"]
        run.summary.update({"z": 1})
        del run.summary["z"]
        run.finish()
        told: dict[str, str] = {}
        for record in memory.records("runs"):
            told |= record["summary"]
        assert told == {"kept": '{"x":"NaN"}', "z": ""}

    def test_statistics_that_were_asked_for(self) -> None:
        """min, max, mean, first, last and best skip NaN, over several drains, also for names with a star."""
        run = start_run(Memory())
        run.define_metric("loss", summary="min,max,mean,first,last")
        run.define_metric("val/*", summary="best", goal="maximize")
        run.define_metric("hidden", summary="none")
        for number in (3.0, 1.0, float("nan"), 2.0):
            run.log({"loss": number, "val/acc": number, "hidden": number, "plain": number})
            run.flush()
        assert dict(run.summary) == {
            "loss": {"min": 1.0, "max": 3.0, "mean": 2.0, "first": 3.0, "last": 2.0},
            "val/acc": {"best": 3.0},
            "plain": 2.0,
        }
        run.summary["loss"] = 7
        run.log({"loss": 5.0})
        assert run.summary["loss"] == 5.0  # what was set by hand ended the statistics
        run.finish()

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"name": "a*b"}, runtide.Error),
            ({"name": ""}, runtide.Error),
            ({"name": "a", "summary": "median"}, runtide.Error),
            ({"name": 3}, runtide.Error),
            ({"name": "a", "step_metric": 3}, runtide.Error),
            ({"name": "a", "goal": "up"}, runtide.Error),
        ],
    )
    def test_definitions_that_cannot_be(self, arguments: Any, error: type[Exception]) -> None:
        """A star elsewhere than at the end, an unknown statistic, a wrong type."""
        run = start_run(Memory(), mode="disabled")
        with pytest.raises(error):
            run.define_metric(**arguments)


class TestSettings:
    def test_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Argument, then RUNTIDE_*, then WANDB_*, then default."""
        assert start_run(Memory(), mode="disabled").path.startswith("default/uncategorized/")
        monkeypatch.setenv("WANDB_PROJECT", "w")
        monkeypatch.setenv("WANDB_TAGS", "a, b")
        monkeypatch.setenv("WANDB_RUN_GROUP", "wg")
        monkeypatch.setenv("WANDB_RUN_ID", "wid")
        run = start_run(Memory(), mode="disabled")
        assert (run.project, run.tags, run.group, run.id) == ("w", ("a", "b"), "wg", "wid")
        monkeypatch.setenv("RUNTIDE_PROJECT", "r")
        assert start_run(Memory(), mode="disabled").project == "r"
        assert start_run(Memory(), mode="disabled", project="arg").project == "arg"
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert not start_run(Memory()).disabled
        monkeypatch.setenv("WANDB_DISABLED", "true")
        assert start_run(Memory()).disabled

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("RUNTIDE_FLUSH_INTERVAL", "soon"),
            ("RUNTIDE_FLUSH_INTERVAL", "nan"),
            ("RUNTIDE_FINISH_TIMEOUT", "-1"),
            ("RUNTIDE_MEMORY_MAX_POINTS", "1.5"),
            ("RUNTIDE_SPOOL_MAX_BYTES", "10GB"),
            ("RUNTIDE_MODE", "cloud"),
            ("RANK", "first"),
        ],
    )
    def test_a_bad_value_is_named(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        """The message has the variable, what it holds, and what it may hold."""
        monkeypatch.setenv(name, value)
        with pytest.raises(runtide.SettingsError, match=rf"{name}.*'{value}': give"):
            wandb.init(project="p")

    @pytest.mark.parametrize("what", ["id", "project", "entity"])
    @pytest.mark.parametrize("value", ["a/b", "a\\b", "a#b", "a?b", "a%b", "a:b", "x" * 129, "a\nb", "\ud800"])
    def test_what_cannot_be_part_of_a_path(self, what: str, value: str) -> None:
        """Characters that the path or a URL needs for itself."""
        with pytest.raises(runtide.UsageError, match=f"{what}="):
            wandb.init(**{what: value})  # type: ignore[arg-type]
        assert wandb.run is None


class TestCommand:
    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [__import__("sys").executable, "-m", "runtide", *arguments], capture_output=True, text=True, timeout=60
        )

    def test_help_and_version(self) -> None:
        """Both on stdout, with exit code 0; help names the commands that other packages add."""
        help_text = self.run("--help")
        assert help_text.returncode == 0
        assert {"runs", "sql", "up", "sync"} <= set(help_text.stdout.replace(",", "").split())
        assert self.run("--version").stdout.startswith("runtide ")

    def test_an_unknown_command(self) -> None:
        """Exit code 2, and what there is."""
        done = self.run("nonsense")
        assert (done.returncode, done.stdout) == (2, "")
        assert "nonsense" in done.stderr
        assert "sql" in done.stderr

    @pytest.mark.parametrize("arguments", [["runs"], ["sql", "SELECT 1"]])
    def test_without_a_store_it_says_how_to_start_one(self, arguments: list[str]) -> None:
        """One line, no traceback."""
        done = self.run(*arguments)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "runtide up" in done.stderr


@pytest.mark.usefixtures("home")
def test_sql_asks_a_real_store(store: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """An Arrow table in Python, any of the formats at the command line, and the store's own words for an error."""
    from urllib.parse import quote

    from runtide._cli import main

    address = f"http://default:{quote(store.password, safe='')}@{store.host}:{store.port}/default"
    monkeypatch.setenv("RUNTIDE_CLICKHOUSE_URL", address)
    table: Callable[[], Any] = lambda: runtide.sql("SELECT number AS n, 'é' AS t FROM numbers(3)")  # noqa: E731
    assert table().to_pydict() == {"n": [0, 1, 2], "t": ["é", "é", "é"]}
    with pytest.raises(runtide.QueryError, match=r"^Unknown expression identifier `nonsense`.*\)$"):
        runtide.sql("SELECT nonsense")
    with pytest.raises(runtide.QueryError, match=r"^Syntax error: failed at position 7[^,]*$"):
        runtide.sql("SELEC 1")
    with pytest.raises(runtide.QueryError, match="too late"):
        runtide.sql("SELECT throwIf(number = 900000, 'too late') FROM numbers(1000000) SETTINGS max_block_size = 1000")
    for form, expected in (("csv", '"n"\n7\n'), ("json", '{"n":7}\n'), ("table", "│ 7 │")):
        assert main(["sql", "SELECT 7 AS n", "--format", form]) == 0
        assert expected in capfd.readouterr().out


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("pending", [0, 1, 3, 1000])
def test_log_after_finish_is_refused_whatever_was_pending(pending: int) -> None:
    """What the last drain sends makes no room for more."""
    run = runtide.init(project="p")
    for _ in range(pending):
        run.log({"a": 1})
    run.finish()
    with pytest.raises(runtide.UsageError, match="after finish"):
        run.log({"a": 1})


@pytest.mark.usefixtures("home")
def test_the_summary_has_attributes_as_well_as_items() -> None:
    """As scripts for W&B write it; a name that it does not have is an AttributeError."""
    with runtide.init(project="p") as run:
        run.summary.best = 1
        run.log({"loss": 0.5})
        assert run.summary["best"] == 1
        assert run.summary.loss == 0.5
        assert not hasattr(run.summary, "worst")


@pytest.mark.usefixtures("home")
def test_a_resumed_run_keeps_its_name() -> None:
    """A name that nobody gave is the same in every attempt, and another run has another one."""
    names = []
    for identity in ("a", "a", "b"):
        with runtide.init(project="p", id=identity) as run:
            names.append(run.name)
    assert names[0] == names[1] != names[2]
