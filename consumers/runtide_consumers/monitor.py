"""What others may ask a consumer over HTTP: /metrics for Prometheus, /healthz and /readyz for whoever keeps it running.

A store or a broker that is away makes the consumer unready, not unhealthy: a restart would not bring it back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from urllib.parse import urlsplit

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from runtide_consumers._errors import SetupError
from runtide_consumers.telemetry import BOUNDS, COUNTERS, Telemetry

# Seconds without any sign of a lane after which it hangs. The store's client waits 300 s for an answer.
STUCK = 400.0


@dataclass
class Health:
    """Whether the consumer works.

    Args:
        lanes: The lanes' counters, by stream.
        threads: The lanes' threads; none before they are started.
    """

    lanes: Mapping[str, Telemetry]
    threads: Sequence[threading.Thread] = ()

    def ills(self) -> list[str]:
        """What only a restart can cure; empty when all is well or waits for something else."""
        found = [f"the thread {thread.name} has ended" for thread in self.threads if not thread.is_alive()]
        now = time.monotonic()
        for name, lane in self.lanes.items():
            silence = now - max(lane.progressed, lane.failed)
            if self.threads and silence > STUCK:
                found.append(f"{name}: nothing has moved for {silence:.0f} s")
        return found

    def wants(self) -> list[str]:
        """Why records do not flow right now; empty when they do."""
        if not self.threads:
            return ["starting: waiting for the store or the broker"]
        failing = [name for name, lane in self.lanes.items() if lane.failed > lane.progressed]
        away = [f"{name}: {lane.away}" for name, lane in self.lanes.items() if lane.away]
        return self.ills() + away + [f"{name}: the store does not take what it is given" for name in failing]


class LaneCollector(Collector):
    """The counters as Prometheus reads them.

    Args:
        lanes: The counters, by stream.
    """

    def __init__(self, lanes: Mapping[str, Telemetry]) -> None:
        self._lanes = lanes

    def collect(self) -> Iterable[Metric]:
        """All metrics, with the label `stream`."""
        for field, (name, text) in COUNTERS.items():
            counter = CounterMetricFamily(f"runtide_consumer_{name}", text, labels=["stream"])
            for stream, lane in self._lanes.items():
                counter.add_metric([stream], getattr(lane, field))
            yield counter
        lag = GaugeMetricFamily(
            "runtide_consumer_lag", "What is still to be read: messages of a topic, bytes of a spool", labels=["stream"]
        )
        away = GaugeMetricFamily("runtide_consumer_source_away", "1 while no broker answers", labels=["stream"])
        idle = GaugeMetricFamily(
            "runtide_consumer_idle_seconds", "Since a batch was finished or nothing was found to do", labels=["stream"]
        )
        inserts = HistogramMetricFamily("runtide_consumer_insert_seconds", "Inserts into the store", labels=["stream"])
        for stream, lane in self._lanes.items():
            lag.add_metric([stream], lane.lag)
            away.add_metric([stream], bool(lane.away))
            idle.add_metric([stream], time.monotonic() - lane.progressed)
            names = [*map(str, BOUNDS), "+Inf"]
            counts = list(accumulate(lane.inserts.counts))
            inserts.add_metric([stream], list(zip(names, counts, strict=True)), lane.inserts.total)
        yield from (lag, away, idle, inserts)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, registry: CollectorRegistry, health: Health, *connection: object) -> None:
        self._registry = registry
        self._health = health
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self._registry), content_type)
        elif path in ("/healthz", "/readyz"):
            found = self._health.ills() if path == "/healthz" else self._health.wants()
            self._answer(503 if found else 200, "".join(f"{line}\n" for line in found or ["ok"]).encode())
        else:
            self._answer(404, b"there are /metrics, /healthz and /readyz\n")

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for every scrape would bury the others."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def serve(port: int, health: Health) -> Iterator[int]:
    """Answer on a port of all interfaces.

    Args:
        port: The port; 0 for any.
        health: What is told.

    Yields:
        The port.

    Raises:
        SetupError: The port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(LaneCollector(health.lanes))
    try:
        server = _Server(("", port), partial(_Handler, registry, health))
    except OSError as error:
        raise SetupError(
            f"cannot listen on port {port}: {error.strerror}; choose another with --metrics-port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="runtide-monitor", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
