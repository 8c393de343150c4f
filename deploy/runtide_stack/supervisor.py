"""Start the stack's processes in order, keep them running, stop them in the reverse order."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtide_stack.errors import StartError

# A child that never served and dies this often, within this many seconds of its start each time, cannot start.
_TRIES, _AT_ONCE = 5, 2.0
_FIRST_PAUSE, _LONGEST_PAUSE, _HEALTHY = 0.1, 10.0, 30.0
_START_TIMEOUT, _STOP_TIMEOUT, _TICK = 60.0, 10.0, 0.1


@dataclass(frozen=True)
class ChildSpec:
    """What to run.

    Args:
        name: Its name in messages and of its log file.
        command: Module and arguments, as for `python -m`.
        ready: Whether it serves by now, given what it has written since its start; asked until it says yes.
        environment: Variables on top of our own.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[str], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """One process of the stack, started again when it dies. Not thread-safe."""

    def __init__(self, spec: ChildSpec, logs: Path) -> None:
        self.spec = spec
        self.log = logs / f"{spec.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.served = False
        self._log_start = 0
        self._started = 0.0
        self._restart_at = 0.0
        self._pause = _FIRST_PAUSE
        self._quick_deaths = 0

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops the children.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runtide_stack.child", *self.spec.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.spec.environment, "PYTHONUNBUFFERED": "1"},
            )
        self._started = time.monotonic()
        self._restart_at = 0.0

    def written(self) -> str:
        """What the process has written since its last start."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                return log.read().decode(errors="replace")
        except FileNotFoundError:  # somebody tidied up
            return ""

    def tend(self) -> str | None:
        """Start the process again when it died and its pause is over; returns what to tell, when there is something.

        Raises:
            StartError: It has died too often, too soon, and never served.
        """
        process, now = self.process, time.monotonic()
        if process is None or process.poll() is None:
            if now - self._started > _HEALTHY:
                self._pause, self._quick_deaths = _FIRST_PAUSE, 0
            return None
        if self._restart_at:
            if now >= self._restart_at:
                self.start()
            return None
        _close(process)
        self._quick_deaths = self._quick_deaths + 1 if now - self._started < _AT_ONCE else 0
        if self._quick_deaths >= _TRIES and not self.served:
            raise StartError(f"the {self.spec.name} does not start: {self._last_words()} (its log: {self.log})")
        self._restart_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        why = f": {self._last_words()}" if process.returncode > 0 else ""
        return f"the {self.spec.name} ended ({_how(process.returncode)}{why}), starting it again"

    def stop(self) -> None:
        """End the process: politely, and by force when that takes too long."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _close(process)

    def _last_words(self) -> str:
        lines = [line for line in self.written().splitlines() if line.strip()]
        ours = [line for line in lines if line.startswith("runtide")]
        return (ours or lines or ["it wrote nothing"])[-1]


class Supervisor:
    """Runs children until it is told to stop.

    Args:
        specs: What to run, in the order of their start.
        logs: Folder of the log files.
        tell: Takes one line for the person in front of the terminal.
    """

    def __init__(self, specs: Sequence[ChildSpec], logs: Path, tell: Callable[[str], None]) -> None:
        self.children = [Child(spec, logs) for spec in specs]
        self._tell = tell
        self._stopping = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start everything, call `on_ready` once all serve, and tend them until SIGINT, SIGTERM or `stop`.

        Raises:
            StartError: A child cannot start; all are stopped again.
        """
        with self._signals():
            try:
                for child in self.children:
                    child.start()
                    self._await(child)
                if not self._stopping.is_set():
                    on_ready()
                while not self._stopping.wait(_TICK):
                    self._tend()
            finally:
                for child in reversed(self.children):
                    child.stop()

    def stop(self) -> None:
        """Make `run` stop the children and return. May be called from any thread or signal handler."""
        self._stopping.set()

    def _await(self, child: Child) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._stopping.is_set() and not child.spec.ready(child.written()):
            if time.monotonic() > deadline:
                raise StartError(
                    f"the {child.spec.name} does not answer after {_START_TIMEOUT:.0f} s (its log: {child.log})"
                )
            self._tend()
            self._stopping.wait(_TICK)
        child.served = True

    def _tend(self) -> None:
        for child in self.children:
            if message := child.tend():
                self._tell(message)

    @contextlib.contextmanager
    def _signals(self):  # type: ignore[no-untyped-def]
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
