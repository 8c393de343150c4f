"""One message of a topic, read again."""

from __future__ import annotations

import logging

from confluent_kafka import Consumer, KafkaException, TopicPartition

from runtide_consumers._errors import NotReplayed, SourceError
from runtide_consumers.kafka import topic_id
from runtide_schemas import Kafka

log = logging.getLogger("runtide.consumer")

# Seconds that a call to the broker may take.
_TIMEOUT = 10.0


def fetch(kafka: Kafka, stream: str, source: str, partition: int, offset: int) -> bytes:
    """The value of a message.

    Args:
        kafka: The cluster.
        stream: Name of the stream.
        source: Id of the topic that it must be in.
        partition: Number of the partition.
        offset: Its offset.

    Raises:
        NotReplayed: It is not there any more.
        SourceError: The broker does not answer.
    """
    topic = kafka.topic(stream)
    if topic_id(kafka, topic) != source:
        raise NotReplayed(f"{topic} on {kafka.servers} is not the topic that it came from: its id is another")
    consumer = Consumer({**kafka.client, "group.id": kafka.group, "enable.auto.commit": False}, logger=log)
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), _TIMEOUT)
        if not low <= offset < high:
            raise NotReplayed(f"{topic} has no longer what was at offset {offset} of partition {partition}")
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(_TIMEOUT)
        if message is None or message.error() or message.offset() != offset:
            why = message.error() if message else "no answer"
            raise SourceError(f"cannot read offset {offset} of {topic}, partition {partition}: {why}")
        return message.value() or b""
    except KafkaException as error:
        raise SourceError(f"cannot read {topic}: {error.args[0].str()}") from error
    finally:
        consumer.close()
