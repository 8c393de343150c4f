"""What the pages show, as their URLs: every view can be shared. What cannot be understood falls back to the default."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtide_dashboards import grid_views, hardware_views
from runtide_dashboards.grid_views import GridView
from runtide_dashboards.url_values import Parameters, Query, distinct, flag, given, last

# What the value of a metric is: what W&B calls its summary, or over all points; the best is by define_metric's goal.
STATISTICS = ("summary", "best", "last", "min", "max", "mean")
NEWEST = "-created"
# How far back Home looks, in hours.
PERIODS = {"24h": 24, "7d": 168}
# A page is an offset into a list: none is longer than this.
MAX_PAGE, MAX_GROUP_KEYS = 1_000_000, 4
# Lines of a panel, and runs whose groups are its bands.
MAX_RUNS, MAX_GROUPED = 50, 200
TABS = ("overview", "charts", "system", "logs", "config")


@dataclass(frozen=True)
class HomeView:
    """The Home page. Args: `within`, how far back it looks for what broke, one of PERIODS."""

    within: str = "24h"

    def query(self) -> Parameters:
        """The query parameters that `read_home` reads back; defaults are left out."""
        return {"within": self.within} if self.within != "24h" else {}


def read_home(query: Query) -> HomeView:
    """The Home page that a URL asks for."""
    within = last(query, "within")
    return HomeView(within if within in PERIODS else "24h")


@dataclass(frozen=True)
class RunsView:
    """The Runs page.

    Args:
        project: `entity/project`; empty for all.
        filter: The filter line.
        config: Config paths shown as columns; empty for those that differ.
        summary: Keys whose value is shown; empty for the most common.
        equal: Whether columns that are equal in all runs are shown too.
        statistic: What the value of a key is, one of STATISTICS.
        sort: A field, `config.` and a path, or `summary.` and a key; with `-` in front from large to small.
        groups: Config paths whose values make groups of runs; empty for a row per run.
        page: Which page of the list, from 1.
    """

    project: str = ""
    filter: str = ""
    config: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    equal: bool = False
    statistic: str = STATISTICS[0]
    sort: str = NEWEST
    groups: tuple[str, ...] = ()
    page: int = 1

    def query(self) -> Parameters:
        """The query parameters that `read_runs` reads back; defaults are left out."""
        values: Parameters = {
            "project": self.project,
            "filter": self.filter,
            "c": list(self.config),
            "s": list(self.summary),
            "equal": flag(self.equal),
            "value": self.statistic if self.statistic != STATISTICS[0] else "",
            "sort": self.sort if self.sort != NEWEST else "",
            "g": list(self.groups),
            "page": str(self.page) if self.page > 1 else "",
        }
        return given(values)


def read_runs(query: Query) -> RunsView:
    """The Runs page that a URL asks for."""
    statistic, page = last(query, "value"), last(query, "page")
    return RunsView(
        project=last(query, "project"),
        filter=last(query, "filter"),
        config=distinct(query.get("c", ())),
        summary=distinct(query.get("s", ())),
        equal=last(query, "equal") == "1",
        statistic=statistic if statistic in STATISTICS else STATISTICS[0],
        sort=last(query, "sort") or NEWEST,
        groups=distinct(query.get("g", ()))[:MAX_GROUP_KEYS],
        page=int(page) if page.isascii() and page.isdecimal() and 0 < int(page[:8]) < MAX_PAGE else 1,
    )


@dataclass(frozen=True)
class CompareView:
    """The Compare page.

    Args:
        runs: Run paths or ids; empty for the newest.
        base: Path or id of the baseline; empty for the project's, else the first run.
        judged: Path or id of the run that is held against it; empty for the first of another recipe.
        group: Config paths by whose values runs become groups.
        all_config: Whether equal rows of the config are shown too.
        grid: The panels.
        system: Whether the hardware of the runs is shown too.
        samples: The panels of their hardware.
    """

    runs: tuple[str, ...] = ()
    base: str = ""
    judged: str = ""
    group: tuple[str, ...] = ()
    all_config: bool = False
    grid: GridView = field(default_factory=GridView)
    system: bool = False
    samples: GridView = field(default_factory=GridView)

    def query(self) -> Parameters:
        """The query parameters that `read_compare` reads back; defaults are left out."""
        values: Parameters = {
            "r": ",".join(self.runs),
            "base": self.base,
            "b": self.judged,
            "g": list(self.group),
            "config": "all" if self.all_config else "",
            "system": flag(self.system),
        }
        return given(values) | self.grid.query() | hardware_views.beside(self.samples)


def read_compare(query: Query) -> CompareView:
    """The Compare page that a URL asks for."""
    group = distinct(query.get("g", ()))
    runs = [run.strip() for value in query.get("r", ()) for run in value.split(",")]
    return CompareView(
        runs=distinct(runs)[: MAX_GROUPED if group else MAX_RUNS],
        base=last(query, "base"),
        judged=last(query, "b"),
        group=group,
        all_config=last(query, "config") == "all",
        grid=grid_views.read_grid(query),
        system=last(query, "system") == "1",
        samples=hardware_views.read_beside(query),
    )


@dataclass(frozen=True)
class RunView:
    """The page of one run.

    Args:
        run: Its path or id.
        tab: Which of TABS is open.
        grid: The panels.
        samples: The panels of its hardware.
    """

    run: str = ""
    tab: str = TABS[0]
    grid: GridView = field(default_factory=GridView)
    samples: GridView = field(default_factory=GridView)

    def query(self) -> Parameters:
        """The query parameters that `read_run` reads back; defaults are left out."""
        values: Parameters = {"r": self.run, "tab": self.tab if self.tab != TABS[0] else ""}
        return given(values) | self.grid.query() | hardware_views.beside(self.samples)


def read_run(query: Query) -> RunView:
    """The page of a run that a URL asks for."""
    tab = last(query, "tab")
    return RunView(
        last(query, "r").strip(),
        tab if tab in TABS else TABS[0],
        grid_views.read_grid(query),
        hardware_views.read_beside(query),
    )
