"""When the sampler reads: on multiples of the period, never in bursts, and less often where reading is slow."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from runtide._sampler._source import Event, Tier

_WINDOW = 10.0
# Shares of the period that a mean tick may take: above the first the rate is halved, below the second it rises again.
_TOO_LONG, _SHORT = 0.2, 0.05
_SLOWEST_MS = round(Tier.SLOW.value[0] * 1000)
# Milliseconds between two ticks at least, also where one is out of turn: GPUs take means over no less.
_SHORTEST_MS = 100
# Milliseconds from one reading to the next at least; the fast tier is read at every tick.
_RARER = [(tier, round(tier.value[1] * 1000)) for tier in Tier if tier is not Tier.FAST]


class Clock(Protocol):
    """The time."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970; may jump."""

    def monotonic(self) -> float:
        """Seconds; never jumps."""

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""


class SystemClock:
    """The time of this machine."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait so many seconds."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Beat:
    """A tick that is due.

    Args:
        moment: Its time, milliseconds since 1970.
        skipped: Ticks that were left out before it.
        extra: It is out of turn: the first, the last, or the first of a run.
        due: Tiers to read.
    """

    moment: int
    skipped: int
    extra: bool
    due: frozenset[Tier]


class Cadence:
    """Says when the next tick is, and which tiers are read at it.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.wanted_ms = 1000
        self._slowed = 1
        self._deadline: float | None = None
        self._target = 0
        self._last = -float("inf")
        self._last_regular: float | None = None
        self._extra = False
        self._read: dict[Tier, int] = {}
        self._window, self._ticks, self._spent = clock.monotonic(), 0, 0.0

    @property
    def period_ms(self) -> int:
        """Milliseconds from one tick to the next."""
        return min(self.wanted_ms * self._slowed, max(self.wanted_ms, _SLOWEST_MS))

    def want(self, period_ms: int) -> None:
        """Tick so often, from the next tick on."""
        if period_ms != self.wanted_ms:
            self.wanted_ms, self._slowed = period_ms, 1
            self._deadline = self._last_regular = None

    def hurry(self) -> None:
        """Tick as soon as may be, out of turn."""
        self._extra = True

    def wait(self) -> float:
        """Seconds until the next tick; 0 when it is due."""
        now = self._clock.monotonic()
        if self._deadline is None:
            self._plan(now)
        assert self._deadline is not None
        deadline = self._deadline
        if self._extra:
            deadline = min(deadline, self._last + _SHORTEST_MS / 1000)
        return max(0.0, deadline - now)

    def begin(self) -> Beat:
        """The tick that is due now."""
        now = self._clock.monotonic()
        regular = self._deadline is not None and now >= self._deadline
        skipped = 0
        if regular:
            moment, period = self._target, self.period_ms / 1000
            if self._last_regular is not None:
                skipped = max(0, round((now - self._last_regular) / period) - 1)
            self._last_regular = now
        else:
            moment = self._clock.wall_ms()
        beat = Beat(moment, skipped, self._extra, self._tiers(moment, self._extra))
        self._extra = False
        self._last = now
        return beat

    def end(self, seconds: float) -> Event | None:
        """Note how long the tick took, and plan the next; an event when the rate changes.

        Args:
            seconds: What it took.
        """
        now = self._clock.monotonic()
        if self._deadline is not None and now >= self._deadline:
            self._plan(now)
        self._ticks += 1
        self._spent += seconds
        if now - self._window < _WINDOW:
            return None
        share = self._spent / self._ticks / (self.period_ms / 1000)
        self._window, self._ticks, self._spent = now, 0, 0.0
        if share > _TOO_LONG and self.period_ms < _SLOWEST_MS:
            self._slowed *= 2
        elif share < _SHORT and self._slowed > 1:
            self._slowed //= 2
        else:
            return None
        self._deadline = self._last_regular = None
        facts = {"period_ms": str(self.period_ms), "wanted_ms": str(self.wanted_ms), "share_of_period": f"{share:.3f}"}
        what = (
            f"reading took {share:.0%} of the time between two ticks: now there is one in {self.period_ms / 1000:g} s"
        )
        return Event("slow_ticks", "warning" if share > _TOO_LONG else "info", what, facts=facts)

    def _plan(self, now: float) -> None:
        """The next multiple of the period. However the wall clock jumps, that is within two periods."""
        wall, period = self._clock.wall_ms(), self.period_ms
        target = (wall // period + 1) * period
        if abs(target - self._target) < period // 2 + 1:  # woken a little early by the wall clock
            target += period
        self._target = target
        self._deadline = now + (target - wall) / 1000

    def _tiers(self, moment: int, extra: bool) -> frozenset[Tier]:
        """The tiers whose period has begun anew since they were read. Out of turn, all but the rarest."""
        due, period = {Tier.FAST}, self.period_ms
        for tier, least in _RARER:
            number = moment // max(period, least)
            if self._read.get(tier) != number or (extra and tier is not Tier.RARE):
                self._read[tier] = number
                due.add(tier)
        return frozenset(due)
