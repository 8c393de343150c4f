"""Small functions that W&B scripts call beside the tracking itself."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from runtide import _api, _hooks, _names
from runtide._report import say, warn_once

_ARTIFACT_NAME_LENGTH = 128


def make_artifact_name_safe(name: str) -> str:
    """The text as an artifact may be called: other characters become _, and the middle of a long one is left out."""
    safe = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    if len(safe) <= _ARTIFACT_NAME_LENGTH:
        return safe
    kept = (_ARTIFACT_NAME_LENGTH - 2) // 2
    return f"{safe[:kept]}..{safe[-kept:]}"


util = SimpleNamespace(generate_id=_names.random_text, make_artifact_name_safe=make_artifact_name_safe)


def install_as_wandb() -> None:
    """Let `import wandb` give runtide from now on, in this process: call it before importing a framework.

    For a script that shall stay as it is, and for its child processes: `runtide exec python train.py`.
    """
    from runtide import _shim  # importlib.metadata, which it needs, costs every other script 20 ms

    _shim.install()


def require(requirement: Any = None, experiment: Any = None) -> None:
    """Do nothing: what W&B turns on by this is always on."""


def setup(settings: Any = None) -> None:
    """Do nothing: init() needs no preparation."""


def teardown(exit_code: int | None = None) -> None:
    """Finish all runs of this process that are not finished.

    Args:
        exit_code: As `Run.finish` takes it.
    """
    _api.finish(exit_code)
    for run in [*_hooks._runs]:
        run.finish(exit_code)


def termlog(string: Any = "", newline: bool = True, repeat: bool = True) -> None:
    """Print a line on stderr.

    Args:
        string: The line.
        newline: Ignored: a line ends.
        repeat: Whether to print it when it has been printed before.
    """
    _print("", string, repeat)


def termwarn(string: Any, newline: bool = True, repeat: bool = True) -> None:
    """Print a warning on stderr: see `termlog`."""
    _print("warning: ", string, repeat)


def termerror(string: Any, newline: bool = True, repeat: bool = True) -> None:
    """Print an error on stderr: see `termlog`."""
    _print("error: ", string, repeat)


def _print(prefix: str, string: Any, repeat: bool) -> None:
    if repeat:
        say(f"{prefix}{string}")
    else:
        warn_once(f"term {string}", str(string), prefix)
