"""Runs with many ranks and many attempts: the SDK, the store's views and the dashboard agree on what counts."""

import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from runtide_dashboards import trends

RANKS = 8
DDP = {"WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


class Place:
    """A store with a database of its own, and nodes that train towards it."""

    def __init__(self, store: Any, database: str, url: str, folder: Path) -> None:
        self._store = store
        self._database = database
        self.url = url
        self.folder = folder

    def environment(self, node: str, **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RUNTIDE_", "WANDB_"))}
        where = {"RUNTIDE_DIR": str(self.folder / node), "RUNTIDE_CLICKHOUSE_URL": self.url}
        return {**inherited, **where, "RUNTIDE_SAMPLER": "off", **more}

    def start(self, script: str, node: str = "one", **more: str) -> "subprocess.Popen[str]":
        code = "import runtide, os, signal, json\n" + textwrap.dedent(script)
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=self.environment(node, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def train(self, script: str, node: str = "one", error: str = "", **more: str) -> str:
        """What a script prints; it must fail with the error, if one is given."""
        process = self.start(script, node, **more)
        out, err = process.communicate(timeout=120)
        assert (process.returncode != 0) == bool(error), err
        assert error in err
        return out.strip()

    def sync(self, node: str = "one") -> None:
        command = [sys.executable, "-m", "runtide", "sync", str(self.folder / node)]
        done = subprocess.run(command, env=self.environment(node), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def sql(self, query: str) -> list[dict[str, Any]]:
        answer = self._store.query(f"{query} FORMAT JSONEachRow", database=self._database)
        return [json.loads(line) for line in answer.splitlines()]

    def summary(self, run: str) -> dict[str, Any]:
        return {
            row["key"]: json.loads(row["value"])
            for row in self.sql(f"SELECT * FROM run_summary WHERE run_id = '{run}'")
        }

    def latest(self, run: str, key: str, rank: int = 0) -> dict[int, float]:
        query = f"SELECT step, value FROM metrics_latest WHERE run_id = '{run}' AND key = '{key}' AND rank = {rank}"
        return {int(row["step"]): row["value"] for row in self.sql(query)}

    def drawn(self, run: str, key: str) -> dict[int, float]:
        """What a chart shows when every step has a bucket of its own."""
        table = trends.ask([run], key, 10_000, 0, 9_999).result()
        assert all(count == 1 for count in table["count"].to_pylist())
        return dict(zip(table["x"].to_pylist(), table["mean"].to_pylist(), strict=True))


@pytest.fixture
def place(store: Any, address: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    database = f"attempts_{os.getpid()}_{secrets.token_hex(3)}"
    found = Place(store, database, address(store, database), tmp_path)
    monkeypatch.setenv("RUNTIDE_CLICKHOUSE_URL", found.url)
    yield found
    store.query(f"DROP DATABASE IF EXISTS {database}")


def test_all_ranks_log_to_one_run_and_a_kill_of_one_costs_the_others_nothing(place: Place) -> None:
    """Eight processes with what torchrun exports and nothing else; rank 0 is killed in the middle."""
    script = """
        rank = int(os.environ["RANK"])
        run = runtide.init(project="p", config={"lr": 0.1})
        if rank == 0:
            run.config.update({"only": "rank 0"})
        for step in range(100):
            runtide.log({"loss": float(rank), "step": float(step)})
            if rank == 0 and step == 49:
                assert run.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        print(run.id)
    """
    processes = [place.start(script, RANK=str(rank), **DDP) for rank in range(RANKS)]
    outs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [-signal.SIGKILL] + [0] * (RANKS - 1), outs
    assert len({out.strip() for out, _ in outs[1:]}) == 1
    place.sync()
    (run,) = place.sql("SELECT run_id, state, ranks, attempts, config FROM runs")
    assert (run["ranks"], run["attempts"]) == (RANKS, 1) or (run["ranks"], run["attempts"]) == (str(RANKS), "1")
    # A writer that says nothing is taken for dead after five minutes; until then the run has not ended.
    assert run["state"] == "running"
    assert json.loads(run["config"]) == {"lr": 0.1, "only": "rank 0"}
    counts = {r["rank"]: int(r["n"]) for r in place.sql("SELECT rank, count() AS n FROM metrics GROUP BY rank")}
    assert counts == {0: 100, **dict.fromkeys(range(1, RANKS), 200)}
    sums = place.sql(
        "SELECT rank, count() AS n, avg(value) AS mean FROM metrics_latest WHERE key = 'loss' GROUP BY rank"
    )
    assert {r["rank"]: r["mean"] for r in sums} == {rank: float(rank) for rank in range(RANKS)}


def test_every_view_agrees_on_the_winner_of_a_step(place: Place) -> None:
    """Late, twice, in another key's frame, resumed from an older checkpoint: the latest attempt wins, then time."""
    place.train("""
        with runtide.init(project="p", id="run") as run:
            for step in range(10):
                run.log({"a": float(step), "b": 1.0}, step=step)
            run.log({"a": 103.0}, step=3)
            run.flush()
            run.log({"a": 204.0, "c": 1.0}, step=4)
            run.log({"c": 2.0, "a": 205.0}, step=4)
            run.log({"a": "text"}, step=6)
            print(json.dumps(dict(run.summary)))
    """)
    place.sync()
    place.train("""
        with runtide.init(project="p", id="run", resume="must") as run:
            assert run.resumed and run.starting_step == 10, run.starting_step
            for step in range(7, 9):  # from an older checkpoint
                run.log({"a": 1000.0 + step}, step=step)
            summary = dict(run.summary)
            assert summary["a"] == 1008.0 and summary["c"] == 2.0, summary
    """)
    place.sync()
    wanted = {0: 0.0, 1: 1.0, 2: 2.0, 3: 103.0, 4: 205.0, 5: 5.0, 6: 6.0, 7: 1007.0, 8: 1008.0, 9: 9.0}
    run = "default/p/run"
    assert place.latest(run, "a") == place.drawn(run, "a") == wanted
    (statistics,) = place.sql("SELECT count, max, min, last FROM metric_summary WHERE key = 'a'")
    assert (int(statistics["count"]), statistics["max"], statistics["min"]) == (10, 1008.0, 0.0)
    assert statistics["last"] == 1008.0
    assert place.summary(run) == {"a": 1008.0, "b": 1.0, "c": 2.0}
    (row,) = place.sql("SELECT attempts, state FROM runs")
    assert (int(row["attempts"]), row["state"]) == (2, "finished")


def test_a_rewind_takes_what_came_later_out_of_every_view(place: Place) -> None:
    """It stays in `metrics`; a key that never came back ends at the step; other ranks and runs keep theirs."""
    first = """
        with runtide.init(project="p", id=os.environ["ID"]) as run:
            for step in range(10):
                run.log({"a": float(step), "gone": 1.0, "note": f"first {step}"}, step=step)
    """
    place.train(first, ID="run")
    place.train(first, ID="run", RUNTIDE_RANK="1")
    place.train(first, ID="other")
    place.train("""
        with runtide.init(project="p", resume_from="run?_step=4") as run:
            assert (run.id, run.starting_step) == ("run", 5)
            run.log({"a": 50.0})
            run.log({"a": 60.0})
    """)
    place.sync()
    run, wanted = "default/p/run", {**{step: float(step) for step in range(5)}, 5: 50.0, 6: 60.0}
    assert place.latest(run, "a") == place.drawn(run, "a") == wanted
    assert place.latest(run, "gone") == place.drawn(run, "gone") == dict.fromkeys(range(5), 1.0)
    assert place.latest(run, "a", rank=1) == place.latest("default/p/other", "a") == {s: float(s) for s in range(10)}
    (statistics,) = place.sql(
        f"SELECT count, max, last_step FROM metric_summary WHERE run_id = '{run}' AND key = 'a' AND rank = 0"
    )
    assert (int(statistics["count"]), statistics["max"], int(statistics["last_step"])) == (7, 60.0, 6)
    assert place.summary(run) == {"a": 60.0, "gone": 1.0, "note": "first 4"}
    assert place.summary("default/p/other") == {"a": 9.0, "gone": 1.0, "note": "first 9"}
    (kept,) = place.sql(f"SELECT count() AS n FROM metrics WHERE run_id = '{run}' AND rank = 0 AND key = 'a'")
    assert int(kept["n"]) == 12


def test_a_run_goes_on_at_another_node(place: Place) -> None:
    """The store knows its step, config, definitions, tags and summary; new tags replace them."""
    place.train("""
        with runtide.init(project="p", id="run", name="mine", tags=["x"], config={"lr": 0.1}) as run:
            run.define_metric("loss", summary="min")
            for step in range(5):
                run.log({"loss": 5.0 - step, "acc": float(step)}, step=step)
            run.summary["best"] = 7
    """)
    place.sync()
    place.train(
        """
        with runtide.init(project="p", id="run", resume="allow", tags=["y"], config={"wd": 1}) as run:
            assert (run.starting_step, run.step, run.name, run.tags) == (5, 5, "mine", ("y",))
            assert run.config.as_dict() == {"lr": 0.1, "wd": 1}
            assert run.summary["best"] == 7 and run.summary["acc"] == 4.0
            assert run.summary["loss"] == {"min": 1.0}, run.summary
            run.log({"acc": 9.0})
    """,
        "two",
    )
    place.sync("two")
    assert place.latest("default/p/run", "acc") == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 9.0}
    assert place.summary("default/p/run") == {"loss": {"min": 1.0}, "acc": 9.0, "best": 7}
    (row,) = place.sql("SELECT name, tags, config FROM runs")
    assert (row["name"], row["tags"], json.loads(row["config"])) == ("mine", ["y"], {"lr": 0.1, "wd": 1})
    place.train("runtide.init(project='p', id='run', resume='never')", "three", error="resume='never', but the run")
    place.train("runtide.init(project='p', id='none', resume='must')", "three", error="there is no run default/p/none")


def test_without_the_store_a_run_goes_on_with_what_the_node_knows(place: Place) -> None:
    """It says so, and what another node logged meanwhile is merged by the order of the attempts."""
    place.train("""
        with runtide.init(project="p", id="run", config={"lr": 0.1}) as run:
            for step in range(5):
                run.log({"a": 1.0}, step=step)
    """)
    code = """
        with runtide.init(project="p", id="run", resume="must") as run:
            assert run.starting_step == 5 and run.config.lr == 0.1
            run.log({"a": 2.0}, step=3)
    """
    process = place.start(code, RUNTIDE_CLICKHOUSE_URL="http://default@127.0.0.1:9/x")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "going on with what this node knows" in said
    place.sync()
    assert place.latest("default/p/run", "a") == {0: 1.0, 1: 1.0, 2: 1.0, 3: 2.0, 4: 1.0}


def test_a_fork_is_a_new_run_that_names_its_parent(place: Place) -> None:
    """It begins behind the step, with the parent's config, and the parent stays as it is."""
    place.train("""
        with runtide.init(project="p", id="run", config={"lr": 0.1}) as run:
            for step in range(10):
                run.log({"a": float(step)})
    """)
    place.sync()
    forked = """
        with runtide.init(project="p", fork_from="run?_step=4", config={"lr": 0.2}) as run:
            assert run.id != "run" and run.starting_step == 5
            run.log({"a": 50.0})
            print(run.path)
    """
    path = place.train(forked, "two")
    place.sync("two")
    (row,) = place.sql(f"SELECT parent, parent_step, config FROM runs WHERE run_id = '{path}'")
    assert (row["parent"], int(row["parent_step"]), json.loads(row["config"])) == ("default/p/run", 4, {"lr": 0.2})
    assert place.latest(path, "a") == {5: 50.0}
    assert place.latest("default/p/run", "a") == {step: float(step) for step in range(10)}


def test_states(place: Place) -> None:
    """A run that said that it is preempted has not failed; one that ends well has finished all the same."""
    place.train("""
        for name, mark, code in (("ok", True, 0), ("moved", True, 1), ("bad", False, 1)):
            run = runtide.init(project="p", id=name)
            run.log({"a": 1.0})
            if mark:
                run.mark_preempting()
            run.finish(code)
        run = runtide.init(project="p", id="leaving")
        run.mark_preempting()
        run.flush()
        os._exit(0)
    """)
    place.sync()
    states = {row["id"]: row["state"] for row in place.sql("SELECT id, state FROM runs")}
    assert states == {"ok": "finished", "moved": "preempted", "bad": "failed", "leaving": "preempting"}


def test_alerts_are_rows(place: Place) -> None:
    """With level, text and step; a title that was used a moment ago is left out, unless told otherwise."""
    place.train("""
        run = runtide.init(project="p", id="run")
        run.log({"a": 1.0}, step=7)
        runtide.alert("loss", text="it is NaN", level=runtide.AlertLevel.ERROR)
        run.alert("loss", level="WARN")
        run.alert("loss", "again", wait_duration=0)
        try:
            run.alert("x", level="LOUD")
        except ValueError as error:
            print(error)
        run.finish()
    """)
    place.sync()
    rows = place.sql("SELECT level, title, text, step FROM alerts ORDER BY time")
    assert [(r["level"], r["title"], r["text"], int(r["step"])) for r in rows] == [
        ("ERROR", "loss", "it is NaN", 7),
        ("INFO", "loss", "again", 7),
    ]
    assert place.sql("SELECT * FROM dead_letters") == []


def test_auto_goes_on_with_what_did_not_finish(place: Place) -> None:
    """A killed run goes on under its id; one that finished is followed by a new one."""
    begin = """
        run = runtide.init(project="p", resume="auto")
        print(run.id, run.resumed, flush=True)
        run.log({"a": 1.0})
        run.flush()
    """
    first = place.train(begin + "    os._exit(0)\n")
    second = place.train(begin + "    run.finish()\n")
    third = place.train(begin)
    assert second.split() == [first.split()[0], "True"]
    assert first.split()[1] == third.split()[1] == "False"
    assert third.split()[0] != first.split()[0]


def test_jobs_do_not_meet(place: Place) -> None:
    """The same variables under another launcher process are another job; a second run of a process is a second run."""
    code = """
        ids = []
        for _ in range(2):
            run = runtide.init(project="p")
            ids.append(run.id)
            run.finish()
        print(*ids, flush=True)
    """
    child = repr("import runtide" + textwrap.dedent(code))
    launcher = f"""
        import subprocess, sys
        for rank in "01":
            subprocess.run([sys.executable, "-c", {child}], env=os.environ | {{"RANK": rank}}, check=True)
    """
    jobs = [place.train(launcher, **DDP).splitlines() for _ in range(2)]
    for ranks in jobs:
        assert len(ranks) == 2 and ranks[0] == ranks[1]
        assert len(set(ranks[0].split())) == 2
    assert set(jobs[0][0].split()).isdisjoint(jobs[1][0].split())
