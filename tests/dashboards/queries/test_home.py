"""What Home lists besides runs, of a real store."""

import time

import pytest

from runtide_dashboards import edits
from runtide_dashboards.queries import home as queries
from runtide_dashboards.queries import runs as run_queries


def test_progress_is_step_rate_and_last_point(lab, project):
    """The largest step of all keys and ranks, the rate of the latest attempt; a run without points has none."""
    now = time.time_ns() // 1000
    run = lab.run(f"{project}/a", state="", created=now, heartbeat=now)
    lab.points(run, {"loss": [1.0] * 3}, [0, 10, 20], times=[now // 1000 + 1000 * i for i in (0, 5, 10)], attempt=now)
    assert run in [one.path for one in run_queries.list_running()[0]]
    found = queries.find_progress([run, f"{project}/none"])
    assert (found[run].step, found[run].rate, len(found)) == (20, pytest.approx(2.0, rel=0.01), 1)
    assert found[run].last_time.timestamp() == pytest.approx(now / 10**6 + 10, abs=0.01)
    lab.points(run, {"acc": [1.0]}, [30], times=[now // 1000 + 12_000], attempt=now, rank=1, writer=2)
    (grown,) = queries.find_progress([run]).values()
    assert (grown.step, grown.last_time.timestamp()) == (30, pytest.approx(now / 10**6 + 12, abs=0.01))
    assert queries.find_progress([]) == {}


def test_alerts_name_their_run(lab, project):
    """The newest first, with the run's name; an alert of a deleted run is not shown."""
    now = time.time_ns() // 1000
    for name in "ab":
        lab.run(f"{project}/{name}", name=f"run {name}")
        lab.alert(f"{project}/{name}", "loss is NaN", created=now)
    edits.save(run_queries.find_runs([f"{project}/b"]), "deleted", True)
    mine = [(one.name, one.title, one.level) for one in queries.list_alerts(24) if one.path.startswith(project)]
    assert mine == [("run a", "loss is NaN", "WARN")]
