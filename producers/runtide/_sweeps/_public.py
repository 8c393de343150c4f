"""`runtide.sweep` and `runtide.agent`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from runtide import _names, _platform
from runtide._errors import Error, SettingsError, UsageError
from runtide._report import say
from runtide._settings import Settings, resolve
from runtide._sweeps import _config
from runtide._sweeps._config import Definition

_LEASE = "RUNTIDE_SWEEP_LEASE"
_DEFAULT_LEASE = 60.0


def sweep(
    sweep: Any,
    entity: str | None = None,
    project: str | None = None,
    prior_runs: list[str] | None = None,
) -> str:
    """Begin a search for good parameters. Needs no server and no network.

    Args:
        sweep: Its config: a dictionary, a function that returns one, or the path of a YAML file.
        entity: Team or person (default: the config's, else RUNTIDE_ENTITY, else default).
        project: Project of the sweep and its runs (default: the config's, else RUNTIDE_PROJECT, else uncategorized).
        prior_runs: Runs (`id`, `project/id` or `entity/project/id`) whose outcome the method is told before it begins;
            the store is asked for them. Makes no difference for grid and random.

    Returns:
        The sweep's id, for `agent`.

    Raises:
        UsageError: The config cannot be used; says which key, why, and what to give.
        Error: Optuna is not installed, or the storage that RUNTIDE_SWEEP_STORAGE names does not answer.
    """
    _need_optuna()
    if callable(sweep):
        sweep = sweep()
    if isinstance(sweep, str | Path):
        sweep = _config.load(str(sweep))
    definition = _config.parse(sweep)
    settings = _settings(entity or sweep.get("entity"), project or sweep.get("project"))
    path = f"{settings.entity}/{settings.project}/{_names.run_id()}"
    _create(settings, path, definition)
    if prior_runs:
        from runtide._sweeps._prior import learn

        learn(open_sweep(path)[0], prior_runs)
    if not settings.silent:
        say(f"sweep {path} ({definition.method}): run agents with `runtide agent {path}`")
    return path.rpartition("/")[2]


def agent(
    sweep_id: str,
    function: Callable[[], Any] | None = None,
    entity: str | None = None,
    project: str | None = None,
    count: int | None = None,
    forward_signals: bool = False,
    term_timeout: float | None = None,
    max_consecutive_failed_runs: int | None = None,
) -> None:
    """Run trials of a sweep until there are none left. Several agents may, on several machines.

    Args:
        sweep_id: What `sweep` returned, or entity/project/id.
        function: Called once for each trial; its run gets the trial's parameters as config, which nobody can change.
            Without one, the command of the sweep's config is started.
        entity: Team or person (default: RUNTIDE_ENTITY, else default).
        project: Project of the sweep (default: RUNTIDE_PROJECT, else the one on this machine that has the sweep).
        count: Trials to run (default: all).
        forward_signals: Give SIGTERM and SIGINT on to the command.
        term_timeout: Seconds between SIGTERM and SIGKILL for a command that has to end (default: 10).
        max_consecutive_failed_runs: End after so many failures in a row.

    Raises:
        UsageError: There is no such sweep here.
        Error: Optuna is not installed, or the storage does not answer.
    """
    _need_optuna()  # before anything is imported that needs it
    from runtide._sweeps import _function, _process
    from runtide._sweeps._agent import Agent

    opened, settings = open_sweep(sweep_id, entity, project)
    if function is None:
        execute = _process.runner(opened, forward_signals, term_timeout)
    else:
        execute = _function.runner(opened, function)
    folder = _platform.path_of(settings.home / "sweeps", opened.path) / "trials"
    try:
        Agent(opened, folder, execute, max_consecutive_failed_runs, settings.silent).run(count)
    finally:
        opened.recorder.close(settings.finish_timeout)


def controller(sweep_id: Any = None, *_: Any, **__: Any) -> NoReturn:
    """Not here: W&B's local controller chooses points in a process of its own, beside the agents.

    Raises:
        UsageError: Always; says what to call.
    """
    path = sweep_id if isinstance(sweep_id, str) else "ID"
    raise UsageError(
        "controller() is not needed: agents choose their points themselves, in the storage of the sweep. Leave it out, "
        f"and call agent({path!r}, function) or start `runtide agent {path}`; where there is no sweep yet, call "
        "sweep(config) first"
    )


def open_sweep(sweep_id: str, entity: str | None = None, project: str | None = None) -> tuple[Any, Settings]:
    """A sweep as its agents see it, and the settings that its records are sent with.

    Raises:
        UsageError: There is no such sweep here.
    """
    _need_optuna()
    from runtide._sweeps import _storage, _study
    from runtide._sweeps._records import Recorder

    parts = sweep_id.split("/")
    if len(parts) == 3:
        entity, project = parts[:2]
    elif len(parts) == 2:
        project = parts[0]
    settings = _settings(entity, project)
    path = f"{settings.entity}/{settings.project}/{_names.check_part('sweep id', parts[-1])}"
    if not project and len(parts) == 1:
        path = _known(settings, path)
        settings = _settings(*path.split("/")[:2])
    storage = _storage.open_storage(_storage.find(settings.home, path), create=False)
    definition = _config.parse(_study.config_of(storage, path))
    return _study.Sweep(storage, path, definition, Recorder(settings, path), _lease()), settings


def _known(settings: Settings, path: str) -> str:
    """The path of the sweep of this id that this machine knows, when there is one; W&B finds it without its project."""
    if _platform.path_of(settings.home / "sweeps", path).exists():
        return path
    found = sorted((settings.home / "sweeps").glob(f"*/*/{path.rpartition('/')[2]}"))
    if len(found) > 1:
        raise UsageError(f"there are several sweeps {path.rpartition('/')[2]}: give entity/project/id")
    return "/".join(found[0].parts[-3:]) if found else path


def _create(settings: Settings, path: str, definition: Definition) -> None:
    from runtide._sweeps import _storage, _study
    from runtide._sweeps._records import Recorder, plain

    place = _storage.place(settings.home, path)
    _study.create(_storage.open_storage(place, create=True), path, definition)
    recorder = Recorder(settings, path)
    recorder.sweep(
        "created", "running", config=json.dumps(plain(definition.given)), storage=_storage.without_password(place)
    )
    recorder.close(settings.finish_timeout)


def _settings(entity: str | None, project: str | None) -> Settings:
    return resolve({"entity": entity, "project": project})


def _lease(environ: Mapping[str, str] = os.environ) -> float:
    text = environ.get(_LEASE, "")
    try:
        value = float(text or _DEFAULT_LEASE)
    except ValueError:
        value = 0.0
    if not 0.5 <= value <= 86400:
        raise SettingsError(f"{_LEASE}={text!r}: give seconds from 0.5 to 86400")
    return value


def _need_optuna() -> None:
    try:
        import optuna  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as error:
        raise Error(f"sweeps need {error.name}, which is not installed: pip install 'runtide[sweeps]'") from None
