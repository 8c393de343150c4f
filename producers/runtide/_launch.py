"""What a launcher has already told its processes: their rank, and what makes them one job.

torchrun, Slurm, MPI and Ray export a rank and a number of processes; what is the same for all processes of a job, and
for no other job, differs. Ranks of a job log to one run, whose id comes from that.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from runtide._report import warn

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_HERE = frozenset(("localhost", "127.0.0.1", "::1"))


class _Names(NamedTuple):
    """What a launcher calls the rank, the number of processes, and of those on this machine."""

    rank: str
    size: str
    local_size: str = ""


_LAUNCHERS = (
    _Names("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    _Names("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    _Names("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    _Names("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
# Per job, how many runs this process has begun: the second run of a process is the second one of every rank.
_begun: Counter[str] = Counter()


@dataclass(frozen=True)
class Launch:
    """What this process is in its job.

    Args:
        rank: Text of its rank, empty for none.
        source: Variable that said so.
        job: Names the job among all; empty for a process on its own.
        restart: How often the job was started again.
    """

    rank: str = ""
    source: str = ""
    job: str = ""
    restart: str = ""

    def next_id(self) -> str:
        """The id of the next run that the processes of the job share."""
        number = _begun[self.job]
        _begun[self.job] += 1
        digest = hashlib.sha256(f"{self.job}/{number}".encode()).digest()
        value = int.from_bytes(digest, "big")
        return "".join([_ALPHABET[value // 36**place % 36] for place in range(8)])

    @property
    def start(self) -> str:
        """Names this start of the job; empty for a process on its own."""
        return hashlib.sha256(f"{self.job}/{self.restart}".encode()).hexdigest()[:16] if self.job else ""


def find_launch(environ: Mapping[str, str]) -> Launch:
    """What the environment says; RUNTIDE_RANK stands above all launchers."""
    own = environ.get("RUNTIDE_RANK", "")
    for names in _LAUNCHERS:
        if rank := environ.get(names.rank):
            several = environ.get(names.size, "").isdigit() and int(environ[names.size]) > 1
            job = _job(names, environ) if several else ""
            restart = environ.get("TORCHELASTIC_RESTART_COUNT", "") + "/" + environ.get("SLURM_RESTART_COUNT", "")
            return Launch(own or rank, "RUNTIDE_RANK" if own else names.rank, job, restart)
    return Launch(own, "RUNTIDE_RANK")


def _job(names: _Names, environ: Mapping[str, str]) -> str:
    """What all processes of the job have in common; empty, with a word about it, when there is nothing."""
    get = environ.get
    address = f"{get('MASTER_ADDR', '')}:{get('MASTER_PORT', '')}"
    if get("TORCHELASTIC_RUN_ID", "none") != "none":
        return f"torchrun/{get('TORCHELASTIC_RUN_ID')}/{address}"
    if get("RAY_JOB_ID") and get("MASTER_PORT"):
        return f"ray/{get('RAY_JOB_ID')}/{address}"
    if namespace := get("PMIX_NAMESPACE") or get("OMPI_MCA_ess_base_jobid"):
        return f"mpi/{namespace}/{get('SLURM_JOB_ID', '')}"
    if get("SLURM_STEP_ID", "").isdigit() and names.rank in ("SLURM_PROCID", "RANK"):
        return f"slurm/{get('SLURM_CLUSTER_NAME', '')}/{get('SLURM_JOB_ID')}/{get('SLURM_STEP_ID')}"
    if get("MASTER_ADDR") in _HERE or (names.local_size and get(names.local_size) == get(names.size)):
        return f"{_launcher(names.rank)}/{address}"
    warn(
        "launch",
        f"{names.size}={get(names.size)}, but nothing names the job that its processes on several machines belong to: "
        "each logs a run of its own. Set RUNTIDE_RUN_ID to the same text for all of them (or torchrun's --rdzv-id)",
    )
    return ""


def _launcher(rank: str) -> str:
    """The process that started the ranks of this machine: the nearest ancestor without a rank of its own."""
    import psutil

    found, started = os.getppid(), 0.0
    try:
        parent = psutil.Process(found)
        for process in (parent, *parent.parents()):
            found, started = process.pid, process.create_time()
            if rank not in process.environ():
                break
    except psutil.Error:  # somebody else's process
        pass
    return f"{socket.gethostname()}/{found}/{started:.2f}"
