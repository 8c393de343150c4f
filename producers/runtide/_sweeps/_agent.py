"""An agent: asks for a trial, has it run, tells what came of it, and asks again."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from runtide._errors import Error
from runtide._report import say, warn
from runtide._sweeps._study import Outcome, Sweep, Task
from runtide._trial import NAMES, Trial, Watch, watches

T = TypeVar("T")
_POLL = 1.0
# W&B's guard: so many failures so soon mean that the training itself is broken.
_SOON, _FAILURES_SOON, _FAILURES_FIRST = 60.0, 3, 5


class Keeper:
    """Beside one trial: renews its lease, and stops it when the sweep says so.

    Args:
        sweep: The sweep.
        task: The trial.
        watch: What its run logs, and how it is stopped.
        stop: Called once when it has to end, in addition to what the watch does.
    """

    def __init__(self, sweep: Sweep, task: Task, watch: Watch, stop: Callable[[], None] = lambda: None) -> None:
        self._sweep = sweep
        self._task = task
        self._watch = watch
        self._stop = stop
        self._reported = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="runtide-sweep", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.news.set()
        self._thread.join()
        values = self._watch.values()
        if self._watch.stopping != "lost" and len(values) > self._reported:
            with suppress(Exception):  # the storage is asked again when the outcome is told
                self._sweep.must_stop(self._task, values, self._reported)  # others are compared with all of them

    def _work(self) -> None:
        interval = self._sweep.lease / 4
        due = time.monotonic() + interval
        while not self._done.is_set():
            self._watch.news.wait(max(0.0, min(due - time.monotonic(), _POLL)))
            self._watch.news.clear()
            try:
                if not self._watch.stopping and (why := self._reason(time.monotonic() >= due)):
                    self._watch.stopping = why
                    self._stop()
            except Exception as error:  # a storage that does not answer now; the lease lasts for a while
                warn("sweep storage", f"the sweep's storage does not answer: {type(error).__name__}: {error}")
            if time.monotonic() >= due:
                due = time.monotonic() + interval

    def _reason(self, renew: bool) -> str:
        """Why the trial has to end; empty when it has not."""
        if renew and not self._sweep.renew(self._task):
            return "lost"
        if self._sweep.state == "cancelled":
            return "cancelled"
        values = self._watch.values()
        if len(values) > self._reported:
            stops = self._sweep.must_stop(self._task, values, self._reported)
            self._reported = len(values)
            return "early" if stops else ""
        return ""


class Agent:
    """Runs trials of one sweep, one after the other.

    Args:
        sweep: The sweep.
        folder: Where files for the trials are left.
        execute: Runs one trial: told its environment, the trial, its watch and its task.
        most_failures: Ends after so many failures in a row; None for any number.
        silent: Says only what goes wrong.
        environ: The environment.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        execute: Callable[[Mapping[str, str], Watch, Task], Outcome],
        most_failures: int | None = None,
        silent: bool = False,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._sweep = sweep
        self._folder = folder
        self._execute = execute
        self._most_failures = most_failures
        self._silent = silent
        self._environ = environ
        self._started = time.monotonic()
        self._failed = self._in_a_row = self._succeeded = 0

    def run(self, count: int | None = None) -> int:
        """Run so many trials, or all that there are; returns how many it ran."""
        done = 0
        while count is None or done < count:
            task = self._patiently(self._sweep.ask)
            if task is None:
                if self._patiently(self._sweep.over):
                    break
                # Paused, or what is left is with other agents, of which one may be lost.
                threading.Event().wait(min(_POLL, self._sweep.lease / 4))
                continue
            done += 1
            self._count(self._one(task))
            if why := self._gives_up():
                say(f"agent of sweep {self._sweep.path} ends: {why}")
                break
        return done

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call again and again, for as long as a lease, while a database is away or a disk is full."""
        deadline = time.monotonic() + self._sweep.lease
        while True:
            try:
                return call()
            except Error:
                raise
            except Exception as error:  # of Optuna, SQLAlchemy, a driver, grpc
                if time.monotonic() > deadline:
                    raise Error(f"the storage of sweep {self._sweep.path} does not answer: {error}") from error
                warn("sweep storage", f"the sweep's storage does not answer: {type(error).__name__}: {error}")
            threading.Event().wait(min(_POLL, self._sweep.lease / 10))

    def _one(self, task: Task) -> Outcome | None:
        trial = _trial(self._sweep, task)
        path = self._folder / f"{task.run}-{task.attempt}-{os.getpid()}.json"
        parameters = path.with_suffix(".yaml")
        trial.write(path)
        _write_parameters(parameters, task.config)
        if not self._silent:
            say(f"sweep {self._sweep.path}, run {task.run}: {_words(task.values)}")
        watch = watches[task.run] = Watch(trial)
        accepted = False
        try:
            outcome = self._execute(_environment(trial, path, parameters), watch, task)
            if outcome.state == "lost":
                say(f"run {task.run} is left to the next agent: {outcome.why}")
                self._patiently(lambda: self._sweep.give_up(task, outcome.why))
                return None
            accepted = watch.stopping != "lost" and self._patiently(lambda: self._sweep.tell(task, outcome))
        except BaseException:  # Ctrl-C: somebody else, or the next agent, goes on with the run
            self._sweep.give_up(task)
            raise
        finally:
            watches.pop(task.run, None)
            path.unlink(missing_ok=True)
            parameters.unlink(missing_ok=True)
        if not accepted:
            say(f"run {task.run} was given to another agent, as this one was silent for {self._sweep.lease:g} s")
            return None
        if outcome.state != "finished":
            say(f"run {task.run} {outcome.state}: {outcome.why}")
        return outcome

    def _count(self, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        if outcome.broken:
            self._failed += 1
            self._in_a_row += 1
        else:
            self._succeeded += 1
            self._in_a_row = 0

    def _gives_up(self) -> str:
        """Why there is no use in going on; empty when there is."""
        if self._most_failures is not None and self._in_a_row >= self._most_failures:
            return f"{self._in_a_row} runs failed one after the other"
        if _flag("AGENT_DISABLE_FLAPPING", self._environ):
            return ""
        if self._failed >= _FAILURES_SOON and time.monotonic() - self._started < _SOON:
            return f"{self._failed} runs failed in its first {_SOON:g} s; RUNTIDE_AGENT_DISABLE_FLAPPING=true goes on"
        text = _variable("AGENT_MAX_INITIAL_FAILURES", self._environ)
        most = int(text) if text.isdecimal() else _FAILURES_FIRST
        if not self._succeeded and self._failed >= most:
            return f"its first {self._failed} runs failed; RUNTIDE_AGENT_MAX_INITIAL_FAILURES sets how many may"
        return ""


def outcome_of(sweep: Sweep, watch: Watch, failure: str = "") -> Outcome:
    """What a trial came to.

    Args:
        sweep: The sweep.
        watch: What its run logged.
        failure: What went wrong, in words; empty for nothing.
    """
    objectives = watch.objectives
    if watch.stopping in ("early", "cancelled"):
        words = {"early": "early_terminate ended it", "cancelled": "the sweep was cancelled"}
        return Outcome("stopped", objectives, words[watch.stopping])
    if not failure and watch.exit_code is None and sweep.definition.metrics:
        failure = "no run was begun and finished: call init() in the training"
    if not failure and watch.exit_code:
        failure = f"the run ended with exit code {watch.exit_code}"
    if failure and watch.preempted:
        return Outcome("lost", objectives, f"it was preempted ({failure})")
    if why := failure or _unscored(sweep, watch):
        return Outcome("failed", objectives, why, _imputed(sweep, watch), broken=bool(failure))
    return Outcome("finished", objectives)


def _unscored(sweep: Sweep, watch: Watch) -> str:
    """Why the metric of a run cannot be used; empty when it can."""
    for metric in sweep.definition.metrics:
        if metric.name not in watch.objectives:
            meant = f"; metric.name could be {' or '.join(map(repr, watch.namesakes))}" if watch.namesakes else ""
            return f"metric {metric.name!r} was never logged{meant}"
        if not math.isfinite(watch.objectives[metric.name]):
            return f"metric {metric.name!r} is {watch.objectives[metric.name]}"
    return ""


def _imputed(sweep: Sweep, watch: Watch) -> float | None:
    values = watch.values() if sweep.definition.needs_history else []
    metric = sweep.definition.metrics[0] if values else None
    if metric is None or metric.impute == "worst":
        return None
    best = max(values) if metric.maximize else min(values)
    return best if metric.impute == "best" else values[-1]


def _trial(sweep: Sweep, task: Task) -> Trial:
    entity, project, name = sweep.path.split("/")
    metrics = [
        {"name": metric.name, "summary": metric.summary, "goal": "maximize" if metric.maximize else "minimize"}
        for metric in sweep.definition.metrics
    ]
    history = sweep.definition.needs_history
    return Trial(name, entity, project, task.run, task.attempt, task.config, tuple(metrics), history)


def _environment(trial: Trial, path: Path, parameters: Path) -> dict[str, str]:
    """What the training finds: our file, and what W&B's agent sets."""
    common = dict(zip(NAMES, (trial.sweep, trial.run, str(parameters)), strict=True))
    common |= {"ENTITY": trial.entity, "PROJECT": trial.project}
    both = {f"{prefix}_{name}": value for name, value in common.items() for prefix in ("WANDB", "RUNTIDE")}
    return {"RUNTIDE_SWEEP_TRIAL": str(path), **both}


def _write_parameters(path: Path, config: Mapping[str, object]) -> None:
    import yaml

    values = {"wandb_version": 1, **{name: {"value": value} for name, value in config.items()}}
    path.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")


def _words(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(f"RUNTIDE_{name}") or environ.get(f"WANDB_{name}") or ""


def _flag(name: str, environ: Mapping[str, str]) -> bool:
    return _variable(name, environ).lower() in ("1", "true", "yes", "on")
