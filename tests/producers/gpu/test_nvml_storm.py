"""Any error, from any function, at any time: no tick raises, and all comes back when the errors end."""

from typing import Any

import pynvml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.producers.gpu.conftest import ALL, uuid
from tests.producers.gpu.fake_pynvml import Clock, FakeGpu, FakeNvml, Fault, Mig

from runtide._sampler._nvml import NvmlSource
from runtide._sampler._source import Tier
from runtide._sampler._wire import encode_gpu_ticks

FUNCTIONS = sorted(name for name in vars(FakeNvml) if name.startswith("nvml"))
# Fatal to the process's use of NVML for an hour, and tested by themselves.
CALLS = [name for name in FUNCTIONS if name not in ("nvmlInit", "nvmlEventSetWait_v2")]
CODES = [getattr(pynvml, name) for name in dir(pynvml) if name.startswith("NVML_ERROR_")]
HEAD = {
    "run_id": "e/p/r", "writer": 1, "seq": 0, "host": "n", "time": 1, "period_ms": 1, "tick_us": 1, "skipped": 0,
}  # fmt: skip
END = 60.0

FAULTS = st.builds(
    Fault,
    code=st.sampled_from(CODES),
    func=st.sampled_from(["", *CALLS]),
    gpu=st.sampled_from([None, 0, 1]),
    start=st.floats(0, END),
    end=st.just(END),
    times=st.integers(1, 50),
) | st.builds(
    Fault,
    code=st.sampled_from(CODES),
    start=st.floats(0, END),
    end=st.just(END),
    field=st.sampled_from([3, 74, 82, 83, 91, 185, 186, 190, 230]),
)


def node(clock: Clock, faults: list[Fault]) -> FakeNvml:
    migs = [Mig("MIG-a", 1), Mig("MIG-b", 2)]
    # Without events, so without a thread.
    gpus = [FakeGpu(uuid(0), supported_events=0), FakeGpu(uuid(1), supported_events=0, migs=migs)]
    return FakeNvml(gpus, clock, faults)


def columns(source: NvmlSource, clock: Clock) -> dict[str, set[str]]:
    """What each device reports in two full ticks."""
    seen: dict[str, set[str]] = {}
    for _ in range(2):
        clock.pass_by(1)
        for row in source.tick(ALL):
            # There is none, but of its older call, which comes into use when the newer is missing.
            seen.setdefault(row["gpu_uuid"] + row["mig_uuid"], set()).update(set(row) - {"fan_pct"})
    return seen


@settings(
    deadline=None,
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(faults=st.lists(FAULTS, max_size=6), shutdown=st.integers(0, 200))
def test_any_storm_passes(faults: list[Fault], shutdown: int) -> None:
    clock = Clock()
    calm = NvmlSource(binding=lambda: node(clock, []), clock=clock.monotonic, wall=clock.wall)
    whole = columns(calm, clock)
    calm.close()
    assert len(whole) == 4
    clock = Clock()
    fake = node(clock, faults)
    source = NvmlSource(binding=lambda: fake, clock=clock.monotonic, wall=clock.wall)
    rows: list[dict[str, Any]] = []
    for second in range(int(END) + 1):
        clock.pass_by(1)
        if second == shutdown:
            fake.nvmlShutdown() if fake.running else None
        rows = source.tick({tier for tier in Tier if second % tier.value[0] == 0})
        encode_gpu_ticks({**HEAD, "gpus": rows})
        for device in source.devices():
            assert all(device.absent.values()), "a reason for every gap"
        events = source.events()
        assert all(event.message and event.severity in ("info", "warning", "error") for event in events)
    fake.faults.clear()
    clock.pass_by(301)
    source.tick(ALL)
    clock.pass_by(301)
    source.tick(ALL)
    assert columns(source, clock) == whole
    assert set(source.devices()[0].absent) <= {"fan_pct"}
    source.close()
