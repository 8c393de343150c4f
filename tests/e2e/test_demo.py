"""`make demo`, less the installation."""

import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_data_and_leaves_no_process(tmp_path: Path, until) -> None:
    """The address comes when there is something to see, the node is sampled, and Ctrl-C ends all that was started."""
    with tempfile.TemporaryDirectory(prefix="rt", dir="/tmp") as folder:
        environment = {**os.environ, "RUNTIDE_DIR": str(tmp_path / "home"), "TMPDIR": folder, "RUNTIDE_SAMPLER": "on"}
        _show(environment, tmp_path, until)


def _samplers(folder: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "runtide._sampler" in process.cmdline() and process.environ().get("TMPDIR") == folder:
                found.append(process)
    return found


def _ask(environment: dict[str, str], query: str) -> list[str]:
    command = [sys.executable, "-m", "runtide", "sql", query, "--format", "csv"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout.splitlines()[1:]


def _known(environment: dict[str, str], tmp_path: Path) -> str:
    """All that is known of the demo: what its processes have said, and what is in the store."""
    logs = [tmp_path / "output", *Path(environment["TMPDIR"]).glob("*/*.log"), *(tmp_path / "home/logs").iterdir()]
    queries = (
        "SELECT run_id, state FROM runs",
        "SELECT count(), max(cpu_pct) FROM host_samples",
        "SELECT kind, message FROM device_events",
        "SELECT stream, reason, count() FROM dead_letters GROUP BY ALL",
    )
    said = [f"{path}:\n{path.read_text()}" for path in logs]
    found = [f"{query}:\n{_ask(environment, query)}" for query in queries]
    return "\n".join([*said, *found, f"samplers: {_samplers(environment['TMPDIR'])}"])


def _show(environment: dict[str, str], tmp_path: Path, until) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        command = [sys.executable, str(ROOT / "examples" / "demo.py")]
        demo = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    children: list[psutil.Process] = []
    try:
        until(lambda: "Ctrl-C stops everything" in output.read_text(), "the demo says where", process=demo)
        children = psutil.Process(demo.pid).children(recursive=True)
        line = next(line for line in output.read_text().splitlines() if "being logged" in line)
        with urllib.request.urlopen(line.split()[-1], timeout=30) as page:
            assert page.status == 200
        samples = "SELECT count() > 0 AND max(cpu_pct) > 0 FROM host_samples"
        until(lambda: _ask(environment, samples) == ["1"], "there are samples of the node", process=demo)
        why = "SELECT DISTINCT kind FROM device_events WHERE kind = 'no_driver'"
        gpus = "SELECT gpu_uuid FROM gpu_samples LIMIT 1"
        until(lambda: _ask(environment, why) or _ask(environment, gpus), "there are samples of GPUs, or a reason")
    except AssertionError as error:
        raise AssertionError(_known(environment, tmp_path)) from error
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0, output.read_text()
    assert len(children) >= 4, "the supervisor and three servers, and whatever still trains"
    # The sampler, which ends by itself a moment later, is nobody's child once it has begun.
    left = [child for child in children if child.is_running() and child not in _samplers(environment["TMPDIR"])]
    assert not [child for child in left if child.is_running()]
    until(lambda: not _samplers(environment["TMPDIR"]), "the sampler has ended with the trainings")
