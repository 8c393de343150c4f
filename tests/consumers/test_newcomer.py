import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import runtide_schemas

SCHEMA = {
    "type": "record", "name": "Novelties", "namespace": "runtide",
    "fields": [
        {"name": "run_id", "type": "string"}, {"name": "writer", "type": "long"}, {"name": "seq", "type": "long"},
        {"name": "colour", "type": "string"},
    ],
}  # fmt: skip

TABLES = """
CREATE TABLE IF NOT EXISTS `${database}`.landing_novelties
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, colour String
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.novelties (run_id String, seq UInt64, colour String)
ENGINE = MergeTree ORDER BY (run_id, seq) SETTINGS ${window};

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_novelties_to_rows TO `${database}`.novelties AS
SELECT run_id, seq, colour FROM `${database}`.landing_novelties;
"""

PRODUCE = """
import sys
from pathlib import Path
from runtide_schemas import STREAMS, encode, encode_entry, encode_header
folder = Path(sys.argv[1]) / "00000000000000aa"
folder.mkdir(parents=True)
stream = STREAMS["novelties"]
records = [{"run_id": "e/p/r", "writer": 170, "seq": seq, "colour": f"colour {seq}"} for seq in range(5)]
entries = b"".join(encode_entry(encode(stream, record), 1) for record in records)
(folder / f"novelties-{0:020d}.seg").write_bytes(encode_header(stream) + entries)
(folder / "closed").touch()
"""


def test_a_new_stream_is_two_files(target: Any, tmp_path: Path) -> None:
    """One schema and one SQL file make a new stream: the engine brings its records without a line of code."""
    package = tmp_path / "schemas" / "runtide_schemas"
    shutil.copytree(Path(runtide_schemas.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "avro" / "novelties.avsc").write_text(json.dumps(SCHEMA))
    (package / "clickhouse" / "9001_novelties.sql").write_text(TABLES)
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "RUNTIDE_CLICKHOUSE_URL": target.url}
    spool = tmp_path / "spool"
    subprocess.run([sys.executable, "-c", PRODUCE, str(spool)], env=environment, check=True, timeout=60)
    command = [sys.executable, "-m", "runtide_consumers", "sync", str(spool)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "5 of novelties" in done.stdout
    assert target.ask("SELECT colour FROM db.novelties ORDER BY seq") == [[f"colour {seq}"] for seq in range(5)]
    assert target.ask("SELECT toUInt32(sum(records)) FROM db.ledger WHERE stream = 'novelties'") == [[5]]
