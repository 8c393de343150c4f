-- Dead letters that went through the data path again after what was wrong with them was mended.

CREATE TABLE IF NOT EXISTS `${database}`.replays ${on_cluster}
(
    time DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was replayed',
    stream LowCardinality(String) COMMENT 'Stream of the dead letter',
    source String COMMENT 'Id of the topic or spool that it came from',
    partition Int64 COMMENT 'Partition of the topic, or writer of the spool',
    offset Int64 COMMENT 'Where it starts there',
    digest FixedString(64) COMMENT 'SHA-256 of its payload, hexadecimal',
    outcome LowCardinality(String) COMMENT 'replayed, or there already: another copy of the record had arrived'
)
ENGINE = ${replicated}MergeTree
ORDER BY (stream, source, partition, offset)
SETTINGS ${window}
COMMENT 'Dead letters that are done with: none is replayed twice';
