"""The dashboard in a real browser, over a real store."""

import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = os.environ.get("RUNTIDE_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install it, or name it in RUNTIDE_CHROMIUM"),
]
DEADLINE = 60.0
SPIKE, HEIGHT = 617_283, 42.5
# Streamlit looks for its server below the page's own path before it looks at the root.
EXPECTED = ("/_stcore/health", "/_stcore/host-config")
expect.set_options(timeout=DEADLINE * 1000)

# The chart's instance is held by the component that drew it, nowhere else.
OPTIONS = """() => [...document.querySelectorAll('[data-testid=stEChartsChart]')].map(root => {
  let fiber = root[Object.keys(root).find(key => key.startsWith('__reactFiber'))];
  for (; fiber; fiber = fiber.return)
    for (let hook = fiber.memoizedState; hook && typeof hook === 'object'; hook = hook.next) {
      const held = hook.memoizedState && hook.memoizedState.current;
      if (held && held.getModel && held.getOption) {
        const model = held.getModel();
        return {title: held.getOption().title[0].text, series: model.getSeries().map(one => {
          const data = one.getData(), stacked = data.getCalculationInfo('stackResultDimension');
          const ys = stacked ? data.mapArray(stacked, y => y) : data.mapArray(data.mapDimension('y'), y => y);
          return {id: one.id, name: one.name, length: data.count(), top: Math.max(...ys.filter(isFinite)),
                  xs: data.mapArray(data.mapDimension('x'), x => x)};
        })};
      }
    }
  return null;
})"""


class Dashboard:
    """The dashboard's process, over the store that `url` names."""

    def __init__(self, url, folder):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder / "dashboard.log"
        environment = {**os.environ, "RUNTIDE_CLICKHOUSE_URL": url, "RUNTIDE_DIR": str(folder)}
        command = [sys.executable, "-m", "runtide_dashboards", "--port", str(port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            threading.Event().wait(0.05)

    def _answers(self):
        try:
            return httpx.get(f"{self.url}/_stcore/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE)


@pytest.fixture(scope="module")
def own_store(store_process, tmp_path_factory):
    """A store that these tests may stop."""
    running = store_process(tmp_path_factory.mktemp("browser") / "engine")
    yield running
    if running.process.poll() is None:
        running.kill()


@pytest.fixture(scope="module")
def seeded(own_store, make_lab):
    return make_lab(own_store, "seeded")


@pytest.fixture(scope="module")
def dashboard(seeded, tmp_path_factory):
    running = Dashboard(seeded.url, tmp_path_factory.mktemp("dashboard"))
    yield running
    running.stop()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def open_page(chromium, request, tmp_path):
    """Opens pages that must log no error; leaves a screenshot of each."""
    contexts, complaints = [], []
    folder = Path(os.environ.get("RUNTIDE_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def start(url, scheme="light"):
        context = chromium.new_context(viewport={"width": 1600, "height": 1000}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda entry: complaints.append(entry.text) if _is_error(entry) else None)
        page.on("requestfailed", lambda failed: complaints.append(failed.url) if url not in failed.url else None)
        page.goto(url)
        return page

    yield start
    try:
        for number, context in enumerate(contexts):
            context.pages[0].screenshot(path=folder / f"{request.node.name}-{number}.png")
            context.close()
    finally:
        assert complaints == []


def _is_error(entry):
    return entry.type == "error" and not entry.location.get("url", "").endswith(EXPECTED)


def settle(page):
    """Wait until the script has run and every chart is drawn."""
    expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_have_count(1)
    expect(page.locator("[data-testid=stEChartsChart][aria-busy=true]")).to_have_count(0)


def panels(page, expected):
    """What the charts hold, by title, once all expected ones are there."""
    charts = page.locator("[data-testid=stEChartsChart] canvas")
    expect(charts).to_have_count(expected)
    settle(page)
    options = page.evaluate(OPTIONS)
    assert None not in options, "a chart's instance was not found: Streamlit keeps it elsewhere now"
    return {option["title"]: {one["id"]: one for one in option["series"]} for option in options}


@pytest.fixture
def empty(own_store, make_lab, tmp_path):
    """A database without runs, and a dashboard over it."""
    lab = make_lab(own_store, "empty")
    running = Dashboard(lab.url, tmp_path)
    yield lab, running.url
    running.stop()


def test_an_empty_server_shows_how_to_begin_and_flips(empty, open_page):
    """With no runs the page has a snippet; it turns into the table by itself when the first run appears."""
    lab, url = empty
    page = open_page(url)
    expect(page.get_by_text("No runs yet")).to_be_visible()
    expect(page.get_by_text("runtide.init")).to_be_visible()
    lab.run("demo/mnist/first", name="first", config={"lr": 0.1})
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    expect(page.get_by_text("No runs yet")).to_have_count(0)


@pytest.fixture(scope="module")
def compared(seeded):
    """Two runs of a million and a thousand points, with a spike, NaN, and configs that differ in one key."""
    now = time.time_ns() // 1000
    long = seeded.run(
        "demo/spikes/long", name="long-run", config={"optim": {"lr": 0.1}, "seed": 1}, created=now - 10**9
    )
    seeded.million(long, "train/loss", SPIKE, HEIGHT)
    short = seeded.run("demo/spikes/short", name="short-run", config={"optim": {"lr": 0.2}, "seed": 1}, created=now)
    steps = list(range(0, 100_000, 100))
    values = [math.nan if 40_000 <= step < 50_000 else 2.0 - step / 10**5 for step in steps]
    seeded.points(short, {"train/loss": values, "val/loss": [1.0] * len(steps)}, steps)
    return long, short


def test_columns_are_chosen_in_the_table_and_kept_in_the_link(dashboard, compared, open_page):
    """Columns that are equal in all runs come when asked for, and are there again when the link is opened."""
    page = open_page(f"{dashboard.url}/runs?project=demo/spikes")
    header = page.locator("[data-testid=data-grid-canvas] [role=columnheader]")
    expect(header.filter(has_text="optim.lr")).to_have_count(1)
    expect(header.filter(has_text="seed")).to_have_count(0)
    page.get_by_test_id("stPopoverButton").click()
    page.get_by_text("Hide equal columns").click()
    expect(header.filter(has_text="seed")).to_have_count(1)
    page.goto(page.url)
    expect(header.filter(has_text="seed")).to_have_count(1)


def test_the_table_refreshes_under_an_open_popover(dashboard, seeded, open_page):
    """A running run's new values appear in the sorted table; sorting, selection and what is in the popover stay."""
    now = time.time_ns() // 1000
    for name, state, loss in (("one", "finished", 5.0), ("two", "", 7.0)):
        run = seeded.run(f"demo/table/{name}", name=name, state=state, config={"seed": 1}, created=now, heartbeat=now)
        seeded.points(run, {"loss": [loss]}, [0])
    page = open_page(f"{dashboard.url}/?project=demo/table")
    grid = page.get_by_test_id("data-grid-canvas").first
    rows = grid.locator("tbody [role=row]")
    expect(rows).to_have_count(2)
    settle(page)
    box = grid.bounding_box()
    # Ascending by the last column, loss; then the first row.
    page.mouse.click(box["x"] + box["width"] - 40, box["y"] + 16)
    expect(rows.first).to_contain_text("one")
    page.mouse.click(box["x"] + 16, box["y"] + 31 + 16)
    expect(page.get_by_text("Compare 1 run")).to_be_visible()
    page.get_by_test_id("stPopoverButton").click()
    expect(page.get_by_text("Hide equal columns")).to_be_visible()
    seeded.points(run, {"loss": [2.0]}, [1], seq=1)
    expect(rows.first).to_contain_text("two")
    expect(page.get_by_text("Compare 1 run")).to_be_visible()
    expect(grid.locator("[role=columnheader]").filter(has_text="seed")).to_have_count(0)


def test_runs_of_several_projects_say_which(dashboard, seeded, open_page):
    """With all projects in the table there is a column for them, with one there is none."""
    for name, config in (("north", {"lr": 0.1}), ("south", {"depth": 2.0})):
        seeded.run(f"demo/{name}/r", name="compass", config=config)
    page = open_page(f"{dashboard.url}/runs?filter=compass&project=demo/north")
    grid = page.get_by_test_id("data-grid-canvas").first
    header = grid.locator("[role=columnheader]")
    expect(header.filter(has_text="lr")).to_have_count(1)
    expect(header.filter(has_text="Project")).to_have_count(0)
    page.goto(f"{dashboard.url}/runs?filter=compass")
    expect(header.filter(has_text="Project")).to_have_count(1)
    expect(grid.locator("tbody [role=row]")).to_have_count(2)
    expect(grid).to_contain_text("demo/north")


def test_the_config_of_one_run_is_shown(dashboard, compared, open_page):
    """With one run nothing is equal, so nothing of its config is hidden."""
    page = open_page(f"{dashboard.url}/compare?r={compared[0]}")
    expect(page.get_by_text("Config · 2 keys")).to_be_visible()
    expect(page.get_by_test_id("data-grid-canvas").locator("tbody [role=row]")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_the_runs_table_to_a_spike(dashboard, compared, open_page, scheme):
    """Two selected runs lead to Compare, where one point in a million is drawn at its full height."""
    page = open_page(f"{dashboard.url}/?project=demo/spikes", scheme)
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    settle(page)
    box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
    for row in (1, 2):
        # The table is a canvas: the boxes are in its first column, below the header.
        page.mouse.click(box["x"] + 16, box["y"] + 31 * row + 16)
        expect(page.get_by_text(f"Compare {row} run")).to_be_visible()
    page.get_by_text("Compare 2 runs").click()
    drawn = panels(page, 2)
    assert set(compared) <= set(httpx.URL(page.url).params["r"].split(","))
    loss = drawn["train/loss"]
    assert max(one["top"] for name, one in loss.items() if name.startswith("mean")) < 2.5
    band = max((one for name, one in loss.items() if name.startswith("band")), key=lambda one: one["top"])
    assert band["top"] == pytest.approx(HEIGHT)
    assert band["name"] == "long-run"
    assert any(0 <= SPIKE - x < 2048 for x in band["xs"])
    expect(page.get_by_text("1,001,000 points in")).to_be_visible()
    expect(page.get_by_text("100 NaN or infinite")).to_be_visible()
    expect(page.get_by_text("1 of 2 keys differ")).to_be_visible()


def test_the_tooltip_names_mean_low_and_high(dashboard, compared, open_page):
    """Over a bucket of many points the tooltip has its mean and its extremes by name."""
    page = open_page(f"{dashboard.url}/compare?r={compared[0]}")
    panels(page, 1)
    page.get_by_test_id("stEChartsChart").first.hover()
    for word in ("mean", "low", "high"):
        expect(page.get_by_text(word, exact=True)).to_be_visible()


def test_zoom_to_the_spike_and_a_mangled_link(dashboard, compared, open_page):
    """A link with a range shows its single steps; one that nobody can read shows the default."""
    link = f"{dashboard.url}/compare?r={compared[0]}&from={SPIKE - 200}&to={SPIKE + 200}"
    page = open_page(link)
    drawn = panels(page, 1)["train/loss"]
    assert (drawn["mean 0"]["length"], drawn["mean 0"]["top"]) == (401, HEIGHT)
    page.goto(f"{dashboard.url}/compare?r={compared[0]}&from=x&to=-&x=%F0&log=%00&m=nothing")
    expect(page.get_by_text("None of these runs has logged")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_runs_that_share_a_name_stay_together(dashboard, seeded, open_page):
    """Another control on the page drops none of several runs with one name, nor takes one for the other."""
    runs = [seeded.run(f"demo/twins/{name}", name="twin") for name in ("one", "two")]
    for run in runs:
        seeded.points(run, {"loss": [2.0, 1.0]}, [0, 1])
    page = open_page(f"{dashboard.url}/compare?r={','.join(runs)}")
    panels(page, 1)
    page.get_by_text("Log y").click()
    expect(page).to_have_url(re.compile("log=1"))
    names = {series["name"] for series in panels(page, 1)["loss"].values()}
    assert names == {"twin · one", "twin · two"}
    assert httpx.URL(page.url).params["r"].split(",") == runs
    for name in sorted(names):
        expect(page.get_by_test_id("stMultiSelect").first.get_by_text(name)).to_be_visible()


@pytest.mark.parametrize("axis", ["relative", "wall"])
def test_the_range_of_a_short_run_moves_in_small_steps(dashboard, seeded, open_page, axis):
    """One arrow key on a run of five seconds leaves out its first point and nothing else."""
    now = time.time_ns() // 10**6
    run = seeded.run(f"demo/short/{axis}", created=now * 1000)
    seeded.points(run, {"loss": [1.0] * 51}, list(range(51)), times=[now + 100 * i for i in range(51)])
    page = open_page(f"{dashboard.url}/compare?r={run}&x={axis}")
    expect(page.get_by_text("51 points")).to_be_visible()
    page.get_by_test_id("stSlider").get_by_role("slider").first.press("ArrowRight")
    expect(page.get_by_text("50 points")).to_be_visible()


def test_a_running_run_grows_and_stops(dashboard, seeded, open_page):
    """New points of a running run are drawn without a reload, and the page says so when it has ended."""
    now = time.time_ns() // 1000
    run = seeded.run("demo/live/r", name="live-run", state="", created=now, heartbeat=now)
    seeded.points(run, {"loss": [3.0]}, [0])
    page = open_page(f"{dashboard.url}/compare?r={run}")
    assert panels(page, 1)["loss"]["mean 0"]["length"] == 1
    seeded.points(run, {"loss": [2.0, 1.0]}, [1, 2], seq=1)
    expect(page.get_by_text("3 points, all drawn")).to_be_visible()
    assert panels(page, 1)["loss"]["mean 0"]["length"] == 3
    seeded.run(run, name="live-run", created=now, heartbeat=now + 10**6)
    expect(page.get_by_text("finished")).to_be_visible()


def test_the_store_goes_away_and_comes_back(dashboard, own_store, compared, open_page):
    """With the store gone one sentence says so, no traceback; when it is back, so is the page."""
    page = open_page(f"{dashboard.url}/compare?r={compared[1]}")
    panels(page, 2)
    own_store.stop()
    try:
        page.get_by_text("Wall time").click()
        expect(page.get_by_text("Can't reach the database")).to_be_visible()
        assert "Traceback" not in page.inner_text("body")
    finally:
        own_store.restart()
    panels(page, 2)
    expect(page.get_by_text("Can't reach the database")).to_have_count(0)
    assert httpx.URL(page.url).params["x"] == "wall"
