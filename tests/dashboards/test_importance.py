"""Which parameters matter: functions whose answer is known, and scikit-learn as the reference."""

import math
import sys
import warnings

import numpy as np
import pytest

from runtide_dashboards.importance import study, words
from runtide_dashboards.importance_columns import spearman
from runtide_dashboards.importance_forest import determination, grow, out_of_bag
from runtide_dashboards.sweep_trials import Objective, Trial, axes, rescored

LOSS = Objective("loss", False)
LR = {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}
UNIT = {"min": 0.0, "max": 1.0}
NOISE = {"wd": UNIT, "dropout": UNIT, "warmup": UNIT, "act": {"values": ["relu", "gelu", "silu"]}}


def drawn(options, random):
    """A value of a parameter, as a random search would draw it."""
    if "values" in options:
        return options["values"][random.integers(len(options["values"]))]
    if options.get("distribution") == "log_uniform_values":
        return float(np.exp(random.uniform(np.log(options["min"]), np.log(options["max"]))))
    if isinstance(options["min"], int):
        return int(random.integers(options["min"], options["max"] + 1))
    return float(random.uniform(options["min"], options["max"]))


def sweep(parameters, count, loss, seed=0):
    """Trials of a random search, and the axes of its config.

    Args:
        parameters: As in a sweep's config; `when` is a function of what was drawn before, told as its text.
        count: How many trials.
        loss: From the parameters and a generator for noise.
        seed: Of everything.
    """
    random = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        chosen = {}
        for name, options in parameters.items():
            if "when" not in options or eval(options["when"], {}, chosen):
                chosen[name] = drawn(options, random)
        trials.append(Trial(f"e/p/r{number}", number, "finished", chosen, {"loss": loss(chosen, random)}, number, 1.0))
    return trials, axes({"parameters": parameters}, trials)


def by_name(findings):
    return {one.name: one for one in findings.importances}


def test_what_explains_nearly_all_comes_first():
    """The learning rate, on its logarithmic axis, is told from four parameters that do nothing."""
    trials, found = sweep(
        {**NOISE, "lr": LR}, 120, lambda p, r: (math.log10(p["lr"]) + 3) ** 2 + r.normal(0, 0.1), seed=1
    )
    findings = study(trials, LOSS, found)
    assert findings.trusted and findings.why_not == "" and findings.trials == 120 and findings.r2 > 0.8
    first, *others = findings.importances
    assert first.name == "lr" and first.value > 0.7 and first.low < first.value < first.high and first.visible
    assert all(abs(one.value) < 0.05 and not one.visible for one in others)
    assert words(findings, LOSS).startswith(f"lr explains most of loss ({first.value:.2f} ± ")
    assert words(findings, LOSS).endswith(": no visible effect (n=120).")
    good = next(one for one in findings.good if one.name == "lr")
    assert 1e-4 < good.low < 1e-3 < good.high < 1e-2 and good.share < 0.4


def test_values_are_shares_of_the_variance():
    """Of 2a + b + noise, a has 1/2 and b 1/8, and their rank correlations have their signs."""
    trials, found = sweep(
        {"a": UNIT, "b": UNIT, "c": UNIT}, 1000, lambda p, r: 2 * p["a"] - p["b"] + r.normal(0, 0.5), seed=2
    )
    found = by_name(study(trials, LOSS, found))
    assert found["a"].value == pytest.approx(1 / 2, abs=0.08) and found["b"].value == pytest.approx(1 / 8, abs=0.04)
    assert found["a"].spearman > 0.6 and -0.5 < found["b"].spearman < -0.2 and abs(found["c"].spearman) < 0.1


def test_the_order_is_that_of_scikit_learn():
    """Out of bag, and halved: still in the order of its permutation importance, of the same forest and data."""
    from sklearn.inspection import permutation_importance

    weights = {"a": 4.0, "b": 0.5, "c": 2.0, "d": 1.0, "e": 0.0}
    trials, found = sweep(
        dict.fromkeys(weights, UNIT), 300, lambda p, r: sum(weights[k] * p[k] for k in p) + r.normal(0, 0.1), seed=3
    )
    x = np.array([[trial.parameters[name] for name in weights] for trial in trials])
    y = np.array([trial.objectives["loss"] for trial in trials])
    reference = permutation_importance(grow(x, y), x, y, n_repeats=5, random_state=0).importances_mean
    expected = [name for _, name in sorted(zip(-reference, weights, strict=True))]
    assert expected == ["a", "c", "d", "b", "e"]
    assert [one.name for one in study(trials, LOSS, found).importances] == expected


def test_predictions_out_of_bag_are_those_of_scikit_learn():
    """The plain variant is the forest's own out-of-bag prediction, and R² its score."""
    from sklearn.ensemble import RandomForestRegressor

    random = np.random.default_rng(4)
    x, noise = random.random((80, 3)), random.random(80)
    y = x[:, 0] + 0.3 * noise
    reference = RandomForestRegressor(100, random_state=0, oob_score=True).fit(x, y)
    plain, other = out_of_bag(grow(x, y), x, [{}, {0: x[::-1, 0]}])
    np.testing.assert_allclose(plain, reference.oob_prediction_)
    assert determination(y, plain) == pytest.approx(reference.oob_score_)
    assert determination(y, other) < 0 and determination(np.ones(80), plain) is None


def test_the_threads_of_a_forest_leave_warnings_as_they_were():
    """They set what is done with warnings at the same time, and put it back in any order."""
    x = np.random.default_rng(0).random((60, 3))
    grow(x, x[:, 0])  # scikit-learn's own are there then
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with warnings.catch_warnings(record=True):  # a few are still shown
            before = list(warnings.filters)
            for _ in range(20):
                grow(x, x[:, 0]).predict(x)
            assert warnings.filters == before
    finally:
        sys.setswitchinterval(interval)


def test_a_row_that_all_trees_have_seen_has_no_prediction():
    """It is NaN, and R² is of the others."""

    class Tree:
        @property
        def tree_(self):
            return self

        def predict(self, x):
            return x[:, 0]

    class Forest:
        estimators_ = (Tree(), Tree())
        estimators_samples_ = (np.array([0, 0, 1]), np.array([0, 2, 2]))

    found = out_of_bag(Forest(), np.array([[1.0], [2.0], [3.0]]), [{}])
    np.testing.assert_array_equal(found, [[math.nan, 2, 3]])
    assert determination(np.array([9.0, 2.0, 3.0]), found[0]) == 1


def test_a_category_may_be_what_matters():
    """Texts, bools and None are told apart; a category has no rank correlation."""
    parameters = {"opt": {"values": ["adam", "sgd", "lion", None, True]}, "lr": LR, "layers": {"min": 1, "max": 8}}
    trials, found = sweep(parameters, 150, lambda p, r: 3 * (p["opt"] == "lion") + r.normal(0, 0.3), seed=5)
    findings = study(trials, LOSS, found)
    assert findings.importances[0].name == "opt" and findings.importances[0].value > 0.7
    assert findings.importances[0].spearman is None
    good = {one.name: one for one in findings.good}
    assert set(good["opt"].choices) == {"adam", "sgd", "null", "true"} and good["opt"].low is None
    assert good["layers"].low == int(good["layers"].low) and good["layers"].share > 0.6
    upwards = study(trials, Objective("loss", True), found)
    assert next(one for one in upwards.good if one.name == "opt").choices == ("lion",)
    assert upwards.importances == findings.importances


CONDITIONAL = {
    "opt": {"values": ["adam", "sgd"]},
    "momentum": {"min": 0.0, "max": 1.0, "when": "opt == 'sgd'"},
    "lr": LR,
}


def test_a_conditional_parameter_counts_where_it_is_and_its_condition_gets_no_credit():
    """Momentum decides, with SGD alone, and SGD is neither better nor worse on the whole."""
    trials, found = sweep(CONDITIONAL, 300, lambda p, r: 4 * (p.get("momentum", 0.5) - 0.5) + r.normal(0, 0.1), seed=6)
    findings = study(trials, LOSS, found)
    momentum, opt = by_name(findings)["momentum"], by_name(findings)["opt"]
    assert momentum.value > 0.8 and findings.importances[0] == momentum
    assert momentum.seen == sum("momentum" in trial.parameters for trial in trials) < 200
    assert momentum.spearman > 0.9
    assert abs(opt.value) < 0.1 and not opt.visible
    assert f", among the {momentum.seen} trials that have it)" in words(findings, LOSS)


def test_without_its_condition_known_the_parent_would_get_the_credit():
    """What keeps the credit from it is the condition of the config: the same trials without it say so."""
    trials, _ = sweep(CONDITIONAL, 300, lambda p, r: 4 * (p.get("momentum", 0.5) - 0.5) + r.normal(0, 0.1), seed=6)
    assert by_name(study(trials, LOSS, axes({}, trials)))["opt"].value > 0.2


def test_a_condition_that_matters_gets_its_own_credit_and_the_parameter_none():
    """SGD is better; what its momentum is makes no difference."""
    trials, found = sweep(CONDITIONAL, 300, lambda p, r: (p["opt"] == "adam") + r.normal(0, 0.1), seed=7)
    found = by_name(study(trials, LOSS, found))
    assert found["opt"].value > 0.8
    assert found["momentum"].value < 0.05 and not found["momentum"].visible


def test_conditions_behind_conditions():
    """Decay is there by momentum's grace, that by SGD's: neither has credit for what decay does."""
    parameters = {**CONDITIONAL, "decay": {"min": 0.0, "max": 1.0, "when": "opt == 'sgd' and momentum > 0.5"}}
    trials, found = sweep(parameters, 500, lambda p, r: 4 * (p.get("decay", 0.5) - 0.5) + r.normal(0, 0.1), seed=8)
    found = by_name(study(trials, LOSS, found))
    assert found["decay"].value > 0.7 and found["decay"].seen < 200
    assert not found["opt"].visible and not found["momentum"].visible


def test_trials_without_a_score_say_nothing():
    """NaN, failed, running and lost trials, and those without the metric, change no finding."""
    trials, found = sweep({"lr": LR, "wd": UNIT}, 60, lambda p, r: p["wd"] + r.normal(0, 0.1), seed=9)
    bad = [
        Trial(f"e/p/b{n}", 100 + n, state, {"lr": 1e-3, "wd": 0.5}, objectives, 0, 1.0)
        for n, (state, objectives) in enumerate([
            ("finished", {"loss": math.nan}), ("finished", {"loss": math.inf}), ("finished", {}), ("lost", {}),
            ("failed", {"loss": 99.0}), ("running", {"loss": 99.0}),
        ])
    ]  # fmt: skip
    findings = study(trials, LOSS, found)
    assert study([*trials, *bad], LOSS, found) == findings and findings.trials == 60
    assert findings.importances[0].name == "wd"


def test_few_trials_are_not_trusted():
    """Below ten for each parameter it says so, and gives no advice; below ten there is no forest."""
    trials, found = sweep({"lr": LR, "wd": UNIT}, 20, lambda p, r: p["wd"], seed=10)
    assert study(trials, LOSS, found).trusted
    findings = study(trials[:19], LOSS, found)
    assert not findings.trusted and findings.good == [] and len(findings.importances) == 2
    assert findings.why_not == "19 trials have loss, and 20 are needed for 2 parameters"
    assert words(findings, LOSS) == f"Nothing can be said yet: {findings.why_not}."
    fewer = study(trials[:9], LOSS, found)
    assert fewer.importances == [] and fewer.r2 is None and fewer.why_not == "9 trials have loss, and 10 are needed"
    assert study([], LOSS, found).trials == study([], LOSS, []).trials == 0


def test_noise_is_not_trusted():
    """Where the parameters predict nothing, there is no advice however many trials there are."""
    trials, found = sweep({"lr": LR, "wd": UNIT}, 200, lambda p, r: r.normal(), seed=11)
    findings = study(trials, LOSS, found)
    assert findings.r2 < 0.2 and not findings.trusted and findings.good == []
    assert findings.why_not.startswith("the parameters predict little of loss (R² ")


def test_nothing_varies():
    """One score for all, or no parameter with two values: it says which."""
    trials, found = sweep({"lr": LR}, 30, lambda p, r: 1.0)
    assert study(trials, LOSS, found).why_not == "loss is the same in all trials"
    trials, _ = sweep({"a": {"values": [1]}}, 30, lambda p, r: r.normal())
    assert study(trials, LOSS, axes({}, trials)).why_not == "no parameter varies"


def test_what_can_explain_nothing_is_left_out_with_a_reason():
    """Constants, texts of their own for each run, and what hardly any trial has."""
    parameters = {"wd": UNIT, "lr": LR, "fixed": {"values": ["x"]}}
    trials, _ = sweep(parameters, 60, lambda p, r: p["wd"], seed=12)
    for number, trial in enumerate(trials):
        trial.parameters.update(folder=f"out/{number}", seed=2**130 + number * 2**100)
        if number < 5:
            trial.parameters["rare"] = float(number)
    findings = study(
        trials, LOSS, axes({"parameters": {**parameters, "fixed": {"values": ["x", "y"]}, "never": UNIT}}, trials)
    )
    assert findings.left_out == {
        "fixed": "the same in every trial that has it",
        "never": "in 0 trials only",
        "folder": "another one in every trial",
        "seed": "beyond what the forest can take",
        "rare": "in 5 trials only",
    }
    assert {one.name for one in findings.importances} == {"wd", "lr"} and findings.trusted


def test_parameters_that_say_the_same_are_one():
    """Numbers by their ranks, also falling ones, and categories by going together; the first gives the name."""
    trials, _ = sweep({"lr": LR, "wd": UNIT, "size": {"values": ["s", "m", "l"]}}, 80, lambda p, r: p["wd"], seed=13)
    for trial in trials:
        chosen = trial.parameters
        chosen |= {
            "optim.wd": chosen["wd"] ** 3,
            "keep": 1 - chosen["wd"],
            "width": {"s": 8, "m": 64, "l": 32}[chosen["size"]],
        }
        chosen["log_wd"] = math.log(chosen["wd"]) + (5 if trial.number % 8 == 0 else 0)
    findings = study(trials, LOSS, axes({}, trials))
    assert {one.name: one.aliases for one in findings.importances} == {
        "wd": ("optim.wd", "keep"),
        "size": ("width",),
        "lr": (),
        "log_wd": (),
    }
    assert findings.importances[0].name == "wd" or findings.importances[0].name == "log_wd"
    assert "wd = optim.wd = keep " in words(findings, LOSS)


def test_two_that_are_there_in_different_trials_are_two():
    """Equal where both are, but not there together."""
    trials, _ = sweep({"a": UNIT, "wd": UNIT}, 60, lambda p, r: p["wd"], seed=14)
    for trial in trials[:30]:
        trial.parameters["b"] = trial.parameters["a"]
    assert by_name(study(trials, LOSS, axes({}, trials))).keys() == {"a", "b", "wd"}


def test_a_few_that_diverged_do_not_hide_the_rest():
    """Scores far beyond the others count as bad, not as all there is."""
    trials, found = sweep(
        {"lr": LR, "wd": UNIT}, 200, lambda p, r: 10.0**30 if r.random() < 0.03 else p["wd"] + r.normal(0, 0.1), seed=15
    )
    findings = study(trials, LOSS, found)
    assert findings.trusted and findings.importances[0].name == "wd" and findings.importances[0].value > 0.5


@pytest.mark.parametrize("size", [2.0**-660, 2.0**660])
def test_the_unit_of_the_objective_makes_no_difference(size):
    """Neither squares of very small scores nor of very large ones are lost."""
    trials, found = sweep({"lr": LR, "wd": UNIT}, 40, lambda p, r: p["wd"] + r.normal(0, 0.1), seed=20)
    other = rescored(trials, {trial.run: {"loss": size * trial.objectives["loss"]} for trial in trials})
    expected, given = study(trials, LOSS, found), study(other, LOSS, found)
    assert (given.r2, given.importances) == (expected.r2, expected.importances)


def test_another_objective_has_its_own_findings():
    """The same trials under values of their runs' summaries."""
    trials, found = sweep({"lr": LR, "wd": UNIT}, 60, lambda p, r: p["wd"], seed=16)
    cost = Objective("cost", False)
    other = rescored(trials, {trial.run: {"cost": -math.log(trial.parameters["lr"])} for trial in trials[:50]})
    assert study(trials, LOSS, found).importances[0].name == "wd"
    findings = study(other, cost, found)
    assert findings.importances[0].name == "lr" and findings.trials == 50
    assert findings.importances[0].spearman == pytest.approx(-1)
    assert study(other, LOSS, found).trials == 0


def test_many_trials_are_sampled_the_same_way_each_time():
    """Beyond 2,000 the forest learns from some of them; counts and correlations are of all."""
    trials, found = sweep({"lr": LR, "wd": UNIT}, 2500, lambda p, r: p["wd"] + r.normal(0, 0.1), seed=17)
    findings = study(trials, LOSS, found)
    assert findings == study(trials, LOSS, found) and findings.trials == 2500
    assert {one.seen for one in findings.importances} == {2500}
    wd = np.array([trial.parameters["wd"] for trial in trials])
    loss = np.array([trial.objectives["loss"] for trial in trials])
    assert findings.importances[0].spearman == pytest.approx(spearman(wd, loss), abs=0)


def test_good_values_lie_where_the_best_predictions_do():
    """Whole numbers stay whole, values of a list are of the list, at an edge the range reaches it."""
    parameters = {"layers": {"min": 1, "max": 40}, "batch": {"values": [16, 32, 64, 128]}, "drop": UNIT, "lr": LR}
    trials, found = sweep(
        parameters, 400, lambda p, r: abs(p["layers"] - 12) / 3 + 3 * (p["batch"] == 128) + 3 * p["drop"], seed=18
    )
    good = {one.name: one for one in study(trials, LOSS, found).good}
    assert good["layers"].low.is_integer() and 7 <= good["layers"].low <= 12 <= good["layers"].high <= 17
    assert (good["batch"].low, good["batch"].high) == (16, 64)
    assert good["drop"].low < 0.05 and good["drop"].high < 0.6 and good["drop"].share < 0.6
    assert good["lr"].share > 0.7


def test_rank_correlations_are_those_of_scipy():
    """With and without equal values; of what does not vary there is none."""
    from scipy.stats import spearmanr

    random = np.random.default_rng(19)
    for a, b in (
        (random.random(50), random.random(50)),
        (random.integers(0, 4, 50) * 1.0, random.integers(0, 4, 50) * 1.0),
    ):
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) is None and spearman(np.zeros(0), np.zeros(0)) is None
