"""Which colour and dash a run has: by its place in its project, so on every page and in every selection the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# At least 3:1 on white and on the dark background, and told apart under three kinds of colour blindness.
PALETTE = ("#2864BA", "#CC840C", "#8A22F2", "#FC3060", "#A884C0", "#B82A7C", "#00A878", "#E43CF0")
DASHES: tuple[tuple[int, int] | None, ...] = (None, (6, 3), (2, 2))
_STYLES = len(PALETTE) * len(DASHES)


@dataclass(frozen=True)
class Style:
    """How a run's lines look. `dash` is (drawn, left out) in pixels, None for a solid line."""

    colour: str
    dash: tuple[int, int] | None


def style(ordinal: int, colour: str = "") -> Style:
    """The look of the nth run of a project; somebody may have chosen a colour for it."""
    return Style(colour or PALETTE[ordinal % len(PALETTE)], DASHES[ordinal // len(PALETTE) % len(DASHES)])


def styles(ordinals: Sequence[int], chosen: Sequence[str] = ()) -> list[Style]:
    """The looks of runs shown together, all different while there are that many.

    Runs of several projects, or 24 places apart, can ask for the same look: the later one takes the next that is free.

    Args:
        ordinals: The runs' places in their projects.
        chosen: The colours that somebody chose, empty where nobody did; none at all for no colours.
    """
    taken: set[int] = set()
    result = []
    for ordinal, colour in zip(ordinals, chosen or [""] * len(ordinals), strict=True):
        if colour:
            result.append(style(ordinal, colour))
            continue
        candidates = ((ordinal + shift) % _STYLES for shift in range(_STYLES))
        free = next((candidate for candidate in candidates if candidate not in taken), ordinal % _STYLES)
        taken.add(free)
        result.append(style(free))
    return result
