"""The sampler as a process beside others: who starts it, what it outlives, and when it ends."""

import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import runtide
from runtide._cli import main

HERE = Path(runtide.__file__).parents[1]
# Logs until its input ends.
TRAIN = """
import sys, threading, runtide
run = runtide.init(project=PROJECT)
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
step = 0
while not done.wait(0.02):
    run.log({'a': float(step)})
    step += 1
runtide.finish()
print(step)
"""


def training(project: str = "p") -> str:
    return TRAIN.replace("PROJECT", repr(project))


def finish(process: Any) -> int:
    out, err = process.communicate("", timeout=60)
    assert process.returncode == 0, err
    assert "warning" not in err
    return int(out)


def test_a_run_brings_a_sampler_that_ends_with_it(node: Any, sampled: Any, until: Callable[..., None]) -> None:
    """Nobody has to start or stop anything; what is written says which rank was at which step."""
    process = node.start(training())
    until(lambda: sum(map(len, sampled("host_ticks").values())) >= 3, "there are samples")
    (sampler,) = node.samplers()
    assert sampler.pid not in [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert os.getsid(sampler.pid) != os.getsid(process.pid), "Ctrl-C in the terminal is none of its business"
    assert sampler.nice() == psutil.Process(process.pid).nice() + 5
    steps = finish(process)
    until(lambda: not sampler.is_running(), "the sampler has ended")
    (records,) = sampled("host_ticks").values()
    ranks = [rank for record in records for rank in record["ranks"]]
    assert {(rank["rank"], rank["pid"]) for rank in ranks} == {(0, process.pid)}
    assert sorted(rank["step"] for rank in ranks) == [rank["step"] for rank in ranks]
    assert 0 <= ranks[0]["step"] < ranks[-1]["step"] <= steps
    assert all(rank["rss_bytes"] > 1 << 20 and rank["threads"] >= 2 for rank in ranks[:-1]), "the last may be ending"
    (events,) = sampled("device_events").values()
    assert [event["kind"] for event in events if event["kind"].startswith("sampler")] == [
        "sampler_started",
        "sampler_ended",
    ]
    assert int(events[-1]["facts"]["ticks"]) >= len(records), "five a second, and the host two times"
    assert set(events[-1]["facts"]) == {"ticks", "skipped"}, "nothing was dropped"
    assert (node.home / "spool" / f"{records[0]['writer']:016x}" / "closed").exists()
    assert json.loads((node.home / "spool" / f"{records[0]['writer']:016x}/writer.json").read_text())["run_id"]


def test_a_script_of_a_moment_has_samples(node: Any, sampled: Any, until: Callable[..., None]) -> None:
    """The first sample comes at once and one more at the end, also when the process is gone by then."""
    process = node.start("import runtide\nruntide.init(project='p').log({'a': 1})")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    until(lambda: any((node.home / "spool").glob("*/host_ticks-*.seg")), "the sampler has written")
    until(lambda: not node.samplers(), "the sampler has ended")
    (records,) = sampled("host_ticks").values()
    assert len(records) == 2
    assert records[1]["cpu_pct"] is not None, "the second has something to compare with"


def test_when_the_sampler_is_killed_another_takes_over(
    node: Any, sampled: Any, spooled: Any, until: Callable[..., None]
) -> None:
    """kill -9, twice: the run goes on as if nothing had been, and each sampler's records have no gap."""
    process = node.start(training())
    for generation in (1, 2, 3):
        until(lambda n=generation: len(sampled("host_ticks")) == n, f"sampler {generation} has written")
        if generation < 3:
            (sampler,) = node.samplers()
            sampler.kill()
            until(lambda dead=sampler.pid: dead not in [s.pid for s in node.samplers()], "it is dead")
    steps = finish(process)
    until(lambda: not node.samplers(), "the last has ended")
    assert len(spooled.points(torn=True)) == steps
    assert spooled.end()["dropped"] == {}
    assert sum(e["kind"] == "sampler_ended" for events in sampled("device_events").values() for e in events) == 1


def test_it_outlives_a_rank_that_hangs(node: Any, sampled: Any, until: Callable[..., None]) -> None:
    """A stopped rank is sampled on, at the step where it stopped, and ends as ever when it goes on."""
    process = node.start(training())
    until(lambda: sampled("host_ticks"), "there are samples")
    process.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "it is stopped")
    before = sum(map(len, sampled("host_ticks").values()))
    until(lambda: sum(map(len, sampled("host_ticks").values())) >= before + 3, "it is sampled nevertheless")
    (records,) = sampled("host_ticks").values()
    assert len({rank["step"] for record in records[-2:] for rank in record["ranks"]}) == 1
    process.send_signal(signal.SIGCONT)
    finish(process)
    until(lambda: not node.samplers(), "the sampler has ended")


def test_a_killed_rank_ends_the_sampler(node: Any, sampled: Any, until: Callable[..., None]) -> None:
    """Nobody has said goodbye: the process is gone, and that is enough."""
    process = node.start(training())
    until(lambda: sampled("host_ticks"), "there are samples")
    process.kill()
    process.wait()
    until(lambda: not node.samplers(), "the sampler has ended")
    (events,) = sampled("device_events").values()
    assert events[-1]["kind"] == "sampler_ended"


def test_runs_of_two_projects_share_one_sampler(
    node: Any, tmp_path: Path, spooled: Any, until: Callable[..., None]
) -> None:
    """Each gets its samples in its own folder, as often as it wants, and the one that ends first is not waited for."""
    homes = [tmp_path / "one", tmp_path / "two"]
    readers = [type(spooled)(home) for home in homes]
    first = node.start(training("p"), RUNTIDE_DIR=str(homes[0]), RUNTIDE_SAMPLE_INTERVAL="1")
    second = node.start(training("q"), RUNTIDE_DIR=str(homes[1]), RUNTIDE_SAMPLE_INTERVAL="0.2")
    until(lambda: all(len(r.records("host_ticks", torn=True)) >= 3 for r in readers), "both are sampled")
    assert len(node.samplers()) == 1
    finish(first)
    until(lambda: any(e["kind"] == "sampler_ended" for e in readers[0].records("device_events", torn=True)), "it ends")
    assert len(node.samplers()) == 1
    finish(second)
    until(lambda: not node.samplers(), "the sampler has ended")
    pids = set()
    for reader, project, period in zip(readers, "pq", (1000, 200), strict=True):
        records = reader.records("host_ticks")
        assert {record["run_id"].split("/")[1] for record in records} == {project}
        assert period in {record["period_ms"] for record in records}
        assert len({rank["pid"] for record in records for rank in record["ranks"]}) == 1
        pids |= {e["facts"]["pid"] for e in reader.records("device_events") if e["kind"] == "sampler_started"}
    assert len(pids) == 1


def test_many_ranks_at_once_start_one_sampler(node: Any, sampled: Any, until: Callable[..., None]) -> None:
    """All of a job begin in the same moment; all are heard."""
    job = {"WORLD_SIZE": "6", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    ranks = [node.start(training(), RANK=str(rank), LOCAL_RANK=str(rank), **job) for rank in range(6)]
    until(
        lambda: any(len(record["ranks"]) == 6 for records in sampled("host_ticks").values() for record in records),
        "one sample has all ranks",
    )
    assert len(node.samplers()) == 1
    for process in ranks:
        finish(process)
    until(lambda: not node.samplers(), "the sampler has ended")
    (events,) = sampled("device_events").values()
    assert [event["kind"] for event in events].count("sampler_started") == 1
    (records,) = sampled("host_ticks").values()
    assert {rank["rank"] for record in records for rank in record["ranks"]} == set(range(6))


FORK = """
import os, sys, time, runtide
run = runtide.init(project='p')
if (child := os.fork()) == 0:
    for number in range(100_000):
        run.log({'child': 1.0})
        time.sleep(0.02)
    os._exit(1)
print(child, flush=True)
sys.stdin.read()
runtide.finish()
os.kill(child, 9)
os.waitpid(child, 0)
"""


def test_a_forked_child_counts_for_its_parent_and_holds_nothing(
    node: Any, sampled: Any, until: Callable[..., None]
) -> None:
    """Forked in the moment in which the sampler starts: it neither keeps the lock nor says that it were a rank."""
    process = node.start(FORK)
    until(
        lambda: any(r["processes"] == 2 for t in sampled("host_ticks").values() for x in t for r in x["ranks"]),
        "parent and child are counted",
    )
    node.samplers()[0].kill()
    until(lambda: len(sampled("host_ticks")) == 2, "another sampler could start though the child lives")
    ranks = [rank for ticks in sampled("host_ticks").values() for tick in ticks for rank in tick["ranks"]]
    assert {rank["pid"] for rank in ranks} == {process.pid}
    process.communicate("", timeout=60)
    assert process.returncode == 0
    until(lambda: not node.samplers(), "the sampler has ended")


def test_files_that_a_dead_sampler_left_are_no_hindrance(node: Any, sampled: Any, until: Callable[..., None]) -> None:
    """A socket and a lock file, from another boot or after kill -9."""
    process = node.start(training())
    until(lambda: sampled("host_ticks"), "there is a sampler, and none that is about to leave another one behind")
    (sampler,) = node.samplers()
    process.kill()
    process.wait()
    sampler.kill()
    until(lambda: not node.samplers(), "both are dead")
    assert {path.suffix for path in node.folder.iterdir()} == {".lock", ".sock", ".log"}
    finish(node.start(training()))
    until(lambda: any(e[-1]["kind"] == "sampler_ended" for e in sampled("device_events").values()), "another sampled")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: folder.mkdir(mode=0o755), "not a folder of this user alone"),
        (lambda folder: folder.symlink_to("/tmp"), "not a folder of this user alone"),
        (lambda folder: folder.write_text(""), "cannot be made"),
    ],
)
def test_a_folder_that_cannot_be_trusted_means_no_samples(
    node: Any, spooled: Any, spoil: Callable[[Path], object], reason: str
) -> None:
    """Somebody else made it first: the run is as it would be without a sampler, and says why there is none."""
    spoil(node.folder)
    assert finish(node.start(training())) >= 0
    assert reason in json.loads(spooled.description()["environment"])["sampler"]
    assert not node.samplers()


@pytest.mark.parametrize("home", ["/dev/null/nowhere", ""])
def test_where_nothing_can_be_written_training_goes_on_and_the_sampler_ends(
    node: Any, until: Callable[..., None], home: str
) -> None:
    """A home that is no folder, and a spool that may hold nothing."""
    more = {"RUNTIDE_DIR": home} if home else {"RUNTIDE_SPOOL_MAX_BYTES": "0"}
    process = node.start(training(), **more)
    until(lambda: node.samplers(), "there is a sampler")
    _, err = process.communicate("", timeout=60)
    assert process.returncode == 0, err
    until(lambda: not node.samplers(), "the sampler has ended")
    assert "Traceback" not in "".join(path.read_text() for path in node.folder.glob("*.log"))


def program(folder: Path, body: str) -> str:
    """A script whose run takes a program of ours for Python."""
    path = folder / "python-of-ours"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"import sys; sys.executable = {str(path)!r}\n"


def test_a_sampler_that_hangs_as_it_starts_delays_nobody(node: Any, tmp_path: Path, until: Callable[..., None]) -> None:
    """init(), finish() and the end of the process wait for nothing that the sampler does."""
    hang = program(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 120")
    process = node.start(hang + "import runtide\nruntide.init(project='p').log({'a': 1})")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Warning" not in err
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "it had been started")
    pid = int((tmp_path / "pid").read_text())
    assert psutil.Process(pid).is_running(), "it hangs still"
    os.kill(pid, signal.SIGKILL)


def test_a_sampler_that_cannot_start_is_said_once(node: Any, tmp_path: Path, until: Callable[..., None]) -> None:
    """Both ways of starting it fail; the log's place is named, and training goes on."""
    process = node.start(program(tmp_path, "exit 1") + training())
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    reader.start()
    until(lambda: any("did not start" in line for line in lines), "it is said")
    process.stdin.close()
    assert process.wait(60) == 0
    reader.join(60)
    assert sum("no samples" in line for line in lines) == 1


def test_packages_that_come_by_pythonpath_are_found(
    node: Any, sampled: Any, tmp_path: Path, until: Callable[..., None]
) -> None:
    """Isolated, the sampler would not find itself there: it is started again with the paths of its user."""
    body = f'[ "$1" = -I ] && exit 1; exec {sys.executable} "$@"'
    process = node.start(program(tmp_path, body) + training())
    until(lambda: sampled("host_ticks"), "there are samples")
    finish(process)


@pytest.mark.parametrize(("ways", "isolation"), [("", "-I"), (f"/nowhere{os.pathsep}{HERE}", "-P")])
def test_the_first_start_is_the_right_one(
    node: Any, tmp_path: Path, until: Callable[..., None], ways: str, isolation: str
) -> None:
    """A training of a moment sees to no second one."""
    started = tmp_path / "started"
    started.touch()
    body = f'echo "$1" >> {started}; exec {sys.executable} "$@"'
    finish(node.start(program(tmp_path, body) + training(), PYTHONPATH=ways))
    until(started.read_text, "it was started")
    assert started.read_text().split() == [isolation]


def test_off_means_that_nothing_is_started(node: Any, spooled: Any) -> None:
    """By the environment, and by an argument that stands above it."""
    for more in ({"RUNTIDE_SAMPLER": "off"}, {"RUNTIDE_SAMPLER": "0"}):
        finish(node.start(training(), **more))
    source = "import runtide\nruntide.init(project='p', settings=runtide.Settings(sampler='off')).log({'a': 1})"
    assert node.start(source).wait(60) == 0
    assert not node.folder.exists()
    assert json.loads(spooled.description()["environment"])["sampler"] == "off"


def test_a_signal_ends_it_with_a_last_sample(node: Any, sampled: Any, until: Callable[..., None]) -> None:
    """As a batch system ends what is left of a job: it says that it ended, and what it had is whole."""
    process = node.start(training())
    until(lambda: sampled("host_ticks"), "there are samples")
    (sampler,) = node.samplers()
    sampler.terminate()
    until(lambda: not sampler.is_running(), "it has ended")
    events = next(iter(sampled("device_events").values()))
    assert events[-1]["kind"] == "sampler_ended"
    finish(process)


SAMPLE = "import sys; from runtide._cli import main; sys.exit(main(['sample', '--interval', '0.1', *sys.argv[1:]]))"


def test_a_whole_node_is_sampled_until_a_signal(
    node: Any, sampled: Any, spooled: Any, tmp_path: Path, until: Callable[..., None]
) -> None:
    """By a command, into a run named after the node, which serves the runs there too: nobody starts another sampler."""
    fleet = node.start(SAMPLE)
    until(lambda: sampled("host_ticks"), "the node is sampled")
    process = node.start(training(), RUNTIDE_DIR=str(tmp_path / "other"))
    other = type(spooled)(tmp_path / "other")
    until(lambda: other.records("host_ticks", torn=True), "the run has samples too")
    assert not node.samplers()
    finish(process)
    until(lambda: any(e["kind"] == "sampler_ended" for e in other.records("device_events", torn=True)), "it ends")
    assert fleet.poll() is None
    fleet.send_signal(signal.SIGTERM)
    _, err = fleet.communicate(timeout=60)
    assert fleet.returncode == 0, err
    assert "Traceback" not in err
    (records,) = sampled("host_ticks").values()
    host = os.uname().nodename
    assert {record["run_id"] for record in records} == {f"default/nodes/{host}"}
    assert {record["ranks"] == [] for record in records} == {True}
    assert spooled.end()["state"] == "finished"


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["--interval", "0"], {}, "RUNTIDE_SAMPLE_INTERVAL"),
        (["--project", "a/b"], {}, "project"),
        (["--record", "/nowhere/file"], {}, "--record /nowhere/file"),
        ([], {"RUNTIDE_MODE": "disabled"}, "stored nowhere"),
    ],
)
def test_what_the_command_cannot_do_it_says(
    arguments: list[str], environ: dict[str, str], words: str, monkeypatch: Any, capsys: Any
) -> None:
    """In one line, before anything is begun."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["sample", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("runtide sample: ") and words in line
