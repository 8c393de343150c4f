"""The command of a trial: W&B's macros, filled in."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtide._errors import UsageError

_MACRO = re.compile(r"\$\{([a-zA-Z_][\w.-]*)(?::([^}]*))?\}")
_TEXTS = ("env", "interpreter", "program", "args_json", "args_json_file")


def command(template: Sequence[str], program: str, config: Mapping[str, Any], file: Path) -> list[str]:
    """The command that starts the training.

    Args:
        template: Its parts. One that is a macro for arguments becomes as many as there are.
        program: What `${program}` stands for.
        config: The trial's parameters; a nested one is `--outer.inner=value`.
        file: Where `${args_json_file}` writes them.

    Raises:
        UsageError: `${program}` is needed and was not given.
    """
    found: list[str] = []
    for part in template:
        whole = _MACRO.fullmatch(part)
        if whole and whole[1] == "env":
            found += [] if sys.platform == "win32" else ["/usr/bin/env"]
        elif whole and whole[1] in _LISTS:
            found += _LISTS[whole[1]](config)
        else:
            found.append(_MACRO.sub(lambda match: _text(match, program, config, file), part))
    return found


def check(template: Sequence[str], parameters: Sequence[str]) -> None:
    """Look whether every macro of a command can be filled in.

    Raises:
        UsageError: One cannot.
    """
    known = (*_TEXTS, *_LISTS, *parameters)
    for match in _MACRO.finditer("\n".join(template)):
        name, more = match[1], match[2]
        if not (more if name == "envvar" else more is None and name in known):
            raise UsageError(
                f"command: {match[0]} is not known; give ${{envvar:NAME}}, {', '.join(f'${{{one}}}' for one in known)}"
            )


def _text(match: re.Match[str], program: str, config: Mapping[str, Any], file: Path) -> str:
    match match[1]:
        case "envvar":
            return os.environ.get(match[2], "")
        case "interpreter":
            return sys.executable
        case "program":
            if not program:
                raise UsageError("program: the command has ${program}, and the sweep's config has no program")
            return program
        case "args_json":
            return json.dumps(config)
        case "args_json_file":
            file.write_text(json.dumps(config), "utf-8")
            return str(file)
        case "env":
            return "/usr/bin/env"
        case name if name in _LISTS:
            return " ".join(_LISTS[name](config))
        case name:  # of a parameter, which a condition may have left out
            return _value(_flat(config).get(name, ""))


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


def _value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | Mapping) else str(value)


def _equals(config: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={_value(value)}" for name, value in _flat(config).items()]


def _spaces(config: Mapping[str, Any]) -> list[str]:
    return [part for name, value in _flat(config).items() for part in (f"--{name}", _value(value))]


def _no_hyphens(config: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_value(value)}" for name, value in _flat(config).items()]


def _flags(config: Mapping[str, Any]) -> list[str]:
    """True is the flag alone, False is nothing."""
    flat = _flat(config).items()
    return [f"--{name}" if value is True else f"--{name}={_value(value)}" for name, value in flat if value is not False]


def _append_hydra(config: Mapping[str, Any]) -> list[str]:
    return [f"+{part}" for part in _no_hyphens(config)]


def _override_hydra(config: Mapping[str, Any]) -> list[str]:
    return [f"++{part}" for part in _no_hyphens(config)]


_LISTS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "args": _equals,
    "args_no_equals": _spaces,
    "args_no_hyphens": _no_hyphens,
    "args_no_boolean_flags": _flags,
    "args_append_hydra": _append_hydra,
    "args_override_hydra": _override_hydra,
}
