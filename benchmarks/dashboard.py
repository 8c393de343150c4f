"""What the dashboard takes, in a real browser: pages over Streamlit's own floor, queries, filters, the live tail.

python benchmarks/dashboard.py [--points 1000000] [--runs 10000] [--keys 1000]

`floor` is a page of one word; what a page takes beyond it is ours. Interactive means that the script has run and the
component has drawn all panels in view. The seeding takes minutes: 20 runs × 12 metrics of a million points are 240
million.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright
from query_api import await_answer, describe, frames, running_store, tell
from seeding import seed_runs

_DEADLINE = 120.0
VIEWPORT: ViewportSize = {"width": 1600, "height": 1000}
READY = "[data-testid=stApp][data-test-script-state=notRunning]"
# The component says so itself, once no panel in view waits for an answer.
DRAWN = ".rt[data-state=idle]"
_VERDICT = ".rt-verdict"
_FLOOR = 'import streamlit as st\nst.write("floor")\n'
# Milliseconds since 1970 of the last point drawn in the first panel: what is logged is the time.
_NEWEST = """() => {
  const find = root => [...root.querySelectorAll('*')].flatMap(e => [e, ...(e.shadowRoot ? find(e.shadowRoot) : [])]);
  const root = find(document).find(e => e.__panels);
  const line = root && root.__panels[0] && root.__panels[0].lines[0];
  return line && line.mean.length ? line.mean[line.mean.length - 1] : 0;
}"""


@contextmanager
def serving(command: Sequence[str], url: str) -> Iterator[str]:
    """A server process on a port of its own, from its first answer on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, str(port)], env={**os.environ, "RUNTIDE_CLICKHOUSE_URL": url})
    try:
        await_answer(f"{address}/_stcore/health", process)
        yield address
    finally:
        process.terminate()
        process.wait()


def dashboard(url: str) -> Any:
    return serving([sys.executable, "-m", "runtide_dashboards", "--port"], url)


def floor(folder: Path) -> Any:
    script = folder / "floor.py"
    script.write_text(_FLOOR)
    options = ["--server.headless", "true", "--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"]
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.address", "127.0.0.1", *options]
    return serving([*command, "--server.port"], "")


def visit(context: BrowserContext, url: str, *ready: str) -> tuple[Page, float]:
    """A new tab, and the seconds from its navigation until all of the selectors are there."""
    page = context.new_page()
    page.set_default_timeout(_DEADLINE * 1000)
    begin = time.perf_counter()
    page.goto(url, wait_until="commit")
    for selector in ready:
        page.wait_for_selector(selector, state="attached")
    return page, time.perf_counter() - begin


def load(browser: Browser, url: str, *ready: str, then: Callable[[Page], None] | None = None) -> float:
    """Seconds from the navigation until all of the selectors are there, in a fresh context."""
    context = browser.new_context(viewport=VIEWPORT)
    try:
        page, took = visit(context, url, *ready)
        if then is not None:
            then(page)
        return took
    finally:
        context.close()


def row(name: str, samples: Sequence[float], unit: str = "s") -> None:
    """Print the median, the 95th percentile and the largest of some samples."""
    ordered = sorted(samples)
    middle, high = statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    print(f"{name:74} {middle:8.3f} {high:8.3f} {ordered[-1]:8.3f} {unit:3} n={len(ordered)}", flush=True)


def ask(base: str, runs: Sequence[str], key: str, low: int | None = None, high: int | None = None) -> tuple[float, int]:
    """Seconds and bytes of one panel's answer."""
    panel = {"key": key, "from": low, "to": high, "have": {}}
    body = {
        "runs": list(runs), "groups": None, "axis": "auto", "log_y": False, "buckets": 512, "ranks": "lowest",
        "attempts": False, "panels": [panel],
    }  # fmt: skip
    request = urllib.request.Request(
        f"{base}/api/series", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    begin = time.perf_counter()
    answer = urllib.request.urlopen(request).read()
    return time.perf_counter() - begin, len(answer)


def large(browser: Browser, store: str, base: str, points: int, rounds: int) -> None:
    """Compare with 20 runs × 12 metrics of a million points."""
    runs, keys = [f"e/large/r{number}" for number in range(20)], [f"k{number}" for number in range(12)]
    describe(store, runs)
    for number, run in enumerate(runs):
        # One insert is one block: a million points.
        frames(store, run, len(keys), points, 80_000, phase=number)
    print(f"{points * len(runs) * len(keys):,} points, 20 runs x 12 metrics", flush=True)
    rows = [[ask(base, runs, key) for key in keys] for _ in range(rounds + 1)]
    row("a panel, all of 20 runs: first time", [took for took, _ in rows[0]])
    row("a panel, all of 20 runs: again", [took for took, _ in itertools.chain(*rows[1:])])
    windows = [(points // 7 * place, points // 7 * place + points // 20) for place in range(6)]
    row(
        "a panel, 5 % of the range",
        [ask(base, runs, keys[place], low, high)[0] for place, (low, high) in enumerate(windows)],
    )
    small = [(points // 9 * place, points // 9 * place + points // 1000) for place in range(8)]
    row(
        "a panel, 0.1 % of the range",
        [ask(base, runs, keys[place], low, high)[0] for place, (low, high) in enumerate(small)],
    )
    print(f"{'bytes of a panel':74} {rows[0][0][1]:8,}")
    link = f"{base}/compare?r={','.join(runs)}"
    # The verdict comes by itself, beside the charts.
    row("Compare, 20 runs x 12 panels: charts are drawn", [load(browser, link, DRAWN) for _ in range(rounds)])
    row("Compare: all done, the verdict too", [load(browser, link, DRAWN, _VERDICT, READY) for _ in range(rounds)])


def many(browser: Browser, store: str, base: str, count: int, keys: int, rounds: int) -> None:
    """Runs with ten thousand runs of a thousand metrics."""
    seed_runs(lambda sql: tell(store, sql), "e/many", count, keys)
    grid = "[data-testid=data-grid-canvas] tbody [role=row]"
    link = f"{base}/runs?project=e/many"
    filtered: list[float] = []

    def narrow(page: Page) -> None:
        box = page.get_by_role("searchbox").first
        begin = time.perf_counter()
        box.fill("config.optim.lr=0.003 state:finished")
        page.wait_for_function(
            "was => { const now = document.body.innerText.match(/of ([0-9,]+) runs/); return now && now[1] !== was; }",
            arg=f"{count:,}",
        )
        filtered.append(time.perf_counter() - begin)

    row(
        f"Runs, {count:,} runs x {keys:,} metrics: interactive",
        [load(browser, link, READY, grid, then=narrow) for _ in range(rounds)],
    )
    row("Runs: a filter, from the last key to the new rows", filtered)


def live(browser: Browser, folder: Path, seconds: float) -> None:
    """From log() to the pixel: a run logs the time, and the page is asked what it has drawn."""
    environment = {**os.environ, "RUNTIDE_DIR": str(folder / "home")}
    environment.pop("RUNTIDE_CLICKHOUSE_URL", None)
    ports = []
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports.append(str(probe.getsockname()[1]))
    command = [sys.executable, "-m", "runtide", "up"]
    options = [f"--{name}port={port}" for name, port in zip(("", "store-", "ingest-"), ports, strict=True)]
    training = (
        "import runtide, time\n"
        "run = runtide.init(project='live', id='tail')\n"
        "while True:\n    run.log({'time': time.time() * 1000}); time.sleep(0.05)\n"
    )
    stack = subprocess.Popen([*command, *options], env=environment, start_new_session=True)
    trainer = None
    try:
        deadline = time.monotonic() + _DEADLINE
        while not (folder / "home" / "stack.json").exists():
            assert time.monotonic() < deadline and stack.poll() is None, "the stack does not start"
            time.sleep(0.1)
        base = json.loads((folder / "home" / "stack.json").read_text())["dashboard_url"]
        trainer = subprocess.Popen([sys.executable, "-c", training], env=environment)
        row("live tail: from log() to the pixel", watch(browser, f"{base}/run?r=default/live/tail&tab=charts", seconds))
    finally:
        for process in filter(None, (trainer, stack)):
            process.terminate()
            process.wait()


def watch(browser: Browser, url: str, seconds: float) -> list[float]:
    """How long each point took until it was drawn; points come every 50 ms."""
    context = browser.new_context(viewport=VIEWPORT)
    try:
        page = context.new_page()
        page.set_default_timeout(_DEADLINE * 1000)
        deadline = time.monotonic() + _DEADLINE
        while True:
            page.goto(url)
            page.wait_for_selector(READY)
            if page.locator(DRAWN).count() or time.monotonic() > deadline:
                break
        last, ages, begin = 0.0, [], time.monotonic()
        while time.monotonic() < begin + seconds:
            newest = page.evaluate(_NEWEST)
            if newest > last and last:
                now = time.time()
                drawn = max(1, round((newest - last) / 50))
                ages += [now - newest / 1000 + 0.05 * place for place in range(drawn)]
            last = max(last, newest)
            page.wait_for_timeout(20)
        return ages
    finally:
        context.close()


@contextmanager
def measuring() -> Iterator[tuple[Browser, Path]]:
    """Chromium and a folder, with the table's head printed."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    print(f"{'':74} {'median':>8} {'p95':>8} {'max':>8}   load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield browser, Path(name)
        finally:
            browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000, help="points of each of 240 series")
    parser.add_argument("--runs", type=int, default=10_000, help="runs of the Runs page")
    parser.add_argument("--keys", type=int, default=1000, help="metrics of each of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--live", type=float, default=60, help="seconds of the live tail")
    args = parser.parse_args()
    with measuring() as (browser, folder):
        with floor(folder) as address:
            row("floor: a page of one word", [load(browser, address, READY) for _ in range(args.rounds + 1)][1:])
        with running_store(folder) as store, dashboard(f"http://reader@{store}/runtide") as base:
            load(browser, base, READY)
            large(browser, store, base, args.points, args.rounds)
            many(browser, store, base, args.runs, args.keys, args.rounds)
        live(browser, folder, args.live)


if __name__ == "__main__":
    main()
