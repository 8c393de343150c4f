"""Tables of hardware that several files of tests share: each test has runs of its own in them."""

import importlib.util
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
import pytest

from runtide_schemas import STREAMS

START = 1_700_000_040  # seconds since 1970: a whole minute
TRACES = Path(__file__).parents[2] / "benchmarks" / "hardware_traces.py"


class Hardware:
    """A database with all tables.

    Args:
        store: A running store.
        database: Its name.
    """

    def __init__(self, store: Any, database: str) -> None:
        self.store = store
        self.database = database
        self._given = 0

    def run(self) -> str:
        """Path of a run that nobody else uses."""
        self._given += 1
        return f"e/p/run{self._given}"

    def ask(self, sql: str, **values: str) -> list[dict[str, Any]]:
        """Rows of a query, as the user who may only read; `values` are URL parameters."""
        answer = self.store.query(f"{sql} FORMAT JSONEachRow", user="reader", database=self.database, **values)
        return [json.loads(line) for line in answer.splitlines()]

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]], **settings: str) -> None:
        """Insert rows as one block."""
        body = "\n".join(json.dumps(row) for row in rows).encode()
        self.store.query(f"INSERT INTO {table} FORMAT JSONEachRow", body, database=self.database, **settings)

    def avro(self, stream: str, records: list[dict[str, Any]]) -> None:
        """Insert records as the consumer does, which is how what JSON cannot say arrives."""
        body, schema = io.BytesIO(), json.loads(STREAMS[stream].schema_json)
        fastavro.writer(body, schema, [{k: v for k, v in record.items() if k[0] != "_"} for record in records])
        settings = {"input_format_avro_allow_missing_fields": "1", "database": self.database}
        self.store.query(f"INSERT INTO landing_{stream} FORMAT Avro", body.getvalue(), **settings)

    def gpu(self, run: str, samples: Iterable[tuple[float, dict[str, Any]]], gpu: int = 0, **fixed: Any) -> None:
        """Samples of one GPU: seconds since START and fields; `fixed` are fields of the tick."""
        self.gpus(run, {gpu: samples}, **fixed)

    def gpus(self, run: str, samples: Mapping[int, Iterable[tuple[float, dict[str, Any]]]], **fixed: Any) -> None:
        """Samples of several GPUs in one insert: the views take 0.2 s of a core for each."""
        self.insert("landing_gpu_ticks", (self.tick(run, at, gpus=[{"gpu_uuid": f"GPU-{gpu}", **sample}], **fixed)
                                          for gpu, of_one in samples.items() for at, sample in of_one))  # fmt: skip

    def host(self, run: str, samples: Iterable[tuple[float, dict[str, Any]]], **fixed: Any) -> None:
        """Samples of one node: seconds since START and fields."""
        self.insert("landing_host_ticks", (self.tick(run, at, **sample, **fixed) for at, sample in samples))

    def tick(self, run: str, at: float, **fields: Any) -> dict[str, Any]:
        """A record of a sampler."""
        return {
            "_source": run, "_partition": 0, "_offset": 0, "run_id": run, "writer": 1, "seq": 0, "host": "n0",
            "time": round((START + at) * 1000), "period_ms": 1000, "tick_us": 1, "skipped": 0, **fields,
        }  # fmt: skip

    def metric(self, run: str, key: str, points: Mapping[int, tuple[float, float]], rank: int = 0) -> None:
        """Points of a metric: step to seconds since START and value."""
        self.metrics(run, key, {rank: points})

    def metrics(self, run: str, key: str, points: Mapping[int, Mapping[int, tuple[float, float]]]) -> None:
        """Points of several ranks in one insert."""
        self.insert("landing_metrics", ({
            "run_id": run, "writer": rank + 1, "seq": 0, "attempt": 1, "rank": rank, "ordered": True, "keys": [key],
            "steps": sorted(of_one), "times": [round((START + of_one[step][0]) * 1000) for step in sorted(of_one)],
            "values": [of_one[step][1] for step in sorted(of_one)],
        } for rank, of_one in points.items()))  # fmt: skip

    def device(self, run: str, gpu: int = 0, name: str = "NVIDIA H100 80GB HBM3", at: float = 0, **fields: Any) -> None:
        """What a GPU is."""
        self.insert("landing_device_info", [{
            "_source": run, "run_id": run, "writer": 1, "seq": 0, "host": "n0", "time": round((START + at) * 1000),
            "kind": "gpu", "device": f"GPU-{gpu}", "name": name, **fields,
        }])  # fmt: skip


@pytest.fixture(scope="session")
def hardware(store: Any) -> Iterator[Hardware]:
    """All tables, once for all tests: take a run of your own."""
    database = store.make()
    yield Hardware(store, database)
    store.query(f"DROP DATABASE {database}")


@pytest.fixture(scope="session")
def traces() -> ModuleType:
    """The module that simulates a job's hardware."""
    spec = importlib.util.spec_from_file_location("runtide_hardware_traces", TRACES)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
