"""Is a difference more than what seeds do? Tests of two means, with the spread between runs as the only yardstick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# scipy.stats has the same tests, and takes seconds to import.
from scipy.special import stdtr

# What has to be there on each side, or in the family that lends its spread.
MIN_RUNS = 3
LEVEL = 0.05


@dataclass(frozen=True)
class Test:
    """What a test of `difference` = mean of b minus mean of a said.

    `error` is the standard error of the difference. Where it is 0 the runs do not differ at all, and neither
    `statistic` nor `p` (two-sided) exists.
    """

    difference: float
    error: float
    df: float
    statistic: float | None
    p: float | None


def mean(values: Sequence[float]) -> float:
    """The mean of finite numbers, also of some near the largest there are."""
    scaled, exponent = _scaled(values)
    return float(np.ldexp(_mean(scaled), exponent))


def welch(a: Sequence[float], b: Sequence[float]) -> Test:
    """Welch's t-test: both sides have a spread of their own.

    Args:
        a: Values of at least two runs.
        b: Values of at least two others.

    Source: B. L. Welch, "The generalization of Student's problem when several different population variances are
    involved", Biometrika 34 (1947); degrees of freedom: F. E. Satterthwaite, Biometrics Bulletin 2 (1946).
    """
    (a_scaled, b_scaled), exponent = _scaled_alike(a, b)
    share_a, share_b = _variance(a_scaled) / len(a), _variance(b_scaled) / len(b)
    total = share_a + share_b
    part = share_a / total if total else 0.5
    df = 1 / (part**2 / (len(a) - 1) + (1 - part) ** 2 / (len(b) - 1))
    return _test(_mean(b_scaled) - _mean(a_scaled), float(np.sqrt(total)), df, exponent)


def borrowed(a: Sequence[float], b: Sequence[float], lender: Sequence[float]) -> Test:
    """Student's t with the standard deviation of one family: its error is sd·√2 for one run against one.

    Args:
        a: Values of one side's runs, one at least.
        b: Values of the other's.
        lender: Values of runs of one recipe, whose spread is taken for that of both: one of the sides itself, or runs
            that are in neither.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908); the variance of a difference of two means is
    σ²(1/n + 1/m), and a normal sample's standard deviation is independent of its mean.
    """
    (a_scaled, b_scaled, lent), exponent = _scaled_alike(a, b, lender)
    error = float(np.sqrt(_variance(lent) * (1 / len(a) + 1 / len(b))))
    return _test(_mean(b_scaled) - _mean(a_scaled), error, len(lender) - 1, exponent)


def _test(difference: float, error: float, df: float, exponent: int) -> Test:
    raw, unit = float(np.ldexp(difference, exponent)), float(np.ldexp(error, exponent))
    if error == 0:
        return Test(raw, 0.0, df, None, None)
    statistic = difference / error
    return Test(raw, unit, df, statistic, float(2 * stdtr(df, -abs(statistic))))


def _scaled_alike(*groups: Sequence[float]) -> tuple[list[NDArray[np.float64]], int]:
    # Squares of the largest doubles do not fit, squares of the smallest vanish.
    together, exponent = _scaled([value for group in groups for value in group])
    return np.split(together, np.cumsum([len(group) for group in groups])[:-1]), exponent


def _scaled(values: Sequence[float]) -> tuple[NDArray[np.float64], int]:
    array = np.asarray(values, dtype=np.float64)
    exponent = int(np.frexp(np.max(np.abs(array)))[1])
    return np.ldexp(array, -exponent), exponent


def _mean(values: NDArray[np.float64]) -> float:
    # Equal values have themselves for a mean, to the last digit.
    return float(values[0] if np.ptp(values) == 0 else np.mean(values))


def _variance(values: NDArray[np.float64]) -> float:
    return 0.0 if np.ptp(values) == 0 else float(np.var(values, ddof=1))
