"""What a run says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from runtide import _platform
from runtide._buffer import Buffer
from runtide._config import Config
from runtide._report import warn
from runtide._settings import Settings
from runtide._summary import Summary
from runtide._values import utf8


class Facts(Buffer):
    """The part of a run that answers questions; name, notes and tags can be changed."""

    __slots__ = (
        "_config",
        "_id",
        "_name",
        "_notes",
        "_path",
        "_resumed",
        "_settings",
        "_tags",
        "_version",
        "start_time",
        "starting_step",
    )

    _settings: Settings
    _id: str
    _path: str
    _name: str
    _notes: str
    _tags: tuple[str, ...]
    _version: int
    _resumed: bool
    _config: Config
    start_time: float
    starting_step: int

    def _changed(self) -> None:
        if not self._open:
            warn("finished", f"run {self._id} has ended: what is changed now reaches nobody")
        self._version += 1

    @property
    def config(self) -> Config:
        """The configuration."""
        return self._config

    @property
    def summary(self) -> Summary:
        """Per metric the last value, or what define_metric asked for, or what was set by hand."""
        return self._summary

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        self._summary.update(values)

    @property
    def id(self) -> str:
        """Id, unique in the project."""
        return self._id

    @property
    def name(self) -> str:
        """Display name."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = utf8(value)
        self._changed()

    @property
    def notes(self) -> str | None:
        """Free text; None for none."""
        return self._notes or None

    @notes.setter
    def notes(self, value: str | None) -> None:
        self._notes = utf8(value or "")
        self._changed()

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags, in the order given."""
        return self._tags

    @tags.setter
    def tags(self, value: Iterable[str]) -> None:
        self._tags = tuple(utf8(tag) for tag in ([value] if isinstance(value, str) else value))
        self._changed()

    @property
    def project(self) -> str:
        """Project that the run belongs to."""
        return self._settings.project

    @property
    def entity(self) -> str:
        """Team or person that the run belongs to."""
        return self._settings.entity

    @property
    def group(self) -> str:
        """Group that the run belongs to."""
        return self._settings.group

    @property
    def job_type(self) -> str:
        """Kind of job, such as train or eval."""
        return self._settings.job_type

    @property
    def path(self) -> str:
        """The run's name everywhere: entity/project/id."""
        return self._path

    @property
    def step(self) -> int:
        """Step that the next call of log() gets."""
        return self._step

    @property
    def rank(self) -> int:
        """Rank of this process in its job."""
        return self._settings.rank

    @property
    def resumed(self) -> bool:
        """The run goes on from an earlier attempt."""
        return self._resumed

    @property
    def dropped(self) -> dict[str, int]:
        """Points that had to be dropped so far, by reason."""
        with self._lock:
            return dict(self._dropped)

    @property
    def disabled(self) -> bool:
        """Nothing leaves this process."""
        return self._settings.mode == "disabled"

    @property
    def offline(self) -> bool:
        """Never: the spool is delivered whenever a consumer runs."""
        return False

    @property
    def settings(self) -> Settings:
        """What the run was started with."""
        return self._settings

    @property
    def config_static(self) -> dict[str, Any]:
        """A copy of the config as it is now."""
        return self._config.as_dict()

    @property
    def dir(self) -> str:
        """A folder for files of the run."""
        folder = _platform.path_of(self._settings.home / "files", self._path)
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    @property
    def url(self) -> str | None:
        """Address of the run in the dashboard; None while no dashboard runs on this machine."""
        return (base := self._dashboard()) and f"{base}/run?r={self._path}"

    @property
    def project_url(self) -> str | None:
        """Address of the project's runs in the dashboard; None while no dashboard runs on this machine."""
        return (base := self._dashboard()) and f"{base}/?project={self.entity}/{self.project}"

    @property
    def sweep_id(self) -> str | None:
        """Id of the sweep that the run is a trial of; None for none."""
        return None

    @property
    def sweep_url(self) -> str | None:
        """Address of the sweep in the dashboard; None for a run that is no trial, and while no dashboard runs here."""
        if self.sweep_id is None:
            return None
        return (base := self._dashboard()) and f"{base}/sweep?s={self.entity}/{self.project}/{self.sweep_id}"

    def get_url(self) -> str | None:
        """The same as `url`."""
        return self.url

    def get_project_url(self) -> str | None:
        """The same as `project_url`."""
        return self.project_url

    def get_sweep_url(self) -> str | None:
        """The same as `sweep_url`."""
        return self.sweep_url

    def project_name(self) -> str:
        """The same as `project`."""
        return self.project

    def _dashboard(self) -> str | None:
        try:
            stack = json.loads((self._settings.home / "stack.json").read_text())
            return str(stack["dashboard_url"]).rstrip("/")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def __repr__(self) -> str:
        return f"<runtide.Run {self._path} {self._name!r}>"

    def _repr_html_(self) -> str:
        """The run as a notebook shows it."""
        title = f"<b>{escape(self._name)}</b> <code>{escape(self._path)}</code>"
        address = self.url
        return f'<a href="{escape(address)}" target="_blank">{title}</a>' if address else title
