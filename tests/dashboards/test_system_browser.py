"""The System page, and the hardware on Run and Compare, in a real browser over a real store."""

import re

import httpx
import pytest
from playwright.sync_api import expect
from tests.dashboards import machines
from tests.dashboards.browser import NEEDS_BROWSER, drag, drawn, panel, panels, settle, until
from tests.dashboards.showcase import now
from tests.dashboards.test_access import FINDINGS, HOSTILE, SCROLLS, STREAMLIT, axe  # noqa: F401

pytestmark = NEEDS_BROWSER
SECONDS = 240


@pytest.fixture(scope="module")
def fleet(seeded):
    """Eight nodes of eight GPUs, one of which is hot and throttled: a run that is over."""
    begin = now() // 1000 - 600_000
    path = seeded.run("lm/pretrain/fleet", "fleet", created=begin * 1000, heartbeat=(begin + SECONDS * 1000) * 1000)
    machines.fleet(seeded, path, begin, SECONDS)
    return path


@pytest.fixture(scope="module")
def laptop(seeded):
    """A run on a machine without GPUs, where the driver's word is markup."""
    path = seeded.run("lm/pretrain/laptop", "laptop", created=now() - 10**9)
    machines.without_gpus(seeded, path, now() // 1000 - 10**6, message=f"No driver here: {HOSTILE}")
    return path


def test_the_worst_gpu_is_named_and_why(dashboard, fleet, open_page):
    """64 cells with their values as text, the hot one marked; metric, lines and nodes are in the URL."""
    page = open_page(f"{dashboard.url}/system?r={fleet}")
    drawn(page)
    alarm = page.locator(".rt-gpus .alarms li").first
    expect(alarm).to_contain_text("node-07 GPU 3: throttled for heat or by the power brake")
    expect(alarm).to_contain_text("94 °C, ")
    expect(page.locator(".rt-gpus ol > li")).to_have_count(64)
    expect(page.locator(".rt-gpus li.worst")).to_have_attribute("title", re.compile(r"^node-07 GPU 3, rank 59: \d+"))
    page.locator(".st-key-system-metric").get_by_role("combobox").click()
    page.get_by_role("option", name="Power, W").click()
    expect(page.locator(".rt-gpus .key")).to_contain_text("Power, mean of the last 15 min")
    # Node 1 does not report it, and says so in place of a number.
    expect(page.locator(".rt-gpus li.none")).to_have_count(8)
    expect(page.locator(".rt-gpus li.none").first).to_have_attribute(
        "title", re.compile("driver says N/A on this SKU$")
    )
    expect(page).to_have_url(re.compile("metric=GPU%2Fpower"))
    temperature = panels(page)["GPU/temperature"]
    assert [line["label"] for line in temperature["lines"]] == [f"node-0{node}" for node in range(8)]
    assert max(high for high in temperature["lines"][7]["high"]) == 94
    expect(panel(page, "GPU/power").locator(".rt-caption")).to_contain_text("8 GPUs do not report it: driver says N/A")
    page.locator(".st-key-system-by").get_by_role("radio", name="run").click()
    expect(page).to_have_url(re.compile("by=run"))
    until(page, "panels['GPU/temperature'].lines.length === 1")
    expect(page.get_by_text("Ranks · 64")).to_be_attached()
    expect(page.get_by_text("Events · 1")).to_be_attached()


def test_a_shared_link_shows_the_same(dashboard, fleet, open_page):
    """Nodes, kind of lines and axis come back; a wrong value falls back."""
    page = open_page(f"{dashboard.url}/system?r={fleet}&node=node-07&by=gpu&x=relative&within=nonsense&metric=nonsense")
    power = panels(page)["GPU/power"]
    assert [line["label"] for line in power["lines"]] == [f"GPU {gpu}" for gpu in range(8)]
    assert power["axis"] == "relative" and power["xs"][0] < 1000
    expect(page.locator(".rt-gpus .key")).to_contain_text("Utilisation, mean of the last 15 min")


def test_a_zoom_is_kept_and_rows_can_be_taken_away(dashboard, fleet, open_page):
    """All panels follow; rows are those of the range that is shown."""
    page = open_page(f"{dashboard.url}/system?r={fleet}&x=relative&by=run")
    drawn(page)
    drag(page, "GPU/power", 0.25, 0.5)
    until(page, "panels['GPU/temperature'].scale.x[1] < 150000 && panels['GPU/temperature'].xs.length > 10")
    expect(page).to_have_url(re.compile("from="))
    panel(page, "GPU/power").hover()
    panel(page, "GPU/power").get_by_label("More for Power, W").click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="Rows as CSV").click()
    rows = saved.value.path().read_text().splitlines()
    assert rows[0].startswith('"run_id","host","gpu_uuid"') and 7 * 8 * 40 < len(rows) < 7 * 8 * 80


def test_a_machine_without_gpus_says_why(dashboard, laptop, open_page):
    """In words, and what its host did is drawn; markup is text."""
    page = open_page(f"{dashboard.url}/system?r={laptop}")
    drawn(page)
    expect(page.get_by_test_id("stAlert")).to_contain_text(f"No GPUs. No driver here: {HOSTILE}")
    assert page.evaluate("window.__pwned") is None
    found = panels(page)
    assert not any(key.startswith("GPU/") for key in found) and len(found["Host/cpu"]["lines"]) == 1
    expect(panel(page, "Host/memory_limit")).to_contain_text("the container has no limit of memory")
    expect(page.locator(".rt-gpus")).to_have_count(0)


def test_a_run_that_nobody_sampled_says_so(dashboard, seeded, open_page):
    """Until samples come, and then shows them by itself."""
    begin = now()
    path = seeded.run("lm/pretrain/late", state="", created=begin, heartbeat=now() + 10**8)
    page = open_page(f"{dashboard.url}/system?r={path}")
    expect(page.get_by_text("Nothing was sampled for this run")).to_be_visible()
    machines.fleet(seeded, path, begin // 1000, 20, nodes=1, gpus=2, hot=(9, 9))
    expect(page.locator(".rt-gpus ol > li")).to_have_count(2)
    until(page, "panels['GPU/power'] && panels['GPU/power'].lines.length === 2")


def test_live_samples_are_drawn_and_a_zoom_stays(dashboard, seeded, open_page):
    """New buckets come at the end; what somebody zoomed in on does not move."""
    begin = now() // 1000 - 60_000
    path = seeded.run("lm/pretrain/live", state="", created=begin * 1000, heartbeat=now() + 10**9)
    common = {"run_id": path, "host": "n", "writer": 1}
    ticks = [machines.host_tick(common, begin, second, 0, 1) for second in range(60)]
    seeded.sampled("host_ticks", ticks)
    page = open_page(f"{dashboard.url}/system?r={path}")
    until(page, "panels['Host/cpu'] && panels['Host/cpu'].lines.length === 1")
    before = max(panels(page)["Host/cpu"]["xs"])
    drag(page, "Host/cpu", 0.2, 0.6)
    until(page, f"panels['Host/cpu'].scale.x[1] < {before}")
    scale = panels(page)["Host/cpu"]["scale"]["x"]
    seeded.sampled("host_ticks", [machines.host_tick(common, begin, second, 0, 1) for second in range(60, 90)])
    page.get_by_role("button", name="Reset zoom").click()
    until(page, f"Math.max(...panels['Host/cpu'].xs) > {before + 20_000}")
    drag(page, "Host/cpu", 0.2, 0.6)
    until(page, f"panels['Host/cpu'].scale.x[1] < {before + 20_000}")
    kept = panels(page)["Host/cpu"]["scale"]["x"]
    assert kept[0] >= scale[0] - 60_000
    seeded.sampled("host_ticks", [machines.host_tick(common, begin, second, 0, 1) for second in range(90, 120)])
    with page.expect_response(re.compile("api/hardware")):
        pass
    assert panels(page)["Host/cpu"]["scale"]["x"] == kept


def test_run_and_compare_show_hardware_too(dashboard, fleet, laptop, open_page):
    """A tab of the run with a link to all of it; a line for each run in Compare, over the time since it began."""
    page = open_page(f"{dashboard.url}/run?r={fleet}&tab=system")
    assert len(panels(page)["GPU/power"]["lines"]) == 7
    expect(page.get_by_text("8 nodes · 64 GPUs")).to_be_visible()
    page.get_by_text("All of its hardware").click()
    expect(page.locator(".rt-gpus ol > li")).to_have_count(64)
    page = open_page(f"{dashboard.url}/compare?r={fleet},{laptop}")
    toggle = page.get_by_text("System · GPUs and nodes of these runs")
    toggle.click()
    drawn(page)
    # On a busy machine the first answer of some may take longer than panels wait.
    for again in page.get_by_role("button", name="Try again").all():
        again.click()
    found = panels(page)
    assert [line["label"] for line in found["Host/cpu"]["lines"]] == ["fleet", "laptop"]
    assert found["GPU/power"]["axis"] == "relative" and len(found["GPU/power"]["lines"]) == 1
    assert httpx.URL(page.url).params["system"] == "1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["fleet", "laptop"])
def test_the_page_is_accessible(dashboard, fleet, laptop, axe, open_page, name, scheme):  # noqa: F811
    """axe-core finds nothing serious; at 800 pixels nothing lies beyond the right edge."""
    page = open_page(f"{dashboard.url}/system?r={fleet if name == 'fleet' else laptop}", scheme)
    drawn(page)
    settle(page)
    page.add_script_tag(path=axe)
    assert page.evaluate(FINDINGS, [list(pair) for pair in STREAMLIT]) == []
    page.set_viewport_size({"width": 800, "height": 1000})
    settle(page)
    # The layout follows the window by and by.
    page.wait_for_function(f"() => !({SCROLLS})()")
