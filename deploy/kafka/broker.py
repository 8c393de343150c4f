"""One Apache Kafka broker (KRaft, loopback) for development, tests and benchmarks.

    make kafka
    python deploy/kafka/broker.py --dir /tmp/kafka --port 9092

Needs Java 17 or newer. `make kafka` brings the jars from Maven Central into libs/. Not for production: one node, no
replication, no encryption.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LIBS = Path(__file__).resolve().parent / "libs"
HOST = "127.0.0.1"
# The classes that a broker loads, as Java keeps them: with them it starts in half the time. Java passes by what is not
# there, or was made by another Java.
_ARCHIVE = LIBS / "classes.jsa"
_ARCHIVED = f"-XX:SharedArchiveFile={_ARCHIVE}"
_JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
# A broker that was killed comes back when its old session has ended: 9 seconds by default.
_PROPERTIES = """
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
log.dirs={folder}/logs
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
"""


def missing() -> str:
    """What this machine lacks to run a broker; empty when nothing."""
    if shutil.which("java") is None:
        return "there is no java"
    found = re.search(r'version "(\d+)', subprocess.run(["java", "-version"], capture_output=True, text=True).stderr)
    if found is None or int(found[1]) < 17:
        return f"Kafka needs Java 17, this is {found[1] if found else 'another'}"
    if not any(LIBS.glob("kafka_*.jar")):
        return "its jars are not there: run `make kafka` (needs Maven)"
    return ""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


class Broker:
    """A running broker; `restart` keeps its folder and its port.

    Args:
        folder: Where it keeps its data; made when missing.
        port: Where it listens; 0 for any.
        heap: Memory of the Java heap, as Java takes it.
        settings: More lines of its properties file.
        classes: Java's option for the archive of classes.
    """

    def __init__(
        self, folder: Path, port: int = 0, heap: str = "512m", settings: str = "", classes: str = _ARCHIVED
    ) -> None:
        self.folder = folder
        self._classes = classes
        self.port = port or free_port()
        self.log = folder / "broker.log"
        self._heap = heap
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "server.properties"
        if not self._file.exists():
            text = _PROPERTIES.format(host=HOST, port=self.port, controller=free_port(), folder=folder)
            self._file.write_text(text + settings)
            self._run("kafka.tools.StorageTool", "format", "--standalone", "-t", _cluster_id(), "-c", str(self._file))
        self.process = self._launch()

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self.port}"

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self, patience: float = 20) -> None:
        """Stop politely; by force after so many seconds."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self) -> None:
        """Start again after `kill` or `stop`."""
        self.process = self._launch()

    def _run(self, *arguments: str) -> None:
        command = [*_JAVA, _ARCHIVED, "-cp", f"{LIBS}/*", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{arguments[0]} failed: {done.stdout}{done.stderr}")

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [*_JAVA, self._classes, f"-Xmx{self._heap}", "-cp", f"{LIBS}/*", "kafka.Kafka", str(self._file)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self._listens():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise SystemExit(f"the broker does not start; its log ends: {self.log.read_text()[-2000:]}")
            threading.Event().wait(0.05)
        return process

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "x")


def archive_classes() -> None:
    """Start a broker once and keep which classes it loads."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / _ARCHIVE.name
        Broker(Path(folder) / "broker", classes=f"-XX:ArchiveClassesAtExit={new}").stop(patience=120)
        shutil.move(new, _ARCHIVE)


def main() -> None:
    """Run a broker until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dir", type=Path, help="where it keeps its data")
    what.add_argument("--archive-classes", action="store_true", help="make later starts quicker, and end")
    parser.add_argument("--port", type=int, default=9092, help="(default: %(default)s)")
    parser.add_argument("--heap", default="512m", help="memory of the Java heap (default: %(default)s)")
    options = parser.parse_args()
    if lack := missing():
        sys.exit(lack)
    if options.archive_classes:
        return archive_classes()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    broker = Broker(options.dir.absolute(), options.port, options.heap)
    try:
        print(f"ready: {broker.address}", flush=True)
        broker.process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        broker.stop()


if __name__ == "__main__":
    main()
