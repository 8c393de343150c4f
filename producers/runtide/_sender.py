"""The thread that takes what was logged to the transport.

    Buffer ──collect──▶ entries ──Framer──▶ frames, cells ──encode──▶ messages ──send──▶ Transport

Every record is numbered when it is encoded and stays in memory until the transport took it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtide._attempts import Attempt, note_attempt
from runtide._frames import Cells, Entry, Frame, Framer
from runtide._report import say, warn, warn_once
from runtide._transport import RefusedError, Transport
from runtide_schemas import STREAMS, Stream, encode, encode_frame

if TYPE_CHECKING:
    from runtide._run import Run

_METRICS, _JSON, _RUNS, _ALERTS, _LINES = (
    STREAMS[name] for name in ("metrics", "metrics_json", "runs", "alerts", "console_lines")
)
# Parsed now and not by the thread: in Python 3.11 a cached_property holds a lock meanwhile, and a child forked in that
# moment waited for it for ever.
for _stream in (_METRICS, _JSON, _RUNS, _ALERTS, _LINES):
    _ = _stream.schema, _stream.prefix
_WRITE_BYTES = 4 << 20
_NOTE_INTERVAL = 1.0
# Changes of the description and of the summary that are told at once; after so many, one a second.
_BURST = 20
_STATISTICS_INTERVAL = 5.0
# Seconds before finish() gives up: the transport's word on what is left must come first.
_MARGIN = 0.2
# Seconds that finish() keeps for writing, of those in which it could wait for a device.
_WRITING = 1.0


@dataclass(frozen=True)
class End:
    """How a run ended."""

    state: str
    exit_code: int | None


class Sender:
    """Sends what one writer logs, from a thread of its own. Its errors are counted and told, never raised.

    Args:
        run: Whose buffer is drained.
        transport: Where records go.
        writer: Random id of this writer.
        child: The writer is a forked child of another one.
    """

    def __init__(self, run: Run, transport: Transport, writer: int, child: bool) -> None:
        self._run = run
        self._transport = transport
        self._writer = writer
        self._child = child
        self._framer = Framer()
        self._numbered: Counter[str] = Counter()
        # Stream, message, its number of points, and the room that is free again when it is sent.
        self._unsent: deque[tuple[Stream, bytes, int, int]] = deque()
        self._described = 0
        self._last_event = 0.0
        self._allowed, self._counted = float(_BURST), time.monotonic()
        self._noted = -_NOTE_INTERVAL
        self._noted_step = -1
        # Behind all that was logged: the run's own step may be one that was begun and not completed.
        self._next_step = 0
        self._pending_summary: dict[str, str] = {}
        self._pending_statistics: dict[str, str] = {}
        self._end: End | None = None
        self._deadline = 0.0
        self._asked = self._answered = 0
        # Free when there is something to do. Unlike Event.set(), release() may be interrupted by a signal handler that
        # logs or prints and comes here again.
        self._wake = threading.Lock()
        self._answer = threading.Condition()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="runtide-sender", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Let the thread look at once what there is to send."""
        with suppress(RuntimeError):  # free already
            self._wake.release()

    def flush(self, timeout: float) -> bool:
        """Wait until everything logged before is with the transport; False when it is not after so many seconds."""
        deadline = time.monotonic() + timeout
        self._run._wait(timeout)
        timeout = max(0.0, deadline - time.monotonic())
        with self._answer:
            self._asked += 1
            mine = self._asked
            self.wake()
            done = self._answer.wait_for(lambda: self._answered >= mine or not self._thread.is_alive(), timeout)
        return done and not self._unsent

    def close(self, end: End, timeout: float) -> bool:
        """Send what is left, say how the run ended, and stop; False when that takes longer than so many seconds."""
        self._deadline = time.monotonic() + timeout
        self._run._wait(timeout - min(_WRITING, timeout / 2))
        self._end = end
        self.wake()
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent's thread."""
        self._transport.abandon()

    def _work(self) -> None:
        while True:
            asked, end = self._asked, self._end
            try:
                self._drain(end, asked > self._answered)
            except Exception as error:  # training must go on whatever happens here; what is queued stays queued
                warn("sender", f"sending failed, it is tried again: {type(error).__name__}: {error}")
            with self._answer:
                self._answered = asked
                self._answer.notify_all()
            self._tell_node(end)
            if end:
                return
            self._wake.acquire(timeout=self._run._settings.flush_interval)

    def _tell_node(self, end: End | None) -> None:
        """Tell the sampler of the node where the run is."""
        run = self._run
        if run._node is None:
            return
        try:
            (run._node.end if end else run._node.beat)(run._step, run._phase)
        except Exception as error:  # training has no use for it
            warn_once("node", f"no samples of the hardware: {type(error).__name__}: {error}")

    def _drain(self, end: End | None, asked: bool) -> None:
        with self._run._fold:
            collected = self._run._collect(last=end is not None)
            if telling := self._has_changed(asked or end is not None) and self._may_tell(asked or end is not None):
                # What may not be told yet stays there: a later call of log() may still undo it.
                self._pending_summary |= self._run._summary._take_set()
                self._pending_statistics |= self._run._summary._take_statistics()
        try:
            self._push()
            while self._run._ready:
                self._encode(*self._run._ready.popleft())
                self._push()
        except RefusedError as error:
            self._refused(error)
        self._send_lines(end is not None)
        if end:
            self._give_up()
        try:
            self._send_alerts()
            self._events(collected, telling, end)
        except RefusedError as error:
            self._refused(error)
        self._note(end)
        if end:
            self._transport.close(max(0.0, self._deadline - time.monotonic() - _MARGIN))

    def _note(self, end: End | None) -> None:
        """Remember how far the run has come, for the attempt that may follow."""
        run, now = self._run, time.monotonic()
        step = max(run._step, self._next_step)
        if self._child or (not end and (step == self._noted_step or now - self._noted < _NOTE_INTERVAL)):
            return
        self._noted, self._noted_step = now, step
        told = {key: value for key, value in run._describe().items() if key != "environment"}
        summary = run._summary._texts() if end else {}
        with suppress(OSError):  # the transport has complained already
            note_attempt(run._settings.home, run.path, run._settings.rank, Attempt(run._attempt, step, told, summary))

    def _push(self) -> None:
        """Hand over the oldest messages, stream by stream, a few megabytes at a time."""
        while self._unsent:
            stream, size, messages = self._unsent[0][0], 0, list[bytes]()
            for other, message, _, _ in self._unsent:
                if other is not stream or (messages and size + len(message) > _WRITE_BYTES):
                    break
                messages.append(message)
                size += len(message)
            self._transport.send(stream, messages)
            self._run._release(sum([self._unsent.popleft()[3] for _ in messages]))
        self._run._trouble = "memory_full"

    def _refused(self, error: RefusedError) -> None:
        self._run._trouble = error.reason
        warn(f"refused {error.reason}", f"{error}. Training goes on; points wait in memory as long as there is room")

    def _encode(self, entries: list[Entry], extra: int) -> None:
        points = sum([len(entry[3]) for entry in entries])
        self._next_step = max(self._next_step, max([entry[1] for entry in entries]) + 1)
        try:
            for block in self._framer.frames(entries):
                stream, count = _METRICS if isinstance(block, Frame) else _JSON, len(block.values)
                points -= count
                # The room that texts took is free when all of the batch is sent.
                self._unsent.append((stream, self._message(stream, block), count, count if points else count + extra))
                extra = extra if points else 0
                self._numbered[stream.name] += 1
        except Exception as error:  # whatever it is, it must not stop the thread; the rest of this batch is counted
            self._run._drop("not_encodable", points)
            self._run._release(points + extra)
            warn("encode", f"points could not be encoded: {type(error).__name__}: {error}")

    def _message(self, stream: Stream, block: Frame | Cells) -> bytes:
        record = self._head(stream) | {"keys": block.keys, "steps": block.steps, "times": block.times}
        if isinstance(block, Frame):
            return encode_frame(record | {"ordered": block.ordered}, block.values)
        return encode(stream, record | {"values": block.values})

    def _head(self, stream: Stream) -> dict[str, Any]:
        return {
            "run_id": self._run._path,
            "writer": self._writer,
            "seq": self._numbered[stream.name],
            "attempt": self._run._attempt,
            "rank": self._run._settings.rank,
        }

    def _events(self, collected: int, telling: bool, end: End | None) -> None:
        """Say what has changed since the last event, that the run lives, or how it ended."""
        run, now = self._run, time.monotonic()
        # Milliseconds, as points have: what is logged after the summary was set by hand is then never the older.
        moment = collected // 1_000_000 * 1000
        if telling:
            self._tell(moment, run._version != self._described)
        elif self._described and now - self._last_event >= run._settings.heartbeat_interval:
            self._tell(moment, False)
        if end:
            self._event(
                {"event": "finish", "time": time.time_ns() // 1000, "state": end.state, "exit_code": end.exit_code}
            )

    def _send_alerts(self) -> None:
        waiting = self._run._alerts.waiting
        while waiting:
            self._transport.send(_ALERTS, [encode(_ALERTS, self._head(_ALERTS) | waiting[0])])
            self._numbered[_ALERTS.name] += 1
            waiting.popleft()

    def _send_lines(self, last: bool) -> None:
        """Send what was printed. Lines that cannot be sent wait, as long as there is room."""
        console, lost = self._run._console, 0
        try:
            lost = console.collect(last)
            while console.ready:
                self._transport.send(_LINES, [encode(_LINES, self._head(_LINES) | console.ready[0])])
                self._numbered[_LINES.name] += 1
                console.sent()
        except RefusedError as error:
            self._refused(error)
        except Exception as error:  # whatever it is, it must not stop the thread, nor come again for ever
            lost += console.give_up()
            warn("console", f"lines could not be encoded: {type(error).__name__}: {error}")
        if last:
            lost += console.give_up()
        if lost:
            self._run._count("console", lost)
            warn_once("console", "lines that were printed are dropped (console); run.dropped counts them")

    def _tell(self, moment: int, described: bool) -> None:
        version = self._run._version
        event = ("update" if self._described else "start") if described else "heartbeat"
        description = self._run._describe() if described else {}
        if event == "start" and not self._child:
            description["rewind"] = self._run._settings.rewind
        values = {"summary": self._pending_summary, "statistics": self._pending_statistics}
        self._event({"event": event, "time": moment, **values, **description})
        if described:
            self._described = version
        self._last_event, self._pending_summary, self._pending_statistics = time.monotonic(), {}, {}

    def _has_changed(self, must: bool) -> bool:
        run = self._run
        if run._version != self._described or run._summary._set or self._pending_summary:
            return True
        # Statistics change with every call: they are told now and then.
        patient = not must and time.monotonic() - self._last_event < _STATISTICS_INTERVAL
        return bool(run._summary._moved or self._pending_statistics) and not patient

    def _may_tell(self, must: bool) -> bool:
        """Whether it is time to tell of a change: one in each round of a loop would fill the disk."""
        now = time.monotonic()
        self._allowed, self._counted = min(_BURST, self._allowed + now - self._counted), now
        if not must and self._allowed < 1:
            return False
        self._allowed = max(0.0, self._allowed - 1)
        return True

    def _event(self, fields: dict[str, Any]) -> None:
        sent = self._numbered + Counter({_RUNS.name: 1})
        common = {
            "child": self._child, "sent": sent, "dropped": self._run.dropped, "launch": self._run._settings.launch,
            "preempting": self._run._preempting,
        }  # fmt: skip
        record = self._head(_RUNS) | common | fields
        self._transport.send(_RUNS, [encode(_RUNS, record)])
        self._numbered = sent

    def _give_up(self) -> None:
        """At the end, count what the transport would not take: nobody will ask it again."""
        left = sum([points for _, _, points, _ in self._unsent])
        left += sum([len(entry[3]) for entries, _ in self._run._ready for entry in entries])
        if left:
            self._numbered.subtract(Counter(stream.name for stream, *_ in self._unsent))
            self._run._drop(self._run._trouble, left)
            say(f"warning: {left} points could not be written ({self._run._trouble}) and are lost with this process")
