"""The dashboard in a real browser, over a real store: what its tests share. The fixtures are in conftest.py."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
from playwright.sync_api import expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from tests.web import answers

CHROMIUM = os.environ.get("RUNTIDE_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# For `pytestmark` of every module that opens pages.
NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install it, or name it in RUNTIDE_CHROMIUM"),
]
DEADLINE = 120.0

# Streamlit looks for its server below the page's own path before it looks at the root.
EXPECTED = ("/_stcore/health", "/_stcore/host-config")
expect.set_options(timeout=DEADLINE * 1000)


def browser_test(test):
    """For one test that opens pages, in a module where others do not."""
    for mark in NEEDS_BROWSER:
        test = mark(test)
    return test


class Dashboard:
    """The dashboard's process, over the store that `url` names; without `editor` nobody can change anything there."""

    def __init__(self, url, editor, folder):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / "dashboard.log"
        environment = {**os.environ, "RUNTIDE_CLICKHOUSE_URL": url, "RUNTIDE_EDITOR_URL": editor}
        environment["RUNTIDE_DIR"] = str(folder)
        command = [sys.executable, "-m", "runtide_dashboards", "--port", str(port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            threading.Event().wait(0.05)

    def _answers(self):
        return answers(f"{self.url}/_stcore/health")

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE)


class SlowLine:
    """What lies between a page and the server: answers can be held up, in their order. For pages opened after it."""

    def __init__(self, page):
        self._page, self._held, self._holds, self._answered = page, [], False, 0
        page.route_web_socket(re.compile("_stcore/stream"), self._connect)

    def _connect(self, route):
        server = route.connect_to_server()

        def answer(message):
            if isinstance(message, bytes):
                self._answered += ForwardMsg.FromString(message).WhichOneof("type") == "script_finished"
            if self._holds:
                self._held.append((route, message))
            else:
                route.send(message)

        server.on_message(answer)

    def hold(self):
        """From now on nothing comes through."""
        self._holds, self._answered = True, 0

    def wait_for_answer(self):
        """Wait until a run of the script is over, of which the page knows nothing; returns how much is held up."""
        deadline = time.monotonic() + DEADLINE
        while not self._answered:
            assert time.monotonic() < deadline
            self._page.wait_for_timeout(20)
        self._answered = 0
        return len(self._held)

    def let_through(self, number):
        """So much of what is held up comes through."""
        for route, message in self._held[:number]:
            route.send(message)
        self._held = self._held[number:]

    def release(self):
        """All comes through again."""
        self._holds = False
        self.let_through(len(self._held))


def is_error(entry, failing=()):
    """Whether a line of the console is an error of ours."""
    return entry.type == "error" and not entry.location.get("url", "").endswith((*EXPECTED, *failing))


def is_broken(request, failing=()):
    """Whether a request failed that should not have: what a page takes back by itself is no failure."""
    return request.failure != "net::ERR_ABORTED" and not request.url.endswith((*EXPECTED, *failing))


def forget(context):
    """Close a context's pages and leave nothing of them but what the browser keeps to load them again."""
    for page in context.pages:
        page.evaluate("localStorage.clear()")
        page.close()
    context.clear_cookies()


def settle(page):
    """Wait until the script has run and all panels in view are drawn."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_have_count(1)
    expect(page.locator(".rt:not([data-state=idle])")).to_have_count(0)


def drawn(page):
    """Wait until there is a grid and all its panels in view are drawn."""
    expect(page.locator(".rt")).to_have_attribute("data-state", "idle")


def panels(page):
    """What the grid holds, by key, once all panels in view are drawn."""
    drawn(page)
    return {panel["key"]: panel for panel in page.locator(".rt").evaluate("root => root.__panels")}


def until(page, condition):
    """Wait until a condition on `panels`, in JavaScript, holds."""
    page.wait_for_function(
        f"""() => {{
          for (const host of document.querySelectorAll('*')) {{
            const root = host.shadowRoot && host.shadowRoot.querySelector('.rt');
            if (root) {{
              const panels = Object.fromEntries(root.__panels.map(panel => [panel.key, panel]));
              return {condition};
            }}
          }}
        }}"""
    )


def panel(page, key):
    """The frame of one metric's panel."""
    return page.locator(f'.rt-panel[data-key="{key}"]')


def read(panel):
    """Point at the middle of a plot until it is read, and give the tooltip: what comes late above it moves it away."""
    tip, deadline = panel.locator(".rt-tip"), time.monotonic() + DEADLINE
    while not tip.is_visible():
        assert time.monotonic() < deadline, "the pointer reads nothing"
        panel.locator(".u-over").hover(position={"x": 1, "y": 1})
        panel.locator(".u-over").hover()
    return tip


def drag(page, key, start, end):
    """Drag over parts of a plot's width."""
    drawn(page)
    # The panel stays where it is when its plot is made anew.
    panel(page, key).scroll_into_view_if_needed()
    drawn(page)
    box = panel(page, key).locator(".u-over").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=5)
    page.mouse.up()
