"""Colours and dashes of runs."""

from runtide_dashboards.colours import PALETTE, style, styles


def test_a_chosen_colour_is_kept_and_takes_nobody_elses():
    """It stands in every chart; the others have the looks that they would have without it."""
    assert style(0, "#ABCDEF").colour == "#ABCDEF" and style(9).dash == (6, 3)
    found = styles([0, 0, 1], ["", "#ABCDEF", ""])
    assert [one.colour for one in found] == [PALETTE[0], "#ABCDEF", PALETTE[1]]
    assert [one.colour for one in styles([0, 24])] == [PALETTE[0], PALETTE[1]]
