"""What the store says of sweeps and their trials, and what is made of it."""

import random
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.dashboards import machines, searches

from runtide_dashboards import importance, literals, sweep_data, sweep_frames
from runtide_dashboards.errors import StoreAway
from runtide_dashboards.queries import store, sweeps
from runtide_dashboards.routes import routes
from runtide_dashboards.sweep_views import SweepView


@pytest.fixture
def search(lab, project):
    """A sweep of twelve trials, one of which failed, and three that run."""
    return searches.seed(lab, "wiki", trials=12, project=project)


def test_a_sweep_is_found_by_its_path_and_by_its_id(lab, project):
    """With its state, its counts and what its config says."""
    search = searches.seed(lab, f"s{project.rpartition('/')[2]}", trials=12, project=project)
    for name in (search.path, search.path.rpartition("/")[2]):
        found = sweeps.find_sweep(name)
        assert (found.path, found.label, found.method, found.state) == (search.path, "wiki-lr", "bayes", "running")
        assert (found.trials, found.finished, found.failed, found.open, found.cap) == (15, 11, 1, 3, 200)
        assert [one.name for one in found.objectives] == ["val/loss"] and found.live
    assert sweeps.find_sweep(f"{project}/nothing") is None
    assert search.path in [one.path for one in sweeps.list_sweeps("running")]
    assert sweeps.list_sweeps("cancelled") == []


def test_trials_come_with_their_runs(search):
    """Names, seconds, reasons and what a condition left out."""
    trials, more = sweeps.trials(search.path)
    assert [trial.number for trial in trials] == list(range(15))
    assert trials[0].name == "t-0" and trials[0].seconds == pytest.approx(30 + 5 * trials[0].parameters["layers"])
    assert trials[5].state == "failed" and more[trials[5].run] == sweeps.More(1, "CUDA out of memory")
    assert all(("momentum" in trial.parameters) == (trial.parameters["optimizer"] == "sgd") for trial in trials)


def test_the_best_is_by_the_first_objective_and_its_goal(lab, project, search):
    """Failed trials and values that are not finite do not count."""
    config = {**searches.CONFIG, "metric": {"name": "score", "goal": "maximize"}}
    other = searches.Search(lab, "score", config, project)
    noise = random.Random(1)
    for score, state in ((1.0, "finished"), (3.0, "stopped"), (9.0, "failed")):
        values = searches.point(noise)
        other.end(other.ask(values), values, {"score": score}, state)
    other.flush()
    found = sweeps.find_best([sweeps.find_sweep(one.path) for one in (search, other)])
    trials, _ = sweeps.trials(search.path)
    least = min(one.objectives["val/loss"] for one in trials if one.objectives)
    assert found == {search.path: least, other.path: 3.0}


def test_the_sweep_of_a_run(search, project):
    """And of a run that is no trial."""
    assert sweeps.sweep_of(f"{project}/wiki-3") == search.path
    assert sweeps.sweep_of(f"{project}/other") == ""


def test_the_stamp_changes_with_each_decision(search):
    """And not without."""
    before = sweeps.stamp(search.path)
    assert sweeps.stamp(search.path) == before
    search.ask(searches.point(random.Random(3)))
    search.flush()
    assert sweeps.stamp(search.path) != before


def test_a_sweep_is_asked_for_anew_after_a_decision(search, monkeypatch):
    """And not before."""
    monkeypatch.setattr(sweep_data, "_RECENT", 1e-9)
    before = sweep_data.find(search.path)
    assert sweep_data.find(search.path) is before
    search.ask(searches.point(random.Random(3)))
    search.flush()
    assert sweep_data.find(search.path).open == before.open + 1
    assert sweep_data.find("nothing/like/it") is None


def test_a_sweep_is_loaded_while_the_browser_connects(search, monkeypatch):
    """From its first request on, which is answered with Streamlit's own page; who asks meanwhile waits for the same."""
    begun, gate, asked = threading.Event(), threading.Event(), []
    trials = sweeps.trials

    def slow(path):
        asked.append(path)
        begun.set()
        assert gate.wait(60)
        return trials(path)

    monkeypatch.setattr(sweeps, "trials", slow)
    with TestClient(Starlette(routes=routes(""))) as client:
        answer = client.get("/sweep", params={"s": search.path})
        assert answer.status_code == 200 and '<div id="root">' in answer.text
        assert begun.wait(60)
        with ThreadPoolExecutor(2) as pool:
            pages = [pool.submit(sweep_data.current, search.path) for _ in range(2)]
            assert not wait(pages, 0.2).done
            gate.set()
            first, second = (page.result(60) for page in pages)
        assert first is second and len(first.trials) == 15 and asked == [search.path]
        for sweep in ("", "nothing/like/it"):
            assert client.get("/sweep", params={"s": sweep}).text == answer.text


def test_what_could_not_be_made_is_made_anew():
    """Who waited for it is told why; it is not kept."""
    begun, gate, kept = threading.Event(), threading.Event(), OrderedDict()

    def fail():
        begun.set()
        gate.wait(60)
        raise StoreAway("gone")

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(sweep_data.once, kept, 2, "a", fail)]
        assert begun.wait(60)
        waiting.append(pool.submit(sweep_data.once, kept, 2, "a", lambda: "somebody else's"))
        assert not wait(waiting, 0.2).done
        gate.set()
        for one in waiting:
            with pytest.raises(StoreAway, match="gone"):
                one.result(60)
    assert sweep_data.once(kept, 2, "a", lambda: 1) == sweep_data.once(kept, 2, "a", fail) == 1
    assert [sweep_data.once(kept, 2, key, lambda: 2) for key in "bc"] == [2, 2] and list(kept) == ["b", "c"]


def test_trials_are_judged_by_any_metric_of_their_runs(search):
    """Nothing is run again; failed trials stay without a score."""
    loaded = sweep_data.load(sweeps.find_sweep(search.path))
    assert sweep_data.metrics(loaded) == ["val/loss", "val/accuracy"]
    judged = sweep_data.judge(loaded, SweepView(search.path, "val/accuracy", "maximize", "50", True))
    known = sweeps.summary(search.path, "val/accuracy")
    assert len(known) == 11 and judged.trials[judged.best].run == max(known, key=known.get)
    assert len(judged.shown) == 6 and all(judged.trials[place].run in known for place in judged.shown)
    assert sweep_data.judge(loaded, SweepView(search.path)).objective.name == "val/loss"
    # Asked again, it is the same: charts need not be drawn anew.
    assert sweep_data.load(sweeps.find_sweep(search.path)) is loaded


def test_a_sweep_without_a_metric_is_judged_by_what_its_runs_logged(lab, project):
    """The first metric that they have."""
    config = {name: value for name, value in searches.CONFIG.items() if name != "metric"}
    search = searches.seed(lab, "only", trials=6, config=config, project=project)
    loaded = sweep_data.load(sweeps.find_sweep(search.path))
    assert sweep_data.judge(loaded, SweepView(search.path)).objective.name == "val/accuracy"


def test_the_table_is_a_query_that_can_be_pasted(search):
    """All trials with their values as columns; a trial without a value has none, not 0."""
    sql, values = sweeps.table(search.path, ["val/loss", "it's"], {"lr": True, "optimizer": False, "momentum": True})
    rows = store.ask(literals.fill(sql, values), {}).to_pylist()
    trials, _ = sweeps.trials(search.path)
    assert [row["number"] for row in rows] == [trial.number for trial in trials]
    for row, trial in zip(rows, trials, strict=True):
        assert row["val/loss"] == trial.objectives.get("val/loss") and row["it's"] is None
        assert row["parameters.lr"] == trial.parameters["lr"]
        assert row["parameters.momentum"] == trial.parameters.get("momentum")
        assert row["parameters.optimizer"] == f'"{trial.parameters["optimizer"]}"'
    text = store.download(sql, values, "CSVWithNames").decode()
    assert text.splitlines()[0].startswith('"run_id","name","number","state","tries"') and len(text.splitlines()) == 16


def test_the_frame_and_the_cost(search):
    """Columns that say nothing are left out; shares are of the time."""
    loaded = sweep_data.load(sweeps.find_sweep(search.path))
    columns = [loaded.columns[axis.name] for axis in loaded.axes]
    frame = sweep_frames.trials_frame(loaded.trials, loaded.more, ["val/loss"], loaded.axes, columns)
    assert "tries" not in frame and "why" in frame and "parameter:epochs" not in frame
    assert list(frame["state"][-3:]) == ["● running"] * 3
    assert frame["parameter:momentum"].isna().equals(frame["parameter:optimizer"] == "adamw")
    cost = sweep_frames.cost(loaded.trials, {})
    assert cost.failed == pytest.approx(9) and cost.runs == 15 and cost.kwh is None
    words = sweep_frames.cost_words(sweep_frames.Cost(7200, 720, 360, 1.5, 4))
    shares = "10 % in trials that failed · 5 % in trials that were stopped early"
    assert words == f"2.0 h of 4 runs · 30.0 min each on average · {shares} · 1.5 kWh of GPUs"
    assert sweep_frames.failures(loaded.trials, loaded.more) == [("CUDA out of memory", 1)]


def test_the_energy_of_a_sweep_is_that_of_its_runs(lab, project, search):
    """By the counters of their GPUs; runs that are no trials add nothing, nor do trials without samples."""
    for number, run in enumerate(("wiki-3", "wiki-4", "other")):
        begin = searches.now() // 1000 + 1_000_000 * number
        machines.fleet(lab, f"{project}/{run}", begin, seconds=101, nodes=1, gpus=2)
    kwh = 2 * 600 * 100 / 3.6e6  # two GPUs of 600 W each, for 100 seconds
    expected = {f"{project}/wiki-3": kwh, f"{project}/wiki-4": kwh}
    assert sweeps.energy(search.path) == pytest.approx(expected)
    cost = sweep_data.cost(sweep_data.load(sweeps.find_sweep(search.path)))
    assert cost.kwh == pytest.approx(2 * kwh) and sweep_frames.cost_words(cost).endswith("0.06667 kWh of GPUs")


def test_what_was_found_stands_until_more_is_known(search, monkeypatch):
    """A sweep that goes on does not flicker: what matters is that of fewer trials while it is found out anew."""
    gate = threading.Event()
    gate.set()
    monkeypatch.setattr(importance, "study", lambda trials, *_: gate.wait(60) and sum(one.over for one in trials))

    def asked(seconds):
        monkeypatch.setattr(sweep_data, "_PATIENCE", seconds)
        loaded = sweep_data.load(sweeps.find_sweep(search.path))
        return sweep_data.findings(loaded, sweep_data.judge(loaded, SweepView(search.path)))

    assert asked(60) == 12
    gate.clear()
    monkeypatch.setattr(sweep_data, "_RECENT", 1e-9)
    path = f"{search.path.rpartition('/')[0]}/wiki-12"
    search.end(path, searches.point(random.Random(1)), {"val/loss": 2.5})
    search.flush()
    assert asked(0) == 12
    gate.set()
    assert asked(60) == 13


def test_a_long_study_begins_when_the_page_is_drawn(search, monkeypatch):
    """To ask what it found neither begins it nor waits for it."""
    monkeypatch.setattr(sweep_data, "_FEW", 11)
    loaded = sweep_data.load(sweeps.find_sweep(search.path))
    judged = sweep_data.judge(loaded, SweepView(search.path))
    monkeypatch.setattr(importance, "study", lambda trials, *_: len(trials))
    assert sweep_data.findings(loaded, judged) is None
    assert sweep_data.study(loaded, judged).result(60) == len(judged.trials) == sweep_data.findings(loaded, judged)
