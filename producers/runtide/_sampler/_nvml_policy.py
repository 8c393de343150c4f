"""What an error of NVML means: whom it concerns, when to ask again, and the words for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from runtide._sampler._source import Event

UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
INSUFFICIENT_SIZE = 7
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
VERSION_MISMATCH = 18
NOT_THERE = 28

# The GPU is gone, whatever was asked.
GONE = frozenset({GPU_IS_LOST, RESET_REQUIRED, NOT_THERE})
# The driver does not know the call, the version of its argument, or no longer has it: an older call may do.
TOO_OLD = frozenset({FUNCTION_NOT_FOUND, 25, 26})
# What a GPU without the feature answers: nothing to tell anybody about but the reason beside the field.
QUIET = TOO_OLD | {INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND}

# Not an error of NVML: a field that came back without having been filled.
NOT_FILLED = -1

_REASONS = {
    NOT_FILLED: "the driver left it empty",
    INVALID_ARGUMENT: "the driver does not know this field; a newer driver may",
    NOT_SUPPORTED: "the driver says that this GPU does not report it",
    NO_PERMISSION: "the driver does not allow it to this user",
    NOT_FOUND: "the driver has nothing to report",
    FUNCTION_NOT_FOUND: "the driver is too old for it",
    25: "the driver is too old for it",
    26: "the driver no longer has it",
}

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 300.0


def reason(code: int) -> str:
    """Why a field is absent, in words."""
    return _REASONS.get(code, f"the driver's last answer was an error (NVML code {code})")


class NvmlGone(Exception):
    """The GPU that was asked is lost."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class NvmlStale(Exception):
    """NVML does not know our handles any more."""


class Guard:
    """When to ask again for something that failed: never given up, and never asked for at every tick.

    The first failure may be passing (NVML has spurious ones), so it is asked for again after a second; then after
    twice as long each time, at most five minutes.

    Args:
        columns: The fields that it fills.
    """

    __slots__ = ("_wait", "code", "columns", "until", "which", "worked")

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self.code: int | None = None
        self.until = 0.0
        self.worked = False
        self.which = 0  # of the calls that can do it, from the newest to the oldest
        self._wait = 0.0

    def failed(self, now: float, code: int) -> None:
        """It failed: not to be asked for until `until`."""
        self.code = code
        self.worked = False
        self._wait = min(max(2 * self._wait, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        self.until = now + self._wait
        if code in TOO_OLD:
            self.which = 0

    def succeeded(self) -> None:
        """It answered."""
        self.code = None
        self.worked = True
        self._wait = 0.0


def refuse(guard: Guard, now: float, code: int, device: str, call: str, reports: Reports) -> None:
    """Keep that a call failed, and tell of it where it is worth it.

    Raises:
        NvmlGone, NvmlStale: It is not the call's fault.
    """
    if code in GONE:
        raise NvmlGone(code)
    # A handle that NVML knew a moment ago and does not know now is of another life of NVML.
    if code == UNINITIALIZED or (code == INVALID_ARGUMENT and guard.worked):
        guard.worked = False  # if it is the call's fault after all, that shows with the new handle
        raise NvmlStale
    guard.failed(now, code)
    reports.refused(device, call, guard.columns, code)


class Reports:
    """Events on their way to the loop: any thread may add, the loop takes. At most a thousand wait."""

    _MOST = 1000

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._dropped = 0
        self._told: set[tuple[object, ...]] = set()

    def add(self, event: Event) -> None:
        """Tell of something."""
        if len(self._events) >= self._MOST:
            self._dropped += 1
        else:
            self._events.append(event)

    def once(self, key: tuple[object, ...], event: Event) -> None:
        """Tell of it unless that has been done for the key."""
        if key not in self._told:
            self._told.add(key)
            self.add(event)

    def take(self) -> list[Event]:
        """Take all that wait."""
        taken = [self._events.popleft() for _ in range(len(self._events))]
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            taken.append(
                Event("events_dropped", "warning", f"{dropped} events of GPUs were dropped: more came than were taken.")
            )
        return taken

    def refused(self, device: str, call: str, columns: Sequence[str], code: int) -> None:
        """Tell of a call that failed: once for each call that is not allowed, once for each GPU, call and code else."""
        if code == NO_PERMISSION:
            self.once(
                (call, code),
                Event(
                    "no_permission",
                    "warning",
                    f"{call} is not allowed to this user, so {', '.join(columns)} will be missing; "
                    "asked again every five minutes. docs/hardware_nvml.md says what needs which permission.",
                    device,
                    code,
                ),
            )
        elif code not in QUIET:
            self.once(
                (device, call, code),
                Event(
                    "call_failed",
                    "warning",
                    f"{call} failed with NVML code {code}, so {', '.join(columns)} will be missing; it is asked again.",
                    device,
                    code,
                ),
            )
