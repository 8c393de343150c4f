"""What the page of one run tells, against a real store."""

from runtide_dashboards.queries import overview

START = 1_760_000_000_000_000
HOUR = 3600 * 10**6


def test_starts_are_numbered_and_say_their_end_and_steps(lab, project):
    """Two starts of one run: the first died without a word at step 5, the second finished."""
    run = lab.run(f"{project}/a", state="")
    lab.points(run, {"loss": [1.0] * 6}, list(range(6)))
    lab.run(f"{project}/a", created=START + HOUR, writer=2)
    lab.points(run, {"loss": [1.0] * 6}, list(range(4, 10)), writer=2, attempt=START + HOUR)
    first, second = overview.starts(run)
    assert (first.number, first.state, first.first_step, first.last_step) == (1, "", 0, 5)
    assert (second.number, second.state, second.first_step, second.last_step) == (2, "finished", 4, 9)
    assert second.rewind is None
    assert second.started.timestamp() - first.started.timestamp() == 3600


def test_a_start_without_points_has_no_steps(lab, project):
    """What was never logged is None, not 0."""
    (start,) = overview.starts(lab.run(f"{project}/a"))
    assert (start.first_step, start.last_step) == (None, None)


def test_values_are_those_of_the_lowest_rank(lab, project):
    """One row per key: last, extremes and mean of the finite points, and how many are not."""
    run = lab.run(f"{project}/a")
    lab.points(run, {"loss": [3.0, float("nan"), 1.0]}, [0, 1, 2])
    lab.points(run, {"loss": [100.0]}, [5], rank=1, writer=2)
    (value,) = overview.values(run)
    assert (value.key, value.last, value.min, value.max, value.mean) == ("loss", 1.0, 1.0, 3.0, 2.0)
    assert (value.points, value.not_finite, value.last_step) == (3, 1, 2)


def test_alerts_come_latest_first(lab, project):
    """With the step and the words of the run."""
    run = lab.run(f"{project}/a")
    for seq, level in enumerate(("INFO", "ERROR")):
        lab.alert(run, f"title {seq}", level, "text", step=seq, created=START + seq)
    found = overview.alerts(run)
    assert [(alert.level, alert.title, alert.step) for alert in found] == [
        ("ERROR", "title 1", 1),
        ("INFO", "title 0", 0),
    ]
