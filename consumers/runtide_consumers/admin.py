"""The commands `runtide topics` and `runtide dead-letters`."""

from __future__ import annotations

import argparse
import sys

from runtide_consumers._errors import ConsumerError, SetupError
from runtide_consumers.topics import Wishes, faults_of_topics, make_topics
from runtide_schemas import KafkaSettingsError, find_kafka


def topics(argv: list[str]) -> int:
    """Create the topics in Kafka, or mend those that are there; nothing is ever made smaller."""
    parser = argparse.ArgumentParser(prog="runtide topics", description=topics.__doc__)
    parser.add_argument("--kafka", default="", metavar="HOST:PORT,…", help="the cluster (default: RUNTIDE_KAFKA)")
    parser.add_argument("--partitions", type=_count, help="at least so many per stream (default: 4 for a new topic)")
    parser.add_argument("--replication", type=_count, help="copies (default: 3 where there are 3 brokers, else 1)")
    parser.add_argument(
        "--retention",
        type=_days,
        metavar="DAYS",
        help="keep at least so long, -1 for ever (default: 7 for a new topic)",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if something is not right")
    options = parser.parse_args(argv)
    wishes = Wishes(options.partitions, options.replication, options.retention)
    try:
        kafka = find_kafka(servers=options.kafka)
        if kafka is None:
            raise SetupError("nothing says where Kafka is: set RUNTIDE_KAFKA=host:port or use --kafka")
        lines = faults_of_topics(kafka, wishes) if options.check else make_topics(kafka, wishes)
    except (ConsumerError, KafkaSettingsError) as error:
        print(f"runtide topics: {error}", file=sys.stderr)
        return 2
    print(*lines or ["all topics are as they should be"], sep="\n")
    return 1 if options.check and lines else 0


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _days(text: str) -> int:
    if (number := int(text)) < 1 and number != -1:
        raise argparse.ArgumentTypeError(f"{number} is neither a day or more nor -1")
    return number
