"""Energy on traces whose answer is known: of a GPU, a run, a step and a token."""

import pytest

MINUTE = 60
LIFETIME = 10**11  # millijoules of a GPU that has run for years


def _steady(watts: float, seconds: int, first: int = LIFETIME, start: int = 0) -> list[tuple[float, dict]]:
    """A GPU that takes the same all the time, read every second."""
    mw = round(watts * 1000)
    return [(start + i, {"energy_mj": first + mw * i, "power_instant_mw": mw, "rank": 5}) for i in range(seconds)]


def _energy(hardware, run: str, gpu: int = 0) -> dict:
    rows = hardware.ask(f"SELECT * FROM gpu_energy WHERE run_id = '{run}' AND gpu_uuid = 'GPU-{gpu}'")
    assert len(rows) == 1
    return rows[0]


def test_energy_is_what_the_counter_gained(hardware) -> None:
    """300 W for 179 seconds, over four minutes of the clock; the integral of the power says the same."""
    run = hardware.run()
    hardware.gpu(run, _steady(300, 180, start=30))
    row = _energy(hardware, run)
    assert row["joules"] == pytest.approx(300 * 179)
    assert (row["mean_w"], row["seconds"], row["rank"], row["resets"]) == (300, 179, 5, 0)
    # Minutes end with their last tick: what lies between two is in the energy, not in the comparison.
    assert row["compared_joules"] == row["power_joules"] == pytest.approx(300 * (179 - 3))
    assert (row["divergence"], row["doubtful"]) == (0, False)


def test_energy_needs_no_regular_samples(hardware) -> None:
    """A minute without any sample: the counter went on."""
    run = hardware.run()
    hardware.gpu(run, _steady(200, 5) + _steady(200, 5, first=LIFETIME + 200_000 * 100, start=100))
    assert _energy(hardware, run)["joules"] == pytest.approx(200 * 104)


@pytest.mark.parametrize("start", [0, 58], ids=["within a minute", "between two minutes"])
def test_a_counter_that_began_anew(hardware, start: int) -> None:
    """The driver was loaded again: what the counter shows since then counts."""
    run = hardware.run()
    readings = [LIFETIME, LIFETIME + 100_000, 50_000, 80_000]
    hardware.gpu(run, [(start + i, {"energy_mj": reading}) for i, reading in enumerate(readings)])
    row = _energy(hardware, run)
    assert row["joules"] == pytest.approx(100 + 50 + 30)
    assert (row["resets"], row["divergence"], row["doubtful"]) == (1, None, False)


@pytest.mark.parametrize(("start", "least"), [(0, 600), (58, 200), (59, 0)])
def test_a_reading_of_zero_is_not_the_energy_of_years(hardware, start: int, least: int) -> None:
    """A counter that shows 0 once, within a minute, at its end, at its begin: at most that minute's energy lacks."""
    run = hardware.run()
    readings = [LIFETIME, 0, LIFETIME + 400_000, LIFETIME + 600_000]
    hardware.gpu(run, [(start + i, {"energy_mj": reading}) for i, reading in enumerate(readings)])
    assert least <= _energy(hardware, run)["joules"] <= 600


def test_two_samplers_that_see_one_gpu(hardware) -> None:
    """Each reads a little earlier or later than it says: the counter seems to fall, and years do not count again."""
    run = hardware.run()
    steady = _steady(500, 100)
    hardware.gpu(run, steady, writer=1)
    late = [(at + 0.001, {**sample, "energy_mj": sample["energy_mj"] - 20}) for at, sample in steady]
    hardware.gpu(run, late, writer=2)
    assert _energy(hardware, run)["joules"] == pytest.approx(500 * 99, rel=0.001)
    curve = hardware.ask(f"SELECT max(joules) AS j FROM power_curve(run = '{run}', from_ms = 0, to_ms = 9000000000000)")
    assert curve[0]["j"] == pytest.approx(500 * 99, rel=0.001)


def test_a_counter_and_a_power_that_disagree_are_doubtful(hardware) -> None:
    """What was seen in the wild: 187 J by one, 327 J by the other, in five seconds."""
    run = hardware.run()
    hardware.gpu(run, [(i, {"energy_mj": 37_400 * i, "power_instant_mw": 65_400}) for i in range(6)])
    row = _energy(hardware, run)
    assert (row["compared_joules"], row["power_joules"]) == (pytest.approx(187), pytest.approx(327))
    assert row["divergence"] == pytest.approx(187 / 327 - 1)
    assert row["doubtful"]
    assert hardware.ask(f"SELECT doubtful_gpus AS n FROM run_energy WHERE run_id = '{run}'") == [{"n": 1}]


def test_energy_of_a_run_and_what_it_costs(hardware) -> None:
    """Two GPUs on two nodes: 0.02 kWh; a GPU without a counter and a MIG instance add nothing."""
    run = hardware.run()
    hardware.gpu(run, _steady(400, 91), gpu=0, host="a")
    hardware.gpu(run, _steady(400, 91), gpu=1, host="b")
    hardware.gpu(run, [(i, {"power_instant_mw": 5}) for i in range(90)], gpu=2)
    hardware.gpu(run, [(i, {"mig_uuid": "MIG-1", "energy_mj": 10**6 * i}) for i in range(90)], gpu=1, host="b")
    total = hardware.ask(f"SELECT hosts, gpus, joules, kwh, divergence FROM run_energy WHERE run_id = '{run}'")
    assert total == [{"hosts": 2, "gpus": 2, "joules": pytest.approx(72_000), "kwh": pytest.approx(0.02),
                      "divergence": pytest.approx(0, abs=1e-9)}]  # fmt: skip
    cost = hardware.ask(f"SELECT * FROM run_cost(run = '{run}', pue = 1.5, price = 0.4, grams_co2 = 500)")[0]
    assert (cost["site_kwh"], cost["price"], cost["kg_co2"]) == (
        pytest.approx(0.03), pytest.approx(0.012), pytest.approx(0.015)
    )  # fmt: skip


def test_the_power_of_all_gpus_over_time(hardware) -> None:
    """Two GPUs that are read at different times, one of them later and for longer."""
    run = hardware.run()
    hardware.gpu(run, [(0, {"energy_mj": 0}), (10, {"energy_mj": 1_000_000})], gpu=0)
    hardware.gpu(run, [(4, {"energy_mj": 7}), (14, {"energy_mj": 3_000_007})], gpu=1)
    curve = hardware.ask(
        "SELECT toUnixTimestamp(time) - 1700000040 AS at, round(watts, 6) AS w, gpus, round(joules, 6) AS j "
        f"FROM power_curve(run = '{run}', from_ms = 0, to_ms = 9000000000000) ORDER BY at"
    )
    assert [tuple(row.values()) for row in curve] == [
        (0, 100, 1, 0),
        (4, 400, 2, 400),
        (10, 300, 1, 2800),
        (14, 0, 0, 4000),
    ]


def test_energy_of_a_step(hardware) -> None:
    """Steps end between two readings: 200 W until second 10, then 400 W, on each of two GPUs."""
    run = hardware.run()
    readings = [(i, {"energy_mj": 200_000 * i + 200_000 * max(0, i - 10)}) for i in range(21)]
    for gpu in (0, 1):
        hardware.gpu(run, readings, gpu=gpu)
    hardware.metric(run, "loss", {1: (4.5, 0), 2: (9.5, 0), 3: (14.5, 0), 4: (24, 0)}, rank=2)
    # Another rank ends its steps a little later: the lowest decides.
    hardware.metric(run, "loss", {1: (4.9, 0), 2: (9.9, 0), 3: (14.9, 0)}, rank=3)
    sql = f"step_energy(run = '{run}', key = 'loss', first_step = 0, last_step = 99)"
    steps = hardware.ask(f"SELECT step, seconds, gpus, joules, mean_w, error_joules FROM {sql} ORDER BY step")
    # The fourth ends after the last reading: nothing is said about it, nor about the first, whose begin is not known.
    assert [row["step"] for row in steps] == [2, 3]
    assert [row["seconds"] for row in steps] == [5, 5]
    assert [row["joules"] for row in steps] == [pytest.approx(2 * 1000), pytest.approx(2 * (0.5 * 200 + 4.5 * 400))]
    assert [row["gpus"] for row in steps] == [2, 2]
    # Either end may be off by the 100 ms in which the counter stands.
    assert steps[0]["error_joules"] == pytest.approx(2 * 0.1 * 400)
    assert hardware.ask(f"SELECT step FROM {sql.replace('last_step = 99', 'last_step = 2')}") == [{"step": 2}]


def test_energy_of_a_token(hardware) -> None:
    """Two ranks take 500 tokens a second each, at 100 W: 0.1 J a token; no window is shorter than five seconds."""
    run = hardware.run()
    hardware.gpu(run, [(i, {"energy_mj": 100_000 * i}) for i in range(41)])
    for rank in (0, 1):
        hardware.metric(run, "tokens", {i: (i + 0.5, 500.0) for i in range(30)}, rank=rank)
    for asked, wide in ((10, 10), (1, 5)):
        rows = hardware.ask(
            "SELECT seconds, tokens, joules, joules_per_token "
            f"FROM token_energy(run = '{run}', key = 'tokens', seconds = {asked})"
        )
        assert len(rows) == 30 / wide
        for row in rows:
            assert row["seconds"] == wide
            assert row["tokens"] == 1000 * wide
            assert row["joules_per_token"] == pytest.approx(0.1)
