"""How GPUs are used, on traces whose answer is known: idleness, clocks, throttling, late data, slow ranks."""

from typing import Any

import pytest


def _row(hardware, sql: str) -> dict[str, Any]:
    rows = hardware.ask(sql)
    assert len(rows) == 1
    return rows[0]


def _idle(hardware, run: str) -> dict[str, Any]:
    return _row(hardware, f"SELECT * FROM gpu_idle WHERE run_id = '{run}'")


def test_idleness_by_activity(hardware) -> None:
    """Busy from 5 % of the cycles on; what is spent in eval, checkpoint and compile is not the loader's fault."""
    run = hardware.run()
    parts = [
        (60, 50.0, ""),
        (30, 4.9, ""),
        (20, 0.0, "eval"),
        (20, 0.0, "checkpoint"),
        (20, 90.0, "compile"),
        (10, 0.0, "warmup"),
    ]
    samples = [(active, phase) for seconds, active, phase in parts for _ in range(seconds)]
    hardware.gpu(run, [
        (i, {"sm_active_pct": active, "phase": phase, "gpu_util_pct": 100, "rank": 3,
             "sm_clock_mhz": 1000 + 500 * (active > 60)})
        for i, (active, phase) in enumerate(samples)
    ])  # fmt: skip
    row = _idle(hardware, run)
    assert (row["seconds"], row["idle_seconds"], row["excluded_seconds"], row["rank"]) == (100, 40, 60, 3)
    assert row["idle_fraction"] == pytest.approx(0.4)
    assert row["idle_gpu_hours"] == pytest.approx(40 / 3600)
    assert row["busy_sm_clock_mhz"] == 1000


@pytest.mark.parametrize(
    ("busy_mw", "idle_mw", "idle_seconds"),
    [(300_000, 60_000, 20), (65_000, 60_000, 60), (300_000, 299_000, 0)],
    ids=["seen idle", "runs a kernel that does nothing", "was never idle"],
)
def test_idleness_without_activity(hardware, busy_mw: int, idle_mw: int, idle_seconds: int) -> None:
    """A kernel runs, and it takes a tenth more than idle; one that never was idle has no such power to show."""
    run = hardware.run()
    hardware.gpu(run, [
        (i, {"gpu_util_pct": 100, "power_instant_mw": busy_mw if i < 40 else idle_mw, "power_limit_mw": 700_000})
        for i in range(60)
    ])  # fmt: skip
    assert _idle(hardware, run)["idle_seconds"] == idle_seconds


def test_samples_count_for_the_time_they_stand_for(hardware) -> None:
    """Ten a second, and one after which five ticks were left out; a device that says nothing is not called idle."""
    run = hardware.run()
    hardware.gpu(run, [(i / 10, {"sm_active_pct": 0.0}) for i in range(10)], period_ms=100)
    hardware.gpu(run, [(7, {"sm_active_pct": 80.0})], skipped=5)
    hardware.gpu(run, [(8, {"temp_gpu_c": 40})])
    row = _idle(hardware, run)
    assert (row["seconds"], row["idle_seconds"]) == (7, 1)


def test_how_far_clocks_are_down(hardware) -> None:
    """Busy at 1500 of 2000 MHz: a quarter is lost; idle clocks do not count; unknown when the most is not known."""
    run = hardware.run()
    for gpu in (0, 1):
        hardware.gpu(run, [(i, {"sm_active_pct": 90.0 * (i < 10), "sm_clock_mhz": 1500 if i < 10 else 300})
                           for i in range(20)], gpu=gpu)  # fmt: skip
    hardware.device(run, gpu=0, facts={"max_sm_clock_mhz": "2000"})
    hardware.device(run, gpu=1)
    rows = hardware.ask(f"SELECT clock_loss FROM gpu_clock_loss WHERE run_id = '{run}' ORDER BY gpu_uuid")
    assert rows == [{"clock_loss": pytest.approx(0.25)}, {"clock_loss": None}]


def test_throttling_per_reason(hardware) -> None:
    """Shares of the time from counters over three minutes, one begun anew; heat is a warning, the power cap is not."""
    run = hardware.run()
    second = 10**9
    samples = [
        (i, {
            "throttle_power_ns": 5 * second + i * second // 2,
            "throttle_hw_thermal_ns": i * second // 10 if i < 90 else (i - 90) * second // 10,
            "throttle_sw_thermal_ns": i * second // 200,
            "throttle_sync_boost_ns": 0,
        })
        for i in range(161)
    ]  # fmt: skip
    hardware.gpu(run, samples)
    rows = hardware.ask(
        f"SELECT reason, seconds, throttled_seconds AS s, fraction, severity FROM gpu_throttle WHERE run_id = '{run}'"
    )
    found = {row["reason"]: row for row in rows}
    # What the device does not report has no row: it is not 0.
    assert set(found) == {"power", "hw_thermal", "sw_thermal", "sync_boost"}
    assert found["power"] == {"reason": "power", "seconds": 160, "s": 80, "fraction": 0.5, "severity": "info"}
    assert found["hw_thermal"]["s"] == pytest.approx(8.9 + 7.0)
    assert found["hw_thermal"]["severity"] == "warning"
    assert (found["sw_thermal"]["fraction"], found["sw_thermal"]["severity"]) == (pytest.approx(0.005), "info")
    assert (found["sync_boost"]["fraction"], found["sync_boost"]["severity"]) == (0, "")


def test_a_gpu_that_is_capped_more_than_its_peers(hardware) -> None:
    """The power cap alone is no fault; ten points more of it than the median of the others is one."""
    run = hardware.run()
    hardware.gpus(run, {
        gpu: [(i, {"throttle_power_ns": round(i * share * 10**9)}) for i in range(101)]
        for gpu, share in enumerate([0.5, 0.5, 0.5, 0.5, 0.65])
    })  # fmt: skip
    rows = hardware.ask(
        f"SELECT gpu_uuid, peers_fraction, severity FROM gpu_throttle WHERE run_id = '{run}' ORDER BY gpu_uuid"
    )
    assert [row["severity"] for row in rows] == ["info"] * 4 + ["warning"]
    assert {row["peers_fraction"] for row in rows} == {0.5}


CAUSES: list[tuple[str, float, dict[str, Any], float, str]] = [
    ("late, and one core is full", 0.4, {"cpu_max_core_pct": 99.0}, 0, "preprocessing"),
    ("late, and the container is held back", 0.4, {"cgroup_throttled_us": 50_000}, 0, "preprocessing"),
    ("late, and all wait for a disk", 0.4, {"psi_io_full_us": 200_000}, 0, "storage"),
    ("late, and the network is full", 0.4, {"net_rx_bytes": 950_000_000}, 1e9, "remote store"),
    ("late, the network is full, but nobody said what it can", 0.4, {"net_rx_bytes": 950_000_000}, 0, "unknown"),
    ("late for no known reason", 0.4, {}, 1e9, "unknown"),
    ("not late", 0.01, {"cpu_max_core_pct": 99.0}, 0, ""),
]


@pytest.mark.parametrize(("about", "late", "each", "nic", "cause"), CAUSES, ids=[case[0] for case in CAUSES])
def test_why_data_is_late(hardware, about: str, late: float, each: dict[str, Any], nic: float, cause: str) -> None:
    """Each rule by evidence that holds for it alone; counters gain so much a second."""
    run = hardware.run()
    hardware.metric(run, "data", {i: (i, late) for i in range(60)}, rank=2)
    hardware.metric(run, "step", {i: (i, 1.0) for i in range(60)}, rank=2)
    gauges = {"cpu_pct": 20.0, "cpu_max_core_pct": 50.0}
    counters = {"cgroup_throttled_us": 0, "psi_io_full_us": 0, "net_rx_bytes": 1000, "ib_rx_bytes": 0}
    hardware.host(run, [
        (i, {**gauges, **{name: value * i for name, value in counters.items()},
             **{name: value * i if name in counters else value for name, value in each.items()},
             "ranks": [{"rank": 2, "pid": 7, "processes": 1}]})
        for i in range(60)
    ])  # fmt: skip
    hardware.gpu(run, [(i, {"rank": 2, "sm_active_pct": 60.0}) for i in range(60)])
    row = _row(hardware, f"SELECT * FROM loader_stall(run = '{run}', data_key = 'data', step_key = 'step', "
                         f"first_step = 0, last_step = 1000, nic_bytes_s = {nic})")  # fmt: skip
    assert (row["rank"], row["host"], row["cause"]) == (2, "n0", cause)
    assert row["stall_fraction"] == pytest.approx(late)


def test_an_idle_gpu_that_does_not_wait_for_data(hardware) -> None:
    """Data is there, and the GPU has nothing to do: that is not the loader. No node was sampled, either."""
    run = hardware.run()
    hardware.metric(run, "data", {i: (i, 0.01) for i in range(60)})
    hardware.metric(run, "step", {i: (i, 1.0) for i in range(60)})
    hardware.gpu(run, [(i, {"rank": 0, "sm_active_pct": 60.0 * (i % 2)}) for i in range(60)])
    row = _row(hardware, f"SELECT * FROM loader_stall(run = '{run}', data_key = 'data', step_key = 'step', "
                         "first_step = 0, last_step = 1000, nic_bytes_s = 0)")  # fmt: skip
    assert row["cause"].startswith("not the loader")
    assert row["gpu_idle"] == pytest.approx(0.5)


def _stragglers(hardware, run: str, own: dict[int, list[float]]) -> dict[int, dict[str, Any]]:
    points = {rank: {step: (step, value) for step, value in enumerate(values)} for rank, values in own.items()}
    hardware.metrics(run, "own", points)
    rows = hardware.ask(f"SELECT * FROM stragglers(run = '{run}', key = 'own')")
    return {row["rank"]: row for row in rows}


def test_a_slow_rank_among_its_peers(hardware) -> None:
    """A fifth slower for the last 20 steps, whatever was before; the others differ by some thousandths."""
    run = hardware.run()
    spread = [0.998, 0.999, 1.0, 1.001, 1.002, 1.0, 1.0]
    own = {rank: [9.0] * 5 + [value] * 20 for rank, value in enumerate(spread)}
    own[7] = [1.0] * 5 + [1.2] * 20
    found = _stragglers(hardware, run, own)
    assert [rank for rank, row in found.items() if row["straggler"]] == [7]
    assert found[7]["score"] == pytest.approx(1.2)
    assert (found[7]["steps"], found[7]["slow_steps"]) == (20, 20)
    assert found[0]["cost"] == found[7]["cost"] == pytest.approx(0.2)


@pytest.mark.parametrize(("slow", "told"), [(14, False), (15, True)])
def test_a_rank_that_is_slow_at_times(hardware, slow: int, told: bool) -> None:
    """15 of the 20 steps are needed. Peers that are equal to the last digit do not divide by zero."""
    run = hardware.run()
    own = {rank: [1.0] * 20 for rank in range(7)} | {7: [1.3] * slow + [1.0] * (20 - slow)}
    found = _stragglers(hardware, run, own)
    assert {rank: row["straggler"] for rank, row in found.items() if row["straggler"]} == ({7: True} if told else {})


def test_a_little_slower_is_no_straggler(hardware) -> None:
    """Many deviations above the others, but only 8 %: nobody would move a job for it."""
    run = hardware.run()
    own = {rank: [1.0 + rank / 10_000] * 20 for rank in range(7)} | {7: [1.08] * 20}
    rows = _stragglers(hardware, run, own)
    assert not any(row["straggler"] for row in rows.values())
    assert rows[7]["robust_z"] > 5


def test_what_a_slow_rank_shows(hardware) -> None:
    """The evidence beside the score: its clock is lower, it is hotter, its link is narrower than its peers'."""
    run = hardware.run()
    hardware.gpus(run, {
        rank: [
            (i, {"rank": rank, "sm_clock_mhz": 1980 - 600 * odd, "temp_gpu_c": 60 + 25 * odd, "pcie_replays": 3,
                 "pcie_width": 16 - 8 * odd, "throttle_hw_thermal_ns": i * 10**8 * odd,
                 "power_instant_mw": 600_000 - 200_000 * odd})
            for i in range(20)
        ]
        for rank, odd in enumerate([False, False, True, False])
    })  # fmt: skip
    found = _stragglers(hardware, run, {rank: [1.0 + 0.5 * (rank == 2)] * 20 for rank in range(4)})
    row = found[2]
    assert row["straggler"]
    assert row["gpu_uuid"] == "GPU-2"
    assert (row["sm_clock_mhz_delta"], row["temp_gpu_c_delta"], row["watts_delta"]) == (-600, 25, -200)
    assert row["thermal_s_delta"] == pytest.approx(1.9)
    assert (row["pcie_width"], row["peers_pcie_width"]) == (8, 16)
    assert (found[0]["sm_clock_mhz_delta"], found[0]["temp_gpu_c_delta"]) == (0, 0)


def test_devices_as_they_were_told_last(hardware) -> None:
    """The newest row per device counts; what it does not report is listed with its reason."""
    run = hardware.run()
    hardware.device(run, at=0, absent={"fan_pct": "no fan", "temp_mem_c": "old driver"})
    hardware.device(run, at=9, absent={"fan_pct": "no fan"}, facts={"driver": "2"}, gpu_index=4)
    hardware.device(run, at=5, facts={"driver": "1"})
    latest = hardware.ask(f"SELECT gpu_index, facts, absent FROM device_info_latest WHERE run_id = '{run}'")
    assert latest == [{"gpu_index": 4, "facts": {"driver": "2"}, "absent": {"fan_pct": "no fan"}}]
    absent = hardware.ask(f"SELECT host, device, column, reason FROM device_absent WHERE run_id = '{run}'")
    assert absent == [{"host": "n0", "device": "GPU-0", "column": "fan_pct", "reason": "no fan"}]
