"""XIDs and other events of the driver, from the thread that waits for them."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest
from tests.producers.gpu.conftest import Node, uuid
from tests.producers.gpu.fake_pynvml import FakeGpu, Fault, Mig

from runtide._sampler._source import Event, Tier

Make = Callable[..., Node]
XID = pynvml.nvmlEventTypeXidCriticalError


def wait(of: Node, kind: str, until: Callable[[Callable[[], object], str], None]) -> Event:
    found: list[Event] = []
    until(lambda: found.extend(of.events(kind)) or found, f"an event {kind}")
    return found[0]


@pytest.mark.parametrize(
    ("xid", "severity", "words"),
    [
        (13, "warning", "a kernel"),
        (31, "warning", "memory that is not its own"),
        (43, "warning", "stopped working"),
        (45, "warning", "torn down"),
        (68, "warning", "video"),
        (109, "warning", "timed out"),
        (48, "error", "could not be corrected"),
        (79, "error", "fallen off the bus"),
        (119, "error", "does not answer"),
        (777, "error", "catalogue"),
    ],
)
def test_xids(node: Make, until: Callable[..., None], xid: int, severity: str, words: str) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)))
    of.fake.tell(1, XID, xid)
    event = wait(of, "xid", until)
    assert (event.severity, event.code, event.device) == (severity, xid, uuid(1))
    assert f"XID {xid}" in event.message
    assert words in event.message


@pytest.mark.parametrize("xid", [79, 119, 120])
def test_after_a_fatal_xid_the_gpu_is_not_asked_any_more(node: Make, until: Callable[..., None], xid: int) -> None:
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)))
    of.tick()
    of.fake.tell(0, XID, xid)
    wait(of, "xid", until)
    before = sum(place == 0 for _, place in of.fake.calls)
    for _ in range(10):
        assert [row["gpu_uuid"] for row in of.tick(after=60)] == [uuid(1)]
    assert sum(place == 0 for _, place in of.fake.calls) == before
    lost = of.events("gpu_lost")
    assert [(event.device, event.code) for event in lost] == [(uuid(0), xid)]
    assert "start the sampler again" in lost[0].message
    assert [device.device for device in of.source.devices()] == [uuid(0), uuid(1)]
    # Nor when NVML has to be started again.
    of.fake.nvmlShutdown()
    of.tick(after=1)
    assert [row["gpu_uuid"] for row in of.tick(after=60)] == [uuid(1)]
    assert sum(place == 0 for _, place in of.fake.calls) == before


def test_an_application_xid_changes_nothing_else(node: Make, until: Callable[..., None]) -> None:
    of = node()
    of.fake.tell(0, XID, 31)
    wait(of, "xid", until)
    assert len(of.tick(after=1)) == 1


@pytest.mark.parametrize(
    ("kind", "name", "severity"),
    [
        (pynvml.nvmlEventTypeDoubleBitEccError, "ecc_error", "error"),
        (pynvml.nvmlEventTypeSingleBitEccErrorStorm, "ecc_error", "warning"),
        (pynvml.nvmlEventTypeGpuUnavailableError, "gpu_unavailable", "error"),
        (pynvml.nvmlEventTypeGpuRecoveryAction, "recovery", "warning"),
        (1 << 40, "gpu_event", "info"),
    ],
)
def test_other_events(node: Make, until: Callable[..., None], kind: int, name: str, severity: str) -> None:
    of = node()
    of.fake.tell(0, kind)
    event = wait(of, name, until)
    assert (event.severity, event.device, event.facts["type"]) == (severity, uuid(0), hex(kind))


def test_a_change_of_mig_instances_is_seen_at_the_next_tick(node: Make, until: Callable[..., None]) -> None:
    gpu = FakeGpu(uuid(0))
    of = node(gpu)
    of.tick()
    gpu.migs.append(Mig("MIG-a", 3))
    of.fake.tell(0, pynvml.nvmlEventMigConfigChange)
    wait(of, "mig_changed", until)
    assert [row["mig_uuid"] for row in of.tick(Tier.FAST, after=1)] == ["", "MIG-a"]


def test_a_gpu_is_asked_only_for_events_that_it_has(node: Make, until: Callable[..., None]) -> None:
    of = node(FakeGpu(uuid(0), supported_events=XID), FakeGpu(uuid(1), supported_events=0))
    assert of.fake.count("nvmlDeviceRegisterEvents", 0) == 1
    assert of.fake.count("nvmlDeviceRegisterEvents", 1) == 0
    of.fake.tell(0, XID, 31)
    wait(of, "xid", until)


def test_events_that_are_not_allowed_are_one_event(node: Make) -> None:
    of = node(faults=[Fault(4, "nvmlDeviceRegisterEvents")])
    for _ in range(3):
        of.tick(after=60)
    [event] = of.events()
    assert event.kind == "no_permission"
    assert "XIDs" in event.message


def test_waiting_that_fails_is_tried_again(node: Make, until: Callable[..., None]) -> None:
    of = node(faults=[Fault(999, "nvmlEventSetWait_v2", times=3)])
    of.fake.tell(0, XID, 31)
    assert wait(of, "xid", until).code == 31


def test_the_thread_ends_with_the_source(node: Make) -> None:
    of = node()
    assert [t.name for t in threading.enumerate()].count("runtide-nvml-events") == 1
    of.source.close()
    assert "runtide-nvml-events" not in [t.name for t in threading.enumerate()]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_what_nvml_does_not_deliver_comes_from_the_kernels_log(node: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "kmsg")
    of = node(FakeGpu(uuid(0)), FakeGpu(uuid(1)), kernel_log=tmp_path / "kmsg")
    log = os.open(tmp_path / "kmsg", os.O_WRONLY)
    rows = of.tick()
    assert [row["gpu_uuid"] for row in rows] == [uuid(0), uuid(1)] and not of.events()
    os.write(log, b"6,1,1,-;NVRM: Xid (PCI:0000:3c:00): 31, pid=7, name=python, Ch 00000008\n")
    of.tick(after=1)
    assert not of.events(), "NVML tells of that one"
    os.write(log, b"6,2,2,-;usb 1-1: new device\n6,3,3,-;NVRM: Xid (PCI:0000:ff:00): 79, of a GPU that is not ours\n")
    of.tick(after=1)
    assert not of.events()
    os.write(
        log, b"4,4,4,-;NVRM: Xid (PCI:0000:3c:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
    )
    assert [row["gpu_uuid"] for row in of.tick(after=1)] == [uuid(0)], "the GPU is left in peace"
    told = [(event.kind, event.device, event.code) for event in of.events()]
    assert told == [("xid", uuid(1), 79), ("gpu_lost", uuid(1), 79)]
    os.write(log, b"4,5,5,-;NVRM: Xid (PCI:0000:3C:00): 79, again\n")
    of.tick(after=1)
    assert not of.events(), "told once"
    os.close(log)
    of.tick(after=1)
    assert not of.events(), "the other end is closed"


def test_a_kernel_log_is_read_from_its_end(tmp_path: Path, node: Make) -> None:
    (tmp_path / "kmsg").write_text("NVRM: Xid (PCI:0000:3b:00): 79, of yesterday\n")
    of = node(kernel_log=tmp_path / "kmsg")
    assert of.tick() and not of.events()
