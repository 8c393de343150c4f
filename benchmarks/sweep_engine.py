"""W&B's engine (package `sweeps`) in a process of its own, for sweeps.py: a line of JSON asks, a line answers."""

import json
import sys
from typing import Any

import numpy as np
from sweeps import RunState, SweepRun, next_run

config = json.loads(sys.stdin.readline())
runs: list[Any] = []
np.random.seed(config.pop("seed"))
for line in sys.stdin:  # where the last run was, and what it came to; at first nothing
    told = json.loads(line)
    if "loss" in told:
        values = {name: {"value": value} for name, value in told["values"].items()}
        done = {
            "state": RunState.finished,
            "history": [{"loss": told["loss"]}],
            "summaryMetrics": {"loss": told["loss"]},
        }
        runs.append(SweepRun(config=values, **done))
    found = next_run(config, runs)
    print(
        json.dumps({name: entry["value"] for name, entry in found.config.items()}, default=lambda value: value.item()),
        flush=True,
    )
