"""Waiting for conditions, and the address of a store as the settings want it."""

import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable

import pytest

DEADLINE = 120.0


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits until a condition holds, while a process that must live lives."""

    def wait(condition: Callable[[], object], what: str, process: subprocess.Popen | None = None) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert process is None or process.poll() is None, f"the process ended while waiting until {what}"
            assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s until {what}"
            threading.Event().wait(0.05)

    return wait


@pytest.fixture
def address() -> Callable[..., str]:
    """Makes the value of RUNTIDE_CLICKHOUSE_URL for a database of a store."""

    def make(store, database: str) -> str:
        return f"http://default:{urllib.parse.quote(store.password, safe='')}@{store.host}:{store.port}/{database}"

    return make
