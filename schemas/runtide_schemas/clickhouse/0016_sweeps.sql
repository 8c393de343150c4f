-- Stream `sweeps`: what was decided in sweeps. Their state and that of their trials are views of it.

CREATE TABLE IF NOT EXISTS `${database}`.landing_sweeps ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, time DateTime64(6, 'UTC'), sweep String, event String, state String,
    why String, config String, storage String, number Int64, try Int32, parameters String,
    objectives Map(String, Float64), agent String,
    -- Why the record cannot be used; empty when it can. Views unpack only what passes.
    reason String MATERIALIZED multiIf(
        NOT arrayAll(t -> isValidUTF8(t) = 1, [run_id, sweep, event, state, why, config, storage, parameters, agent]),
            'a text is not UTF-8',
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        sweep = '' OR position(sweep, '/') > 0, 'sweep is not an id',
        event NOT IN ('created', 'state', 'asked', 'lost', 'told'), concat('unknown event ', event),
        event IN ('created', 'state') AND state NOT IN ('running', 'paused', 'finished', 'stopped', 'cancelled'),
            concat('unknown state ', state),
        event IN ('asked', 'lost', 'told') AND state NOT IN ('running', 'lost', 'finished', 'failed', 'stopped'),
            concat('unknown state ', state),
        event IN ('created', 'state') AND splitByChar('/', run_id)[3] != sweep, 'run_id is not the path of the sweep',
        event = 'created' AND NOT isValidJSON(config), 'config is not JSON',
        event IN ('asked', 'lost', 'told') AND NOT isValidJSON(parameters), 'parameters are not JSON',
        try < 0, 'a negative number of tries',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.sweep_events ${on_cluster}
(
    sweep_id LowCardinality(String) COMMENT 'Path of the sweep: entity/project/id',
    run_id String COMMENT 'Path of the run of the trial; empty for what is about the sweep' CODEC(ZSTD(1)),
    time DateTime64(6, 'UTC') COMMENT 'When it was decided',
    event LowCardinality(String) COMMENT 'created or state of a sweep; asked, lost or told of a trial',
    state LowCardinality(String) COMMENT 'Of the sweep, or of the trial, from then on',
    reason String COMMENT 'Why, in words' CODEC(ZSTD(1)),
    config String COMMENT 'With created: the config of the sweep, JSON' CODEC(ZSTD(1)),
    storage String COMMENT 'With created: where agents meet, without credentials' CODEC(ZSTD(1)),
    number Int64 COMMENT 'Number of the try in the storage, -1 for none',
    try Int32 COMMENT 'How often the trial had been begun before',
    parameters String COMMENT 'Values by parameter, JSON' CODEC(ZSTD(1)),
    objectives Map(String, Float64) COMMENT 'With told: the objectives by metric',
    agent String COMMENT 'Who decided: host and process id' CODEC(ZSTD(1)),
    writer UInt64 COMMENT 'Process that decided',
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer'
)
ENGINE = ${replicated}MergeTree
ORDER BY (sweep_id, run_id, time)
SETTINGS ${window}
COMMENT 'Every decision of every sweep, in order';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_sweeps_to_table ${on_cluster} TO `${database}`.sweep_events AS
SELECT
    concat(splitByChar('/', l.run_id)[1], '/', splitByChar('/', l.run_id)[2], '/', l.sweep) AS sweep_id,
    if(l.event IN ('created', 'state'), '', l.run_id) AS run_id,
    time, event, state, why AS reason, config, storage, number, try, parameters, objectives, agent, writer, seq
FROM `${database}`.landing_sweeps AS l
WHERE l.reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_sweeps_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'sweeps' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'sweep', sweep,
            'event', event, 'state', state, 'config', config, 'parameters', parameters)) AS whole
    FROM `${database}`.landing_sweeps
    WHERE reason != ''
);

-- The latest try counts; of one try the last word on it.
CREATE VIEW IF NOT EXISTS `${database}`.trials ${on_cluster} AS
SELECT
    e.run_id AS run_id,
    e.sweep_id AS sweep_id,
    splitByChar('/', e.sweep_id)[1] AS entity,
    splitByChar('/', e.sweep_id)[2] AS project,
    splitByChar('/', e.sweep_id)[3] AS sweep,
    min(e.number) AS number,
    argMax(e.parameters, e.time) AS parameters,
    argMax(e.state, (e.try, indexOf(['asked', 'lost', 'told'], e.event), e.time)) AS state,
    argMax(e.objectives, (e.try, e.event = 'told', e.time)) AS objectives,
    argMax(e.reason, (e.try, indexOf(['asked', 'lost', 'told'], e.event), e.time)) AS reason,
    toUInt32(max(e.try) + 1) AS tries,
    min(e.time) AS started,
    if(state IN ('running', 'lost'), NULL, toNullable(max(e.time))) AS ended,
    argMax(e.agent, (e.try, e.time)) AS agent
FROM `${database}`.sweep_events AS e
WHERE e.run_id != ''
GROUP BY e.sweep_id, e.run_id;

CREATE VIEW IF NOT EXISTS `${database}`.sweeps ${on_cluster} AS
WITH counts AS
(
    SELECT
        sweep_id, count() AS all, countIf(t.state = 'finished') AS finished, countIf(t.state = 'failed') AS failed,
        countIf(t.state = 'stopped') AS stopped, countIf(t.state IN ('running', 'lost')) AS open, max(t.tries) AS tries
    FROM `${database}`.trials AS t
    GROUP BY sweep_id
)
SELECT
    e.sweep_id AS sweep_id,
    splitByChar('/', e.sweep_id)[1] AS entity,
    splitByChar('/', e.sweep_id)[2] AS project,
    splitByChar('/', e.sweep_id)[3] AS id,
    JSONExtractString(config, 'name') AS name,
    JSONExtractString(config, 'method') AS method,
    argMax(e.state, (e.time, e.seq)) AS state,
    argMaxIf(e.config, e.time, e.event = 'created') AS config,
    argMaxIf(e.storage, e.time, e.event = 'created') AS storage,
    min(e.time) AS created,
    any(c.all) AS trials,
    any(c.finished) AS finished,
    any(c.failed) AS failed,
    any(c.stopped) AS stopped,
    any(c.open) AS open
FROM (SELECT * FROM `${database}`.sweep_events WHERE run_id = '') AS e
LEFT JOIN counts AS c ON e.sweep_id = c.sweep_id
GROUP BY e.sweep_id;
