"""What differs between two runs."""

import json

import pytest

from runtide_dashboards import changes

A = {
    "python": "3.11.9", "host": "n0", "os": "Linux", "command": "python train.py", "pid": 1,
    "packages": ["numpy==2.1", "torch==2.9.1"],
    "git": {"commit": "a91f04b22", "branch": "main", "dirty": False, "remote": "git@host:x.git"},
}  # fmt: skip
B = {
    **A, "pid": 2, "command": "python train.py --wd 0.1", "packages": ["numpy==2.1", "torch==2.10.0"],
    "git": {**A["git"], "commit": "c03d2e144", "dirty": True},
}  # fmt: skip
CONFIG = {"optim": {"wd": 0.01, "lr": 1}, "seed": 1, "model": "s"}


@pytest.fixture
def between(make_run):
    """What differs between runs with these configs and environments."""

    def make(config_a, config_b, a=A, b=B):
        runs = [
            make_run(f"e/p/{name}", config=json.dumps(config), environment=json.dumps(environment))
            for name, config, environment in (("a", config_a, a), ("b", config_b, b))
        ]
        return changes.between(*runs)

    return make


def test_the_line_says_what_changed(between):
    """Config, code and environment in one line; seeds are counted apart, what is no cause is not named."""
    found = between(CONFIG, {**CONFIG, "optim": {"wd": 0.1, "lr": 1}, "seed": 2})
    assert changes.headline(found) == (
        "1 config key differs of 4, and 1 seed · code: commit a91f04b → c03d2e1, uncommitted changes no → yes, another"
        " command line · env: torch 2.9.1 → 2.10.0"
    )
    assert [(one.name, one.a, one.b, one.seed) for one in found.config] == [
        ("optim.wd", "0.01", "0.1", False),
        ("seed", "1", "2", True),
    ]


def test_equal_runs_are_equal(between):
    """What was recorded and is the same is said to be."""
    assert (
        changes.headline(between(CONFIG, CONFIG, A, A)) == "0 config keys differ of 4 · code: same commit · env: same"
    )


def test_types_and_absence_are_differences(between):
    """1, 1.0, "1" and nothing are four values."""
    found = between({"a": 1, "b": 1, "c": 1}, {"a": 1.0, "b": "1", "d": None})
    assert [(one.name, one.a, one.b) for one in found.config] == [
        ("a", "1", "1.0"), ("b", "1", '"1"'), ("c", "1", "—"), ("d", "—", "null"),
    ]  # fmt: skip


def test_what_was_not_recorded_is_not_claimed(between):
    """No config, no commit and no packages on one side: unknown, not the same."""
    found = between({}, CONFIG, {}, B)
    assert found.unknown == ("config", "code", "packages")
    line = changes.headline(found)
    assert line.count("not recorded on both sides") == 3 and "same" not in line
    assert (found.code, found.environment) == ((), ())


def test_a_list_of_packages_that_was_cut_off_says_nothing_of_absence(between):
    """Only packages that both lists name are compared where one of them ends with how many more there are."""
    cut = {**A, "packages": ["numpy==2.0", "and 700 more"]}
    assert [one.name for one in between(CONFIG, CONFIG, cut, A).environment] == ["numpy"]
    whole = {**A, "packages": ["numpy==2.1", "pandas==3"]}
    assert [(one.name, one.a, one.b) for one in between(CONFIG, CONFIG, whole, A).environment] == [
        ("pandas", "3", "—"), ("torch", "—", "2.9.1"),
    ]  # fmt: skip


@pytest.mark.parametrize("environment", ["", "[]", "7", "no JSON", '{"git": 1, "packages": "x", "python": {"a": 1}}'])
def test_an_environment_of_any_shape_is_read(make_run, environment):
    """What is not as expected is taken for not recorded."""
    a, b = make_run("e/p/a", environment=environment), make_run("e/p/b", environment=json.dumps(A))
    assert "code" in changes.between(a, b).unknown
    assert changes.render(changes.between(a, b))


@pytest.mark.parametrize("text", ["</table><script>x</script>", "a\"'><b>", "| `x` |\n# y", "y" * 10_000])
def test_what_runs_recorded_is_text(between, text):
    """Keys and values make no tag and no line, in HTML and in Markdown; long ones are cut."""
    found = between({text: 1, "k": text}, {text: 2, "k": 0}, {**A, "command": text}, B)
    shown = changes.render(found)
    assert "<script" not in shown and "<b>" not in shown and shown.count("<tr>") == len(found.config) + 4
    lines = changes.markdown(found).splitlines()
    assert len([line for line in lines if line]) == 1 + shown.count("<tr>")
    assert all(len(line) < 1000 for line in lines)


def test_a_long_table_is_cut(between):
    """Of a thousand differences forty rows are shown, and how many are not."""
    shown = changes.render(between({str(n): 1 for n in range(1000)}, {str(n): 2 for n in range(1000)}, A, A))
    assert shown.count("<tr>") == 40 and "and 960 more" in shown
    assert "<table" not in changes.render(between(CONFIG, CONFIG, A, A))
