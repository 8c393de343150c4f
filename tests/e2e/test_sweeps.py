"""From agents to SQL: a sweep and its trials are rows, and what cannot be one goes to the dead letters."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

SCRIPT = """
    import os
    import runtide as wandb
    from runtide._sweeps._public import open_sweep

    def train():
        with wandb.init() as run:
            if run.config.x == 3:
                raise ValueError("three")
            run.log({"loss": run.config.x * 1.5})

    config = {"method": "grid", "metric": {"name": "loss"}, "name": "mine", "retries": 1,
              "parameters": {"x": {"values": [1, 2, 3]}, "o": {"parameters": {"y": {"value": "é"}}}}}
    sweep = wandb.sweep(config, entity="team", project="p")
    silent, _ = open_sweep(f"team/p/{sweep}")
    silent.lease = -1.0
    silent.ask()
    silent.recorder.close(1.0)
    os.environ["RUNTIDE_AGENT_DISABLE_FLAPPING"] = "true"
    wandb.agent(sweep, train, entity="team", project="p")
    shared = wandb.sweep({**config, "method": "bayes", "run_cap": 3, "name": "shared",
                          "parameters": {"x": {"min": 4.0, "max": 9.0}}}, entity="team", project="p")
    wandb.agent(shared, train, entity="team", project="p", count=1)
    print(sweep, shared)
"""

# Another machine: a home of its own, which knows nothing of the sweep, and the same store and disk.
JOINS = """
    import sys
    import runtide as wandb

    def train():
        with wandb.init() as run:
            run.log({"loss": run.config.x * 1.5})

    wandb.agent(sys.argv[1], train)
"""

ELSEWHERE = """
    import json, os, sys
    path, folder = sys.argv[1:]
    os.environ["RUNTIDE_DIR"] = folder
    import runtide
    from runtide._sweeps._public import open_sweep
    state = open_sweep(path)[0].state
    config = {"method": "bayes", "metric": {"name": "loss"}, "parameters": {"x": {"min": 0.0, "max": 9.0}}}
    ids = [row["run_id"] for row in runtide.sql(
        f"SELECT run_id FROM trials WHERE sweep_id = '{path}' ORDER BY parameters").to_pylist()]
    opened = open_sweep(f"e/p/{runtide.sweep(config, entity='e', project='p', prior_runs=ids)}")[0]
    trials = opened._storage.get_all_trials(opened._id)
    assert opened.trials() == []
    stored = runtide.Api(overrides={"entity": "team", "project": "p"}).sweep(path.split("/")[2])
    assert (stored.state, stored.name, stored.config["method"], stored.path) == (
        "FINISHED", "mine", "grid", path.split("/"))
    assert sorted(run.config["x"] for run in stored.runs) == [1, 2, 3]
    assert (stored.best_run().config["x"], stored.best_run("-loss").config["x"]) == (1, 2)
    assert stored.best_run().summary["loss"] == 1.5
    assert stored.best_run("other") is None
    ordered = sorted(stored.runs, key=lambda run: run.summary.get("loss", 1e9))
    assert ordered[0].id == stored.best_run().id and stored.order == "+summary_metrics.loss"
    for wrong in ("team/p/absent", "a/b/c/d"):
        try:
            runtide.Api().sweep(wrong)
        except (runtide.NotFoundError, runtide.UsageError):
            continue
        raise AssertionError(wrong)
    print(json.dumps({"state": state, "learnt": [t.value for t in trials]}))
"""


def test_sweeps_and_trials_are_rows(store: Any, address: Any, tmp_path: Path) -> None:
    """Lost and failed tries are counted; every trial has its run; states are those of the storage."""
    environment = {
        **os.environ, "RUNTIDE_DIR": str(tmp_path), "RUNTIDE_CLICKHOUSE_URL": address(store, f"sweeps_{os.getpid()}"),
        "RUNTIDE_SILENT": "true",
    }  # fmt: skip

    def run(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(query: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in run("-m", "runtide", "sql", query, "--format", "json").splitlines()]

    sweep, shared = run("-c", textwrap.dedent(SCRIPT)).split()
    run("-m", "runtide", "sync", str(tmp_path))
    environment["RUNTIDE_DIR"] = str(tmp_path / "joins")
    run("-c", textwrap.dedent(JOINS), f"team/p/{shared}")
    run("-m", "runtide", "sync", str(tmp_path / "joins"))
    environment["RUNTIDE_DIR"] = str(tmp_path)
    assert not (tmp_path / "joins" / "sweeps" / "team" / "p" / shared / "journal.log").exists()
    joined = ask(f"SELECT state, trials, finished FROM sweeps WHERE id = '{shared}'")
    assert joined == [{"state": "finished", "trials": 3, "finished": 3}]
    found = ask(
        "SELECT id, name, method, state, trials, finished, failed, stopped, open, config != '' AS c FROM sweeps "
        f"WHERE id = '{sweep}'"
    )
    assert found == [
        {"id": sweep, "name": "mine", "method": "grid", "state": "finished", "trials": 3, "finished": 2, "failed": 1,
         "stopped": 0, "open": 0, "c": 1},
    ]  # fmt: skip
    trials = ask(
        "SELECT t.sweep_id AS sweep_id, t.state AS state, t.tries AS tries, objectives, t.parameters AS parameters, "
        "r.state AS run, r.config AS config, t.reason AS reason "
        "FROM trials AS t INNER JOIN runs AS r ON t.run_id = r.run_id "
        f"WHERE t.sweep_id = 'team/p/{sweep}' ORDER BY parameters"
    )
    assert [json.loads(one.pop("parameters")) for one in trials] == [{"x": x, "o.y": "é"} for x in (1, 2, 3)]
    assert [json.loads(one.pop("config")) for one in trials] == [{"x": x, "o": {"y": "é"}} for x in (1, 2, 3)]
    path = f"team/p/{sweep}"
    failed = {"objectives": {}, "reason": "ValueError: three", "state": "failed", "tries": 2, "run": "failed"}
    finished = {"reason": "", "state": "finished", "run": "finished", "sweep_id": path}
    assert trials == [
        {**finished, "objectives": {"loss": 1.5}, "tries": 2},  # the first one was lost with its agent
        {**finished, "objectives": {"loss": 3.0}, "tries": 1},
        {**failed, "sweep_id": path},
    ]
    assert ask("SELECT count() AS runs FROM runs WHERE sweep_id = '" + path + "'") == [{"runs": 3}]
    events = ask(
        f"SELECT event, count() AS n FROM sweep_events WHERE sweep_id = '{path}' GROUP BY event ORDER BY event"
    )
    assert {row["event"]: row["n"] for row in events} == {"asked": 5, "created": 1, "lost": 1, "state": 1, "told": 4}
    assert ask("SELECT * FROM dead_letters") == []
    # The store says where agents of other machines find the sweep, and what earlier runs came to.
    done = run("-c", textwrap.dedent(ELSEWHERE), path, str(tmp_path / "elsewhere"))
    assert json.loads(done) == {"state": "finished", "learnt": [1.5, 3.0]}
    bad = [
        {"run_id": "a/b/c", "sweep": "s", "event": "guessed", "state": "running", "parameters": "{}"},
        {"run_id": "a/b", "sweep": "s", "event": "asked", "state": "running", "parameters": "{}"},
        {"run_id": "a/b/c", "sweep": "s", "event": "asked", "state": "running", "parameters": "{"},
        {"run_id": "a/b/c", "sweep": "s", "event": "created", "state": "running", "config": "{}"},
        {"run_id": "a/b/c", "sweep": "", "event": "asked", "state": "odd", "parameters": "{}"},
    ]
    data = "\n".join(map(json.dumps, bad)).encode()
    store.query("INSERT INTO landing_sweeps FORMAT JSONEachRow", data, database=f"sweeps_{os.getpid()}")
    reasons = ask("SELECT reason FROM dead_letters WHERE stream = 'sweeps' ORDER BY reason")
    assert len(reasons) == 5
