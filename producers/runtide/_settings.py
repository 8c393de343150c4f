"""Settings of a run, resolved once: argument, then RUNTIDE_*, then WANDB_*, then default."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtide import _names
from runtide._attempts import Unfinished
from runtide._errors import SettingsError
from runtide._launch import find_launch
from runtide._report import warn
from runtide._tokens import find_stack
from runtide._values import utf8
from runtide_schemas import Kafka, KafkaSettingsError, find_kafka, home

# "online" is what is configured: Kafka, a stack's address, else the spool.
_MODES = {
    "": "online",
    "online": "online",
    "shared": "online",
    "run": "online",
    "spool": "spool",
    "offline": "spool",
    "dryrun": "spool",
    "kafka": "kafka",
    "http": "http",
    "disabled": "disabled",
}
# "auto" and the others are W&B's; they all mean the one way there is.
_CONSOLES = {"off": "off"} | dict.fromkeys(("", "wrap", "auto", "wrap_raw", "wrap_emu", "redirect"), "wrap")
# Which GPUs of the node a run gets samples of: those of its ranks, or all.
_SAMPLERS = (
    {"all": "all"}
    | dict.fromkeys(("", "on", "true", "1", "yes"), "on")
    | dict.fromkeys(("off", "false", "0", "no"), "off")
)
_TRUE = frozenset(("1", "true", "yes", "on"))
_RESUMES = {"": "", "auto": "auto", "true": "auto", "allow": "allow", "must": "must", "never": "never"}


@dataclass(frozen=True)
class Settings:
    """What a run needs to know before it starts.

    Args:
        home: Folder of everything that runtide keeps on this machine.
        mode: kafka, http, spool or disabled.
        id: Given id of the run, empty for a new one.
        resume: never, allow, must or auto; empty when not asked for.
        rewind: Last step of earlier attempts that still counts; None for all.
        parent: Path of the run that this one is forked from, empty for none.
        parent_step: Last step that it shares with its parent.
        rank: Rank of this process in the job.
        launch: What the processes of one start of a job have in common; empty for a process on its own.
        console: wrap to keep what the process prints, or off.
        sampler: on to sample the node, with the GPUs of the run's ranks; all for all its GPUs; or off.
        strict_steps: Drop what is logged below the current step, as W&B does, instead of storing it.
        flush_interval: Seconds between two drains of the memory to the spool.
        finish_timeout: Seconds that finish() waits at most.
        memory_max_points: Points that may wait in memory.
        spool_max_bytes: Bytes that the spool folder may hold.
        segment_bytes: Bytes after which a spool segment is ended and the next begun.
        heartbeat_interval: Seconds between two signs of life.
        sample_interval: Seconds between two samples of the node.
        kafka: The cluster that records go to in mode kafka.
        url: The stack that records go to in mode http.
        token: What the stack knows us by.
    """

    home: Path
    entity: str
    project: str
    id: str
    name: str
    notes: str
    tags: tuple[str, ...]
    group: str
    job_type: str
    mode: str
    resume: str
    rank: int
    silent: bool
    rewind: int | None = None
    parent: str = ""
    parent_step: int | None = None
    launch: str = ""
    console: str = "wrap"
    sampler: str = "on"
    strict_steps: bool = False
    flush_interval: float = 0.1
    finish_timeout: float = 10.0
    memory_max_points: int = 4_000_000
    spool_max_bytes: int = 10 << 30
    segment_bytes: int = 16 << 20
    heartbeat_interval: float = 30.0
    sample_interval: float = 1.0
    kafka: Kafka | None = None
    url: str = ""
    token: str = field(default="", repr=False)

    @property
    def destination(self) -> str:
        """Where records go over a network, without credentials; empty for nowhere."""
        return f"kafka://{self.kafka.servers}/{self.kafka.prefix}" if self.kafka else self.url


def resolve(arguments: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Resolve the arguments of init() and the environment.

    Raises:
        SettingsError: A setting has a value that cannot be used.
        UsageError: The run's id, project or entity cannot be part of a path.
    """
    texts = {name: _text(name, arguments, environ) for name in ("name", "notes", "group", "job_type")}
    mode, link = _link(_mode(arguments, environ), environ)
    entity = _names.check_part("entity", _text("entity", arguments, environ) or "default")
    project = _names.check_part("project", _text("project", arguments, environ) or "uncategorized")
    launch = find_launch(environ)
    history = _history(arguments, environ, f"{entity}/{project}")
    identity = history.pop("id")
    if not identity and history["resume"] == "auto":
        identity = unfinished(home(environ), f"{entity}/{project}").id()
    if not identity and launch.job and mode != "disabled":
        identity = launch.next_id()
    if environ.get("WANDB_DIR") or arguments.get("dir") is not None:
        warn(
            "dir",
            "dir and WANDB_DIR are not used: the consumer looks for the spool in RUNTIDE_DIR (default ~/.runtide)",
        )
    return Settings(
        home=home(environ),
        entity=entity,
        project=project,
        id=identity,
        name=texts["name"],
        notes=texts["notes"],
        tags=_tags(arguments.get("tags"), environ),
        group=texts["group"],
        job_type=texts["job_type"],
        mode=mode,
        rank=int(_number(launch.source, launch.rank, int, 0, 2**31 - 1)) if launch.rank else 0,
        launch=launch.start,
        silent=bool(arguments.get("silent")) or _flag("SILENT", environ),
        console=_console(arguments, environ),
        sampler=_sampler(arguments, environ),
        strict_steps=_flag("STRICT_STEPS", environ),
        **history,
        **_limits(environ),
        **link,
    )


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return utf8(environ.get(f"RUNTIDE_{name}") or environ.get(f"WANDB_{name}") or "")


def _flag(name: str, environ: Mapping[str, str]) -> bool:
    return _variable(name, environ).lower() in _TRUE


def _text(name: str, arguments: Mapping[str, Any], environ: Mapping[str, str], variable: str = "") -> str:
    value = arguments.get(name)
    if value is None:
        aliases = {"group": "RUN_GROUP"}
        return _variable(variable or aliases.get(name, name.upper()), environ)
    return utf8(value)


def _tags(value: Any, environ: Mapping[str, str]) -> tuple[str, ...]:
    if value is None:
        return tuple(tag.strip() for tag in _variable("TAGS", environ).split(",") if tag.strip())
    if isinstance(value, str):
        return (utf8(value),)
    if not isinstance(value, Iterable):
        raise SettingsError(f"tags={value!r}: give a list of texts")
    return tuple(utf8(tag) for tag in value)


def _mode(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    given = arguments.get("mode")
    if given is None and _flag("DISABLED", environ):
        return "disabled"
    text = str(_variable("MODE", environ) if given is None else given).lower()
    if text not in _MODES:
        where = "RUNTIDE_MODE or WANDB_MODE" if given is None else "mode"
        raise SettingsError(f"{where}={text!r}: give one of online, offline, spool, kafka, http, disabled")
    return _MODES[text]


def _console(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    text = _text("console", arguments, environ).lower()
    if text not in _CONSOLES:
        raise SettingsError(f"console={text!r} (or RUNTIDE_CONSOLE, WANDB_CONSOLE): give wrap or off")
    return _CONSOLES[text]


def _sampler(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    text = _text("sampler", arguments, environ).lower()
    if text not in _SAMPLERS:
        raise SettingsError(f"sampler={text!r} (or RUNTIDE_SAMPLER): give on, off or all")
    return _SAMPLERS[text]


def _link(mode: str, environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The mode that is meant, and what it needs to know of the other side."""
    if mode in ("online", "kafka"):
        try:
            kafka = find_kafka(environ)
        except KafkaSettingsError as error:
            raise SettingsError(str(error)) from None
        if kafka:
            return "kafka", {"kafka": kafka}
        if mode == "kafka":
            raise SettingsError("mode='kafka', but no cluster is named: set RUNTIDE_KAFKA=host:port")
    if mode in ("online", "http"):
        url, token = find_stack(environ)
        if url:
            return "http", {"url": url, "token": token}
        if mode == "http":
            raise SettingsError("mode='http', but no stack is named: `runtide login http://host:port`, or RUNTIDE_URL")
    return ("spool" if mode == "online" else mode), {}


def unfinished(home: Path, project: str) -> Unfinished:
    """What remembers the run that `resume="auto"` goes on with, for the folder that the process is in."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        folder = ""
    return Unfinished(home, project, folder)


def _history(arguments: Mapping[str, Any], environ: Mapping[str, str], project: str) -> dict[str, Any]:
    """What comes before the run: its id, and which of `resume`, `resume_from` and `fork_from` was asked for."""
    identity = _text("id", arguments, environ, "RUN_ID")
    given = [name for name in ("resume", "resume_from", "fork_from") if arguments.get(name)]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} were given: only one of them can be")
    found: dict[str, Any] = {"id": identity, "resume": ""}
    if given == ["resume_from"]:
        found["id"], found["rewind"] = _moment("resume_from", arguments["resume_from"])
        if identity and identity != found["id"]:
            raise SettingsError(f"id={identity!r} is not the run that resume_from names ({found['id']!r})")
    elif given == ["fork_from"]:
        parent, found["parent_step"] = _moment("fork_from", arguments["fork_from"])
        if identity == parent:
            raise SettingsError(f"fork_from={parent!r} is the run itself: give another id, or resume_from")
        found["parent"] = f"{project}/{parent}"
    else:
        found["resume"] = _resume(arguments.get("resume"), environ)
    if found["id"]:
        _names.check_part("id", found["id"])
    return found


def _moment(what: str, text: Any) -> tuple[str, int]:
    """The run and the step of `<run id>?_step=<step>`."""
    run, _, step = str(text).partition("?_step=")
    if not run or not step.isdecimal():
        raise SettingsError(f"{what}={text!r}: give '<run id>?_step=<step>', such as 'abc12345?_step=100'")
    return _names.check_part("id", run), int(step)


def _resume(value: Any, environ: Mapping[str, str]) -> str:
    text = _variable("RESUME", environ) if value is None else value
    text = "" if text is False else str(text).lower()
    if text not in _RESUMES:
        raise SettingsError(f"resume={value!r}: give allow, must, never or auto")
    return _RESUMES[text]


def _limits(environ: Mapping[str, str]) -> dict[str, Any]:
    bounds = {
        "flush_interval": (float, 0.001, 3600),
        "finish_timeout": (float, 0, 86400),
        "memory_max_points": (int, 1, 2**40),
        "spool_max_bytes": (int, 0, 2**60),
        "segment_bytes": (int, 1, 2**32),
        "heartbeat_interval": (float, 0.01, 240),
        "sample_interval": (float, 0.1, 3600),
    }
    found = {name: environ.get(f"RUNTIDE_{name.upper()}") for name in bounds}
    return {
        name: _number(f"RUNTIDE_{name.upper()}", text, *bounds[name])
        for name, text in found.items()
        if text is not None
    }


def _number(name: str, text: str, kind: type, low: float, high: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise SettingsError(f"{name}={text!r}: give a number from {low:g} to {high:g}")
    return value
