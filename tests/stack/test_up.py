"""`runtide up` with its real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka import Producer
from tests.web import WEB

from runtide_schemas import STREAMS, encode, encode_entry, encode_header
from runtide_stack.plan import answers

Until = Callable[[Callable[[], object], str], None]


HEADER = encode_header(STREAMS["metrics"])


def message(writer: int) -> bytes:
    """A record with one point."""
    fields = {
        "run_id": "e/p/run", "writer": writer, "seq": 0, "attempt": 1_700_000_000_000_000, "rank": 0, "ordered": True,
        "keys": ["loss"], "steps": [0], "times": [1_700_000_000_000], "values": [0.5],
    }  # fmt: skip
    return encode(STREAMS["metrics"], fields)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Stack:
    """One `runtide up` on a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.dir = folder
        command = "import sys; from runtide_stack.commands import up; sys.exit(up(sys.argv[1:]))"
        self.log = folder.with_suffix(".out")
        # Ports of its own: the preferred ones belong to the person who runs the tests.
        ports = [f"--{name}={_free_port()}" for name in ("port", "store-port", "ingest-port")]
        self.command = [sys.executable, "-c", command, "--dir", str(folder), *options, *ports]
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return (self.dir / "stack.json").exists()

    def facts(self) -> dict[str, Any]:
        return dict(json.loads((self.dir / "stack.json").read_text()))

    def children(self) -> dict[str, psutil.Process]:
        """The processes of the stack by the module they run."""
        found = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                words = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
            except psutil.NoSuchProcess:  # it was killed since
                continue
            found.update(
                {word: process for word in words if word.startswith("runtide_") and not word.endswith(".child")}
            )
        return found

    def writers(self) -> list[int]:
        """Who has points in the store."""
        sql = "SELECT DISTINCT writer FROM runtide.metrics ORDER BY writer FORMAT TSV"
        answer = WEB.get(self.facts()["store_url"], params={"query": sql, "user": "reader"})
        return [int(line) for line in answer.raise_for_status().text.split()]

    def served(self) -> bool:
        facts = self.facts()
        try:
            store = WEB.get(facts["store_url"], params={"query": "SELECT count() FROM runtide.runs", "user": "reader"})
            others = [facts["dashboard_url"] + "/_stcore/health", facts["ingest_url"] + "/health"]
            return store.status_code == 200 and all(WEB.get(url).status_code == 200 for url in others)
        except httpx.TransportError:
            return False


@contextmanager
def running(folder: Path, until: Until, *options: str) -> Iterator[Stack]:
    """A stack that is ready; leaves no process behind."""
    stack = Stack(folder, *options)
    before: list[psutil.Process] = []
    try:
        until(stack.ready, f"the stack is ready: {stack.log.read_text()}")
        yield stack
    finally:
        if stack.process.poll() is None:
            before = psutil.Process(stack.process.pid).children(recursive=True)
            stack.process.terminate()
            stack.process.wait(60)
        for process in before:
            assert not process.is_running(), "a process was left behind"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("up") / "stack", until) as one:
        yield one


@pytest.fixture
def stack(shared: Stack, until: Until) -> Stack:
    """A stack that runs; a test may end it."""
    if shared.process.poll() is not None:
        shared.start()
    until(lambda: shared.ready() and len(shared.children()) == 4, "the stack is ready")
    return shared


def test_everything_answers_and_a_killed_part_comes_back_where_it_was(stack: Stack, until: Until) -> None:
    """kill -9 of each process in turn: the same addresses answer again, and a second `up` is refused meanwhile."""
    assert (stack.dir / "stack.json").stat().st_mode & 0o777 == 0o600
    assert (stack.dir / "store.password").stat().st_mode & 0o777 == 0o600
    facts = stack.facts()
    for name in ("runtide_dashboards", "runtide_consumers", "runtide_stack.ingest", "runtide_stack.store"):
        until(lambda name=name: name in stack.children(), f"{name} runs")
        victim = stack.children()[name]
        victim.kill()
        until(lambda name=name, old=victim: stack.children().get(name, old) != old, f"{name} is back")
        until(stack.served, "the addresses answer again")
    assert stack.facts() == facts
    second = subprocess.run(stack.command[:-3], capture_output=True, text=True, timeout=60)
    assert second.returncode == 2
    assert second.stderr == (
        f"runtide up: runtide is already running on {stack.dir} "
        f"(pid {stack.process.pid}, dashboard {facts['dashboard_url']})\n"
    )


def test_a_strangers_store_is_not_taken_for_ours(stack: Stack) -> None:
    """A store with another password on our port, between choosing the port and using it, is no readiness."""
    url = stack.facts()["store_url"] + "/?query=SELECT+1"
    assert answers(url, {"X-ClickHouse-User": "default", "X-ClickHouse-Key": stack.facts()["store_password"]})("")
    assert not answers(url, {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "another"})("")


def test_ctrl_c_stops_all_and_the_folder_can_be_used_again(stack: Stack, until: Until) -> None:
    """SIGINT ends every process with code 0; the next `up` finds the same password and the same data."""
    children = list(stack.children().values())
    password = stack.facts()["store_password"]
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(60) == 0, stack.log.read_text()
    assert not [process for process in children if process.is_running()]
    assert not (stack.dir / "stack.json").exists()
    stack.start()
    until(stack.ready, "the stack is ready again")
    assert stack.facts()["store_password"] == password
    until(stack.served, "the addresses answer")


def test_a_killed_supervisor_leaves_no_process(stack: Stack, until: Until) -> None:
    """kill -9 of the supervisor: store, consumer, ingest and dashboard end by themselves, and the folder is free."""
    children = list(stack.children().values())
    assert len(children) == 4
    os.kill(stack.process.pid, signal.SIGKILL)
    stack.process.wait(60)
    until(lambda: not [process for process in children if process.is_running()], "all have ended")
    (stack.dir / "stack.json").unlink()
    stack.start()
    until(stack.ready, "the folder can be used again")


def test_three_ways_in_and_kafka_may_come_last(tmp_path: Path, until: Until, start_broker: Callable[..., Any]) -> None:
    """The spool, HTTP and Kafka meet in one store; a Kafka that is away at the start is waited for, and said."""
    port = _free_port()
    with running(tmp_path / "stack", until, "--kafka", f"127.0.0.1:{port}", "--ingest-host", "0.0.0.0") as stack:
        log = stack.dir / "logs" / "consumer-kafka.log"
        assert f"the consumer-kafka waits for Kafka at 127.0.0.1:{port} (its log: {log})" in stack.log.read_text()
        ingest = stack.facts()["ingest_url"]
        token = (stack.dir / "ingest.token").read_text()
        assert f"login http://{socket.gethostname()}:{ingest.rpartition(':')[2]}," in stack.log.read_text()
        assert token not in stack.log.read_text()

        folder = stack.dir / "spool" / f"{1:016x}"
        draft = folder.with_name(".new")
        draft.mkdir()
        (draft / "closed").touch()
        (draft / f"metrics-{0:020d}.seg").write_bytes(HEADER + encode_entry(message(1), 5))
        draft.rename(folder)
        headers = {"Authorization": f"Bearer {token}"}
        body = HEADER + encode_entry(message(2), 5)
        url = f"{ingest}/ingest/{2:016x}/metrics?offset=0&segment=1"
        assert WEB.post(url, content=body, headers=headers).status_code == 200
        until(lambda: stack.writers() == [1, 2], "what does not come by Kafka is there")

        broker = start_broker(port=port)
        until(lambda: "ready" in log.read_text().splitlines(), "Kafka's consumer is ready")
        producer = Producer({"bootstrap.servers": broker.address})
        producer.produce("runtide.metrics", message(3), f"e/p/run/{3:016x}")
        assert producer.flush(30) == 0
        until(lambda: stack.writers() == [1, 2, 3], "what comes by Kafka is there")
