"""The command `runtide`. Other packages add their commands by entry points of the group `runtide.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version

from runtide._errors import Error
from runtide._exec import command as execute
from runtide._forward_command import forward
from runtide._login import command as login
from runtide._sample_command import sample
from runtide._sql import fetch
from runtide._sweep_commands import agent, sweep

_FORMATS = {
    "table": "PrettyCompactMonoBlock",
    "json": "JSONEachRow",
    "csv": "CSVWithNames",
    "arrow": "ArrowStream",
}
# Here, not with the commands: loading them all takes seconds.
_SUMMARIES = {
    "agent": "run trials of a sweep",
    "consume": "bring the records of a spool folder or of Kafka into the store, and go on",
    "dead-letters": "list, show and replay what could not be used",
    "exec": "run a script as it is, with runtide in the place of wandb",
    "forward": "deliver what waits in the outbox to Kafka or to a stack on another machine",
    "keep": "say how many days samples of GPUs and nodes are kept",
    "login": "keep the token of a stack on another machine",
    "runs": "list the runs",
    "sample": "sample a whole node, its GPUs included, until a signal comes",
    "sql": "ask the store in SQL",
    "sweep": "begin a search for good parameters; pause, resume, stop or cancel one",
    "sync": "bring what a spool folder holds into the store, and end",
    "topics": "create the topics in Kafka, or check them",
    "up": "start the store, the consumers and the dashboard",
}
_RUNS = """
SELECT run_id, name, state, created, round(duration, 1) AS seconds, tags, host
FROM runs {where} ORDER BY created DESC LIMIT {limit}
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(*arguments or ("--help",))
    except BrokenPipeError:  # `runtide runs | head`; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(name: str, *rest: str) -> int:
    if name in ("-h", "--help", "help"):
        print(_usage(), flush=True)
        return 0
    if name in ("-V", "--version"):
        print(f"runtide {version('runtide')}")
        return 0
    if name not in _names():
        known = ", ".join(sorted(_names()))
        print(f"runtide: there is no command {name!r}: `runtide --help` lists them ({known})", file=sys.stderr)
        return 2
    try:
        return _command(name)([*rest])
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
    answer = fetch(args.query, form)
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()
    if not answer:
        print("no rows", file=sys.stderr)
    return 0


def runs(argv: list[str]) -> int:
    """List the runs."""
    parser = argparse.ArgumentParser(prog="runtide runs", description="List the runs, newest first.")
    parser.add_argument("--project", help="only those of one project: its name, or entity/project")
    parser.add_argument("--limit", type=_positive, default=50, help="(default: %(default)s)")
    parser.add_argument("--format", choices=sorted(_FORMATS), default="table", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    column = "concat(entity, '/', project)" if "/" in (args.project or "") else "project"
    where = f"WHERE {column} = {_quoted(args.project)}" if args.project else ""
    return sql([_RUNS.format(where=where, limit=args.limit), "--format", args.format])


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_BUILT_IN: dict[str, Callable[[list[str]], int]] = {
    "agent": agent,
    "exec": execute,
    "forward": forward,
    "login": login,
    "runs": runs,
    "sample": sample,
    "sql": sql,
    "sweep": sweep,
}


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
    lines = "".join(f"  {name:14}{_SUMMARIES.get(name, '')}\n" for name in sorted(_names()))
    return f"usage: runtide COMMAND [options]\n\n{lines}\n`runtide COMMAND --help` says more about each."
