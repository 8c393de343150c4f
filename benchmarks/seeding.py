"""Many runs in a store at once, for benchmarks of the dashboard and the query API.

They go through the landing tables, as a consumer's batches do, but are made by the store itself: ten thousand runs of a
thousand metrics take about a minute.
"""

from collections.abc import Callable

START = 1_760_000_000  # seconds since 1970

_RUNS = """
INSERT INTO landing_runs (
    _source, _partition, _offset, _appended, run_id, writer, seq, attempt, rank, child, time, event, name, group, tags,
    config, definitions, environment, state, notes)
SELECT
    'seed', 0, number, now64(6), concat('{project}/r', toString(number)), number + 1, {seq}, created * 1000000, 0,
    false,
    fromUnixTimestamp64Micro((created + {after}) * 1000000, 'UTC'), '{event}',
    concat('run-', toString(number), '-seed', toString(number % 5)), concat('group-', toString(number % 100)),
    arrayFilter(t -> t != '', [if(number % 7 = 0, 'lr-scan', ''), if(number % 50 = 0, 'prod', '')]),
    concat(
        '{{"optim": {{"lr": ', toString((1 + number % 10) / 1000), ', "weight_decay": ', toString((number % 4) / 10),
        ', "name": "adamw"}}, "model": {{"name": "', ['gpt', 'mamba', 'rwkv'][1 + number % 3], '", "depth": ',
        toString(8 + number % 5), '}}, "seed": ', toString(number % 5), ', ',
        arrayStringConcat(
            arrayMap(i -> concat('"option', toString(i), '": "value ', toString(i), '"'), range({options})), ', '),
        '}}'),
    '{{"k0": {{"metric": "k0", "summary": ["min"], "goal": "minimize"}}}}',
    '{{"host": "node", "python": "3.11", "command": "train.py"}}',
    if('{event}' = 'finish', if(number % 20 = 0, 'failed', 'finished'), ''), ''
FROM (SELECT number, {start} + number * 60 AS created FROM numbers({first}, {count}))
"""

_POINTS = """
INSERT INTO landing_metrics (
    _source, _partition, _offset, _appended, run_id, writer, seq, attempt, rank, ordered, keys, steps, times, values)
SELECT
    'seed', 0, number, now64(6), concat('{project}/r', toString(number)), number + 1, 0, created * 1000000, 0, true,
    arrayMap(i -> concat('k', toString(i + {key})), range({keys})) AS names,
    arrayMap(i -> toInt64(i), range({steps})) AS at,
    arrayMap(i -> toInt64((created + i) * 1000), range({steps})),
    arrayFlatten(arrayMap(
        k -> arrayMap(i -> 2 / (1 + i) + sipHash64(number, k) % 1000 / 1000, range({steps})), range({keys})))
FROM (SELECT number, {start} + number * 60 AS created FROM numbers({first}, {count}))
"""


def seed_runs(
    query: Callable[[str], object],
    project: str,
    runs: int,
    keys: int,
    steps: int = 2,
    curves: int = 4,
    options: int = 60,
) -> None:
    """Make finished runs `project/r0`, `project/r1`, … with metrics `k0`, `k1`, …

    Args:
        query: Runs one statement in the database, as the user who may write.
        project: entity/project.
        runs: How many; a minute apart.
        keys: Metrics of each run.
        steps: Points of each metric.
        curves: The first so many metrics have 200 points.
        options: Config keys beside the seven that differ between runs.
    """
    for first in range(0, runs, 1000):
        common = {"project": project, "first": first, "count": min(1000, runs - first), "start": START}
        for seq, (event, after) in enumerate((("start", 0), ("finish", 50))):
            query(_RUNS.format(**common, seq=seq, event=event, after=after, options=options))
    # One insert is one block of at most a million points or so: what a consumer's batch holds.
    for first in range(0, runs, 500):
        common = {"project": project, "first": first, "count": min(500, runs - first), "start": START}
        query(_POINTS.format(**common, key=0, keys=min(curves, keys), steps=200))
        if keys > curves:
            query(_POINTS.format(**common, key=curves, keys=keys - curves, steps=steps))
