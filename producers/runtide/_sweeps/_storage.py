"""Where the agents of a sweep meet: an Optuna storage."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runtide import _platform
from runtide._errors import Error, QueryError, UsageError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_PATIENCE, _ANSWER = 3.0, 10.0
VARIABLE = "RUNTIDE_SWEEP_STORAGE"


def place(home: Path, path: str, environ: Mapping[str, str] = os.environ) -> str:
    """What RUNTIDE_SWEEP_STORAGE names, else the sweep's own journal in the home.

    Args:
        home: Folder of everything that runtide keeps on this machine.
        path: The sweep, entity/project/id.
        environ: The environment.
    """
    named = environ.get(VARIABLE, "")
    if named and "://" not in named:  # a folder, shared by several machines
        home = Path(named)
    return named if "://" in named else str(_platform.path_of(home / "sweeps", path) / "journal.log")


def find(home: Path, path: str) -> str:
    """Where the agents of a sweep meet: what `place` says, else what the sweep's record in the store says."""
    here = place(home, path)
    if "://" in here or Path(here).exists():
        return here
    from runtide._sql import Store

    with suppress(QueryError):
        rows = Store(timeout=_PATIENCE).rows(
            "SELECT storage FROM sweeps WHERE sweep_id = {path:String}", {"path": path}
        )
        there = str(rows[0][0]) if rows else ""
        if "://" in there or (there and Path(there).exists()):
            return there
    return here


def open_storage(place: str, create: bool) -> BaseStorage:
    """Open a storage.

    Args:
        place: A journal's path, an address of a database as SQLAlchemy writes it, or grpc://host:port.
        create: Make a journal that is not there.

    Raises:
        UsageError: It is not there, or the address is none.
        Error: It does not answer, or needs a package that is not there.
    """
    from optuna import storages
    from optuna.storages import journal

    from runtide._sweeps._lock import FileLock

    if "://" not in place:
        if create:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
        elif not Path(place).exists():
            raise UsageError(f"there is no sweep in {place}: its id or project is another, or {VARIABLE} has to be set")
        return storages.JournalStorage(journal.JournalFileBackend(place, FileLock(place)))
    try:
        if place.startswith("grpc://"):
            host, _, port = place.removeprefix("grpc://").rpartition(":")
            if not host or not port.isdecimal():
                raise UsageError(f"{VARIABLE}={place!r}: give grpc://host:port")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it is experimental in Optuna
                proxy = storages.GrpcStorageProxy(host=host, port=int(port))
            proxy.wait_server_ready(_ANSWER)  # else the first question would fail, in grpc's words
            return proxy
        return storages.RDBStorage(place, skip_compatibility_check=False)
    except UsageError:
        raise
    except Exception as error:  # SQLAlchemy's, the driver's, grpc's: many trees of errors
        raise Error(f"{VARIABLE}={without_password(place)!r} cannot be opened: {error}") from None


def without_password(place: str) -> str:
    """An address that may be shown."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", place)
