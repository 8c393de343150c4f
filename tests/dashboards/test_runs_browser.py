"""The Home and Runs pages in a real browser, over a real store."""

import re
import time

import httpx
import pytest
from playwright.sync_api import expect
from tests.dashboards.browser import NEEDS_BROWSER, Dashboard, settle

pytestmark = NEEDS_BROWSER
HOUR = 3600 * 10**6
HOSTILE = '<img src=x onerror="window.hit=1"> **b** [l](javascript:window.hit=1) :material/home: $x^2$ `c` :red[r]'


def grid(page):
    return page.get_by_test_id("data-grid-canvas").first


def rows(page):
    return grid(page).locator("tbody [role=row]")


def select(page, *places):
    """Click the boxes of rows, the first being 1: the table is a canvas."""
    expect(rows(page)).not_to_have_count(0)
    settle(page)
    actions = page.locator(".st-key-runs-actions")
    for place in places:
        before, box = actions.inner_text(), grid(page).bounding_box()
        page.mouse.click(box["x"] + 16, box["y"] + 31 * place + 16)
        expect(actions).not_to_have_text(before, use_inner_text=True)
        settle(page)


def region(page, name):
    """A table, by what a screen reader calls it."""
    return page.get_by_role("region", name=name, exact=True)


def parameters(page):
    return httpx.URL(page.url).params


@pytest.mark.parametrize("path", ["/", "/runs"])
def test_an_empty_server_shows_how_to_begin_and_flips(empty, open_page, path):
    """With no runs the page has a snippet; it turns into tables by itself when the first run appears."""
    lab, url = empty
    page = open_page(f"{url}{path}")
    expect(page.get_by_text("No runs yet")).to_be_visible()
    expect(page.get_by_text("runtide.init")).to_be_visible()
    expect(page.get_by_text(url)).to_be_visible()
    lab.run("demo/mnist/first", name="first", config={"lr": 0.1})
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    expect(page.get_by_text("No runs yet")).to_have_count(0)


def test_home_names_what_runs_and_what_broke(dashboard, seeded, open_page):
    """The run that crashed and its exit code, the one that is stale, the projects, and the alert are there by name."""
    now = time.time_ns() // 1000
    live = seeded.run("demo/night/live", name="alive", state="", created=now - HOUR, heartbeat=now)
    seeded.points(live, {"loss": [1.0]}, [1234], times=[(now - 10 * 60 * 10**6) // 1000], attempt=now - HOUR)
    seeded.run("demo/night/dead", name="dead-at-dawn", state="failed", created=now - HOUR, heartbeat=now, exit_code=139)
    seeded.run("demo/night/old", name="long-gone", state="failed", created=now - 90 * HOUR, heartbeat=now - 80 * HOUR)
    seeded.alert(live, "loss is NaN", created=now)
    page = open_page(dashboard.url)
    running, broken = region(page, "Running"), region(page, "Runs that failed, crashed or were preempted")
    expect(running).to_contain_text("alive")
    expect(running).to_contain_text("▲ stale: 10 min ago")
    expect(broken).to_contain_text("dead-at-dawn")
    expect(broken).to_contain_text("139")
    expect(broken).not_to_contain_text("long-gone")
    expect(region(page, "Projects")).to_contain_text("demo/night")
    expect(region(page, "Alerts")).to_contain_text("loss is NaN")
    page.get_by_text("7 days").click()
    expect(broken).to_contain_text("long-gone")
    expect(page).to_have_url(re.compile("within=7d"))
    # It ends, and moves from one table to the other without a reload.
    seeded.run(live, name="alive", state="failed", created=now - HOUR, heartbeat=now + 10**6, exit_code=7)
    expect(broken).to_contain_text("alive")


@pytest.fixture(scope="module")
def many(seeded):
    """120 runs, a minute apart, of two learning rates."""
    with seeded.at_once():
        for place in range(120):
            seeded.run(
                f"demo/many/r{place:03}", name=f"run {place:03}", config={"lr": [0.1, 0.2][place % 2], "seed": place},
                created=1_760_000_000_000_000 + place * 60 * 10**6, tags=["even"] if place % 2 == 0 else [],
            )  # fmt: skip
    for place in range(30):
        seeded.points(f"demo/many/r{place:03}", {"loss": [5.0, float(place)]}, [0, 1])
    return f"{seeded.database}"


def test_pages_sorting_and_filter_are_in_the_url(dashboard, many, open_page):
    """Fifty at a time, sorted by the store over all pages; each view opens again from its link."""
    page = open_page(f"{dashboard.url}/runs?project=demo/many")
    expect(page.get_by_text("1–50 of 120 runs")).to_be_visible()
    expect(rows(page).first).to_contain_text("run 119")
    page.get_by_test_id("stPagination").get_by_text("3", exact=True).click()
    expect(page.get_by_text("101–120 of 120 runs")).to_be_visible()
    assert parameters(page)["page"] == "3"
    page.reload()
    expect(page.get_by_text("101–120 of 120 runs")).to_be_visible()
    page.get_by_role("button", name="Largest first").click()
    expect(page.get_by_text("1–50 of 120 runs")).to_be_visible()
    expect(rows(page).first).to_contain_text("run 000")
    page.goto(f"{dashboard.url}/runs?project=demo/many&sort=-summary.loss&filter=tag:even summary.loss>3")
    expect(page.get_by_text("1–13 of 13 runs")).to_be_visible()
    expect(rows(page).first).to_contain_text("run 028")


def test_a_filter_that_finds_nothing_says_so_and_is_cleared(dashboard, many, open_page):
    """The sentence has the filter as it was written; what cannot be read is said; one click brings all back."""
    page = open_page(f"{dashboard.url}/runs?project=demo/many&filter=tag:**x** is:odd")
    expect(page.get_by_text("0 of 120 runs of project demo/many match tag:**x** is:odd.")).to_be_visible()
    expect(page.get_by_text("is:odd is not known: give one of")).to_be_visible()
    page.get_by_text("Clear the filter").click()
    expect(page.get_by_text("1–50 of 120 runs")).to_be_visible()
    expect(page.get_by_test_id("stPagination")).to_be_visible()
    assert "filter" not in parameters(page)
    page.goto(f"{dashboard.url}/runs?project=demo/many&filter=/(/&page=7")
    expect(page.get_by_text("cannot be read: its syntax is RE2")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_selection_survives_sorting_and_other_pages(dashboard, many, open_page):
    """Selected runs stay selected wherever the list goes, and Compare gets all of them."""
    page = open_page(f"{dashboard.url}/runs?project=demo/many")
    select(page, 1)
    expect(page.get_by_text("Compare 1 run")).to_be_visible()
    page.get_by_role("button", name="Largest first").click()
    expect(rows(page).first).to_contain_text("run 000")
    expect(page.get_by_text("1 selected, 1 of them on other pages")).to_be_visible()
    select(page, 2)
    page.get_by_text("Compare 2 runs").click()
    expect(page).to_have_url(re.compile("compare"))
    assert parameters(page)["r"] == "demo/many/r119,demo/many/r001"


def test_groups_of_runs_lead_to_compare(dashboard, many, open_page):
    """A row per learning rate with mean and deviation; a selected group brings its runs and says by what."""
    page = open_page(f"{dashboard.url}/runs?project=demo/many&g=lr&s=loss&filter=summary.loss>=0")
    expect(page.get_by_text("1–2 of 2 groups")).to_be_visible()
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("15")
    expect(rows(page).first).to_contain_text("14")
    select(page, 1)
    page.get_by_text("Compare 15 runs").click()
    expect(page).to_have_url(re.compile("compare"))
    assert len(parameters(page)["r"].split(",")) == 15 and parameters(page)["g"] == "lr"


@pytest.fixture
def edited(seeded, request):
    """Three runs that a test may change, and their project."""
    project = f"demo/{request.node.name.replace('[', '-').strip(']')}"
    for place, name in enumerate("abc"):
        seeded.run(f"{project}/{name}", name=f"run-{name}", created=1_760_000_000_000_000 + place * 10**6, tags=["old"])
    return project


def test_runs_are_changed_from_the_table(dashboard, edited, open_page):
    """Baseline, name, tags, notes and colour: each is in the table after its dialog, without a reload."""
    page = open_page(f"{dashboard.url}/runs?project={edited}")
    select(page, 3)
    page.get_by_role("button", name="Set baseline").click()
    expect(rows(page).first).to_contain_text("▣")
    expect(rows(page).first).to_contain_text("run-a")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("dialog").get_by_test_id("stTextInputField")).to_have_value("run-a")
    page.get_by_role("dialog").get_by_test_id("stTextInputField").fill("better *name*")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(rows(page).first).to_contain_text("better *name*")
    page.get_by_role("button", name="Notes").click()
    page.get_by_role("dialog").get_by_label("Notes").fill("looks **good**")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(rows(page).first).to_contain_text("looks **good**")
    page.get_by_role("button", name="Tags").click()
    page.get_by_role("dialog").get_by_test_id("stMultiSelect").first.locator("input").fill("new tag")
    page.keyboard.press("Enter")
    # The list of tags that are there already covers what is below it.
    page.keyboard.press("Tab")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(rows(page).first).to_contain_text("old,new tag")
    page.get_by_role("button", name="Changes").click()
    changes = page.get_by_role("dialog").get_by_test_id("data-grid-canvas").locator("tbody [role=row]")
    expect(changes).to_have_count(4)
    expect(changes.first).to_contain_text("tags")


def test_deleted_runs_go_after_a_question_and_come_back(dashboard, edited, open_page):
    """The dialog names them and says what stays; then they are gone everywhere, and is:deleted brings them back."""
    page = open_page(f"{dashboard.url}/runs?project={edited}")
    select(page, 1, 2)
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("run-c")
    expect(dialog).to_contain_text("Their points stay in the tables until an operator removes them")
    dialog.get_by_role("button", name="Delete 2 runs").click()
    expect(page.get_by_text("1–1 of 1 runs")).to_be_visible()
    expect(page.get_by_text("Select runs to compare them")).to_be_visible()
    page.goto(f"{dashboard.url}/runs?project={edited}&filter=is:deleted")
    expect(rows(page)).to_have_count(2)
    select(page, 1)
    page.get_by_role("button", name="Bring back").click()
    expect(rows(page)).to_have_count(1)
    page.goto(f"{dashboard.url}/runs?project={edited}")
    expect(rows(page)).to_have_count(2)


def test_a_project_without_runs_in_sight_says_where_they_are(dashboard, edited, open_page):
    """When all runs are archived the page offers to show them."""
    page = open_page(f"{dashboard.url}/runs?project={edited}")
    select(page, 1, 2, 3)
    page.get_by_role("button", name="Archive").click()
    expect(page.get_by_text("neither archived nor deleted")).to_be_visible()
    page.get_by_role("button", name="Show 3 archived").click()
    expect(rows(page)).to_have_count(3)


def test_without_an_editor_the_buttons_say_why(seeded, edited, open_page, tmp_path):
    """Nothing can be changed, and the reason is there; comparing works."""
    running = Dashboard(seeded.url, "", tmp_path)
    try:
        page = open_page(f"{running.url}/runs?project={edited}")
        select(page, 1)
        expect(page.get_by_text("Compare 1 run")).to_be_visible()
        button = page.get_by_role("button", name="Delete")
        expect(button).to_be_disabled()
        page.locator(".st-key-runs-delete").hover()
        expect(page.get_by_text("read-only: set RUNTIDE_EDITOR_URL")).to_be_visible()
    finally:
        running.stop()


def test_hostile_texts_are_shown_as_they_are(dashboard, seeded, open_page):
    """Names, tags, notes, config keys and values run nothing and are no Markdown, in tables, dialogs and captions."""
    project = "demo/hostile"
    for name in "ab":
        run = seeded.run(f"{project}/{name}", name=HOSTILE, tags=[HOSTILE], config={HOSTILE: HOSTILE + name})
    seeded.points(run, {"loss": [1.0]}, [0])
    page = open_page(f"{dashboard.url}/runs?project={project}")
    expect(rows(page)).to_have_count(2)
    select(page, 1)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog").get_by_text(HOSTILE)).to_be_visible()
    page.keyboard.press("Escape")
    page.goto(f"{dashboard.url}/runs?project={project}&filter={HOSTILE} nothing")
    said = page.get_by_test_id("stAlert").filter(has_text="0 of 2 runs")
    expect(said).to_contain_text("[l](javascript:window.hit=1)")
    expect(said.locator("img, a, strong, code, .katex")).to_have_count(0)
    assert page.evaluate("window.hit") is None


def test_files_of_the_whole_list(dashboard, many, open_page):
    """CSV has all pages' runs, and the query is there to be copied."""
    page = open_page(f"{dashboard.url}/runs?project=demo/many&filter=tag:even")
    page.get_by_test_id("stPopover").filter(has_text="Export").get_by_role("button").click()
    expect(page.get_by_test_id("stCode")).to_contain_text("FROM all_runs")
    with page.expect_download() as waiting:
        page.get_by_test_id("stPopoverBody").get_by_role("button", name="CSV").click()
    lines = waiting.value.path().read_text().splitlines()
    assert len(lines) == 61 and lines[0].startswith('"run_id"')


def test_columns_are_chosen_in_the_table_and_kept_in_the_link(dashboard, seeded, open_page):
    """Columns that are equal in all runs come when asked for, and are there again when the link is opened."""
    for rate in (0.1, 0.2):
        seeded.run(f"demo/columns/lr{rate}", config={"optim": {"lr": rate}, "seed": 1})
    page = open_page(f"{dashboard.url}/runs?project=demo/columns")
    header = page.locator("[data-testid=data-grid-canvas] [role=columnheader]")
    expect(header.filter(has_text="optim.lr")).to_have_count(1)
    expect(header.filter(has_text="seed")).to_have_count(0)
    page.get_by_role("button", name="Columns", exact=True).click()
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
    page = open_page(f"{dashboard.url}/runs?project=demo/table&sort=summary.loss")
    grid = page.get_by_test_id("data-grid-canvas").first
    rows = grid.locator("tbody [role=row]")
    expect(rows).to_have_count(2)
    settle(page)
    expect(rows.first).to_contain_text("one")
    box = grid.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 31 + 16)
    expect(page.get_by_text("Compare 1 run")).to_be_visible()
    page.get_by_role("button", name="Columns", exact=True).click()
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
