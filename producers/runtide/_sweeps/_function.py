"""Trials as calls of a function in this process."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from runtide import _api
from runtide._sweeps._agent import Keeper, outcome_of
from runtide._sweeps._study import Outcome, Sweep, Task
from runtide._trial import TrialStopped, Watch


def runner(sweep: Sweep, function: Callable[[], Any]) -> Callable[[Mapping[str, str], Watch, Task], Outcome]:
    """What runs a trial by calling the function."""

    def execute(environment: Mapping[str, str], watch: Watch, task: Task) -> Outcome:
        failure = ""
        _api.finish()  # what was open before is no trial
        with _set(environment), Keeper(sweep, task, watch):
            try:
                function()
            except TrialStopped:
                pass
            except SystemExit as error:
                failure = f"it left with {error.code!r}" if error.code else ""
            except Exception as error:
                traceback.print_exc()
                failure = f"{type(error).__name__}: {error}"
            finally:
                _api.finish(1 if failure else 0)
        return outcome_of(sweep, watch, failure)

    return execute


@contextmanager
def _set(environment: Mapping[str, str]) -> Iterator[None]:
    """Set variables, and leave them as they were."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
