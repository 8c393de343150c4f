"""What define_metric declared in a run: which rule a metric goes by, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtide_dashboards import configs

MINIMIZE, MAXIMIZE = "minimize", "maximize"
Definitions = Mapping[str, Mapping[str, Any]]


def declared(definitions: str) -> Definitions:
    """What a run stored, as rules by metric name or by name with a `*` at its end; what is no rule is left out."""
    return {name: rule for name, rule in configs.parse(definitions).items() if isinstance(rule, dict)}


def goal(definitions: Definitions, key: str) -> str | None:
    """`minimize`, `maximize`, or None where nobody said."""
    wanted = _rule(definitions, key).get("goal")
    return wanted if wanted in (MINIMIZE, MAXIMIZE) else None


def step_metric(definitions: Definitions, key: str) -> str:
    """The metric over which a key is drawn, empty where nobody said."""
    wanted = _rule(definitions, key).get("step_metric")
    return wanted if isinstance(wanted, str) else ""


def _rule(definitions: Definitions, key: str) -> Mapping[str, Any]:
    """The rule of the key itself, else of the first name with a `*` that fits; keys that begin with _ fit none.

    It is how the SDK itself chooses when it writes summaries and x values.
    """
    if key in definitions:
        return definitions[key]
    names = () if key.startswith("_") else definitions
    return next((definitions[name] for name in names if name.endswith("*") and key.startswith(name[:-1])), {})
