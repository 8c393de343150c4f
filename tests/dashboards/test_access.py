"""All four pages for everybody: looks in both schemes, without a mouse, magnified, and with hostile names in them."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.dashboards import showcase
from tests.dashboards.browser import NEEDS_BROWSER, drawn, panel, panels, read, settle, until

pytestmark = NEEDS_BROWSER
HOSTILE = "<img src=x onerror=window.__pwned=1>"
MARKUP = "**bold** :red[x] [a](javascript:alert(1))"
LONG = "long" + "x" * 10_000
# What axe finds inside Streamlit's own widgets: rule, and where.
STREAMLIT = [
    # st.metric draws its curve with roles but without names; the value stands beside it as text.
    ("svg-img-alt", "[data-testid=stMetric]"),
    # The chosen part of st.segmented_control is written in the primary colour, in the dark too. No colour can be read
    # there and also carry white text, as it does in buttons and in the choices of st.multiselect.
    ("color-contrast", "[data-testid=stButtonGroup] button"),
]
# What Streamlit draws anew is pale until then, and so are its texts: that is looked at when it is done.
FINDINGS = """async allowed => {
  const isPale = () => document.querySelector('[data-stale=true]') !== null;
  let wasPale = true, violations;
  new MutationObserver(() => wasPale ||= isPale()).observe(document, {subtree: true, attributeFilter: ['data-stale']});
  while (wasPale) {
    while (isPale()) await new Promise(requestAnimationFrame);
    wasPale = false;
    ({violations} = await axe.run({elementRef: true}));
  }
  const own = ({id}, {element}) => !allowed.some(([rule, place]) => rule === id && element.closest(place));
  return violations.filter(({impact}) => ['serious', 'critical'].includes(impact)).flatMap(one =>
    one.nodes.filter(node => own(one, node)).map(({target, html}) => [one.id, String(target), html.slice(0, 200)]));
}"""
SCROLLS = """() => [document.scrollingElement, document.querySelector('[data-testid=stMain]')]
  .some(one => one.scrollWidth > one.clientWidth)"""


@pytest.fixture(scope="module")
def links(seeded):
    """The four pages over a project like real ones, by name."""
    bases, others, live = showcase.seed(seeded)
    runs = ",".join([*bases, *others, live])
    pinned = "&m=val/loss&m=val/accuracy&m=perf/tokens_per_second"
    return {
        "home": "/",
        "runs": f"/runs?project={showcase.PROJECT}",
        "compare": f"/compare?r={runs}&base={bases[0]}&b={others[0]}{pinned}",
        "run": f"/run?r={live}",
    }


@pytest.fixture(scope="session")
def axe(build):
    """axe-core, which the bundle's own packages bring."""
    file = build.FRONTEND / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        build.install()
    return file


def ready(page, name):
    """Wait until a page shows what it is about."""
    expect(page.locator(".rt") if name == "compare" else page.get_by_test_id("stDataFrame").first).to_be_visible()
    if name == "compare":
        drawn(page)
        expect(page.locator(".rt-verdict")).to_be_visible()
    elif name == "run":
        expect(page.locator("[data-testid=stMetric] .mark-line path")).to_have_count(4)
    settle(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["home", "runs", "compare", "run"])
def test_a_page_is_accessible(dashboard, links, axe, open_page, tmp_path, name, scheme):
    """axe-core finds nothing serious; at 800 pixels, and magnified twice, nothing lies beyond the right edge."""
    page = open_page(dashboard.url + links[name], scheme)
    ready(page, name)
    folder = Path(os.environ.get("RUNTIDE_ARTIFACTS") or tmp_path)
    page.screenshot(path=folder / f"{name}-{scheme}.png")
    page.add_script_tag(path=axe)
    assert page.evaluate(FINDINGS, STREAMLIT) == []
    page.set_viewport_size({"width": 800, "height": 1000})
    settle(page)
    # The layout follows the window by and by.
    page.wait_for_function(f"() => !({SCROLLS})()")
    if scheme == "light":
        # What 1600 pixels are at twice the size.
        session = page.context.new_cdp_session(page)
        metrics = {"width": 800, "height": 500, "deviceScaleFactor": 2, "mobile": False}
        session.send("Emulation.setDeviceMetricsOverride", metrics)
        settle(page)
        # The layout follows the window by and by.
    page.wait_for_function(f"() => !({SCROLLS})()")


def test_the_keyboard_reaches_panels_and_reads_them(dashboard, links, open_page):
    """Tab comes to a panel, arrows move the crosshair, + and 0 zoom and reset, / is the search."""
    page = open_page(dashboard.url + links["compare"])
    ready(page, "compare")
    page.keyboard.press("/")
    focused = """() => {
      let at = document.activeElement;
      while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
      return at.%s;
    }"""
    assert page.evaluate(focused % "type") == "search"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(focused % "className").startswith("rt-panel"):
            break
    key = page.evaluate(focused % "dataset.key")
    assert key == "val/loss"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".rt-spoken")).to_contain_text(re.compile("^step "))
    expect(panel(page, key).locator(".rt-tip")).to_be_visible()
    page.keyboard.press("+")
    until(page, f"panels['{key}'].scale.x[1] < 40000")
    page.keyboard.press("-")
    page.keyboard.press("0")
    until(page, f"panels['{key}'].scale.x[1] === 40000")


@pytest.fixture(scope="module")
def hostile(seeded, links):
    """Two runs, one that goes on and one that failed, with markup or endless text wherever a text can be."""
    runs = []
    for place, text in enumerate((HOSTILE, MARKUP)):
        run = seeded.run(
            f"demo/hostile/r{place}", name=text, state="failed" if place else "", created=showcase.now() - 10**8,
            heartbeat=showcase.now(), config={text: text, LONG: LONG, "lr": place}, tags=[text, LONG],
            notes=text + LONG,
        )  # fmt: skip
        seeded.points(run, {key: [1.0, 2.0] for key in (HOSTILE, MARKUP, LONG, "val/loss")}, [0, 1])
        seeded.alert(run, text + LONG, text=text, created=showcase.now())
        runs.append(run)
    seeded.run("demo/hostile/r2", name=LONG, created=showcase.now())
    return [*runs, "demo/hostile/r2"]


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        pytest.param("/", (), id="home"),
        pytest.param("/runs?project=demo/hostile", (), id="runs"),
        pytest.param("/compare?r={0},{1},{2}&config=all", (HOSTILE, MARKUP), id="compare"),
        pytest.param("/run?r={0}", (HOSTILE,), id="run"),
        pytest.param("/run?r={1}&tab=config", (MARKUP,), id="config"),
        pytest.param("/run?r={1}&tab=charts", (MARKUP,), id="charts"),
        pytest.param("/run?r={2}", ("long" + "x" * 30,), id="long"),
    ],
)
def test_hostile_texts_are_texts(dashboard, hostile, open_page, path, texts):
    """Markup in names, tags, keys, configs and notes is shown as it is; nothing runs; the page is no wider for it."""
    page = open_page(dashboard.url + path.format(*hostile))
    expect(page.locator(".rt, [data-testid=stDataFrame]").first).to_be_visible()
    settle(page)
    if "compare" in path or "charts" in path:
        shown = panels(page)
        assert {HOSTILE, MARKUP, LONG} <= set(shown)
        expect(read(page.locator(".rt-panel").first)).to_contain_text(texts[0][:10])
    for text in texts:
        expect(page.get_by_test_id("stMain").get_by_text(text).first).to_be_attached()
    assert page.locator("img[src=x], a[href^=javascript]").count() == 0
    assert page.evaluate("window.__pwned") is None
    # The layout follows the window by and by.
    page.wait_for_function(f"() => !({SCROLLS})()")
    main = page.get_by_test_id("stMain")
    assert main.locator("strong", has_text=re.compile("^bold$")).count() == 0
    # No text takes the page for itself.
    assert max((part.bounding_box()["height"] for part in main.get_by_test_id("stMarkdown").all()), default=0) < 1000
