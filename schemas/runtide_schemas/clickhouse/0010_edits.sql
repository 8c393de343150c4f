-- Stream `edits`: what people change in runs. A run is what it logged, overlaid by its latest edits.

CREATE TABLE IF NOT EXISTS `${database}`.landing_edits ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, id String, time DateTime64(6, 'UTC'),
    who String, field String, value String,
    -- Why the record cannot be used; empty when it can. Views unpack only what passes.
    reason String MATERIALIZED multiIf(
        NOT arrayAll(t -> isValidUTF8(t) = 1, [run_id, id, who, field, value]), 'a text is not UTF-8',
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        toUUIDOrNull(id) IS NULL, 'id is not a UUID',
        field NOT IN ('name', 'tags', 'notes', 'colour', 'baseline', 'archived', 'deleted'), concat('unknown field ', field),
        length(value) > 1000000, 'a value of more than 1,000,000 bytes',
        NOT isValidJSON(value), 'value is not JSON',
        JSONType(value) = 'Null', '',
        field IN ('name', 'notes') AND JSONType(value) != 'String', concat(field, ' is not a text'),
        field IN ('baseline', 'archived', 'deleted') AND JSONType(value) != 'Bool', concat(field, ' is not true or false'),
        field = 'tags' AND (JSONType(value) != 'Array' OR NOT arrayAll(t -> JSONType(t) = 'String', JSONExtractArrayRaw(value))),
            'tags are not a list of texts',
        field = 'colour' AND NOT match(JSONExtractString(value), '^#[0-9A-Fa-f]{6}$$'), 'colour is not of the form #RRGGBB',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.run_edits ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    time DateTime64(6, 'UTC') COMMENT 'When it was made',
    who String COMMENT 'Who made it',
    field LowCardinality(String) COMMENT 'name, tags, notes, colour, baseline, archived or deleted',
    value String COMMENT 'The new value as JSON; null for what the run itself said' CODEC(ZSTD(1)),
    id UUID COMMENT 'The act: one may change many runs'
)
ENGINE = ${replicated}MergeTree
ORDER BY (run_id, field, time)
SETTINGS ${window}
COMMENT 'Every change that people made to runs: the latest of a field counts (see the view runs)';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_edits_to_table ${on_cluster} TO `${database}`.run_edits AS
SELECT run_id, time, who, field, value, toUUIDOrDefault(id) AS id
FROM `${database}`.landing_edits
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_edits_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'edits' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'id', id, 'time', toString(time), 'who', who, 'field', field, 'value', value)) AS whole
    FROM `${database}`.landing_edits
    WHERE reason != ''
);

-- Every run that ever logged, deleted ones too: for all but undoing a deletion use runs.
CREATE VIEW IF NOT EXISTS `${database}`.all_runs ${on_cluster} AS
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
    ),
    -- An edit of null, like none, leaves what the run said.
    edits AS
    (
        SELECT
            e.run_id AS run_id,
            argMaxIf(e.value, (e.time, e.id), e.field = 'name') AS name,
            argMaxIf(e.value, (e.time, e.id), e.field = 'tags') AS tags,
            argMaxIf(e.value, (e.time, e.id), e.field = 'notes') AS notes,
            JSONExtractString(argMaxIf(e.value, (e.time, e.id), e.field = 'colour')) AS colour,
            JSONExtractBool(argMaxIf(e.value, (e.time, e.id), e.field = 'baseline')) AS baseline,
            JSONExtractBool(argMaxIf(e.value, (e.time, e.id), e.field = 'archived')) AS archived,
            JSONExtractBool(argMaxIf(e.value, (e.time, e.id), e.field = 'deleted')) AS deleted,
            max(e.time) AS edited, argMax(e.who, (e.time, e.id)) AS edited_by
        FROM `${database}`.run_edits AS e
        GROUP BY e.run_id
    ),
    -- Of each project the run that was made its baseline last.
    baselines AS
    (
        SELECT argMax(b.run_id, (b.time, b.id)) AS run_id
        FROM `${database}`.run_edits AS b
        WHERE b.field = 'baseline' AND JSONExtractBool(b.value)
        GROUP BY arraySlice(splitByChar('/', b.run_id), 1, 2)
    )
SELECT
    descriptions.run_id AS run_id,
    splitByChar('/', run_id)[1] AS entity,
    splitByChar('/', run_id)[2] AS project,
    splitByChar('/', run_id)[3] AS id,
    if(JSONType(edits.name) = 'String', JSONExtractString(edits.name), d.1) AS name,
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
    if(JSONType(edits.tags) = 'Array', JSONExtract(edits.tags, 'Array(String)'), d.5) AS tags,
    d.2 AS group,
    d.3 AS job_type,
    if(JSONType(edits.notes) = 'String', JSONExtractString(edits.notes), d.4) AS notes,
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
    dropped,
    edits.colour AS colour,
    toBool(edits.archived) AS archived,
    toBool(edits.baseline AND descriptions.run_id IN (SELECT run_id FROM baselines)) AS baseline,
    toBool(edits.deleted) AS deleted,
    if(edits.run_id = '', NULL, toNullable(edits.edited)) AS edited,
    edits.edited_by AS edited_by
FROM descriptions
INNER JOIN ends ON descriptions.run_id = ends.run_id
LEFT JOIN edits ON descriptions.run_id = edits.run_id;

CREATE OR REPLACE VIEW `${database}`.runs ${on_cluster} AS
SELECT * EXCEPT (deleted)
FROM `${database}`.all_runs
WHERE NOT deleted;
