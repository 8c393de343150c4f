"""The commands `runtide topics` and `runtide dead-letters`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from runtide_consumers._errors import ConsumerError, NotReplayed, SetupError
from runtide_consumers.clickhouse import Store
from runtide_consumers.dead_letters import Choice, DeadLetters, Letter, said_time
from runtide_consumers.replay import REPLAYED, THERE, Replay
from runtide_consumers.topics import Wishes, faults_of_topics, make_topics
from runtide_schemas import (
    STREAMS,
    AddressError,
    CodecError,
    KafkaSettingsError,
    decode,
    find_kafka,
    find_store,
    parse_address,
)

_SHOWN_BYTES, _SHOWN_CHARACTERS = 256, 400


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


def dead_letters(argv: list[str]) -> int:
    """What arrived and could not be used: list it, show it, and replay it when the cause is mended."""
    options = _letters_parser().parse_args(argv)
    try:
        address = parse_address(options.clickhouse, "--clickhouse") if options.clickhouse else find_store("default")
        store = Store(address)
        action: Callable[[argparse.Namespace, Store, DeadLetters], int] = options.action
        return action(options, store, DeadLetters(store))
    except (ConsumerError, AddressError, KafkaSettingsError) as error:
        print(f"runtide dead-letters: {error}", file=sys.stderr)
        return 2


def _letters_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runtide dead-letters", description=dead_letters.__doc__)
    parser.add_argument(
        "--clickhouse", metavar="URL", help="the store (default: RUNTIDE_CLICKHOUSE_URL, else the stack)"
    )
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("list", help="count them by stream and reason, and list the newest")
    listing.set_defaults(action=_list)
    listing.add_argument("--limit", type=_count, default=20, help="list so many (default: %(default)s)")
    show = commands.add_parser("show", help="show one: where it came from, its bytes, its fields")
    show.set_defaults(action=_show)
    show.add_argument("name", metavar="DIGEST", help="first digits of its digest, as the list shows them")
    replay = commands.add_parser("replay", help="send them through the data path again, each at most once")
    replay.set_defaults(action=_replay)
    replay.add_argument("names", metavar="DIGEST", nargs="*", help="first digits of digests (default: all)")
    replay.add_argument("--kafka", default="", metavar="HOST:PORT,…", help="where topics are (default: RUNTIDE_KAFKA)")
    for command in (listing, replay):
        command.add_argument("--stream", default="", help="only those of one stream")
        command.add_argument("--reason", default="", metavar="TEXT", help="only those whose reason contains this")
    return parser


def _list(options: argparse.Namespace, _: Store, letters: DeadLetters) -> int:
    choice = Choice(options.stream, options.reason)
    counts = letters.counts(choice)
    if not counts:
        print("no dead letters")
        return 0
    head = ("letters", "replayed", "newest (UTC)", "stream", "reason")
    _table([head, *((str(n), str(done), said_time(at), stream, why) for stream, why, n, done, at in counts)])
    print()
    columns = ("digest", "time (UTC)", "stream", "length", "replayed", "source/partition/offset", "reason")
    _table([columns, *(_row(letter) for letter in letters.letters(choice, options.limit))])
    return 0


def _row(letter: Letter) -> tuple[str, ...]:
    done = "yes" if letter.replayed else "no"
    return letter.name, letter.when, letter.stream, str(letter.length), done, letter.origin, letter.reason


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; the last one as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row[:-1], widths, strict=False)), row[-1], sep="  ")


def _show(options: argparse.Namespace, _: Store, letters: DeadLetters) -> int:
    found = _named(letters.letters(Choice(names=[options.name])), [options.name])
    letter, payload = found[0], letters.payload(found[0])
    same = f" (and {len(found) - 1:,} more with the same bytes)" if len(found) > 1 else ""
    print(f"digest    {letter.digest}{same}")
    print(
        f"stream    {letter.stream}\nreason    {letter.reason}\nrejected  {letter.when} UTC\nfrom      {letter.origin}"
    )
    print(f"replayed  {'yes' if letter.replayed else 'no'}\nlength    {letter.length:,} bytes, {len(payload):,} kept\n")
    for at in range(0, min(len(payload), _SHOWN_BYTES), 16):
        part = payload[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        print(f"{at:06x}  {part.hex(' '):47}  {text}")
    print()
    try:
        # A view cannot keep the record's bytes: it keeps fields as JSON.
        fields = json.loads(payload) if payload[:1] == b"{" else decode(STREAMS[letter.stream], payload)
        for name, value in fields.items():
            print(f"{name:12} {str(value)[:_SHOWN_CHARACTERS]}")
    except (CodecError, ValueError, KeyError) as error:
        print(f"cannot be decoded by this version: {error}")
    return 0


def _replay(options: argparse.Namespace, store: Store, letters: DeadLetters) -> int:
    found = _named(letters.letters(Choice(options.stream, options.reason, options.names)), options.names)
    waiting = [letter for letter in reversed(found) if not letter.replayed]
    replay = Replay(store, letters, find_kafka(servers=options.kafka))
    done: dict[str, int] = {REPLAYED: 0, THERE: 0}
    refused: dict[str, list[str]] = {}
    for letter in waiting:
        try:
            done[replay.replay(letter)] += 1
        except NotReplayed as error:
            refused.setdefault(str(error), []).append(letter.name)
    print(f"{done[REPLAYED]:,} replayed; {done[THERE]:,} had arrived by another copy; ", end="")
    print(
        f"{len(found) - len(waiting):,} were done with before; {sum(map(len, refused.values())):,} cannot be replayed"
    )
    for why, names in refused.items():
        more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        print(f"  {', '.join(names[:5])}{more}: {why}")
    return 1 if refused else 0


def _named(letters: list[Letter], names: Sequence[str]) -> list[Letter]:
    """The letters, after a look that each name means one digest."""
    for name in names:
        meant = {letter.digest for letter in letters if letter.digest.startswith(name.lower())}
        if not meant:
            raise SetupError(f"no dead letter's digest begins with {name}: see `runtide dead-letters list`")
        if len(meant) > 1:
            raise SetupError(f"the digests of {len(meant)} dead letters begin with {name}: give more digits")
    return letters
