"""The Logs tab of a run: what it printed, page by page, newest last."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from runtide_dashboards import configs, lines
from runtide_dashboards.errors import QueryFailed
from runtide_dashboards.queries import console
from runtide_dashboards.queries.console import Printed
from runtide_dashboards.records import Run
from runtide_dashboards.shell import guarded, put, query, sync

_PAGE = 500
_LIVE_SECONDS = 2
_DOWNLOADED = 1_000_000


def draw(run: Run) -> None:
    """Draw the tab; while the run is running it follows what is printed."""
    every = _LIVE_SECONDS if run.state in ("running", "preempting") else None
    st.fragment(run_every=every)(_live)(run)


def _live(run: Run) -> None:
    guarded(lambda: _draw(run))


def _draw(run: Run) -> None:
    printed = console.find_printed(run.path)
    if not printed:
        st.info(_why_empty(run), icon=":material/terminal:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = _choose_search()
        chosen = _choose_process(printed)
        times = st.toggle("Times", key="logs-times", help="When each line was complete, in your time zone")
        st.download_button(
            "Download",
            lambda: _download(run, chosen, search),
            file_name=f"{run.path.rpartition('/')[2]}-rank{chosen.rank}.log",
            mime="text/plain",
            key="logs-download",
            icon=":material/download:",
            on_click="ignore",
        )
    try:
        matching = console.count_lines(run.path, chosen, search)
    except QueryFailed as error:
        if "regex" not in str(error).lower():
            raise
        st.error("The filter is no regular expression that the store (RE2) understands.", icon=":material/error:")
        return
    if matching:
        _draw_page(run, chosen, search, matching, times)
    else:
        st.info(f"None of the {chosen.lines:,} lines matches the filter.", icon=":material/filter_alt_off:")
        st.button("Clear the filter", key="logs-clear", on_click=lambda: _put("log", ""))


def _why_empty(run: Run) -> str:
    environment = configs.parse(run.environment)
    going = run.state in ("running", "preempting")
    if environment.get("console") == "off":
        return "The console was not captured: it was turned off by `console`, `RUNTIDE_CONSOLE` or `WANDB_CONSOLE`."
    if going:
        return "Nothing has been printed yet."
    if environment.get("console"):
        return "This run printed nothing."
    return "Nothing was kept of what this run printed: it was logged before this version of runtide, or ended at once."


def _put(name: str, value: str) -> None:
    """Change the URL, the only place where the view is kept."""
    others = {key: values for key, values in query().items() if key != name}
    put({**others, name: value} if value else others)


def _asked(name: str) -> str:
    return next(iter(query().get(name, ())), "")


def _choose_search() -> str:
    sync("logs-search", _asked("log"))
    st.text_input(
        "Filter lines",
        key="logs-search",
        type="search",
        live="300ms",
        on_change=lambda: _put("log", st.session_state["logs-search"]),
        placeholder="text   /regular expression/",
        width="stretch",
    )
    return _asked("log")


def _choose_process(printed: Sequence[Printed]) -> Printed:
    """One rank and one of its attempts; by default the lowest rank's last one."""
    ranks = list(dict.fromkeys(one.rank for one in printed))
    rank = next((rank for rank in ranks if str(rank) == _asked("log-rank")), ranks[0])
    if len(ranks) > 1:
        sync("logs-rank", rank)
        st.selectbox(
            "Rank",
            ranks,
            key="logs-rank",
            on_change=lambda: _put("log-rank", str(st.session_state["logs-rank"])),
            width=120,
        )
    attempts = [one for one in printed if one.rank == rank]
    number = next((i for i in range(1, len(attempts) + 1) if str(i) == _asked("log-attempt")), len(attempts))
    if len(attempts) > 1:
        sync("logs-attempt", number)
        st.selectbox(
            "Attempt",
            range(1, len(attempts) + 1),
            key="logs-attempt",
            on_change=lambda: _put("log-attempt", str(st.session_state["logs-attempt"])),
            width=120,
        )
    return attempts[number - 1]


def _draw_page(run: Run, chosen: Printed, search: str, matching: int, times: bool) -> None:
    pages = -(-matching // _PAGE)
    page = _choose_page(pages)
    # The last page is a full one, and moves on with what is printed.
    offset = max(0, matching - _PAGE) if page == pages else (page - 1) * _PAGE
    found = console.load_lines(run.path, chosen, search, offset, _PAGE)
    end = page == pages
    view = f"{chosen.rank} {chosen.attempt} {'' if end else page} {search}"
    lines.show(found, view, end, times)
    count = f"{matching:,} of {chosen.lines:,} lines match" if search else f"{chosen.lines:,} lines"
    shown = f", {offset + 1:,} to {offset + len(found):,} shown" if pages > 1 else ""
    missing = f"; {chosen.missing:,} more were dropped" if chosen.missing > 0 else ""
    st.caption(count + shown + missing)


def _choose_page(pages: int) -> int:
    """The page that is shown: the last one, until another is chosen."""
    if pages == 1:
        st.session_state.pop("logs-fixed", None)
        return 1
    page = min(st.session_state.get("logs-fixed") or pages, pages)
    sync("logs-page", page)

    def choose() -> None:
        chosen = st.session_state["logs-page"]
        st.session_state["logs-fixed"] = None if chosen == pages else chosen

    st.pagination(pages, key="logs-page", on_change=choose)
    return page


def _download(run: Run, chosen: Printed, search: str) -> str:
    found = console.load_lines(run.path, chosen, search, 0, _DOWNLOADED)
    text = "".join(f"{line.text}\n" for line in found)
    return text + (f"… the first {_DOWNLOADED:,} lines\n" if len(found) == _DOWNLOADED else "")
