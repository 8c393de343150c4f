"""The reader of `.wandb` files."""

from pathlib import Path

import pytest
import wandb
from tests.wandb.reader import BLOCK, HEADER, read_records, read_run


def offline(folder: Path) -> Path:
    """A run with values longer than a block, and its file."""
    run = wandb.init(mode="offline", dir=folder, config={"lr": 0.1}, settings=wandb.Settings(console="off"))
    for number in range(20):
        run.log({"number": number, "text": f"{number}" * (BLOCK // 7 * (number % 4))})
    run.summary["best"] = {"of": "all"}
    run.finish(exit_code=3)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return path


def test_values_over_several_blocks_arrive_whole(tmp_path: Path) -> None:
    """Rows, summary, config and exit code of a file of many blocks."""
    path = offline(tmp_path)
    run = read_run(tmp_path)
    assert path.stat().st_size > 5 * BLOCK
    assert [(step, row["number"]) for step, row in run.rows.items()] == [(number, number) for number in range(20)]
    assert all(row["text"] == f"{step}" * (BLOCK // 7 * (step % 4)) for step, row in run.rows.items())
    assert (run.summary["best"], run.config, run.exit_code) == ({"of": "all"}, {"lr": 0.1}, 3)


def test_a_torn_end_costs_the_last_record_alone(tmp_path: Path) -> None:
    """Cut anywhere: what lies before is read, and nothing else."""
    path = offline(tmp_path)
    read_run(tmp_path)
    data = path.read_bytes()
    whole = [record.SerializeToString() for record in read_records(data)]
    for cut in range(HEADER, len(data), BLOCK // 3 + 1):
        found = [record.SerializeToString() for record in read_records(data[:cut])]
        assert found == whole[: len(found)] and len(found) < len(whole)


def test_what_is_no_wandb_file_is_refused() -> None:
    """Told by its first bytes."""
    with pytest.raises(ValueError, match=r"no \.wandb file"):
        list(read_records(b"PK\x03\x04 something"))
