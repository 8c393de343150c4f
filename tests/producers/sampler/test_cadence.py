"""When there is a tick: by a clock that the tests turn."""

import itertools
import random

import pytest

from runtide._sampler._cadence import Cadence
from runtide._sampler._source import Tier


class FakeClock:
    """Time that passes when it is told to; `jump` moves the wall clock alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self.offset = 1_700_000_000_300

    def wall_ms(self) -> int:
        return round(self.now * 1000) + self.offset

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def jump(self, seconds: float) -> None:
        self.offset += round(seconds * 1000)


class Ticker:
    def __init__(self, period_ms: int = 1000) -> None:
        self.clock = FakeClock()
        self.cadence = Cadence(self.clock)
        self.cadence.want(period_ms)

    def tick(self, takes: float = 0.001):
        """Wait for the next tick and take so long for it: the beat, and the seconds waited."""
        waited = 0.0
        while (left := self.cadence.wait()) > 0:
            self.clock.now += left
            waited += left
        beat = self.cadence.begin()
        self.clock.now += takes
        event = self.cadence.end(takes)
        return beat, waited, event


def test_ticks_are_multiples_of_the_period() -> None:
    """By the wall clock, so that all nodes tick together; the first is out of turn and at once."""
    ticker = Ticker()
    ticker.cadence.hurry()
    beat, waited, _ = ticker.tick()
    assert (waited, beat.extra, beat.moment) == (0, True, 1_700_000_000_300)
    moments = [ticker.tick()[0].moment for _ in range(5)]
    assert moments == [1_700_000_001_000 + 1000 * n for n in range(5)]


def test_ten_a_second_stay_ten_a_second() -> None:
    """No drift, nothing skipped."""
    ticker = Ticker(100)
    beats = [ticker.tick(0.015)[0] for _ in range(600)]
    assert {b.moment - a.moment for a, b in itertools.pairwise(beats)} == {100}
    assert sum(beat.skipped for beat in beats) == 0


def test_an_overrun_is_counted_and_not_caught_up() -> None:
    """A tick of 3.5 periods costs three, and the next are one period apart."""
    ticker = Ticker()
    ticker.tick()
    late, _, _ = ticker.tick(3.5)
    after = [ticker.tick() for _ in range(3)]
    assert [beat.skipped for beat, _, _ in after] == [3, 0, 0]
    assert after[0][0].moment - late.moment == 4000
    assert [round(waited) for _, waited, _ in after[1:]] == [1, 1]


@pytest.mark.parametrize("jump", [-86400, -3600, -1.3, -0.01, 0.4, 3600, 86400 * 365])
def test_a_clock_that_jumps_stops_nothing(jump: float) -> None:
    """The next tick comes within two periods of real time, on a multiple of the new time, and none comes in a burst."""
    ticker = Ticker()
    for _ in range(3):
        ticker.tick()
    ticker.clock.jump(jump)
    waits = []
    for _ in range(5):
        beat, waited, _ = ticker.tick()
        waits.append(waited)
    assert max(waits) <= 2.0
    assert sum(waits) >= 3
    assert beat.moment % 1000 == 0
    assert abs(beat.moment - ticker.clock.wall_ms()) < 100


def test_a_thousand_jumps() -> None:
    """Whatever the wall clock does, there is about a tick a second of real time."""
    draw = random.Random(7)
    ticker = Ticker()
    for _ in range(1000):
        if draw.random() < 0.3:
            ticker.clock.jump(draw.choice((-1, 1)) * draw.random() * 10 ** draw.randrange(5))
        ticker.tick(draw.random() * 0.1)
    assert 1000 * 0.4 < ticker.clock.now < 1000 * 2


def test_tiers_have_their_own_periods() -> None:
    """Everything at first; then what blocks the driver is read rarely, at either rate."""
    for period_ms, medium in ((1000, 60), (100, 120)):
        ticker = Ticker(period_ms)
        assert ticker.tick()[0].due == frozenset(Tier)
        beats = [ticker.tick()[0] for _ in range(60_000 // period_ms)]
        counts = {tier: sum(tier in beat.due for beat in beats) for tier in Tier}
        assert counts == {
            Tier.FAST: 60_000 // period_ms, Tier.MEDIUM: medium, Tier.HISTORY: 12, Tier.SLOW: 2, Tier.RARE: 1,
        }  # fmt: skip


def test_a_tick_out_of_turn_reads_all_but_what_is_rare() -> None:
    """And comes not sooner than a tenth of a second after the last."""
    ticker = Ticker()
    ticker.tick()
    ticker.cadence.hurry()
    beat, waited, _ = ticker.tick()
    assert beat.due == frozenset(Tier) - {Tier.RARE}
    assert 0.09 <= waited <= 0.1
    assert ticker.tick()[0].moment % 1000 == 0


def test_slow_reading_halves_the_rate_until_it_fits() -> None:
    """More than a fifth of the time for ten seconds: half as often, and said; again as often when it is fast again."""
    ticker = Ticker(100)
    events = [event for _ in range(400) if (event := ticker.tick(0.09)[2])]
    assert [event.kind for event in events] == ["slow_ticks"] * len(events)
    assert ticker.cadence.period_ms == 800, "0.09 s is less than a fifth of it, and more than a fifth of 0.4 s"
    assert len(events) == 3
    assert events[0].severity == "warning"
    events = [event for _ in range(400) if (event := ticker.tick(0.001)[2])]
    assert ticker.cadence.period_ms == 100
    assert {event.severity for event in events} == {"info"}


def test_it_slows_down_to_the_slow_tier_at_most() -> None:
    """However long reading takes."""
    ticker = Ticker()
    for _ in range(50):
        ticker.tick(60.0)
    assert ticker.cadence.period_ms == 30_000
