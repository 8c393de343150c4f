"""Tables of GPUs and nodes: garbage becomes dead letters alone, impossible values are none, nothing counts twice."""

import copy
import json
import math

import pytest

from runtide_consumers.clickhouse import Store
from runtide_schemas import STREAMS, Address

FAR = 10**17


def test_the_landing_tables_have_the_fields_of_the_schemas(hardware) -> None:
    """Every field of a stream has its column of that name, nested records too, and the tables keep each of them."""
    for stream in ("gpu_ticks", "host_ticks", "device_info", "device_events"):
        fields = [field["name"] for field in STREAMS[stream].schema["fields"]]
        columns = hardware.ask(
            f"SELECT name, type FROM system.columns WHERE table = 'landing_{stream}' AND default_kind = '' "
            "AND database = currentDatabase() ORDER BY position"
        )
        assert [column["name"] for column in columns][4:] == fields
    gpus = STREAMS["gpu_ticks"].schema["fields"][-1]["type"]["items"]["fields"]
    kept = {row["name"] for row in hardware.ask(
        "SELECT name FROM system.columns WHERE table = 'gpu_samples' AND database = currentDatabase()")}  # fmt: skip
    histories = {"util_history_us", "util_history_pct", "power_history_us", "power_history_mw", "extra"}
    assert {field["name"] for field in gpus} - histories <= kept
    hosts = {row["name"] for row in hardware.ask(
        "SELECT name FROM system.columns WHERE table = 'host_samples' AND database = currentDatabase()")}  # fmt: skip
    wanted = {field["name"] for field in STREAMS["host_ticks"].schema["fields"]}
    assert wanted - {"devices", "ranks", "extra"} <= hosts


def _gpu(hardware, run: str, **changes) -> dict:
    """A sound record with every kind of content."""
    sample = {
        "gpu_uuid": "GPU-0", "rank": 0, "step": 5, "gpu_util_pct": 90, "energy_mj": 1000, "sm_active_pct": 50.0,
        "util_history_us": [(1_700_000_040) * 10**6], "util_history_pct": [12.5], "power_history_us": [],
        "power_history_mw": [], "extra": {"odd": 1.5},
    }  # fmt: skip
    gpus = changes.pop("gpus", [{}])
    return hardware.tick(run, 0, gpus=[{**sample, **one} for one in gpus]) | changes


LIES = [
    ("gpu", {"run_id": "no-path"}, "run_id is not entity/project/id"),
    ("gpu", {"run_id": ""}, "run_id is not entity/project/id"),
    ("gpu", {"host": ""}, "no name of the node"),
    ("gpu", {"time": FAR}, "a time outside 1900 to 2299"),
    ("gpu", {"time": -FAR}, "a time outside 1900 to 2299"),
    ("gpu", {"gpus": []}, "a record without GPUs"),
    ("gpu", {"gpus": [{"gpu_uuid": ""}]}, "a GPU without a UUID"),
    ("gpu", {"gpus": [{}, {"util_history_us": []}]}, "a history and its times differ in length"),
    ("gpu", {"gpus": [{"power_history_mw": [1, 2, 3]}]}, "a history and its times differ in length"),
    ("gpu", {"gpus": [{"util_history_us": [2**62]}]}, "a time outside 1900 to 2299"),
    ("gpu", {"gpus": [{"power_history_us": [-(2**62)], "power_history_mw": [1]}]}, "a time outside 1900 to 2299"),
    ("host", {"run_id": "a/b"}, "run_id is not entity/project/id"),
    ("host", {"host": ""}, "no name of the node"),
    ("host", {"time": FAR}, "a time outside 1900 to 2299"),
    ("info", {"kind": "fridge"}, "a kind that is neither host nor gpu nor mig"),
    ("info", {"host": ""}, "no name of the node"),
    ("info", {"time": FAR}, "a time outside 1900 to 2299"),
    ("event", {"severity": "dire"}, "a severity that is neither info nor warning nor error"),
    ("event", {"run_id": "a/b/c/d"}, "run_id is not entity/project/id"),
    ("event", {"time": FAR}, "a time outside 1900 to 2299"),
]
TABLES = {
    "gpu": ("gpu_ticks", "gpu_samples"),
    "host": ("host_ticks", "host_samples"),
    "info": ("device_info", "device_info"),
    "event": ("device_events", "device_events"),
}


def _record(hardware, kind: str, run: str, changes: dict) -> dict:
    head = hardware.tick(run, 0)
    head = {name: head[name] for name in ("_source", "run_id", "writer", "seq", "host", "time")}
    if kind == "gpu":
        return _gpu(hardware, run, **copy.deepcopy(changes))
    if kind == "host":
        return hardware.tick(run, 0, cpu_pct=5.0) | changes
    if kind == "info":
        return {**head, "kind": "gpu", "device": "GPU-0", "name": "x", **changes}
    return {**head, "kind": "xid", "severity": "error", "message": "x", **changes}


@pytest.mark.parametrize(("kind", "changes", "reason"), LIES)
def test_a_record_that_lies_goes_to_the_dead_letters_alone(hardware, kind: str, changes: dict, reason: str) -> None:
    """Nothing of it is in any table, its neighbours are, and the reason is kept with its origin."""
    run, (stream, table) = hardware.run(), TABLES[kind]
    good = _record(hardware, kind, run, {})
    bad = _record(hardware, kind, run, changes) | {"_offset": 1, "_partition": 7}
    second = {**good, "time": good["time"] + 1000, "_offset": 2}
    hardware.insert(f"landing_{stream}", [good, bad, second])
    assert hardware.ask(f"SELECT count() AS n FROM {table} WHERE run_id = '{run}'") == [{"n": 2}]
    dead = hardware.ask(f"SELECT stream, reason, partition, offset FROM dead_letters WHERE source = '{run}'")
    assert dead == [{"stream": stream, "reason": reason, "partition": 7, "offset": 1}]
    if kind == "gpu":
        assert hardware.ask(f"SELECT sum(samples) AS n FROM gpu_rollup_10s WHERE run_id = '{run}'") == [{"n": 2}]
        # The same time of the driver in both records: one row once it is merged.
        assert hardware.ask(f"SELECT count() AS n FROM gpu_history FINAL WHERE run_id = '{run}'") == [{"n": 1}]
        assert hardware.ask(f"SELECT count() AS n FROM sample_extras WHERE run_id = '{run}'") == [{"n": 2}]


@pytest.mark.parametrize(
    ("kind", "column"),
    [("gpu", "host"), ("gpu", "gpus.gpu_uuid"), ("gpu", "gpus.phase"), ("host", "host"), ("info", "name"),
     ("info", "absent"), ("event", "message"), ("event", "facts")],
)  # fmt: skip
def test_text_that_is_not_utf8_is_no_row(hardware, kind: str, column: str) -> None:
    """Such bytes would break whoever reads the answer: they stay in the dead letters."""
    run, (stream, table) = hardware.run(), TABLES[kind]
    good = _record(hardware, kind, run, {"time": 1_700_000_000_000})
    bad = _record(hardware, kind, run, {})
    match column:
        case "gpus.gpu_uuid":
            bad["gpus"][0]["gpu_uuid"] = "MARK"
        case "gpus.phase":
            bad["gpus"][0]["phase"] = "MARK"
        case "absent" | "facts":
            bad[column] = {"a": "MARK"}
        case _:
            bad[column] = "MARK"
    body = b"\n".join((json.dumps(good).encode(), json.dumps(bad).encode().replace(b"MARK", b"\xff\xfe")))
    hardware.store.query(f"INSERT INTO landing_{stream} FORMAT JSONEachRow", body, database=hardware.database)
    assert hardware.ask(f"SELECT count() AS n FROM {table} WHERE run_id = '{run}'") == [{"n": 1}]
    assert hardware.ask(f"SELECT count() AS n FROM dead_letters WHERE source = '{run}'") == [{"n": 1}]


def test_values_that_cannot_be_are_none(hardware) -> None:
    """Negative, too large, NaN and infinite values are null and leave the fields beside them; zero stays zero."""
    run, most = hardware.run(), 2**63 - 1
    sample = {
        "gpu_uuid": "GPU-0", "gpu_util_pct": -1, "mem_util_pct": 300, "mem_used_bytes": 0, "power_instant_mw": most,
        "energy_mj": most, "sm_clock_mhz": 70_000, "temp_gpu_c": -40, "temp_mem_c": 40_000, "pcie_width": 0,
        "throttle_power_ns": -5, "recovery_action": -(2**63),
    }  # fmt: skip
    nan, inf = math.nan, math.inf
    floats = {"sm_active_pct": nan, "tensor_active_pct": inf, "dram_active_pct": -inf, "fp16_active_pct": -1.0}
    history = {"util_history_us": [1, 2], "util_history_pct": [nan, 3.0]}
    tick = hardware.tick(run, 0, period_ms=-5, tick_us=-1, skipped=-(2**31), gpus=[sample | floats | history])
    hardware.avro("gpu_ticks", [tick])
    row = hardware.ask(f"SELECT * FROM gpu_samples WHERE run_id = '{run}'")[0]
    none = {*sample, *floats} - {"gpu_uuid", "mem_used_bytes", "energy_mj", "temp_gpu_c", "pcie_width"}
    assert {name for name in none if row[name] is not None} == set()
    assert (row["mem_used_bytes"], row["energy_mj"], row["temp_gpu_c"], row["pcie_width"]) == (0, most, -40, 0)
    assert (row["period_ms"], row["tick_us"], row["skipped"]) == (0, 0, 0)
    rollup = hardware.ask(f"SELECT * FROM gpu_rollup_10s WHERE run_id = '{run}'")[0]
    assert (rollup["gpu_util_pct_min"], rollup["gpu_util_pct_sum"], rollup["gpu_util_pct_count"]) == (None, 0, 0)
    assert (rollup["sm_active_pct_max"], rollup["sm_active_pct_sum"], rollup["sm_active_pct_count"]) == (None, 0, 0)
    assert hardware.ask(f"SELECT value FROM gpu_history WHERE run_id = '{run}'") == [{"value": 3}]
    assert (rollup["temp_gpu_c_min"], rollup["temp_gpu_c_sum"], rollup["temp_gpu_c_count"]) == (-40, -40, 1)
    assert hardware.ask(f"SELECT count() AS n FROM dead_letters WHERE source = '{run}'") == [{"n": 0}]


def test_a_host_without_numbers_is_a_row_without_numbers(hardware) -> None:
    """Infinite and negative values of a node are none; devices and ranks beside them count."""
    run = hardware.run()
    hardware.avro("host_ticks", [hardware.tick(
        run, 0, cpu_pct=math.nan, load_1m=-1.0, mem_used_bytes=-1, net_rx_bytes=5,
        devices=[{"kind": "net", "name": "eth0", "in_bytes": -3, "out_bytes": 4}],
        ranks=[{"rank": 3, "pid": 1, "processes": -1, "cpu_us": -7, "rss_bytes": 8}],
    )])  # fmt: skip
    row = hardware.ask(
        f"SELECT cpu_pct, load_1m, mem_used_bytes, net_rx_bytes FROM host_samples WHERE run_id = '{run}'"
    )
    assert row == [{"cpu_pct": None, "load_1m": None, "mem_used_bytes": None, "net_rx_bytes": 5}]
    device = hardware.ask(f"SELECT in_bytes, out_bytes FROM host_devices WHERE run_id = '{run}'")
    assert device == [{"in_bytes": 0, "out_bytes": 4}]
    rank = hardware.ask(f"SELECT rank, processes, cpu_us, rss_bytes FROM rank_processes WHERE run_id = '{run}'")
    assert rank == [{"rank": 3, "processes": 0, "cpu_us": None, "rss_bytes": 8}]
    rollup = hardware.ask(f"SELECT cpu_pct_sum, cpu_pct_count, samples FROM host_rollup_60s WHERE run_id = '{run}'")
    assert rollup == [{"cpu_pct_sum": 0, "cpu_pct_count": 0, "samples": 1}]


def test_a_huge_map_is_kept(hardware) -> None:
    """Ten thousand metrics without a column of their own become as many rows, NaN among them."""
    run = hardware.run()
    extra = {f"vendor/metric{i}": i / 3 for i in range(10_000)} | {"odd": math.nan}
    hardware.avro("gpu_ticks", [_gpu(hardware, run, gpus=[{"extra": extra}])])
    found = hardware.ask(
        f"SELECT count() AS n, countIf(isNaN(value)) AS nans, sumIf(value, name = 'vendor/metric9999') AS last "
        f"FROM sample_extras WHERE run_id = '{run}' AND gpu_uuid = 'GPU-0'"
    )
    assert found == [{"n": 10_001, "nans": 1, "last": 3333.0}]


def test_an_insert_that_is_repeated_counts_once(hardware) -> None:
    """The consumer's insert with the same token twice: every table and every rollup has each sample once."""
    run, store = hardware.run(), hardware.store
    writer = Store(Address("http", store.host, store.port, "default", store.password, hardware.database))
    gpu = [_gpu(hardware, run, time=(1_700_000_040 + i) * 1000) for i in range(30)]
    host = [hardware.tick(run, i, cpu_pct=1.0, devices=[{"kind": "net", "name": "e", "in_bytes": 1, "out_bytes": 1}],
                          ranks=[{"rank": 0, "pid": 1, "processes": 1}]) for i in range(30)]  # fmt: skip
    for _ in range(2):
        writer.insert_rows("landing_gpu_ticks", gpu, f"gpu/{run}")
        writer.insert_rows("landing_host_ticks", host, f"host/{run}")
    counts = {
        table: hardware.ask(f"SELECT {what} AS n FROM {table} WHERE run_id = '{run}'")[0]["n"]
        for table, what in (
            ("gpu_samples", "count()"), ("gpu_rollup_10s", "sum(samples)"), ("gpu_rollup_60s", "sum(samples)"),
            ("gpu_rollup_60s", "sum(gpu_util_pct_count)"), ("sample_extras", "count()"), ("host_samples", "count()"),
            ("host_rollup_10s", "sum(samples)"), ("host_rollup_60s", "sum(cpu_pct_count)"), ("host_devices", "count()"),
            ("rank_processes", "count()"), ("gpu_history", "count()"),
        )
    }  # fmt: skip
    # The driver's sample of this test stands in every record under one time: one insert is sorted, and keeps one.
    assert counts.pop("gpu_history") == 1
    assert set(counts.values()) == {30}, counts
    writer.insert_rows("landing_gpu_ticks", gpu, f"gpu/{run}/again")
    assert hardware.ask(f"SELECT sum(samples) AS n FROM gpu_rollup_60s WHERE run_id = '{run}'") == [{"n": 60}]
    assert hardware.ask(f"SELECT count() AS n FROM gpu_samples FINAL WHERE run_id = '{run}'") == [{"n": 30}]
