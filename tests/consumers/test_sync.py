import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[..., Any]


def sync(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtide_consumers", "sync", *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIDE_")}
    return subprocess.run(command, env={**inherited, **environment}, capture_output=True, text=True, timeout=120)


def test_a_foreign_spool_synced_twice_counts_once(target: Any, tmp_path: Path, spool: Path, writer: Make) -> None:
    """A folder copied from elsewhere, and a second copy of it, bring every record once, and the second says so."""
    one = writer()
    one.log(5)
    one.rotate()
    one.log(5)
    one.close()
    for name in ("first", "second"):
        shutil.copytree(spool, tmp_path / name / "spool")
    first = sync(str(tmp_path / "first"), "--clickhouse", target.url)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("10 records brought (10 of metrics); 0 were there already, 0 could")
    second = sync(str(tmp_path / "second" / "spool"), RUNTIDE_CLICKHOUSE_URL=target.url)
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("0 records brought") and "10 were there already" in second.stdout
    target.has_exactly(one)


def test_the_same_folder_under_another_name_counts_once(target: Any, spool: Path, writer: Make) -> None:
    """A writer's folder copied within the spool is recognised by its records, in the same batch and later."""
    one = writer()
    one.log(5)
    one.close()
    shutil.copytree(one.folder, spool / f"{77:016x}")
    target.drain(spool)
    target.has_exactly(one)


def test_live_writers_give_what_is_there(target: Any, spool: Path, writer: Make) -> None:
    """Sync delivers what a living writer has written so far, ends, and goes on from there the next time."""
    one = writer()
    one.log(5)
    assert sync(str(spool), "--clickhouse", target.url).returncode == 0
    target.has_exactly(one)
    one.log(5)
    assert sync(str(spool), "--clickhouse", target.url).returncode == 0
    target.has_exactly(one)


def test_a_running_consumer_is_waited_for(target: Any, spool: Path, writer: Make, consumer: Make) -> None:
    """Where a consumer runs, sync waits until it has brought what is there, and says so."""
    running = consumer(target.url)
    running.ready()
    one = writer()
    one.log(50)
    done = sync(str(spool), "--clickhouse", target.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"a consumer works on {spool}")
    target.has_exactly(one)
    assert running.stop() == 0


def test_what_is_missing_is_one_sentence(tmp_path: Path, spool: Path, target: Any) -> None:
    """No store, a store that is away, no folder, a folder that is no spool: one sentence each, and exit code 2."""
    (tmp_path / "empty").mkdir()
    (spool / "spool.id").write_text("0" * 16)
    cases = [
        (sync(str(spool), RUNTIDE_DIR=str(tmp_path)), "start one with `runtide up`"),
        (
            sync(str(spool), "--clickhouse", "http://default@127.0.0.1:9/runtide"),
            "the store at http://127.0.0.1:9 does not answer",
        ),
        (sync(str(tmp_path / "nothing"), "--clickhouse", target.url), "there is no folder"),
        (sync(str(tmp_path / "empty"), "--clickhouse", target.url), "is no spool folder"),
    ]
    for done, sentence in cases:
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert done.stderr.startswith("runtide sync: ") and sentence in done.stderr
