-- Many ranks in one run, rewinds, forks, preemption, and statistics in the summary.

ALTER TABLE `${database}`.landing_runs ${on_cluster}
    ADD COLUMN IF NOT EXISTS launch String,
    ADD COLUMN IF NOT EXISTS preempting Bool,
    ADD COLUMN IF NOT EXISTS rewind Nullable(Int64),
    ADD COLUMN IF NOT EXISTS parent String,
    ADD COLUMN IF NOT EXISTS parent_step Nullable(Int64),
    ADD COLUMN IF NOT EXISTS statistics Map(String, String);

ALTER TABLE `${database}`.landing_runs ${on_cluster}
    MODIFY COLUMN reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        event NOT IN ('start', 'update', 'heartbeat', 'finish'), concat('unknown event ', event),
        NOT arrayAll(
            t -> isValidUTF8(t) = 1,
            arrayConcat([name, group, job_type, notes, config, definitions, environment, state, launch, parent], tags,
                mapKeys(summary), mapValues(summary), mapKeys(statistics), mapValues(statistics))),
            'a text is not UTF-8',
        '');

ALTER TABLE `${database}`.run_writers ${on_cluster}
    ADD COLUMN IF NOT EXISTS launch SimpleAggregateFunction(max, String)
        COMMENT 'What the writers of one start of a job have in common; empty for a job of one process',
    ADD COLUMN IF NOT EXISTS preempting SimpleAggregateFunction(max, UInt8)
        COMMENT '1 once the process said that its machine is about to be taken away';

ALTER TABLE `${database}`.landing_runs_to_writers ${on_cluster} MODIFY QUERY
SELECT
    run_id, writer, fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt, rank, child,
    time AS started, time AS heartbeat, state, exit_code, sent, dropped, launch, toUInt8(preempting) AS preempting
FROM `${database}`.landing_runs
WHERE reason = '';

-- The lowest rank comes first, then the attempt: ranks that start together have attempts of their own.
ALTER TABLE `${database}`.run_descriptions ${on_cluster}
    ADD COLUMN IF NOT EXISTS told AggregateFunction(argMax,
        Tuple(name String, group String, job_type String, notes String, tags Array(String),
              config String, definitions String, environment String, parent String, parent_step Nullable(Int64)),
        Tuple(before_rank Int32, attempt Int64, time DateTime64(6, 'UTC'), seq UInt64))
        COMMENT 'What the latest attempt of the lowest rank said last',
    COMMENT COLUMN description 'The same of earlier versions, for runs that have no `told`';

ALTER TABLE `${database}`.landing_runs_to_descriptions ${on_cluster} MODIFY QUERY
SELECT
    run_id, min(time) AS created,
    argMaxState(
        CAST((name, group, job_type, notes, tags, config, definitions, environment, parent, parent_step),
            'Tuple(name String, group String, job_type String, notes String, tags Array(String), config String, definitions String, environment String, parent String, parent_step Nullable(Int64))'),
        CAST((-rank, attempt, time, seq), 'Tuple(before_rank Int32, attempt Int64, time DateTime64(6, \'UTC\'), seq UInt64)')) AS told
FROM `${database}`.landing_runs
WHERE reason = '' AND event IN ('start', 'update') AND NOT child
GROUP BY run_id;

CREATE TABLE IF NOT EXISTS `${database}`.run_rewinds ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    rank Int32 COMMENT 'Rank whose points are meant',
    attempt DateTime64(6, 'UTC') COMMENT 'Attempt that goes on from the step: only earlier ones are cut',
    step Int64 COMMENT 'Last step of theirs that still counts'
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, rank, attempt, step)
SETTINGS ${window}
COMMENT 'Rewinds: what earlier attempts logged beyond the step stays in the table metrics, and counts in no view';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_runs_to_rewinds ${on_cluster} TO `${database}`.run_rewinds AS
SELECT run_id, rank, fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt, assumeNotNull(rewind) AS step
FROM `${database}`.landing_runs
WHERE reason = '' AND event = 'start' AND NOT child AND rewind IS NOT NULL;

ALTER TABLE `${database}`.run_summary_set ${on_cluster}
    ADD COLUMN IF NOT EXISTS statistic Bool
        COMMENT 'What define_metric asked for: stands above what was logged later; empty for a metric without a summary';

ALTER TABLE `${database}`.landing_runs_to_summary ${on_cluster} MODIFY QUERY
SELECT run_id, entry.1 AS key, entry.2 AS value, entry.3 AS statistic, time
FROM `${database}`.landing_runs
ARRAY JOIN arrayConcat(
    arrayMap(e -> (e.1, e.2, false), CAST(summary, 'Array(Tuple(String, String))')),
    arrayMap(e -> (e.1, e.2, true), CAST(statistics, 'Array(Tuple(String, String))'))) AS entry
WHERE reason = '';

CREATE OR REPLACE VIEW `${database}`.runs ${on_cluster} AS
WITH
    writers AS
    (
        SELECT
            run_id, writer, attempt, rank, child,
            max(r.heartbeat) AS heartbeat, max(r.state) AS state, max(r.exit_code) AS exit_code,
            maxMap(r.sent) AS sent, maxMap(r.dropped) AS dropped, max(r.preempting) AS preempting,
            -- A process that no job started is a start of its own.
            if(max(r.launch) = '', toString(attempt), max(r.launch)) AS launch
        FROM `${database}`.run_writers AS r
        GROUP BY run_id, writer, attempt, rank, child
    ),
    -- Of the start that came last, the newest writer of every rank decides.
    launches AS
    (
        SELECT
            *, NOT child AND attempt = newest AND launch = latest AS deciding
        FROM
        (
            SELECT
                *, max(attempt) OVER (PARTITION BY run_id, rank) AS newest,
                argMax(launch, attempt) OVER (PARTITION BY run_id) AS latest
            FROM writers
        )
    ),
    -- A writer that says nothing for five minutes is taken for dead.
    ends AS
    (
        SELECT
            run_id,
            uniqExact(w.launch) AS attempts,
            uniqExact(w.rank) AS ranks,
            max(w.heartbeat) AS heartbeat,
            countIf(deciding AND w.state = '' AND w.heartbeat < now64(6) - INTERVAL 5 MINUTE) AS late,
            countIf(deciding AND w.state = '') AS open,
            countIf(deciding AND w.state = 'failed') AS failed,
            countIf(deciding AND w.preempting = 1) AS preempting,
            maxIf(w.exit_code, deciding) AS exit_code,
            sumMap(w.sent) AS sent,
            sumMap(w.dropped) AS dropped
        FROM launches AS w
        GROUP BY run_id
    ),
    descriptions AS
    (
        SELECT
            run_id, min(created) AS created, argMaxMerge(description) AS old, argMaxMerge(told) AS new,
            if(new.config = '', (old.1, old.2, old.3, old.4, old.5, old.6, old.7, old.8, '', NULL), new) AS d
        FROM `${database}`.run_descriptions
        GROUP BY run_id
    )
SELECT
    descriptions.run_id AS run_id,
    splitByChar('/', run_id)[1] AS entity,
    splitByChar('/', run_id)[2] AS project,
    splitByChar('/', run_id)[3] AS id,
    d.1 AS name,
    multiIf(
        preempting > 0 AND (late > 0 OR failed > 0), 'preempted',
        late > 0, 'crashed',
        open > 0 AND preempting > 0, 'preempting',
        open > 0, 'running',
        failed > 0, 'failed',
        'finished') AS state,
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
    d.9 AS parent,
    d.10 AS parent_step,
    exit_code,
    attempts,
    ranks,
    sent,
    dropped
FROM descriptions
INNER JOIN ends ON descriptions.run_id = ends.run_id;

-- Runs that were rewound take a way of their own: a join would cost all others.
CREATE OR REPLACE VIEW `${database}`.metrics_latest ${on_cluster} AS
SELECT
    run_id, key, rank, step,
    argMax(points.value, (points.attempt, points.time, points.seq, points.writer)) AS value,
    argMax(points.time, (points.attempt, points.time, points.seq, points.writer)) AS time,
    max(points.attempt) AS attempt,
    argMax(points.seq, (points.attempt, points.time, points.seq, points.writer)) AS seq
FROM `${database}`.metrics AS points
WHERE run_id NOT IN (SELECT run_id FROM `${database}`.run_rewinds)
GROUP BY run_id, key, rank, step
UNION ALL
SELECT
    run_id, key, rank, step,
    argMax(points.value, (points.attempt, points.time, points.seq, points.writer)) AS value,
    argMax(points.time, (points.attempt, points.time, points.seq, points.writer)) AS time,
    max(points.attempt) AS attempt,
    argMax(points.seq, (points.attempt, points.time, points.seq, points.writer)) AS seq
FROM `${database}`.metrics AS points
LEFT JOIN (SELECT run_id, rank, groupArray((attempt, step)) AS cuts FROM `${database}`.run_rewinds GROUP BY run_id, rank) AS rewinds
    ON points.run_id = rewinds.run_id AND points.rank = rewinds.rank
WHERE run_id IN (SELECT run_id FROM `${database}`.run_rewinds)
    AND NOT arrayExists(cut -> points.attempt < cut.1 AND points.step > cut.2, rewinds.cuts)
GROUP BY run_id, key, rank, step;

CREATE VIEW IF NOT EXISTS `${database}`.metrics_json_latest ${on_cluster} AS
SELECT
    run_id, key, rank, step,
    argMax(cells.value, (cells.attempt, cells.time, cells.seq, cells.writer)) AS value,
    argMax(cells.time, (cells.attempt, cells.time, cells.seq, cells.writer)) AS time,
    max(cells.attempt) AS attempt,
    argMax(cells.seq, (cells.attempt, cells.time, cells.seq, cells.writer)) AS seq
FROM `${database}`.metrics_json AS cells
LEFT JOIN (SELECT run_id, rank, groupArray((attempt, step)) AS cuts FROM `${database}`.run_rewinds GROUP BY run_id, rank) AS rewinds
    ON cells.run_id = rewinds.run_id AND cells.rank = rewinds.rank
WHERE NOT arrayExists(cut -> cells.attempt < cut.1 AND cells.step > cut.2, rewinds.cuts)
GROUP BY run_id, key, rank, step;

CREATE OR REPLACE VIEW `${database}`.metric_summary ${on_cluster} AS
SELECT
    run_id, key, rank,
    sum(s.count) AS count, sum(s.nan_count) AS nan_count, sum(s.inf_count) AS inf_count,
    if(count = nan_count + inf_count, NULL, min(s.min)) AS min,
    if(count = nan_count + inf_count, NULL, max(s.max)) AS max,
    if(count = nan_count + inf_count, NULL, sum(s.sum) / (count - nan_count - inf_count)) AS mean,
    argMaxMerge(s.last) AS last,
    min(s.first_step) AS first_step, max(s.last_step) AS last_step, max(s.last_time) AS last_time
FROM `${database}`.metric_summary_state AS s
WHERE run_id NOT IN (SELECT run_id FROM `${database}`.run_rewinds)
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
        OR run_id IN (SELECT run_id FROM `${database}`.run_rewinds)
)
GROUP BY run_id, key, rank;

-- What W&B calls the summary: per key what define_metric asked for, else the later of the last logged value (of rank 0)
-- and what was set by hand.
CREATE OR REPLACE VIEW `${database}`.run_summary ${on_cluster} AS
SELECT
    run_id, key,
    argMax(s.value, (s.statistic, s.time, s.priority)) AS value,
    argMax(s.number, (s.statistic, s.time, s.priority)) AS number,
    max(s.time) AS time
FROM
(
    SELECT
        run_id, key, if(isFinite(last), toString(last), toJSONString(toString(last))) AS value, toNullable(last) AS number,
        toDateTime64(last_time, 6, 'UTC') AS time, 0 AS priority, false AS statistic
    FROM `${database}`.metric_summary
    WHERE rank = 0
    UNION ALL
    SELECT
        run_id, key, argMax(j.value, (j.attempt, j.time, j.seq, j.step)) AS value, NULL AS number,
        toDateTime64(max(j.time), 6, 'UTC') AS time, 1 AS priority, false AS statistic
    FROM `${database}`.metrics_json_latest AS j
    WHERE rank = 0 AND j.value != 'null'
    GROUP BY run_id, key
    UNION ALL
    SELECT run_id, key, value, toFloat64OrNull(value) AS number, time, 2 AS priority, statistic
    FROM `${database}`.run_summary_set FINAL
) AS s
GROUP BY run_id, key
HAVING value != '';
