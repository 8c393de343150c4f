"""Changes of stored runs: what scripts for W&B set on a run of `Api.run()`, and send by `update()`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from runtide._errors import QueryError
from runtide._records import Record
from runtide._sql import Store
from runtide_schemas import AddressError, find_store, parse_address
from runtide_schemas.edits import Edit, EditError, send_edits, user

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def send(store: Store, records: Sequence[Record], changes: dict[str, Any]) -> None:
    """Change fields of runs, all of them in one act.

    Args:
        store: Where they are. An address that was given is used as it is; else that of the user who may edit.
        records: The runs as they were loaded.
        changes: The new value of each field.

    Raises:
        QueryError: The store refuses, or cannot be reached, or nobody may edit here.
    """
    if not records or not changes:
        return
    edits = [Edit(one.path, field, value, _seen(one)) for one in records for field, value in changes.items()]
    try:
        address = parse_address(store.url, "base_url") if store.url else find_store("editor")
        send_edits(address, edits, user(), "api")
    except AddressError as error:
        raise QueryError(f"the run cannot be changed: {error}") from None
    except EditError as error:
        raise QueryError(f"the store refuses the change: {error}") from None
    except OSError as error:
        raise QueryError(
            f"the store at {address.url} does not answer ({error}): the change may be lost, make it again"
        ) from None


def _seen(record: Record) -> datetime | None:
    return None if record.edited is None else _EPOCH + timedelta(microseconds=record.edited)
