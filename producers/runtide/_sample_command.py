"""The command `runtide sample`: the sampler on its own, for a whole node and whatever runs there."""

from __future__ import annotations

import argparse
import dataclasses
import os
import socket
import sys
from pathlib import Path

from runtide._errors import Error
from runtide._names import check_part
from runtide._outbox import whereto
from runtide._report import say
from runtide._run import Run
from runtide._settings import Settings, resolve


def sample(argv: list[str]) -> int:
    """Sample this node until a signal comes."""
    parser = argparse.ArgumentParser(
        prog="runtide sample",
        description="Sample this node, all its GPUs included, until SIGINT or SIGTERM. What is read belongs to a run "
        "that is named after the node; runs of the same user on it get theirs from this process too.",
    )
    parser.add_argument("--interval", help="seconds between two samples (default: RUNTIDE_SAMPLE_INTERVAL, else 1)")
    parser.add_argument("--project", default="nodes", help="(default: %(default)s)")
    parser.add_argument("--record", type=Path, help="file in which every answer of the GPUs' driver is kept, for tests")
    args = parser.parse_args(argv)
    if sys.platform != "linux":
        raise Error(f"the sampler runs on Linux only, and this is {sys.platform}")
    settings = _settings(args.project, args.interval)
    if args.record is not None:
        try:
            args.record.open("ab").close()
        except OSError as error:
            raise Error(f"--record {args.record} cannot be written: {error.strerror}") from None
    run = Run(settings)
    run._start()
    say(f"sampling {settings.id} every {settings.sample_interval:g} s into {run.path}: {whereto(settings)}")
    # Only where somebody samples: this brings everything that the sampler's process needs.
    from runtide._sampler._fleet import sample_node

    sample_node(run, args.record)
    run.finish(0)
    return 0


def _settings(project: str, interval: str | None) -> Settings:
    """Those of a run that stands for the node, at which no other sampler is started."""
    host = socket.gethostname()
    environ = dict(os.environ)
    if interval is not None:
        environ["RUNTIDE_SAMPLE_INTERVAL"] = interval
    for name in ("RUNTIDE_RUN_ID", "WANDB_RUN_ID", "RUNTIDE_RESUME", "WANDB_RESUME"):
        environ.pop(name, None)
    check_part("project", project)
    settings = resolve({"project": project, "id": host, "name": host, "console": "off"}, environ)
    if settings.mode == "disabled":
        raise Error("RUNTIDE_MODE=disabled (or WANDB_MODE): what is sampled would be stored nowhere")
    return dataclasses.replace(settings, sampler="off", job_type=settings.job_type or "node", rank=0)
