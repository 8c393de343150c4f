-- Stream `metrics`: frames of numbers, taken apart into points.

CREATE TABLE IF NOT EXISTS `${database}`.landing_metrics ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, attempt Int64, rank Int32, ordered Bool,
    keys Array(LowCardinality(String)), steps Array(Int64), times Array(Int64), values Array(Float64),
    -- Why the frame cannot be used; empty when it can. Views unpack only what passes.
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        length(times) != length(steps), 'times and steps differ in length',
        length(values) != length(keys) * length(steps), 'values are not keys x steps',
        length(keys) = 0 OR length(steps) = 0, 'a frame without points',
        length(arrayDistinct(keys)) != length(keys), 'a key stands twice',
        NOT arrayAll((a, b) -> a < b, arrayPopBack(steps), arrayPopFront(steps)), 'steps do not ascend',
        NOT arrayAll(t -> t BETWEEN -2208988800000 AND 10413791999999, times), 'a time outside 1900 to 2299',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.metrics ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    key LowCardinality(String) COMMENT 'Name of the metric',
    rank Int32 COMMENT 'Rank of the process that logged' CODEC(ZSTD(1)),
    step Int64 COMMENT 'Step' CODEC(DoubleDelta, ZSTD(1)),
    value Float64 COMMENT 'Value, exactly as logged' CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') COMMENT 'When it was logged' CODEC(DoubleDelta, ZSTD(1)),
    attempt DateTime64(6, 'UTC') COMMENT 'Start of the attempt: the latest wins for a repeated step' CODEC(DoubleDelta, ZSTD(1)),
    writer UInt64 COMMENT 'Process that logged' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}MergeTree
ORDER BY (run_id, key, rank, step)
SETTINGS ${window}
COMMENT 'Every point that was logged, superseded ones too: for charts use metrics_latest';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_metrics_to_points ${on_cluster} TO `${database}`.metrics AS
SELECT
    run_id, key, rank, step, value,
    fromUnixTimestamp64Milli(at, 'UTC') AS time,
    fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt,
    writer, seq
FROM `${database}`.landing_metrics
ARRAY JOIN
    arrayFlatten(arrayMap(k -> arrayWithConstant(length(steps), k), keys)) AS key,
    arrayFlatten(arrayWithConstant(length(keys), steps)) AS step,
    arrayFlatten(arrayWithConstant(length(keys), times)) AS at,
    values AS value
WHERE reason = '';

CREATE TABLE IF NOT EXISTS `${database}`.metric_summary_state ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    key LowCardinality(String) COMMENT 'Name of the metric',
    rank Int32 COMMENT 'Rank of the process that logged',
    attempt DateTime64(6, 'UTC') COMMENT 'Start of the attempt',
    count SimpleAggregateFunction(sum, UInt64) COMMENT 'Points',
    nan_count SimpleAggregateFunction(sum, UInt64) COMMENT 'Points that are not a number',
    inf_count SimpleAggregateFunction(sum, UInt64) COMMENT 'Points that are infinite',
    min SimpleAggregateFunction(min, Float64) COMMENT 'Smallest finite value, inf when there is none',
    max SimpleAggregateFunction(max, Float64) COMMENT 'Largest finite value, -inf when there is none',
    sum SimpleAggregateFunction(sum, Float64) COMMENT 'Sum of the finite values',
    last AggregateFunction(argMax, Float64, Int64) COMMENT 'Value at the largest step',
    first_step SimpleAggregateFunction(min, Int64) COMMENT 'Smallest step',
    last_step SimpleAggregateFunction(max, Int64) COMMENT 'Largest step',
    last_time SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'Latest time',
    ordered SimpleAggregateFunction(min, UInt8) COMMENT '1 when no writer came back to an earlier step',
    writers SimpleAggregateFunction(groupUniqArrayArray, Array(UInt64)) COMMENT 'Processes that logged the series'
)
ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (run_id, key, rank, attempt)
SETTINGS ${window}
COMMENT 'Running statistics per series and attempt, made at insert (see the view metric_summary)';

-- From the frames' arrays, not from points: half the cost of a GROUP BY over points.
CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_metrics_to_summary ${on_cluster} TO `${database}`.metric_summary_state AS
SELECT
    run_id, key, rank, fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt,
    sum(steps_in_frame) AS count,
    sum(nans) AS nan_count,
    sum(steps_in_frame - length(finite) - nans) AS inf_count,
    min(if(empty(finite), inf, arrayMin(finite))) AS min,
    max(if(empty(finite), -inf, arrayMax(finite))) AS max,
    sum(arraySum(finite)) AS sum,
    argMaxState(series[-1], to_step) AS last,
    min(from_step) AS first_step,
    max(to_step) AS last_step,
    max(fromUnixTimestamp64Milli(latest, 'UTC')) AS last_time,
    min(toUInt8(ordered)) AS ordered,
    groupUniqArray(writer) AS writers
FROM
(
    SELECT
        run_id, rank, attempt, writer, ordered, steps_in_frame, latest, from_step, to_step, key, series,
        arrayFilter(x -> isFinite(x), series) AS finite,
        toUInt64(countEqual(arrayMap(x -> isNaN(x), series), 1)) AS nans
    FROM
    (
        SELECT
            run_id, rank, attempt, writer, ordered, keys,
            toUInt64(length(steps)) AS steps_in_frame, arrayMax(times) AS latest,
            steps[1] AS from_step, steps[-1] AS to_step,
            arrayMap(i -> arraySlice(values, i * length(steps) + 1, length(steps)), range(length(keys))) AS per_key
        FROM `${database}`.landing_metrics
        WHERE reason = ''
    )
    ARRAY JOIN keys AS key, per_key AS series
)
GROUP BY run_id, key, rank, attempt;

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_metrics_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'metrics' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(text))) AS digest, length(text) AS length, substring(text, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'keys', toString(keys),
            'steps', toString(steps), 'times', toString(times), 'values', toString(values))) AS text
    FROM `${database}`.landing_metrics
    WHERE reason != ''
);

CREATE VIEW IF NOT EXISTS `${database}`.metrics_latest ${on_cluster} AS
SELECT
    run_id, key, rank, step,
    argMax(points.value, (points.attempt, points.time, points.seq, points.writer)) AS value,
    argMax(points.time, (points.attempt, points.time, points.seq, points.writer)) AS time,
    max(points.attempt) AS attempt,
    argMax(points.seq, (points.attempt, points.time, points.seq, points.writer)) AS seq
FROM `${database}`.metrics AS points
GROUP BY run_id, key, rank, step;

-- Statistics made at insert cannot take a superseded point back: a series that one writer logged in order is served from them, any other
-- is computed from its points.
CREATE VIEW IF NOT EXISTS `${database}`.metric_summary ${on_cluster} AS
SELECT
    run_id, key, rank,
    sum(s.count) AS count, sum(s.nan_count) AS nan_count, sum(s.inf_count) AS inf_count,
    if(count = nan_count + inf_count, NULL, min(s.min)) AS min,
    if(count = nan_count + inf_count, NULL, max(s.max)) AS max,
    if(count = nan_count + inf_count, NULL, sum(s.sum) / (count - nan_count - inf_count)) AS mean,
    argMaxMerge(s.last) AS last,
    min(s.first_step) AS first_step, max(s.last_step) AS last_step, max(s.last_time) AS last_time
FROM `${database}`.metric_summary_state AS s
GROUP BY run_id, key, rank
HAVING min(s.ordered) = 1 AND length(groupUniqArrayArray(s.writers)) = 1
UNION ALL
SELECT
    run_id, key, rank,
    count() AS count, countIf(isNaN(p.value)) AS nan_count, countIf(isInfinite(p.value)) AS inf_count,
    minOrNullIf(p.value, isFinite(p.value)) AS min,
    maxOrNullIf(p.value, isFinite(p.value)) AS max,
    if(count = nan_count + inf_count, NULL, sumIf(p.value, isFinite(p.value)) / (count - nan_count - inf_count)) AS mean,
    argMax(p.value, (p.attempt, p.time, p.seq, p.step)) AS last,
    min(p.step) AS first_step, max(p.step) AS last_step, max(p.time) AS last_time
FROM `${database}`.metrics_latest AS p
WHERE (run_id, key, rank) IN
(
    SELECT run_id, key, rank
    FROM `${database}`.metric_summary_state
    GROUP BY run_id, key, rank
    HAVING min(ordered) = 0 OR length(groupUniqArrayArray(writers)) > 1
)
GROUP BY run_id, key, rank;
