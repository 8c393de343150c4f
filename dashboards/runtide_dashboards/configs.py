"""Configs as flat tables: dot paths, typed values, what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "—"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"(?=\.|$)')


def parse(text: str) -> dict[str, Any]:
    """The config that a run stored, empty when it is not a JSON object."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Dot paths and JSON texts of the leaves. The text keeps the type: 1, 1.0, "1" and true stay apart.

    A key that itself has a dot or is empty is quoted in the path, so that two different keys never share one.
    """
    flat: dict[str, str] = {}
    stack: list[tuple[str, Any]] = [("", config)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Mapping) and (value or not path):
            for key, inner in reversed(list(value.items())):
                name = key if key and "." not in key else json.dumps(key, ensure_ascii=False)
                stack.append((f"{path}.{name}" if path else name, inner))
        else:
            flat[path] = json.dumps(value, ensure_ascii=False)
    return flat


def segments(path: str) -> list[str]:
    """The keys that a dot path leads through, outermost first: what `flatten` made it of."""
    result, at = [], 0
    while at <= len(path):
        found = _QUOTED.match(path, at)
        key = _quoted_key(found[0]) if found else None
        if found is None or key is None:
            end = path.find(".", at)
            key = path[at : end if end >= 0 else len(path)]
            at += len(key)
        else:
            at = found.end()
        result.append(key)
        at += 1
    return result


def _quoted_key(text: str) -> str | None:
    """The key in quotes, None when `flatten` would not have put it there."""
    try:
        key = str(json.loads(text))
    except ValueError:
        return None
    return key if not key or "." in key else None


def differing(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Paths whose values are not the same in all flat configs, in the order of their first appearance.

    A single config is equal to no other: all its paths are there.
    """
    if len(configs) == 1:
        return paths(configs)
    return [path for path in paths(configs) if len({config.get(path) for config in configs}) > 1]


def paths(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """All paths of the flat configs, in the order of their first appearance."""
    return list(dict.fromkeys(path for config in configs for path in config))
