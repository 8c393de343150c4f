"""Runs grouped by the values of config keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from runtide_dashboards import configs
from runtide_dashboards.records import Run


@dataclass(frozen=True)
class Group:
    """Runs that agree in the keys by which they are grouped.

    Args:
        label: Keys and values: `optim.lr=0.1, model=gpt`.
        values: The values as JSON texts, in the order of the keys; `—` for a key that the runs do not have.
        runs: The runs, in the order given.
    """

    label: str
    values: tuple[str, ...]
    runs: tuple[Run, ...]


def by_config(runs: Sequence[Run], paths: Sequence[str]) -> list[Group]:
    """Group runs by the values of these config paths, in the order of the groups' first runs."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        config = run.flat_config
        found.setdefault(tuple(config.get(path, configs.MISSING) for path in paths), []).append(run)
    return [Group(_label(paths, values), values, tuple(members)) for values, members in found.items()]


def _label(paths: Sequence[str], values: Sequence[str]) -> str:
    # A text without its quotes; quotes stay where it could be taken for something else, such as "1".
    return ", ".join(f"{path}={_bare(value)}" for path, value in zip(paths, values, strict=True))


def _bare(value: str) -> str:
    text: str = json.loads(value) if value.startswith('"') else ""
    if not text or text == configs.MISSING or any(mark in text for mark in ',="'):
        return value
    try:
        json.loads(text)
    except ValueError:
        return text
    return value
