"""Where `bayes` looks next: the process, the cube, and what trials count for."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from runtide._sweeps._bayes import Bayes
from runtide._sweeps._config import parse
from runtide._sweeps._cube import Cube
from runtide._sweeps._gaussian import Process, log_improvement
from runtide._sweeps._space import Point, Space

GENERATOR = np.random.default_rng


def known(count: int = 25, columns: int = 3) -> tuple[Any, Any]:
    points = GENERATOR(1).random((count, columns))
    values = np.sin(5 * points[:, 0]) + points[:, 1] ** 2
    return points, (values - values.mean()) / values.std()


def test_the_process_is_that_of_the_textbook() -> None:
    """Rasmussen and Williams, eq. 2.23 to 2.26 and 4.17: the noise is in the covariance and not in the deviation."""
    points, values = known()
    settings = np.log([0.5, 0.7, 2.0, 0.05])
    found = Process(np.arange(3), points, values, settings)
    assert found.settings == pytest.approx(settings)

    def covariance(one: Any, other: Any) -> Any:
        apart = math.sqrt(5) * np.linalg.norm((one[:, None] - other[None]) / np.exp(settings[:3]), axis=2)
        return (1 + apart + apart**2 / 3) * np.exp(-apart)

    elsewhere = np.vstack([points[:3], GENERATOR(2).random((50, 3))])
    cross = covariance(elsewhere, points)
    weights = np.linalg.solve(covariance(points, points) + 0.05 * np.eye(25), cross.T)
    mean, deviation = found.predict(elsewhere)
    assert mean == pytest.approx(weights.T @ values, abs=1e-6)
    assert deviation**2 == pytest.approx(1 - (cross * weights.T).sum(1), abs=1e-6)


def test_what_makes_no_difference_has_a_great_length() -> None:
    """Of three columns, the last one says nothing."""
    lengths = Process(np.arange(3), *known()).settings[:3]
    assert lengths[2] > math.log(3) + max(lengths[:2])


def test_the_lengths_are_the_most_likely_ones() -> None:
    """Under the weak priors: none near them is likelier, also from another start."""
    points, values = known(40, 2)
    found = Process(np.arange(2), points, values).settings

    def cost(settings: Any) -> float:
        kernel = Matern(np.exp(settings[:2]), nu=2.5) + WhiteKernel(math.exp(settings[2]))
        process = GaussianProcessRegressor(kernel, optimizer=None).fit(points, values)
        usual, spread = np.array([-0.7 + 0.5 * math.log(2)] * 2 + [-7.0]), np.array([1.0, 1.0, 2.0])
        return float(
            -process.log_marginal_likelihood(process.kernel_.theta) + 0.5 * (((settings - usual) / spread) ** 2).sum()
        )

    least = cost(found)
    for place in range(3):
        for step in (-0.5, 0.5):
            assert cost(found + step * np.eye(3)[place]) > least
    again = Process(np.arange(2), points, values, start=found + 1).settings
    assert again == pytest.approx(found, abs=0.05)


def test_a_category_is_one_parameter() -> None:
    """Its columns share a length, which a category without effect has great."""
    chance = GENERATOR(3)
    names, numbers = chance.integers(0, 3, 60), chance.random(60)
    points = np.hstack([np.eye(3)[names] / math.sqrt(2), numbers[:, None]])
    of_category, of_number = names == 1, np.sin(6 * numbers)
    for values, heavy, light in ((of_category.astype(float), 0, 1), (of_number, 1, 0)):
        settings = Process(np.array([0, 0, 0, 1]), points, stats.zscore(values)).settings
        assert len(settings) == 3
        assert settings[heavy] < settings[light]


def test_the_improvement_is_that_of_the_textbook() -> None:
    """And its logarithm still tells places apart where it is nothing in floating point."""
    z = np.array([-6.0, -1.001, -0.999, 0.0, 2.0, 9.0, 29.0, 31.0, 1000.0])
    wanted = np.log(stats.norm.pdf(z) + z * stats.norm.cdf(z)) + 0.5 * math.log(2 * math.pi)
    assert log_improvement(-z, np.ones(9), 0.0) == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    far = log_improvement(np.array([50.0, 500.0, 5000.0]), np.ones(3), 0.0)
    assert np.isfinite(far).all()
    assert (np.diff(far) < 0).all()
    assert log_improvement(np.zeros(1), np.array([0.5]), 0.0) == pytest.approx(math.log(0.5))


KINDS = {
    "u": {"min": 0.0, "max": 1.0}, "n": {"min": 3, "max": 9}, "many": {"min": 0, "max": 10**6},
    "l": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}, "c": {"values": ["a", "b", "c"]},
    "sizes": {"values": [64, 16, 32]}, "w": {"values": ["x", "y", "z"], "probabilities": [0.2, 0.0, 0.8]},
    "one": {"value": 1},
}  # fmt: skip


def space(parameters: Any = None, **more: Any) -> Space:
    metric = {"name": "loss"}
    return parse({"method": "bayes", "metric": metric, "parameters": parameters or KINDS, **more}).space


def test_points_are_places_of_the_cube() -> None:
    """There and back; what comes to the same value is the same place; numbers in a list have their order."""
    given, chance = space(), GENERATOR(4)
    cube = Cube(given)
    shares = cube.draw(chance, 200)
    assert shares.shape == (200, 7)
    for one in shares:
        point = cube.point(one)
        assert cube.place(point.drawn) == pytest.approx(one, abs=1e-6)
    points = [cube.point(one) for one in shares]
    columns = cube.columns(shares)
    for value, rank in ((16, 0.0), (32, 0.5), (64, 1.0)):
        rows = [row for row, point in zip(columns, points, strict=True) if point.values["sizes"] == value]
        assert rows
        assert {row[7] for row in rows} == {rank}
    assert {point.values["w"] for point in points} == {"x", "z"}
    assert {point.values["n"] for point in points} == {*range(3, 10)}
    names = [row[4:7] for row in columns]
    apart = {round(float(((one - other) ** 2).sum()), 9) for one in names for other in names}
    assert apart == {0.0, 1.0}


def test_what_is_moved_stays_near_and_within() -> None:
    """Numbers by about the width, categories now and then; nothing leaves the cube."""
    cube, chance = Cube(space()), GENERATOR(5)
    shares = np.repeat(cube.draw(chance, 1), 2000, 0)
    moved = cube.move(chance, shares, 0.01)
    assert ((moved >= 0) & (moved <= 1)).all()
    distance = np.abs(moved - shares)
    assert 0 < distance[:, 0].max() < 0.06
    assert 0.05 < (distance[:, 4] > 0).mean() < 0.2


def test_places_keep_constraints_and_conditions() -> None:
    """What does not count is NaN, and in the middle for the process."""
    given = space(
        {"a": {"min": 0.0, "max": 1.0}, "o": {"values": ["p", "q"]}, "m": {"min": 0.0, "max": 1.0, "when": "o == 'q'"}},
        constraints=["a < 0.3"],
    )
    cube, chance = Cube(given), GENERATOR(6)
    shares = cube.draw(chance, 300)
    shares = np.vstack([shares, cube.move(chance, shares, 0.1)])
    assert 100 < len(shares) < 400
    for one in shares:
        point = cube.point(one)
        assert point.values["a"] < 0.3
        assert math.isnan(one[2]) is ("m" not in point.values)
    assert cube.columns(shares)[np.isnan(shares[:, 2]), 3] == pytest.approx(0.5)
    nowhere = Cube(space({"a": {"min": 0.0, "max": 1.0}}, constraints=["a > 2"]))
    assert nowhere.draw(chance, 10).shape == (0, 1)
    assert nowhere.columns(nowhere.draw(chance, 10)).shape == (0, 1)


class Search:
    """A sampler whose trials are made by hand."""

    def __init__(self, given: Space, seed: int = 0) -> None:
        self.space = given
        self.bayes = Bayes(given, maximize=False)
        self.bayes._random = self.random = GENERATOR(seed)
        self.trials: list[FrozenTrial] = []

    def add(self, point: Point, state: str, value: float | None = None, **told: Any) -> None:
        kinds = {one.name: one.distribution.optuna() for one in self.space.parameters if one.name in point.drawn}
        claim = {"run": f"r{len(self.trials)}", "try": 0}
        outcome = {"outcome": {"state": state, **told}} if state != "running" else {}
        states = {"running": TrialState.RUNNING, "finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
        trial = create_trial(
            state=states.get(state, TrialState.FAIL), params=dict(point.drawn), distributions=kinds,
            value=value, user_attrs={"claim": claim, **outcome},
        )  # fmt: skip
        trial.number = len(self.trials)
        self.trials.append(trial)

    def draw(self) -> Point:
        return self.space.choose(lambda _, kind: kind.draw(self.random.random()))

    def ask(self, is_new: Callable[[Point], bool] = lambda _: True) -> Point | None:
        return self.bayes.propose(self.trials, is_new)


def branin(x: float, y: float) -> float:
    x, y = -5 + 15 * x, 15 * y
    bent = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return float(bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887)


UNIT = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}


def test_it_finds_the_least_of_branin() -> None:
    """In 40 trials from five seeds: closer than 0.01, which random points are not in 40 times as many."""
    for seed in range(5):
        search, found = Search(space(UNIT), seed), []
        for _ in range(40):
            point = search.ask() or search.draw()
            found.append(branin(*point.values.values()))
            search.add(point, "finished", found[-1])
        assert min(found) < 0.01, seed


def curve(search: Search, count: int = 12) -> None:
    """Trials along x whose least is near 0.6."""
    for x in np.linspace(0.02, 0.98, count):
        search.add(Point({"x": float(x)}, {"x": float(x)}), "finished", (float(x) - 0.6) ** 2)


LINE = {"x": {"min": 0.0, "max": 1.0}}


def test_agents_do_not_try_what_others_try_now() -> None:
    """What runs comes to what is expected of it: the next agent looks elsewhere, where it would look there too."""
    search = Search(space(UNIT))
    for _ in range(10):
        point = search.draw()
        search.add(point, "finished", branin(*point.values.values()))

    def ask() -> Any:
        point = search.ask()
        assert point is not None
        search.add(point, "running")
        return np.array([*point.values.values()])

    first = ask()
    search.trials.pop()
    assert np.abs(ask() - first).max() < 0.003
    taken = [first]
    for _ in range(4):
        taken.append(ask())
        assert min(np.abs(taken[-1] - other).max() for other in taken[:-1]) > 0.02


def test_a_failed_trial_counts_as_the_worst_unless_its_value_is_imputed() -> None:
    """So the sampler stays away from it, or does not."""
    for told, near in (({}, False), ({"imputed": -0.05}, True)):
        search = Search(space(LINE))
        curve(search)
        for x in (0.58, 0.6, 0.62):
            search.add(Point({"x": x}, {"x": x}), "failed", **told)
        point = search.ask()
        assert point is not None
        assert (abs(point.values["x"] - 0.6) < 0.04) is near


def test_what_is_no_outcome_makes_no_difference() -> None:
    """Tries that were lost or discarded; of a run that was tried again the last try counts."""
    search = Search(space(LINE))
    curve(search)
    for state in ("discarded", "lost"):
        search.add(Point({"x": 0.6}, {"x": 0.6}), state)
    search.add(Point({"x": 0.6}, {"x": 0.6}), "failed")
    again = create_trial(
        value=0.0, params={"x": 0.6}, distributions={"x": FloatDistribution(0, 1)},
        user_attrs={"claim": {"run": search.trials[-1].user_attrs["claim"]["run"], "try": 1}},
    )  # fmt: skip
    again.number = len(search.trials)
    search.trials.append(again)
    search.ask()
    assert sorted(value for _, value in search.bayes._told.values())[0] == 0.0
    assert not any(math.isnan(value) for _, value in search.bayes._told.values())
    assert len(search.bayes._told) == 13


@pytest.mark.parametrize("value", [0.0, 1e300, -1e-300])
def test_values_that_say_nothing_are_survived(value: float) -> None:
    """All equal, enormous, or all failed: a point comes all the same."""
    for state in ("finished", "failed"):
        search = Search(space(UNIT))
        for _ in range(10):
            search.add(search.draw(), state, value if state == "finished" else None)
        assert search.ask() is not None


def test_points_that_were_run_are_passed_over() -> None:
    """The next best one is taken; none where all were run."""
    search = Search(space({"n": {"min": 1, "max": 20}}))
    for n in range(1, 11):
        search.add(Point({"n": n}, {"n": n}), "finished", float(n))
    point = search.ask(lambda point: point.values["n"] > 10)
    assert point is not None
    assert point.values["n"] > 10
    assert search.ask(lambda _: False) is None


def test_constraints_that_leave_next_to_nothing() -> None:
    """No place that is allowed is found: none is proposed."""
    search = Search(space(LINE, constraints=["x == 0.5"]))
    for value in range(9):
        search.add(Point({"x": 0.5}, {"x": 0.5}), "finished", float(value))
    assert search.ask() is None


def test_large_is_good_where_it_is_asked_for() -> None:
    """The same curve, turned over."""
    search = Search(space(LINE))
    curve(search)
    search.bayes = Bayes(search.space, maximize=True)
    search.bayes._random = search.random
    point = search.ask()
    assert point is not None
    assert point.values["x"] < 0.1


def test_of_many_trials_the_best_and_some_of_all_others_count() -> None:
    """Three hundred trials: the process knows a hundred, among them the best fifty."""
    search = Search(space(UNIT))
    for place in range(300):
        search.add(search.draw(), "finished", float(place))
    search.ask()
    places, values = search.bayes._known()
    assert places.shape == (100, 2)
    best = np.array([search.bayes._told[f"r{place}"][0] for place in range(50)])
    assert places[:50] == pytest.approx(best)
    assert np.diff(values).min() >= 0
