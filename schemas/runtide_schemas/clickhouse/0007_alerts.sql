-- Stream `alerts`: what a person should hear of.

CREATE TABLE IF NOT EXISTS `${database}`.landing_alerts ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, attempt Int64, rank Int32, time DateTime64(6, 'UTC'), step Int64,
    level String, title String, text String,
    -- Why the record cannot be used; empty when it can. Views unpack only what passes.
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        level NOT IN ('INFO', 'WARN', 'ERROR'), concat('unknown level ', level),
        NOT isValidUTF8(title) OR NOT isValidUTF8(text), 'a text is not UTF-8',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.alerts ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    time DateTime64(6, 'UTC') COMMENT 'When it was raised',
    level LowCardinality(String) COMMENT 'INFO, WARN or ERROR',
    title String COMMENT 'What it is about' CODEC(ZSTD(1)),
    text String COMMENT 'The whole message' CODEC(ZSTD(1)),
    step Int64 COMMENT 'Step that the run was at',
    rank Int32 COMMENT 'Rank of the process that raised it',
    attempt DateTime64(6, 'UTC') COMMENT 'Start of the attempt',
    writer UInt64 COMMENT 'Process that raised it',
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer'
)
ENGINE = ${replicated}MergeTree
ORDER BY (run_id, time)
SETTINGS ${window}
COMMENT 'What people were told of';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_alerts_to_table ${on_cluster} TO `${database}`.alerts AS
SELECT run_id, time, level, title, text, step, rank, fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt, writer, seq
FROM `${database}`.landing_alerts
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_alerts_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'alerts' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'level', level, 'title', title, 'text', text)) AS whole
    FROM `${database}`.landing_alerts
    WHERE reason != ''
);
