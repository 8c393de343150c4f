"""The Sweep page in a real browser over a real store: which parameter matters, and where to search next."""

import json
import random
import re

import pytest
from playwright.sync_api import expect
from tests.dashboards import searches
from tests.dashboards.browser import NEEDS_BROWSER, SlowLine, settle
from tests.dashboards.charts import Chart
from tests.dashboards.test_access import FINDINGS, HOSTILE, MARKUP, SCROLLS, STREAMLIT, axe  # noqa: F401

from runtide_dashboards import importance, sweep_trials

pytestmark = NEEDS_BROWSER
TRIALS = 60


@pytest.fixture(scope="module")
def wiki(seeded):
    """A sweep that goes on: lr decides, momentum is there with sgd alone, some trials failed."""
    return searches.seed(seeded, trials=TRIALS)


@pytest.fixture(scope="module")
def two(seeded):
    """A sweep that is over, of two objectives, with markup for a name."""
    config = {**searches.CONFIG, "name": f"{HOSTILE} {MARKUP}", "metrics": [
        {"name": "val/loss", "goal": "minimize"}, {"name": "val/accuracy", "goal": "maximize"},
    ]}  # fmt: skip
    search = searches.Search(seeded, "two", {name: one for name, one in config.items() if name != "metric"})
    noise = random.Random(2)
    for _ in range(30):
        values = searches.point(noise)
        path = search.ask(values, HOSTILE)
        told = {"val/loss": searches.loss(values, noise), "val/accuracy": 0.9 - values["dropout"] ** 2}
        search.end(path, values, told, name=HOSTILE)
    search.tell("state", state="finished")
    search.flush()
    return search


def trials_of(search, lab):
    """The trials as the analysis reads them."""
    sql = (
        "SELECT run_id, number, state, parameters, objectives, toUnixTimestamp64Milli(started) AS started FROM trials"
        f" WHERE sweep_id = '{search.path}' FORMAT JSONEachRow"
    )
    text = lab.store.query(sql, database=lab.database, output_format_json_quote_64bit_integers="0")
    return sweep_trials.read(json.loads(line) for line in text.splitlines())


def test_the_knob_and_its_range_are_named(dashboard, seeded, wiki, open_page):
    """In words, as bars in the order of the reference, and as a shaded range around the known best."""
    page = open_page(f"{dashboard.url}/sweep?s={wiki.path}")
    expect(page.locator(".st-key-sweep-header")).to_contain_text(
        re.compile(r"bayes · 60 / 200 trials · 3 running · 5 failed")
    )
    found = page.locator(".st-key-sweep-findings")
    expect(found).to_contain_text("lr explains most of val/loss")
    low, high = map(float, re.search(r"Search next: lr ([\d.]+) – ([\d.]+)", found.inner_text()).groups())
    assert low < searches.BEST_LR < high < 20 * low
    trials = trials_of(wiki, seeded)
    objective = sweep_trials.Objective("val/loss", False)
    reference = importance.study(trials, objective, sweep_trials.axes(searches.CONFIG, trials))
    bars = Chart(page, "sweep-importance")
    assert bars.option("yAxis[0].data") == [one.name for one in reference.importances]
    shown = [bar["value"] for bar in bars.option("series[1].data")]
    assert shown == pytest.approx([max(0, one.value) for one in reference.importances], rel=1e-4)
    scatter = Chart(page, "sweep-scatter")
    assert scatter.option("xAxis[0].type") == "log" and scatter.option("xAxis[0].name") == "lr"
    assert scatter.option("series[0].markArea.data[0]")[0]["xAxis"] == pytest.approx(low, rel=0.1)
    lines = Chart(page, "sweep-parallel")
    assert lines.option("parallelAxis.map(one => one.type)") == ["log", "value", "value", "category", "value", "value"]
    assert lines.option("parallelAxis[0].axisLabel.customValues") == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert len(lines.option("series[1].data")) == len([one for one in trials if one.objectives])
    progress = Chart(page, "sweep-progress")
    assert progress.option("series[1].data")[-1][1] == pytest.approx(
        min(one.objectives["val/loss"] for one in trials if one.objectives), rel=1e-5
    )


def test_a_click_on_a_line_selects_the_trial(dashboard, seeded, wiki, open_page):
    """What is brushed stays; the row of the trial is on top and selected, and the link says so."""
    page = open_page(f"{dashboard.url}/sweep?s={wiki.path}")
    lines = Chart(page, "sweep-parallel")
    expect(page.locator(".st-key-sweep-findings")).to_contain_text("lr explains most")
    settle(page)
    best = min((one for one in trials_of(wiki, seeded) if one.objectives), key=lambda one: one.objectives["val/loss"])
    at = [lines.on_axis(5, value) for value in (best.objectives["val/loss"], 2.6)]
    lines.drag(at[0][0], at[0][1] + 3, at[1][1])
    lines.until("chart.getModel().getComponent('parallelAxis', 5).activeIntervals.length === 1")
    kept = lines.brushed(5)
    lines.click(*lines.free(f"t-{best.number}"))
    expect(page).to_have_url(re.compile(f"t={best.run.rpartition('/')[2]}$"))
    about = page.locator(".st-key-sweep-actions")
    expect(about).to_contain_text(f"t-{best.number} val/loss")
    row = page.locator("[data-testid=stDataFrame] [role=row][aria-rowindex='2']").last
    expect(row).to_contain_text(f"t-{best.number}")
    expect(row).to_have_attribute("aria-selected", "true")
    assert lines.brushed(5) == kept
    about.get_by_text("Open the run").click()
    expect(page).to_have_url(re.compile("/run"))
    page.get_by_test_id("stMain").get_by_role("link", name="Sweep").click()
    expect(page.locator(".st-key-sweep-actions")).to_contain_text(f"t-{best.number} val/loss")
    lines.until("chart.getOption().series.find(one => one.id === 'marked').data.length === 1")


def test_bars_and_dots_lead_on(dashboard, wiki, open_page):
    """A bar chooses what the scatter is over; a dot chooses its trial; axes are chosen in any order."""
    page = open_page(f"{dashboard.url}/sweep?s={wiki.path}")
    bars, scatter = Chart(page, "sweep-importance"), Chart(page, "sweep-scatter")
    bars.click(*bars.row("dropout"))
    expect(page).to_have_url(re.compile("x=dropout"))
    scatter.until("chart.getOption().xAxis[0].name === 'dropout'")
    settle(page)
    name = scatter.option("series[0].data[7][2]").split(" · ")[0]
    scatter.click(*scatter.dot("trials", 7))
    expect(page.locator(".st-key-sweep-actions")).to_contain_text(f"{name} val/loss")
    expect(page.locator(".st-key-sweep-actions")).to_contain_text("Compare 1 run")
    progress = Chart(page, "sweep-progress")
    progress.until("chart.getOption().series.find(one => one.id === 'marked').data.length === 1")
    axes = page.locator(".st-key-sweep-axes")
    for wanted in ("layers", "lr"):
        axes.get_by_role("combobox").click()
        page.get_by_role("option", name=wanted, exact=True).click()
    lines = Chart(page, "sweep-parallel")
    lines.until("chart.getOption().parallelAxis.map(one => one.name).join() === 'layers,lr,val/loss'")
    expect(page).to_have_url(re.compile("axis=layers&axis=lr"))


def test_who_chooses_faster_than_the_page_answers_keeps_all(dashboard, two, open_page):
    """Over a slow line, answers to what was chosen before take back nothing of what was chosen since."""
    page = open_page("about:blank")
    line = SlowLine(page)
    page.goto(f"{dashboard.url}/sweep?s={two.path}")
    expect(page.locator(".st-key-sweep-findings")).to_contain_text("Nothing can be said yet")
    settle(page)
    line.hold()
    page.locator(".st-key-sweep-hide label").click()
    before = line.wait_for_answer()
    axes = page.locator(".st-key-sweep-axes")
    axes.get_by_role("combobox").click()
    page.get_by_role("option", name="layers", exact=True).click()
    line.wait_for_answer()
    line.let_through(before)
    page.get_by_role("option", name="lr", exact=True).click()
    line.wait_for_answer()
    line.release()
    expect(page).to_have_url(re.compile("hide=1&axis=layers&axis=lr"))
    settle(page)
    expect(page).to_have_url(re.compile("hide=1&axis=layers&axis=lr"))
    expect(axes).to_contain_text(re.compile("layers.*lr", re.DOTALL))
    page.go_back()
    expect(page).to_have_url(re.compile("hide=1&axis=layers$"))
    settle(page)
    expect(page).to_have_url(re.compile("hide=1&axis=layers$"))
    expect(axes).not_to_contain_text("lr")


def test_a_shared_link_shows_the_same(dashboard, wiki, open_page):
    """Objective, direction, share of the trials, axes, scatter, colour and marks; wrong values fall back."""
    link = f"s={wiki.path}&o=val/accuracy&goal=maximize&best=25&hide=1&axis=layers&axis=lr&axis=nonsense&x=layers"
    page = open_page(f"{dashboard.url}/sweep?{link}&colour=optimizer&t=wiki-4,nonsense")
    lines = Chart(page, "sweep-parallel")
    lines.until("chart.getOption().parallelAxis.map(one => one.name).join() === 'layers,lr,val/loss,val/accuracy'")
    # A quarter of 55, and the failed are hidden.
    assert lines.option("series.map(one => one.data.length)")[:2] == [0, 14]
    scatter = Chart(page, "sweep-scatter")
    assert scatter.option("xAxis[0].name") == "layers" and scatter.option("yAxis[0].name") == "val/accuracy"
    assert [one["label"] for one in scatter.option("visualMap[0].pieces")] == ["adamw", "sgd"]
    progress = Chart(page, "sweep-progress")
    best = [value for _, value in progress.option("series[1].data")]
    assert best == sorted(best)
    expect(page.locator(".st-key-sweep-actions")).to_contain_text("t-4 val/accuracy")
    page = open_page(f"{dashboard.url}/sweep?s={wiki.path}&best=nonsense&goal=nonsense&x=nonsense&o=nothing/like/it")
    expect(page.get_by_text("No trial has a value of nothing/like/it: choose another objective.")).to_be_visible()
    expect(page.get_by_text("Trials · 63")).to_be_visible()


def test_what_takes_long_to_find_out_comes_when_the_page_is_drawn(dashboard, seeded, open_page):
    """By itself: that the page is there begins it."""
    search = searches.seed(seeded, "many", trials=130)
    page = open_page(f"{dashboard.url}/sweep?s={search.path}")
    expect(page.locator(".st-key-sweep-findings")).to_contain_text("lr explains most of val/loss")


def test_it_grows_by_itself_and_what_is_brushed_stays(dashboard, seeded, open_page):
    """A trial that begins redraws nothing; one that ends is drawn; the end of the sweep is shown."""
    search = searches.seed(seeded, "live", trials=12)
    page = open_page(f"{dashboard.url}/sweep?s={search.path}")
    header, lines = page.locator(".st-key-sweep-header"), Chart(page, "sweep-parallel")
    expect(header).to_contain_text("12 / 200 trials · 3 running")
    # Too few for a model: that is said.
    expect(page.locator(".st-key-sweep-findings")).to_contain_text("Nothing can be said yet")
    settle(page)
    lines.ask("(chart.kept = chart.getModel(), 0)")
    _, top = lines.on_axis(1, 0.5)
    x, bottom = lines.on_axis(1, 0)
    lines.drag(x, top + 10, bottom - 30)
    lines.until("chart.getModel().getComponent('parallelAxis', 1).activeIntervals.length === 1")
    kept = lines.brushed(1)
    values = searches.point(random.Random(5))
    path = search.ask(values)
    search.flush()
    expect(header).to_contain_text("4 running")
    expect(page.get_by_text("Trials · 16")).to_be_visible()
    assert lines.brushed(1) == kept and lines.ask("chart.kept === chart.getModel()")
    search.end(path, values, {"val/loss": 2.1})
    search.tell("state", state="finished")
    search.flush()
    expect(header).to_contain_text(re.compile(r"finished bayes · 13 / 200 trials · 3 running · .* best 2.1 \(t-15\)"))
    lines.until("chart.getOption().series[1].data.length === 12")


def test_every_state_says_what_to_do(dashboard, seeded, two, open_page):
    """No trial, none over, all failed, no such sweep; markup in names is text; several objectives have a front."""
    searches.Search(seeded, "none").flush()
    going = searches.Search(seeded, "going")
    going.ask(searches.point(random.Random(1)))
    going.flush()
    broken = searches.Search(seeded, "broken")
    for why in ("CUDA out of memory", "CUDA out of memory", HOSTILE):
        values = searches.point(random.Random(1))
        broken.end(broken.ask(values), values, {}, "failed", 5, why)
    broken.flush()
    for name, said in (
        (f"{searches.PROJECT}/none", f"runtide agent {searches.PROJECT}/none"),
        (f"{searches.PROJECT}/going", "No trial is over yet, 1 run: the first is shown here by itself."),
        (f"{searches.PROJECT}/broken", f"All 3 trials that are over failed: 2 × CUDA out of memory; 1 × {HOSTILE}"),
        ("nonsense", "This link names no sweep that is here."),
    ):
        page = open_page(f"{dashboard.url}/sweep?s={name}")
        expect(page.get_by_test_id("stMain")).to_contain_text(said)
    page.get_by_role("link", name="All sweeps").click()
    expect(page.locator(".st-key-sweep-list")).to_contain_text(f"{HOSTILE} {MARKUP}")
    page = open_page(dashboard.url)
    expect(page.get_by_text(re.compile(r"^Sweeps that go on · \d$"))).to_be_visible()
    page = open_page(f"{dashboard.url}/sweep?s=two")
    # Long names lack their middle.
    expect(page.locator(".st-key-sweep-header")).to_contain_text(re.compile(f"{HOSTILE[:25]}.*alert\\(1\\)\\)"))
    scatter = Chart(page, "sweep-scatter")
    assert scatter.option("xAxis[0].name") == "val/accuracy"
    front = scatter.option("series.find(one => one.id === 'front').data")
    assert front == sorted(front, key=lambda one: one[0]) == sorted(front, key=lambda one: one[1])
    scatter.host.scroll_into_view_if_needed()
    x, y = scatter.dot("trials", 3)
    box = scatter.host.bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    expect(scatter.host).to_contain_text(HOSTILE)
    assert page.evaluate("window.__pwned") is None


def test_rows_are_compared_and_the_store_may_go_away(dashboard, own_store, wiki, open_page):
    """Two rows lead to Compare; while the database is away that is said, and what was drawn stays."""
    page = open_page(f"{dashboard.url}/sweep?s={wiki.path}")
    table = page.locator("[data-testid=stDataFrame]").last
    for place in (1, 2):
        table.scroll_into_view_if_needed()
        box = table.bounding_box()
        page.mouse.click(box["x"] + 16, box["y"] + 31 * place + 16)
        expect(page.locator(".st-key-sweep-actions")).to_contain_text(f"Compare {place} run")
    lines = Chart(page, "sweep-parallel")
    lines.until("chart.getOption().series.find(one => one.id === 'marked').data.length === 2")
    own_store.stop()
    try:
        expect(page.get_by_text("Can't reach the database: ").first).to_be_visible()
        # What is known can still be looked at, once nothing moves any more.
        expect(page.locator(".st-key-sweep-header")).to_have_count(0)
        settle(page)
        bars = Chart(page, "sweep-importance")
        bars.click(*bars.row("layers"))
        Chart(page, "sweep-scatter").until("chart.getOption().xAxis[0].name === 'layers'")
        assert lines.option("series[1].data.length") == 55
        expect(page.get_by_test_id("stException")).to_have_count(0)
    finally:
        own_store.restart()
    expect(page.get_by_text("Can't reach the database")).to_have_count(0)
    page.get_by_text("Compare 2 runs").click()
    expect(page).to_have_url(re.compile("/compare"))
    assert page.url.count("wiki-") == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(dashboard, wiki, axe, open_page, scheme):  # noqa: F811
    """axe-core finds nothing serious; at 800 pixels nothing lies beyond the right edge."""
    page = open_page(f"{dashboard.url}/sweep?s={wiki.path}&t=wiki-4&colour=optimizer", scheme)
    expect(page.locator(".st-key-sweep-findings")).to_contain_text("lr explains most")
    Chart(page, "sweep-importance").option("series.length")
    settle(page)
    page.add_script_tag(path=axe)
    assert page.evaluate(FINDINGS, [list(pair) for pair in STREAMLIT]) == []
    page.set_viewport_size({"width": 800, "height": 1000})
    settle(page)
    # The layout follows the window by and by.
    page.wait_for_function(f"() => !({SCROLLS})()")
    page.set_viewport_size({"width": 1600, "height": 1000})
