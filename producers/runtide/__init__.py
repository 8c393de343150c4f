"""runtide: an experiment tracker. `import runtide as wandb` runs W&B scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtide import _api, _later
from runtide import _errors as errors
from runtide._alerts import AlertLevel
from runtide._api import Settings, alert, define_metric, finish, init, log, mark_preempting, phase
from runtide._compat import install_as_wandb, require, setup, teardown, termerror, termlog, termwarn, util
from runtide._errors import (
    CommError,
    ConfigError,
    Error,
    NotFoundError,
    QueryError,
    SettingsError,
    UnavailableError,
    UsageError,
)
from runtide._login import login
from runtide._run import Run
from runtide._sql import sql

join = finish  # W&B's old name, which scripts still call

__all__ = [
    "AlertLevel",
    "Api",
    "CommError",
    "ConfigError",
    "Error",
    "NotFoundError",
    "QueryError",
    "Run",
    "Settings",
    "SettingsError",
    "UnavailableError",
    "UsageError",
    "agent",
    "alert",
    "config",
    "define_metric",
    "errors",
    "finish",
    "init",
    "install_as_wandb",
    "join",
    "log",
    "login",
    "mark_preempting",
    "phase",
    "require",
    "run",
    "setup",
    "sql",
    "summary",
    "sweep",
    "teardown",
    "termerror",
    "termlog",
    "termwarn",
    "util",
]

if TYPE_CHECKING:
    from runtide._config import Config
    from runtide._query import Api
    from runtide._summary import Summary
    from runtide._sweeps._public import agent, sweep

    run: Run | None
    config: Config
    summary: Summary
else:

    def __getattr__(name: str) -> Any:
        if name == "run":
            return _api._open_run()
        if name in ("config", "summary"):
            return getattr(_api, name)()
        if name == "Api":  # training code needs none of it
            from runtide._query import Api

            return Api
        if name in ("agent", "controller", "sweep"):
            from runtide._sweeps import _public

            return getattr(_public, name)
        if (later := _later.find(name)) is not None:
            return later
        raise AttributeError(f"module 'runtide' has no attribute {name!r}; it has {', '.join(__all__)}")
