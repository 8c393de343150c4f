-- Statistics of every 256 steps, so that a chart of a million points reads some thousand rows. What was logged before
-- this migration is in none: such a series lacks its first steps here, and is read from its points.

CREATE TABLE IF NOT EXISTS `${database}`.metric_rollup ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    key LowCardinality(String) COMMENT 'Name of the metric',
    rank Int32 COMMENT 'Rank of the process that logged' CODEC(ZSTD(1)),
    start Int64 COMMENT 'First step of the 256, a multiple of 256' CODEC(DoubleDelta, ZSTD(1)),
    attempt DateTime64(6, 'UTC') COMMENT 'Start of the attempt' CODEC(DoubleDelta, ZSTD(1)),
    count SimpleAggregateFunction(sum, UInt64) COMMENT 'Points' CODEC(T64, ZSTD(1)),
    nan_count SimpleAggregateFunction(sum, UInt64) COMMENT 'Points that are not a number' CODEC(T64, ZSTD(1)),
    inf_count SimpleAggregateFunction(sum, UInt64) COMMENT 'Points that are infinite' CODEC(T64, ZSTD(1)),
    min SimpleAggregateFunction(min, Float64) COMMENT 'Smallest finite value, inf when there is none' CODEC(ZSTD(1)),
    max SimpleAggregateFunction(max, Float64) COMMENT 'Largest finite value, -inf when there is none' CODEC(ZSTD(1)),
    sum SimpleAggregateFunction(sum, Float64) COMMENT 'Sum of the finite values' CODEC(ZSTD(1)),
    last AggregateFunction(argMax, Float64, Int64) COMMENT 'Value at the largest step' CODEC(ZSTD(1)),
    first_step SimpleAggregateFunction(min, Int64) COMMENT 'Smallest step' CODEC(DoubleDelta, ZSTD(1)),
    last_step SimpleAggregateFunction(max, Int64) COMMENT 'Largest step' CODEC(DoubleDelta, ZSTD(1)),
    first_time SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'Earliest time' CODEC(DoubleDelta, ZSTD(1)),
    last_time SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'Latest time' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (run_id, key, rank, start, attempt)
SETTINGS ${window}
COMMENT 'Statistics of 256 steps per series and attempt, made at insert: whole only for series that one writer logged in order and whose first step is here (merge with GROUP BY)';

-- From points that are made already: as cheap as the frames' arrays where frames are long, and half of that where they
-- are short, as its query is a simple one and is analysed at every insert.
CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.metrics_to_rollup ${on_cluster} TO `${database}`.metric_rollup AS
SELECT
    run_id, key, rank, bitAnd(step, -256) AS start, attempt,
    count() AS count,
    countIf(isNaN(value)) AS nan_count,
    countIf(isInfinite(value)) AS inf_count,
    if(count = nan_count + inf_count, inf, minIf(value, isFinite(value))) AS min,
    if(count = nan_count + inf_count, -inf, maxIf(value, isFinite(value))) AS max,
    sumIf(value, isFinite(value)) AS sum,
    argMaxState(value, step) AS last,
    min(step) AS first_step,
    max(step) AS last_step,
    min(time) AS first_time,
    max(time) AS last_time
FROM `${database}`.metrics
GROUP BY run_id, key, rank, start, attempt;
