"""Verdicts, from points in a real store to the word that is said."""

import math
import random
from dataclasses import replace

import pytest
from scipy import stats

from runtide_dashboards import verdicts
from runtide_dashboards.queries import runs as run_queries
from runtide_dashboards.queries import verdicts as verdict_queries

START_MS = 1_760_000_000_000
GOALS = '{"val/loss":{"goal":"minimize"},"val/acc":{"goal":"maximize"}}'


class Trained:
    """Puts runs of recipes into a project; their values at the last step are known."""

    def __init__(self, lab, project):
        self.lab, self.project, self.count = lab, project, 0

    def run(self, end, config, steps=100, key="val/loss", noise=0.0, goals=GOALS, name=""):
        """A curve that falls to `end`, flat over its last tenth; returns the run."""
        path = self.lab.run(f"{self.project}/r{self.count}", name=name, config=config)
        self.count += 1
        shape = [end + max(0.0, 1 - step / (0.9 * (steps - 1))) for step in range(steps)] if steps > 1 else [end]
        draw = random.Random(self.count)
        self.lab.points(path, {key: [value + draw.gauss(0, noise) for value in shape]}, list(range(steps)))
        return self.find(path, goals)

    def find(self, path, goals=GOALS):
        return replace(run_queries.find_runs([path])[0], definitions=goals)

    def seeds(self, ends, config, **more):
        """One run for each end; their configs differ in the seed."""
        return [self.run(end, {**config, "seed": 100 * self.count + n}, **more) for n, end in enumerate(ends)]


@pytest.fixture
def trained(lab, project):
    return Trained(lab, project)


A_ENDS, B_ENDS = (2.31, 2.30, 2.32, 2.305), (2.27, 2.28, 2.275)


def test_three_seeds_a_side_are_compared_by_welch(trained):
    """With three runs a side, means, statistic, degrees of freedom and p are those of scipy's Welch test."""
    a, b = trained.seeds(A_ENDS, {"wd": 0.01}), trained.seeds(B_ENDS, {"wd": 0.1})
    (found,) = verdicts.assess(a[0], [b[0]], ["val/loss"])
    reference = stats.ttest_ind(B_ENDS, A_ENDS, equal_var=False)
    assert (found.outcome, found.lender) == ("better", "both")
    assert (len(found.baseline.values), len(found.other.values)) == (4, 3)
    assert found.value == pytest.approx(sum(A_ENDS) / 4) and found.other_value == pytest.approx(sum(B_ENDS) / 3)
    assert found.test.statistic == pytest.approx(reference.statistic, rel=1e-9)
    assert (found.test.p, found.test.df) == pytest.approx((reference.pvalue, reference.df), rel=1e-9)
    assert found.step == 99 and found.parting is not None and found.cost.other_step < found.cost.baseline_step


def test_the_goal_decides_which_way_is_better(trained):
    """The same difference is better, worse, or only lower, by what define_metric or a person said."""
    a, b = trained.seeds(A_ENDS, {"wd": 0.01}), trained.seeds(B_ENDS, {"wd": 0.1})
    said = {
        goals: verdicts.assess(replace(a[0], definitions=goals), [replace(b[0], definitions="{}")], ["val/loss"])[0]
        for goals in (GOALS, '{"val/*":{"goal":"maximize"}}', "{}", '{"val/loss":{"summary":"min"}}', "no JSON")
    }
    assert [one.outcome for one in said.values()] == ["better", "worse", "lower", "lower", "lower"]
    assert said["{}"].cost is None and said["{}"].parting is not None
    (chosen,) = verdicts.assess(a[0], [b[0]], ["val/loss"], chosen_goals={"val/loss": "maximize"})
    assert chosen.outcome == "worse"


def test_one_run_each_has_no_verdict(trained):
    """Without other seeds there is no estimate and no verdict, however smooth the curves and large the difference."""
    (found,) = verdicts.assess(trained.run(2.0, {"wd": 1}), [trained.run(1.0, {"wd": 2})], ["val/loss"])
    assert (found.outcome, found.test, found.lender, found.parting) == ("unknown", None, "none", None)
    assert found.difference == pytest.approx(-1.0)


def test_the_baselines_family_lends_its_spread(trained):
    """One run against a baseline with three other seeds: Student's t with the family's deviation, at its mean."""
    a, b = trained.seeds(A_ENDS, {"wd": 0.01}), trained.run(2.2, {"wd": 0.1})
    (found,) = verdicts.assess(a[0], [b], ["val/loss"])
    mean, error = sum(A_ENDS) / 4, math.sqrt(stats.tvar(A_ENDS) * (1 / 4 + 1))
    assert (found.outcome, found.lender, found.lent) == ("better", "baseline", 4)
    assert found.test.p == pytest.approx(2 * stats.t.sf(abs(2.2 - mean) / error, 3), rel=1e-9)
    (turned,) = verdicts.assess(b, [a[0]], ["val/loss"])
    assert (turned.outcome, turned.lender) == ("worse", "other")
    assert turned.test.p == pytest.approx(found.test.p, rel=1e-9)


def test_two_other_seeds_are_not_enough(trained):
    """A family of three has two others: no verdict against one run."""
    a, b = trained.seeds(A_ENDS[:3], {"wd": 0.01}), trained.run(2.2, {"wd": 0.1})
    (found,) = verdicts.assess(a[0], [b], ["val/loss"])
    assert (found.outcome, len(found.baseline.values), len(found.other.values)) == ("unknown", 3, 1)


def test_a_third_family_lends_where_neither_can(trained):
    """The largest other family of the project stands in: sd·√2 for one run against one."""
    a, b = trained.run(2.3, {"wd": 1}), trained.run(2.2, {"wd": 2})
    ends = (1.0, 1.02, 1.01, 1.03)
    trained.seeds((5.0, 9.0, 7.0), {"wd": 3})
    trained.seeds(ends, {"wd": 4})
    (found,) = verdicts.assess(a, [b], ["val/loss"])
    assert (found.lender, found.lent) == ("third", 4)
    assert found.test.error == pytest.approx(math.sqrt(2 * stats.tvar(ends)), rel=1e-9)
    assert found.test.df == 3


def test_two_seeds_of_one_recipe_are_held_against_its_others(trained):
    """Both runs of one recipe: sd·√2 of the other seeds, and neither run lends."""
    runs = trained.seeds((2.31, 2.27, *A_ENDS), {"wd": 0.01})
    (found,) = verdicts.assess(runs[0], [runs[1]], ["val/loss"])
    assert (found.lender, found.lent, found.alike) == ("family", 4, True)
    assert (found.value, found.other_value) == (pytest.approx(2.31), pytest.approx(2.27))
    assert found.test.error == pytest.approx(math.sqrt(2 * stats.tvar(A_ENDS)), rel=1e-9)


def test_runs_of_another_project_lend_nothing(trained, lab):
    """Seeds of the same recipe elsewhere are not counted."""
    elsewhere = Trained(lab, f"{trained.project}x")
    elsewhere.seeds(A_ENDS, {"wd": 1})
    elsewhere.seeds(A_ENDS, {"wd": 3})
    (found,) = verdicts.assess(trained.run(2.3, {"wd": 1}), [trained.run(2.2, {"wd": 2})], ["val/loss"])
    assert found.outcome == "unknown"


def test_runs_are_compared_at_the_largest_common_step(trained):
    """What a run logged beyond the other's end does not count, nor do seeds that have not come as far."""
    a = trained.seeds(A_ENDS, {"wd": 0.01}, steps=100)
    b = trained.run(2.2, {"wd": 0.1}, steps=60)
    trained.run(9.0, {"wd": 0.01, "seed": 77}, steps=59)
    (found,) = verdicts.assess(a[0], [b], ["val/loss"])
    assert (found.first, found.since, found.step) == (0, 57, 59)
    shape = sum(max(0.0, 1 - step / (0.9 * 99)) for step in (57, 58, 59)) / 3
    assert found.value == pytest.approx(sum(A_ENDS) / 4 + shape)
    assert (len(found.baseline.values), found.baseline.behind) == (4, 1)


def test_steps_need_not_be_the_same(lab, trained):
    """Where a run logged nothing within the window, its last point before counts."""
    sparse, dense = lab.run(f"{trained.project}/sparse", config={"a": 1}), trained.run(1.0, {"a": 2}, steps=1000)
    lab.points(sparse, {"val/loss": [5.0, 4.0, 3.0]}, [0, 400, 800])
    lab.points(sparse, {"other": [1.0]}, [2000])
    (found,) = verdicts.assess(trained.find(sparse), [dense], ["val/loss"])
    assert (found.since, found.step, found.value) == (760, 800, 3.0)
    late = lab.run(f"{trained.project}/late", config={"a": 3})
    lab.points(late, {"val/loss": [7.0, 6.0]}, [700, 1300])
    (found,) = verdicts.assess(trained.find(late), [dense], ["val/loss"])
    assert (found.first, found.step, found.value) == (700, 999, 7.0)


def test_runs_without_a_common_step_are_not_compared(lab, trained):
    """A run that begins where the other has ended has no step in common with it."""
    a, b = trained.run(1.0, {"a": 1}, steps=10), lab.run(f"{trained.project}/later", config={"a": 2})
    lab.points(b, {"val/loss": [1.0, 2.0]}, [20, 21])
    assert [one.outcome for one in verdicts.assess(a, [trained.find(b)], ["val/loss"])] == ["apart"]


def test_single_points_at_step_zero_can_be_compared(trained):
    """One point each, at step 0: values, no curves, nothing breaks."""
    a, b = trained.seeds((1.0, 1.1, 1.2), {"a": 1}, steps=1), trained.seeds((2.0, 2.1, 2.2), {"a": 2}, steps=1)
    (found,) = verdicts.assess(a[0], [b[0]], ["val/loss"])
    assert (found.outcome, found.step, found.parting, found.cost) == ("worse", 0, None, None)


def test_a_run_that_ends_in_nan_says_since_when(lab, trained):
    """A side without a finite value in the window has no verdict, and the step where that began is told."""
    a, b = trained.run(1.0, {"a": 1}), lab.run(f"{trained.project}/nan", config={"a": 2})
    lab.points(b, {"val/loss": [1.0] * 40 + [math.nan] * 5 + [1.0] * 5 + [math.nan, math.inf] * 25}, list(range(100)))
    (found,) = verdicts.assess(a, [trained.find(b)], ["val/loss"])
    assert (found.outcome, found.bad_since) == ("nan", ((b, 50),))
    never = lab.run(f"{trained.project}/never", config={"a": 3})
    lab.points(never, {"val/loss": [math.nan] * 100}, list(range(100)))
    (found,) = verdicts.assess(trained.find(never), [a], ["val/loss"])
    assert found.bad_since == ((never, 0),)


def test_seeds_that_end_in_nan_are_left_out_and_counted(lab, trained):
    """A seed without a finite value is left out and counted; single NaN and Inf in the window are skipped."""
    a, b = trained.seeds(A_ENDS, {"wd": 0.01}), trained.seeds(B_ENDS, {"wd": 0.1})
    bad = lab.run(f"{trained.project}/bad", config={"wd": 0.1, "seed": -1})
    lab.points(bad, {"val/loss": [1.0] * 50 + [math.nan] * 50}, list(range(100)))
    partly = lab.run(f"{trained.project}/partly", config={"wd": 0.1, "seed": -2})
    lab.points(partly, {"val/loss": [2.28] * 97 + [math.nan, 2.29, -math.inf]}, list(range(100)))
    (found,) = verdicts.assess(a[0], [b[0]], ["val/loss"])
    assert found.other.bad == 1 and sorted(found.other.values)[-1] == pytest.approx((2.28 + 2.28 + 2.29) / 3)


def test_a_key_that_one_side_lacks_names_the_nearest(lab, trained):
    """The run that never logged the key is told, with the key of its own that is most like it."""
    a, b = trained.run(0.6, {"a": 1}, key="val/acc"), trained.run(0.6, {"a": 2}, key="val/Acc.")
    (found,) = verdicts.assess(a, [b], ["val/acc"])
    assert (found.outcome, found.absent) == ("missing", ((b.path, "val/Acc."),))
    (found,) = verdicts.assess(a, [b], ["nobody's"])
    assert found.absent == ((a.path, ""), (b.path, ""))


def test_superseded_points_do_not_count(lab, trained):
    """What a later attempt logged again replaces what was there, and what a rewind cut off is no last step."""
    a, b = lab.run(f"{trained.project}/again", config={"a": 1}), trained.run(1.0, {"a": 2})
    lab.points(a, {"val/loss": [9.0] * 100}, list(range(100)), attempt=1000)
    lab.points(a, {"val/loss": [3.0] * 50}, list(range(50, 100)), attempt=2000, writer=2)
    (found,) = verdicts.assess(trained.find(a), [b], ["val/loss"])
    assert (found.value, found.step) == (3.0, 99)
    lab.store.query(
        f"INSERT INTO run_rewinds VALUES ('{a}', 0, fromUnixTimestamp64Micro(2000), 20)", database=lab.database
    )
    lab.points(a, {"val/loss": [4.0] * 9}, list(range(21, 30)), attempt=2000, writer=2, seq=1)
    lab.store.query(
        f"ALTER TABLE metrics DELETE WHERE run_id = '{a}' AND writer = 2 AND step >= 50 SETTINGS mutations_sync = 1",
        database=lab.database,
    )
    (found,) = verdicts.assess(trained.find(a), [b], ["val/loss"])
    assert (found.value, found.step) == (4.0, 29)


def test_the_lowest_rank_is_compared(lab, trained):
    """Of several ranks the lowest that logged the key counts, on every side."""
    a, b = lab.run(f"{trained.project}/ranks", config={"a": 1}), trained.run(1.0, {"a": 2})
    for rank, value in ((3, 30.0), (1, 10.0)):
        lab.points(a, {"val/loss": [value] * 100}, list(range(100)), rank=rank, writer=rank)
    assert verdicts.assess(trained.find(a), [b], ["val/loss"])[0].value == 10.0


def test_equal_values_are_equal(trained):
    """No spread and the same value is equal; no spread and another value is no verdict."""
    a, b, c = (trained.seeds([end] * 3, {"wd": end, "x": n}) for n, end in enumerate((1.0, 1.0, 2.0)))
    same, other = verdicts.assess(a[0], [b[0], c[0]], ["val/loss"])
    assert (same.outcome, same.test.p) == ("equal", None)
    assert (other.outcome, other.test.p) == ("unknown", None)


def test_the_baseline_is_not_compared_with_itself(trained):
    """The baseline among the others is left out, a run twice counts once, and six others are five."""
    runs = [trained.run(1.0 + n, {"n": n}) for n in range(7)]
    assert verdicts.assess(runs[0], [runs[0]], ["val/loss"]) == []
    found = verdicts.assess(runs[0], [runs[1], runs[0], runs[1], *runs[2:]], ["val/loss"])
    assert [one.other.run.path for one in found] == [run.path for run in runs[1:6]]


def test_metrics_with_a_goal_come_first(lab, trained):
    """Without a choice the declared metrics are compared, then what people look at first, four at most."""
    a, b = trained.run(1.0, {"a": 1}, goals='{"zeal":{"goal":"maximize"}}'), trained.run(1.0, {"a": 2}, goals="{}")
    for run in (a, b):
        lab.points(
            run.path, {key: [1.0] for key in ("zeal", "epoch", "x1", "x2", "x3", "x4", "train/loss")}, [0], seq=1
        )
    found = [one.key for one in verdicts.assess(a, [b])]
    assert found == ["zeal", "val/loss", "train/loss", "x1"]


HOSTILE = ["<b>&\"'", "%s {key} ?", "a\\b/c,d", "é\u202e💥", "`|*_"]


def test_hostile_names_are_names(lab, trained):
    """Keys of metrics and configs with quotes, markup and slashes are compared like others."""
    config = dict.fromkeys(HOSTILE, 'x": {[')
    a, b = (trained.seeds(ends, {**config, "wd": wd}) for wd, ends in enumerate((A_ENDS, B_ENDS)))
    (found,) = verdicts.assess(a[0], [b[0]], ["val/loss"], ignored=[*HOSTILE, 'x."y.z"'])
    assert (found.outcome, found.lender) == ("better", "both")
    for key in ("it's", 'a"b', "<i>", "50%"):
        lab.points(a[0].path, {key: [1.0]}, [0], seq=9)
    found = verdicts.assess(a[0], [b[0]], ["it's", 'a"b', "<i>", "50%"])
    assert [one.outcome for one in found] == ["missing"] * 4


def test_ignored_keys_make_one_recipe_of_two(trained):
    """Runs that differ in the seed and in a leaf that is named are one family."""
    runs = [trained.run(end, {"out": {"dir": f"/{n}"}, "seed": n}) for n, end in enumerate(A_ENDS)]
    b = trained.run(2.0, {"out": {"dir": "/b"}, "wd": 1})
    assert verdicts.assess(runs[0], [b], ["val/loss"])[0].outcome == "unknown"
    assert verdicts.assess(runs[0], [b], ["val/loss"], ignored=["out.dir"])[0].lender == "baseline"


def test_key_order_and_nesting_do_not_hide_a_family(lab, trained):
    """The store's choice of candidates has every run that is of the family, however its config is written."""
    texts = [{"b": {"x": [1, {"y": 2}], "seed": 1}, "a": "t"}, {"a": "t", "b": {"seed": "z", "x": [1, {"y": 2}]}}]
    paths = [trained.run(1.0, config).path for config in texts]
    members = verdict_queries.find_members([trained.find(paths[0])])
    assert {member.path for member in members} == set(paths)


def test_curves_part_where_they_do(lab, trained):
    """Seeds that run together until step 500 and then apart are told to part there, give or take the smoothing."""
    draw = random.Random(0)
    sides = []
    for wd, slope in ((1, 0.0), (2, -0.004)):
        for seed in range(4):
            path = lab.run(f"{trained.project}/p{wd}{seed}", config={"wd": wd, "seed": seed})
            offset = draw.gauss(0, 0.02)
            values = [2 + offset + slope * max(0, step - 500) + draw.gauss(0, 0.01) for step in range(1000)]
            lab.points(path, {"val/loss": values}, list(range(1000)))
            sides.append(trained.find(path))
    (found,) = verdicts.assess(sides[0], [sides[4]], ["val/loss"])
    assert found.outcome == "better" and 500 <= found.parting <= 540
    assert found.cost.other_step <= 510 and found.cost.other_seconds == pytest.approx(found.cost.other_step, abs=1)
