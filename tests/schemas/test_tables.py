"""The tables against a model in plain Python: every row kept, the right one wins, all views agree."""

import json
import math
import random
import struct
from dataclasses import dataclass, replace

import pytest

START = 1_700_000_000_000


@dataclass(frozen=True)
class Frame:
    run: str
    writer: int
    seq: int
    attempt: int
    rank: int
    ordered: bool
    keys: tuple[str, ...]
    steps: tuple[int, ...]
    times: tuple[int, ...]
    values: tuple[float, ...]

    def points(self):
        """(key, step, value, time) of every point."""
        width = len(self.steps)
        for i, key in enumerate(self.keys):
            for j, step in enumerate(self.steps):
                yield key, step, self.values[i * width + j], self.times[j]


GOOD = Frame("e/p/good", 1, 0, 1000, 0, True, ("x",), (1, 2), (START, START + 1), (1.0, 2.0))


@pytest.fixture(scope="module")
def database(store):
    name = store.make()
    yield name
    store.query(f"DROP DATABASE {name}")


@pytest.fixture
def tables(store, database):
    """A database with all tables, which are empty; what it returns inserts frames or runs a query."""

    def ask(query: str) -> list[dict]:
        answer = store.query(f"{query} FORMAT JSONEachRow", database=database)
        return [json.loads(line) for line in answer.splitlines()]

    def insert(frames: list[Frame]) -> None:
        rows = ", ".join(
            f"('s', 7, {i}, {f.attempt}, '{f.run}', {f.writer}, {f.seq}, {f.attempt}, {f.rank}, {f.ordered}, "
            f"{list(f.keys)}, {list(f.steps)}, {list(f.times)}, [{', '.join(map(repr, f.values))}])"
            for i, f in enumerate(frames)
        )
        columns = "_source, _partition, _offset, _appended, run_id, writer, seq, attempt, rank, ordered, keys, steps"
        store.query(f"INSERT INTO landing_metrics ({columns}, times, values) VALUES {rows}", database=database)

    ask.insert = insert
    yield ask
    store.empty(database)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (replace(GOOD, values=(1.0,)), "values are not keys x steps"),
        (replace(GOOD, values=(1.0, 2.0, 3.0)), "values are not keys x steps"),
        (replace(GOOD, times=(START,)), "times and steps differ in length"),
        (replace(GOOD, keys=(), values=()), "a frame without points"),
        (replace(GOOD, steps=(), times=(), values=()), "a frame without points"),
        (replace(GOOD, keys=("x", "x"), values=(1.0,) * 4), "a key stands twice"),
        (replace(GOOD, steps=(2, 2)), "steps do not ascend"),
        (replace(GOOD, steps=(2, 1)), "steps do not ascend"),
        (replace(GOOD, times=(START, 2**62)), "a time outside 1900 to 2299"),
        (replace(GOOD, times=(START, -(2**62))), "a time outside 1900 to 2299"),
        (replace(GOOD, run="no-path"), "run_id is not entity/project/id"),
    ],
)
def test_a_frame_that_lies_goes_to_the_dead_letters_alone(tables, frame: Frame, reason: str) -> None:
    """Nothing of a bad frame becomes a point, its neighbours do, and the reason is kept with its origin."""
    tables.insert([GOOD, frame, replace(GOOD, seq=2, steps=(3, 4))])
    assert tables("SELECT step, value FROM metrics ORDER BY step") == [
        {"step": s, "value": v} for s, v in ((1, 1), (2, 2), (3, 1), (4, 2))
    ]
    dead = tables("SELECT stream, reason, source, partition, offset FROM dead_letters")
    assert dead == [{"stream": "metrics", "reason": reason, "source": "s", "partition": 7, "offset": 1}]
    assert tables("SELECT sum(count) AS n FROM metric_summary_state") == [{"n": 4}]


def _frames(seed: int) -> list[Frame]:
    """Frames of several runs, ranks, attempts and writers: in order, repeated, late, with odd values."""
    draw = random.Random(seed)
    odd = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308 / 1e10)
    frames = []
    for run, tidy in (("e/p/tidy", True), ("e/p/untidy", False)):
        for attempt in (1_000_000, 2_000_000) if not tidy else (1_000_000,):
            for rank in (0, 1):
                writer, position = draw.getrandbits(62) + 1, 0
                for seq in range(12):
                    size = draw.randint(1, 6)
                    first = position if tidy else draw.randint(0, 20)
                    steps = tuple(sorted(draw.sample(range(first, first + 10), size)))
                    ordered = steps[0] >= position
                    position = max(position, steps[-1] + 1)
                    keys = ("loss", "acc")[: draw.randint(1, 2)]
                    values = tuple(
                        draw.choice(odd) if draw.random() < 0.2 else draw.gauss(0, 1) for _ in range(size * len(keys))
                    )
                    times = tuple(START + draw.randint(0, 10_000) for _ in steps)
                    frames.append(Frame(run, writer, seq, attempt, rank, ordered, keys, steps, times, values))
    draw.shuffle(frames)
    return frames


def _winners(frames: list[Frame]) -> dict:
    """By (run, key, rank, step): the value with the greatest (attempt, time, seq, writer), with its order."""
    best: dict = {}
    for frame in frames:
        for key, step, value, time in frame.points():
            place, order = (frame.run, key, frame.rank, step), (frame.attempt, time, frame.seq, frame.writer)
            if place not in best or best[place][0] < order:
                best[place] = (order, value)
    return best


@pytest.mark.parametrize("seed", range(5))
def test_the_latest_attempt_then_time_wins_in_every_view(tables, seed: int) -> None:
    """All rows are kept, metrics_latest has the winners, metric_summary what they give, in any order of arrival."""
    frames = _frames(seed)
    for start in range(0, len(frames), 7):
        tables.insert(frames[start : start + 7])

    rows = tables("SELECT run_id, key, rank, step, reinterpretAsUInt64(value) AS bits FROM metrics")
    bits = tables("SELECT run_id, key, rank, step, reinterpretAsUInt64(value) AS bits FROM metrics_latest")
    logged = [(f.run, key, f.rank, step, value) for f in frames for key, step, value, _ in f.points()]
    assert sorted(_row(r) for r in rows) == sorted((*p[:4], _bits(p[4])) for p in logged)
    best = _winners(frames)
    assert {_row(r)[:4]: _row(r)[4] for r in bits} == {place: _bits(value) for place, (_, value) in best.items()}

    series: dict = {}
    for (run, key, rank, step), (order, value) in best.items():
        series.setdefault((run, key, rank), []).append((order, step, value))
    rows = tables("SELECT * REPLACE (reinterpretAsUInt64(last) AS last) FROM metric_summary")
    summary = {(r["run_id"], r["key"], r["rank"]): r for r in rows}
    assert summary.keys() == series.keys()
    for place, points in series.items():
        finite = [value for _, _, value in points if math.isfinite(value)]
        row = summary[place]
        assert int(row["count"]) == len(points)
        assert int(row["nan_count"]) == sum(math.isnan(value) for _, _, value in points)
        assert int(row["inf_count"]) == sum(math.isinf(value) for _, _, value in points)
        assert row["min"] == (min(finite) if finite else None)
        assert row["max"] == (max(finite) if finite else None)
        assert row["mean"] == (pytest.approx(sum(finite) / len(finite)) if finite else None)
        assert (int(row["first_step"]), int(row["last_step"])) == (min(p[1] for p in points), max(p[1] for p in points))
        tidy = place[0] == "e/p/tidy"
        last = max(points, key=lambda p: p[1] if tidy else (*p[0][:3], p[1]))
        assert int(row["last"]) == _bits(last[2])


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def _row(row: dict) -> tuple:
    return row["run_id"], row["key"], int(row["rank"]), int(row["step"]), int(row["bits"])
