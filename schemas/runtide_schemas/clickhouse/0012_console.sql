-- Stream `console_lines`: what the processes of a run printed.

CREATE TABLE IF NOT EXISTS `${database}`.landing_console_lines ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, attempt Int64, rank Int32, first Int64,
    streams Array(LowCardinality(String)), times Array(Int64), lines Array(String),
    -- Why the record cannot be used; empty when it can. Views unpack only what passes.
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        length(streams) != length(lines) OR length(times) != length(lines), 'streams, times and lines differ in length',
        empty(lines), 'a record without lines',
        first NOT BETWEEN 1 AND 4611686018427387904, 'the first line has no number from 1 to 2^62',
        NOT hasAll(['stdout', 'stderr'], streams), 'a stream that is neither stdout nor stderr',
        NOT arrayAll(t -> t BETWEEN -2208988800000 AND 10413791999999, times), 'a time outside 1900 to 2299',
        NOT arrayAll(line -> isValidUTF8(line) = 1, lines), 'a line is not UTF-8',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.console_lines ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    rank Int32 COMMENT 'Rank of the process that printed it' CODEC(ZSTD(1)),
    attempt DateTime64(6, 'UTC') COMMENT 'Start of the attempt' CODEC(DoubleDelta, ZSTD(1)),
    number UInt64 COMMENT 'Number of the line among those of the attempt, from 1; missing ones were dropped' CODEC(DoubleDelta, ZSTD(1)),
    time DateTime64(3, 'UTC') COMMENT 'When the line was completed' CODEC(DoubleDelta, ZSTD(1)),
    stream LowCardinality(String) COMMENT 'stdout or stderr',
    text String COMMENT 'The line, escape sequences of the terminal included' CODEC(ZSTD(3)),
    writer UInt64 COMMENT 'Process that printed it: a forked child counts on from where its parent was' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}MergeTree
ORDER BY (run_id, rank, attempt, number)
SETTINGS ${window}
COMMENT 'What the processes of a run printed, line by line';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_console_lines_to_table ${on_cluster} TO `${database}`.console_lines AS
SELECT
    run_id, rank, fromUnixTimestamp64Micro(attempt, 'UTC') AS attempt,
    toUInt64(first + place - 1) AS number,
    fromUnixTimestamp64Milli(at, 'UTC') AS time,
    stream, line AS text, writer, seq
FROM `${database}`.landing_console_lines
ARRAY JOIN arrayEnumerate(lines) AS place, streams AS stream, times AS at, lines AS line
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_console_lines_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'console_lines' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'first', toString(first),
            'streams', toString(streams), 'times', toString(times), 'lines', toString(lines))) AS whole
    FROM `${database}`.landing_console_lines
    WHERE reason != ''
);
