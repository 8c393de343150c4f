"""The contract between producers, consumers and dashboards: streams, wire format, spool files, tables."""

from runtide_schemas.address import Address, AddressError, find_store, home, parse_address
from runtide_schemas.codec import CodecError, decode, encode, encode_frame, peek, split
from runtide_schemas.kafka import Kafka, KafkaSettingsError, find_kafka
from runtide_schemas.migrations import Migration, migrations
from runtide_schemas.segments import (
    Damage,
    Entry,
    Header,
    SegmentError,
    encode_entry,
    encode_header,
    read_header,
    scan,
)
from runtide_schemas.streams import STREAMS, Stream

__all__ = [
    "STREAMS",
    "Address",
    "AddressError",
    "CodecError",
    "Damage",
    "Entry",
    "Header",
    "Kafka",
    "KafkaSettingsError",
    "Migration",
    "SegmentError",
    "Stream",
    "decode",
    "encode",
    "encode_entry",
    "encode_frame",
    "encode_header",
    "find_kafka",
    "find_store",
    "home",
    "migrations",
    "parse_address",
    "peek",
    "read_header",
    "scan",
    "split",
]
