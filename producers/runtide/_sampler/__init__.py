"""One process per node that reads GPUs and the host for all runs there: `python -I -m runtide._sampler`."""
