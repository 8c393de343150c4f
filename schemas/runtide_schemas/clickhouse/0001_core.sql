-- What every stream needs: which records arrived, and which could not be used.

CREATE TABLE IF NOT EXISTS `${database}`.ledger ${on_cluster}
(
    stream LowCardinality(String) COMMENT 'Stream of the records',
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    writer UInt64 COMMENT 'Process that logged',
    first_seq UInt64 COMMENT 'Number of the first record of the range',
    last_seq UInt64 COMMENT 'Number of its last record; every number between is there',
    records UInt32 COMMENT 'last_seq - first_seq + 1',
    source String COMMENT 'Where the records were read: id of a topic or a spool',
    partition Int64 COMMENT 'Partition of the topic, or writer of the spool',
    first_offset Int64 COMMENT 'Offset of the first record',
    next_offset Int64 COMMENT 'Offset behind the last record',
    inserted DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the batch was written'
)
ENGINE = ${replicated}MergeTree
ORDER BY (stream, source, partition, first_offset)
SETTINGS ${window}
COMMENT 'Ranges of records that arrived, per writer and stream: a gap between the numbers is a loss';

CREATE TABLE IF NOT EXISTS `${database}`.dead_letters ${on_cluster}
(
    time DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was rejected',
    stream LowCardinality(String) COMMENT 'Stream that it came in',
    reason String COMMENT 'Why it was rejected',
    source String COMMENT 'Id of the topic or spool',
    partition Int64 COMMENT 'Partition of the topic, or writer of the spool',
    offset Int64 COMMENT 'Where it starts there',
    digest FixedString(64) COMMENT 'SHA-256 of the whole payload, hexadecimal',
    length UInt64 COMMENT 'Length of the whole payload, bytes',
    payload String COMMENT 'The first 64 KiB of the payload' CODEC(ZSTD(3))
)
ENGINE = ${replicated}MergeTree
ORDER BY (stream, source, partition, offset)
SETTINGS ${window}
COMMENT 'What arrived and could not be used, with the reason';
