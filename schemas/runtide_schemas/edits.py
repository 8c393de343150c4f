"""How a person's changes of runs reach the store: as records of `edits`, by a user who may insert only those."""

from __future__ import annotations

import base64
import getpass
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runtide_schemas.address import Address

EDIT_FIELDS = ("name", "tags", "notes", "colour", "baseline", "archived", "deleted")
_INSERT = "INSERT INTO landing_edits (_source, run_id, id, time, who, field, value) FORMAT JSONEachRow"
_TIMEOUT = 10


class EditError(Exception):
    """The store refused; the message has its words."""


@dataclass(frozen=True)
class Edit:
    """One field of one run.

    Args:
        run: Path of the run.
        field: One of EDIT_FIELDS.
        value: The new value, None for what the run itself said.
        seen: Time of the latest edit that the person saw, None for none.
    """

    run: str
    field: str
    value: Any
    seen: datetime | None = None

    def time(self, now: datetime) -> datetime:
        """When it counts as made: behind the edit that was seen, also when another machine's clock is ahead."""
        return now if self.seen is None else max(now, self.seen + timedelta(microseconds=1))


def user() -> str:
    """Whom this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def send_edits(address: Address, edits: Sequence[Edit], who: str, source: str) -> None:
    """Make changes, all of them or none, in one act.

    Args:
        address: The store, and the user who may insert edits.
        edits: The changes.
        who: Name of the person.
        source: What part of runtide the changes come from.

    Raises:
        EditError: The store refused.
        OSError: Nobody answers. Whether the act took place is not known; making the same changes again is no harm.
    """
    act, now = str(uuid.uuid4()), datetime.now(UTC)
    rows = [
        {
            "_source": source,
            "run_id": edit.run,
            "id": act,
            "time": edit.time(now).strftime("%Y-%m-%d %H:%M:%S.%f"),
            "who": who,
            "field": edit.field,
            "value": json.dumps(edit.value),
        }
        for edit in edits
    ]
    arguments = {
        "database": address.database,
        "query": _INSERT,
        "insert_deduplication_token": act,
        "deduplicate_blocks_in_dependent_materialized_views": "1",
    }
    secret = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
    request = urllib.request.Request(
        f"{address.url}/?{urllib.parse.urlencode(arguments)}",
        "\n".join(map(json.dumps, rows)).encode(),
        {"Authorization": f"Basic {secret}"},
    )
    # A proxy in the environment is not for this machine's own addresses.
    own = address.host in ("localhost", "::1") or address.host.startswith("127.")
    opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] if own else [])
    for last in (False, True):
        try:
            with opener.open(request, timeout=_TIMEOUT):
                return
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise EditError(text.partition("DB::Exception: ")[2].partition(" (version")[0] or text) from error
        except (OSError, http.client.HTTPException) as error:
            # The token makes the second try count once, whatever became of the first.
            if last:
                raise OSError(str(error)) from error
