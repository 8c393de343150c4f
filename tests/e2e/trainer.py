"""A training that may be killed at any moment and knows afterwards what must have arrived.

    trainer.py JOURNAL SEED CALLS

Each call is written to JOURNAL with os.write before it is made, and each drain of the SDK's sender thread to
JOURNAL.drained once the spool has taken it. A file JOURNAL.stop ends it before its last call.
"""

import json
import math
import os
import random
import sys
import time

import runtide
from runtide._spool import Spool
from runtide_schemas import Stream, decode

journal_path, seed, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
journal = os.open(journal_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
drained = os.open(f"{journal_path}.drained", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
draw = random.Random(seed)
rest = float(os.environ.get("TRAINER_PAUSE", "0.001"))
ODD = (math.nan, math.inf, -math.inf, -0.0, 5e-324)
send = Spool.send


def witnessed(self: Spool, stream: Stream, messages: list[bytes]) -> None:
    send(self, stream, messages)
    if stream.name == "metrics":
        records = [decode(stream, message) for message in messages]
        numbers = [int(record["values"][record["keys"].index("call") * len(record["steps"]) + i])
                   for record in records for i in range(len(record["steps"]))]  # fmt: skip
        os.write(drained, json.dumps([time.time(), numbers]).encode() + b"\n")


Spool.send = witnessed  # type: ignore[method-assign]

with runtide.init(project="chaos", id=f"seed-{seed}") as run:
    step = 0
    for call in range(calls):
        # Mostly forward, sometimes late, sometimes the same step again.
        step += draw.choices((1, 0, -3), (50, 1, 1))[0]
        value = draw.choice(ODD) if draw.random() < 0.05 else draw.gauss(0, 1)
        data = {"call": float(call), "value": value}
        if draw.random() < 0.3:
            data["sometimes"] = draw.random()
        record = [time.time(), step, {key: float.hex(number) for key, number in data.items()}]
        os.write(journal, json.dumps(record).encode() + b"\n")
        run.log(data, step=step)
        if call % 20 == 0:
            time.sleep(rest)
        if call % 1000 == 0 and os.path.exists(f"{journal_path}.stop"):
            break
