"""Which metrics there are, of a real store."""

from runtide_dashboards.queries import series as series_queries


def test_thousands_of_keys_are_searched_on_the_server(lab, project):
    """No more keys come back than asked for, the ones that most runs have first, and all of them are counted."""
    a, b = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    lab.points(a, {f"layer{i}/norm": [0.0] for i in range(3000)} | {"Val/Loss": [0.0]}, [0])
    lab.points(b, {"layer7/norm": [0.0]}, [0])
    keys, matching = series_queries.find_keys([a, b], "", 12)
    assert (len(keys), keys[0], matching) == (12, "layer7/norm", 3001)
    assert series_queries.find_keys([a, b], "val/l", 12) == (["Val/Loss"], 1)
    assert series_queries.find_keys([a, b], "100%", 12) == ([], 0)


def test_what_people_look_at_first_comes_first(lab, project):
    """Prevalence decides; among equals losses of validation, losses, scores, the rest, and counters at the end."""
    a, b = lab.run(f"{project}/a"), lab.run(f"{project}/b")
    ordered = [
        "eval_loss", "val/loss", "train/loss", "value_loss", "train/accuracy", "val/acc", "accumulated",
        "const", "epochs_left", "first_step_time", "steps/s", "epoch", "train/global_step", "trainer/step",
    ]  # fmt: skip
    lab.points(a, {key: [0.0] for key in reversed(ordered)} | {"gpu": [0.0]}, [0])
    lab.points(b, {"gpu": [0.0]}, [0])
    assert series_queries.find_keys([a, b], "", 20)[0] == ["gpu", *ordered]
    assert series_queries.find_keys([a, b], "", 4)[0] == ["gpu", "eval_loss", "val/loss", "train/loss"]
