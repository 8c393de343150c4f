"""What the integrations share: settings, and what is said of checkpoints."""

from __future__ import annotations

import os

from runtide._report import warn_once

_MEANINGS = {"": "", "false": "", "0": "", "true": "end", "1": "end", "end": "end", "checkpoint": "checkpoint"}


def project(given: str | None, default: str) -> str:
    """The project: as given, else as RUNTIDE_PROJECT or WANDB_PROJECT say, else the framework's default."""
    return given or os.environ.get("RUNTIDE_PROJECT") or os.environ.get("WANDB_PROJECT") or default


def models_wanted() -> str:
    """Which models to save, by RUNTIDE_LOG_MODEL, else WANDB_LOG_MODEL: `end`, `checkpoint` or none (empty)."""
    name = next((name for name in ("RUNTIDE_LOG_MODEL", "WANDB_LOG_MODEL") if os.environ.get(name)), "")
    text = os.environ.get(name, "").lower()
    if text not in _MEANINGS:
        warn_once("log_model", f"{name}={text!r} saves no models: give true (or end), checkpoint or false")
    return _MEANINGS.get(text, "")


def say_models_later() -> None:
    """Say, once, that they are not saved yet."""
    warn_once(
        "checkpoints",
        "saving checkpoints as artifacts is not there yet: they stay where the framework writes them, training goes on",
    )
