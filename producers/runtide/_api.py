"""The functions of the package: one current run, and what scripts do with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from runtide import _environment, _hooks
from runtide._config import Config, _plain
from runtide._definitions import Metric
from runtide._errors import Error, SettingsError, UsageError
from runtide._notebook import in_notebook
from runtide._outbox import whereto
from runtide._report import say, warn
from runtide._run import Run
from runtide._settings import Settings as _Resolved
from runtide._settings import resolve
from runtide._summary import Summary

# Set by the agent of a sweep: names a file that says what trial the next run is.
_TRIAL = "RUNTIDE_SWEEP_TRIAL"
_REINITS = ("return_previous", "finish_previous", "create_new")
# The order of wandb 0.31.
_POSITIONAL = ("entity", "project", "dir", "id", "name", "notes", "tags", "config")
# What W&B's init takes and what makes no difference here.
_QUIET = frozenset(("anonymous", "force", "save_code"))


class Current:
    """The run that the functions of the package mean."""

    run: Run | None = None


current = Current()


class Settings(dict[str, Any]):
    """More arguments of init() by name, as W&B scripts write them: `settings=wandb.Settings(silent=True)`."""


class _Missing:
    """Stands for the config and the summary of no run."""

    def __init__(self, what: str) -> None:
        object.__setattr__(self, "_what", what)

    def _refuse(self, *_: object) -> NoReturn:
        raise Error(f"You must call runtide.init() before runtide.{object.__getattribute__(self, '_what')}")

    __getitem__ = __setitem__ = __getattr__ = __setattr__ = _refuse


def _open_run() -> Run | None:
    return current.run if current.run and current.run._open else None


def config() -> Config | _Missing:
    """Config of the current run."""
    return run.config if (run := _open_run()) else _Missing("config")


def summary() -> Summary | _Missing:
    """Summary of the current run."""
    return run.summary if (run := _open_run()) else _Missing("summary")


def init(
    *positional: Any,
    project: str | None = None,
    config: Any = None,
    name: str | None = None,
    entity: str | None = None,
    id: str | None = None,
    notes: str | None = None,
    tags: Any = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    dir: Any = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    allow_val_change: bool | None = None,
    config_exclude_keys: Any = None,
    config_include_keys: Any = None,
    settings: Any = None,
    **legacy: Any,
) -> Run:
    """Begin a run. Needs no server, and does not fail because of a disk.

    Processes that torchrun, Slurm, MPI or Ray started as one job log to one run, each with its rank, unless an id is
    given.

    Args:
        positional: What W&B takes by position (entity, project, dir, id, name, notes, tags, config); with a warning.
        project: Project that the run belongs to (default: RUNTIDE_PROJECT, else uncategorized).
        config: Configuration: a mapping, a dataclass, flags of argparse or absl, or the path of a YAML file.
        name: Display name (default: two random words).
        entity: Team or person (default: RUNTIDE_ENTITY, else default).
        id: Id of the run. One that this node knows is continued by a new attempt, from its last step.
        notes: Free text.
        tags: Short texts to find the run by. Of a run that goes on, they replace the old ones.
        group: Group that the run belongs to.
        job_type: Kind of job, such as train or eval.
        mode: online (and shared) for what is configured (RUNTIDE_KAFKA, else RUNTIDE_URL or `runtide login`, else the
            spool), offline for the spool, disabled to store nothing.
        dir: Not used: everything is in RUNTIDE_DIR.
        reinit: When there is a run already: return_previous (default, or False) for that one, finish_previous
            (default in notebooks, or True) to finish it, create_new to leave it alone.
        resume: allow: go on with the run `id`, if there is one; must: it has to be there; never: it must not; auto (or
            True): go on with the last run of this project and folder that did not finish. The store is asked for up to
            three seconds; without it, this node's own notes count.
        resume_from: `<run id>?_step=<step>`: go on behind this step; what was logged beyond it no longer counts.
        fork_from: `<run id>?_step=<step>`: a new run that begins behind this step of another one, with its config.
        allow_val_change: Allow `config` to change values of a run that goes on (default: yes).
        config_exclude_keys: Names in config that are not stored.
        config_include_keys: Names in config that alone are stored.
        settings: A mapping (or `runtide.Settings`) of more of these arguments.
        legacy: What W&B's init takes besides; ignored with a warning.

    Raises:
        SettingsError: A setting has a value that cannot be used.
        UsageError: Entity, project or id cannot be part of a path, resume forbids the run, or RUNTIDE_REQUIRE_CLEAN_GIT
            does because tracked files are changed.
        ConfigError: The config is a file that cannot be read, or would change a value that may not change.
        TypeError: The config cannot be stored.
    """
    arguments = {
        "project": project, "name": name, "entity": entity, "id": id, "notes": notes, "tags": tags, "group": group,
        "job_type": job_type, "mode": mode, "dir": dir, "resume": resume, "resume_from": resume_from,
        "fork_from": fork_from, "reinit": reinit, "silent": None, "console": None, "sampler": None, "config": config,
    }  # fmt: skip
    arguments = _merged(arguments, positional, settings, legacy)
    config, reinit = arguments.pop("config"), _reinit(arguments.pop("reinit"))
    previous = _open_run()
    begin: Callable[[_Resolved], Run] = Run
    if _TRIAL in os.environ:
        from runtide._trial import find_trial

        if trial := find_trial(os.environ):
            arguments, begin = arguments | trial.arguments(), trial.begin
            reinit = "return_previous" if previous and previous.id == trial.run else "finish_previous"
    if previous and reinit == "finish_previous":
        finish()
    elif previous and reinit == "return_previous":
        if config is not None:
            previous.config._begin(_plain(config), True)
        return previous
    if config_include_keys and config_exclude_keys:
        raise UsageError("config_include_keys and config_exclude_keys were given: only one of them can be")
    resolved = resolve(arguments)
    if resolved.mode != "disabled":
        _environment.require_clean()
    run = begin(resolved)
    if config is not None:
        chosen = _selected(_plain(config), config_exclude_keys, config_include_keys)
        run.config._begin(chosen, allow_val_change is not False)
    run._start()
    _hooks.watch(run)
    if reinit != "create_new":
        current.run = run
    if not run._settings.silent and not run.disabled:
        where = run.url or whereto(run._settings)
        resumed = f", resumed at step {run.step}" if run.step else ""
        say(f"run {run.name} ({run.path}){resumed}: {where}")
    return run


def _reinit(value: Any) -> str:
    """What happens to a run that there is already."""
    if value is None or value == "default":
        return "finish_previous" if in_notebook() else "return_previous"
    text = {True: "finish_previous", False: "return_previous"}.get(value, value) if isinstance(value, bool) else value
    if text not in _REINITS:
        raise SettingsError(f"reinit={value!r}: give True, False, {', '.join(_REINITS)}")
    return str(text)


def _merged(arguments: dict[str, Any], positional: tuple[Any, ...], settings: Any, legacy: Any) -> dict[str, Any]:
    """Arguments, completed from what was given by position and in `settings`; what nobody knows gets a warning."""
    if positional:
        names = ", ".join(_POSITIONAL[: len(positional)])
        warn(
            "positional", f"init() was given arguments by position, taken as {names}: W&B changed that order, name them"
        )
    more = dict(settings) if isinstance(settings, Mapping) else vars(settings) if hasattr(settings, "__dict__") else {}
    more = {key.removeprefix("run_"): value for key, value in more.items() if value is not None}
    ignored = sorted((set(legacy) | (set(more) - set(arguments))) - _QUIET)
    if ignored:
        warn("ignored " + ",".join(ignored), f"init() ignores {', '.join(ignored)}")
    more |= dict(zip(_POSITIONAL, positional, strict=False))
    return {key: more.get(key) if value is None else value for key, value in arguments.items()}


def _selected(values: dict[str, Any], exclude: Any, include: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in values.items()
        if (not include or key in include) and (not exclude or key not in exclude)
    }


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None) -> None:
    """Record values of some metrics at one step of the current run: see `Run.log`.

    Raises:
        Error: There is no current run.
    """
    run = current.run
    if run is None:
        raise _before_init("log")
    run.log(data, step, commit)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the current run, if there is one: see `Run.finish`."""
    run, current.run = current.run, None
    if run:
        run.finish(exit_code)


def define_metric(name: str, *arguments: Any, **options: Any) -> Metric:
    """Declare how a metric of the current run is drawn and summarised: see `Run.define_metric`.

    Raises:
        Error: There is no current run.
    """
    return _current("define_metric").define_metric(name, *arguments, **options)


def alert(title: str, text: str = "", level: Any = None, wait_duration: Any = None) -> None:
    """Tell a person something about the current run: see `Run.alert`.

    Raises:
        Error: There is no current run.
    """
    _current("alert").alert(title, text, level, wait_duration)


def mark_preempting() -> None:
    """Say that the machine of the current run is about to be taken away: see `Run.mark_preempting`.

    Raises:
        Error: There is no current run.
    """
    _current("mark_preempting").mark_preempting()


def phase(name: str) -> AbstractContextManager[None]:
    """Say what the current run does for a while: see `Run.phase`.

    Raises:
        Error: There is no current run.
    """
    return _current("phase").phase(name)


def _current(name: str) -> Run:
    if current.run is None:
        raise _before_init(name)
    return current.run


def _before_init(name: str) -> Error:
    return Error(f"You must call runtide.init() before runtide.{name}()")
