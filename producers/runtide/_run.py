"""A run as the training code sees it."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing.util
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from runtide import _environment, _names
from runtide._attempts import last_attempt
from runtide._buffer import Buffer
from runtide._config import Config
from runtide._errors import Error, UsageError
from runtide._outbox import open_transport
from runtide._report import say, warn
from runtide._sender import End, Sender
from runtide._settings import Settings
from runtide._summary import Summary
from runtide._transport import Transport
from runtide._values import to_json, utf8

_DISABLED_ROOM = 10_000
_ENVIRONMENT_TIMEOUT = 1.0


class Run(Buffer):
    """One training execution. Made by `runtide.init()`; all methods may be called from any thread.

    Args:
        settings: What was asked for.
        transport: Opens the way out for a writer: told the settings, the writer's id and the run's path.
    """

    __slots__ = (
        "_attempt",
        "_child",
        "_definitions",
        "_environment",
        "_id",
        "_name",
        "_notes",
        "_path",
        "_sender",
        "_settings",
        "_surroundings",
        "_tags",
        "_transport",
        "_version",
        "config",
        "start_time",
    )

    def __init__(
        self, settings: Settings, transport: Callable[[Settings, int, str], Transport] = open_transport
    ) -> None:
        self._settings = settings
        self._transport = transport
        disabled = settings.mode == "disabled"
        self._id = settings.id or ("dummy-" if disabled else "") + _names.run_id()
        self._path = f"{settings.entity}/{settings.project}/{self._id}"
        self._name = settings.name or (self._id if disabled else _names.run_name(self._path))
        self._notes = settings.notes
        self._tags = settings.tags
        self._definitions: dict[str, dict[str, Any]] = {}
        self._environment: dict[str, Any] = {}
        self._version = 1
        self._child = False
        self._sender: Sender | None = None
        self._surroundings: threading.Thread | None = None
        self.start_time = time.time()
        self._attempt, step = self._follow(disabled)
        self.config = Config(self._changed)
        super().__init__(step, _DISABLED_ROOM if disabled else settings.memory_max_points, Summary(), shared=disabled)

    def _follow(self, disabled: bool) -> tuple[int, int]:
        """Start of this attempt, beyond all that this node has seen for the run, and its first step."""
        now = time.time_ns() // 1000
        settings = self._settings
        earlier = None
        if settings.id and not disabled:  # a new id has no earlier attempts: no look at the disk
            earlier = last_attempt(settings.home, self._path, settings.rank)
        if earlier is None:
            if settings.resume == "must":
                warn("resume", f"resume='must': this node knows nothing of {self._path}; it begins at step 0")
            return now, 0
        if settings.resume == "never":
            raise UsageError(f"resume='never', but the run {self._path} exists: give another id")
        return max(now, earlier.attempt + 1), earlier.step

    def _start(self) -> None:
        """Begin to send; the description of the surroundings follows when it is known."""
        with self._lock:
            self._arm()
        if not self.disabled:
            self._surroundings = threading.Thread(
                target=self._look_around, args=(_environment.folder(),), name="runtide-environment", daemon=True
            )
            self._surroundings.start()

    def _look_around(self, folder: str) -> None:
        self._environment = _environment.capture(folder)
        self._changed()

    def _arm(self) -> None:
        if self.disabled:
            self._collect()
            self._ready.clear()
            self._room = self._points
        elif self._sender is None:
            writer = _names.writer_id()
            sender = Sender(self, self._transport(self._settings, writer, self._path), writer, self._child)
            try:
                sender.start()
            except RuntimeError:  # no new threads while the interpreter ends
                self._trouble = "no_thread"
                return
            self._sender = sender
            self._room = self._points
            if self._child:
                # Its processes end by os._exit, which runs no atexit function, but these they do run.
                multiprocessing.util.Finalize(None, self.finish, exitpriority=10)

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        """A run that is pickled into another process logs into the same run there, as a child."""
        settings = dataclasses.replace(self._settings, id=self._id, name=self._name, notes=self._notes, tags=self._tags)
        return _attach, (settings, self._attempt, self._step, self.config.as_dict())

    def _become_child(self) -> None:
        """Go on in a forked child as a writer of its own, once it logs. What is buffered is the parent's."""
        if self._sender:
            self._sender.abandon()
        self._sender = self._surroundings = None
        self._child = True
        self._dropped = {}
        self.summary._take_set()
        self._clear()

    def _changed(self) -> None:
        self._version += 1

    def _describe(self) -> dict[str, Any]:
        """The description that a `runs` record carries."""
        return {
            "name": self._name,
            "group": self._settings.group,
            "job_type": self._settings.job_type,
            "notes": self._notes,
            "tags": list(self._tags),
            "config": to_json(self.config.as_dict()),
            "definitions": to_json(self._definitions),
            "environment": to_json(self._environment),
        }

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything logged so far is in the spool.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it is.
        """
        return self._sender.flush(timeout) if self._sender else not self._entries

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run. Waits for at most `RUNTIDE_FINISH_TIMEOUT` seconds (10); a second call does nothing.

        Args:
            exit_code: 0 (or None) for a run that finished, anything else for one that failed.
            quiet: Ignored; older scripts pass it.
        """
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._room = -1
        deadline = time.monotonic() + self._settings.finish_timeout
        if self._surroundings:
            self._surroundings.join(min(_ENVIRONMENT_TIMEOUT, self._settings.finish_timeout))
        code = min(max(int(exit_code or 0), -(2**31)), 2**31 - 1)
        end = End("failed" if code else "finished", code)
        if self._sender is None:
            self._collect()
        elif not self._sender.close(end, max(0.0, deadline - time.monotonic())):
            say(
                f"warning: run {self._id} could not be ended within {self._settings.finish_timeout:g} s: what was not "
                "written yet is lost with this process; RUNTIDE_FINISH_TIMEOUT sets how long to wait"
            )

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> None:
        """Declare how a metric is drawn and summarised.

        The dashboard draws over steps or time, and keeps what is declared for drawing without using it yet.

        Args:
            name: Name of the metric; a `*` at the end stands for any ending.
            step_metric: Metric that is the x axis.
            step_sync: Kept for the dashboard.
            hidden: Not shown unless asked for.
            summary: Some of min, max, mean, last, first, best, copy, none, separated by commas.
            goal: minimize or maximize: what `best` means.
            overwrite: Forget what was declared for the name before.

        Raises:
            Error: A `*` elsewhere than at the end, or an unknown summary.
            TypeError: An argument is of the wrong type.
        """
        texts = {"name": name, "step_metric": step_metric, "summary": summary, "goal": goal}
        for what, text in texts.items():
            if text is not None and not isinstance(text, str):
                raise TypeError(f"define_metric({what}={text!r}): give a text")
        if "*" in name[:-1] or not name:
            raise Error(f"define_metric({name!r}): a * is possible at the end only, and the name cannot be empty")
        if summary is not None:
            best = "best-max" if goal in ("max", "maximize") else "best-min"
            self.summary._define(
                name, ",".join(best if part.strip() == "best" else part for part in summary.split(","))
            )
        flags = {"step_sync": step_sync, "hidden": hidden}
        given = {key: value for key, value in (texts | flags).items() if value is not None and key != "name"}
        before = {} if overwrite else self._definitions.get(name, {})
        self._definitions = {**self._definitions, name: {**before, **given}}
        self._changed()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(0 if kind is None else 1)

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
    def notes(self) -> str:
        """Free text."""
        return self._notes

    @notes.setter
    def notes(self, value: str) -> None:
        self._notes = utf8(value)
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
    def dir(self) -> str:
        """A folder for files of the run."""
        folder = self._settings.home / "files" / self._path
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    @property
    def url(self) -> str | None:
        """Address of the run in the dashboard; None while no dashboard runs on this machine."""
        try:
            stack = json.loads((self._settings.home / "stack.json").read_text())
            return f"{stack['dashboard_url'].rstrip('/')}/compare?r={self._path}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def __repr__(self) -> str:
        return f"<runtide.Run {self._path} {self._name!r}>"


def _attach(settings: Settings, attempt: int, step: int, config: dict[str, Any]) -> Run:
    run = Run(dataclasses.replace(settings, resume=""))
    run.config.update(config)
    run._attempt, run._step, run._child = attempt, step, True
    return run
