"""Every query of docs/hardware_sql.md is run, as the user who may only read, on a simulated job."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "hardware_sql.md").read_text("utf-8")
EXAMPLES = re.findall(r"```sql\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def job(hardware, traces):
    """Two nodes of four GPUs for ten minutes: late data, heat, an XID, and a hang in the end."""
    faults = [
        traces.Fault("throttle", node=0, gpu=1, start=100, end=160),
        traces.Fault("stall", node=1, start=200, end=240),
        traces.Fault("xid", node=1, gpu=2, start=300, code=13),
        traces.Fault("hang", node=1, gpu=3, start=420),
    ]
    insert = traces.inserter(hardware.store.query, hardware.database)
    return traces.seed(insert, "default/gpt/run1", nodes=2, gpus=4, seconds=600, faults=faults)


@pytest.mark.parametrize("sql", EXAMPLES, ids=[re.sub(r"\s+", " ", example)[:60] for example in EXAMPLES])
def test_the_examples_run_and_find_something(hardware, job, sql: str) -> None:
    """Each answers with rows, in which no column is empty throughout unless it may be."""
    rows = hardware.ask(sql)
    assert rows, sql
    for column in rows[0]:
        assert any(row[column] is not None for row in rows), column


def test_the_simulated_job_is_what_it_is_said_to_be(hardware, job) -> None:
    """The formulas find each fault that was put in, and no other."""
    ask, run = hardware.ask, job.run_id
    suspects = ask(f"SELECT rank, hung FROM gpu_hang(run = '{run}') WHERE suspect")
    assert suspects == [{"rank": 7, "hung": 1}]
    hot = ask(
        f"SELECT DISTINCT gpu_uuid FROM gpu_throttle WHERE run_id = '{run}' AND reason = 'hw_thermal' AND fraction > 0"
    )
    assert hot == [{"gpu_uuid": job.uuid(0, 1)}]
    late = ask(
        f"SELECT host, cause FROM loader_stall(run = '{run}', data_key = 'time/data', step_key = 'time/step', "
        "first_step = 0, last_step = 1000, nic_bytes_s = 0) WHERE stall_fraction > 0.05 GROUP BY host, cause"
    )
    assert [row["host"] for row in late] == [job.host(1)]
    assert ask(f"SELECT code FROM device_events WHERE run_id = '{run}' AND kind = 'xid'") == [{"code": 13}]
    assert ask(f"SELECT state, ranks FROM runs WHERE run_id = '{run}'") == [{"state": "crashed", "ranks": 8}]


def test_every_view_has_its_place_in_the_docs(hardware) -> None:
    """What is made is described."""
    names = hardware.ask("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'")
    mine = {
        row["name"]
        for row in names
        if re.match(r"gpu_|device_|power_|step_e|token_|run_energy|run_cost|stragg|loader", row["name"])
    }
    assert len(mine) >= 14
    assert {name for name in mine if f"`{name}" not in PAGE} == set()


def test_the_same_job_is_made_again(traces) -> None:
    """A seed gives the same records; another one gives others."""
    one, same, other = (traces.Job("a/b/c", 1, 2, 40, seed=seed) for seed in (1, 1, 2))
    assert list(traces.gpu_ticks(one)) == list(traces.gpu_ticks(same))
    assert list(traces.host_ticks(one)) == list(traces.host_ticks(same))
    assert list(traces.gpu_ticks(one)) != list(traces.gpu_ticks(other))


def test_simulated_records_are_records(traces) -> None:
    """What is simulated can be encoded, with every fault in it: it fits the schemas that samplers write by."""
    from runtide_schemas import STREAMS, decode, encode

    kinds = ("throttle", "straggler", "stall", "lost", "xid", "no_gpm", "hang")
    faults = [traces.Fault(kind, node=0, gpu=0, start=i * 3, end=i * 3 + 3) for i, kind in enumerate(kinds)]
    job = traces.Job("a/b/c", 2, 2, 40, faults=[*faults, traces.Fault("no_driver", node=1)], history=True)
    for stream in ("gpu_ticks", "host_ticks", "device_info", "device_events"):
        records = list(getattr(traces, stream)(job))
        assert records
        for record in records:
            assert decode(STREAMS[stream], encode(STREAMS[stream], record))["run_id"] == "a/b/c"


def test_a_reader_may_bind_the_run(hardware, job) -> None:
    """Parameters of a view are bound by the client too, also under readonly = 1."""
    found = hardware.ask("SELECT count() AS n FROM gpu_hang(run = {run:String})", param_run=job.run_id)
    assert found == [{"n": 8}]
