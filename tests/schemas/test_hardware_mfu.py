"""Utilization of the FLOPs that a GPU has, by hand and by its name."""

from typing import Any

import pytest

PEAKS = [
    ("NVIDIA A100-SXM4-80GB", 312e12),
    ("A100-PCIE-40GB", 312e12),
    ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA H100 NVL", 835e12),
    ("NVIDIA H200", 989e12),
    ("NVIDIA H20", 148e12),
    ("NVIDIA B200", 2250e12),
    ("NVIDIA GB200", 2500e12),
    ("NVIDIA L40S", 362e12),
    ("NVIDIA GeForce RTX 4090", None),
    ("NVIDIA H200 NVL", None),
    ("AMD Instinct MI300X", None),
    ("", None),
]


@pytest.mark.parametrize(("name", "flops"), PEAKS)
def test_the_peak_by_name(hardware, name: str, flops: float | None) -> None:
    """One entry at most fits a name; what is not known has none."""
    found = hardware.ask(f"SELECT flops FROM gpu_peak_flops WHERE match('{name}', pattern) AND dtype = 'bf16'")
    assert found == ([] if flops is None else [{"flops": flops}])


def _job(hardware, name: str = "NVIDIA A100-SXM4-80GB", second: str = "", clock: int = 1200) -> str:
    """Two ranks that take 1000 tokens a second each, for 61 steps of a second."""
    run = hardware.run()
    gpus = {
        rank: [(i, {"rank": rank, "sm_active_pct": 90.0, "sm_clock_mhz": clock}) for i in range(61)] for rank in (0, 1)
    }
    # A GPU of the node that no rank uses.
    hardware.gpus(run, gpus | {2: [(i, {"sm_clock_mhz": 99}) for i in range(61)]})
    hardware.metrics(run, "tokens", {rank: {i: (i, 1000.0) for i in range(61)} for rank in (0, 1)})
    hardware.metrics(run, "rate", {rank: {i: (i, 1000.0) for i in range(0, 61, 5)} for rank in (0, 1)})
    for rank in (0, 1):
        hardware.device(run, gpu=rank, name=second or name if rank else name, facts={"max_sm_clock_mhz": "1500"})
    return run


def _mfu(hardware, run: str, key: str = "tokens", **changed: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "key": key, "unit": "tokens", "flops_per_token": 1e10, "dtype": "bf16", "peak_flops": 0, "recomputed": 0,
        "seconds": 60,
    } | changed  # fmt: skip
    text = ", ".join(f"{name} = {value!r}" for name, value in {"run": run, **values}.items())
    rows = hardware.ask(f"SELECT * FROM gpu_mfu({text}) ORDER BY start")
    return rows[0]


def test_mfu_by_name(hardware) -> None:
    """2000 tokens a second of 10 GFLOPs on two GPUs of 312 TFLOP/s; the clock stood at four fifths."""
    row = _mfu(hardware, _job(hardware))
    assert (row["tokens_s"], row["gpus"], row["peak"]) == (2000, 2, 624e12)
    assert row["mfu"] == row["hfu"] == pytest.approx(2000 * 1e10 / 624e12)
    assert row["busy_sm_clock_mhz"] == 1200
    assert row["clock_adjusted_mfu"] == pytest.approx(row["mfu"] * 1500 / 1200)


def test_mfu_by_hand(hardware) -> None:
    """A peak that was given stands above the table; all of the forward pass computed again is a third more."""
    run = _job(hardware, "NVIDIA GeForce RTX 4090")
    row = _mfu(hardware, run, peak_flops=1e14, recomputed=1)
    assert row["mfu"] == pytest.approx(0.1)
    assert row["hfu"] == pytest.approx(0.1 * 4 / 3)
    assert _mfu(hardware, run, peak_flops=1e14, recomputed=0.5)["hfu"] == pytest.approx(0.1 * 3.5 / 3)


def test_mfu_from_a_rate(hardware) -> None:
    """The metric is tokens a second of each rank, logged now and then."""
    row = _mfu(hardware, _job(hardware), key="rate", unit="tokens/s")
    assert row["tokens_s"] == pytest.approx(2000)


def test_what_is_not_known_has_no_mfu(hardware) -> None:
    """Another product, one among known ones, a quantized dtype: none rather than a guess. Mixed products add up."""
    assert _mfu(hardware, _job(hardware, "NVIDIA GeForce RTX 4090"))["mfu"] is None
    run = _job(hardware, second="NVIDIA GeForce RTX 4090")
    assert (_mfu(hardware, run)["mfu"], _mfu(hardware, run)["tokens_s"]) == (None, 2000)
    assert _mfu(hardware, _job(hardware), dtype="fp8")["mfu"] is None
    mixed = _mfu(hardware, _job(hardware, second="NVIDIA H100 NVL"))
    assert mixed["peak"] == 312e12 + 835e12
