"""The store as a process: its start, its refusals, its end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def start_in_vain(folder: Path, port: int = 0) -> str:
    """Start a store that must not start; returns what it wrote."""
    command = [sys.executable, "-m", "runtide_stack.store", "--dir", str(folder), "--port", str(port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_one_folder_has_one_store(store: Any) -> None:
    """A second process is told in one sentence who is in the way of what."""
    assert start_in_vain(store.dir) == (
        f"runtide store: another process already uses the folder {store.dir}: "
        "stop it, or choose another folder with --dir\n"
    )
    assert store.query("SELECT 1") == "1\n"


def test_a_port_in_use_is_said(store: Any, tmp_path: Path) -> None:
    """The message names the address and the option, and no folder is made."""
    line = start_in_vain(tmp_path / "engine", store.port)
    assert line == (
        f"runtide store: cannot listen on 127.0.0.1:{store.port}: Address already in use; "
        "choose another port with --port\n"
    )
    assert not (tmp_path / "engine").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file in the way, or a place where nothing can be made, is one sentence."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/runtide")):
        assert start_in_vain(folder).startswith(f"runtide store: the folder {folder} cannot be used (")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Root would lock the owner out of the folder by the files it writes."""
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    line = start_in_vain(tmp_path / "theirs")
    assert line.startswith(f"runtide store: the folder {tmp_path / 'theirs'} belongs to another user (uid 65534): ")
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_keeps_everything(start_store: Callable[[], Any], number: int) -> None:
    """A signal ends it with code 0 and nothing on its log, open sessions and streams notwithstanding."""
    store = start_store()
    store.query("CREATE DATABASE d")
    store.query("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n", database="d")
    store.query("INSERT INTO t SELECT number FROM numbers(1000)", database="d")
    store.query("CREATE TEMPORARY TABLE x (n UInt8)", session_id="open")
    with socket.create_connection((store.host, store.port)) as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        assert store.stop(number) == 0
    assert store.log.read_text() == ""
    store.restart()
    assert store.query("SELECT count() FROM d.t") == "1000\n"


def test_a_long_query_does_not_keep_it_from_stopping(
    start_store: Callable[[], Any], until: Callable[..., None]
) -> None:
    """What still runs after the grace is killed; the folder is free again at once."""
    store = start_store()
    body = b"SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1 FORMAT JSON"
    with socket.create_connection((store.host, store.port)) as connection:
        connection.sendall(
            b"POST /?user=reader HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        until(lambda: store.query("SELECT count() FROM system.processes") == "2\n", "the query runs")
        assert store.stop() == 0
    store.restart()
    assert store.query("SELECT 1") == "1\n"


def test_it_leaves_no_descriptors_behind(store: Any) -> None:
    """Requests, failed ones too, give back their files and connections."""
    folder = f"/proc/{store.process.pid}/fd"
    if not os.path.isdir(folder):
        pytest.skip("descriptors are counted in /proc")

    def round_trip() -> None:
        store.query("SELECT 1")
        store.ask("INSERT INTO nowhere FORMAT TSV", b"1\n")
        store.ask("SELECT throwIf(number = 3000000) FROM numbers(5000000)")

    for _ in range(5):
        round_trip()
    before = len(os.listdir(folder))
    for _ in range(40):
        round_trip()
    assert len(os.listdir(folder)) < before + 20
