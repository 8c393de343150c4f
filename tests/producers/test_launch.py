"""What launchers export: rank, and one run for one job."""

from typing import Any

import pytest

from runtide._launch import Launch, find_launch
from runtide._settings import resolve

TORCH = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}
LAUNCHERS = {
    "torchrun": TORCH | {"RANK": "{}", "TORCHELASTIC_RUN_ID": "job7"},
    "torchrun in Slurm": TORCH
    | {"RANK": "{}", "TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1"},
    "srun": {"SLURM_PROCID": "{}", "SLURM_STEP_NUM_TASKS": "16", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"},
    "Open MPI": {"OMPI_COMM_WORLD_RANK": "{}", "OMPI_COMM_WORLD_SIZE": "16", "PMIX_NAMESPACE": "prterun-n1-77@1"},
    "Ray": {"RANK": "{}", "WORLD_SIZE": "16", "MASTER_ADDR": "n1", "MASTER_PORT": "41234", "RAY_JOB_ID": "01000000"},
    "one machine": {"RANK": "{}", "WORLD_SIZE": "16", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"},
}
# What makes another job of each.
OTHER = {
    "torchrun": {"TORCHELASTIC_RUN_ID": "job8"},
    "torchrun in Slurm": {"SLURM_JOB_ID": "8"},
    "srun": {"SLURM_STEP_ID": "1"},
    "Open MPI": {"PMIX_NAMESPACE": "prterun-n1-78@1"},
    "Ray": {"MASTER_PORT": "41235"},
    "one machine": {"MASTER_PORT": "29501"},
}


def seen(launcher: str, rank: int, **more: str) -> Launch:
    return find_launch({name: text.format(rank) for name, text in LAUNCHERS[launcher].items()} | more)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ranks_of_a_job_share_what_other_jobs_have_not(launcher: str) -> None:
    """Every launcher's variables give the rank, and one name for all ranks, and another for another job."""
    ranks = [seen(launcher, rank) for rank in range(16)]
    assert [launch.rank for launch in ranks] == [str(rank) for rank in range(16)]
    assert len({launch.job for launch in ranks}) == len({launch.start for launch in ranks}) == 1
    assert ranks[0].job and ranks[0].start
    assert seen(launcher, 0, **OTHER[launcher]).job != ranks[0].job


def test_a_restart_is_another_start_of_the_same_job() -> None:
    """Elastic restarts and requeued jobs go on with their run."""
    first, again = seen("torchrun", 3), seen("torchrun", 3, TORCHELASTIC_RESTART_COUNT="1")
    assert first.job == again.job and first.start != again.start
    assert seen("srun", 3).start != seen("srun", 3, SLURM_RESTART_COUNT="1").start


def test_a_process_on_its_own_is_no_job() -> None:
    """Nothing exported, one process, an sbatch without srun: a run of its own; RUNTIDE_RANK stands above all."""
    for environ in ({}, TORCH | {"RANK": "0", "WORLD_SIZE": "1"}, {"SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}):
        assert find_launch(environ).job == ""
    assert find_launch({"RUNTIDE_RANK": "5"}).rank == "5"
    assert seen("srun", 3, RUNTIDE_RANK="5").rank == "5"


def test_a_job_on_several_machines_that_has_no_name_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """torchrun's default run id is none: two launches could not be told apart, so every rank logs to its own run."""
    assert find_launch(TORCH | {"RANK": "9", "TORCHELASTIC_RUN_ID": "none"}).job == ""
    assert "--rdzv-id" in capfd.readouterr().err


def test_a_given_id_stands_above_the_job(home: Any) -> None:
    """Without one, the first run of all ranks is the same, the second is another; disabled runs take no part."""
    environ = {name: text.format(3) for name, text in LAUNCHERS["srun"].items()} | {"SLURM_JOB_ID": "given"}
    assert resolve({"id": "mine"}, environ).id == "mine"
    assert resolve({"mode": "disabled"}, environ).id == ""
    first, second = resolve({}, environ), resolve({}, environ)
    assert len(first.id) == 8 and first.id.isalnum()
    assert first.id != second.id
    assert (first.rank, first.launch) == (3, second.launch)
