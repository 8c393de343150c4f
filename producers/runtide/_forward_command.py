"""The command `runtide forward`."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtide._backlog import Backlog
from runtide._errors import Error
from runtide._leftovers import claim, writer_folders
from runtide._link import Link, TroubleError
from runtide._outbox import open_link
from runtide._settings import resolve


def forward(argv: list[str]) -> int:
    """Deliver what dead writers left in an outbox, and end."""
    parser = argparse.ArgumentParser(
        prog="runtide forward",
        description="Deliver what ended runs left in a folder to the Kafka or the stack that is configured, and end.",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="an outbox or a spool (default: RUNTIDE_DIR/outbox)")
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
    try:
        for name in names:
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
    if busy:
        print(f"{busy} writers are alive, or others are delivering them")
    return int(left > 0)


def _deliver(backlog: Backlog, link: Link) -> bool:
    """Deliver a folder; False when some stream of it could not go on, which the link has said."""
    try:
        size = backlog.left()
        while chunks := backlog.chunks(ended=True):
            before = [backlog.position(chunk.stream) for chunk in chunks]
            link.deliver(backlog, chunks, lambda: False)
            if before == [backlog.position(chunk.stream) for chunk in chunks]:
                break
            backlog.tidy(done=False)
        else:
            link.finish(backlog)
            backlog.tidy(done=True)
        print(
            f"{backlog.run_id}: {size - (left := backlog.left() if chunks else 0)} of {size} bytes delivered",
            flush=True,
        )
        return not left
    finally:
        backlog.unlock()
