"""Numbers as people read them: four significant digits, the same for what stands together."""

from __future__ import annotations

import math

from runtide_dashboards.spread import LEVEL

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DIGITS = 4


def number(value: float | None) -> str:
    """Four significant digits; from ten thousand on with k, M, G or T."""
    if value is None:
        return "—"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("−∞" if value < 0 else "∞")
    size = abs(value)
    scale, unit = _unit(size) if size < 1e15 else (1.0, "")
    return f"{value / scale:.{_DIGITS}g}{unit}".replace("-", "−")


def pair(a: float, b: float, difference: float) -> tuple[str, str, str]:
    """Two numbers and their difference, with the same unit and as many decimals.

    There are more than four digits where the difference would else be less than two of its own.
    """
    size = max(abs(a), abs(b))
    if size == 0:
        return "0", "0", "0"
    if size < 1e-3 or size >= 1e15:
        texts = [f"{value:.{_DIGITS - 1}e}" for value in (a, b, difference)]
        return _minus(texts[0]), _minus(texts[1]), _signed(texts[2])
    scale, unit = _unit(size)
    decimals = max(0, _DIGITS - 1 - math.floor(math.log10(size / scale)))
    if difference:
        decimals = min(max(decimals, 1 - math.floor(math.log10(abs(difference) / scale))), 12)
    texts = [f"{value / scale:.{decimals}f}{unit}" for value in (a, b, difference)]
    return _minus(texts[0]), _minus(texts[1]), _signed(texts[2])


def _unit(size: float) -> tuple[float, str]:
    """What a number is divided by, and the letter for it; none below ten thousand."""
    # As it is rounded to four digits: 999,960 is 1M.
    units = (found for found in _UNITS if size >= 9999.5 and size >= found[0] * 0.99995)
    return next(units, (1.0, ""))


def _signed(text: str) -> str:
    if not text.partition("e")[0].strip("-0.kMGT"):
        return "0"
    return _minus(text) if text.startswith("-") else f"+{text}"


def _minus(text: str) -> str:
    return f"−{text[1:]}" if text.startswith("-") else text


def share(a: float, difference: float) -> str:
    """A difference in percent of a, with its sign; empty where a is so small, or beyond 0, that this says nothing."""
    b = a + difference
    if not difference or a * b <= 0 or abs(difference) > 10 * abs(a):
        return ""
    percent = 100 * difference / abs(a)
    if not math.isfinite(percent):
        return ""
    size = abs(percent)
    decimals = 0 if size >= 100 else 1 if size >= 1 else min(1 - math.floor(math.log10(size)), 6)
    text = f"{percent:+.{decimals}f}".replace("-", "−")
    return f"{text} %" if text.strip("+−0.") else ""


def probability(p: float) -> str:
    """`p 0.012` or `p < 0.001`: never rounded across the level at which a verdict is given."""
    if p < 0.001:
        return "p < 0.001"
    digits = next((n for n in range(2, 17) if (float(f"{p:.{n}g}") < LEVEL) == (p < LEVEL)), 17)
    return f"p {p:.{digits}g}"
