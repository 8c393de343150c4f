"""`make demo`, less the installation."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def test_the_demo_shows_data_and_leaves_no_process(tmp_path: Path, until) -> None:
    """The address comes when there is something to see; Ctrl-C ends every process that was started."""
    environment = {**os.environ, "RUNTIDE_DIR": str(tmp_path / "home")}
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
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0, output.read_text()
    assert len(children) >= 4, "the supervisor and three servers, and whatever still trains"
    assert not [child for child in children if child.is_running()]
