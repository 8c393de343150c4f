"""The sampler for a whole node, in a process that somebody started by hand."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from runtide._report import say
from runtide._run import Run
from runtide._sampler._election import NoPlaceError, Post, find_place, is_ours, take_lock
from runtide._sampler._host import HostSource
from runtide._sampler._loop import Loop
from runtide._sampler._nvml import NvmlSource
from runtide._sampler._processes import Processes
from runtide._sampler._ranks import Message
from runtide._sampler._runs import NodeRun, Runs
from runtide._sampler._writers import Writer, open_writer


def sample_node(run: Run, record: Path | None) -> None:
    """Sample into a run that stands for the node, and for the runs of this user on it, until a signal comes.

    Args:
        run: Stands for the node; it is not ended here.
        record: File in which every answer of the GPUs' driver is kept.
    """
    settings, host, processes = run._settings, socket.gethostname(), Processes()
    post, keep = None, lambda: True
    with suppress(NoPlaceError, OSError):  # nobody is heard then
        place = find_place()
        if (lock := take_lock(place)) is not None:
            post, keep = Post(place), lambda: is_ours(place, lock) or True
        else:
            say("another sampler serves the runs of this node, and goes on to")
    runs = Runs(lambda message: open_writer(message, host), processes)
    loop = Loop(runs, HostSource(), NvmlSource(record), processes, post, confirm=keep)
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, lambda *_: loop.stop())
    about = Message(
        run.path, 0, os.getpid(), str(settings.home), settings.mode, settings.destination, settings.sample_interval,
        settings.finish_timeout, every_gpu=True,
    )  # fmt: skip
    node = NodeRun(about, Writer(settings, run.path, host), None)
    node.permanent = True
    loop.add(node)
    loop.run()
