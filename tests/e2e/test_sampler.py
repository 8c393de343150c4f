"""A training, its sampler, the consumer and the store: what the node did is in SQL."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

TRAIN = """
import subprocess, sys, time, runtide
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
run = runtide.init(project="hardware", id="run")
begin = time.monotonic()
while time.monotonic() - begin < 3:
    run.log({"a": 1.0})
    time.sleep(0.01)
with run.phase("eval"):
    time.sleep(1.5)
worker.kill()
worker.wait()
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder in which no other sampler is."""
    with tempfile.TemporaryDirectory(prefix="rt", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setenv("RUNTIDE_SAMPLER", "on")
        monkeypatch.setenv("RUNTIDE_SAMPLE_INTERVAL", "0.5")
        monkeypatch.setenv("RUNTIDE_DIR", str(tmp_path / "home"))
        yield Path(folder)


def samplers(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if "runtide._sampler" in process.cmdline() and process.environ().get("TMPDIR") == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_what_a_node_did_during_a_run_is_in_sql(store, address, node: Path, tmp_path: Path, until) -> None:
    """Samples with rank, step and phase, the tree of the rank, what the host is, and an event for every reason."""
    environment = {**os.environ, "RUNTIDE_CLICKHOUSE_URL": address(store, f"sampler_{os.getpid()}")}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(query: str) -> list[dict]:
        return [json.loads(line) for line in run("-m", "runtide", "sql", query, "--format", "json").splitlines()]

    run("-c", TRAIN)
    until(lambda: not samplers(node), "the sampler has ended")
    run("-m", "runtide", "sync", str(tmp_path / "home"))
    try:
        (hosts,) = sql(
            "SELECT count() AS n, countIf(cpu_pct > 0) AS busy, min(mem_used_bytes) AS memory,"
            " min(disk_used_pct) AS disk, uniqExact(host) AS nodes, any(period_ms) AS period FROM host_samples"
            " WHERE run_id = 'default/hardware/run'"
        )
        assert int(hosts["n"]) >= 8
        assert int(hosts["busy"]) >= 6
        assert int(hosts["memory"]) > 1 << 20
        assert (int(hosts["nodes"]), int(hosts["period"])) == (1, 500)
        assert 0 < float(hosts["disk"]) < 100
        ranks = sql("SELECT rank, step, phase, processes, rss_bytes FROM rank_processes ORDER BY time")
        assert {int(row["rank"]) for row in ranks} == {0}
        assert max(int(row["processes"]) for row in ranks) == 2, "the worker counts"
        steps = [int(row["step"]) for row in ranks]
        assert steps == sorted(steps) and steps[-1] > steps[0]
        assert {row["phase"] for row in ranks} == {"", "eval"}
        assert {row["kind"] for row in sql("SELECT DISTINCT kind FROM host_devices")} >= {"net"}
        (host,) = sql("SELECT kind, name, mem_total_bytes FROM device_info WHERE kind = 'host'")
        assert int(host["mem_total_bytes"]) == psutil.virtual_memory().total
        events = [row["kind"] for row in sql("SELECT kind FROM device_events ORDER BY seq")]
        assert events[0] == "sampler_started" and events[-1] == "sampler_ended"
        assert sql("SELECT * FROM dead_letters") == []
        # The sampler's writer has arrived without a gap, and counts as no rank of the run.
        gaps = sql("SELECT stream FROM ledger GROUP BY writer, stream HAVING max(last_seq) + 1 != sum(records)")
        assert gaps == []
        (told,) = sql("SELECT state, environment FROM runs")
        assert told["state"] == "finished"
        assert json.loads(told["environment"])["sampler"] == "on"
    finally:
        store.query(f"DROP DATABASE sampler_{os.getpid()}")
