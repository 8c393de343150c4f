"""The hang predicate on traces whose answer is known: who waits, who is waited for, and when nothing hangs."""

from typing import Any

import pytest

SPINS = {"gpu_util_pct": 100, "power_instant_mw": 130_000, "tensor_active_pct": 0.0, "dram_active_pct": 1.0,
         "nvlink_tx_bytes_s": 0, "nvlink_rx_bytes_s": 10**6, "power_limit_mw": 700_000}  # fmt: skip
WORKS = {"gpu_util_pct": 100, "power_instant_mw": 600_000, "tensor_active_pct": 40.0, "dram_active_pct": 30.0,
         "nvlink_tx_bytes_s": 10**11, "nvlink_rx_bytes_s": 10**11, "power_limit_mw": 700_000}  # fmt: skip
NOTHING = {**SPINS, "gpu_util_pct": 0, "power_instant_mw": 80_000}
GPM = ("tensor_active_pct", "dram_active_pct", "nvlink_tx_bytes_s", "nvlink_rx_bytes_s")


def _job(
    hardware, states: list[dict[str, Any]], trains: int = 120, hangs: int = 120, step_s: float = 1, **late: Any
) -> str:
    """A job that trains and then does what `states` says, a GPU each; `late` are fields of all from then on."""
    run, gpus = hardware.run(), {}
    for rank, state in enumerate(states):
        samples = [(i, {**WORKS, "rank": rank, "step": int(i / step_s)}) for i in range(trains)]
        last = samples[-1][1]["step"] if samples else 0
        gpus[rank] = samples + [(trains + i, {**state, "rank": rank, "step": last, **late}) for i in range(hangs)]
    hardware.gpus(run, gpus)
    return run


def _hang(hardware, run: str) -> dict[int, dict[str, Any]]:
    return {row["rank"]: row for row in hardware.ask(f"SELECT * FROM gpu_hang(run = '{run}')")}


def _verdict(found: dict[int, dict[str, Any]]) -> tuple[bool, list[int]]:
    assert len({row["hung"] for row in found.values()}) == 1
    return bool(found[0]["hung"]), [rank for rank, row in sorted(found.items()) if row["suspect"]]


@pytest.mark.parametrize("odd", [NOTHING, WORKS], ids=["does nothing", "still computes"])
def test_all_wait_for_one(hardware, odd: dict[str, Any]) -> None:
    """Eleven spin at low power, and the one that does not is the suspect."""
    found = _hang(hardware, _job(hardware, [SPINS] * 4 + [odd] + [SPINS] * 7))
    assert _verdict(found) == (True, [4])
    assert found[0]["state"] == "waiting"
    assert found[0]["confidence"] == "high"
    assert 60 <= found[0]["stuck_seconds"] <= 121
    assert found[0]["waiting_share"] == pytest.approx(11 / 12)


def test_a_node_is_small(hardware) -> None:
    """Of two GPUs, one waits: that is all but one. A single one that spins waits for nobody we know, and hangs."""
    assert _verdict(_hang(hardware, _job(hardware, [SPINS, NOTHING]))) == (True, [1])
    assert _verdict(_hang(hardware, _job(hardware, [SPINS]))) == (True, [])
    assert _verdict(_hang(hardware, _job(hardware, [WORKS]))) == (False, [])


def test_without_activity_counters(hardware) -> None:
    """Utilization and power alone say it too, and less surely."""
    bare = {name: value for name, value in SPINS.items() if name not in GPM}
    run = hardware.run()
    samples = [(i, {"gpu_util_pct": 100, "power_instant_mw": 600_000, "power_limit_mw": 700_000, "step": i})
               for i in range(100)] + [(100 + i, {**bare, "step": 99}) for i in range(130)]  # fmt: skip
    hardware.gpus(run, {rank: [(at, {**sample, "rank": rank}) for at, sample in samples] for rank in range(3)})
    found = _hang(hardware, run)
    assert _verdict(found) == (True, [])
    assert found[0]["confidence"] == "low"


def test_a_lost_gpu_is_the_suspect(hardware) -> None:
    """It sends nothing any more, the others wait."""
    run = _job(hardware, [SPINS] * 10)
    hardware.gpu(run, [(i, {**WORKS, "rank": 10, "step": i}) for i in range(120)], gpu=10)
    found = _hang(hardware, run)
    assert _verdict(found) == (True, [10])
    assert found[10]["state"] == "no samples"


def test_the_rank_whose_step_is_behind_is_a_suspect(hardware) -> None:
    """All spin, but one never came to the step of the others."""
    run = _job(hardware, [SPINS] * 9)
    hardware.gpu(run, [(i, {**WORKS, "rank": 9, "step": i}) for i in range(110)], gpu=9)
    hardware.gpu(run, [(110 + i, {**SPINS, "rank": 9, "step": 109}) for i in range(130)], gpu=9)
    assert _verdict(_hang(hardware, run)) == (True, [9])


@pytest.mark.parametrize(
    ("about", "states", "options"),
    [
        ("steps go on", [SPINS] * 8, {"hangs": 0}),
        ("not long enough", [SPINS] * 8, {"hangs": 40}),
        ("a step takes 30 s", [SPINS] * 8, {"trains": 300, "hangs": 200, "step_s": 30}),
        ("too many still compute", [SPINS] * 8 + [WORKS] * 2, {}),
        ("all compute", [WORKS] * 8, {}),
        ("busy link", [{**SPINS, "nvlink_tx_bytes_s": 10**10}] * 8, {}),
        ("at full power", [{**SPINS, "power_instant_mw": 500_000}] * 8, {}),
        ("a checkpoint is written", [SPINS] * 8, {"phase": "checkpoint"}),
        ("it is evaluated", [SPINS] * 8, {"phase": "eval"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_hang(hardware, about: str, states: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """Each condition alone is enough to say no."""
    hung, suspects = _verdict(_hang(hardware, _job(hardware, states, **options)))
    assert (hung, suspects) == (False, []), about


def test_a_slow_step_is_a_hang_in_the_end(hardware) -> None:
    """Ten times a step of ten seconds."""
    found = _hang(hardware, _job(hardware, [SPINS] * 4, trains=300, hangs=240, step_s=10))
    assert _verdict(found) == (True, [])
    assert 90 <= found[0]["needed_seconds"] <= 130


def test_a_run_whose_ranks_tell_no_step(hardware) -> None:
    """Nothing can be said about it, so nothing is."""
    run = hardware.run()
    hardware.gpu(run, [(i, {**SPINS, "rank": 0}) for i in range(200)])
    found = _hang(hardware, run)
    assert _verdict(found) == (False, [])
    assert found[0]["state"] == "waiting"
    assert hardware.ask("SELECT * FROM gpu_hang(run = 'e/p/nobody')") == []
