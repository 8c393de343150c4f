"""What the store says about runs and projects, as the pages use it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtide_dashboards import configs


@dataclass(frozen=True)
class Run:
    """A run as the pages show it.

    `ordinal` counts the runs of its project from 0, oldest first; `duration` is in seconds; `config`, `definitions`
    (what define_metric declared, by metric name) and `environment` are JSON objects. `colour` is #RRGGBB where somebody
    chose one, else empty; `edited` is when somebody last changed the run.
    """

    path: str
    name: str
    state: str
    created: datetime
    duration: float
    tags: tuple[str, ...]
    config: str
    ordinal: int
    heartbeat: datetime
    group: str
    job_type: str
    notes: str
    definitions: str
    environment: str
    attempts: int
    ranks: int
    parent: str
    parent_step: int | None
    exit_code: int | None
    colour: str
    archived: bool
    baseline: bool
    deleted: bool
    edited: datetime | None

    @property
    def project(self) -> str:
        """The path of its project: entity/project."""
        return self.path.rpartition("/")[0]

    @property
    def live(self) -> bool:
        """Whether more can be expected of it."""
        return self.state in ("running", "preempting")

    @property
    def label(self) -> str:
        """Its name, or its id when it has none."""
        return self.name or self.path.rpartition("/")[2]

    @property
    def flat_config(self) -> dict[str, str]:
        """Its config as dot paths and JSON texts."""
        return configs.flatten(configs.parse(self.config))


@dataclass(frozen=True)
class Project:
    """A project: `path` is entity/project, `active` when one of its runs was last heard of."""

    path: str
    runs: int
    running: int
    archived: int
    deleted: int
    active: datetime
