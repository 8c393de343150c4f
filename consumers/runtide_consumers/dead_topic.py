"""The topic of the dead letters: a copy of what the table has, for whoever listens to Kafka."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException, Producer

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
        # "log_level": properties meant for consumers would else be complained of.
        self._properties = {**kafka.client, "enable.idempotence": True, "compression.type": "zstd", "log_level": 3}
        self._producer: Producer | None = None

    def send(self, batch: Batch) -> None:
        """Send a batch's rejects: at least once, or not at all when the topic does not take them in time."""
        try:
            if self._producer is None:
                self._producer = Producer(self._properties, logger=log)
            for reject in batch.rejects:
                fields = letter(batch, reject)
                payload = fields.pop("payload")
                headers: dict[str, str | bytes | None] = {name: str(value) for name, value in fields.items()}
                self._producer.produce(self._topic, payload, fields["digest"], headers=headers)
            left = self._producer.flush(_TIMEOUT)
        except (KafkaException, BufferError) as error:
            log.error("%s takes no dead letters (%s); the table dead_letters has them", self._topic, error)
        else:
            if left:
                log.error("%s did not take %d dead letters; the table dead_letters has them", self._topic, left)
                self._producer.purge()
