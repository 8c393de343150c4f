"""Samples in buckets, over a real store: gauges, counters that begin anew, and lines that stand for many devices."""

import itertools
import math
import random

import pytest

from runtide_dashboards.hardware import GIB, METRICS, Subject
from runtide_dashboards.queries import devices, hardware
from runtide_dashboards.queries.hardware import Asked

BEGIN = 1_760_000_040_000  # milliseconds since 1970, a whole number of minutes
MINUTE = 60_000


@pytest.fixture
def run(lab, project):
    """A run without samples."""
    return lab.run(f"{project}/r")


def ticks(run, host, seconds, gpus, period=1000):
    """Rows of gpu_ticks: `gpus` gives the fields of each GPU at a second."""
    return [
        {"run_id": run, "host": host, "time": BEGIN + second * period, "period_ms": period, "gpus": gpus(second)}
        for second in range(seconds)
    ]


def drawn(key, subjects, width=MINUTE, last=10 * MINUTE, grain=1, **more):
    """What lines show: x from the begin on, mean, low, high and count, by host and device."""
    asked = Asked(
        METRICS[key], subjects, dict.fromkeys((one.run for one in subjects), BEGIN), width, 0, last, grain, **more
    )
    found = {}
    for row in hardware.lines(asked).to_pylist():
        name = row.get("host", ""), row.get("device", "")
        found.setdefault(name, []).append(tuple(row[one] for one in ("x", "mean", "low", "high", "count")))
    return found


def test_gauges_have_mean_and_range_of_each_bucket(lab, run):
    """What was not read is no 0; the first field that is known counts; the unit is that of the panel."""
    fields = [{"gpu_util_pct": 10}, {"gpu_util_pct": 90}, {}, {"power_avg_mw": 250_000, "mem_used_bytes": 3 * GIB}]
    lab.sampled("gpu_ticks", ticks(run, "n", 4, lambda i: [{"gpu_uuid": "GPU-a", **fields[i]}]))
    gpu = [Subject(run, "n", "GPU-a", "gpu")]
    assert drawn("GPU/utilisation", gpu) == {("n", "GPU-a"): [(0, 50, 10, 90, 2)]}
    assert drawn("GPU/power", gpu) == {("n", "GPU-a"): [(3000, 250, 250, 250, 1)]}
    assert drawn("GPU/memory", gpu, width=2000) == {("n", "GPU-a"): [(3000, 3, 3, 3, 1)]}
    assert drawn("GPU/temperature", gpu) == {}


def test_energy_is_power_also_across_a_driver_that_was_loaded_anew(lab, run):
    """300 W all along, seen every 10 s: a counter that fell has counted from 0 since; no rate is negative or huge."""
    counters = [900_000, 3_900_000, 6_900_000, 3_000_000, 6_000_000]
    rows = ticks(run, "n", 5, lambda i: [{"gpu_uuid": "GPU-a", "energy_mj": counters[i]}], period=10_000)
    lab.sampled("gpu_ticks", rows)
    (line,) = drawn("GPU/energy", [Subject(run)], width=10_000).values()
    assert line == [(10_000 * i, 300, 300, 300, 1) for i in range(1, 5)]


def test_throttling_is_a_share_of_time(lab, run):
    """Half a second in each of ten; a tail that begins later has the same values, as the sample before is read too."""
    step = {"throttle_sw_thermal_ns": 2 * 10**8, "throttle_hw_thermal_ns": 3 * 10**8}
    gpus = lambda i: [{"gpu_uuid": "GPU-a", **{name: i * value for name, value in step.items()}}]  # noqa: E731
    lab.sampled("gpu_ticks", ticks(run, "n", 60, gpus))
    (whole,) = drawn("GPU/throttled", [Subject(run)], width=4000, last=MINUTE).values()
    assert [mean for _, mean, *_ in whole] == pytest.approx([50] * 15)
    asked = Asked(METRICS["GPU/throttled"], [Subject(run)], {run: BEGIN}, 4000, 40_000, MINUTE)
    tail = hardware.lines(asked).to_pylist()
    assert [(row["x"], row["mean"], row["count"]) for row in tail] == [(x, m, n) for x, m, _, _, n in whole[10:]]


def test_lines_of_nodes_and_runs_are_means_of_devices(lab, run):
    """Each GPU counts once, however many samples it has; the range is over all of them."""

    def gpus(second):
        return [{"gpu_uuid": "GPU-a", "temp_gpu_c": 50}, *([{"gpu_uuid": "GPU-b", "temp_gpu_c": 90}] if second else [])]

    lab.sampled("gpu_ticks", ticks(run, "n0", 2, gpus))
    lab.sampled("gpu_ticks", ticks(run, "n1", 1, lambda _: [{"gpu_uuid": "GPU-c", "temp_gpu_c": 40}]))
    assert drawn("GPU/temperature", [Subject(run)]) == {("", ""): [(0, 60, 40, 90, 4)]}
    nodes = [Subject(run, "n0", kind="node"), Subject(run, "n1", kind="node")]
    assert drawn("GPU/temperature", nodes) == {("n0", ""): [(0, 70, 50, 90, 3)], ("n1", ""): [(0, 40, 40, 40, 1)]}
    only = [Subject(run, "n0", "GPU-b", "gpu")]
    assert drawn("GPU/temperature", only) == {("n0", "GPU-b"): [(1000, 90, 90, 90, 1)]}
    assert set(drawn("GPU/temperature", [Subject(run)], each=True)) == {
        ("n0", "GPU-a"), ("n0", "GPU-b"), ("n1", "GPU-c")
    }  # fmt: skip


def test_mig_instances_are_devices_of_their_own(lab, run):
    """Two instances of one GPU are two lines, named by their own UUID."""
    gpus = [{"gpu_uuid": "GPU-a", "mig_uuid": f"MIG-{one}", "mem_used_bytes": one * GIB} for one in (1, 2)]
    lab.sampled("gpu_ticks", ticks(run, "n", 1, lambda _: gpus))
    assert drawn("GPU/memory", [Subject(run)], each=True) == {
        ("n", "MIG-1"): [(0, 1, 1, 1, 1)], ("n", "MIG-2"): [(0, 2, 2, 2, 1)]
    }  # fmt: skip


def test_hosts_have_rates_and_shares(lab, run):
    """Bytes a second of network counters, PSI in percent of time, and memory as a part of the container's limit."""
    rows = [
        {
            "run_id": run, "host": "n", "time": BEGIN + 1000 * i, "period_ms": 1000, "cpu_pct": 12.5,
            "net_rx_bytes": 5 * 10**6 * i, "psi_io_some_us": 250_000 * i,
            "cgroup_mem_anon_bytes": 3 * GIB, "cgroup_mem_limit_bytes": 4 * GIB,
        }
        for i in range(5)
    ]  # fmt: skip
    lab.sampled("host_ticks", rows)
    means = {}
    for key in ("Host/cpu", "Host/net_received", "Host/psi_io", "Host/memory_limit"):
        (line,) = drawn(key, [Subject(run, "n", kind="node")]).values()
        means[key] = line[0][1]
    assert means == {
        "Host/cpu": 12.5, "Host/net_received": pytest.approx(5e6), "Host/psi_io": pytest.approx(25),
        "Host/memory_limit": pytest.approx(75),
    }  # fmt: skip


def test_steps_of_ranks_have_times(lab, run):
    """Between the moments at which a rank was first seen at a step; a worker that ended takes no time back."""
    steps = [0, 0, 1, 1, 2, 2, 2, 2, 2, 3]
    cpu = [0, 2, 4, 6, 8, 3, 5, 7, 9, 11]
    rows = [
        {
            "run_id": run, "host": "n", "time": BEGIN + 1000 * i, "period_ms": 1000,
            "ranks": [{"rank": 3, "pid": 7, "step": step, "phase": "", "processes": 2, "cpu_us": cpu[i] * 10**6}],
        }
        for i, step in enumerate(steps)
    ]  # fmt: skip
    lab.sampled("host_ticks", rows)
    subject = [Subject(run, "n", "3", "rank")]
    assert drawn("Ranks/step_time", subject)["n", "3"] == [(2000, pytest.approx(3), 2, 5, 8)]
    assert drawn("Ranks/cpu", subject)["n", "3"][0][1:4] == (pytest.approx(2), 2, 2)
    asked = Asked(METRICS["Ranks/step_time"], [Subject(run)], {}, MINUTE, BEGIN, BEGIN + MINUTE, grain=0)
    assert hardware.step_times(asked) == {("n", "3"): (2, 5, 5)}
    (rank,) = devices.ranks(run, BEGIN, BEGIN + MINUTE)
    assert (rank.rank, rank.step, rank.pid) == (3, 3, 7)


def test_one_sample_of_ten_seconds_loses_nothing_of_counters(lab, run):
    """Hundreds of ranks are read so, as they have no rollup."""
    ranks = [{"rank": 0, "pid": 7, "phase": "", "processes": 2}]
    rows = [
        {"run_id": run, "host": "n", "time": BEGIN + 1000 * i, "period_ms": 1000}
        | {"ranks": [ranks[0] | {"step": i // 2, "cpu_us": 3 * 10**6 * i}]}
        for i in range(60)
    ]
    lab.sampled("host_ticks", rows)
    for key, mean in (("Ranks/step_time", 2), ("Ranks/cpu", 3)):
        (line,) = drawn(key, [Subject(run)], grain=10_000).values()
        assert line[0][1] == pytest.approx(mean)


def test_hostile_names_are_only_names(lab, run):
    """Nodes and GPUs may be called anything."""
    host, uuid = "n'}{0}\\ \n;--", "GPU-'); DROP TABLE gpu_samples; --"
    lab.sampled("gpu_ticks", ticks(run, host, 1, lambda _: [{"gpu_uuid": uuid, "temp_gpu_c": 50}]))
    subject = Subject(run, host, uuid, "gpu")
    assert drawn("GPU/temperature", [subject, Subject(run, "other", uuid, "gpu")]) == {
        (host, uuid): [(0, 50, 50, 50, 1)]
    }
    assert Subject.parse(subject.id) == subject


def test_devices_and_events_are_the_latest(lab, run):
    """A device that says something new is what it said last; errors come before warnings."""
    info = {"run_id": run, "host": "n", "kind": "gpu", "device": "GPU-a", "parent": "", "vendor": "NVIDIA", "facts": {}}
    lab.sampled(
        "device_info",
        [
            {**info, "time": BEGIN + i, "gpu_index": 3, "name": f"H{i}00", "absent": {"temp_mem_c": f"no {i}"}}
            for i in (2, 1)
        ],
    )
    (found,) = devices.find([run])
    assert (found.name, found.number, found.absent) == ("H200", 3, {"temp_mem_c": "no 2"})
    event = {"run_id": run, "host": "n", "device": "GPU-a", "facts": {}, "message": "m"}
    told = [("no_driver", "warning", None, 2), ("xid", "error", 79, 1), ("sampler_started", "info", None, 0)]
    lab.sampled(
        "device_events",
        [{**event, "kind": k, "severity": s, "code": c, "time": BEGIN + t} for k, s, c, t in told],
    )
    assert [one.short for one in devices.events([run], ("error", "warning"))] == ["XID 79", "no driver"]
    assert [one.kind for one in devices.explaining([run])] == ["no_driver"]


def test_when_a_run_was_sampled(lab, run, project):
    """From the first to the last sample, by the host or, where there is none, by the GPUs."""
    lab.sampled("host_ticks", [{"run_id": run, "host": "n", "time": BEGIN + t, "period_ms": 1000} for t in (0, 5000)])
    other = f"{project}/other"
    lab.sampled("gpu_ticks", ticks(other, "n", 3, lambda _: [{"gpu_uuid": "GPU-a"}]))
    found = hardware.extent([run, other, f"{project}/none"])
    assert found == {run: (BEGIN, BEGIN + 5000), other: (BEGIN, BEGIN + 2000)}


def test_loader_waits_are_found_by_their_names(lab, run):
    """By rank; what only counts data is none."""
    lab.points(run, {"time/data": [1.0, 3.0], "perf/data_time": [0.5, math.nan], "loss": [1.0, 1.0]}, [0, 1])
    assert devices.loader_waits(run) == {"perf/data_time": {0: 0.5}, "time/data": {0: 2.0}}


def test_rollups_say_what_samples_say(lab, run):
    """Buckets of rows of a rollup are those of its samples, for gauges, for counters and for hosts."""
    rng = random.Random(7)
    seconds = 300
    total = list(itertools.accumulate(rng.randrange(200, 700) * 1000 for _ in range(seconds)))
    util = [rng.randrange(100) for _ in range(seconds)]

    def gpus(second):
        # The driver is loaded anew in the middle of a row.
        counter = total[second] - (total[155] if second > 155 else 0)
        return [{"gpu_uuid": "GPU-a", "gpu_util_pct": util[second], "energy_mj": counter, "throttle_hw_thermal_ns": 0}]

    lab.sampled("gpu_ticks", ticks(run, "n", seconds, gpus))
    received = [
        {"run_id": run, "host": "n", "time": row["time"], "period_ms": 1000} for row in ticks(run, "n", seconds, gpus)
    ]
    lab.sampled("host_ticks", [row | {"net_rx_bytes": 9 * place**2} for place, row in enumerate(received)])
    for key in ("GPU/utilisation", "GPU/energy", "GPU/throttled", "Host/net_received"):
        for width in (10_000, 20_000, 60_000):
            (exact,) = drawn(key, [Subject(run)], width).values()
            (rolled,) = drawn(key, [Subject(run)], width, grain=width).values()
            # The first row of a counter has none before it.
            assert [row[1] for row in rolled[1:]] == pytest.approx(
                [row[1] for row in exact[-len(rolled) + 1 :]], rel=0.02
            )
            if key == "GPU/utilisation":
                assert [row[1:] for row in rolled] == [row[1:] for row in exact[: len(rolled)]]


def test_the_newest_row_of_a_rollup_is_no_dip(lab, run):
    """Three seconds of a row of ten have the rate that they have, not three tenths of it."""
    gpus = lambda i: [{"gpu_uuid": "GPU-a", "energy_mj": 400_000 * i}]  # noqa: E731
    lab.sampled("gpu_ticks", ticks(run, "n", 43, gpus))
    (line,) = drawn("GPU/energy", [Subject(run)], 10_000, grain=10_000).values()
    assert [mean for _, mean, *_ in line] == pytest.approx([400] * 4, rel=0.01)
