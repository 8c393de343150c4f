"""Which runs differ in nothing but the seed."""

import json

import pytest

from runtide_dashboards.families import Families, Member, is_seed, recipe


@pytest.mark.parametrize(
    "path",
    [
        "seed", "train.seed", "SEED", "random_state", "randomState", "optim.torch_seed", "dataSeed", "rng", "data.rng",
        "rng_key", "seeds", "model.seeds", "seed_everything", '"hydra.seed"', 'a."b.c seed"',
    ],
)  # fmt: skip
def test_seeds_are_known_by_their_name(path):
    """Common names of seeds are seeds, in any case and at any depth."""
    assert is_seed(path)


@pytest.mark.parametrize(
    "path",
    ["lr", "num_seeds", "n_seeds", "seed_data", "seed.prompt", "seeded", "random", "margin", "strng", "", "orng"],
)
def test_what_only_looks_like_a_seed_is_none(path):
    """Names that merely have such a word in them are settings like others."""
    assert not is_seed(path)


def test_a_recipe_is_all_but_the_seed():
    """Order and seeds do not matter; a value, its type and a further key do."""
    base = recipe('{"lr": 1, "a": {"b": [1, 2], "seed": 3}, "seed": 1}')
    assert base == recipe('{"seed": "other", "a": {"seed": null, "b": [1, 2]}, "lr": 1}')
    assert base == recipe('{"a": {"b": [1, 2]}, "lr": 1}')
    others = (
        '{"lr": 1.0, "a": {"b": [1, 2]}}',
        '{"lr": 1, "a": {"b": [2, 1]}}',
        '{"lr": 1, "a": {"b": [1, 2]}, "c": 0}',
    )
    assert all(recipe(other) != base for other in others)


def test_a_run_without_a_config_has_no_recipe():
    """What nobody was told cannot be the same; a config with a seed alone is one."""
    assert recipe("{}") is None and recipe("") is None and recipe("[1]") is None and recipe("not JSON") is None
    assert recipe('{"seed": 1}') is not None
    assert recipe('{"seed": 1}') == recipe('{"seed": 2}')


def test_further_keys_can_be_left_out():
    """Leaves that are named change nothing, and no others."""
    one, two = '{"lr": 1, "out": {"dir": "/a"}, "dir": "x"}', '{"lr": 1, "out": {"dir": "/b"}, "dir": "x"}'
    assert recipe(one) != recipe(two)
    assert recipe(one, frozenset({"out.dir"})) == recipe(two, frozenset({"out.dir"}))
    assert recipe(one, frozenset({"dir"})) != recipe(two, frozenset({"dir"}))


def member(path, commit="", **config):
    return Member(path, json.dumps(config), commit)


@pytest.fixture
def members():
    return [
        *(member(f"e/p/a{n}", seed=n, wd=1) for n in range(3)),
        *(member(f"e/p/b{n}", seed=n, wd=2) for n in range(4)),
        *(member(f"e/p/c{n}", seed=n, wd=3) for n in range(5)),
        *(member(f"e/q/a{n}", seed=n, wd=1) for n in range(9)),
    ]


def as_run(make_run, one):
    return make_run(one.path, config=one.config, environment=json.dumps({"git": {"commit": one.commit}}))


def test_a_family_is_of_one_project_and_leaves_the_two_out(members, make_run):
    """Both runs' families, without the two; the same recipe in another project is none of theirs."""
    a, b = as_run(make_run, members[0]), as_run(make_run, members[3])
    families = Families(members)
    assert families.pair(a, b) == (("e/p/a1", "e/p/a2"), ("e/p/b1", "e/p/b2", "e/p/b3"), False)
    assert families.largest(a, b) == [tuple(f"e/p/c{n}" for n in range(5))]


def test_two_seeds_of_one_recipe_are_alike(members, make_run):
    """Two runs of one recipe share a family that has neither in it."""
    a, b = as_run(make_run, members[3]), as_run(make_run, members[4])
    assert Families(members).pair(a, b) == (("e/p/b2", "e/p/b3"), ("e/p/b2", "e/p/b3"), True)


def test_the_commit_tells_equal_configs_apart(make_run):
    """The same config at two commits is two recipes; where a commit was not recorded it is one."""
    members = [member(f"e/p/{commit}{n}", commit, seed=n, lr=1) for commit in ("x", "y") for n in range(3)]
    a, b = as_run(make_run, members[0]), as_run(make_run, members[3])
    assert Families(members).pair(a, b) == (("e/p/x1", "e/p/x2"), ("e/p/y1", "e/p/y2"), False)
    unknown = [Member(one.path, one.config, "") for one in members]
    a, b = as_run(make_run, unknown[0]), as_run(make_run, members[3])
    assert Families(unknown).pair(a, b)[2] is True


def test_runs_without_a_config_are_nobodys_family(make_run):
    """Two runs without a config are not alike, and have no others."""
    members = [Member(f"e/p/{n}", "{}", "") for n in range(5)]
    a, b = (as_run(make_run, one) for one in members[:2])
    assert Families(members).pair(a, b) == ((), (), False)
    assert Families(members).largest(a, b) == []
