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
    parser.add_argument("what", metavar="FILE|ID", help="the sweep's YAML file; to pause, resume … the id of a sweep")
    parser.add_argument("-e", "--entity", help="(default: the file's, else RUNTIDE_ENTITY, else default)")
    parser.add_argument("-p", "--project", help="(default: the file's, else RUNTIDE_PROJECT, else uncategorized)")
    parser.add_argument("--name", help="display name (default: the file's)")
    parser.add_argument("--program", help="script to start (default: the file's)")
    parser.add_argument(
        "-R", "--prior_run", action="append", help="an earlier run that the method is told of; may be given again"
    )
    acts = parser.add_mutually_exclusive_group()
    for name, text in _HELP.items():
        acts.add_argument(f"--{name}", action="store_const", const=name, dest="act", help=text)
    args = parser.parse_args(argv)
    from runtide._sweeps import _config, _public

    if args.act is None:
        given = {name: value for name in ("name", "program") if (value := getattr(args, name))}
        sweep = _public.sweep(lambda: _config.load(args.what) | given, args.entity, args.project, args.prior_run)
        print(sweep, flush=True)
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
    parser.add_argument("-e", "--entity", help="(default: RUNTIDE_ENTITY, else default)")
    parser.add_argument(
        "-p", "--project", help="(default: RUNTIDE_PROJECT, else the one on this machine that has the sweep)"
    )
    parser.add_argument("-f", "--forward-signals", action="store_true", help="give SIGTERM, SIGINT on to the command")
    args = parser.parse_args(argv)
    from runtide._sweeps import _public

    try:
        _public.agent(args.id, None, args.entity, args.project, args.count, args.forward_signals)
    except KeyboardInterrupt:
        say("the agent was interrupted: the next one goes on with its trial")
        return 130
    return 0
