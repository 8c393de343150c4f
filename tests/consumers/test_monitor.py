"""What a consumer tells others: counters that move with real batches, health that follows its threads and the store."""

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.web import WEB

from runtide_consumers._errors import SetupError
from runtide_consumers.logs import JsonFormatter
from runtide_consumers.monitor import STUCK, Health, LaneCollector, serve
from runtide_consumers.telemetry import BOUNDS, COUNTERS, Telemetry

Make = Callable[..., Any]

# A consumer whose lane of the stream `runs` stops without a word, and whose process goes on.
HEADLESS = """
import sys
from runtide_consumers.engine import Engine
run = Engine.run
Engine.run = lambda self: None if self.stream == "runs" else run(self)
from runtide_consumers.commands import consume
sys.exit(consume(sys.argv[2:]))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Watcher:
    """Asks a consumer's monitor."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def status(self, path: str) -> int:
        try:
            return WEB.get(self._url + path).status_code
        except httpx.TransportError:
            return 0

    def text(self, path: str) -> str:
        return WEB.get(self._url + path).text

    def samples(self, stream: str = "metrics") -> dict[str, float]:
        """Values by name, without the prefix; buckets as name{le}."""
        families = text_string_to_metric_families(self.text("/metrics"))
        found = {}
        for sample in (sample for family in families for sample in family.samples):
            if sample.labels["stream"] == stream:
                bound = f"{{{sample.labels['le']}}}" if "le" in sample.labels else ""
                found[sample.name.removeprefix("runtide_consumer_") + bound] = sample.value
        return found


def test_counters_move_with_what_goes_through(target: Any, spool: Path, writer: Make, consumer: Make) -> None:
    """Records, dead letters, duplicates and inserts are counted per stream, and a scrape can be parsed."""
    port = free_port()
    one = writer()
    one.log(5)
    one.append(one.spoil()[:-1])  # two copies do not parse: neither is a copy
    one.append(b"nonsense")
    twin = writer()
    (twin.folder / f"metrics-{0:020d}.seg").write_bytes((one.folder / f"metrics-{0:020d}.seg").read_bytes())
    one.close()
    twin.close()
    running = consumer(target.url, RUNTIDE_METRICS_PORT=str(port))
    running.ready()
    watcher = Watcher(port)
    assert (watcher.status("/healthz"), watcher.status("/nothing")) == (200, 404)
    deadline = time.monotonic() + 60
    while (found := watcher.samples())["records_total"] + found["duplicate_records_total"] < 10 or found["lag"]:
        assert time.monotonic() < deadline, found
        threading.Event().wait(0.05)
    assert (found["records_total"], found["duplicate_records_total"], found["rejected_records_total"]) == (5, 5, 4)
    assert found["batches_total"] >= 1 and found["inserted_bytes_total"] > 0
    assert found["written_rows_total"] >= 5 * 4  # points of the records
    assert found["insert_seconds_count"] == found["insert_seconds_bucket{+Inf}"] >= found["insert_seconds_bucket{0.01}"]
    assert found["insert_seconds_count"] >= 1 and found["insert_seconds_sum"] > 0
    assert watcher.samples("runs")["records_total"] == 0
    assert (watcher.status("/readyz"), watcher.text("/readyz")) == (200, "ok\n")
    assert running.stop() == 0


def test_a_store_that_is_away_makes_it_unready_not_unhealthy(
    target: Any, start_store: Make, spool: Path, writer: Make, consumer: Make, until: Make
) -> None:
    """Without a store, at the start or later, /healthz stays 200, /readyz is 503 and says why, until it is back."""
    process = start_store()
    mine = type(target)(process, "runtide")
    process.stop()
    port = free_port()
    running = consumer(mine.url, RUNTIDE_METRICS_PORT=str(port))
    watcher = Watcher(port)
    until(lambda: watcher.status("/healthz") == 200, "it answers without a store")
    assert watcher.status("/readyz") == 503
    process.restart()
    running.ready()
    until(lambda: watcher.status("/readyz") == 200, "it is ready")
    process.stop()
    one = writer()
    one.log(1)
    until(lambda: watcher.status("/readyz") == 503, "it is not ready any more")
    assert watcher.text("/readyz") == "metrics: the store does not take what it is given\n"
    assert watcher.status("/healthz") == 200
    assert watcher.samples()["retried_requests_total"] >= 1
    process.restart()
    until(lambda: watcher.status("/readyz") == 200, "it is ready again")
    one.close()
    until(lambda: not one.folder.exists(), "the record is in the store")
    assert running.stop() == 0


def test_a_lane_whose_thread_ended_is_ill(target: Any, spool: Path, consumer: Make, until: Make) -> None:
    """/healthz is 503 and names the thread when one of the lanes is no more."""
    port = free_port()
    running = consumer(target.url, HEADLESS, RUNTIDE_METRICS_PORT=str(port))
    running.ready()
    watcher = Watcher(port)
    until(lambda: watcher.status("/healthz") == 503, "it is ill")
    assert watcher.text("/healthz") == watcher.text("/readyz") == "the thread runtide-runs has ended\n"
    assert running.stop() == 0


def test_a_lane_that_hangs_is_ill_and_one_that_is_refused_is_not() -> None:
    """Silence beyond the limit is an illness of the lane; requests that fail are not, however long they do."""
    now = time.monotonic()
    hanging = Telemetry(progressed=now - STUCK - 5, failed=now - STUCK - 2)
    refused = Telemetry(progressed=now - STUCK - 5, failed=now)
    health = Health({"a": hanging, "b": refused, "c": Telemetry()})
    assert (health.ills(), len(health.wants())) == ([], 1)
    health.threads = [threading.current_thread()]
    assert health.ills() == [f"a: nothing has moved for {STUCK + 2:.0f} s"]
    assert [line.split(":")[0] for line in health.wants()] == ["a", "a", "b"]


def test_every_counter_has_a_name_and_every_name_is_documented() -> None:
    """The list is closed: each integer of Telemetry is told, in the table of the documentation too."""
    integers = {field.name for field in fields(Telemetry) if isinstance(getattr(Telemetry(), field.name), int)}
    assert integers == {*COUNTERS, "lag"}
    documented = (Path(__file__).parents[2] / "deploy" / "runtide_stack" / "README.md").read_text()
    names = [
        family.name + "_total" * (family.type == "counter") for family in LaneCollector({"a": Telemetry()}).collect()
    ]
    assert len(names) == len(COUNTERS) + 4
    assert [name for name in names if f"`{name}`" not in documented] == []
    assert documented.count("`runtide_consumer_") == len(names)


def test_durations_fall_into_the_buckets_that_prometheus_expects() -> None:
    """A bucket counts what took at most its bound."""
    lane = Telemetry()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] + 1e-9, 1e9):
        lane.inserts.add(seconds)
    with serve(0, Health({"a": lane})) as port:
        found = Watcher(port).samples("a")
    assert [found[f"insert_seconds_bucket{{{bound}}}"] for bound in (*BOUNDS[:2], BOUNDS[-1], "+Inf")] == [2, 3, 3, 4]


def test_a_taken_port_is_said_in_one_sentence(target: Any, spool: Path, consumer: Make) -> None:
    """The message names the port and the option."""
    with serve(0, Health({})) as port:
        with (
            pytest.raises(SetupError, match=f"cannot listen on port {port}: .*--metrics-port"),
            serve(port, Health({})),
        ):
            pass
        refused = consumer(target.url, RUNTIDE_METRICS_PORT=str(port))
        assert refused.wait() == 2
        assert refused.log.read_text().splitlines()[-1].startswith(f"runtide consume: cannot listen on port {port}:")


def test_a_line_of_json_is_one_line_with_the_records_own_fields() -> None:
    """Newlines, fields of the record and exceptions stay in one object; nothing of the record can hide the rest."""
    extra = {"stream": "metrics", "bytes": 5, "path": Path("/tmp/x"), "level": "lie"}
    record = logging.makeLogRecord({"name": "runtide.consumer", "levelname": "ERROR", "msg": "two\nlines %s", **extra})
    record.args = ("é",)
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert "ValueError: why" in found.pop("exception")
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "error", "logger": "runtide.consumer", "message": "two\nlines é", "stream": "metrics", "bytes": 5,
        "path": "/tmp/x",
    }  # fmt: skip


def test_the_consumer_writes_json_and_no_secret(target: Any, spool: Path, consumer: Make, until: Make) -> None:
    """With RUNTIDE_LOG_FORMAT=json every line is an object, and the store's password is in none."""
    nobody = target.url.replace(f":{target.process.port}/", f":{free_port()}/")
    running = consumer(nobody, RUNTIDE_LOG_FORMAT="json")
    until(lambda: "trying again" in running.log.read_text(), "the alarm")
    assert running.stop() == 0
    text = running.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert {line["level"] for line in lines} >= {"error", "info"}
    assert target.process.password not in text and quote(target.process.password, safe="") not in text


@pytest.mark.parametrize("variable", ["RUNTIDE_LOG_FORMAT", "RUNTIDE_METRICS_PORT"])
def test_a_setting_that_cannot_be_used_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value in the environment is refused with the variable's name."""
    monkeypatch.setenv(variable, "nonsense")
    command = [sys.executable, "-m", "runtide_consumers", "consume"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert f"'nonsense' (or {variable}): give " in answer.stderr
