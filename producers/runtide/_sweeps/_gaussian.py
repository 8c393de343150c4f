"""A Gaussian process: what is likely to come of a point, from what came of others.

scikit-learn's, of Matérn 5/2 with a length for each parameter, and noise; lengths and noise are the most likely ones
under weak priors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import erfcx
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

Array: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.intp]
Cost: TypeAlias = Callable[[Array], tuple[float, Array]]

# Logarithms: of a length in a cube of one side, times the root of its dimensions; of the noise's share of the variance.
_LENGTH, _LENGTH_SPREAD, _LENGTH_BOUNDS = -0.7, 1.0, (-4.0, 4.0)
_NOISE, _NOISE_SPREAD, _NOISE_BOUNDS = -7.0, 2.0, (-14.0, 0.0)
# The kernel's own are beyond those: it warns of what is found at its bounds.
_BEYOND = (1e-9, 1e9)
# Closer than that, the likelihood tells nothing.
_STEPS, _PRECISION = 40, 1e-5


class Process:
    """What is known after some points.

    Args:
        parameter_of: For each column the place of its parameter; a category may have a column for each of its values.
        points: (n, columns), within 0 and 1.
        values: (n,), standardised; small is good.
        settings: Logarithms of the lengths and of the noise; None to find them.
        start: Where to look for them first.
    """

    def __init__(
        self,
        parameter_of: Places,
        points: Array,
        values: Array,
        settings: Array | None = None,
        start: Array | None = None,
    ) -> None:
        # The kernel has a length for each column; those of a category are one setting.
        setting_of = np.append(parameter_of, parameter_of[-1] + 1)
        first = np.searchsorted(setting_of, np.arange(setting_of[-1] + 1))
        known = next(one for one in (settings, start, _usual(len(first))) if one is not None)
        kernel = Matern(np.exp(known[parameter_of]), _BEYOND, nu=2.5) + WhiteKernel(math.exp(known[-1]), _BEYOND)
        optimizer = partial(_likeliest, setting_of, first) if settings is None else None
        self._process = GaussianProcessRegressor(kernel, optimizer=optimizer).fit(points, values)
        self.settings = self._process.kernel_.theta[first]

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, without noise, at (m, columns)."""
        mean, deviation = self._process.predict(points, return_std=True)
        return mean, np.sqrt(np.maximum(deviation**2 - math.exp(self.settings[-1]), 1e-12))


def log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Logarithm of the expected improvement on the best value, which is finite also far from it.

    Source: Ament et al., Unexpected Improvements to Expected Improvement, NeurIPS 2023, eq. 9.
    """
    z = (best - mean) / deviation
    low = np.minimum(z, 30.0)  # beyond, it grows as z does
    ratio = math.sqrt(math.pi / 2) * erfcx(-low / math.sqrt(2))  # of the normal's integral to its density
    found = np.log(np.maximum(1 + low * ratio, 1e-300)) - 0.5 * low * low
    return np.asarray(found + np.log(deviation * np.maximum(z / 30, 1.0)), dtype=float)


def _usual(count: int) -> Array:
    """So many settings before anything is known."""
    return np.append(np.full(count - 1, _LENGTH + 0.5 * math.log(count - 1)), _NOISE)


def _likeliest(setting_of: Places, first: Places, cost: Cost, theta: Array, bounds: Array) -> tuple[Array, float]:
    """An optimizer as scikit-learn calls it: the kernel's theta of the least cost, here with that of the priors."""
    usual = _usual(len(first))
    spread, limits = np.full(len(first), _LENGTH_SPREAD), [_LENGTH_BOUNDS] * len(first)
    spread[-1], limits[-1] = _NOISE_SPREAD, _NOISE_BOUNDS

    def whole(settings: Array) -> tuple[float, Array]:
        value, slope = cost(settings[setting_of])
        off = (settings - usual) / spread
        return value + 0.5 * off @ off, np.bincount(setting_of, slope) + off / spread

    options = {"maxiter": _STEPS, "ftol": _PRECISION}
    found = minimize(whole, theta[first], jac=True, method="L-BFGS-B", bounds=limits, options=options)
    return found.x[setting_of], float(found.fun)
