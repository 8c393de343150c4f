"""A project as people have them: seeds of two recipes, one run that goes on, one that broke, and a second project."""

import json
import math
import random
import time

PROJECT = "lm/wiki-small"
GOALS = {
    "val/loss": {"goal": "minimize"},
    "val/accuracy": {"goal": "maximize"},
    "perf/tokens_per_second": {"goal": "maximize"},
}
LAST, EVERY = 40_000, 100
HOUR = 3600 * 10**6


def now():
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def curves(noise, steps, gain, speed):
    """Six metrics; `gain` is by how much val/loss is lower in the end than it else would be."""
    found = {}
    offset = noise.gauss(0, 0.004)
    for step in steps:
        falling = 4.5 * math.exp(-step / 5000) + 0.6 * math.exp(-step / 20_000)
        loss = 2.23 + falling + (offset - gain) * min(1, step / 20_000)
        point = {
            "val/loss": loss + noise.gauss(0, 0.006),
            "val/accuracy": 0.62 - 0.09 * falling + noise.gauss(0, 0.002),
            "train/loss": loss - 0.08 + noise.gauss(0, 0.05),
            "train/grad_norm": 0.5 + abs(noise.gauss(0, 0.1)) + falling / 3,
            "train/lr": 3e-4 * min(1, (step + EVERY) / 2000) * (1 - step / 50_000),
            "perf/tokens_per_second": speed + noise.gauss(0, 900),
        }
        for key, value in point.items():
            found.setdefault(key, []).append(round(value, 9))
    return found


def add(lab, name, seed, created, last=LAST, gain=0.0, speed=80_000.0, optim=None, **description):
    """One run of up to eight hours; times are microseconds since 1970. Returns its path."""
    path = f"{PROJECT}/{name.replace('.', '-')}-s{seed}"
    config = {
        "model": {"name": "gpt", "depth": 12, "width": 768},
        "optim": {"name": "adamw", "lr": 3e-4, "weight_decay": 0.01, "warmup": 2000, **(optim or {})},
        "max_steps": LAST, "seed": seed,
    }  # fmt: skip
    environment = {
        "python": "3.12.8", "host": "node-07", "command": "train.py", "packages": ["numpy==2.4.1", "torch==2.9.1"],
        "git": {"commit": "c03b77e1aa" if optim else "a91f03c2d4", "branch": "main", "dirty": False},
    }  # fmt: skip
    end = created + 8 * HOUR * last // LAST
    told = {"definitions": GOALS, "environment": json.dumps(environment), "heartbeat": end, **description}
    lab.run(path, f"{name} seed {seed}", config=config, created=created, **told)
    steps = list(range(0, last + 1, EVERY))
    times = [(created + (end - created) * step // (last + 1)) // 1000 for step in steps]
    lab.points(path, curves(random.Random(path), steps, gain, speed), steps, times, attempt=created)
    return path


def seed(lab):
    """All of it; returns three baselines, three runs with more weight decay, and the one that goes on: their paths."""
    today = now()
    decay = {"gain": 0.04, "speed": 74_000.0, "optim": {"weight_decay": 0.1}, "tags": ["wd-scan"]}
    bases = [add(lab, "base-v3", one, today - (50 - one) * HOUR, tags=["prod"]) for one in range(3)]
    others = [add(lab, "wd-0.1", one, today - (30 - one) * HOUR, **decay) for one in range(3)]
    going = {"state": "", "heartbeat": today, "notes": "shorter warmup, else like base-v3", "optim": {"warmup": 500}}
    live = add(lab, "warm-500", 0, today - 5 * HOUR, 25_000, gain=0.01, **going)
    broken = add(lab, "lr-1e-2", 0, today - 9 * HOUR, 9_000, -0.8, state="failed", exit_code=1, optim={"lr": 1e-2})
    steps = list(range(9_100, 9_900, EVERY))
    lab.points(broken, {key: [math.nan] * 8 for key in ("val/loss", "train/loss")}, steps, seq=1)
    lab.alert(broken, "Loss is NaN", "ERROR", "train/loss is NaN at step 9,100.", 9_100, today - 7 * HOUR)
    lab.alert(live, "Gradient spike", "WARN", "train/grad_norm is 8 times its mean.", 12_390, today - 3 * HOUR)
    for place, name in enumerate(("resnet-18", "vit-s")):
        lab.run(f"vision/digits/{name}", name, config={"model": name}, created=today - (70 + place) * HOUR)
    return bases, others, live
