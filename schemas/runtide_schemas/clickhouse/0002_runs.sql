-- Stream `runs`: what writers say about their run.

CREATE TABLE IF NOT EXISTS `${database}`.landing_runs ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, attempt Int64, rank Int32, child Bool,
    time DateTime64(6, 'UTC'), event String,
    name String, group String, job_type String, notes String, tags Array(String),
    config String, definitions String, environment String, summary Map(String, String),
    state String, exit_code Nullable(Int32), sent Map(String, Int64), dropped Map(String, Int64),
    -- Why the record cannot be used; empty when it can. Views unpack only what passes.
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        event NOT IN ('start', 'update', 'heartbeat', 'finish'), concat('unknown event ', event),
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.run_writers ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    writer UInt64 COMMENT 'Process that logged',
    attempt DateTime64(6, 'UTC') COMMENT 'Start of the attempt that it belongs to',
    rank Int32 COMMENT 'Rank of the process',
    child Bool COMMENT 'A forked child: it does not decide the state of the run',
    started SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'First event',
    heartbeat SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'Last event',
    state SimpleAggregateFunction(max, String) COMMENT 'finished or failed; empty before the end',
    exit_code SimpleAggregateFunction(max, Nullable(Int32)) COMMENT 'Exit code, once ended',
    sent SimpleAggregateFunction(maxMap, Map(String, Int64)) COMMENT 'Records numbered so far, by stream',
    dropped SimpleAggregateFunction(maxMap, Map(String, Int64)) COMMENT 'Points dropped so far, by reason'
)
ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (run_id, writer, attempt, rank, child)
SETTINGS ${window}
COMMENT 'One row per process that logged to a run (merge with GROUP BY: see the view runs)';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_runs_to_writers ${on_cluster} TO `${database}`.run_writers AS
SELECT
    run_id, writer, fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt, rank, child,
    time AS started, time AS heartbeat, state, exit_code, sent, dropped
FROM `${database}`.landing_runs
WHERE reason = '';

CREATE TABLE IF NOT EXISTS `${database}`.run_descriptions ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    created SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'First start',
    description AggregateFunction(argMax,
        Tuple(name String, group String, job_type String, notes String, tags Array(String),
              config String, definitions String, environment String),
        Tuple(attempt Int64, before_rank Int32, time DateTime64(6, 'UTC'), seq UInt64))
        COMMENT 'What the lowest rank of the latest attempt said last'
)
ENGINE = ${replicated}AggregatingMergeTree
ORDER BY run_id
SETTINGS ${window}
COMMENT 'The description of each run (merge with GROUP BY: see the view runs)';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_runs_to_descriptions ${on_cluster} TO `${database}`.run_descriptions AS
SELECT
    run_id, min(time) AS created,
    argMaxState(
        CAST((name, group, job_type, notes, tags, config, definitions, environment),
            'Tuple(name String, group String, job_type String, notes String, tags Array(String), config String, definitions String, environment String)'),
        CAST((attempt, -rank, time, seq), 'Tuple(attempt Int64, before_rank Int32, time DateTime64(6, \'UTC\'), seq UInt64)')) AS description
FROM `${database}`.landing_runs
WHERE reason = '' AND event IN ('start', 'update') AND NOT child
GROUP BY run_id;

CREATE TABLE IF NOT EXISTS `${database}`.run_summary_set ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    key LowCardinality(String) COMMENT 'Name in the summary',
    value String COMMENT 'Value as JSON text' CODEC(ZSTD(1)),
    time DateTime64(6, 'UTC') COMMENT 'When it was set'
)
ENGINE = ${replicated}ReplacingMergeTree(time)
ORDER BY (run_id, key)
SETTINGS ${window}
COMMENT 'Summary values set by hand (the last one counts: see the view run_summary)';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_runs_to_summary ${on_cluster} TO `${database}`.run_summary_set AS
SELECT run_id, entry.1 AS key, entry.2 AS value, time
FROM `${database}`.landing_runs
ARRAY JOIN CAST(summary, 'Array(Tuple(String, String))') AS entry
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_runs_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'runs' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(text))) AS digest, length(text) AS length, substring(text, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'event', event, 'config', config)) AS text
    FROM `${database}`.landing_runs
    WHERE reason != ''
);

CREATE VIEW IF NOT EXISTS `${database}`.runs ${on_cluster} AS
WITH
    writers AS
    (
        SELECT
            run_id, writer, attempt, rank, child, max(attempt) OVER (PARTITION BY run_id) AS newest,
            max(r.heartbeat) AS heartbeat, max(r.state) AS state, max(r.exit_code) AS exit_code,
            maxMap(r.sent) AS sent, maxMap(r.dropped) AS dropped
        FROM `${database}`.run_writers AS r
        GROUP BY run_id, writer, attempt, rank, child
    ),
    -- A writer that says nothing for five minutes is taken for dead; only the latest attempt decides.
    ends AS
    (
        SELECT
            run_id,
            uniqExact(w.attempt) AS attempts,
            uniqExact(w.rank) AS ranks,
            max(w.heartbeat) AS heartbeat,
            countIf(deciding AND w.state = '' AND w.heartbeat < now64(6) - INTERVAL 5 MINUTE) AS late,
            countIf(deciding AND w.state = '') AS open,
            countIf(deciding AND w.state = 'failed') AS failed,
            maxIf(w.exit_code, deciding) AS exit_code,
            sumMap(w.sent) AS sent,
            sumMap(w.dropped) AS dropped
        FROM (SELECT *, NOT child AND attempt = newest AS deciding FROM writers) AS w
        GROUP BY run_id
    ),
    descriptions AS
    (
        SELECT run_id, min(created) AS created, argMaxMerge(description) AS d
        FROM `${database}`.run_descriptions
        GROUP BY run_id
    )
SELECT
    descriptions.run_id AS run_id,
    splitByChar('/', run_id)[1] AS entity,
    splitByChar('/', run_id)[2] AS project,
    splitByChar('/', run_id)[3] AS id,
    d.1 AS name,
    multiIf(late > 0, 'crashed', open > 0, 'running', failed > 0, 'failed', 'finished') AS state,
    created,
    heartbeat,
    if(open > 0, NULL, toNullable(heartbeat)) AS ended,
    (toUnixTimestamp64Micro(heartbeat) - toUnixTimestamp64Micro(created)) / 1e6 AS duration,
    d.5 AS tags,
    d.2 AS group,
    d.3 AS job_type,
    d.4 AS notes,
    d.6 AS config,
    d.7 AS definitions,
    d.8 AS environment,
    JSONExtractString(environment, 'host') AS host,
    JSONExtractString(environment, 'command') AS command,
    JSONExtractString(environment, 'python') AS python,
    JSONExtractString(environment, 'git', 'commit') AS git_commit,
    JSONExtractBool(environment, 'git', 'dirty') AS git_dirty,
    exit_code,
    attempts,
    ranks,
    sent,
    dropped
FROM descriptions
INNER JOIN ends ON descriptions.run_id = ends.run_id;
