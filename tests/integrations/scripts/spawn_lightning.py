"""Hands a WandbLogger to a spawned process, as Lightning's strategies do, which logs by it."""

import json
import multiprocessing

from lightning.pytorch.loggers import WandbLogger


def work(logger):
    logger.log_metrics({"child": 2.0}, step=7)


if __name__ == "__main__":
    logger = WandbLogger(project="tiny")
    logger.log_metrics({"parent": 1.0}, step=3)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(logger,))
    process.start()
    process.join()
    print(json.dumps(process.exitcode))
