"""`runtide keep`: samples are kept for ever until somebody says how long, and what a run logged always is."""

from typing import Any

import pytest

from runtide_consumers.keep import TABLES, days_of, keep
from runtide_consumers.migrate import migrate

TICK = {"run_id": "e/p/r", "writer": 1, "seq": 0, "host": "n", "period_ms": 1000, "tick_us": 1, "skipped": 0}


@pytest.fixture
def tables(target: Any) -> Any:
    """All tables, with a sample of 2020 and one of 2200 in them."""
    for time in (1_580_000_000_000, 7_260_000_000_000):
        store, token = target.store, f"t{time}"
        store.insert_rows("landing_gpu_ticks", [TICK | {"time": time, "gpus": [{"gpu_uuid": "G"}]}], f"gpu{token}")
        store.insert_rows("landing_host_ticks", [TICK | {"time": time, "cpu_pct": 1.0}], f"host{token}")
    return target


def _years(target: Any, table: str) -> list[int]:
    """Years of what is there once all parts are merged."""
    target.run(f"OPTIMIZE TABLE db.{table} FINAL")
    return [row[0] for row in target.ask(f"SELECT toYear({TABLES[table]}) AS y FROM db.{table} ORDER BY y")]


def test_all_is_kept_until_it_is_said(tables: Any) -> None:
    """A new store forgets nothing, and every table that may forget is there."""
    assert {name: days for name, (days, _, _) in days_of(tables.store).items()} == dict.fromkeys(TABLES, 0)
    assert {name: _years(tables, name) for name in ("gpu_samples", "gpu_rollup_60s", "host_samples")} == {
        name: [2020, 2200] for name in ("gpu_samples", "gpu_rollup_60s", "host_samples")
    }


def test_what_is_older_goes(tables: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Only from the tables that were named; a time beyond 2106 does not wrap around; for ever can be said again."""
    where = ["--clickhouse", tables.url]
    assert keep(["gpu_samples=14", "host_rollup_10s=400", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line.split()[1:3] for line in lines if line.startswith("gpu_samples")) == ["14", "days"]
    assert _years(tables, "gpu_samples") == [2200]
    assert _years(tables, "host_rollup_10s") == [2200]
    assert _years(tables, "gpu_rollup_10s") == [2020, 2200]
    assert _years(tables, "host_samples") == [2020, 2200]
    assert keep(["gpu_samples=0", "gpu_rollup_60s=0", "host_rollup_10s=400", *where]) == 0
    days = {name: days for name, (days, _, _) in days_of(tables.store).items() if days}
    assert days == {"host_rollup_10s": 400}
    # A second start of the consumer leaves it as it is.
    migrate(tables.store)
    assert {name: days for name, (days, _, _) in days_of(tables.store).items() if days} == days


@pytest.mark.parametrize(
    "wish", ["metrics=14", "gpu_samples", "gpu_samples=-1", "gpu_samples=x", "gpu_samples=36501", "=3"]
)
def test_what_cannot_be_meant_is_refused(wish: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Another table, no number, a number that is none: nothing is done, and the message says what is wrong."""
    with pytest.raises(SystemExit) as ended:
        keep([wish])
    assert ended.value.code == 2
    assert wish.split("=")[0] in capsys.readouterr().err


def test_a_store_without_tables(bare: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and what makes them."""
    assert keep(["gpu_samples=14", "--clickhouse", bare.url]) == 2
    assert "no table gpu_samples yet" in capsys.readouterr().err
