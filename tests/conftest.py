"""Fixtures that several areas share: a real store in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

DEADLINE = 60.0


class StoreProcess:
    """A running store; `restart` keeps its folder and its port."""

    host = "127.0.0.1"
    password = "a password: with % and @"

    def __init__(self, folder: Path) -> None:
        self.dir = folder
        with socket.create_server((self.host, 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.url = f"http://{self.host}:{self.port}"
        self.log = folder.with_suffix(".log")
        self.process = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runtide_stack.store", "--dir", str(self.dir), "--port", str(self.port)]
        with self.log.open("ab") as log:
            environment = {**os.environ, "RUNTIDE_STORE_PASSWORD": self.password}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert process.poll() is None, f"the store ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"no answer in {DEADLINE:.0f} s: {self.log.read_text()}"
            threading.Event().wait(0.02)
        return process

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ping", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def ask(
        self,
        sql: str | bytes,
        data: bytes = b"",
        user: str = "default",
        headers: dict[str, str] | None = None,
        **values: str,
    ) -> httpx.Response:
        """Run a statement: in the body, or in the URL when `data` is the body; `values` are URL parameters."""
        password = self.password if user == "default" else ""
        text = sql.encode() if isinstance(sql, str) else sql
        parameters = {"query": text.decode(), **values} if data else values
        return httpx.post(
            self.url, params=parameters, content=data or text, auth=(user, password), headers=headers, timeout=DEADLINE
        )

    def query(self, sql: str, data: bytes = b"", user: str = "default", **values: str) -> str:
        """Run a statement that must succeed and return its result's text."""
        answer = self.ask(sql, data, user, **values)
        assert answer.status_code == 200, answer.text
        return answer.text

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(DEADLINE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop politely; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def restart(self) -> None:
        """Start again after `kill` or `stop`."""
        self.process = self._launch()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """One store for the whole session: take a database of your own in it, and do not stop it."""
    running = StoreProcess(tmp_path_factory.mktemp("store") / "engine")
    yield running
    assert running.stop() == 0, running.log.read_text()


@pytest.fixture
def start_store(tmp_path: Path) -> Iterator[Callable[[], StoreProcess]]:
    """Starts stores that a test may kill; each has a folder of its own."""
    started: list[StoreProcess] = []

    def start() -> StoreProcess:
        started.append(StoreProcess(tmp_path / f"engine{len(started)}"))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def database(store: StoreProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database that the test has for itself."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    store.query(f"CREATE DATABASE {name}")
    yield name
    store.query(f"DROP DATABASE {name}")


@pytest.fixture
def until() -> Callable[[Callable[[], object], str], None]:
    """Waits for a condition, with a deadline."""

    def wait(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s until {what}"
            threading.Event().wait(0.02)

    return wait
