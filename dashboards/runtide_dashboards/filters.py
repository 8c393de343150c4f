"""The filter line of the Runs page: words, `tag:x` and `state:running`, all of which must hold."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r'(?:(?P<field>tag|state):)?(?:"(?P<quoted>[^"]*)"|(?P<plain>\S+))', re.IGNORECASE)


@dataclass(frozen=True)
class Filter:
    """What a run must have.

    Args:
        words: Found in its name, its id or a tag, in any case.
        tags: Tags that it carries, all of them.
        states: States of which it is in one; empty for any.
    """

    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


def parse(text: str) -> Filter:
    """Read a filter line. What is not `tag:` or `state:` is a word; a value with blanks goes in double quotes."""
    found: dict[str, list[str]] = {"": [], "tag": [], "state": []}
    for match in _TOKEN.finditer(text):
        value = match["quoted"] if match["quoted"] is not None else match["plain"]
        if value:
            found[(match["field"] or "").lower()].append(value)
    return Filter(tuple(found[""]), tuple(found["tag"]), tuple(state.lower() for state in found["state"]))
