"""The rules of verdicts on trainings that differ in nothing but the seed: how often they are wrong, and blind."""

import json
import random
import statistics
from pathlib import Path

import pytest

from runtide_dashboards import verdict_words as words
from runtide_dashboards.comparisons import Comparison, Side, judge

GOALS = {"val/loss": "minimize", "val/acc": "maximize"}
PAIRS = 1500

# What 600 networks that learnt scikit-learn's digits are compared by, made by `benchmarks/verdict.py --record`: all are
# of one recipe, and the seed is their place in the list.
SEEDS = json.loads(Path(__file__).with_name("digits_seeds.json").read_text())

# Runs of A, of B and of a third recipe, and the share of effects of three standard deviations that has to be found. Of
# three against three it is 68 % by theory, and of one against one 56 % at most, however well the spread is known.
DRAWS = {
    "three v three": ((3, 3, 0), 0.60),
    "four v four": ((4, 4, 0), 0.80),
    "five v five": ((5, 5, 0), 0.80),
    "a baseline with 3 others v one": ((4, 1, 0), 0.40),
    "a baseline with 38 others v one": ((39, 1, 0), 0.80),
    "one v one, 38 of a third recipe": ((1, 1, 38), 0.50),
    "two v two, 38 of a third recipe": ((2, 2, 38), 0.80),
}


@pytest.fixture
def outcome(make_run, make_series):
    """What is said of two sides with these values and a third recipe's."""
    runs = [make_run("e/p/a"), make_run("e/p/b")]
    line = make_series("e/p/a")

    def said(goal, a, b, third=()):
        sides = [Side(run, (line,) * len(ends), tuple(ends)) for run, ends in zip(runs, (a, b), strict=True)]
        return judge(Comparison("k", *sides, "unknown", goal), [((), tuple(third))]).outcome

    return said


@pytest.mark.parametrize("key", GOALS)
@pytest.mark.parametrize("name", DRAWS)
def test_verdicts_on_seeds_alone_are_rare_and_effects_are_found(outcome, name, key):
    """At most 6 % of pairs that differ in the seed are called better or worse; shifts of 3 sd are found."""
    (a, b, third), least = DRAWS[name]
    ends, goal = SEEDS[key], GOALS[key]
    shift = 3 * statistics.stdev(ends) * (1 if goal == "maximize" else -1)
    draw = random.Random(1)
    wrong = found = 0
    for _ in range(PAIRS):
        chosen = draw.sample(ends, a + b + third)
        left, right, rest = chosen[:a], chosen[a : a + b], chosen[a + b :]
        wrong += outcome(goal, left, right, rest) in ("better", "worse")
        found += outcome(goal, left, [end + shift for end in right], rest) == "better"
    assert wrong / PAIRS <= 0.06
    assert found / PAIRS >= least


def test_the_recorded_seeds_are_real(outcome):
    """There are 600 trainings per metric, nearly all of them different."""
    assert [len(ends) for ends in SEEDS.values()] == [600, 600]
    assert len(set(SEEDS["val/loss"])) > 550


def test_a_spread_is_needed_on_both_sides_or_in_one_family(outcome):
    """Two seeds a side, or a third family of two, give no verdict however far apart the values are."""
    assert outcome("minimize", [1.0, 1.1], [9.0, 9.1]) == "unknown"
    assert outcome("minimize", [1.0], [9.0], [1.0, 1.1]) == "unknown"
    assert outcome("minimize", [1.0], [9.0], [1.0, 1.1, 1.05]) == "worse"


def test_two_seeds_of_one_recipe_say_how_many_more_are_needed(make_run, make_series):
    """Of a recipe with one other seed than the two, two more are asked for."""
    line = make_series("e/p/a")
    sides = [Side(make_run(f"e/p/{n}"), (line,) * 2, (float(n), 3.0)) for n in range(2)]
    found = judge(Comparison("k", *sides, "unknown", None, alike=True))
    assert (found.outcome, found.baseline.values, found.lent) == ("unknown", (0.0,), 1)
    assert "log 2 more seeds" in words.basis(found, words.naming([found], None))
