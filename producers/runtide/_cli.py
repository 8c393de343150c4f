"""The command `runtide`. Other packages add their commands by entry points of the group `runtide.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version

from runtide._errors import Error
from runtide._sql import fetch

_FORMATS = {
    "table": "PrettyCompactMonoBlock",
    "json": "JSONEachRow",
    "csv": "CSVWithNames",
    "arrow": "ArrowStream",
}
_RUNS = """
SELECT run_id, name, state, created, round(duration, 1) AS seconds, tags, host
FROM runs {where} ORDER BY created DESC LIMIT {limit}
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"runtide {version('runtide')}")
        return 0
    name, *rest = arguments
    if name not in _names():
        known = ", ".join(sorted(_names()))
        print(f"runtide: there is no command {name!r}: `runtide --help` lists them ({known})", file=sys.stderr)
        return 2
    try:
        return _command(name)(rest)
    except Error as error:
        print(f"runtide {name}: {error}", file=sys.stderr)
        return 1


def sql(argv: list[str]) -> int:
    """Ask the store in SQL."""
    parser = argparse.ArgumentParser(prog="runtide sql", description="Ask the store in SQL.")
    parser.add_argument("query", help='one statement that reads, such as "SELECT * FROM runs"')
    parser.add_argument("--format", choices=sorted(_FORMATS), default="table", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    # Colours and bold type of the Pretty formats are for terminals.
    form = _FORMATS[args.format] + ("NoEscapes" if args.format == "table" and not sys.stdout.isatty() else "")
    form = form.replace("MonoBlockNoEscapes", "NoEscapesMonoBlock")
    sys.stdout.buffer.write(fetch(args.query, form))
    sys.stdout.flush()
    return 0


def runs(argv: list[str]) -> int:
    """List the runs."""
    parser = argparse.ArgumentParser(prog="runtide runs", description="List the runs, newest first.")
    parser.add_argument("--project", help="only those of one project")
    parser.add_argument("--limit", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--format", choices=sorted(_FORMATS), default="table", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    where = f"WHERE project = {_quoted(args.project)}" if args.project else ""
    return sql([_RUNS.format(where=where, limit=args.limit), "--format", args.format])


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_BUILT_IN: dict[str, Callable[[list[str]], int]] = {"runs": runs, "sql": sql}


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="runtide.commands")}


def _command(name: str) -> Callable[[list[str]], int]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    try:
        return _plugins()[name].load()  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise Error(f"{error.name} is not installed: pip install 'runtide[all]'") from error


def _names() -> list[str]:
    return [*_BUILT_IN, *_plugins()]


def _usage() -> str:
    names = ", ".join(sorted(_names()))
    return f"usage: runtide COMMAND [options]\n\ncommands: {names}\n\n`runtide COMMAND --help` says more about each."
