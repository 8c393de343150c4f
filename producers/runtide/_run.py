"""A run as the training code sees it."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runtide import _environment, _names
from runtide._alerts import Alerts
from runtide._attempts import Attempt
from runtide._config import Config
from runtide._console import Console
from runtide._definitions import Metric, checked, merged, rule
from runtide._facts import Facts
from runtide._later import LaterOnRun
from runtide._notebook import in_notebook
from runtide._outbox import open_transport
from runtide._report import say, warn
from runtide._resume import ask_about, look_back
from runtide._sender import End, Sender
from runtide._settings import Settings, unfinished
from runtide._summary import Summary
from runtide._transport import Transport
from runtide._values import to_json, utf8

_DISABLED_ROOM = 10_000
if TYPE_CHECKING:
    from runtide._sampler._node import Node

_ENVIRONMENT_TIMEOUT = 1.0
_PHASE_LENGTH = 128


class Run(Facts, LaterOnRun):
    """One training execution. Made by `runtide.init()`; all methods may be called from any thread.

    Args:
        settings: What was asked for.
        transport: Opens the way out for a writer: told the settings, the writer's id and the run's path.
    """

    __slots__ = (
        "_alerts",
        "_attempt",
        "_child",
        "_console",
        "_definitions",
        "_environment",
        "_node",
        "_phase",
        "_preempting",
        "_sender",
        "_surroundings",
        "_transport",
    )

    def __init__(
        self, settings: Settings, transport: Callable[[Settings, int, str], Transport] = open_transport
    ) -> None:
        self._settings = settings
        self._transport = transport
        disabled = settings.mode == "disabled"
        self._id = settings.id or ("dummy-" if disabled else "") + _names.run_id()
        self._path = f"{settings.entity}/{settings.project}/{self._id}"
        self._alerts = Alerts()
        self._console = Console()
        self._preempting = False
        self._phase = ""
        self._node: Node | None = None
        self._environment: dict[str, Any] = {}
        self._version = 1
        self._child = False
        self._sender: Sender | None = None
        self._surroundings: threading.Thread | None = None
        self.start_time = time.time()
        past = None if disabled else look_back(settings, self._path)
        told = past.told if past else {}
        self._resumed = past is not None
        self._name = settings.name or told.get("name") or (self._id if disabled else _names.run_name(self._path))
        self._notes = settings.notes or told.get("notes", "")
        self._tags = settings.tags or tuple(told.get("tags", ()))
        self._definitions: dict[str, dict[str, Any]] = _object(told.get("definitions"))
        self._attempt, step = self._begin(past)
        self.starting_step = step
        room = _DISABLED_ROOM if disabled else settings.memory_max_points
        super().__init__(step, room, Summary(), shared=disabled, strict=settings.strict_steps)
        self._config = Config(self._changed, free=in_notebook())
        self._config.update(_object(told.get("config") or self._inherited()))
        if past and settings.rewind is None:
            self._summary._restore(past.summary)
        self._declare(self._definitions)

    def _begin(self, past: Attempt | None) -> tuple[int, int]:
        """Start of this attempt, beyond all that are known of the run, and its first step."""
        now = time.time_ns() // 1000
        last = self._settings.rewind if self._settings.rewind is not None else self._settings.parent_step
        step = last + 1 if last is not None else past.step if past else 0
        return max(now, past.attempt + 1) if past else now, step

    def _inherited(self) -> Any:
        """The config of the run that this one is forked from, as far as it is known."""
        parent = ask_about(self._settings, self._settings.parent) if self._settings.parent else None
        return parent.told.get("config") if parent else None

    def _start(self) -> None:
        """Begin to send; the description of the surroundings follows when it is known."""
        if not self.disabled and self._settings.sampler != "off":
            # Here and not by the sender: a child forked in the midst of an import would wait for it for ever.
            from runtide._sampler._node import Node

            self._node = Node(self._settings, self._path)
        with self._lock:
            self._arm()
        if self._settings.resume == "auto":
            with suppress(OSError):
                unfinished(self._settings.home, f"{self.entity}/{self.project}").begin(self._id)
        if not self.disabled:
            self._surroundings = threading.Thread(
                target=self._look_around, args=(_environment.folder(),), name="runtide-environment", daemon=True
            )
            self._surroundings.start()

    def _look_around(self, folder: str) -> None:
        tell = not self._settings.silent and self._settings.rank == 0
        sampler = (self._node.reason if self._node else "") or self._settings.sampler
        about = {"console": self._settings.console, "sampler": sampler}
        if self.sweep_id:
            about["sweep"] = f"{self.entity}/{self.project}/{self.sweep_id}"
        self._environment = _environment.capture(folder, tell) | about
        self._version += 1

    def _arm(self) -> None:
        if self.disabled:
            self._collect()
            self._ready.clear()
            self._room = self._points - sum([len(entry[3]) for entry in self._entries])  # those wait for a device
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
            if self._settings.console == "wrap":
                self._console.open(sender.wake)
            # Its processes end by os._exit, which runs no atexit function, but these they do run. Where it was never
            # imported, this is none of them.
            if self._child and (util := sys.modules.get("multiprocessing.util")):
                util.Finalize(None, self.finish, exitpriority=10)

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        """A run that is pickled into another process logs into the same run there, as a child."""
        settings = dataclasses.replace(self._settings, id=self._id, name=self._name, notes=self._notes, tags=self._tags)
        return _attach, (settings, self._attempt, self._step, self._config.as_dict(), self._console.number)

    def _become_child(self) -> None:
        """Go on in a forked child as a writer of its own, once it logs. What is buffered is the parent's."""
        if self._sender:
            self._sender.abandon()
        if self._node:
            self._node.abandon()
        self._sender = self._surroundings = self._node = None
        self._child = True
        self._dropped = {}
        self._alerts = Alerts()
        self._console.close()
        self._console = Console(self._console.number)
        self._summary._take_set()
        self._summary._take_statistics()
        self._clear()

    def _describe(self) -> dict[str, Any]:
        """The description that a `runs` record carries."""
        return {
            "name": self._name,
            "group": self._settings.group,
            "job_type": self._settings.job_type,
            "notes": self._notes,
            "tags": list(self._tags),
            "config": to_json(self._config.as_dict()),
            "definitions": to_json(self._definitions),
            "environment": to_json(self._environment),
            "parent": self._settings.parent,
            "parent_step": self._settings.parent_step,
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
        self._console.close()
        deadline = time.monotonic() + self._settings.finish_timeout
        if self._surroundings:
            self._surroundings.join(min(_ENVIRONMENT_TIMEOUT, self._settings.finish_timeout))
        code = min(max(int(exit_code or 0), -(2**31)), 2**31 - 1)
        if not code and self._settings.resume == "auto":
            with suppress(OSError):
                unfinished(self._settings.home, f"{self.entity}/{self.project}").end()
        end = End("failed" if code else "finished", code)
        if self._sender is None:
            self._catch_up()
        elif not self._sender.close(end, max(0.0, deadline - time.monotonic())):
            say(
                f"warning: run {self._id} could not be ended within {self._settings.finish_timeout:g} s: what was not "
                "written yet is lost with this process; RUNTIDE_FINISH_TIMEOUT sets how long to wait"
            )

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
        **legacy: Any,
    ) -> Metric:
        """Declare how a metric is drawn and summarised, for what is logged from now on.

        Args:
            name: Name of the metric; a `*` at the end stands for any ending.
            step_metric: Metric that is the x axis.
            step_sync: Store the x axis' last value (0 when there is none) with every call of log() that lacks it
                (default: yes, where there is a step_metric).
            hidden: Not shown unless asked for.
            summary: Some of min, max, mean, last, first, best, copy, none, separated by commas.
            goal: minimize or maximize: what `best` means.
            overwrite: Forget what was declared for the name before.
            legacy: What W&B takes besides; ignored with a warning.

        Raises:
            Error: A `*` elsewhere than at the end, an unknown summary or goal, or an argument of the wrong type.
        """
        if legacy:
            warn("define_metric", f"define_metric() ignores {', '.join(sorted(legacy))}")
        options = {
            "step_metric": step_metric, "step_sync": step_sync, "hidden": hidden, "summary": summary, "goal": goal,
        }  # fmt: skip
        given = checked(name, options)
        declared = merged({} if overwrite else self._definitions.get(name, {}), given)
        self._declare({**self._definitions, name: declared})
        self._changed()
        return Metric(name, **declared)

    def _declare(self, definitions: dict[str, dict[str, Any]]) -> None:
        with self._fold:
            self._catch_up()
            self._definitions = definitions
            self._axes.declare(definitions)
            self._summary._declare({name: rule(definition) for name, definition in definitions.items()})

    def alert(self, title: str, text: str = "", level: Any = None, wait_duration: Any = None) -> None:
        """Tell a person something: it goes to the table `alerts`.

        Args:
            title: What it is about, in a few words.
            text: The whole message.
            level: INFO (default), WARN or ERROR, as text or `AlertLevel`.
            wait_duration: Seconds, or a timedelta, for which alerts with the same title are left out (default: 60).

        Raises:
            ValueError: An unknown level, or a time that is none.
        """
        self._alerts.add(title, text, level, wait_duration, self._step)
        if self.disabled:
            self._alerts.waiting.clear()
        elif self._open:
            with self._lock:
                self._arm()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Say what the run does for a while, so that samples of that time can be told apart: `with run.phase("eval")`.

        Phases may be nested; outside of them a run trains. Those of one rank are its own.

        Args:
            name: Such as eval, checkpoint or compile, which are not counted as idle time; up to 128 characters.
        """
        before, self._phase = self._phase, utf8(name)[:_PHASE_LENGTH]
        try:
            yield
        finally:
            self._phase = before

    def mark_preempting(self) -> None:
        """Say that this machine is about to be taken away: the run's end is then no failure of it."""
        self._preempting = True
        self._changed()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Whoever prints it does so when this run has ended.
        if error is not None and not isinstance(error, SystemExit):
            with suppress(Exception):
                from traceback import format_exception  # training that goes well needs none of it

                self._console.add_error("".join(format_exception(error)))
        self.finish(0 if kind is None else 1)


def _object(text: Any) -> dict[str, Any]:
    """What a JSON text holds; nothing when it is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _attach(settings: Settings, attempt: int, step: int, config: dict[str, Any], number: int) -> Run:
    run = Run(dataclasses.replace(settings, resume="", rewind=None))
    run.config.update(config, allow_val_change=True)
    run._attempt, run._step, run._child, run._console = attempt, step, True, Console(number)
    return run
