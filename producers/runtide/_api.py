"""The functions of the package: one current run, and what scripts do with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from runtide import _hooks
from runtide._config import Config, _plain
from runtide._errors import Error
from runtide._outbox import whereto
from runtide._report import say, warn
from runtide._run import Run
from runtide._settings import resolve
from runtide._summary import Summary


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
    *,
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
    config_exclude_keys: Any = None,
    config_include_keys: Any = None,
    settings: Any = None,
    **legacy: Any,
) -> Run:
    """Begin a run. Needs no server, and does not fail because of a disk.

    Args:
        project: Project that the run belongs to (default: RUNTIDE_PROJECT, else uncategorized).
        config: Configuration: a mapping, an argparse.Namespace or a dataclass.
        name: Display name (default: two random words).
        entity: Team or person (default: RUNTIDE_ENTITY, else default).
        id: Id of the run. One that this node knows is continued by a new attempt, from its last step.
        notes: Free text.
        tags: Short texts to find the run by.
        group: Group that the run belongs to.
        job_type: Kind of job, such as train or eval.
        mode: online for what is configured (RUNTIDE_KAFKA, else RUNTIDE_URL or `runtide login`, else the spool),
            offline for the spool, disabled to store nothing.
        dir: Not used: everything is in RUNTIDE_DIR.
        reinit: When there is a run already: None for that one, True or finish_previous to finish it,
            create_new to leave it alone.
        resume: allow, must (known or not: see id) or never.
        config_exclude_keys: Names in config that are not stored.
        config_include_keys: Names in config that alone are stored.
        settings: A mapping (or `runtide.Settings`) of more of these arguments.
        legacy: What W&B's init takes besides; ignored with a warning.

    Raises:
        SettingsError: A setting has a value that cannot be used.
        UsageError: Entity, project or id cannot be part of a path, or resume forbids the run.
        TypeError: The config cannot be stored.
    """
    previous = _open_run()
    if previous and reinit in (True, "finish_previous"):
        finish()
    elif previous and reinit != "create_new":
        if config is not None:
            previous.config.update(config, allow_val_change=True)
        return previous
    arguments = {
        "project": project, "name": name, "entity": entity, "id": id, "notes": notes, "tags": tags, "group": group,
        "job_type": job_type, "mode": mode, "dir": dir, "resume": resume, "silent": None,
    }  # fmt: skip
    run = Run(resolve(_merged(arguments, settings, legacy)))
    if config is not None:
        run.config.update(_selected(_plain(config), config_exclude_keys, config_include_keys))
    run._start()
    _hooks.watch(run)
    if reinit != "create_new":
        current.run = run
    if not run._settings.silent and not run.disabled:
        where = run.url or whereto(run._settings)
        resumed = f", resumed at step {run.step}" if run.step else ""
        say(f"run {run.name} ({run.path}){resumed}: {where}")
    return run


def _merged(arguments: dict[str, Any], settings: Any, legacy: dict[str, Any]) -> dict[str, Any]:
    """Arguments, completed from `settings`; what nobody knows is named in a warning."""
    more = dict(settings) if isinstance(settings, Mapping) else vars(settings) if hasattr(settings, "__dict__") else {}
    more = {key.removeprefix("run_"): value for key, value in more.items() if value is not None}
    ignored = sorted(set(legacy) | (set(more) - set(arguments)))
    if ignored:
        warn("ignored " + ",".join(ignored), f"init() ignores {', '.join(ignored)}")
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


def define_metric(name: str, *arguments: Any, **options: Any) -> None:
    """Declare how a metric of the current run is drawn and summarised: see `Run.define_metric`.

    Raises:
        Error: There is no current run.
    """
    if current.run is None:
        raise _before_init("define_metric")
    current.run.define_metric(name, *arguments, **options)


def _before_init(name: str) -> Error:
    return Error(f"You must call runtide.init() before runtide.{name}()")
