"""Fixtures that several areas share: a real store and a real Kafka.

Both are what the environment names (RUNTIDE_TEST_CLICKHOUSE, RUNTIDE_TEST_KAFKA), else a container where a Docker
engine answers, else a process of ours: the embedded store, and a broker where Java and `make kafka` are.
"""

import fcntl
import gc
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote
from zlib import crc32

import docker
import httpx
import pytest
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException
from tests.web import WEB, answers

from runtide_schemas import Kafka, migrations, parse_address

DEADLINE = 60.0
# Where the workers of pytest-xdist find what they share; they inherit the variable.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ["RUNTIDE_TEST_SHARED"] = tempfile.mkdtemp(prefix="runtide-tests-")
SHARED = Path(os.environ["RUNTIDE_TEST_SHARED"])
# What must not be collected as garbage while it runs.
_started: list[Any] = []
# The tests start thousands of runs; those of the sampler switch it on again.
os.environ["RUNTIDE_SAMPLER"] = "off"
PASSWORD = "a password: with % and @"
EDITOR_PASSWORD = "another: with / and ?"


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


def pytest_unconfigure() -> None:
    """End what the workers shared: the last of them has ended."""
    if not IS_WORKER:
        for file in SHARED.glob("*.pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)
        shutil.rmtree(SHARED, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, and mix the others: browsers beside browsers would wait for one another."""
    items.sort(key=lambda item: (item.path.parent.name not in ("e2e", "stack"), crc32(item.path.name.encode())))


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
        password = {"default": self.password, "editor": EDITOR_PASSWORD}.get(user, "")
        text = sql.encode() if isinstance(sql, str) else sql
        parameters = {"query": text.decode(), **values} if data else values
        return WEB.post(
            self.url, params=parameters, content=data or text, auth=(user, password), headers=headers, timeout=DEADLINE
        )

    def query(self, sql: str, data: bytes = b"", user: str = "default", **values: str) -> str:
        """Run a statement that must succeed and return its result's text."""
        answer = self.ask(sql, data, user, **values)
        assert answer.status_code == 200, answer.text
        return answer.text

    def make(self, last: int = 10**6) -> str:
        """Make a database that nobody else uses, with the tables of all migrations up to a number; returns its name."""
        database = f"tables_{secrets.token_hex(5)}"
        self.query(f"CREATE DATABASE {database}")
        self.migrate(database, 0, last)
        return database

    def migrate(self, database: str, first: int, last: int = 10**6) -> None:
        """Apply the migrations of these numbers."""
        for migration in migrations():
            if first <= migration.number <= last:
                for statement in migration.statements(database):
                    self.query(statement)

    def empty(self, database: str) -> None:
        """Take all rows out of a database, and with them the tokens of what was inserted."""
        full = "database = {name:String} AND total_rows > 0 AND name != 'migrations'"
        for table in self.query(f"SELECT name FROM system.tables WHERE {full}", param_name=database).splitlines():
            self.query(f"TRUNCATE TABLE {database}.{table}")

    def let_in_users(self) -> "RunningStore":
        """Make the users that the embedded store has from the start: one who may only read, one who may only edit."""
        self.query("CREATE USER IF NOT EXISTS reader IDENTIFIED WITH no_password SETTINGS readonly = 1")
        self.query("GRANT SELECT ON *.* TO reader")
        self.query(f"CREATE USER IF NOT EXISTS editor IDENTIFIED BY '{EDITOR_PASSWORD}'")
        return self

    def let_edit(self, database: str) -> str:
        """Give the editor its right in a database; returns what RUNTIDE_EDITOR_URL is then."""
        if not isinstance(self, StoreProcess):
            self.query(f"GRANT INSERT ON {database}.landing_edits TO editor")
        return f"http://editor:{quote(EDITOR_PASSWORD, safe='')}@{self.host}:{self.port}/{database}"


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
            passwords = {"RUNTIDE_STORE_PASSWORD": self.password, "RUNTIDE_EDITOR_PASSWORD": EDITOR_PASSWORD}
            environment = {**os.environ, **passwords}
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert process.poll() is None, f"the store ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"no answer in {DEADLINE:.0f} s: {self.log.read_text()}"
            threading.Event().wait(0.02)
        return process

    def _answers(self) -> bool:
        return answers(f"{self.url}/ping")

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
        yield RunningStore(address.host, address.port, address.password).let_in_users()
    elif docker_answers():
        from testcontainers.community.clickhouse import ClickHouseContainer

        container = ClickHouseContainer(username="default", password=PASSWORD, dbname="default")
        with container.with_env("CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT", "1") as running:
            host, port = running.get_container_host_ip(), int(running.get_exposed_port(8123))
            yield RunningStore(host, port, PASSWORD).let_in_users()
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


def _shared_broker(module: ModuleType) -> str:
    """Where the broker of all workers listens: whoever needs it first starts it."""
    with (SHARED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        address = SHARED / "kafka.address"
        if not address.exists():
            broker = module.Broker(SHARED / "kafka")
            _started.append(broker)
            (SHARED / "kafka.pid").write_text(str(broker.process.pid))
            address.write_text(broker.address)
        return address.read_text()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Brokers]:
    """One Kafka for the whole session and all workers: take topics of your own in it (`fresh`), and do not stop it."""
    if named := os.environ.get("RUNTIDE_TEST_KAFKA"):
        brokers = Brokers(named)
        yield brokers
        brokers.tidy()
    elif docker_answers():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer().with_kraft() as running:
            yield Brokers(running.get_bootstrap_server())
    else:
        yield Brokers(_shared_broker(_broker()))


@pytest.fixture(scope="session")
def broker_process() -> type[Any]:
    """The broker of deploy/kafka, for fixtures that start one of their own."""
    return _broker().Broker


@pytest.fixture
def start_broker(broker_process: type[Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts brokers that a test may kill; each has a folder of its own: `start_broker(port=0, settings="")`."""
    started: list[Any] = []

    def start(**options: Any) -> Any:
        started.append(broker_process(tmp_path / f"broker{len(started)}", **options))
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
                WEB.get(self.url, timeout=5)
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


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object], str], None]:
    """Waits for a condition, with a deadline."""

    def wait(condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s until {what}"
            threading.Event().wait(0.02)

    return wait
