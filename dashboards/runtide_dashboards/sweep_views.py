"""What the Sweep page shows, as its URL. What cannot be understood falls back to the default."""

from __future__ import annotations

from dataclasses import dataclass

from runtide_dashboards.url_values import Parameters, Query, distinct, flag, given, last

GOALS = ("minimize", "maximize")
# Percent of the trials, the best of them, that can be looked at alone.
SHARES = ("100", "50", "25", "10", "5")
# What the scatter can have beside parameters and objectives: how long a run took. No name of a parameter has a space.
SECONDS = "run time, s"
MOST_CHOSEN = 50


@dataclass(frozen=True)
class SweepView:
    """The Sweep page.

    Args:
        sweep: Path or id of a sweep; empty for the list of all.
        objective: Metric that is judged by; empty for the first of the sweep.
        goal: One of GOALS; empty for what the sweep says.
        best: Percent of the trials, the best ones, that charts and table are of: one of SHARES.
        hide: Whether failed trials are left out.
        axes: Parameters of the parallel coordinates, in their order; empty for all.
        x: What the scatter is drawn over: a parameter, another objective or SECONDS; empty for the most important
            parameter.
        colour: What colours the scatter; empty for nothing.
        chosen: Ids of the runs of trials that are marked.
    """

    sweep: str = ""
    objective: str = ""
    goal: str = ""
    best: str = SHARES[0]
    hide: bool = False
    axes: tuple[str, ...] = ()
    x: str = ""
    colour: str = ""
    chosen: tuple[str, ...] = ()

    def query(self) -> Parameters:
        """The query parameters that `read_sweep` reads back; defaults are left out."""
        values: Parameters = {
            "s": self.sweep,
            "o": self.objective,
            "goal": self.goal,
            "best": self.best if self.best != SHARES[0] else "",
            "hide": flag(self.hide),
            "axis": list(self.axes),
            "x": self.x,
            "colour": self.colour,
            "t": ",".join(self.chosen),
        }
        return given(values)


def read_sweep(query: Query) -> SweepView:
    """The Sweep page that a URL asks for."""
    goal, best = last(query, "goal"), last(query, "best")
    return SweepView(
        sweep=last(query, "s").strip(),
        objective=last(query, "o"),
        goal=goal if goal in GOALS else "",
        best=best if best in SHARES else SHARES[0],
        hide=last(query, "hide") == "1",
        axes=distinct(query.get("axis", ())),
        x=last(query, "x"),
        colour=last(query, "colour"),
        chosen=distinct([run.strip() for run in last(query, "t").split(",")])[:MOST_CHOSEN],
    )
