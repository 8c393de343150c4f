"""Optuna's samplers and pruners, by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtide._errors import Error, UsageError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

# They are imported when they are first needed, in the midst of a search.
_NEEDED = {"bayes": ("sklearn", "threadpoolctl"), "gp": ("scipy", "torch"), "cmaes": ("cmaes",), "qmc": ("scipy",)}


def sampler(method: str, conditional: bool) -> BaseSampler:
    """What chooses the points of a method other than grid and random.

    Args:
        method: Its name.
        conditional: Some parameters are not always there.

    Raises:
        Error: It needs a package that is not there.
    """
    from optuna import samplers

    for package in _NEEDED.get(method, ()):
        try:
            import_module(package)
        except ImportError as error:
            words = f"method={method!r} needs {package}, which cannot be imported"
            install = package if package == "torch" else "'runtide[sweeps]'"
            raise Error(f"{words} ({error}): pip install {install}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is experimental in Optuna
        match method:
            case "bayes":
                # Of several metrics: see _bayes. Points that other agents try now count as bad ones.
                return samplers.TPESampler(
                    multivariate=True, group=conditional, constant_liar=True, warn_independent_sampling=False
                )
            case "tpe":
                return samplers.TPESampler(constant_liar=True)
            case "gp":
                return samplers.GPSampler(independent_sampler=samplers.RandomSampler())
            case "cmaes":
                return samplers.CmaEsSampler(warn_independent_sampling=False)
            case "nsgaii":
                return samplers.NSGAIISampler()
            case "nsgaiii":
                return samplers.NSGAIIISampler()
            case "qmc":
                return samplers.QMCSampler(warn_independent_sampling=False, warn_asynchronous_seeding=False)
    return samplers.RandomSampler()


def pruner(options: Mapping[str, Any]) -> BasePruner:
    """What ends runs early, other than W&B's hyperband.

    Raises:
        UsageError: It does not take what was given.
    """
    from optuna import pruners

    given = {key: value for key, value in options.items() if key != "type"}
    kinds: dict[str, Any] = {
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "successive_halving": pruners.SuccessiveHalvingPruner,
        "threshold": pruners.ThresholdPruner,
        "patient": lambda **more: pruners.PatientPruner(None, **more),
        "optuna_hyperband": pruners.HyperbandPruner,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kinds[options["type"]](**given)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise UsageError(f"early_terminate={dict(options)!r}: Optuna does not take it: {error}") from None
