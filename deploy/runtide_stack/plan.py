"""What `runtide up` runs: each part's command, what it is told, and how one sees that it serves."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtide_stack.supervisor import ChildSpec

HOST, _DATABASE = "127.0.0.1", "runtide"
# What a part writes that waits for something outside of the stack.
WAITING = "waiting: "


@dataclass(frozen=True)
class Plan:
    """A stack.

    Args:
        folder: Where it lives.
        password: Of the store's user `default`.
        editor: Of its user `editor`.
        token: Of the ingest server.
        store: Port.
        dashboard: Port; None: without.
        ingest: Port.
        ingest_host: Address that the ingest server listens on.
        kafka: host:port,… of the Kafka that is read too; empty for none.
    """

    folder: Path
    password: str = field(repr=False)
    editor: str = field(repr=False)
    token: str = field(repr=False)
    store: int
    dashboard: int | None
    ingest: int
    ingest_host: str
    kafka: str

    @property
    def stack(self) -> dict[str, object]:
        """What stack.json says to other processes of this user."""
        return {
            "pid": os.getpid(),
            "store_url": f"http://{HOST}:{self.store}",
            "store_password": self.password,
            "editor_password": self.editor,
            "dashboard_url": f"http://{HOST}:{self.dashboard}" if self.dashboard else None,
            "ingest_url": self._ingest_url,
            "database": _DATABASE,
        }

    @property
    def children(self) -> list[ChildSpec]:
        """The processes, in the order of their start."""
        optional = [(self._kafka_consumer, self.kafka), (self._dashboard, self.dashboard)]
        return [self._store(), self._consumer(), self._ingest(), *(make() for make, wanted in optional if wanted)]

    @property
    def _ingest_url(self) -> str:
        return f"http://{HOST if self.ingest_host == '0.0.0.0' else self.ingest_host}:{self.ingest}"

    def _store(self) -> ChildSpec:
        # With the password: on a port that was taken in the meantime somebody else's store would answer /ping.
        headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": self.password}
        return ChildSpec(
            "store",
            ["runtide_stack.store", "--dir", str(self.folder / "store"), "--host", HOST, "--port", str(self.store)],
            answers(f"http://{HOST}:{self.store}/?query=SELECT+1", headers),
            {"RUNTIDE_STORE_PASSWORD": self.password, "RUNTIDE_EDITOR_PASSWORD": self.editor},
        )

    def _consumer(self) -> ChildSpec:
        command = ["runtide_consumers", "consume", "--spool", str(self.folder / "spool")]
        return ChildSpec("consumer", command, is_ready, self._address(f"default:{self.password}"))

    def _ingest(self) -> ChildSpec:
        where = ["--dir", str(self.folder), "--host", self.ingest_host, "--port", str(self.ingest)]
        ready = answers(f"{self._ingest_url}/ingest", {"Authorization": f"Bearer {self.token}"})
        return ChildSpec("ingest", ["runtide_stack.ingest", *where], ready)

    def _kafka_consumer(self) -> ChildSpec:
        environment = {**self._address(f"default:{self.password}"), "RUNTIDE_KAFKA": self.kafka}
        if (port := os.environ.get("RUNTIDE_METRICS_PORT", "")).isdecimal():
            environment["RUNTIDE_METRICS_PORT"] = str(int(port) + 1)  # the other consumer has that one
        # A Kafka that is away keeps nothing else from being served.
        return ChildSpec(
            "consumer-kafka",
            ["runtide_stack.kafka_consumer"],
            lambda written: is_ready(written) or WAITING in written,
            environment,
        )

    def _dashboard(self) -> ChildSpec:
        return ChildSpec(
            "dashboard",
            ["runtide_dashboards", "--host", HOST, "--port", str(self.dashboard)],
            answers(f"http://{HOST}:{self.dashboard}/_stcore/health"),
            {**self._address("reader"), "RUNTIDE_EDITOR_URL": self._url(f"editor:{self.editor}")},
        )

    def _address(self, user: str) -> dict[str, str]:
        direct = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), HOST]))
        return {"RUNTIDE_DIR": str(self.folder), "RUNTIDE_CLICKHOUSE_URL": self._url(user), "no_proxy": direct}

    def _url(self, user: str) -> str:
        return f"http://{user}@{HOST}:{self.store}/{_DATABASE}"


def is_ready(written: str) -> bool:
    """Whether a consumer has said that it works."""
    return "ready" in written.splitlines()


def answers(url: str, headers: Mapping[str, str] | None = None) -> Callable[[str], bool]:
    """A check whether an address answers with 200."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # http_proxy is not for our own loopback
    request = urllib.request.Request(url, headers=dict(headers or {}))

    def check(_: str) -> bool:
        try:
            with direct.open(request, timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return check
