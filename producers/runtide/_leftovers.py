"""Folders whose writers are dead, and what they had not delivered."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from runtide import _platform
from runtide._backlog import Backlog
from runtide._report import warn

_FOLDER = re.compile(r"[0-7][0-9a-f]{15}")


def writer_folders(root: Path) -> list[str]:
    """Names of the writers' folders in an outbox or a spool."""
    try:
        return sorted(name for name in os.listdir(root) if _FOLDER.fullmatch(name))
    except OSError:
        return []


def destinations(root: Path, names: list[str]) -> dict[str, str]:
    """Where the records of writers' folders were meant to go, as far as the folders say."""
    found = {}
    for name in names:
        with suppress(OSError, ValueError, KeyError, TypeError):
            found[name] = str(json.loads((root / name / "writer.json").read_bytes())["destination"])
    return {name: destination for name, destination in found.items() if destination}


def claim(folder: Path, destination: str = "", host: str = "") -> Backlog | None:
    """Lock the folder of a dead writer, to deliver what is left of it.

    Args:
        folder: The folder.
        destination: Where its records must have been meant to go; empty for anywhere.
        host: Where the writer must have been, since locks of another machine cannot always be seen; empty for anywhere.

    Returns:
        The backlog; None when the writer lives, another process was faster, or it is nothing that we could deliver.
    """
    try:
        about = json.loads((folder / "writer.json").read_bytes())
        run_id = str(about["run_id"])
        if (host and about["host"] != host) or (destination and about.get("destination", destination) != destination):
            return None
        lock = (folder / "lock").open("rb", buffering=0)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        warn(f"claim {folder}", f"what is in {folder} cannot be delivered: {type(error).__name__}: {error}")
        return None
    try:
        _platform.lock_file(lock.fileno())
        # Whoever had the lock before may have delivered and deleted everything.
        if (folder / "lock").stat().st_ino == os.fstat(lock.fileno()).st_ino:
            backlog = Backlog(folder, run_id, lock.close)
            backlog.ended = True
            return backlog
    except OSError:
        pass
    lock.close()
    return None
