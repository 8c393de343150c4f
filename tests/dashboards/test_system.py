"""What the System page makes of samples, without a store: subjects, widths, health, cells, reasons and URLs."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dashboards.view_strategies import browser, grids

from runtide_dashboards import hardware_cells, hardware_grids, hardware_health, hardware_views, reasons, views
from runtide_dashboards.hardware import METRICS, OF_GPUS, Subject
from runtide_dashboards.hardware_answers import grain_of, width_of
from runtide_dashboards.hardware_cells import Cell
from runtide_dashboards.hardware_grids import Machines
from runtide_dashboards.hardware_questions import WINDOWS, parse
from runtide_dashboards.hardware_views import KINDS, SystemView
from runtide_dashboards.queries.devices import Device, Event, Gpu
from runtide_dashboards.queries.hardware import Whole
from runtide_dashboards.questions import BadQuestion
from runtide_dashboards.views import CompareView, RunView

HOSTILE = "<img src=x onerror=window.__pwned=1>"
sample_grids = st.builds(lambda grid, axis: replace(grid, axis=axis), grids, st.sampled_from(["auto", "relative"]))
texts = st.text(st.characters(exclude_categories=["Cs"]))


def device(host="n0", kind="gpu", uuid="GPU-a", number=0, absent=None, parent=""):
    return Device("e/p/r", host, kind, uuid, parent, number, "H100", None, {}, absent or {})


def event(kind, message=""):
    return Event("e/p/r", 0, "n0", kind, "warning", "", None, None, message)


# ---- what a line stands for


@given(texts, texts, st.sampled_from(["run", "node", "gpu", "rank"]))
def test_subjects_come_back_from_their_ids(host, uuid, kind):
    """Nodes and GPUs may be called anything; what does not belong to the kind is not in the id."""
    subject = Subject("e/p/r", host if kind != "run" else "", uuid if kind in ("gpu", "rank") else "", kind)
    assert Subject.parse(subject.id) == subject


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}", "[]", '["run"]', '["run","e/p"]', '["node","e/p/r"]', '["gpu","e/p/r","n",3]', "[" * 10**5, "null"],
)
def test_what_is_no_subject_is_refused(text):
    """Whatever a browser sends."""
    with pytest.raises(ValueError, match="no subject"):
        Subject.parse(text)


def test_lines_are_gpus_while_these_are_few():
    """Then nodes, then the run; what somebody chose is kept, and no more than can be drawn."""

    def machines(nodes, each):
        gpus = [Gpu(f"n{node:03}", f"GPU-{node}-{one}", None, 0) for node in range(nodes) for one in range(each)]
        return Machines("e/p/r", [f"n{node:03}" for node in range(nodes)], gpus, [], [])

    kinds = [
        hardware_grids.kind_of(machines(*size), "auto") for size in ((1, 8), (2, 8), (8, 8), (64, 8), (65, 8), (1, 0))
    ]
    assert kinds == ["gpu", "gpu", "node", "node", "run", "gpu"]
    assert hardware_grids.kind_of(machines(1, 8), "run") == "run"
    assert len(hardware_grids.subjects(machines(64, 8), "gpu")) == 64
    assert [one.id for one, _ in hardware_grids.subjects(machines(3, 0), "gpu")] == [
        f'["node","e/p/r","n00{node}"]' for node in range(3)
    ]
    assert machines(3, 1).of(["n001", "other"]).nodes == ["n001"]
    assert machines(3, 1).of(["other"]).nodes == ["n000", "n001", "n002"]


def test_gpus_are_called_by_their_number_on_the_node():
    """Where it is known; a MIG instance by its GPU and the end of its UUID."""
    known = [device(number=3), device(kind="mig", uuid="MIG-123456", number=None, parent="GPU-a")]
    machines = Machines("e/p/r", ["n0"], [], [], known)
    names = [machines.name("n0", uuid) for uuid in ("GPU-a", "MIG-123456", "GPU-zzabcdef")]
    assert names == ["GPU 3", "GPU 3 MIG …123456", "GPU …abcdef"]


# ---- buckets


@given(st.integers(0, 10**12), st.integers(16, 2048))
def test_widths_nest(span, buckets):
    """Each width divides all wider ones, so that pairs merge; from ten seconds on they are whole rows of a rollup."""
    width = width_of(span, buckets)
    wider = width_of(2 * span, buckets)
    assert wider % width == 0 or width < 10_000 <= wider
    assert width < 10_000 or width % 10_000 == 0
    assert span <= width * buckets or width > 10**9


def test_not_too_much_is_read():
    """512 GPUs over a quarter of an hour are read by ten seconds, over eight hours by minutes; one by samples."""
    gauge, counter = METRICS["GPU/utilisation"], METRICS["GPU/energy"]
    assert [grain_of(gauge, 1000 * span, 512) for span in (60, 900, 3600, 8 * 3600)] == [0, 10_000, 10_000, 60_000]
    assert grain_of(counter, 3_600_000, 512) == 60_000
    assert grain_of(gauge, 3_600_000, 8) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"axis": "step"}, "axis must be"),
        ({"runs": ["e/p/r"]}, "runs must hold"),
        ({"panels": [{"key": "loss"}]}, "no metric of samples"),
        ({"panels": [{"key": "GPU/power", "have": {"a": [1]}}]}, "must hold a width"),
        ({"buckets": 1}, "buckets must be"),
        ({"colour": "red"}, "no field of this request"),
        ({"runs": ['["run","e/p/r"]'] * 65 + [f'["run","e/p/{n}"]' for n in range(65)]}, "at most 64"),
    ],
)
def test_bad_questions_are_answered_in_a_sentence(change, said):
    """The field, and what it may be."""
    body = {"runs": ['["run","e/p/r"]'], "panels": [{"key": "GPU/power"}], **change}
    with pytest.raises(BadQuestion, match=said):
        parse(json.dumps(body).encode(), "all")
    with pytest.raises(BadQuestion, match="within must be"):
        parse(b"{}", "forever")


# ---- which one to look at


def health(device, ms=100_000, utilisation=97.0, temperature=62.0, held=0.0):
    return hardware_health.Gpu("n0", device, None, ms, utilisation, temperature, held)


def test_what_is_worst_comes_first():
    """Lost before throttled, throttled before hot, hot before idle; the reasons are told, and peers are not blamed."""
    good = [health(f"g{one}") for one in range(5)]
    idle = health("idle", utilisation=60.0)
    hot = health("hot", temperature=90.0)
    held = health("held", held=31.0, temperature=84.0)
    lost = health("lost", ms=1_000)
    found = hardware_health.worst([idle, *good, hot, held, lost])
    assert [one.device for one, _ in found] == ["lost", "held", "hot", "idle"]
    assert found[0][1][0] == "not read any more: 99 s behind the others"
    assert found[1][1] == [
        "throttled for heat or by the power brake 31 % of the time", "84 °C, 22 more than the median of its peers"
    ]  # fmt: skip
    assert found[3][1] == ["utilisation 60 %, 37 points below the median of its peers"]


def test_where_nothing_stands_out_nothing_is_named():
    """Neither small differences nor values that nobody reports, nor a whole job that rests."""
    assert hardware_health.worst([]) == []
    assert hardware_health.worst([health("a"), health("b", temperature=70.0, utilisation=90.0, held=0.5)]) == []
    assert hardware_health.worst([health("a", utilisation=None, temperature=None, held=None), health("b")]) == []
    assert hardware_health.worst([health("a", utilisation=0.0), health("b", utilisation=0.0)]) == []


# ---- cells


def test_a_cell_says_its_value_in_text():
    """For who sees no colours: the number stands in it, what it is of in words, and why there is none."""
    cells = [
        Cell("n0", "GPU 0", 0, Whole(31.4, 0, 99)),
        Cell("n0", "GPU 1", 1, None, "driver says N/A"),
        Cell("n1", "GPU 0", None, Whole(98.2, 97, 99), worst=True),
    ]
    html = hardware_cells.render(cells, METRICS["GPU/utilisation"], "the last hour", ["n1 GPU 0: hot"])
    assert '<span class="said">GPU 0, rank 0: </span>31</li>' in html and ">98</li>" in html
    assert 'title="n0 GPU 1, rank 1: driver says N/A"' in html and "▲ n1 GPU 0: hot" in html
    assert html.count('class="worst"') == 1 and 'aria-label="Utilisation of 3 GPUs on 2 nodes"' in html
    assert "Utilisation, mean of the last hour" in html


def test_temperatures_are_the_highest():
    """A mean hides the minute that throttled."""
    html = hardware_cells.render([Cell("n", "GPU 0", None, Whole(62, 40, 91))], METRICS["GPU/temperature"], "all")
    assert ">91</li>" in html and "highest of all" in html


@pytest.mark.parametrize("key", OF_GPUS)
def test_cells_of_all_metrics_have_room(key):
    """Bytes a second and percent alike, whatever they are, in four characters."""
    for value in (0, 0.04, 3.14159, 99.96, 1980, 12_345, 85_520_809_984, 6e14):
        html = hardware_cells.render([Cell("n", "GPU 0", None, Whole(value, value, value))], METRICS[key], "all")
        assert len(html.rpartition("</span>")[2].partition("<")[0]) <= 7


def test_hostile_names_are_text_in_cells():
    """Nodes, GPUs, reasons and alarms."""
    cell = Cell(HOSTILE, HOSTILE, None, None, HOSTILE)
    html = hardware_cells.render([cell], METRICS["GPU/power"], HOSTILE, [HOSTILE])
    assert "<img" not in html and "&lt;img" in html


# ---- why there is nothing


def test_reasons_are_what_was_told():
    """The device's own word, the driver's event, or that nobody claimed a GPU."""
    gpu = [Subject("e/p/r", "n0", "GPU-a", "gpu"), Subject("e/p/r", "n0", "GPU-b", "gpu")]
    known = [device(absent={"power_instant_mw": "N/A on this SKU"}), device(uuid="GPU-b")]
    power, cpu = METRICS["GPU/power"], METRICS["Host/cpu"]
    assert reasons.why(power, gpu, known, [], True) == "1 GPU does not report it: N/A on this SKU"
    assert reasons.why(power, [Subject("e/p/r", "n1", kind="node")], known, [], True) == ""
    no_driver = [event("no_driver", "No NVIDIA driver was found.")]
    assert reasons.why(power, gpu, [device(kind="host", uuid="")], no_driver, False) == "No NVIDIA driver was found."
    assert (
        reasons.why(power, gpu, [device(kind="host", uuid="")], [], False)
        == "The sampler found no GPU on this machine."
    )
    assert "none was sampled: no rank of this run has claimed one" in reasons.why(power, [], known[1:], [], False)
    assert reasons.why(power, gpu, [], [], False) == reasons.why(cpu, gpu, [], [], False) == reasons.NOTHING
    assert len(reasons.no_gpus([], [event("no_driver", "x" * 10_000)])) <= 300


# ---- URLs


@given(
    st.builds(
        SystemView, st.text().map(str.strip), st.sampled_from(list(WINDOWS)), st.sampled_from(OF_GPUS),
        st.sampled_from(KINDS), st.lists(st.text(min_size=1), unique=True).map(tuple), sample_grids,
    )
)  # fmt: skip
def test_the_system_page_comes_back_from_its_url(view):
    """Whatever can be shown of hardware is the same after a trip through the URL."""
    assert hardware_views.read_system(browser(view.query())) == view


@given(sample_grids, grids)
def test_two_grids_on_one_page_keep_apart(samples, grid):
    """Compare and Run have one of points and one of samples."""
    compared = CompareView(("a/b/c",), grid=grid, system=True, samples=samples)
    assert views.read_compare(browser(compared.query())) == compared
    run = RunView("a/b/c", "system", grid, samples)
    assert views.read_run(browser(run.query())) == run


def test_what_a_url_says_wrongly_falls_back():
    """An axis of steps has no samples."""
    query = {"r": ["a/b/c"], "within": ["9y"], "metric": ["loss"], "by": ["dog"], "x": ["step"], "q": ["power"]}
    view = hardware_views.read_system(query)
    assert (view.within, view.metric, view.by, view.grid.axis) == ("15m", OF_GPUS[0], "auto", "auto")
    assert view.grid.search == "power"
