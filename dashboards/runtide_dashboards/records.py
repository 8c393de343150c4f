"""What the store says about runs and series, as the pages use it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtide_dashboards import configs


@dataclass(frozen=True)
class Run:
    """A run as the pages show it.

    `ordinal` counts the runs of its project from 0, oldest first; `duration` is in seconds.
    """

    path: str
    name: str
    state: str
    created: datetime
    duration: float
    tags: tuple[str, ...]
    config: str
    ordinal: int

    @property
    def project(self) -> str:
        """The path of its project: entity/project."""
        return self.path.rpartition("/")[0]

    @property
    def label(self) -> str:
        """Its name, or its id when it has none."""
        return self.name or self.path.rpartition("/")[2]

    @property
    def flat_config(self) -> dict[str, str]:
        """Its config as dot paths and JSON texts."""
        return configs.flatten(configs.parse(self.config))


@dataclass(frozen=True)
class Series:
    """One run's line in a panel.

    Args:
        run: Path of the run.
        key: Name of the metric.
        rank: The rank that is drawn: the lowest that logged the key.
        ranks: How many ranks logged it.
        count: Points, superseded ones too.
        first_step: Smallest step.
        last_step: Largest step.
        last_time: Latest time.
        plain: One writer logged it in order, so that no point supersedes another.
    """

    run: str
    key: str
    rank: int
    ranks: int
    count: int
    first_step: int
    last_step: int
    last_time: datetime
    plain: bool


@dataclass(frozen=True)
class Cut:
    """One series and how to cut it.

    Args:
        series: The series.
        width: Width of its buckets, in steps or milliseconds: a power of two.
        origin: Milliseconds since 1970 at which its time axis begins; not used by the step axis.
    """

    series: Series
    width: int
    origin: int = 0
