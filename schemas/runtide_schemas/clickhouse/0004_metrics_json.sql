-- Stream `metrics_json`: logged values that are not exactly a float64.

CREATE TABLE IF NOT EXISTS `${database}`.landing_metrics_json ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, attempt Int64, rank Int32,
    keys Array(LowCardinality(String)), steps Array(Int64), times Array(Int64), values Array(String),
    -- Why the record cannot be used; empty when it can. Views unpack only what passes.
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        length(keys) != length(values) OR length(steps) != length(values) OR length(times) != length(values),
            'keys, steps, times and values differ in length',
        NOT arrayAll(t -> t BETWEEN -2208988800000 AND 10413791999999, times), 'a time outside 1900 to 2299',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.metrics_json ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    key LowCardinality(String) COMMENT 'Name of the metric',
    rank Int32 COMMENT 'Rank of the process that logged' CODEC(ZSTD(1)),
    step Int64 COMMENT 'Step' CODEC(DoubleDelta, ZSTD(1)),
    value String COMMENT 'Value as JSON text, exactly as logged' CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') COMMENT 'When it was logged' CODEC(DoubleDelta, ZSTD(1)),
    attempt DateTime64(6, 'UTC') COMMENT 'Start of the attempt: the latest wins for a repeated step' CODEC(DoubleDelta, ZSTD(1)),
    writer UInt64 COMMENT 'Process that logged' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}MergeTree
ORDER BY (run_id, key, rank, step)
SETTINGS ${window}
COMMENT 'Logged values that are not exactly a float64: text, None, lists, integers beyond 2^53';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_metrics_json_to_cells ${on_cluster} TO `${database}`.metrics_json AS
SELECT
    run_id, key, rank, step, value,
    fromUnixTimestamp64Milli(at, 'UTC') AS time,
    fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt,
    writer, seq
FROM `${database}`.landing_metrics_json
ARRAY JOIN keys AS key, steps AS step, times AS at, values AS value
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_metrics_json_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'metrics_json' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(text))) AS digest, length(text) AS length, substring(text, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'keys', toString(keys),
            'steps', toString(steps), 'times', toString(times), 'values', toString(values))) AS text
    FROM `${database}`.landing_metrics_json
    WHERE reason != ''
);

-- What W&B calls the summary: per key the later of the last logged value (of rank 0) and what was set by hand.
CREATE VIEW IF NOT EXISTS `${database}`.run_summary ${on_cluster} AS
SELECT
    run_id, key,
    argMax(s.value, (s.time, s.priority)) AS value,
    argMax(s.number, (s.time, s.priority)) AS number,
    max(s.time) AS time
FROM
(
    SELECT
        run_id, key, if(isFinite(last), toString(last), toJSONString(toString(last))) AS value, toNullable(last) AS number,
        toDateTime64(last_time, 6, 'UTC') AS time, 0 AS priority
    FROM `${database}`.metric_summary
    WHERE rank = 0
    UNION ALL
    SELECT run_id, key, argMax(j.value, (j.attempt, j.time, j.seq)) AS value, NULL AS number, toDateTime64(max(j.time), 6, 'UTC') AS time, 1 AS priority
    FROM `${database}`.metrics_json AS j
    WHERE rank = 0 AND j.value != 'null'
    GROUP BY run_id, key
    UNION ALL
    SELECT run_id, key, value, toFloat64OrNull(value) AS number, time, 2 AS priority
    FROM `${database}`.run_summary_set FINAL
) AS s
GROUP BY run_id, key;
