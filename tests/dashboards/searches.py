"""Sweeps as people have them, whose answer is known: lr matters and is good near 3e-4, the rest hardly does."""

import json
import math
import random

from tests.dashboards.showcase import now

PROJECT = "lm/search"
CONFIG = {
    "method": "bayes",
    "name": "wiki-lr",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "run_cap": 200,
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
        "dropout": {"min": 0.0, "max": 0.5},
        "layers": {"min": 2, "max": 12},
        "optimizer": {"values": ["adamw", "sgd"]},
        "momentum": {"min": 0.8, "max": 0.99, "when": "optimizer == 'sgd'"},
        "epochs": {"value": 3},
    },
}
BEST_LR = 3e-4


def loss(point, noise):
    """Lowest where lr is 3e-4; with sgd a little higher."""
    away = math.log10(point["lr"] / BEST_LR)
    return 2.24 + 0.22 * away**2 + 0.08 * (point["optimizer"] == "sgd") + 0.06 * point["dropout"] + noise.gauss(0, 0.01)


def point(noise):
    """A random point of CONFIG."""
    chosen = {
        "lr": 10 ** noise.uniform(-5, -1), "dropout": noise.uniform(0, 0.5), "layers": noise.randint(2, 12),
        "optimizer": noise.choice(["adamw", "sgd"]), "epochs": 3,
    }  # fmt: skip
    return chosen | ({"momentum": noise.uniform(0.8, 0.99)} if chosen["optimizer"] == "sgd" else {})


def event(sweep, seq, time, kind, **fields):
    """A record of the stream `sweeps`; `time` is microseconds since 1970."""
    project, _, name = sweep.rpartition("/")
    run = fields.pop("run", name)
    plain = {
        "state": "running", "why": "", "config": "", "storage": "", "number": -1, "try": 0, "parameters": "{}",
        "objectives": {}, "agent": "node/1",
    }  # fmt: skip
    row = {"run_id": f"{project}/{run}", "writer": 1, "seq": seq, "sweep": name, "event": kind}
    return row | {"time": f"{time // 10**6}.{time % 10**6:06}"} | plain | fields


class Search:
    """A sweep that is written into a lab, all at once when `flush` is called.

    Args:
        lab: Where.
        name: Its id; ids of its runs begin with it.
        config: Of the sweep.
        project: entity/project.
        begin: When it began, in microseconds since 1970.
    """

    def __init__(self, lab, name, config=CONFIG, project=PROJECT, begin=None):
        self.lab, self.path = lab, f"{project}/{name}"
        self.time, self.seq, self.number = begin or now() - 3 * 3600 * 10**6, 0, 0
        self.waiting = {"sweeps": [], "runs": []}
        self.tell("created", config=json.dumps(config))

    def tell(self, kind, **fields):
        """An event, a second later than the one before."""
        self.time += 10**6
        self.waiting["sweeps"].append(event(self.path, self.seq, self.time, kind, **fields))
        self.seq += 1

    def ask(self, values, name=""):
        """A trial begins; returns the path of its run."""
        run = f"{self.path.rpartition('/')[2]}-{self.number}"
        self.tell("asked", run=run, number=self.number, parameters=json.dumps(values))
        path = f"{self.path.rpartition('/')[0]}/{run}"
        self._run(path, "start", name or f"t-{self.number}", values)
        self.number += 1
        return path

    def end(self, path, values, objectives, state="finished", seconds=60, why="", name=""):
        """A trial is over."""
        number = int(path.rpartition("-")[2])
        self.time += round(seconds * 10**6)
        ended = "failed" if state == "failed" else "finished"
        summary = {key: json.dumps(value) for key, value in objectives.items()}
        self._run(path, "finish", name or f"t-{number}", values, state=ended, summary=summary)
        self.tell(
            "told", run=path.rpartition("/")[2], number=number, parameters=json.dumps(values), objectives=objectives,
            state=state, why=why,
        )  # fmt: skip

    def _run(self, path, kind, name, values, state="", summary=None):
        row = {
            "run_id": path, "writer": 1000 + int(path.rpartition("-")[2]), "seq": int(kind == "finish"),
            "attempt": 1, "rank": 0, "child": False, "name": name, "tags": [], "config": json.dumps(values),
            "definitions": "{}", "environment": "{}", "summary": summary or {}, "event": kind, "state": state,
            "time": f"{self.time // 10**6}.{self.time % 10**6:06}",
        }  # fmt: skip
        self.waiting["runs"].append(row)

    def flush(self):
        """Write what is waiting."""
        for stream, rows in self.waiting.items():
            if rows:
                self.lab.sampled(stream, rows)
        self.waiting = {"sweeps": [], "runs": []}


def seed(lab, name="wiki", trials=60, config=CONFIG, **where):
    """A sweep of so many trials, of which each eleventh failed and three more run; returns it."""
    noise = random.Random(name)
    search = Search(lab, name, config, **where)
    for number in range(trials):
        values = point(noise)
        path = search.ask(values)
        if number % 11 == 5:
            search.end(path, values, {}, "failed", 9, "CUDA out of memory")
        else:
            found = {"val/loss": loss(values, noise), "val/accuracy": 0.9 - loss(values, noise) / 10}
            search.end(path, values, found, seconds=30 + 5 * values["layers"])
    for _ in range(3):
        search.ask(point(noise))
    search.flush()
    return search
