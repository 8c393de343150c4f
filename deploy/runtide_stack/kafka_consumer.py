"""`python -m runtide_stack.kafka_consumer`: makes the topics in Kafka, then brings them into the store.

Where Kafka is comes from the settings (RUNTIDE_KAFKA…). While it is away this waits and says so: everything else of
the stack works without it.
"""

import socket
import sys
import time

from runtide_consumers._errors import ConsumerError
from runtide_consumers.commands import consume
from runtide_consumers.topics import Wishes, check_topics, make_topics
from runtide_schemas import STREAMS, Kafka, KafkaSettingsError, find_kafka
from runtide_stack.plan import WAITING

_PAUSE = 1.0


def _listens(server: str) -> bool:
    host, _, port = server.rpartition("/")[2].rpartition(":")  # PLAINTEXT://host:port is allowed
    try:
        with socket.create_connection((host.strip("[] "), int(port)), timeout=_PAUSE):
            return True
    except ValueError:
        return True  # of another form, which the client understands
    except OSError:
        return False


def _trouble(kafka: Kafka) -> str:
    """Why the topics cannot be used, or nothing."""
    # The client's own tries take half a minute, in which nobody would know what the stack waits for.
    if not any(map(_listens, kafka.servers.split(","))):
        return f"nobody listens at {kafka.servers}"
    try:
        make_topics(kafka, Wishes())
    except ConsumerError as error:
        try:
            # Who may not make topics may still read those that somebody made.
            return "" if not check_topics(kafka, STREAMS) else str(error)
        except ConsumerError:
            return str(error)
    return ""


def main() -> int:
    """Wait for the topics and run the consumer."""
    said = ""
    try:
        kafka = find_kafka()
    except KafkaSettingsError as error:
        print(f"runtide: {error}", file=sys.stderr)
        return 2
    assert kafka is not None, "the supervisor sets RUNTIDE_KAFKA"
    while trouble := _trouble(kafka):
        if trouble != said:
            print(f"{WAITING}{trouble}", flush=True)
        said = trouble
        time.sleep(_PAUSE)
    return consume(["--kafka"])


if __name__ == "__main__":
    sys.exit(main())
