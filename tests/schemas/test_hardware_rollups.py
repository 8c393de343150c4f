"""Rollups against a model in plain Python: whatever arrives in whatever order, and in however many inserts."""

import random
from typing import Any

import pytest

GAUGES = {
    "gpu_util_pct": lambda draw: draw.randint(0, 100),
    "power_instant_mw": lambda draw: draw.randint(50_000, 700_000),
    "temp_gpu_c": lambda draw: draw.randint(-5, 95),
    "nvlink_tx_bytes_s": lambda draw: draw.randint(0, 10**12),
    "tensor_active_pct": lambda draw: draw.randint(0, 1000) / 8,
}
COUNTERS = ["energy_mj", "throttle_power_ns", "throttle_hw_thermal_ns"]


def _samples(draw: random.Random) -> list[tuple[int, int, dict[str, Any]]]:
    """(GPU, milliseconds, fields): two GPUs, odd times, phases that change within ten seconds, gaps and nulls."""
    made = []
    for gpu in (0, 1):
        at, counters = 0, dict.fromkeys(COUNTERS, 10**9)
        for _ in range(150):
            at += draw.choice((100, 250, 1000, 1000, 7000))
            counters = {name: value + draw.randint(0, 10**6) for name, value in counters.items()}
            fields = {name: make(draw) for name, make in GAUGES.items()} | counters
            sample = {name: value for name, value in fields.items() if draw.random() < 0.8}
            sample |= {"phase": draw.choice(("", "", "eval")), "clock_event_reasons": draw.choice((0, 1, 4, 64))}
            sample |= {"rank": gpu, "step": at // 2000}
            made.append((gpu, at, sample))
    draw.shuffle(made)
    return made


def _expected(samples: list[tuple[int, int, dict[str, Any]]], seconds: int) -> dict[tuple[str, int, str], dict]:
    groups: dict[tuple[str, int, str], list[tuple[int, dict[str, Any]]]] = {}
    for gpu, at, sample in samples:
        key = (f"GPU-{gpu}", at // (seconds * 1000) * seconds, sample["phase"])
        groups.setdefault(key, []).append((at, sample))
    result = {}
    for key, found in groups.items():
        row: dict[str, Any] = {"samples": len(found), "step": max(sample["step"] for _, sample in found)}
        row["reasons"] = 0
        for _, sample in found:
            row["reasons"] |= sample["clock_event_reasons"]
        for name in GAUGES:
            values = [sample[name] for _, sample in found if name in sample]
            row |= {f"{name}_min": min(values, default=None), f"{name}_max": max(values, default=None)}
            row |= {f"{name}_sum": sum(values), f"{name}_count": len(values)}
        for name in COUNTERS:
            told = sorted((at, sample[name]) for at, sample in found if name in sample)
            row |= {f"{name}_first": told[0][1] if told else None, f"{name}_last": told[-1][1] if told else None}
            row[f"{name}_max"] = max((value for _, value in told), default=None)
        result[key] = row
    return result


def _rows(hardware, run: str, seconds: int) -> dict[tuple[str, int, str], dict]:
    gauges = ", ".join(
        f"min({n}_min) AS {n}_min, max({n}_max) AS {n}_max, sum({n}_sum) AS {n}_sum, sum({n}_count) AS {n}_count"
        for n in GAUGES
    )
    counters = ", ".join(
        f"argMinMerge({n}_first) AS {n}_first, argMaxMerge({n}_last) AS {n}_last, max({n}_max) AS {n}_max"
        for n in COUNTERS
    )
    # Names that stand for themselves within an aggregate: the subquery keeps them apart.
    rows = hardware.ask(
        f"SELECT * FROM (SELECT gpu_uuid, toUnixTimestamp(start) AS at, phase, sum(r.samples) AS samples, "
        f"max(r.step) AS step, groupBitOr(clock_event_reasons) AS reasons, "
        f"{_qualified(gauges)}, {_qualified(counters)} "
        f"FROM gpu_rollup_{seconds}s AS r WHERE run_id = '{run}' GROUP BY gpu_uuid, at, phase)"
    )
    return {(row.pop("gpu_uuid"), row.pop("at") - 1_700_000_040, row.pop("phase")): row for row in rows}


def _qualified(text: str) -> str:
    return text.replace("(", "(r.")


@pytest.mark.parametrize("seed", range(3))
def test_the_rollups_say_what_the_samples_say(hardware, seed: int) -> None:
    """Least, most, sum, number, first, last and reasons by ten seconds and by minute; merged or not."""
    run, draw = hardware.run(), random.Random(seed)
    samples = _samples(draw)
    for start in range(0, len(samples), 37):
        hardware.insert("landing_gpu_ticks", [
            hardware.tick(run, at / 1000, gpus=[{"gpu_uuid": f"GPU-{gpu}", **sample}])
            for gpu, at, sample in samples[start : start + 37]
        ])  # fmt: skip
    for seconds in (10, 60):
        assert _rows(hardware, run, seconds) == _expected(samples, seconds)
        hardware.store.query(f"OPTIMIZE TABLE gpu_rollup_{seconds}s FINAL", database=hardware.database)
        assert _rows(hardware, run, seconds) == _expected(samples, seconds)


def test_times_before_1970_have_buckets_too(hardware) -> None:
    """A clock that was never set: the bucket begins before the sample, not after it."""
    run = hardware.run()
    hardware.gpu(run, [(-1_700_000_040 - 3.5, {"gpu_util_pct": 7})])
    row = hardware.ask(
        f"SELECT toString(start) AS start, gpu_util_pct_sum AS s FROM gpu_rollup_10s WHERE run_id = '{run}'"
    )
    assert row == [{"start": "1969-12-31 23:59:50.000", "s": 7}]


def test_rollups_of_nodes(hardware) -> None:
    """Gauges and counters of a node, a missing value within."""
    run = hardware.run()
    values = [10.0, 30.0, None, 50.0]
    hardware.host(run, [
        (5 + i, {"cpu_max_core_pct": value, "psi_io_full_us": 100 * i, "net_rx_bytes": 10**12 + i})
        for i, value in enumerate(values)
    ])  # fmt: skip
    row = hardware.ask(
        "SELECT min(cpu_max_core_pct_min) AS least, max(cpu_max_core_pct_max) AS most, sum(cpu_max_core_pct_sum) AS s, "
        "sum(cpu_max_core_pct_count) AS n, argMinMerge(psi_io_full_us_first) AS f, "
        "argMaxMerge(psi_io_full_us_last) AS l, "
        f"argMaxMerge(net_rx_bytes_last) AS rx, sum(samples) AS t FROM host_rollup_60s WHERE run_id = '{run}'"
    )
    assert row == [{"least": 10, "most": 50, "s": 90, "n": 3, "f": 0, "l": 300, "rx": 10**12 + 3, "t": 4}]
    assert hardware.ask(f"SELECT count() AS n FROM host_rollup_10s WHERE run_id = '{run}'") == [{"n": 1}]
