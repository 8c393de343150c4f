"""Fixtures that several areas share: a real store and a real Kafka.

Both are what the environment names (RUNTIDE_TEST_CLICKHOUSE, RUNTIDE_TEST_KAFKA), else a container where a Docker
engine answers, else a process of ours: the embedded store, and a broker where Java and `make kafka` are.
"""

import gc
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import docker
import httpx
import pytest
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException

from runtide_schemas import Kafka, parse_address

DEADLINE = 60.0
PASSWORD = "a password: with % and @"


@cache
def docker_answers() -> bool:
    """Whether there is a Docker engine for this user."""
    with warnings.catch_warnings():
        # docker forgets the socket with which it found nobody.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            found = bool(docker.from_env(timeout=2).ping())
        except DockerException:
            found = False
        gc.collect()
    return found


class RunningStore:
    """A store that answers over ClickHouse's HTTP interface; who writes is called `default`."""

    def __init__(self, host: str, port: int, password: str) -> None:
        self.host = host
        self.port = port
        self.password = password
        self.url = f"http://{host}:{port}"

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

    def let_in_reader(self) -> "RunningStore":
        """Make the user that the embedded store has from the start: one who may only read."""
        self.query("CREATE USER IF NOT EXISTS reader IDENTIFIED WITH no_password SETTINGS readonly = 1")
        self.query("GRANT SELECT ON *.* TO reader")
        return self


class StoreProcess(RunningStore):
    """The embedded store in a process of its own; `restart` keeps its folder and its port."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            super().__init__("127.0.0.1", int(probe.getsockname()[1]), PASSWORD)
        self.dir = folder
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
def store_process() -> type[StoreProcess]:
    """The embedded store, for fixtures that start one of their own."""
    return StoreProcess


@pytest.fixture(scope="session")
def embedded_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """The embedded store, one for the whole session: do not stop it."""
    running = StoreProcess(tmp_path_factory.mktemp("store") / "engine")
    yield running
    assert running.stop() == 0, running.log.read_text()


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest) -> Iterator[RunningStore]:
    """One store for the whole session: take a database of your own in it, and do not stop it."""
    if named := os.environ.get("RUNTIDE_TEST_CLICKHOUSE"):
        address = parse_address(named, "RUNTIDE_TEST_CLICKHOUSE")
        assert address.user == "default", "RUNTIDE_TEST_CLICKHOUSE: the user must be default, and may make users"
        yield RunningStore(address.host, address.port, address.password).let_in_reader()
    elif docker_answers():
        from testcontainers.community.clickhouse import ClickHouseContainer

        container = ClickHouseContainer(username="default", password=PASSWORD, dbname="default")
        with container.with_env("CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT", "1") as running:
            host, port = running.get_container_host_ip(), int(running.get_exposed_port(8123))
            yield RunningStore(host, port, PASSWORD).let_in_reader()
    else:
        yield request.getfixturevalue("embedded_store")


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
def database(store: RunningStore, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database that the test has for itself."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    store.query(f"CREATE DATABASE {name}")
    yield name
    store.query(f"DROP DATABASE {name}")


class Brokers:
    """A running Kafka; every test takes topics of its own in it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._prefix = f"test-{secrets.token_hex(4)}"
        self._given = 0

    def fresh(self) -> Kafka:
        """The cluster with names of topics and groups that nobody else uses; no topic is there yet."""
        self._given += 1
        name = f"{self._prefix}-{self._given}"
        return Kafka(servers=self.address, prefix=f"{name}.", group=name)

    def tidy(self) -> None:
        """Delete what the tests made in a cluster that outlives them."""
        admin = AdminClient({"bootstrap.servers": self.address})
        made = [name for name in admin.list_topics(timeout=DEADLINE).topics if name.startswith(self._prefix)]
        for deleted in admin.delete_topics(made).values() if made else ():
            deleted.result()


def _broker() -> ModuleType:
    """The module deploy/kafka/broker.py; skips where it cannot run."""
    file = Path(__file__).parents[1] / "deploy" / "kafka" / "broker.py"
    spec = importlib.util.spec_from_file_location("runtide_test_broker", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if lack := module.missing():
        pytest.skip(f"no Kafka: {lack}; RUNTIDE_TEST_KAFKA=host:port names one")
    return module


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """One Kafka for the whole session: take topics of your own in it (`fresh`), and do not stop it."""
    if named := os.environ.get("RUNTIDE_TEST_KAFKA"):
        brokers = Brokers(named)
        yield brokers
        brokers.tidy()
    elif docker_answers():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer().with_kraft() as running:
            yield Brokers(running.get_bootstrap_server())
    else:
        broker = _broker().Broker(tmp_path_factory.mktemp("kafka"))
        yield Brokers(broker.address)
        broker.stop()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts brokers that a test may kill; each has a folder of its own: `start_broker(port=0, settings="")`."""
    module = _broker()
    started: list[Any] = []

    def start(**options: Any) -> Any:
        started.append(module.Broker(tmp_path / f"broker{len(started)}", **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


class RegistryProcess:
    """A schema registry that speaks Confluent's protocol; `start` after `kill` keeps its port and its schemas."""

    def __init__(self, file: Path, auth: str = "") -> None:
        self._file = file
        self._auth = auth
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        user, colon, password = auth.partition(":")
        login = f"{quote(user)}:{quote(password)}@" if colon else ""
        self.url = f"http://{login}127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        script = Path(__file__).with_name("registry.py")
        arguments = ["--file", str(self._file), "--port", str(self.port), "--auth", self._auth]
        self.process = subprocess.Popen([sys.executable, str(script), *arguments])
        deadline = time.monotonic() + DEADLINE
        while True:
            assert self.process.poll() is None, "the schema registry ended"
            assert time.monotonic() < deadline, f"no answer in {DEADLINE:.0f} s"
            try:
                httpx.get(self.url, timeout=5)
                return
            except httpx.TransportError:
                threading.Event().wait(0.02)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(DEADLINE)


@pytest.fixture
def start_registry(tmp_path: Path) -> Iterator[Callable[..., RegistryProcess]]:
    """Starts schema registries that a test may kill: `start_registry(auth="user:password")`."""
    started: list[RegistryProcess] = []

    def start(auth: str = "") -> RegistryProcess:
        started.append(RegistryProcess(tmp_path / f"registry{len(started)}.json", auth))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def until() -> Callable[[Callable[[], object], str], None]:
    """Waits for a condition, with a deadline."""

    def wait(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s until {what}"
            threading.Event().wait(0.02)

    return wait
