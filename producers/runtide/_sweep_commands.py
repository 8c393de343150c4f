"""`runtide sweep` and `runtide agent`."""

from __future__ import annotations

import argparse

from runtide._report import say

_ACTS = {"pause": "paused", "resume": "running", "stop": "stopped", "cancel": "cancelled"}
_HELP = {
    "pause": "begin no more trials until --resume",
    "resume": "go on with a sweep that is paused or stopped",
    "stop": "begin no more trials; those that run go on",
    "cancel": "begin no more trials, and stop those that run",
}


def sweep(argv: list[str]) -> int:
    """Begin a sweep, or pause, resume, stop or cancel one."""
    parser = argparse.ArgumentParser(prog="runtide sweep", description="Begin a sweep; prints its id.")
    parser.add_argument("what", metavar="FILE|ID", help="the sweep's YAML file; with an option the id of a sweep")
    parser.add_argument("--entity", help="(default: the file's, else RUNTIDE_ENTITY, else default)")
    parser.add_argument("--project", help="(default: the file's, else RUNTIDE_PROJECT, else uncategorized)")
    acts = parser.add_mutually_exclusive_group()
    for name, text in _HELP.items():
        acts.add_argument(f"--{name}", action="store_const", const=name, dest="act", help=text)
    args = parser.parse_args(argv)
    from runtide._sweeps import _public

    if args.act is None:
        print(_public.sweep(args.what, args.entity, args.project), flush=True)
        return 0
    opened, settings = _public.open_sweep(args.what, args.entity, args.project)
    opened.set_state(_ACTS[args.act], f"runtide sweep --{args.act}")
    opened.recorder.close(settings.finish_timeout)
    return 0


def agent(argv: list[str]) -> int:
    """Run trials of a sweep."""
    parser = argparse.ArgumentParser(prog="runtide agent", description="Run trials of a sweep with its command.")
    parser.add_argument("id", help="id of the sweep, or entity/project/id")
    parser.add_argument("--count", type=int, help="trials to run (default: all)")
    parser.add_argument("--entity", help="(default: RUNTIDE_ENTITY, else default)")
    parser.add_argument("--project", help="(default: RUNTIDE_PROJECT, else the one on this machine that has the sweep)")
    parser.add_argument("--forward-signals", action="store_true", help="give SIGTERM and SIGINT on to the command")
    args = parser.parse_args(argv)
    from runtide._sweeps import _public

    try:
        _public.agent(args.id, None, args.entity, args.project, args.count, args.forward_signals)
    except KeyboardInterrupt:
        say("the agent was interrupted: the next one goes on with its trial")
        return 130
    return 0
