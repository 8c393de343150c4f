"""What differs between two runs: config, code and environment, as far as either recorded it.

What was not recorded on both sides is not claimed to be the same.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtide_dashboards import configs, families, texts
from runtide_dashboards.configs import MISSING
from runtide_dashboards.records import Run

# Of the environment, beside Python and its packages: what a result may depend on.
_CODE = {"commit": "commit", "branch": "branch", "dirty": "uncommitted changes", "remote": "repository"}
_MACHINE = ("os", "host", "cpus", "cuda_visible_devices")


@dataclass(frozen=True)
class Change:
    """One thing that is not the same. `a` and `b` are texts, `seed` says that it is a seed of the config."""

    name: str
    a: str
    b: str
    seed: bool = False


@dataclass(frozen=True)
class Changes:
    """What differs between a baseline and B.

    Args:
        config: Config leaves, by dot path, with JSON texts; other leaves before seeds.
        keys: How many leaves there are in either config.
        code: Commit, branch, uncommitted changes and command line.
        environment: Python, packages and machine.
        unknown: Parts that were not recorded on both sides: `config`, `code`, `packages`.
    """

    config: tuple[Change, ...]
    keys: int
    code: tuple[Change, ...]
    environment: tuple[Change, ...]
    unknown: tuple[str, ...]


def between(a: Run, b: Run) -> Changes:
    """What differs between two runs."""
    config_a, config_b = a.flat_config, b.flat_config
    told_a, told_b = configs.parse(a.environment), configs.parse(b.environment)
    git_a, git_b = _part(told_a, "git"), _part(told_b, "git")
    paths = list(dict.fromkeys((*config_a, *config_b)))
    config = [
        Change(path, config_a.get(path, MISSING), config_b.get(path, MISSING), families.is_seed(path))
        for path in paths
        if config_a.get(path) != config_b.get(path)
    ]
    packages_a, packages_b = _packages(told_a), _packages(told_b)
    unknown = {
        "config": not config_a or not config_b,
        "code": not git_a.get("commit") or not git_b.get("commit"),
        "packages": packages_a is None or packages_b is None,
    }
    return Changes(
        tuple(sorted(config, key=lambda change: change.seed)),
        len(paths),
        _code(told_a, told_b, git_a, git_b),
        _environment(told_a, told_b, packages_a, packages_b),
        tuple(part for part, lacking in unknown.items() if lacking),
    )


def _part(environment: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = environment.get(name)
    return found if isinstance(found, dict) else {}


def _code(
    a: Mapping[str, Any], b: Mapping[str, Any], git_a: Mapping[str, Any], git_b: Mapping[str, Any]
) -> tuple[Change, ...]:
    told = [{_CODE[name]: _spoken(git[name]) for name in _CODE if name in git} for git in (git_a, git_b)]
    return (*_differing(told[0], told[1], tuple(_CODE.values())), *_differing(a, b, ("command",)))


def _spoken(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else _text(value)


def _environment(
    a: Mapping[str, Any], b: Mapping[str, Any], packages_a: dict[str, str] | None, packages_b: dict[str, str] | None
) -> tuple[Change, ...]:
    packages: list[Change] = []
    if packages_a is not None and packages_b is not None:
        # A list that was cut off does not say what is absent.
        whole = "" not in packages_a and "" not in packages_b
        names = {*packages_a, *packages_b} if whole else packages_a.keys() & packages_b.keys()
        packages = [
            Change(name, packages_a.get(name, MISSING), packages_b.get(name, MISSING))
            for name in sorted(names - {""})
            if packages_a.get(name) != packages_b.get(name)
        ]
    return (*_differing(a, b, ("python",)), *packages, *_differing(a, b, _MACHINE))


def _packages(environment: Mapping[str, Any]) -> dict[str, str] | None:
    """Versions by package; None where none were recorded. The key "" stands for others that are not listed."""
    listed = environment.get("packages")
    if not isinstance(listed, list) or not listed:
        return None
    found = {}
    for entry in map(str, listed):
        name, equals, version = entry.partition("==")
        found[name if equals else ""] = version
    return found


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], names: Sequence[str]) -> list[Change]:
    """Of what both recorded, what is not the same."""
    return [Change(n, _text(a[n]), _text(b[n])) for n in names if n in a and n in b and a[n] != b[n]]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def headline(changes: Changes) -> str:
    """What differs, in one line: `2 config keys differ of 143 · code: commit a91… → c03… · env: torch 2.9 → 2.10`."""
    seeds = sum(change.seed for change in changes.config)
    count = len(changes.config) - seeds
    parts = []
    if "config" in changes.unknown:
        parts.append("config: not recorded on both sides")
    else:
        verb = "key differs" if count == 1 else "keys differ"
        also = f", and {seeds} {'seed' if seeds == 1 else 'seeds'}" if seeds else ""
        parts.append(f"{count} config {verb} of {changes.keys}{also}")
    parts.append(f"code: {_code_words(changes)}")
    parts.append(f"env: {_environment_words(changes)}")
    return " · ".join(parts)


def _code_words(changes: Changes) -> str:
    said = {change.name: change for change in changes.code}
    if "code" in changes.unknown:
        return "commit not recorded on both sides"
    parts = []
    if "commit" in said:
        parts.append(f"commit {said['commit'].a[:7]} → {said['commit'].b[:7]}")
    if "uncommitted changes" in said:
        parts.append(f"uncommitted changes {said['uncommitted changes'].a} → {said['uncommitted changes'].b}")
    if "command" in said:
        parts.append("another command line")
    return ", ".join(parts) or "same commit"


def _environment_words(changes: Changes) -> str:
    found = [f"{texts.short(one.name)} {texts.short(one.a)} → {texts.short(one.b)}" for one in changes.environment]
    if "packages" in changes.unknown:
        found.append("packages not recorded on both sides")
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (", ".join(found[:3]) + more) or "same"


_STYLE = """<style>
.rt-changes{font-size:13px;line-height:1.45;border:1px solid color-mix(in srgb,currentColor 18%,transparent);
border-radius:8px;padding:10px 14px;margin:0 0 10px}
.rt-changes .soft{color:color-mix(in srgb,currentColor 76%,transparent)}
.rt-changes small{font-size:11px;letter-spacing:.07em;font-weight:600;margin-right:8px}
.rt-changes table{width:100%;border-collapse:collapse;margin:6px 0 0}
.rt-changes th,.rt-changes td{border:0;border-top:1px solid color-mix(in srgb,currentColor 10%,transparent);
padding:4px 14px 4px 0;text-align:left;vertical-align:baseline;font-weight:400;overflow-wrap:anywhere}
.rt-changes th,.rt-changes code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:12px}
.rt-changes code{color:inherit;background:none;padding:0;overflow-wrap:anywhere}
.rt-changes th{width:40%;overflow-wrap:break-word}.rt-changes .what{width:7em}
</style>"""
_ROWS = 40


def render(changes: Changes, details: bool = True) -> str:
    """The line and the table below it as HTML for st.html. All that runs recorded is text in it.

    Args:
        changes: What differs.
        details: Whether the table is shown, 40 rows at most.
    """
    parts = (("config", changes.config), ("code", changes.code), ("env", changes.environment))
    rows = [_row(what, change) for what, found in parts for change in found]
    left_out = f'<div class="soft">and {len(rows) - _ROWS} more</div>' if len(rows) > _ROWS else ""
    table = f"<table>{''.join(rows[:_ROWS])}</table>{left_out}" if details and rows else ""
    line = html.escape(headline(changes))
    return f'{_STYLE}<div class="rt-changes"><div><small class="soft">WHY</small>{line}</div>{table}</div>'


def _row(what: str, change: Change) -> str:
    seed = ' <span class="soft">(seed)</span>' if change.seed else ""
    name = f'<th scope="row" title="{html.escape(change.name)}">{_breakable(texts.short(change.name, 64))}{seed}</th>'
    values = f'{_value(change.a)} <span class="soft">→</span> {_value(change.b)}'
    return f'<tr><td class="soft what">{what}</td>{name}<td>{values}</td></tr>'


def _breakable(name: str) -> str:
    """A name as HTML that is broken behind dots and the like, rather than within a word."""
    return re.sub(r"([._/-])", r"\1<wbr>", html.escape(name))


def _value(text: str) -> str:
    return f'<code title="{html.escape(text[:10_000])}">{html.escape(texts.short(text, 80))}</code>'


def markdown(changes: Changes) -> str:
    """The line and all that differs as a Markdown list, to be copied."""
    parts = (("config", changes.config), ("code", changes.code), ("env", changes.environment))
    lines = [f"- {what} {_told(one)}" for what, found in parts for one in found]
    return "\n".join([texts.markdown(headline(changes)), *(["", *lines] if lines else [])])


def _told(one: Change) -> str:
    text = f"{texts.short(one.name, 64)}: {texts.short(one.a, 80)} → {texts.short(one.b, 80)}"
    return texts.markdown(text) + (" (seed)" if one.seed else "")
