import re

import pytest

from runtide_schemas import STREAMS, migrations


def test_files_are_numbered_without_gaps() -> None:
    """A migration's number is its place in the order."""
    assert [migration.number for migration in migrations()] == [*range(1, len(migrations()) + 1)]


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_every_stream_has_a_landing_table_with_its_fields(name: str) -> None:
    """The landing table takes the consumer's four fields and then those of the schema, in order, and stores nothing."""
    text = "".join(f"{statement};" for migration in migrations() for statement in migration.statements("d"))
    table = re.search(rf"CREATE TABLE IF NOT EXISTS `d`\.{STREAMS[name].landing_table} (.*?)ENGINE = Null", text, re.S)
    assert table
    plain = re.sub("--.*", "", table[1])
    flat = plain.replace("(", " ", 1)
    while "(" in flat:  # types and expressions in parentheses, the innermost first
        flat, found = re.subn(r"\([^()]*\)", "", flat)
        if not found:
            break
    columns = [part.split()[0] for part in flat.split(",") if part.split()]
    columns = columns[: columns.index("reason")]
    for change in re.findall(rf"ALTER TABLE `d`\.{STREAMS[name].landing_table} (.*?);", text, re.S):
        columns += re.findall(r"ADD COLUMN IF NOT EXISTS (\w+)", change)
    wanted = ["_source", "_partition", "_offset", "_appended", *(f["name"] for f in STREAMS[name].schema["fields"])]
    assert columns == wanted


def test_a_cluster_gets_replicated_tables_from_the_same_files() -> None:
    """With a cluster every stored table is replicated and every statement goes to all nodes."""
    for migration in migrations():
        for statement in migration.statements("d", cluster="c"):
            assert "ON CLUSTER `c`" in statement
            assert "${" not in statement
            for engine in re.findall(r"ENGINE = (\w+)", statement):
                assert engine == "Null" or engine.startswith("Replicated")
            assert "non_replicated" not in statement
            assert "SETTINGS replicated_deduplication_window" not in statement or "window_seconds" in statement
