"""The filter line of the Runs page: conditions that must all hold."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtide_dashboards import texts, url_values

MARKS = ("archived", "baseline", "deleted")
_TOKEN = re.compile(
    r"""(?P<pattern>/(?:[^/\\]|\\.)+/)(?=\s|$)
      | (?P<kind>config|summary)\.(?P<path>(?:"(?:[^"\\]|\\.)*"|[^\s<>=!"])+)
        (?P<test><=|>=|!=|=|<|>)(?:"(?P<text>[^"]*)"|(?P<bare>\S*))
      | (?:(?P<field>tag|state|is|group):)?(?:"(?P<quoted>[^"]*)"|(?P<plain>\S+))""",
    re.IGNORECASE | re.VERBOSE,
)

_NEEDLESS = re.compile(r'"([^".\\]+)"')


@dataclass(frozen=True)
class Term:
    """A comparison.

    Args:
        kind: "config" or "summary".
        path: Key of the summary, or path in the config as `configs.flatten` writes it.
        test: One of < > <= >= = and !=.
        value: What to compare with, as it was written.
    """

    kind: str
    path: str
    test: str
    value: str

    @property
    def number(self) -> float | None:
        """The value as a number, None when it is none."""
        return url_values.number(self.value)


@dataclass(frozen=True)
class Filter:
    """What a run must have.

    Args:
        words: Found in its name, its id or a tag, in any case.
        patterns: Regular expressions (RE2) found in its name or its id.
        tags: Tags that it carries, all of them.
        states: States of which it is in one; empty for any.
        groups: Groups of which it is in one; empty for any.
        marks: "archived", "baseline" or "deleted". Without the first and the last, such runs are left out.
        terms: Comparisons that hold.
        problems: What could not be understood, a sentence each; it is not part of the filter.
    """

    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()


def parse(text: str) -> Filter:
    """Read a filter line: `words tag:x group:x state:running is:archived config.lr>0.01 summary.loss<2 /regex/`.

    A value with blanks goes in double quotes. What is none of these is a word.
    """
    found: dict[str, list[str]] = {name: [] for name in ("", "tag", "state", "is", "group", "pattern", "problem")}
    terms: list[Term] = []
    for match in _TOKEN.finditer(text):
        if match["pattern"]:
            found["pattern"].append(match["pattern"][1:-1])
        elif match["kind"]:
            value = match["text"] if match["text"] is not None else match["bare"]
            term = Term(match["kind"].lower(), match["path"], match["test"], value)
            if problem := _objection(term, quoted=match["text"] is not None):
                found["problem"].append(problem)
            else:
                terms.append(Term(term.kind, _unquoted(term), term.test, value))
        elif value := match["quoted"] if match["quoted"] is not None else match["plain"]:
            _word(found, (match["field"] or "").lower(), value)
    return Filter(
        words=tuple(found[""]),
        patterns=tuple(found["pattern"]),
        tags=tuple(found["tag"]),
        states=tuple(found["state"]),
        groups=tuple(found["group"]),
        marks=tuple(found["is"]),
        terms=tuple(terms),
        problems=tuple(found["problem"]),
    )


def _word(found: dict[str, list[str]], field: str, value: str) -> None:
    known = {"state": tuple(texts.STATES), "is": MARKS}.get(field)
    if known is None:
        found[field].append(value)
    elif value.lower() in known:
        found[field].append(value.lower())
    else:
        found["problem"].append(f"{field}:{value} is not known: give one of {', '.join(known)}.")


def _objection(term: Term, quoted: bool) -> str:
    whole = f"{term.kind}.{term.path}{term.test}{term.value}"
    if not term.value and not quoted:
        return f"{whole} has no value: give one, as in {term.kind}.{term.path}{term.test}0.1."
    if term.test in ("<", ">", "<=", ">=") and term.number is None:
        return f"{whole} needs a number behind {term.test}."
    return ""


def _unquoted(term: Term) -> str:
    """The path of a term, without quotes that only keep blanks together; in a config path they also keep dots."""
    return term.path.replace('"', "") if term.kind == "summary" else _NEEDLESS.sub(r"\1", term.path)
