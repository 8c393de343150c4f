"""A seeded store, and the dashboard's queries pointed at it."""

import importlib.util
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from tests.dashboards.browser import CHROMIUM, DEADLINE, Dashboard, forget, is_broken, is_error

from runtide_dashboards.queries.lines import Series
from runtide_dashboards.records import Run

START = 1_760_000_000_000_000  # microseconds since 1970


@dataclass
class Lab:
    """Puts runs and points into one database of a store."""

    store: Any
    database: str
    _waiting: list[dict[str, Any]] | None = None

    @property
    def editor_url(self) -> str:
        """For RUNTIDE_EDITOR_URL, as the user who may only edit."""
        return str(self.store.let_edit(self.database))

    @property
    def url(self) -> str:
        """For RUNTIDE_CLICKHOUSE_URL, as the user who may only read."""
        return f"http://reader@{self.store.host}:{self.store.port}/{self.database}"

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Insert all runs that are made meanwhile at the end, together."""
        self._waiting = []
        yield
        rows, self._waiting = self._waiting, None
        self._land("runs", *rows)

    def _land(self, stream: str, *rows: dict[str, Any]) -> None:
        origin = {"_source": "s", "_appended": START // 10**6}
        data = "\n".join(
            json.dumps(origin | {"_partition": row["writer"], "_offset": row["seq"]} | row) for row in rows
        ).encode()
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
        definitions: Any = None,
        exit_code: int | None = None,
        writer: int = 1,
        **description: Any,
    ) -> str:
        """A run with one writer; `state` is what it said at its end, empty for nothing."""
        common = {
            "run_id": path, "writer": writer, "attempt": created, "rank": 0, "child": False, "name": name,
            "tags": list(tags), "config": json.dumps(config or {}), "definitions": json.dumps(definitions or {}),
            "environment": "{}", "summary": summary or {}, **description,
        }  # fmt: skip
        text = "%d.%06d"
        began = {"seq": 0, "event": "start", "time": text % divmod(created, 10**6)}
        end = heartbeat or created + 60 * 10**6
        event = "finish" if state else "heartbeat"
        ended = {"seq": 1, "event": event, "state": state, "time": text % divmod(end, 10**6), "exit_code": exit_code}
        rows = [common | began, common | ended]
        if self._waiting is None:
            self._land("runs", *rows)
        else:
            self._waiting += rows
        return path

    def sampled(self, stream: str, rows: Sequence[dict[str, Any]]) -> None:
        """Records of a stream of the sampler in one insert; what a row leaves out is null."""
        origin = {"_source": "s", "_partition": 1, "_offset": 0, "_appended": START // 10**6}
        data = "\n".join(json.dumps(origin | {"writer": 1, "seq": number} | row) for number, row in enumerate(rows))
        self.store.query(
            f"INSERT INTO landing_{stream} FORMAT JSONEachRow",
            data.encode(),
            database=self.database,
            insert_deduplication_token=secrets.token_hex(8),
            input_format_json_read_numbers_as_strings="1",
        )

    def alert(
        self, path: str, title: str, level: str = "WARN", text: str = "", step: int = 3, created: int = START
    ) -> None:
        """Something that a run raised."""
        row = {"run_id": path, "writer": 1, "seq": step, "attempt": created, "rank": 0, "step": step, "level": level}
        said = {"title": title, "text": text, "time": f"{created // 10**6}.{created % 10**6:06}"}
        self._land("alerts", row | said)

    def rewind(self, path: str, writer: int, attempt: int, step: int) -> None:
        """The start of an attempt that goes on from a step."""
        common = {"run_id": path, "writer": writer, "attempt": attempt, "rank": 0, "child": False, "seq": 0}
        self._land("runs", common | {"event": "start", "time": str(START // 10**6), "rewind": step})

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

    def million(self, path: str, key: str, spike: int, height: float, bad: int = 0) -> None:
        """A million points of sin(step / 1000) with one spike; so many after it are NaN."""
        for seq in range(10):
            first = seq * 100_000
            self.store.query(
                "INSERT INTO landing_metrics (_source, _partition, _offset, _appended, run_id, writer, seq, attempt,"
                f" rank, ordered, keys, steps, times, values) SELECT 's', 1, {seq}, now64(6), '{path}', 1, {seq},"
                f" {START}, 0, true, ['{key}'], arrayMap(i -> toInt64(i + {first}), range(100000)) AS steps,"
                f" arrayMap(s -> toInt64({START // 1000} + s), steps),"
                f" arrayMap(s -> multiIf(s = {spike}, {height}, s > {spike} AND s <= {spike + bad}, nan,"
                " sin(s / 1000)), steps)",
                database=self.database,
                insert_deduplication_token=secrets.token_hex(8),
            )


@pytest.fixture(scope="session")
def make_run():
    """Makes a Run as the queries return it: `make_run("e/p/id", config='{"lr": 1}')`."""

    def make(path, **fields):
        created = datetime(2026, 1, 1, tzinfo=UTC)
        plain = {
            "name": "", "state": "finished", "created": created, "duration": 60.0, "tags": (), "config": "{}",
            "ordinal": 0, "heartbeat": created + timedelta(seconds=60), "group": "", "job_type": "", "notes": "",
            "definitions": "{}", "environment": "{}", "attempts": 1, "ranks": 1, "parent": "", "parent_step": None,
            "exit_code": None, "colour": "", "archived": False, "baseline": False, "deleted": False, "edited": None,
        }  # fmt: skip
        return Run(path, **{**plain, **fields})

    return make


@pytest.fixture(scope="session")
def make_series():
    """Makes a Series of one plain rank: `make_series("e/p/id", "loss", points=30)`, a point at each step."""

    def make(path, key="loss", points=30, last_step=None):
        last = points - 1 if last_step is None else last_step
        return Series(path, key, 0, 1, points, 0, last, START // 1000, 0.0, 1.0, True, True)

    return make


@pytest.fixture(scope="session")
def lab(store) -> Iterator[Lab]:
    """One database for all tests of the dashboard's queries: take a project of your own in it.

    One for all, because the dashboard keeps its connections for as long as the store answers.
    """
    made = Lab(store, store.make())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "RUNTIDE_CLICKHOUSE_URL", made.url)
        patch.setitem(os.environ, "RUNTIDE_EDITOR_URL", made.editor_url)
        yield made
    store.query(f"DROP DATABASE {made.database}")


@pytest.fixture
def project(lab) -> str:
    """A project that the test has for itself."""
    return f"lab/p{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def make_lab():
    """Makes a Lab in a store of one's own, with all migrations or the first ones."""
    return lambda store, **options: Lab(store, store.make(**options))


@pytest.fixture(scope="module")
def own_store(store_process, tmp_path_factory):
    """A store that these tests may stop."""
    running = store_process(tmp_path_factory.mktemp("browser") / "engine")
    yield running
    if running.process.poll() is None:
        running.kill()


@pytest.fixture(scope="module")
def seeded(own_store, make_lab):
    return make_lab(own_store)


@pytest.fixture(scope="module")
def dashboard(seeded, tmp_path_factory):
    running = Dashboard(seeded.url, seeded.editor_url, tmp_path_factory.mktemp("dashboard"))
    yield running
    running.stop()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="session")
def build():
    """The build hook of the panel grid's bundle, as a module."""
    file = Path(__file__).parents[2] / "dashboards" / "frontend" / "hatch_build.py"
    spec = importlib.util.spec_from_file_location("grid_bundle", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def unused():
    """Contexts of the browser that no test uses: in a new one a page costs three times as much, for its scripts."""
    return []


@pytest.fixture
def open_page(chromium, unused, request, tmp_path):
    """Opens pages that must log no error, each as another person; leaves a screenshot of each."""
    contexts, complaints = [], []
    folder = Path(os.environ.get("RUNTIDE_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def start(url, scheme="light", failing=()):
        """`failing` are the ends of addresses that will not answer: that is what the test is about."""
        context = unused.pop() if unused else chromium.new_context(viewport={"width": 1600, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(DEADLINE * 1000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda entry: complaints.append(entry.text) if is_error(entry, failing) else None)
        page.on("requestfailed", lambda failed: complaints.append(failed.url) if is_broken(failed, failing) else None)
        page.goto(url)
        return page

    yield start
    try:
        for number, context in enumerate(contexts):
            context.pages[0].screenshot(path=folder / f"{request.node.name}-{number}.png")
            forget(context)
            unused.append(context)
    finally:
        assert complaints == []


@pytest.fixture
def empty(own_store, make_lab, tmp_path):
    """A database without runs, and a dashboard over it."""
    lab = make_lab(own_store)
    running = Dashboard(lab.url, lab.editor_url, tmp_path)
    yield lab, running.url
    running.stop()
