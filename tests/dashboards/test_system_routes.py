"""POST api/hardware and its export against a real store."""

import csv
import io

import pytest
from pyarrow import parquet
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.dashboards import machines
from tests.dashboards.test_routes import decode

from runtide_dashboards import shared
from runtide_dashboards.hardware import Subject
from runtide_dashboards.routes import routes

BEGIN = 1_760_000_040_000  # milliseconds since 1970, a whole number of minutes
SECONDS = 300


@pytest.fixture(scope="module")
def fleet(lab):
    """Two nodes of two GPUs, of which one is throttled from the 150th second on."""
    path = lab.run("lab/fleet/r", created=BEGIN * 1000 - 10**7)
    machines.fleet(lab, path, BEGIN, SECONDS, nodes=2, gpus=2, hot=(0, 1))
    return path


@pytest.fixture
def client(lab):
    """The routes; nothing is known from before."""
    shared.forget()
    with TestClient(Starlette(routes=routes(""))) as client:
        yield client


def ask(client, subjects, *panels, within="all", **question):
    """The panels of an answer, each line by its id."""
    body = {
        "runs": [one.id for one in subjects],
        "panels": [{"key": one} if isinstance(one, str) else one for one in panels],
    }
    answer = client.post(f"/api/hardware?within={within}", json=body | question)
    assert answer.status_code == 200, answer.text
    found = decode(answer.content)["panels"]
    return [panel | {"lines": {line["id"]: line for line in panel["lines"]}} for panel in found]


def test_panels_draw_the_finest_lines_that_they_can(client, fleet):
    """GPUs of GPUs, nodes of hosts, and of both what only nodes have."""
    gpu, node = Subject(fleet, "node-00", machines.uuid(0, 1), "gpu"), Subject(fleet, "node-00", kind="node")
    power, cpu, ranks = ask(client, [gpu, node], "GPU/power", "Host/cpu", "Ranks/memory")
    assert [set(panel["lines"]) for panel in (power, cpu, ranks)] == [{gpu.id}, {node.id}, {node.id}]
    columns = power["lines"][gpu.id]["columns"]
    assert columns["x"][0] == BEGIN and columns["x"][-1] == BEGIN + 1000 * (SECONDS - 1)
    assert sum(columns["count"]) == SECONDS and columns["mean"][-1] == 380


def test_relative_time_begins_with_the_run(client, fleet):
    """Ten seconds before the first sample."""
    (panel,) = ask(client, [Subject(fleet)], "GPU/power", axis="relative")
    assert panel["axis"] == "relative"
    assert panel["lines"][Subject(fleet).id]["columns"]["x"][0] == 10_000


def test_a_window_is_counted_from_the_newest_sample(client, lab, fleet):
    """A quarter of an hour of a run of half an hour, in buckets that do not change while it moves on."""
    path = lab.run("lab/fleet/long")
    rows = [machines.host_tick({"run_id": path, "host": "n", "writer": 1}, BEGIN, 10 * one, 0, 0) for one in range(180)]
    lab.sampled("host_ticks", rows)
    subject = Subject(path, "n", kind="node")
    (panel,) = ask(client, [subject], "Host/cpu", within="15m")
    line = panel["lines"][subject.id]
    assert 1790 - 902 <= (line["columns"]["x"][0] - BEGIN) / 1000 <= 1790 - 880
    lab.sampled("host_ticks", [machines.host_tick({"run_id": path, "host": "n", "writer": 1}, BEGIN, 1830, 0, 0)])
    shared.forget()
    (later,) = ask(client, [subject], "Host/cpu", within="15m")
    moved = later["lines"][subject.id]
    assert moved["width"] == line["width"] == 2048 and moved["begin"] > line["begin"]
    assert moved["begin"] % 2048 == 0


def test_a_live_client_gets_what_it_lacks(client, lab):
    """From a little before its last bucket on; together that is what a new client gets."""
    path = lab.run("lab/fleet/live", state="", created=BEGIN * 1000)
    common = {"run_id": path, "host": "n", "writer": 1}
    lab.sampled("host_ticks", [machines.host_tick(common, BEGIN, second, 0, 0) for second in range(600)])
    subject = Subject(path, "n", kind="node")
    (first,) = ask(client, [subject], "Host/net_received", within="15m")
    line = first["lines"][subject.id]
    x = line["columns"]["x"]
    held = {subject.id: [line["width"], x[-1] // line["width"] * line["width"], 0]}
    lab.sampled("host_ticks", [machines.host_tick(common, BEGIN, second, 0, 0) for second in range(600, 640)])
    shared.forget()
    (tail,) = ask(client, [subject], {"key": "Host/net_received", "have": held}, within="15m")
    (whole,) = ask(client, [subject], "Host/net_received", within="15m")
    new, all_of_it = tail["lines"][subject.id], whole["lines"][subject.id]
    assert new["tail"] == tail["tail"] and x[-1] - 25_000 < new["tail"] <= x[-1]
    kept = sum(one < new["tail"] for one in all_of_it["columns"]["x"])
    for name, values in all_of_it["columns"].items():
        assert values[kept:] == new["columns"][name]
    assert all(one in all_of_it["columns"]["x"] for one in x if one < new["tail"])
    # Other buckets are no beginning.
    (other,) = ask(client, [subject], {"key": "Host/net_received", "have": {subject.id: [7.0, x[-1], 0]}}, within="15m")
    assert other["tail"] is None


def test_throttling_is_shaded_and_events_are_marked(client, fleet):
    """From when to when a GPU was held down for heat; what happened stands at its time."""
    node = Subject(fleet, "node-00", kind="node")
    temperature, memory = ask(client, [node], "GPU/temperature", "GPU/memory")
    ((begin, end),) = temperature["spans"]
    assert BEGIN + 148_000 <= begin <= BEGIN + 152_000 and end >= BEGIN + 299_000
    assert memory["spans"] == []
    assert temperature["marks"] == [{"x": BEGIN + 150_000, "label": "XID 79"}]
    (calm,) = ask(client, [Subject(fleet, "node-01", kind="node")], "GPU/temperature")
    assert calm["spans"] == []


def test_what_is_missing_has_a_reason(client, lab, fleet):
    """Not reported by some, by all, or nothing at all."""
    nodes = [Subject(fleet, f"node-0{node}", kind="node") for node in range(2)]
    power, link, memory = ask(client, nodes, "GPU/power", "Links/nvlink_sent", "Host/memory_limit")
    assert power["why"] == "2 GPUs do not report it: driver says N/A on this SKU" and len(power["lines"]) == 1
    assert link["lines"] == {} and "none was sampled" in link["why"]
    assert memory["why"] == "2 nodes do not report it: the container has no limit of memory"
    path = lab.run("lab/fleet/laptop")
    machines.without_gpus(lab, path, BEGIN, 5)
    shared.forget()
    (panel,) = ask(client, [Subject(path)], "GPU/power")
    assert panel["why"] == "No NVIDIA driver was found: GPUs are not sampled."
    (nothing,) = ask(client, [Subject("lab/fleet/none")], "Host/cpu")
    assert nothing["why"].startswith("Nothing was sampled for this run")


def test_a_zoom_shows_samples(client, fleet):
    """A minute is drawn second by second, and no more than is asked for."""
    (panel,) = ask(client, [Subject(fleet)], {"key": "GPU/energy", "from": BEGIN + 60_000, "to": BEGIN + 120_000})
    (line,) = panel["lines"].values()
    x = line["columns"]["x"]
    assert line["width"] <= 1000 and 60 <= len(x) <= 62
    assert set(line["columns"]["mean"]) == {600.0}


def test_bad_questions_are_refused_in_a_sentence(client):
    """With a status that a browser does not take for an outage."""
    answer = client.post("/api/hardware", json={"runs": ["no"], "panels": []})
    assert answer.status_code == 400 and "runs must hold" in answer.json()["error"]
    assert client.post("/api/hardware?within=9y", json={"runs": [], "panels": []}).status_code == 400
    assert client.post("/api/hardware", content=b"[").status_code == 400


def test_rows_are_exported(client, lab, fleet):
    """As CSV, as Parquet and as SQL that gives them: samples as they were read, of the lines and the range alone."""
    gpu = Subject(fleet, "node-00", machines.uuid(0, 1), "gpu")
    node = Subject(fleet, "node-00", kind="node")
    query = {"key": "GPU/power", "r": [gpu.id, node.id], "from": BEGIN + 10_000, "to": BEGIN + 19_000, "kind": "series"}
    found = client.get("/api/hardware/export", params=query | {"format": "csv"})
    assert found.headers["content-disposition"] == 'attachment; filename="GPU_power.csv"'
    rows = list(csv.DictReader(io.StringIO(found.text)))
    assert len(rows) == 10 and {row["gpu_uuid"] for row in rows} == {machines.uuid(0, 1)}
    table = parquet.read_table(
        io.BytesIO(client.get("/api/hardware/export", params=query | {"format": "parquet"}).content)
    )
    assert table["power_instant_mw"].to_pylist() == [int(row["power_instant_mw"]) for row in rows]
    sql = client.get("/api/hardware/export", params=query | {"format": "sql"}).text
    assert lab.store.query(sql + " FORMAT TSV", database=lab.database).strip().count("\n") == 9
    relative = query | {"format": "csv", "axis": "relative", "from": 20_000, "to": 29_000}
    assert client.get("/api/hardware/export", params=relative).text == found.text
    assert client.get("/api/hardware/export", params={"key": "loss", "r": gpu.id}).status_code == 400
    assert client.get("/api/hardware/export", params={"key": "GPU/power"}).status_code == 400


@pytest.mark.parametrize("axis", ["wall", "relative"])
def test_an_export_is_of_the_window(client, lab, axis):
    """What is not drawn, as it is older than the window, is in no file; a zoom only makes it less."""
    path = lab.run(f"lab/fleet/{axis}", created=BEGIN * 1000 - 10**7)
    machines.fleet(lab, path, BEGIN, 1000, nodes=1, gpus=1)
    gpu = Subject(path, "node-00", machines.uuid(0, 0), "gpu")
    origin = BEGIN - 10_000 if axis == "relative" else 0
    query = {"key": "GPU/power", "r": gpu.id, "format": "csv", "axis": axis}

    def times(**more):
        found = client.get("/api/hardware/export", params=query | more).text
        return [row["time"] for row in csv.DictReader(io.StringIO(found))]

    every = times(within="all")
    assert len(every) == 1000 and times(within="1h") == every
    assert times(within="15m") == every[99:]
    (drawn,) = ask(client, [gpu], "GPU/power", within="15m", axis=axis, buckets=2048)
    assert sum(drawn["lines"][gpu.id]["columns"]["count"]) == 901
    high = BEGIN + 104_000 - origin
    assert times(within="15m", **{"from": BEGIN - origin, "to": high}) == every[99:105]
    assert times(within="15m", **{"from": high}) == every[104:]
    assert client.get("/api/hardware/export", params=query | {"within": "9y"}).status_code == 400
