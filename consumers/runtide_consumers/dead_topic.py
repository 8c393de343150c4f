"""The topic of the dead letters: a copy of what the table has, for whoever listens to Kafka."""

from __future__ import annotations

import logging

from confluent_kafka import Producer

from runtide_consumers.batch import Batch
from runtide_consumers.rejects import letter
from runtide_schemas import Kafka
from runtide_schemas.kafka import DEAD_LETTERS

log = logging.getLogger("runtide.consumer")

# Seconds that the broker gets to take a batch's letters.
_TIMEOUT = 10.0


class DeadTopic:
    """Sends letters: the payload's first 64 KiB as the value, everything else as headers.

    Args:
        kafka: The cluster.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._topic = kafka.topic(DEAD_LETTERS)
        self._properties = {**kafka.client, "enable.idempotence": True, "compression.type": "zstd"}
        self._producer: Producer | None = None

    def send(self, batch: Batch) -> None:
        """Send a batch's rejects: at least once, or not at all when the topic does not take them in time."""
        if self._producer is None:
            self._producer = Producer(self._properties, logger=log)
        for reject in batch.rejects:
            fields = letter(batch, reject)
            headers: dict[str, str | bytes | None] = {n: str(value) for n, value in fields.items() if n != "payload"}
            self._producer.produce(self._topic, fields["payload"], fields["digest"], headers=headers)
        if left := self._producer.flush(_TIMEOUT):
            self._producer.purge()
            log.error("%s did not take %d dead letters; the table dead_letters has them", self._topic, left)
