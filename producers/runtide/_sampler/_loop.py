"""The sampler's loop: hear ranks, read the sources, write to each run what is its own.

ranks ──message──▶ Runs ◀──rows── Source (host, GPUs)
                     └──records──▶ Writer ──▶ spool or outbox of the run
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from runtide import _outbox
from runtide._report import warn
from runtide._sampler._cadence import Beat, Cadence, Clock, SystemClock
from runtide._sampler._election import Post
from runtide._sampler._processes import Processes
from runtide._sampler._ranks import parse_message
from runtide._sampler._runs import NodeRun, Runs
from runtide._sampler._source import Device, Event, Source, Tier

# Seconds between two looks whether ranks live; also what a signal waits for at most.
_LOOK = 1.0
# Seconds that the sampler waits for the next run when the last has ended: scripts that are started in turn share one.
_LINGER = 2.0
# Seconds from one hearing of the ranks to the next: each says one thing in that time.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 0.25
# The kernel keeps ten messages for a socket, where nobody has told it otherwise; ranks may speak at the same time.
_HEARD_AT_ONCE = 8
# Seconds that a tick may take before it is said that it hangs.
_HANGS = 5.0
_FLUSH = 1.0
# Seconds that delivering what is left may take, whatever the run says.
_LONGEST_CLOSE = 30.0


class Loop:
    """Samples the node for all runs on it, until the last has ended.

    Args:
        runs: Who wants samples.
        host: The node.
        gpus: Its GPUs.
        processes: Finds those of the ranks.
        post: Where ranks are heard; None without any.
        clock: The time.
        linger: Seconds to wait for another run when there is none.
        confirm: Asked now and then whether this is still the node's sampler.
    """

    def __init__(
        self,
        runs: Runs,
        host: Source,
        gpus: Source,
        processes: Processes,
        post: Post | None = None,
        clock: Clock | None = None,
        linger: float = _LINGER,
        confirm: Callable[[], bool] = lambda: True,
    ) -> None:
        self._clock = clock or SystemClock()
        self._cadence = Cadence(self._clock)
        self._runs = runs
        self._host = host
        self._gpus = gpus
        self._processes = processes
        self._post = post
        self._linger = linger
        self._confirm = confirm
        self._devices: list[Device] = []
        # What a run that comes later must still be told: by kind and device.
        self._standing: dict[tuple[str, str], Event] = {}
        self._stop = threading.Event()
        self._looked = self._flushed = self._clock.monotonic()
        self._idle_since = self._clock.monotonic()
        self._busy_since: float | None = None
        self._pause = _SHORTEST_PAUSE
        self._closing: list[threading.Thread] = []

    def stop(self) -> None:
        """End soon; may be called by a signal handler."""
        self._stop.set()

    def add(self, run: NodeRun) -> None:
        """Sample for a run that no rank has told of."""
        self._runs.all[run.path] = run
        self._welcome(run)

    def run(self) -> None:
        """Sample until there is nobody left to sample for, or until it is stopped."""
        threading.Thread(target=self._watch, name="runtide-sampler-watchdog", daemon=True).start()
        while not self._stop.is_set():
            self._wait()
            if self._stop.is_set():
                break
            if self._runs.all:
                self._tick()
            elif self._clock.monotonic() - self._idle_since >= self._linger and not self._is_called_back():
                break
        self._end()

    def _wait(self) -> None:
        """Hear ranks until the next tick is due, or until nobody has come for long enough."""
        while not self._stop.is_set():
            idle_until = self._idle_since + self._linger
            left = self._cadence.wait() if self._runs.all else idle_until - self._clock.monotonic()
            if left <= 0:
                return
            if self._runs.all and self._post:
                # Woken by each word of each of eight ranks, the process costs half as much again.
                self._clock.sleep(min(left, self._pause))
                left = 0.0
            self._receive(min(left, _LOOK))
            now = self._clock.monotonic()
            if now - self._looked >= _LOOK:
                self._looked = now
                self._runs.look()
                if not self._confirm():
                    self.stop()
            if any(run.has_ended for run in self._runs.all.values()):
                self._cadence.hurry()  # a last tick, before it is closed

    def _receive(self, timeout: float) -> None:
        """Hear all that ranks have said, waiting so many seconds at most for the first of them."""
        if self._post is None:
            self._stop.wait(timeout)
            return
        data = self._post.receive(timeout)
        while data is not None:
            self._hear(data)
            data = self._post.receive(0)
        self._set_rate()

    def _hear(self, data: bytes) -> None:
        message = parse_message(data)
        if message is None:
            return
        try:
            new = self._runs.hear(message)
        except Exception as error:  # one run that cannot be written must not cost the others theirs
            warn(f"run {message.run}", f"no samples for {message.run}: {type(error).__name__}: {error}")
            return
        if new:
            self._welcome(new)

    def _set_rate(self) -> None:
        if self._runs.all:
            wanted = min(run.interval_ms for run in self._runs.all.values())
            self._cadence.want(wanted)
            ranks = sum(len(run.ranks) for run in self._runs.all.values())
            gap = min(max(wanted / 4000, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            self._pause = gap * _HEARD_AT_ONCE / max(_HEARD_AT_ONCE, ranks)

    def _welcome(self, run: NodeRun) -> None:
        self._set_rate()
        self._cadence.hurry()
        facts = {"pid": str(os.getpid()), "version": version("runtide"), "interval_ms": str(run.interval_ms)}
        run.report(Event("sampler_started", "info", "The node is sampled for this run", facts=facts), [], self._now())
        run.tell(self._devices, self._now())
        for event in self._standing.values():
            run.report(event, self._devices, self._now())

    def _tick(self) -> None:
        beat = self._cadence.begin()
        self._busy_since = started = self._clock.monotonic()
        try:
            self._sample(beat)
        except Exception as error:  # whatever it is, the next tick may be better
            warn("tick", f"a tick failed: {type(error).__name__}: {error}")
        if slow := self._cadence.end(self._clock.monotonic() - started):
            self._tell_events([slow], beat.moment)
        self._busy_since = None
        self._close(self._runs.take_ended())
        self._set_rate()
        now = self._clock.monotonic()
        if beat.extra or now - self._flushed >= _FLUSH - 0.05:
            self._flushed = now
            for run in self._runs.all.values():
                run.writer.flush()
        self._idle_since = now

    def _sample(self, beat: Beat) -> None:
        before = time.perf_counter()
        if Tier.HISTORY in beat.due:
            self._processes.find_trees(self._runs.pids)
        gpus = self._gpus.tick(beat.due)
        host = self._host.tick(beat.due)
        tick_us = round((time.perf_counter() - before) * 1e6)
        if Tier.SLOW in beat.due or not self._devices:
            self._look_at_devices(beat.moment)
        self._tell_events([*self._gpus.events(), *self._host.events()], beat.moment)
        for run in self._runs.all.values():
            self._write(run, beat, tick_us, gpus, host[0] if host else None)

    def _write(
        self, run: NodeRun, beat: Beat, tick_us: int, gpus: list[dict[str, Any]], host: dict[str, Any] | None
    ) -> None:
        run.skip(beat.skipped)
        if not run.wants(beat.moment, beat.extra):
            return
        period = max(run.interval_ms, self._cadence.period_ms)
        tick = {"time": beat.moment, "period_ms": period, "tick_us": min(tick_us, 2**31 - 1)}
        run.take(tick, gpus, host, self._devices, self._processes)

    def _look_at_devices(self, moment: int) -> None:
        self._devices = [*self._host.devices(), *self._gpus.devices()]
        if any(device.kind == "gpu" for device in self._devices):
            self._standing.pop(("no_driver", ""), None)
        for run in self._runs.all.values():
            run.tell(self._devices, moment)

    def _tell_events(self, events: list[Event], moment: int) -> None:
        for event in events:
            if event.kind in ("no_driver", "gpu_lost"):
                self._standing[event.kind, event.device] = event
            elif event.kind == "gpu_returned":
                self._standing.pop(("gpu_lost", event.device), None)
            for run in self._runs.all.values():
                run.report(event, self._devices, moment)

    def _close(self, runs: list[NodeRun]) -> None:
        """Say to runs that have ended what they got, and let go of them, while the others go on."""
        for run in runs:
            writer = run.writer
            writer.give_up()
            facts = {"ticks": str(run.ticks), "skipped": str(run.skipped)}
            facts |= {f"dropped_{reason}": str(count) for reason, count in writer.dropped.items()}
            severity = "warning" if writer.dropped else "info"
            lost = f", and {sum(writer.dropped.values())} records were dropped" if writer.dropped else ""
            message = f"The sampler ended for this run after {run.ticks} ticks{lost}"
            run.report(Event("sampler_ended", severity, message, facts=facts), [], self._now())
            timeout = min(run.finish_timeout, _LONGEST_CLOSE)
            # What is delivered over a network takes its time.
            thread = threading.Thread(target=writer.close, args=(timeout,), daemon=True)
            thread.start()
            self._closing.append(thread)
        if not runs:
            self._closing = [thread for thread in self._closing if thread.is_alive()]

    def _is_called_back(self) -> bool:
        """Take the address away before ending; a rank that spoke in that moment is heard and all goes on."""
        data = self._post.fold() if self._post else None
        if data is None:
            return False
        self._hear(data)
        self._set_rate()
        return True

    def _end(self) -> None:
        if self._runs.all and self._stop.is_set():
            self._cadence.hurry()
            self._tick()
        if self._post:
            self._post.close()
        self._close(list(self._runs.all.values()))
        self._runs.all.clear()
        deadline = time.monotonic() + _LONGEST_CLOSE
        for thread in self._closing:
            thread.join(max(0.0, deadline - time.monotonic()))
        _outbox.stop()
        for source in (self._gpus, self._host):
            source.close()

    def _now(self) -> int:
        return self._clock.wall_ms()

    def _watch(self) -> None:
        """Say when a tick hangs in the driver, and end the process where nobody would miss it."""
        told = None
        while not self._stop.wait(_LOOK):
            since = self._busy_since
            if since is None or self._clock.monotonic() - since < _HANGS:
                continue
            runs = list(self._runs.all.values())
            if told != since:
                told = since
                message = f"A reading has not come back for {_HANGS:g} s: samples are missing until it does"
                for run in runs:
                    run.report(Event("call_hangs", "error", message), [], self._now())
                    run.writer.flush()
            with suppress(RuntimeError):  # the loop goes on after all
                self._runs.look()
            if all(run.has_ended for run in runs):
                for run in runs:
                    run.writer.close(0)
                os._exit(1)
