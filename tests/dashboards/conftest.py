"""A seeded store, and the dashboard's queries pointed at it."""

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from runtide_schemas import migrations

START = 1_760_000_000_000_000  # microseconds since 1970


@dataclass
class Lab:
    """Puts runs and points into one database of a store."""

    store: Any
    database: str

    def make(self) -> "Lab":
        self.store.query(f"CREATE DATABASE {self.database}")
        for migration in migrations():
            for statement in migration.statements(self.database):
                self.store.query(statement)
        return self

    @property
    def url(self) -> str:
        """For RUNTIDE_CLICKHOUSE_URL, as the user who may only read."""
        return f"http://reader@{self.store.host}:{self.store.port}/{self.database}"

    def _land(self, stream: str, row: dict[str, Any]) -> None:
        origin = {"_source": "s", "_partition": row["writer"], "_offset": row["seq"], "_appended": START // 10**6}
        data = json.dumps(origin | row).encode()
        # Repeated content would be taken for a repeated insert.
        token = secrets.token_hex(8)
        self.store.query(
            f"INSERT INTO landing_{stream} FORMAT JSONEachRow",
            data,
            database=self.database,
            insert_deduplication_token=token,
            input_format_json_read_numbers_as_strings="1",
        )

    def run(
        self,
        path: str,
        name: str = "",
        state: str = "finished",
        config: Any = None,
        tags: Sequence[str] = (),
        created: int = START,
        heartbeat: int | None = None,
        summary: dict[str, str] | None = None,
    ) -> str:
        """A run with one writer; `state` is what it said at its end, empty for nothing."""
        common = {
            "run_id": path, "writer": 1, "attempt": created, "rank": 0, "child": False, "name": name,
            "tags": list(tags), "config": json.dumps(config or {}), "definitions": "{}",
            "environment": "{}", "summary": summary or {},
        }  # fmt: skip
        text = "%d.%06d"
        self._land("runs", common | {"seq": 0, "event": "start", "time": text % divmod(created, 10**6)})
        end = heartbeat or created + 60 * 10**6
        event = "finish" if state else "heartbeat"
        self._land("runs", common | {"seq": 1, "event": event, "state": state, "time": text % divmod(end, 10**6)})
        return path

    def points(
        self,
        path: str,
        keys: dict[str, list[float]],
        steps: list[int],
        times: list[int] | None = None,
        writer: int = 1,
        seq: int = 0,
        attempt: int = START,
        rank: int = 0,
        ordered: bool = True,
    ) -> None:
        """One frame; times are milliseconds since 1970, by default a second per step after START."""
        values = ", ".join(str(value) for series in keys.values() for value in series)
        names = ", ".join("'" + key.replace("'", "\\'") + "'" for key in keys)
        times = times or [START // 1000 + 1000 * step for step in steps]
        self.store.query(
            "INSERT INTO landing_metrics (_source, _partition, _offset, _appended, run_id, writer, seq, attempt, rank,"
            f" ordered, keys, steps, times, values) VALUES ('s', {writer}, {seq}, now64(6), '{path}', {writer}, {seq},"
            f" {attempt}, {rank}, {ordered}, [{names}], {steps}, {times}, [{values}])",
            database=self.database,
            insert_deduplication_token=secrets.token_hex(8),
            max_query_size="1000000000",
        )

    def million(self, path: str, key: str, spike: int, height: float) -> None:
        """A million points of sin(step / 1000) with one spike."""
        for seq in range(10):
            first = seq * 100_000
            self.store.query(
                "INSERT INTO landing_metrics (_source, _partition, _offset, _appended, run_id, writer, seq, attempt,"
                f" rank, ordered, keys, steps, times, values) SELECT 's', 1, {seq}, now64(6), '{path}', 1, {seq},"
                f" {START}, 0, true, ['{key}'], arrayMap(i -> toInt64(i + {first}), range(100000)) AS steps,"
                f" arrayMap(s -> toInt64({START // 1000} + s), steps),"
                f" arrayMap(s -> if(s = {spike}, {height}, sin(s / 1000)), steps)",
                database=self.database,
                insert_deduplication_token=secrets.token_hex(8),
            )


@pytest.fixture(scope="session")
def lab(store) -> Iterator[Lab]:
    """One database for all tests of the dashboard's queries: take a project of your own in it.

    One for all, because the dashboard keeps its connections for as long as the store answers.
    """
    made = Lab(store, f"dashboards_{secrets.token_hex(4)}").make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "RUNTIDE_CLICKHOUSE_URL", made.url)
        yield made
    store.query(f"DROP DATABASE {made.database}")


@pytest.fixture
def project(lab) -> str:
    """A project that the test has for itself."""
    return f"lab/p{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def make_lab():
    """Makes a Lab in a store of one's own."""
    return lambda store, database: Lab(store, database).make()
