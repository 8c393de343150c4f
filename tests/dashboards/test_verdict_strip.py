"""What the strip says, in HTML and in Markdown."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from runtide_dashboards import verdict_strip
from runtide_dashboards import verdict_words as words
from runtide_dashboards.comparisons import Comparison, Cost, Side, judge

NAMES = [
    "<script>alert(1)</script>",
    "a\"'><img src=x onerror=y>",
    "x" * 10_000,
    "| **b** `c` [d](e) |",
    "ü\u202e/,%\\\n#",
]


@pytest.fixture
def compare(make_run, make_series):
    """Makes a judged comparison: `compare("val/loss", [1.0], [2.0], goal="minimize")`."""

    def make(key, a, b, goal=None, names=("base-v3", "wd-0.1"), paths=("e/p/a", "e/p/b"), **fields):
        def side(values, path, name, last):
            one = make_series(path, key, 100, last)
            return Side(make_run(path, name=name), (one,) * len(values), tuple(values), 0.25)

        sides = (side(a, paths[0], names[0], 40_000), side(b, paths[1], names[1], 41_200))
        judged = judge(Comparison(key, *sides, "unknown", goal, 0, 40_000, 38_000))
        return replace(judged, **fields)

    return make


class Parsed(HTMLParser):
    """The tags, the attributes and the text of a document."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def better(compare):
    return compare("val/loss", [2.31, 2.305, 2.32], [2.274, 2.27, 2.28], "minimize")


def test_a_verdict_says_what_it_stands_on(compare):
    """Values, difference, percent, word, p, and how many seeds, at which step: all in the line."""
    parting = replace(better(compare), parting=12_400, cost=Cost(2.31, 40_000, 33_900, 29_160.0, 27_000.0))
    text = Parsed(verdict_strip.render([parting])).text
    for part in (
        "wd-0.1 vs base-v3",
        "means of 3 v 3 runs, at equal step 40,000 (wd-0.1 is at 41,200)",
        "2.312 → 2.275", "−0.037 (−1.6 %)",
        "▼ BETTER", "p 0.0037, 3 v 3 seeds", "Curves part at step ≈ 12,400 (val/loss).",
        "Cost to reach val/loss ≤ 2.312: base-v3 40,000 steps / 8.1 h → wd-0.1 33,900 steps / 7.5 h.",
    ):  # fmt: skip
        assert part in text


def test_what_was_good_from_the_start_has_no_cost(compare):
    """A baseline whose first value is as good as its last took no step to get there."""
    one = better(compare)
    assert "Cost" not in verdict_strip.render([replace(one, cost=Cost(2.31, one.first, one.first, 0.0, 0.0))])


def test_only_better_and_worse_are_coloured(compare):
    """Blue and orange stand for a verdict with an estimate in a known direction, and for nothing else."""
    seeds = [2.31, 2.305, 2.32], [2.274, 2.27, 2.28]

    def colours(*comparisons):
        return [c for c in ("#2864BA", "#CC840C") if c in verdict_strip.render(comparisons)]

    assert colours(better(compare)) == ["#2864BA"]
    assert colours(compare("x", *seeds, "maximize")) == ["#CC840C"]
    assert colours(compare("x", *seeds)) == []
    assert colours(compare("x", [1.0], [9.0], "minimize")) == []
    assert colours(compare("x", [1.0, 2.0, 3.0], [1.1, 2.1, 3.1], "minimize")) == []


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([2.0], [1.968], "lower by 1.6 %, one run each: log 2 more seeds of each to know"),
        ([2.0, 2.0], [2.5, 2.5], "higher by 25.0 %, 2 v 2 runs: log 1 more seed of each to know"),
        (
            [2.0, 2.0],
            [-1.0],
            "lower, 2 v 1 runs: log 1 more of the baseline and 2 more of B, other seeds only, to know",
        ),
        ([1.0, 2.0, 3.0], [5.0], "higher by 150 %, 3 v 1 runs: log 2 more of B, other seeds only, to know"),
        ([1e-12], [5.0], "higher, one run each: log 2 more seeds of each to know"),
        ([2.0], [2.0], "the same value, one run each: log 2 more seeds of each to know"),
    ],
)
def test_without_an_estimate_it_says_what_to_log(compare, a, b, said):
    """No estimate, no verdict: the difference in words, and how many seeds would give one."""
    found = compare("val/loss", a, b, "minimize")
    assert words.basis(found, words.naming([found], None)) == said
    assert found.test is None and "significant" not in verdict_strip.render([found])


def test_what_cannot_be_compared_is_told(compare, make_run):
    """A key that is missing, a value that is no number, no common step: a sentence each, without numbers."""
    a, b = Side(make_run("e/p/a", name="A")), Side(make_run("e/p/b", name="B"))
    series = compare("k", [1.0], [2.0]).baseline.series
    cases = {
        "B never logged val/acc; nearest: val/accuracy": {"outcome": "missing", "absent": (("e/p/b", "val/accuracy"),)},
        "A never logged val/acc; B never logged val/acc": {
            "outcome": "missing", "absent": (("e/p/a", ""), ("e/p/b", "")),
        },
        "B is NaN or infinite since step 812": {"outcome": "nan", "bad_since": (("e/p/b", 812),)},
        "A has steps 0–40,000, B has steps 0–40,000": {
            "outcome": "apart", "baseline": replace(a, series=series), "other": replace(b, series=series),
        },
    }  # fmt: skip
    for said, fields in cases.items():
        found = Comparison("val/acc", **{"baseline": a, "other": b, **fields})
        assert said in Parsed(verdict_strip.render([found])).text
        assert said in verdict_strip.markdown([found]).replace("\\", "")


def test_no_spread_is_no_verdict(compare):
    """Seeds that do not differ at all give nothing to compare with, and that is said."""
    found = compare("x", [1.0] * 3, [2.0] * 3, "minimize")
    assert "3 v 3 seeds do not differ at all" in Parsed(verdict_strip.render([found])).text
    assert "NO VERDICT" in verdict_strip.render([found])


def test_several_comparisons_say_what_chance_gives(compare):
    """One test says nothing of chance, twelve say that 0.6 of them are expected to; no verdict is no test."""
    one = better(compare)
    assert "chance alone" not in verdict_strip.render([one, compare("x", [1.0], [2.0])])
    assert "12 metrics were tested: chance alone calls 0.6 of so many better or worse" in verdict_strip.render(
        [one] * 12
    )


def test_another_axis_is_said(compare):
    """Where charts show something else than steps, the strip says that it does not."""
    assert "whatever the x axis shows" in verdict_strip.render([better(compare)], axis="relative")
    assert "whatever the x axis shows" not in verdict_strip.render([better(compare)])
    assert verdict_strip.render([]) == ""


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(compare, name):
    """Names of runs and metrics make no tag, no attribute and no row, in HTML and in Markdown; long ones are cut."""
    plain = verdict_strip.render([better(compare)])
    found = compare(name, [2.31, 2.305, 2.32], [2.274, 2.27, 2.28], "minimize", (name, name), (f"e/p/{name}", "e/p/b"))
    shown = verdict_strip.render([found], colours={"e/p/b": "red;position:fixed"})
    assert Parsed(shown).tags == Parsed(plain).tags
    assert [key for key, _ in Parsed(shown).attributes] == [key for key, _ in Parsed(plain).attributes]
    assert ("title", name) in Parsed(shown).attributes
    rows = [line for line in verdict_strip.markdown([found]).splitlines() if line.startswith("|")]
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)\|", row)) == 7 for row in rows)
    assert len(verdict_strip.markdown([found])) < 2000


def test_the_numbers_can_be_checked(compare):
    """Every value, the statistic, its degrees of freedom and p are there to compute again."""
    found = better(compare)
    told = words.check(found, words.naming([found], None))
    for part in ("38,000 to 40,000", "2.31, 2.305, 2.32", "2.274, 2.27, 2.28", "Welch", f"{found.test.p:.4g}", "0.25"):
        assert part in told
