"""A node of its own for each test: a folder for the sampler's files, and the processes that sample there."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest


class Node:
    """Where runs meet their sampler, and who is there."""

    def __init__(self, tmp: Path, home: Path, scripts: Path) -> None:
        self.tmp = tmp
        self.home = home
        self.folder = tmp / f"runtide-{os.getuid()}"
        self._scripts = scripts
        self._started: list[subprocess.Popen[str]] = []

    def samplers(self) -> list[psutil.Process]:
        """Processes that sample this node."""
        found = []
        for process in psutil.process_iter():
            try:
                if "runtide._sampler" in process.cmdline() and process.environ().get("TMPDIR") == str(self.tmp):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def start(self, source: str, **environ: str) -> "subprocess.Popen[str]":
        """Start a script; it ends when its input does, if it reads that."""
        path = self._scripts / f"script{len(self._started)}.py"
        path.write_text(source)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(path)],
            env={**os.environ, **environ},
            cwd=self._scripts,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
            with suppress(ProcessLookupError):  # with the children that it may have left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                pipe.close()
        for sampler in self.samplers():
            sampler.kill()


@pytest.fixture
def node(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node without a sampler, on which runs want one."""
    # Not tmp_path: the path of a socket has room for about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("RUNTIDE_SAMPLER", "on")
    monkeypatch.setenv("RUNTIDE_SAMPLE_INTERVAL", "0.2")
    made = Node(folder, home, tmp_path)
    yield made
    made.end()
    shutil.rmtree(folder)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Makes a file system with these files, to be read in the place of the real one."""

    def make(files: dict[str, str]) -> Path:
        root = tmp_path / "root"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return make


@pytest.fixture
def sampled(spooled: Any) -> Callable[[str], dict[int, list[dict[str, Any]]]]:
    """The records of a stream by writer, whose numbers are checked: each from 0, without a gap."""

    def read(stream: str) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for record in spooled.records(stream, torn=True):
            found.setdefault(record["writer"], []).append(record)
        for records in found.values():
            assert [record["seq"] for record in records] == list(range(len(records)))
        return found

    return read
