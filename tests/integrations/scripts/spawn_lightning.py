"""Hands a logger to a spawned process, as Lightning's strategies do, which logs by it; the argument is its class."""

import json
import multiprocessing
import sys


def work(logger):
    logger.log_metrics({"child": 2.0}, step=7)


if __name__ == "__main__":
    if sys.argv[1] == "WandbLogger":
        from lightning.pytorch.loggers import WandbLogger as Logger
    else:
        from runtide.integrations.lightning import RuntideLogger as Logger
    logger = Logger(project="tiny")
    logger.log_metrics({"parent": 1.0}, step=3)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(logger,))
    process.start()
    process.join()
    print(json.dumps(process.exitcode))
