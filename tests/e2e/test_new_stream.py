"""What CONTRIBUTING.md says about adding a stream is carried out, word for word."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import runtide_schemas

ROOT = Path(__file__).parents[2]

WRITE = """
    import sys, time
    from pathlib import Path
    from runtide_schemas import STREAMS, encode, encode_entry, encode_header
    stream, folder = STREAMS["checkpoints"], Path(sys.argv[1], "00000000000000aa")
    folder.mkdir(parents=True)
    record = {"run_id": "e/p/r", "writer": 0xAA, "path": "/models/a.pt"}
    records = [{**record, "seq": i, "step": 100 * i, "size": size} for i, size in enumerate((10, -1, 30))]
    entries = [encode_entry(encode(stream, record), time.time_ns() // 1000) for record in records]
    (folder / f"checkpoints-{0:020}.seg").write_bytes(encode_header(stream) + b"".join(entries))
    (folder / "closed").touch()
"""


def test_a_stream_is_one_avsc_and_one_sql(store, address, tmp_path: Path) -> None:
    """With the example's two files alone, records go from a spool to their table, bad ones to the dead letters."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    avsc, sql = (re.search(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("json", "sql"))
    assert avsc
    assert sql
    package = shutil.copytree(Path(runtide_schemas.__file__).parent, tmp_path / "path" / "runtide_schemas")
    (package / "avro" / "checkpoints.avsc").write_text(avsc[1])
    (package / "clickhouse" / "9999_checkpoints.sql").write_text(sql[1])

    database = f"newcomer_{os.getpid()}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "path"),
        "RUNTIDE_DIR": str(tmp_path),
        "RUNTIDE_CLICKHOUSE_URL": address(store, database),
    }

    def run(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-c", textwrap.dedent(WRITE), str(tmp_path / "spool"))
    run("-m", "runtide", "sync", str(tmp_path))
    good = run("-m", "runtide", "sql", "SELECT step, path, size FROM checkpoints ORDER BY step", "--format", "json")
    assert [json.loads(line) for line in good.splitlines()] == [
        {"step": 0, "path": "/models/a.pt", "size": 10},
        {"step": 200, "path": "/models/a.pt", "size": 30},
    ]
    dead = run("-m", "runtide", "sql", "SELECT stream, reason FROM dead_letters", "--format", "json")
    assert [json.loads(line) for line in dead.splitlines()] == [{"stream": "checkpoints", "reason": "negative size"}]
