"""The sampler's process: `python -I -m runtide._sampler --lock 3 --socket 4`, started by a rank that gives it both."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from datetime import datetime

from runtide._report import say
from runtide._sampler._election import NoPlaceError, Post, find_place, is_ours
from runtide._sampler._host import HostSource
from runtide._sampler._loop import Loop
from runtide._sampler._nvml import NvmlSource
from runtide._sampler._processes import Processes
from runtide._sampler._ranks import Message
from runtide._sampler._runs import Runs
from runtide._sampler._writers import Writer, open_writer

_NICE = 5


def main(argv: list[str] | None = None) -> int:
    """Sample for the ranks that the socket has heard of, until the last has ended."""
    parser = argparse.ArgumentParser(prog="python -m runtide._sampler", description="Sample this node for its runs.")
    parser.add_argument("--lock", type=int, required=True, help="descriptor of the lock, which is held")
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the socket, which is bound")
    args = parser.parse_args(argv)
    if sys.platform != "linux":
        return 1
    try:
        place = find_place()
    except NoPlaceError as error:
        print(error, file=sys.stderr)
        return 1
    # The rank must neither wait for this process nor have it among its children.
    if os.fork():
        os._exit(0)
    _close_others(args.lock, args.socket)
    _settle_down()
    host = socket.gethostname()
    processes = Processes()

    def opened(message: Message) -> Writer:
        _note(f"samples for {message.run}")
        return open_writer(message, host)

    runs = Runs(opened, processes)
    post = Post(place, args.socket, args.lock)
    loop = Loop(runs, HostSource(), NvmlSource(), processes, post, confirm=lambda: is_ours(place, args.lock))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: loop.stop())
    gc.freeze()  # what is there now stays: no need to look through it again and again
    _note("listens")
    loop.run()
    _note("ended")
    return 0


def _note(what: str) -> None:
    """Into the log, which is this process' stderr."""
    say(f"{datetime.now():%F %T} pid {os.getpid()} {what}")


def _close_others(*wanted: int) -> None:
    """Close what libraries in the training process had open without care for its children, such as sockets."""
    for name in os.listdir("/proc/self/fd"):
        if (descriptor := int(name)) > 2 and descriptor not in wanted:
            with suppress(OSError):  # the one that lists them
                os.close(descriptor)


def _settle_down() -> None:
    """Give way to training, and leave its terminal and the processor that a rank was pinned to."""
    if sys.platform != "linux":
        return
    os.setsid()
    with suppress(OSError):
        os.nice(_NICE)
    with suppress(OSError, ValueError):  # the kernel takes those that this process may have
        os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))


if __name__ == "__main__":
    sys.exit(main())
