"""Trains by Keras with one of W&B's callbacks; the argument is the module that has them."""

import importlib
import json
import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import wandb

callbacks = importlib.import_module(sys.argv[1])
run = wandb.init(project="tiny", name="keras")
x = np.linspace(0, 1, 32).reshape(-1, 1)
model = keras.Sequential([keras.Input(shape=(1,)), keras.layers.Dense(1)])
model.compile(loss="mse", optimizer=keras.optimizers.SGD(learning_rate=0.25))
saved = callbacks.WandbModelCheckpoint("model_{epoch:02d}")
fitted = []
for callback in (
    callbacks.WandbMetricsLogger(log_freq=2),
    callbacks.WandbCallback(labels=["a"], log_batch_frequency=4),
):
    given = {"batch_size": 8, "epochs": 2, "verbose": 0, "validation_split": 0.25}
    fitted.append(model.fit(x, 2 * x, callbacks=[callback, saved], **given).history)
assert os.path.exists("model_02.keras")
wandb.finish()
print(json.dumps([fitted, run.summary["best_val_loss"]]))
