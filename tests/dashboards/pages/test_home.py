"""Rows of the tables of Home."""

from datetime import UTC, datetime, timedelta

from runtide_dashboards.pages import home
from runtide_dashboards.queries.home import Progress

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_a_run_without_points_for_a_minute_is_stale(make_run):
    """The word says so besides the colour, also for a run that never logged."""
    ages = {"a": 500, "b": 500, "c": 500, "d": 5}
    runs = [
        make_run(f"e/p/{name}", state="running", created=NOW - timedelta(seconds=age)) for name, age in ages.items()
    ]
    progress = {
        "e/p/a": Progress(10, 2.0, NOW - timedelta(seconds=60)),
        "e/p/b": Progress(10, 2.0, NOW - timedelta(seconds=61)),
    }
    frame = home.running_frame(runs, progress, NOW)
    assert list(frame["point"]) == ["1 min ago", "▲ stale: 1 min ago", "▲ stale: no point yet", "no point yet"]
    assert frame["for"][0] == "8 min"


def test_what_broke_has_its_exit_code(make_run):
    """A crashed run has none: nobody was left to tell."""
    frame = home.broken_frame([make_run("e/p/a", state="failed", exit_code=0), make_run("e/p/b", state="crashed")])
    assert list(frame["exit"]) == ["0", "—"] and list(frame["state"]) == ["✖ failed", "✖ crashed"]
