"""The Logs tab: every line as text, page by page, filtered, followed, and reasons where there is none."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from streamlit.testing.v1 import AppTest
from tests.dashboards.browser import CHROMIUM, DEADLINE, browser_test
from tests.web import WEB

from runtide_dashboards import logs
from runtide_dashboards.errors import QueryFailed
from runtide_dashboards.queries import console
from runtide_dashboards.queries.console import Printed

START = 1_760_000_000_000_000
HOSTILE = [
    "<script>document.title = 'broken'</script>",
    "<img src=x onerror=\"document.title = 'broken'\">",
    "</pre></div><h1>big</h1>",
    "**bold** [link](javascript:alert(1)) :red[red] $x^2$ `code`",
    "&lt;b&gt; & &amp; \\ \\n 'quotes' \"double\" `",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x1b\\link\x1b]8;;\x07 \x1b[2K\x1b[1Aup \x1b(B",
    "bell\x07 zero\x00 back\x08space\ttab",
    "right \u202e to left, ünïcode 🌊, {braces} %s {x:String}",
    "x" * 10_000,
    "",
    "  indented",
]
SHOWN = [
    *HOSTILE[:5],
    "red link up ",
    "bell zero backspace\ttab",
    *HOSTILE[7:],
]


def land(
    lab: Any,
    run: str,
    lines: Sequence[str],
    first: int = 1,
    rank: int = 0,
    attempt: int = START,
    writer: int = 1,
    errors: Sequence[int] = (),
    lie: dict[str, Any] | None = None,
) -> None:
    """Lines of one process, one a second; `errors` are the places of those on stderr."""
    record = {
        "run_id": run, "writer": writer, "seq": first, "attempt": attempt, "rank": rank, "first": first,
        "streams": ["stderr" if place in errors else "stdout" for place in range(len(lines))],
        "times": [START // 1000 + 1000 * (first + place) for place in range(len(lines))], "lines": list(lines),
    }  # fmt: skip
    lab._land("console_lines", record | (lie or {}))


def only(run: str) -> Printed:
    (printed,) = console.find_printed(run)
    return printed


def texts(run: str, search: str = "", offset: int = 0, limit: int = 1000) -> list[str]:
    return [line.text for line in console.load_lines(run, only(run), search, offset, limit)]


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"run_id": "nowhere"}, "run_id is not entity/project/id"),
        ({"streams": ["stdout"]}, "streams, times and lines differ in length"),
        ({"times": [1, 2, 3]}, "streams, times and lines differ in length"),
        ({"lines": [], "times": [], "streams": []}, "a record without lines"),
        ({"first": 0}, "the first line has no number from 1 to 2^62"),
        ({"first": 2**62 + 1}, "the first line has no number from 1 to 2^62"),
        ({"streams": ["stdout", "stdlog"]}, "a stream that is neither stdout nor stderr"),
        ({"times": [1, 2**60]}, "a time outside 1900 to 2299"),
    ],
)
def test_a_record_that_lies_goes_to_the_dead_letters_alone(
    lab: Any, project: str, lie: dict[str, Any], reason: str
) -> None:
    """Nothing of it becomes a line; its neighbours do, with numbers, times and streams in their places."""
    run = f"{project}/r"
    land(lab, run, ["a", "b"], errors=[1])
    seq = abs(hash(project)) % 2**40
    land(lab, run, ["bad", "worse"], lie={"seq": seq} | lie)
    land(lab, run, ["c"], first=3)
    found = console.load_lines(run, only(run), "", 0, 10)
    assert [(line.number, line.stream, line.text) for line in found] == [
        (1, "stdout", "a"),
        (2, "stderr", "b"),
        (3, "stdout", "c"),
    ]
    assert [line.time.timestamp() for line in found] == [START / 10**6 + number for number in (1, 2, 3)]
    sql = f"SELECT reason FROM dead_letters WHERE stream = 'console_lines' AND offset = {seq}"
    assert lab.store.query(sql, database=lab.database).strip() == reason


def test_lines_are_those_of_a_terminal(lab: Any, project: str) -> None:
    """Escape sequences and control characters are gone, and nothing else is."""
    land(lab, f"{project}/r", HOSTILE)
    assert texts(f"{project}/r") == SHOWN


def test_ranks_attempts_children_and_gaps(lab: Any, project: str) -> None:
    """Each rank and attempt is of its own, children's lines are among their parent's, gaps are counted."""
    run = f"{project}/r"
    land(lab, run, ["first"])
    land(lab, run, ["second", "third"], attempt=START + 5)
    land(lab, run, ["child"], first=2, attempt=START + 5, writer=2)
    land(lab, run, ["after a gap"], first=103, attempt=START + 5)
    land(lab, run, ["other"], rank=3)
    assert console.find_printed(run) == [
        Printed(0, START, 1, 0),
        Printed(0, START + 5, 4, 100),
        Printed(3, START, 1, 0),
    ]
    found = console.load_lines(run, Printed(0, START + 5, 4, 0), "", 0, 10)
    assert [(line.number, line.text) for line in found] == [
        (1, "second"), (2, "third"), (2, "child"), (103, "after a gap"),
    ]  # fmt: skip
    assert console.find_printed(f"{project}/nobody") == []


def test_search(lab: Any, project: str) -> None:
    """A text in any case, an expression between slashes; both look at what is shown, and neither can add SQL."""
    run = f"{project}/r"
    land(lab, run, [f"step {number} loss 0.{number}" for number in range(1200)] + ["It's \x1b[1m50\x1b[0m% \\d {x} ÄÖ"])
    assert len(texts(run, "LOSS", limit=2000)) == 1200
    assert texts(run, "step 7 ") == ["step 7 loss 0.7"]
    assert texts(run, r"/^step 1\d loss/") == [f"step {number} loss 0.{number}" for number in range(10, 20)]
    for search in ("it's 50% ", "\\D", "{X}", "äö", r"/\\d/"):
        assert texts(run, search) == ["It's 50% \\d {x} ÄÖ"], search
    assert texts(run, "' OR 1=1 --") == []
    assert console.count_lines(run, only(run), "loss") == 1200
    assert console.count_lines(run, only(run), "/") == 0
    assert texts(run, "loss", offset=600, limit=2) == ["step 600 loss 0.600", "step 601 loss 0.601"]
    with pytest.raises(QueryFailed, match=r"(?i)regex"):
        console.count_lines(run, only(run), "/(/")


def page(run: Any, **asked: str) -> AppTest:
    def script(run):  # type: ignore[no-untyped-def]
        from runtide_dashboards import logs

        logs.draw(run)

    app = AppTest.from_function(script, kwargs={"run": run}, default_timeout=DEADLINE)
    for name, value in asked.items():
        app.query_params[name.replace("_", "-")] = value
    app.run()
    assert not app.exception
    return app


def drawn(app: AppTest) -> dict[str, Any]:
    """What the browser gets."""
    (element,) = app.get("bidi_component")
    return dict(json.loads(element.proto.json))


def body(app: AppTest) -> list[str]:
    return [text for *_, text in drawn(app)["lines"]]


def said(app: AppTest) -> list[str]:
    return [element.value for element in (*app.info, *app.error, *app.caption)]


@pytest.mark.parametrize(
    ("state", "environment", "words"),
    [
        ("finished", '{"console": "off"}', "turned off"),
        ("running", '{"console": "off"}', "turned off"),
        ("running", '{"console": "wrap"}', "yet"),
        ("running", "", "yet"),
        ("finished", '{"console": "wrap"}', "printed nothing"),
        ("crashed", '{"host": "h"}', "before this version"),
        ("finished", "[]", "before this version"),
    ],
)
def test_an_empty_tab_says_why(
    lab: Any, project: str, make_run: Callable[..., Any], state: str, environment: str, words: str
) -> None:
    """Turned off, printed nothing, not yet, or logged by an older version."""
    (text,) = said(page(make_run(f"{project}/r", state=state, environment=environment)))
    assert words in text


def test_pages_end_with_the_newest(lab: Any, project: str, make_run: Callable[..., Any]) -> None:
    """It opens at the end, with a full page; another page stays where it is while lines come, and the end moves on."""
    run = make_run(f"{project}/r", state="running")
    land(lab, run.path, [f"line-{number}." for number in range(1, 1201)])
    app = page(run)
    assert said(app) == ["1,200 lines, 701 to 1,200 shown"]
    assert len(body(app)) == 500
    assert (body(app)[0], body(app)[-1], drawn(app)["end"]) == ("line-701.", "line-1200.", True)
    app.session_state["logs-fixed"] = 2
    app.run()
    assert said(app) == ["1,200 lines, 501 to 1,000 shown"]
    assert not drawn(app)["end"]
    land(lab, run.path, [f"line-{number}." for number in range(1201, 2001)], first=1201)
    assert said(app.run()) == ["2,000 lines, 501 to 1,000 shown"]
    app.session_state["logs-fixed"] = None
    assert said(app.run()) == ["2,000 lines, 1,501 to 2,000 shown"]
    assert "line-2000." in body(app)


def test_the_filter_is_in_the_link(lab: Any, project: str, make_run: Callable[..., Any]) -> None:
    """Text and expression, a filter that nothing matches, and one that is no expression: each says what is there."""
    run = make_run(f"{project}/r")
    land(lab, run.path, [*HOSTILE, "last"])
    app = page(run, log="<script>")
    assert said(app) == ["1 of 12 lines match"]
    assert body(app) == HOSTILE[:1]
    assert said(page(run, log="/^last$/")) == ["1 of 12 lines match"]
    app = page(run, log="<b>nothing</b>")
    assert said(app) == ["None of the 12 lines matches the filter."]
    app.button(key="logs-clear").click().run()
    assert said(app) == ["12 lines"]
    assert "log" not in app.query_params
    app.text_input(key="logs-search").set_value("LAST").run()
    assert said(app) == ["1 of 12 lines match"]
    assert app.query_params["log"] == "LAST"
    (text,) = said(page(run, log="/(/"))
    assert "no regular expression" in text


def test_ranks_and_attempts_are_chosen_where_there_are_several(
    lab: Any, project: str, make_run: Callable[..., Any]
) -> None:
    """The lowest rank's last attempt at first; a link names another; what is not there falls back."""
    run = make_run(f"{project}/r")
    land(lab, run.path, ["old"])
    land(lab, run.path, ["new"], attempt=START + 1)
    land(lab, run.path, ["three"], rank=3)
    app = page(run)
    assert body(app) == ["new"]
    app.selectbox(key="logs-attempt").select(1).run()
    assert body(app) == ["old"]
    assert app.query_params["log-attempt"] == "1"
    assert body(page(run, log_rank="3", log_attempt="1")) == ["three"]
    for odd in ("x", "-1", "99", "<b>", ""):
        assert body(page(run, log_rank=odd, log_attempt=odd)) == ["new"]


def test_what_is_downloaded(lab: Any, project: str, make_run: Callable[..., Any]) -> None:
    """All lines that match, as text, however many pages they are."""
    run = make_run(f"{project}/r")
    land(lab, run.path, [f"line {number}" for number in range(1200)])
    assert logs._download(run, only(run.path), "") == "".join(f"line {number}\n" for number in range(1200))
    assert logs._download(run, only(run.path), "/ 119[89]$/") == "line 1198\nline 1199\n"


APP = """
import streamlit as st
from datetime import UTC, datetime
from runtide_dashboards import logs
from runtide_dashboards.records import Run
now = datetime(2026, 1, 1, tzinfo=UTC)
run = st.query_params["run"]
about = ["", "", "", "{}", "{}", 1, 1, "", None, None, "", False, False, False, None]
logs.draw(Run(run, "", "running", now, 1.0, (), "{}", 0, now, *about))
"""


# The place of a scrolling area once it is the same in two frames.
SETTLED = """area => new Promise(done => {
  let last = -1;
  const look = () => area.scrollTop === last ? done(last) : (last = area.scrollTop, requestAnimationFrame(look));
  look();
})"""


FIRST = """() => {
  const host = [...document.querySelectorAll('*')].find(one => one.shadowRoot?.querySelector('.log'));
  const area = (host?.shadowRoot ?? document).querySelector('.log');
  return [...area.children].find(one => one.offsetTop + one.offsetHeight > area.scrollTop).innerText;
}"""


@pytest.fixture
def server(lab: Any, tmp_path: Any) -> Any:
    """A page that is the tab alone, of the run that the URL names."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    file = tmp_path / "app.py"
    file.write_text(APP)
    options = ["--server.headless=true", f"--server.port={port}", "--server.fileWatcherType=none"]
    command = [sys.executable, "-m", "streamlit", "run", str(file), *options, "--browser.gatherUsageStats=false"]
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + DEADLINE
    while True:
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
        try:
            WEB.get(f"{url}/_stcore/health", timeout=5)
            break
        except httpx.TransportError:
            threading.Event().wait(0.05)
    yield url
    process.terminate()
    process.wait(DEADLINE)
    log.close()


@browser_test
def test_in_a_browser_it_follows_and_shows_text(lab: Any, project: str, server: str) -> None:
    """Hostile lines are text; the end is in view and stays there; whoever has scrolled up is left alone."""
    run = f"{project}/r"
    land(lab, run, [*HOSTILE, *(f"line-{number}." for number in range(len(HOSTILE) + 1, 301))], errors=[0])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            page.set_default_timeout(DEADLINE * 1000)
            page.goto(f"{server}/?run={run}")
            expect(page.locator(".log > div")).to_have_count(300)
            expect(page.get_by_text("line-300.")).to_be_in_viewport()
            shown = page.locator(".log pre").all_inner_texts()
            assert shown[: len(SHOWN)] == SHOWN
            assert page.title() != "broken"
            assert page.locator(".log h1, .log img, .log script, .log b").count() == 0
            mark = page.locator(".log .stderr")
            assert mark.count() == 1
            assert mark.evaluate("e => getComputedStyle(e).borderLeftColor") == "rgb(204, 132, 12)"
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

            land(lab, run, [f"line-{number}." for number in range(301, 401)], first=301)
            expect(page.get_by_text("line-400.")).to_be_in_viewport()
            area = page.locator(".log").element_handle()
            page.locator(".log").hover()
            page.mouse.wheel(0, -2000)
            page.wait_for_function("e => e.scrollTop < e.scrollHeight - e.clientHeight - 1000", arg=area)
            before = area.evaluate(SETTLED)
            first = page.evaluate(FIRST)
            land(lab, run, ["line-401."], first=401)
            expect(page.get_by_text("401 lines")).to_be_visible()
            expect(page.get_by_text("line-401.")).to_have_count(1)
            assert area.evaluate(SETTLED) == before
            # Lines go above it: the same one is still in view.
            land(lab, run, [f"line-{number}." for number in range(402, 701)], first=402)
            expect(page.get_by_text("line-700.")).to_have_count(1)
            assert area.evaluate(SETTLED) < before
            assert page.evaluate(FIRST) == first

            expect(page.get_by_text("2025-10-09")).to_have_count(0)
            page.get_by_text("Times", exact=True).click()
            expect(page.get_by_text("2025-10-09").first).to_be_attached()
            with page.expect_download() as download:
                page.get_by_role("button", name="Download").click()
            path = download.value.path()
            assert path.read_text().splitlines()[-1] == "line-700."
        finally:
            browser.close()
