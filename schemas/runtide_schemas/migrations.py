"""The numbered SQL files that make the tables."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

# A statement ends with a semicolon at the end of a line.
_END = re.compile(r";[ \t]*(?:\n|$)")
# How many parts' tokens a table remembers, and for how long: by default an hour, which an outage may outlast.
_WINDOW = "non_replicated_deduplication_window = 20000"
_REPLICATED_WINDOW = "replicated_deduplication_window = 20000, replicated_deduplication_window_seconds = 604800"


@dataclass(frozen=True)
class Migration:
    """One numbered SQL file, as a template.

    Args:
        number: Its place in the order.
        name: The file's name.
        text: The file's text; `statements` fills in `${database}`, `${on_cluster}`, `${replicated}`, `${window}`.
    """

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text: tells an edited file from the one that was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, database: str, cluster: str = "") -> list[str]:
        """The file's statements for one database.

        Args:
            database: Name of the database.
            cluster: Name of the cluster whose every node gets the tables, replicated; empty for a single node.
        """
        text = Template(self.text).substitute(
            database=database,
            on_cluster=f"ON CLUSTER `{cluster}`" if cluster else "",
            replicated="Replicated" if cluster else "",
            window=_REPLICATED_WINDOW if cluster else _WINDOW,
        )
        return [statement.strip() for statement in _END.split(text) if statement.strip()]


def migrations() -> list[Migration]:
    """All migrations, in order."""
    found = Path(__file__).with_name("clickhouse").glob("*.sql")
    result = [Migration(int(entry.name.split("_")[0]), entry.name, entry.read_text("utf-8")) for entry in found]
    return sorted(result, key=lambda migration: migration.number)
