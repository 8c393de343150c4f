"""The smallest run: a loss that falls, with one spike."""

import math

import runtide

run = runtide.init(project="quickstart", config={"lr": 0.01, "decay": 0.001})
for step in range(5000):
    loss = math.exp(-run.config.decay * step) + (4.0 if step == 3210 else 0.0)
    runtide.log({"loss": loss, "lr": run.config.lr * (1 - step / 5000)})
runtide.finish()
