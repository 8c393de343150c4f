"""Trials as commands in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from runtide._errors import Error
from runtide._report import say
from runtide._sweeps._agent import Keeper, outcome_of
from runtide._sweeps._macros import command
from runtide._sweeps._study import Outcome, Sweep, Task
from runtide._trial import LAST, Watch

_TERM_TIMEOUT = 10.0
_LOOK = 0.2


def runner(
    sweep: Sweep, forward_signals: bool = False, term_timeout: float | None = None
) -> Callable[[Mapping[str, str], Watch, Task], Outcome]:
    """What runs a trial by starting the sweep's command."""
    timeout = _TERM_TIMEOUT if term_timeout is None else term_timeout

    def execute(environment: Mapping[str, str], watch: Watch, task: Task) -> Outcome:
        file = Path(environment["RUNTIDE_SWEEP_TRIAL"])
        report, arguments = file.with_suffix(".report"), file.with_suffix(".args")
        watch.trial = replace(watch.trial, report=str(report), agent=os.getpid())
        watch.trial.write(file)
        words = command(sweep.definition.command, sweep.definition.program, task.config, arguments)
        try:
            code = _run(words, environment, sweep, task, watch, report, timeout, forward_signals)
            _read(report, watch)
        finally:
            report.unlink(missing_ok=True)
            arguments.unlink(missing_ok=True)
        return outcome_of(sweep, watch, _failure(code))

    return execute


def _run(
    words: list[str], environment: Mapping[str, str], sweep: Sweep, task: Task, watch: Watch, report: Path,
    timeout: float, forward: bool,
) -> int:  # fmt: skip
    try:
        child = subprocess.Popen(words, env={**os.environ, **environment})
    except OSError as error:
        raise Error(f"command: {words} cannot be started: {error}") from None
    stopping = threading.Event()
    try:
        with _forwarding(child, forward), Keeper(sweep, task, watch, stopping.set):
            while True:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_LOOK)
                if stopping.is_set() and child.poll() is None:
                    say(f"run {task.run} is stopped ({watch.stopping})")
                    _end(child, timeout)
                ended = child.poll()
                _read(report, watch)
                if ended is not None:
                    return ended
    finally:
        _end(child, timeout)


def _end(child: subprocess.Popen[bytes], timeout: float) -> int:
    """SIGTERM, and SIGKILL when that does not help in so many seconds."""
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            return child.wait(timeout)
        child.kill()
    return child.wait()


def _read(report: Path, watch: Watch) -> None:
    """Take in what the run has written so far."""
    try:
        lines = report.read_text("utf-8").split("\n")[:-1]  # what follows the last line is not written to the end
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return
    values = [entry["value"] for entry in found if "value" in entry]
    if len(values) > len(watch.history):
        watch.history[len(watch.history) :] = values[len(watch.history) :]
        watch.news.set()
    for entry in found:
        if "objectives" in entry:
            for name in LAST:
                setattr(watch, name, entry[name])


def _failure(code: int) -> str:
    if not code:
        return ""
    return f"the command was ended by signal {-code}" if code < 0 else f"the command ended with exit code {code}"


@contextmanager
def _forwarding(child: subprocess.Popen[bytes], forward: bool) -> Iterator[None]:
    """Give signals on to the child meanwhile."""
    if not forward or threading.current_thread() is not threading.main_thread():
        yield
        return

    def hand_on(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    before: dict[signal.Signals, Any] = {one: signal.signal(one, hand_on) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
