"""Runs with hardware as people have it: nodes of eight GPUs with one that is hot, and a machine without any."""

import math

GIB = 1 << 30


def uuid(node, gpu):
    """UUID of a GPU."""
    return f"GPU-{node:04}{gpu:04}-0000"


def fleet(lab, path, begin, seconds=300, nodes=8, gpus=8, hot=(7, 3), every=1):
    """Samples of nodes from `begin` on, milliseconds since 1970; one GPU is throttled in the second half.

    Node 1 does not report power; node 2 had an XID.
    """
    half = seconds // 2
    for node in range(nodes):
        host = f"node-{node:02}"
        common = {"run_id": path, "host": host, "writer": node + 1}
        lab.sampled("device_info", _infos(common, begin, node, gpus))
        rows = []
        for second in range(0, seconds, every):
            held = max(0, second - half)
            rows.append(
                common
                | {"seq": second, "time": begin + 1000 * second, "period_ms": 1000 * every}
                | {"gpus": [_gpu(node, one, second, held if (node, one) == hot else 0) for one in range(gpus)]}
            )
        lab.sampled("gpu_ticks", rows)
        lab.sampled(
            "host_ticks", [host_tick(common, begin, second, node * gpus, gpus) for second in range(0, seconds, every)]
        )
    event = {"run_id": path, "host": "node-02", "device": uuid(2, 5), "facts": {}, "time": begin + 1000 * half}
    lab.sampled(
        "device_events", [event | {"kind": "xid", "severity": "error", "code": 79, "message": "XID 79 on GPU 5."}]
    )


def without_gpus(lab, path, begin, seconds=120, message="No NVIDIA driver was found: GPUs are not sampled."):
    """A machine that has none."""
    common = {"run_id": path, "host": "laptop", "writer": 1}
    lab.sampled("device_info", _infos(common, begin, 0, 0))
    event = {"kind": "no_driver", "severity": "warning", "device": "", "code": 12, "message": message, "facts": {}}
    lab.sampled("device_events", [common | event | {"time": begin}])
    lab.sampled("host_ticks", [host_tick(common, begin, second, 0, 1) for second in range(seconds)])


def _infos(common, begin, node, gpus):
    host = {"kind": "host", "device": "", "parent": "", "name": "EPYC 9654", "vendor": "AMD", "facts": {"cores": "96"}}
    absent = {"cgroup_mem_limit_bytes": "the container has no limit of memory"}
    rows = [common | host | {"seq": 0, "time": begin, "absent": absent}]
    for gpu in range(gpus):
        told = {
            "kind": "gpu",
            "device": uuid(node, gpu),
            "parent": "",
            "gpu_index": gpu,
            "name": "H100",
            "vendor": "NVIDIA",
        }
        absent = {"power_instant_mw": "driver says N/A on this SKU"} if node == 1 else {}
        rows.append(common | told | {"seq": 1 + gpu, "time": begin, "facts": {"driver": "550"}, "absent": absent})
    return rows


def _gpu(node, gpu, second, held):
    wave = math.sin(second / 20 + node + gpu)
    sample = {
        "gpu_uuid": uuid(node, gpu), "rank": node * 8 + gpu, "step": second // 2, "phase": "",
        "gpu_util_pct": 60 if held else round(95 + 3 * wave), "mem_used_bytes": 61 * GIB + node * GIB // 8,
        "energy_mj": 600_000 * second, "sm_clock_mhz": 1100 if held else round(1950 + 20 * wave),
        "temp_gpu_c": min(94, 62 + held) if held else round(62 + 2 * wave), "throttle_power_ns": 0,
        "throttle_sw_thermal_ns": 0, "throttle_hw_thermal_ns": 600_000_000 * held, "throttle_hw_brake_ns": 0,
        "sm_active_pct": 88 + 4 * wave, "tensor_active_pct": 51 + 3 * wave, "pcie_tx_bytes_s": round(2e9 + 1e8 * wave),
    }  # fmt: skip
    return sample if node == 1 else sample | {"power_instant_mw": 380_000 if held else round(640_000 + 30_000 * wave)}


def host_tick(common, begin, second, first, ranks):
    """One record of host_ticks."""
    return common | {
        "seq": second, "time": begin + 1000 * second, "period_ms": 1000, "cpu_pct": 30 + 5 * math.sin(second / 15),
        "cpu_max_core_pct": 92.0, "mem_used_bytes": 180 * GIB, "psi_io_some_us": 40_000 * second,
        "net_rx_bytes": 120_000_000 * second, "net_tx_bytes": 9_000_000 * second,
        "disk_read_bytes": 30_000_000 * second, "disk_write_bytes": 2_000_000 * second, "disk_used_pct": 41.0,
        "ranks": [
            {
                "rank": first + one, "pid": 4000 + one, "step": second // 2, "phase": "", "processes": 9,
                "cpu_us": 1_500_000 * second, "rss_bytes": 48 * GIB, "threads": 140, "fds": 310,
            }
            for one in range(ranks)
        ],
    }  # fmt: skip
