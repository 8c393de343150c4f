"""The command `runtide forward`."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtide._backlog import Backlog
from runtide._errors import Error
from runtide._leftovers import claim, destinations, writer_folders
from runtide._link import Link, ParcelError, TroubleError
from runtide._outbox import open_link
from runtide._report import warn
from runtide._settings import resolve


def forward(argv: list[str]) -> int:
    """Deliver what dead writers left in an outbox, and end."""
    parser = argparse.ArgumentParser(
        prog="runtide forward",
        description="Deliver what ended runs left in a folder to the Kafka or the stack that is configured, and end.",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="an outbox or a spool (default: RUNTIDE_DIR/outbox)")
    parser.add_argument("--all", action="store_true", help="also what was meant for another Kafka or another stack")
    args = parser.parse_args(argv)
    settings = resolve({})
    if settings.mode not in ("kafka", "http"):
        raise Error("nowhere to deliver to: set RUNTIDE_KAFKA=host:port, or `runtide login http://host:port`")
    root = args.folder or settings.home / "outbox"
    if args.folder and not root.is_dir():
        raise Error(f"there is no folder {root}: name an outbox or a spool, or none for {settings.home / 'outbox'}")
    link = open_link(settings)
    busy = left = 0
    names = writer_folders(root)
    meant = {} if args.all else destinations(root, names)
    ours = [name for name in names if meant.get(name, settings.destination) == settings.destination]
    try:
        for name in ours:
            backlog = claim(root / name)
            if backlog is None:
                busy += 1
            elif not _deliver(backlog, link):
                left += 1
    except TroubleError as error:
        raise Error(f"{error}. Everything that was not delivered is still in {root}") from error
    finally:
        link.close()
    if not names:
        print(f"nothing waits in {root}")
    for other in sorted({meant[name] for name in set(names) - set(ours)}):
        count = sum(meant.get(name) == other for name in names)
        print(f"{count} folders are for {other}: configure that, or `runtide forward --all` sends them here")
    if busy:
        print(f"{busy} writers are alive, or others are delivering them")
    return int(left > 0)


def _deliver(backlog: Backlog, link: Link) -> bool:
    """Deliver a folder; False when some stream of it could not go on, which the link has said."""
    try:
        size = backlog.left()
        while chunks := backlog.chunks(ended=True):
            before = [backlog.position(chunk.stream) for chunk in chunks]
            under_way = link.deliver(backlog, chunks, lambda: False)
            if not under_way and before == [backlog.position(chunk.stream) for chunk in chunks]:
                break
            backlog.tidy(done=False)
        else:
            link.finish(backlog)
            backlog.tidy(done=True)
    except ParcelError as error:
        warn(f"parcel {backlog.path}", f"{error}. What is left stays in {backlog.path}")
    try:
        left = backlog.left()
        print(f"{backlog.run_id}: {size - left} of {size} bytes delivered", flush=True)
        return not left
    finally:
        backlog.unlock()
