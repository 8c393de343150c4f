"""An agent in a process of its own, that a test may kill: `sweep_agent.py SWEEP LOG`."""

import os
import sys
import time
from pathlib import Path

import runtide

sweep, log = sys.argv[1], Path(sys.argv[2])
# What is done between two lines; a test may kill in it. No longer than a real training is.
PAUSE = float(os.environ.get("PAUSE", "0.01"))


def note(*words: object) -> None:
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    os.close(descriptor)


def train() -> None:
    with runtide.init() as run:
        note("begin", run.id, os.getpid(), run.config["x"])
        for _ in range(3):
            run.log({"loss": float(run.config["x"])})
            time.sleep(PAUSE)
        note("end", run.id, os.getpid(), run.config["x"])


runtide.agent(sweep, train)
note("left", os.getpid())
