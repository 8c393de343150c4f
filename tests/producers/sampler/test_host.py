"""The host as a source: from constructed trees, and on the machine that runs the tests."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtide._sampler._host import HostSource, used_percent
from runtide._sampler._source import Tier
from runtide_schemas import STREAMS, decode, encode

Tree = Callable[[dict[str, str]], Path]
ALL = frozenset(Tier)
STAT = "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 {}\ncpu1 {}\nintr 1 2 3\n"
FILES = {
    "proc/stat": STAT.format("100 0 50 800 50 0 0 0 0 0", "100 0 50 800 50 0 0 0 0 0"),
    "proc/loadavg": "1.50 1.00 0.50 2/300 999\n",
    "proc/meminfo": "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=111\nfull avg10=0.00 total=222\n",
    "proc/pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=333\nfull avg10=0.00 total=444\n",
    "proc/net/dev": "Inter-|   Receive\n face |bytes\n"
    "    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0\n"
    "  eth0: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n"
    " bond0: 30 1 0 0 0 0 0 0 40 1 0 0 0 0 0 0\n"
    "  eth1:30 1 0 0 0 0 0 0 40 1 0 0 0 0 0 0\n",
    "sys/class/net/eth1/bonding_slave/state": "active",
    "sys/class/net/eth0/mtu": "1500",
    "sys/class/infiniband/mlx5_0/ports/1/counters/port_rcv_data": "25\n",
    "sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data": "50\n",
    "proc/diskstats": "   8 0 sda 1 0 10 0 1 0 20 0 0 0 0\n   8 1 sda1 1 0 10 0 1 0 20 0 0 0 0\n"
    " 253 0 dm-0 1 0 10 0 1 0 20 0 0 0 0\n   7 0 loop0 1 0 10 0 1 0 20 0 0 0 0\n"
    " 259 0 nvme0n1 1 0 1 0 1 0 2 0 0 0 0\n",
    "sys/block/sda/size": "1",
    "sys/block/nvme0n1/size": "1",
    "sys/block/dm-0/slaves/sda/size": "1",
    "sys/block/loop0/size": "1",
    "proc/cpuinfo": "".join(
        f"processor : {n}\nvendor_id : GenuineIntel\nmodel name : Xeon\nphysical id : 0\ncore id : {n // 2}\n\n"
        for n in range(4)
    ),
    "proc/sys/kernel/osrelease": "6.1.0\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n',
}  # fmt: skip


def test_every_field_of_a_constructed_node(tree: Tree) -> None:
    """One core worked, the other waited; partitions, mirrors, loops and bonded interfaces are not counted twice."""
    source = HostSource(tree(FILES))
    root = tree({"proc/stat": STAT.format("160 0 80 800 50 5 5 0 0 0", "100 0 50 850 90 0 0 10 0 0")})
    assert root.exists()
    (row,) = source.tick(ALL)
    devices = {(device["kind"], device["name"]): device for device in row.pop("devices")}
    assert row == {
        "load_1m": 1.5,
        # Of 200 ticks: 60 in programs, 40 in the kernel, 40 waited, 10 were stolen.
        "cpu_pct": 50.0,
        "cpu_user_pct": 30.0,
        "cpu_system_pct": 20.0,
        "cpu_iowait_pct": 20.0,
        "cpu_steal_pct": 5.0,
        "cpu_max_core_pct": 100.0,
        "mem_used_bytes": 600 << 10,
        "mem_available_bytes": 400 << 10,
        "swap_used_bytes": 30 << 10,
        "psi_cpu_some_us": 111,
        "psi_cpu_full_us": 222,
        "psi_io_some_us": 333,
        "psi_io_full_us": 444,
        "net_rx_bytes": 130,
        "net_tx_bytes": 240,
        "ib_rx_bytes": 100,
        "ib_tx_bytes": 200,
        "disk_read_bytes": 11 * 512,
        "disk_write_bytes": 22 * 512,
    }
    assert set(devices) == {
        ("net", "eth0"),
        ("net", "bond0"),
        ("net", "eth1"),
        ("ib", "mlx5_0:1"),
        ("disk", "sda"),
        ("disk", "nvme0n1"),
    }
    assert devices["ib", "mlx5_0:1"]["out_bytes"] == 200


def test_what_is_known_of_the_host(tree: Tree) -> None:
    """Processor, memory and kernel, and why a column stays empty."""
    (device,) = HostSource(tree(FILES | {"run/.containerenv": ""})).devices()
    assert (device.kind, device.name, device.vendor, device.mem_total_bytes) == (
        "host",
        "Xeon",
        "GenuineIntel",
        1000 << 10,
    )
    assert device.facts == {
        "cores": "2",
        "threads": "2",
        "usable_threads": str(len(os.sched_getaffinity(0))),
        "kernel": "6.1.0",
        "os": "Debian GNU/Linux 12",
        "container": "podman",
        "swap_bytes": str(50 << 10),
    }
    assert set(device.absent) == {"psi_mem_some_us", "psi_mem_full_us"}


def test_only_when_its_tier_is_due(tree: Tree) -> None:
    """Ten ticks a second are for GPUs."""
    source = HostSource(tree(FILES))
    assert source.tick(frozenset({Tier.FAST})) == []
    assert source.tick(frozenset({Tier.FAST, Tier.MEDIUM}))


def test_two_samples_without_time_between_them_tell_no_share(tree: Tree) -> None:
    """Absent, and neither 0 % nor 100 %; the same when a processor was switched off meanwhile."""
    source = HostSource(tree(FILES))
    assert not [name for name in source.tick(ALL)[0] if name.startswith("cpu")]
    tree({"proc/stat": "cpu0 900 0 0 900 0 0 0 0\n"})
    assert not [name for name in source.tick(ALL)[0] if name.startswith("cpu")]


def test_a_machine_with_nothing_to_read(tree: Tree) -> None:
    """An empty row is a row; the host has a name nevertheless."""
    source = HostSource(tree({"nothing": ""}))
    assert source.tick(ALL) == [{"devices": []}]
    (device,) = source.devices()
    assert device.name
    assert device.facts["container"] == "no"


def test_the_row_of_this_machine_agrees_with_psutil() -> None:
    """The same counters, by another reader of them."""
    before = psutil.net_io_counters(pernic=True), psutil.disk_io_counters(perdisk=True)
    (row,) = HostSource().tick(ALL)
    after = psutil.net_io_counters(pernic=True), psutil.disk_io_counters(perdisk=True)
    for device in row["devices"]:
        if device["kind"] == "net":
            assert before[0][device["name"]].bytes_recv <= device["in_bytes"] <= after[0][device["name"]].bytes_recv
        elif device["kind"] == "disk":
            assert before[1][device["name"]].write_bytes <= device["out_bytes"]
            assert device["out_bytes"] <= after[1][device["name"]].write_bytes
    total = psutil.virtual_memory().total
    assert 0 < row["mem_available_bytes"] <= total
    assert row["mem_used_bytes"] + row["mem_available_bytes"] == total
    assert used_percent(Path("/")) == pytest.approx(psutil.disk_usage("/").percent, abs=1)
    assert used_percent(Path("/nowhere/at/all")) is None
    fields = {field["name"] for field in STREAMS["host_ticks"].schema["fields"]}
    assert set(row) <= fields


GARBAGE = st.binary(max_size=80) | st.sampled_from(
    [b"cpu0 1 2", b"cpu0 x y z", b"some total=", b"eth0: 1", b"8 0 sda 1 1 1", b"MemTotal: kB", b"cpu0 " + b"9" * 40]
)


@given(first=GARBAGE, second=GARBAGE)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_garbage_never_raises(tree: Tree, first: bytes, second: bytes) -> None:
    """Whatever the kernel's files hold: a row comes of it that the wire takes."""
    root = tree(FILES)
    names = [name for name in FILES if name.startswith(("proc/", "sys/class/infiniband", "etc"))]
    for name in names:
        (root / name).write_bytes(first)
    source = HostSource(root)
    for name in names:
        (root / name).write_bytes(second)
    (row,) = source.tick(ALL)
    source.devices()
    head = {
        "run_id": "a/b/c",
        "writer": 1,
        "seq": 0,
        "host": "h",
        "time": 0,
        "period_ms": 1,
        "tick_us": 1,
        "skipped": 0,
    }
    stream = STREAMS["host_ticks"]
    decode(stream, encode(stream, {**head, **row}))
