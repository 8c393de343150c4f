"""Every query and the Python of docs/sweeps.md about stored sweeps are run on one, and say what the functions say."""

import json
import re
import secrets
from pathlib import Path

import numpy as np
import pytest

from runtide_dashboards import importance, sweep_trials
from runtide_dashboards.queries import store

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text("utf-8")
EXAMPLES = re.findall(r"```sql\n(.*?)```", PAGE, re.S)
NAMED = "default/digits/abc12345"
START = 1_760_000_000
CONFIG = {
    "method": "random",
    "metrics": [{"name": "loss"}, {"name": "accuracy", "goal": "maximize"}],
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
        "layers": {"min": 1, "max": 6},
    },
}


@pytest.fixture(scope="module")
def sweep(lab) -> str:
    """Sixty trials that end in another order than they began: equal ones, failed, stopped and running ones, one NaN."""
    path = f"lab/p{secrets.token_hex(4)}/abc12345"
    random = np.random.default_rng(0)
    about = {"run_id": path, "sweep": "abc12345", "time": f"{START}.000000"}
    rows = [about | {"event": "created", "state": "running", "config": json.dumps(CONFIG)}]
    for number in range(60):
        lr, layers = float(10 ** random.uniform(-5, -1)), int(random.integers(1, 7))
        loss = round(abs(np.log10(lr) + 3), 1)
        values = {"loss": loss, "accuracy": round(0.3 + loss / 4 + 0.02 * layers, 1)}
        state = {3: "failed", 7: "stopped", 11: "running", 13: "lost"}.get(number, "finished")
        run = f"{path.rpartition('/')[0]}/r{number:02}"
        trial = about | {
            "run_id": run, "number": number, "parameters": json.dumps({"lr": lr, "layers": layers}),
        }  # fmt: skip
        rows.append(trial | {"event": "asked", "state": "running", "time": f"{START + number}.000000"})
        if state == "lost":
            rows.append(trial | {"event": "lost", "state": state, "time": f"{START + number + 1}.000000"})
        elif state != "running":
            told = {17: {"loss": "nan", "accuracy": 2.0}, 19: {"accuracy": 1.9}, 3: {"loss": -1.0}}.get(number, values)
            end = f"{START + number + int(random.integers(1, 30))}.{number:06}"
            rows.append(trial | {"event": "told", "state": state, "objectives": told, "time": end})
    lab.sampled("sweeps", rows)
    lab.run(f"{path.rpartition('/')[0]}/r00", created=START * 10**6)
    return path


@pytest.fixture(scope="module")
def trials(sweep):
    return read(sweep)[0]


def read(sweep):
    """What the page's Python makes of a sweep: its trials, and all its names."""
    code = next(part for part in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "sweep_trials.read" in part)
    names: dict[str, object] = {}
    exec(code.replace(NAMED, sweep), names)
    return names["trials"], names


@pytest.mark.parametrize("sql", EXAMPLES, ids=[re.sub(r"\s+", " ", example)[:60] for example in EXAMPLES])
def test_the_queries_run_and_find_something(sweep, sql: str) -> None:
    """Each answers with rows, in which no column is empty throughout."""
    rows = store.rows(sql.replace(NAMED, sweep))
    assert rows, sql
    for column in rows[0]:
        assert any(row[column] is not None for row in rows), column


def test_the_python_reads_the_sweep(sweep, capsys) -> None:
    """All trials, with their states; what it prints is the finding."""
    trials, names = read(sweep)
    assert [trial.number for trial in trials] == list(range(60))
    states = {
        state: sum(trial.state == state for trial in trials) for state in ("running", "lost", "failed", "stopped")
    }
    assert set(states.values()) == {1}
    assert (trials[11].seconds, trials[13].seconds) == (None, None) and trials[0].seconds >= 1
    assert trials[0].started == START * 1000 and np.isnan(trials[17].objectives["loss"])
    assert names["objective"] == sweep_trials.Objective("loss", False)
    assert capsys.readouterr().out == importance.words(names["findings"], names["objective"]) + "\n"
    assert names["findings"].importances[0].name == "lr"


def test_the_best_so_far_in_sql_is_that_of_the_function(sweep, trials) -> None:
    """Trial by trial, also where one failed or has no loss."""
    sql = next(example for example in EXAMPLES if " AS best\nFROM\n" in example)
    rows = store.rows(sql.replace(NAMED, sweep))
    x, best, improved = sweep_trials.best_so_far(trials, sweep_trials.Objective("loss", False))
    assert [row["over"] for row in rows] == list(x)
    np.testing.assert_array_equal([np.nan if row["best"] is None else row["best"] for row in rows], best)
    assert len(improved) > 1


def test_the_front_in_sql_is_that_of_the_function(sweep, trials) -> None:
    """The same trials, equal ones together."""
    sql = next(example for example in EXAMPLES if "accuracy = reached" in example)
    rows = store.rows(sql.replace(NAMED, sweep))
    goals = [sweep_trials.Objective("loss", False), sweep_trials.Objective("accuracy", True)]
    front = sweep_trials.pareto(trials, goals)
    assert sorted(row["run_id"] for row in rows) == sorted(trials[place].run for place in front)
    points = [tuple(trials[place].objectives.values()) for place in front]
    assert len(points) > len(set(points)) > 2
