"""benchmarks/gpu/probe.py: it says so where there is no GPU, and runs on the library in C."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROBE = Path(__file__).parents[3] / "benchmarks" / "gpu" / "probe.py"


def run(library: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RUNTIDE_NVML_LIBRARY": library}
    command = [sys.executable, str(PROBE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = run("/nowhere/libnvidia-ml.so.1")
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("There is no GPU to measure.")
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr


def test_it_measures_and_hides_which_machine_it_was(library: Path, tmp_path: Path) -> None:
    done = run(str(library), "--quick", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "probe.json").read_text("utf-8")
    report = json.loads(text)
    assert (report["model"], report["driver"], report["gpus"]) == ("NVIDIA H100 80GB HBM3", "570.86.15", 8)
    parts = ("latency", "gpm", "samples", "energy", "steps", "trace")
    assert all(report[part] for part in parts)
    assert not [row for part in parts for row in report[part] if "failed" in row]
    codes = {row["call"]: row["rc"] for row in report["latency"]}
    assert codes["fields FAST"] == 0
    assert codes["field 197 pcie_tx_bytes_s"] == 3
    assert abs(report["energy"][0]["counter/∫instant"] - 1) < 0.2
    assert report["samples"][0]["gap ms median"] == 142.86
    for name in ("fa4e0000", "1652923001234", "00000000:1"):
        assert name not in text
        assert name not in (tmp_path / "trace.jsonl").read_text("utf-8")
