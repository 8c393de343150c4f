"""What the System page shows, as its URL. What cannot be understood falls back to the default."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtide_dashboards import grid_views
from runtide_dashboards.grid_views import GridView
from runtide_dashboards.hardware import OF_GPUS
from runtide_dashboards.hardware_questions import AXES, WINDOWS
from runtide_dashboards.url_values import Parameters, Query, distinct, given, last

# What a line of a panel stands for; the first is whichever fits.
KINDS = ("auto", "gpu", "node", "run")
_PREFIX = "sys-"


@dataclass(frozen=True)
class SystemView:
    """The System page.

    Args:
        run: Path of a run.
        within: How far back from the newest sample it looks, one of WINDOWS.
        metric: What the grid of GPUs shows.
        by: What a line stands for, one of KINDS.
        nodes: Names of nodes; empty for all.
        grid: The panels.
    """

    run: str = ""
    within: str = "15m"
    metric: str = OF_GPUS[0]
    by: str = KINDS[0]
    nodes: tuple[str, ...] = ()
    grid: GridView = field(default_factory=GridView)

    def query(self) -> Parameters:
        """The query parameters that `read_system` reads back; defaults are left out."""
        values: Parameters = {
            "r": self.run,
            "within": self.within if self.within != "15m" else "",
            "metric": self.metric if self.metric != OF_GPUS[0] else "",
            "by": self.by if self.by != KINDS[0] else "",
            "node": list(self.nodes),
        }
        return given(values) | self.grid.query()


def read_system(query: Query) -> SystemView:
    """The System page that a URL asks for."""
    within, metric, by = last(query, "within"), last(query, "metric"), last(query, "by")
    return SystemView(
        run=last(query, "r").strip(),
        within=within if within in WINDOWS else "15m",
        metric=metric if metric in OF_GPUS else OF_GPUS[0],
        by=by if by in KINDS else KINDS[0],
        nodes=distinct(query.get("node", ())),
        grid=of_samples(grid_views.read_grid(query)),
    )


def of_samples(grid: GridView) -> GridView:
    """The view of a grid that draws samples: they have no steps."""
    return grid if grid.axis in ("auto", *AXES) else GridView(search=grid.search, columns=grid.columns)


def beside(grid: GridView) -> Parameters:
    """The parameters of a grid of samples that stands beside another grid."""
    return {f"{_PREFIX}{name}": value for name, value in grid.query().items()}


def read_beside(query: Query) -> GridView:
    """What `beside` wrote."""
    own = {name.removeprefix(_PREFIX): values for name, values in query.items() if name.startswith(_PREFIX)}
    return of_samples(grid_views.read_grid(own))
