"""The range slider of the Compare page: from steps or seconds to what it shows, and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Scale:
    """What the slider is made of.

    Args:
        axis: "step", "relative" or "wall".
        low: Its left end, in steps or milliseconds.
        high: Its right end.
        width: Distance of two positions, in steps or milliseconds.
        zone: Time zone in which a time of day is shown.
    """

    axis: str
    low: int
    high: int
    width: int
    zone: ZoneInfo

    @property
    def first(self) -> Any:
        """The left end as the slider takes it."""
        return self._show(self.low)

    @property
    def last(self) -> Any:
        """The right end as the slider takes it."""
        return self._show(self.high)

    @property
    def step(self) -> Any:
        """The distance of two positions as the slider takes it."""
        if self.axis == "wall":
            return timedelta(milliseconds=self.width)
        return self.width if self.axis == "step" else self.width / 1000

    @property
    def format(self) -> str | None:
        """How values are written: as exactly as the positions differ."""
        if self.axis == "step":
            return None
        if self.axis == "relative":
            return f"%.{max(0, 4 - len(str(self.width)))}f"
        if self.width < 1000:
            return "HH:mm:ss.SSS"
        return "HH:mm:ss" if self.width < 100_000 else "MMM D, HH:mm"

    def place(self, value: float) -> Any:
        """Where a value of the view is, in steps or seconds; one past an end is at that end."""
        units = round(value if self.axis == "step" else value * 1000)
        return self._show(min(max(units, self.low), self.high))

    def read(self, shown: Any) -> float:
        """The value of the view, in steps or seconds, at a position."""
        if self.axis == "wall":
            shown = shown.replace(tzinfo=self.zone).timestamp()
        return int(shown) if self.axis == "step" else round(shown, 3)

    def _show(self, units: int) -> Any:
        if self.axis == "wall":
            return datetime.fromtimestamp(units / 1000, self.zone).replace(tzinfo=None)
        return units if self.axis == "step" else units / 1000


def fit(first: int, last: int, axis: str, zone: ZoneInfo) -> Scale:
    """A scale over a range, in steps or milliseconds.

    On a time axis it has a thousand to ten thousand positions, or one for each millisecond: Streamlit's own choice, 15
    minutes or a day, would leave a short run two. Its ends are rounded outwards, so that each is a position.
    """
    width = 1 if axis == "step" else 10 ** max(0, len(str(last - first)) - 4)
    return Scale(axis, first - first % width, last + -last % width, width, zone)
