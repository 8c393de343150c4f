"""The run of a trial: what a sweep's agent tells it, and what the agent learns of it.

The agent is in this process, when it was given a function, or in the one that started this process. Either way it
leaves a file, which the environment names: processes that the training starts find it as well.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from runtide._report import warn
from runtide._run import Run
from runtide._settings import Settings

_INTERVAL = 0.5
# What an agent sets in the environment of a trial, with W&B's prefix and ours.
NAMES = ("SWEEP_ID", "RUN_ID", "SWEEP_PARAM_PATH")
# What an agent learns of a run that has ended.
LAST = ("objectives", "exit_code", "preempted", "namesakes")


class TrialStopped(SystemExit):
    """Ends the training of a trial that need not go on. Raised in log(); `except Exception` lets it through."""


@dataclass(frozen=True)
class Trial:
    """What the agent says.

    Args:
        sweep: Id of the sweep.
        entity: Where the sweep is, and so the run.
        project: Where the sweep is, and so the run.
        run: Id of the run.
        attempt: How often the run had been begun before.
        config: Values that the sweep has chosen.
        metrics: Per objective its name, its summary (last, best, min, max or mean) and its goal.
        history: Every value of the objective is of interest.
        report: File in which an agent outside this process looks for what happened; empty for none.
        agent: Process id of that agent.
    """

    sweep: str
    entity: str
    project: str
    run: str
    attempt: int
    config: Mapping[str, Any]
    metrics: tuple[Mapping[str, str], ...] = ()
    history: bool = False
    report: str = ""
    agent: int = 0

    def arguments(self) -> dict[str, Any]:
        """What init() has to be given, whatever the script says."""
        found = {"entity": self.entity, "project": self.project, "id": self.run}
        return found | ({"resume": "allow"} if self.attempt else {"resume": None})

    def begin(self, settings: Settings) -> TrialRun:
        """The run of the trial."""
        return TrialRun(settings, self)

    def write(self, path: Path) -> None:
        """Leave the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)), "utf-8")
        draft.replace(path)


@dataclass
class Watch:
    """What an agent sees of the run, and how it stops it.

    Args:
        trial: The trial.
        history: Values of the objective, in the order of log(), when they are of interest.
        objectives: The objectives, when the run has ended.
        exit_code: The run's, when it has ended.
        preempted: Its machine was about to be taken away: the run's end is no failure of it.
        namesakes: What it logged that is called like an objective that it did not log, but for what comes before.
        stopping: Why the training has to end; empty when it has not.
        news: Set when something has changed.
    """

    trial: Trial
    history: list[Any] = field(default_factory=list)
    objectives: dict[str, float] = field(default_factory=dict)
    exit_code: int | None = None
    preempted: bool = False
    namesakes: list[str] = field(default_factory=list)
    stopping: str = ""
    news: threading.Event = field(default_factory=threading.Event)

    def values(self) -> list[float]:
        """The history as numbers, without NaN and infinities: they are no iterations."""
        numbers = [_number(value) for value in list(self.history)]
        return [number for number in numbers if number is not None and abs(number) < float("inf")]


# By run: the watches of agents in this process.
watches: dict[str, Watch] = {}


def find_trial(environ: MutableMapping[str, str]) -> Trial | None:
    """The trial that the agent left to this process; None when there is none, or, with a word, it cannot be read.

    A script that takes W&B's variables out of its environment, as one does that trains the folds of a trial as runs of
    their own, has left the trial: ours are taken out with them.
    """
    if f"WANDB_{NAMES[0]}" not in environ:
        for name in ("RUNTIDE_SWEEP_TRIAL", *(f"RUNTIDE_{name}" for name in NAMES)):
            environ.pop(name, None)
        return None
    path = environ["RUNTIDE_SWEEP_TRIAL"]
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        return Trial(**found | {"metrics": tuple(found["metrics"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        warn("trial", f"RUNTIDE_SWEEP_TRIAL={path!r} cannot be read: the run is no trial of a sweep ({error})")
        return None


class TrialRun(Run):
    """A run that is a trial of a sweep."""

    __slots__ = ("_reporter", "_trial", "_watch")

    def __init__(self, settings: Settings, trial: Trial) -> None:
        super().__init__(settings)
        self._trial = trial
        self._watch = watches.get(trial.run) or Watch(trial)
        self._config.lock(trial.config)
        for metric in trial.metrics:
            if metric["summary"] != "last":
                self.define_metric(metric["name"], summary=metric["summary"], goal=metric["goal"])
        self._reporter: _Reporter | None = None
        if trial.report and settings.rank == 0:
            self._reporter = _Reporter(self._watch)

    @property
    def sweep_id(self) -> str | None:
        """Id of the sweep that the run is a trial of."""
        return self._trial.sweep

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Record values, as every run does; the last call of a trial that has to end.

        Raises:
            TrialStopped: The sweep needs no more of this trial.
        """
        super().log(data, step, commit, sync)
        watch = self._watch
        if watch.trial.history and (value := data.get(watch.trial.metrics[0]["name"])) is not None:
            # A tensor of torch as it is now, without what it was computed from; a device is waited for by who reads it.
            watch.history.append(value.detach().clone() if hasattr(value, "detach") else value)
            watch.news.set()
        if watch.stopping:
            raise TrialStopped(0)

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run, and let the agent know what it came to."""
        ending = self._open
        super().finish(exit_code, quiet)
        if ending and not self._child:
            watch = self._watch
            found = {metric["name"]: _objective(self, metric) for metric in self._trial.metrics}
            watch.objectives = {name: value for name, value in found.items() if value is not None}
            if missing := {_last_part(name) for name in found if name not in watch.objectives}:
                watch.namesakes = [key for key in self.summary if key not in found and _last_part(key) in missing]
            watch.exit_code, watch.preempted = int(exit_code or 0), self._preempting
            watch.news.set()
            if self._reporter:
                self._reporter.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, TrialStopped):
            self.finish(0)
        else:
            super().__exit__(kind, error, traceback)


class _Reporter:
    """Tells an agent outside this process, from a thread: log() must not wait for a disk."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._told = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="runtide-trial", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended.wait(_INTERVAL):
            if not psutil.pid_exists(self._watch.trial.agent):
                self._watch.stopping = "lost"  # another agent goes on with the run, and two must not
            values = self._watch.values()
            if len(values) > self._told:
                self._write([{"value": value} for value in values[self._told :]])
                self._told = len(values)

    def end(self) -> None:
        """The last word."""
        self._ended.set()
        self._thread.join(_INTERVAL * 10)
        values = self._watch.values()
        last = {name: getattr(self._watch, name) for name in LAST}
        self._write([*({"value": value} for value in values[self._told :]), last])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        # The agent takes a run without a last word for one that failed.
        with suppress(OSError), open(self._watch.trial.report, "a", encoding="utf-8") as file:
            file.write(text)


def _objective(run: Run, metric: Mapping[str, str]) -> float | None:
    """What the run's summary says of a metric; None when it was not logged."""
    found = run.summary.get(metric["name"])
    if isinstance(found, Mapping):
        extreme = "max" if metric["goal"] == "maximize" else "min"
        wanted = (metric["summary"], "best", extreme, "last", "mean", "first")
        found = next((found[kind] for kind in wanted if kind in found), None)
    return _number(found)


def _last_part(name: str) -> str:
    return re.split("[/.]", name)[-1]


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str | bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
