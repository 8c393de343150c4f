"""Compare and Run in a real browser, over a real store: what a user does there, and what must not happen."""

import math
import random
import re
from types import SimpleNamespace

import httpx
import pytest
from playwright.sync_api import expect
from scipy.stats import ttest_ind
from tests.dashboards.browser import NEEDS_BROWSER, drag, drawn, panel, panels, settle, until
from tests.dashboards.showcase import now

pytestmark = NEEDS_BROWSER
SPIKE, HEIGHT, BAD = 617_283, 42.5, 3
MILLION = 1_000_000
GOALS = {"val/loss": {"goal": "minimize"}, "val/acc": {"goal": "maximize"}}
# All of a picture but what lies in other layers.
PICTURE = "canvas => canvas.toDataURL()"


def parameters(page):
    return httpx.URL(page.url).params


def in_view(page):
    """Of the panels those that are in view or nearly."""
    return {key: one for key, one in panels(page).items() if one["near"]}


def asked_for(page):
    """The answers of api/series from now on."""
    answers = []
    page.on("response", lambda answer: answers.append(answer) if answer.url.endswith("/api/series") else None)
    return answers


def verdict(page, key):
    """The line of a metric in the verdict strip."""
    return page.locator(".rt-verdict tr").filter(has=page.locator(f'th[title="{key}"]'))


# ---- from the table to the lines


@pytest.fixture(scope="module")
def compared(seeded):
    """Two runs of a million and a thousand points, with a spike, NaN, and configs that differ in one key."""
    long = seeded.run(
        "demo/spikes/long", name="long-run", config={"optim": {"lr": 0.1}, "seed": 1}, created=now() - 10**9
    )
    seeded.million(long, "train/loss", SPIKE, HEIGHT, BAD)
    short = seeded.run("demo/spikes/short", name="short-run", config={"optim": {"lr": 0.2}, "seed": 1}, created=now())
    steps = list(range(0, 100_000, 100))
    values = [math.nan if 40_000 <= step < 50_000 else 2.0 - step / 10**5 for step in steps]
    seeded.points(short, {"train/loss": values, "val/loss": [1.0] * len(steps)}, steps)
    return long, short


def test_selected_runs_are_lines_in_compare(dashboard, compared, open_page):
    """Two rows of the table lead to their lines; the baseline is drawn as such; one point in a million is there."""
    page = open_page(f"{dashboard.url}/runs?project=demo/spikes")
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    settle(page)
    box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
    for row in (1, 2):
        # The table is a canvas: the boxes are in its first column, below the header.
        page.mouse.click(box["x"] + 16, box["y"] + 31 * row + 16)
        expect(page.get_by_text(f"Compare {row} run")).to_be_visible()
    page.get_by_text("Compare 2 runs").click()
    loss = panels(page)["train/loss"]
    assert set(compared) == set(parameters(page)["r"].split(",")) == {line["id"] for line in loss["lines"]}
    long = next(line for line in loss["lines"] if line["id"] == compared[0])
    assert max(value for value in long["mean"] if value is not None) < 2.5
    assert max(value for value in long["high"] if value is not None) == HEIGHT
    assert loss["caption"].startswith("1,001,000 points in") and "103 NaN or infinite" in loss["caption"]
    expect(panel(page, "val/loss").locator(".rt-caption")).to_contain_text("long-run never logged it")
    base, other = parameters(page)["r"].split(",")
    for run, width in ((base, "2.5"), (other, "2")):
        expect(page.locator(f'.rt-chip[data-id="{run}"] line')).to_have_attribute("stroke-width", width)
    expect(page.get_by_text("1 of 2 keys differ")).to_be_visible()


def test_the_config_of_one_run_is_shown(dashboard, compared, open_page):
    """With one run nothing is equal, so nothing of its config is hidden; there is nothing to judge."""
    page = open_page(f"{dashboard.url}/compare?r={compared[0]}")
    expect(page.get_by_text("Config · 2 keys")).to_be_visible()
    expect(page.get_by_test_id("data-grid-canvas").locator("tbody [role=row]")).to_have_count(2)
    expect(page.locator(".rt-verdict")).to_have_count(0)


def test_runs_that_share_a_name_stay_together(dashboard, seeded, open_page):
    """Another control on the page drops none of several runs with one name, nor takes one for the other."""
    runs = [seeded.run(f"demo/twins/{name}", name="twin") for name in ("one", "two")]
    for run in runs:
        seeded.points(run, {"loss": [2.0, 1.0]}, [0, 1])
    page = open_page(f"{dashboard.url}/compare?r={','.join(runs)}")
    panels(page)
    page.get_by_label("log y").check()
    expect(page).to_have_url(re.compile("logy=1"))
    settle(page)
    names = {line["label"] for line in panels(page)["loss"]["lines"]}
    assert names == {"twin · one", "twin · two"}
    assert parameters(page)["r"].split(",") == runs
    for name in sorted(names):
        expect(page.locator(".st-key-compare-runs").get_by_text(name)).to_be_visible()


# ---- the verdict


@pytest.fixture(scope="module")
def judged(seeded):
    """Three seeds of a recipe, of a better one and of one that only looks different, and what SciPy says of them."""
    noise = random.Random(11)
    steps = list(range(101))
    ends, levels = {}, {"base": 2.31, "better": 2.27, "same": 2.31}
    for recipe, (name, level) in enumerate(levels.items()):
        for one in range(3):
            path = f"demo/verdicts/{name}-{one}"
            config = {"optim": {"lr": 0.1, "decay": 0.01 if name != "better" else 0.1}, "seed": one}
            if name == "same":
                config["workers"] = 8
            seeded.run(path, f"{name} {one}", config=config, created=now() - (9 - recipe) * 10**6, definitions=GOALS)
            end = noise.gauss(level, 0.004)
            values = [round(end + 2 * math.exp(-step / 20) + noise.gauss(0, 0.002), 6) for step in steps]
            seeded.points(path, {"val/loss": values}, steps)
            # The last 5 % of the common steps.
            ends[path] = sum(values[95:]) / 6
    return SimpleNamespace(ends=ends, of=lambda name: [ends[f"demo/verdicts/{name}-{one}"] for one in range(3)])


@pytest.mark.parametrize(("other", "word"), [("better", "▼ BETTER"), ("same", "WITHIN NOISE")])
def test_a_verdict_is_what_scipy_says(dashboard, judged, open_page, other, word):
    """Three seeds against three: the word, the difference and p are those of Welch's test on the same values."""
    base, b = "demo/verdicts/base-0", f"demo/verdicts/{other}-0"
    page = open_page(f"{dashboard.url}/compare?r={base},{b}&base={base}&b={b}")
    line = verdict(page, "val/loss")
    expect(line.locator(".badge")).to_contain_text(word)
    expect(line).to_contain_text("3 v 3 seeds")
    reference = ttest_ind(judged.of(other), judged.of("base"), equal_var=False)
    difference = sum(judged.of(other)) / 3 - sum(judged.of("base")) / 3
    assert float(line.locator(".delta").get_attribute("title")) == pytest.approx(difference, rel=1e-9)
    told = re.search(r"two-sided p (\S+)", page.locator(".rt-verdict pre").text_content())
    assert float(told[1]) == pytest.approx(reference.pvalue, rel=1e-3)
    why = page.locator(".rt-changes")
    expect(why).to_contain_text(re.compile(r"1 config key differs of \d"))
    expect(why.locator("tr")).to_have_count(1)
    expect(why).to_contain_text("optim.decay" if other == "better" else "workers")


def test_swap_turns_better_into_worse(dashboard, judged, open_page):
    """The two change places in the link, the strip and the lines."""
    base, b = "demo/verdicts/base-0", "demo/verdicts/better-0"
    page = open_page(f"{dashboard.url}/compare?r={base},{b}&base={base}&b={b}")
    expect(verdict(page, "val/loss").locator(".badge")).to_contain_text("▼ BETTER")
    page.get_by_role("button", name="Swap").click()
    expect(verdict(page, "val/loss").locator(".badge")).to_contain_text("▲ WORSE")
    assert (parameters(page)["base"], parameters(page)["b"]) == (b, base)
    expect(page.locator(f'.rt-chip[data-id="{b}"] line')).to_have_attribute("stroke-width", "2.5")


def test_one_run_each_is_no_verdict(dashboard, seeded, open_page):
    """Without other seeds there is no word for better or worse and no colour, but what would be needed to know."""
    runs = [f"demo/single/{name}" for name in "ab"]
    for run, decay in zip(runs, (0.0, 0.1), strict=True):
        seeded.run(run, config={"decay": decay, "seed": 1}, definitions=GOALS)
        seeded.points(run, {"val/loss": [2.0 - decay] * 40}, list(range(40)))
    page = open_page(f"{dashboard.url}/compare?r={','.join(runs)}")
    line = verdict(page, "val/loss")
    badge = line.locator(".badge")
    expect(badge).to_contain_text("NO VERDICT")
    expect(line).to_contain_text("one run each: log 2 more seeds of each to know")
    assert badge.evaluate("node => getComputedStyle(node).backgroundColor") == "rgba(0, 0, 0, 0)"


# ---- links


@pytest.fixture(scope="module")
def plain(seeded):
    """Two runs with four metrics of 400 points."""
    runs = [
        seeded.run(f"demo/plain/{name}", name=name, config={"lr": lr}, created=now() - 10**9)
        for name, lr in (("first", 0.1), ("second", 0.2))
    ]
    steps = list(range(0, 4000, 10))
    for run in runs:
        curve = [2 / (1 + step / 500) + 0.2 * math.sin(step + len(run)) for step in steps]
        keys = ("train/loss", "val/loss", "train/lr", "sys/power")
        seeded.points(run, {key: [value + place for value in curve] for place, key in enumerate(keys)}, steps)
    return runs


def test_a_link_shows_the_same_to_another_person(dashboard, plain, open_page):
    """Axis, smoothing, log y, search, pins, hidden runs and zoom are in the address: panels are equal to the bit."""
    page = open_page(f"{dashboard.url}/compare?r={','.join(plain)}")
    panels(page)
    page.locator(".rt-controls select").first.select_option("relative")
    panel(page, "train/lr").hover()
    panel(page, "train/lr").get_by_role("button", name="Pin train/lr").click()
    page.get_by_label("log y").check()
    page.locator(f'.rt-chip[data-id="{plain[1]}"]').click()
    page.locator(".rt-finding input").fill("loss|lr")
    page.locator(".rt-controls input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    drag(page, "train/loss", 0.3, 0.6)
    expect(page).to_have_url(re.compile("from="))
    page.mouse.move(0, 0)
    settle(page)
    shown = in_view(page)
    assert set(shown) == {"train/lr", "train/loss", "val/loss"}
    assert [line["id"] for line in shown["val/loss"]["lines"]] == [plain[0]]
    said = parameters(page)
    assert {"x", "m", "logy", "hide", "q", "smooth", "from", "to"} <= set(said)
    other = open_page(page.url)
    settle(other)
    assert in_view(other) == shown
    assert parameters(other) == said
    expect(other.locator(".rt-panel").first).to_have_attribute("data-key", "train/lr")


def test_a_mangled_link_shows_the_default(dashboard, plain, open_page):
    """What nobody can read falls back; what is not there is said; there is no exception."""
    mangled = (
        "&x=%F0&logy=%00&from=x&to=-&smooth=-5&cols=99&q=%5B(&hide=nobody&m=nothing&ranks=x&band=y&base=nobody&b=nobody"
        "&g=no.key&tab=z"
    )
    page = open_page(f"{dashboard.url}/compare?r={plain[0]}{mangled}")
    settle(page)
    expect(page.locator(".rt-found, .rt-finding")).to_contain_text("not a regular expression")
    page.locator(".rt-finding input").fill("")
    settle(page)
    assert panels(page)["val/loss"]["scale"]["x"] == [0, 3990]
    expect(page.get_by_test_id("stException")).to_have_count(0)
    page.goto(f"{dashboard.url}/compare?r=%FF,nobody/at/all&x=bogus")
    expect(page.get_by_text("None of the runs in this link exists here.")).to_be_visible()
    page.goto(f"{dashboard.url}/run?r=nobody/at/all&tab=bogus")
    expect(page.get_by_text("This link names no run that is here.")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_back_and_forward_go_from_page_to_page(dashboard, plain, open_page):
    """Each step of the browser's history shows its page as it was, back to the beginning and forth again."""
    page = open_page(dashboard.url)
    expect(page.get_by_text("Projects ·")).to_be_visible()
    page.get_by_test_id("stTopNavLink").filter(has_text="Runs").click()
    search = page.locator(".st-key-runs-filter input")
    search.fill("first")
    expect(page).to_have_url(re.compile("filter="))
    expect(page.get_by_test_id("data-grid-canvas").locator("tbody [role=row]")).to_have_count(1)
    settle(page)
    box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 31 + 16)
    page.get_by_text("Compare 1 run").click()
    panels(page)
    log = page.get_by_label("log y")
    log.check()
    expect(page).to_have_url(re.compile("logy=1"))
    shown = (
        lambda: expect(page.get_by_text("Projects ·")).to_be_visible(),
        lambda: expect(search).to_have_value(""),
        lambda: expect(search).to_have_value("first"),
        lambda: expect(log).not_to_be_checked(),
        lambda: expect(log).to_be_checked(),
    )
    for one in reversed(shown[:-1]):
        page.go_back()
        one()
        settle(page)
    for one in shown[1:]:
        page.go_forward()
        one()
        settle(page)
    assert parameters(page)["r"] == "demo/plain/first"
    # What was taken back can be done again.
    page.go_back()
    expect(log).not_to_be_checked()
    settle(page)
    log.check()
    expect(page).to_have_url(re.compile("logy=1"))


# ---- live


def begin(seeded, path, keys, points=200):
    """A run that goes on, with so many points of each metric, the last of them now."""
    seeded.run(path, name=path.rpartition("/")[2], state="", created=now() - 10**8, heartbeat=now())
    times = [now() // 1000 - 100 * (points - 1 - step) for step in range(points)]
    seeded.points(path, {key: [1.0 + step % 7 for step in range(points)] for key in keys}, list(range(points)), times)
    return path


def test_live_data_move_no_zoom(dashboard, seeded, open_page):
    """100 updates later panels show the range zoomed to, with more data in it, and the hidden run is hidden.

    After a reset they follow the tail.
    """
    keys = [f"train/{name}" for name in ("loss", "grad", "lr")]
    run, other = (begin(seeded, f"demo/live/{name}", keys) for name in ("live", "other"))
    page = open_page(f"{dashboard.url}/compare?r={run},{other}")
    assert panels(page)["train/loss"]["scale"]["x"] == [0, 199]
    drag(page, "train/loss", 0.5, 1.1)
    until(page, "panels['train/loss'].scale.x[0] === 99 && panels['train/loss'].scale.x[1] === 199")
    page.locator(f'.rt-chip[data-id="{other}"]').click()
    # Out again, from the middle of what is shown: there is room behind the last point.
    panel(page, "train/loss").focus()
    page.keyboard.press("-")
    until(page, "panels['train/loss'].scale.x[1] > 220")
    settle(page)
    before = panels(page)
    end = before["train/loss"]["scale"]["x"][1]
    for seq in range(1, 101):
        step = 199 + seq
        seeded.points(run, {key: [100.0] for key in keys}, [step], seq=seq)
        if seq % 25 == 0:
            until(page, f"panels['train/lr'].lines[0].xs.at(-1) >= {min(step, math.floor(end))}")
    after = panels(page)
    assert {key: one["scale"] for key, one in after.items()} == {key: one["scale"] for key, one in before.items()}
    assert len({tuple(one["scale"]["x"]) for one in after.values()}) == 1
    assert all([line["id"] for line in one["lines"]] == [run] for one in after.values())
    assert all(len(after[key]["xs"]) > len(before[key]["xs"]) for key in keys)
    page.keyboard.press("0")
    until(page, "Object.values(panels).every(panel => panel.scale.x[1] === 299)")
    seeded.points(run, {key: [1.0] for key in keys}, [300], seq=101)
    until(page, "Object.values(panels).every(panel => panel.scale.x[1] === 300)")


def test_reruns_of_a_live_page_leave_its_panels_alone(dashboard, seeded, open_page):
    """While the header counts on, the grid's element is the same, and the page stays where it was scrolled to."""
    run = begin(seeded, "demo/live/header", [f"{place}/loss" for place in range(9)])
    page = open_page(f"{dashboard.url}/run?r={run}&tab=charts")
    panels(page)
    page.locator(".rt").evaluate("root => { root.seen = true; }")
    place = page.get_by_test_id("stMain").evaluate("main => { main.scrollTo(0, 200); return main.scrollTop; }")
    assert place > 100
    told = page.get_by_text("last point").first
    for _ in range(3):
        expect(told).not_to_have_text(told.inner_text())
    assert page.locator(".rt").evaluate("root => root.seen")
    assert page.get_by_test_id("stMain").evaluate("main => main.scrollTop") == place


def test_a_hidden_page_asks_for_nothing(dashboard, seeded, open_page):
    """What nobody looks at is not asked for; when it is seen again it goes on."""
    run = begin(seeded, "demo/live/hidden", ["loss"])
    page = open_page(f"{dashboard.url}/run?r={run}&tab=charts")
    panels(page)
    hide = """hidden => {
      Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    answers = asked_for(page)
    told = page.get_by_text("last point").first
    # The header is drawn anew every two seconds, as often as points are asked for.
    for _ in range(3):
        expect(told).not_to_have_text(told.inner_text())
    assert answers == []
    with page.expect_response("**/api/series"):
        page.evaluate(hide, False)


def test_a_running_run_grows_and_stops(dashboard, seeded, open_page):
    """New points are drawn without a reload, and the page says so when the run has ended."""
    run = begin(seeded, "demo/live/ending", ["loss"], points=1)
    page = open_page(f"{dashboard.url}/run?r={run}&tab=charts")
    assert len(panels(page)["loss"]["xs"]) == 1
    seeded.points(run, {"loss": [2.0, 1.0]}, [1, 2], seq=1)
    expect(panel(page, "loss").locator(".rt-caption")).to_have_text("3 points, all drawn")
    expect(page.get_by_text("running")).to_be_visible()
    seeded.run(run, name="ending", created=now() - 10**8, heartbeat=now())
    expect(page.get_by_text("finished")).to_be_visible()
    expect(page.locator(".rt-status")).to_be_empty()


# ---- fidelity


def test_two_loads_of_a_million_points_are_one_picture(dashboard, compared, open_page):
    """Byte for byte, with the first and the last step exact, and a mark and a count for what is not finite."""
    link = f"{dashboard.url}/compare?r={compared[0]}"
    seen = []
    for _ in range(2):
        page = open_page(link)
        shown = panels(page)
        seen.append((shown, panel(page, "train/loss").locator("canvas").evaluate(PICTURE)))
    assert seen[0] == seen[1]
    line = shown["train/loss"]["lines"][0]
    assert (line["xs"][0], line["xs"][-1]) == (0, MILLION - 1)
    assert shown["train/loss"]["caption"] == "1,000,000 points in 489 buckets of 2,048 steps · 3 NaN or infinite"
    red = """canvas => {
      const {data, width} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const found = [];
      for (let i = 0; i < data.length; i += 4)
        if (data[i] === 0xD6 && data[i + 1] === 0x30 && data[i + 2] === 0x3B) found.push((i / 4) % width);
      return [Math.min(...found), Math.max(...found)];
    }"""
    plot = panel(page, "train/loss").locator(".u-over").bounding_box()
    canvas = panel(page, "train/loss").locator("canvas").bounding_box()
    first, last = panel(page, "train/loss").locator("canvas").evaluate(red)
    expected = plot["x"] - canvas["x"] + plot["width"] * SPIKE / MILLION
    assert abs(first - expected) < 4 and last - first <= 2
    page.mouse.move(canvas["x"] + expected, plot["y"] + plot["height"] / 2)
    expect(panel(page, "train/loss").locator(".rt-tip")).to_contain_text("3 NaN or infinite")


@pytest.mark.parametrize("level", [[0, 2, 4, 6], [8, 10, 12, 14, 16, 17]], ids=["coarse", "fine"])
def test_a_spike_is_there_at_every_zoom(dashboard, compared, open_page, level):
    """From the whole range to single steps its bucket reaches up to it, and contains its step."""
    page = open_page("about:blank")
    for power in level:
        span = MILLION >> power
        low = min(max(0, SPIKE - span // 3), MILLION - span)
        page.goto(f"{dashboard.url}/compare?r={compared[0]}&from={low}&to={low + span}")
        shown = panels(page)["train/loss"]
        line = shown["lines"][0]
        assert shown["scale"]["x"] == [low, low + span]
        top = line["high"].index(HEIGHT)
        after = line["xs"][top + 1] if top + 1 < len(line["xs"]) else low + span + 1
        assert line["xs"][top] <= SPIKE < after, span
        if span < 500:
            assert (line["xs"][top], line["mean"][top]) == (SPIKE, HEIGHT)


# ---- budgets


@pytest.fixture(scope="module")
def wide(seeded):
    """Twenty runs with twelve metrics of 2,000 points."""
    noise = random.Random(3)
    curve = [round(noise.random(), 3) for _ in range(2000)]
    runs = []
    for place in range(20):
        run = seeded.run(f"demo/wide/r{place:02}", name=f"run {place}", config={"lr": place}, created=now() - 10**9)
        values = [value + place for value in curve]
        seeded.points(run, {f"m/{key:02}": values for key in range(12)}, list(range(2000)))
        runs.append(run)
    return runs


def test_one_crosshair_over_twenty_runs(dashboard, wide, open_page, capsys):
    """It is at the same step in all panels in view; the tooltip names eight runs; all that came is below 2 MB."""
    page = open_page("about:blank")
    answers = asked_for(page)
    page.set_viewport_size({"width": 1600, "height": 1500})
    page.goto(f"{dashboard.url}/compare?r={','.join(wide)}&cols=4")
    drawn(page)
    # Not `panels`: a million numbers take seconds to get here.
    assert page.locator(".rt").evaluate("root => root.__panels.every(panel => panel.lines.length === 20)")
    assert sum(len(answer.body()) for answer in answers) < 2_000_000
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent():
        found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return found["TaskDuration"]

    box = panel(page, "m/11").locator(".u-over").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 20, middle)
    before = spent()
    for move in range(30):
        page.mouse.move(box["x"] + 20 + move * 5, middle)
    with capsys.disabled():
        print(f"\n{(spent() - before) / 30 * 1000:.1f} ms of the main thread for each move over 12 panels of 20 runs")
    places = """root => root.__panels.filter(one => one.near).map(one => {
      const over = root.querySelector(`[data-key="${one.key}"] .u-over`).getBoundingClientRect();
      const line = root.querySelector(`[data-key="${one.key}"] .u-cursor-x`).getBoundingClientRect();
      return (line.right - over.left) / over.width;
    })"""
    found = page.locator(".rt").evaluate(places)
    assert len(found) == 12
    assert max(found) - min(found) < 3 / box["width"]
    tip = panel(page, "m/11").locator(".rt-tip")
    expect(tip.locator("tr")).to_have_count(8)
    expect(tip).to_contain_text("+12 more")


def test_eight_tabs_of_one_link(dashboard, wide, open_page):
    """More than a browser opens connections to a server: all of them are drawn, and the last one still searches."""
    first = open_page(f"{dashboard.url}/compare?r={','.join(wide[:4])}")
    pages = [first, *(first.context.new_page() for _ in range(7))]
    for page in pages[1:]:
        page.goto(first.url, wait_until="commit")
    for page in pages:
        drawn(page)
    pages[-1].locator(".rt-finding input").fill("m/0[12]")
    expect(pages[-1].locator(".rt-finding")).to_contain_text("2 of 12 panels")


# ---- what goes wrong


def test_an_error_is_its_panels_alone(dashboard, plain, open_page):
    """A formula that can't be read says why in its own panel; the others are drawn."""
    page = open_page(f"{dashboard.url}/compare?r={plain[0]}&m=%3D+{{val/loss}}+%2B&m=%3D+2+*+{{val/loss}}")
    shown = panels(page)
    wrong = shown["= {val/loss} +"]
    assert wrong["error"] and not wrong["lines"]
    expect(panel(page, "= {val/loss} +").locator(".rt-state")).to_contain_text(wrong["error"])
    double, single = (shown[key]["lines"][0]["mean"] for key in ("= 2 * {val/loss}", "val/loss"))
    assert double == pytest.approx([2 * value for value in single], rel=1e-6)


def test_the_store_goes_away_and_comes_back(dashboard, own_store, seeded, open_page):
    """A live page says in one sentence that it can't reach the database and keeps its lines; it recovers by itself."""
    run, other = (begin(seeded, f"demo/outage/{name}", ["loss"]) for name in "ab")
    page = open_page(f"{dashboard.url}/compare?r={run},{other}", failing=["/api/series"])
    before = panels(page)
    assert [len(line["xs"]) for line in before["loss"]["lines"]] == [200, 200]
    own_store.stop()
    try:
        expect(page.locator(".rt-status")).to_contain_text("Can't reach the database. Showing data from")
        assert panels(page)["loss"]["lines"] == before["loss"]["lines"]
        # Whoever goes on clicking gets a sentence too.
        page.get_by_role("button", name="Swap").click()
        expect(page.get_by_text("Can't reach the database: ").first).to_be_visible()
        assert "Traceback" not in page.inner_text("body")
        expect(page.get_by_test_id("stException")).to_have_count(0)
    finally:
        own_store.restart()
    expect(page.get_by_text("Can't reach the database")).to_have_count(0)
    expect(page.locator(".rt-status")).to_contain_text("live")
    seeded.points(run, {"loss": [5.0]}, [200], seq=1)
    until(page, "panels.loss.lines.some(line => line.xs.at(-1) === 200)")
    assert parameters(page)["base"] == other
