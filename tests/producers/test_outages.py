"""What goes wrong between a run and Kafka: brokers, topics, forks and kills. Nothing is lost, and training goes on."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runtide
from runtide._cli import main
from runtide._settings import resolve
from runtide_schemas import STREAMS, Kafka

Script = Callable[..., subprocess.CompletedProcess[str]]
Until = Callable[[Callable[[], object], str], None]
DEADLINE = 60.0


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """RUNTIDE_KAFKA names an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("RUNTIDE_KAFKA", address)
    return address


@pytest.fixture(scope="module")
def mortal(broker_process: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    running = broker_process(tmp_path_factory.mktemp("mortal") / "broker")
    yield running
    running.kill()


@pytest.fixture
def broker(mortal: Any, topics_of: Callable[[Kafka], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A broker that the test may kill, and `broker.topics`, which are there already."""
    if mortal.process.poll() is not None:
        mortal.restart()
    prefix = f"{secrets.token_hex(4)}."
    monkeypatch.setenv("RUNTIDE_KAFKA", mortal.address)
    monkeypatch.setenv("RUNTIDE_KAFKA_TOPIC_PREFIX", prefix)
    mortal.topics = topics_of(Kafka(mortal.address, prefix))
    mortal.topics.create()
    return mortal


def leftovers(home: Path) -> list[Path]:
    return sorted((home / "outbox").glob("*"))


def log(run: runtide.Run, first: int, following: int) -> None:
    for number in range(first, following):
        run.log({"a": float(number)})
        if number % 50 == 0:
            assert run.flush()


def exactly(count: int) -> list[tuple[str, int, float]]:
    return [("a", step, float(step)) for step in range(count)]


def test_without_a_broker_training_goes_on_and_finish_keeps_its_time(
    nowhere: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """init() needs no network; what is left, and what to do with it, is said; nothing else appears on stderr."""
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "1")
    began = time.monotonic()
    run = runtide.init(project="p")
    log(run, 0, 1000)
    run.finish()
    assert time.monotonic() - began < 20
    assert not run.dropped
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("runtide: ") for line in lines), lines
    assert f"runs go to {nowhere}" in lines[0] or nowhere in lines[0]
    assert "bytes of default/p" in lines[-1] and "`runtide forward`" in lines[-1]
    assert len(leftovers(home)) == 1


def test_what_waited_for_a_broker_goes_with_the_next_run(
    broker: Any, script: Script, home: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this machine, while that run goes on; what was meant for another broker stays."""
    early = "import runtide\nrun = runtide.init(project='p', id='ID')\nfor i in range(1000): run.log({'a': float(i)})"
    broker.stop()
    script(early.replace("ID", "early"), RUNTIDE_FINISH_TIMEOUT="0.3")
    script(early.replace("ID", "elsewhere"), RUNTIDE_FINISH_TIMEOUT="0.3", RUNTIDE_KAFKA="127.0.0.1:9")
    script(early.replace("ID", "other"), RUNTIDE_FINISH_TIMEOUT="0.3", RUNTIDE_KAFKA_TOPIC_PREFIX="u.")
    dead = set(leftovers(home))
    assert len(dead) == 3
    broker.restart()
    run = runtide.init(project="p", id="late")
    run.log({"b": 1.0})
    until(lambda: len(dead & set(leftovers(home))) == 2, "the folder of the dead writer is gone")
    assert [point for point in broker.topics.points() if point[0] == "a"] == exactly(1000)
    run.finish()
    assert len(leftovers(home)) == 2
    assert {record["run_id"] for record in broker.topics.records("runs")} == {"default/p/early", "default/p/late"}


@pytest.mark.parametrize("how", ["kill", "stop", "pause"])
def test_a_broker_that_goes_away_and_comes_back_gets_everything_once(broker: Any, home: Path, how: str) -> None:
    """Under load, and twice; log() never waits for it."""
    run = runtide.init(project="p")
    for number in range(3):
        log(run, 2000 * number, 2000 * number + 1000)
        if number < 2:
            broker.process.send_signal(signal.SIGSTOP) if how == "pause" else getattr(broker, how)()
        log(run, 2000 * number + 1000, 2000 * number + 2000)
        if number < 2:
            broker.process.send_signal(signal.SIGCONT) if how == "pause" else broker.restart()
    backlog = run._sender._transport._backlog
    _until_delivered(backlog)
    run.finish()
    assert leftovers(home) == []
    assert broker.topics.points() == exactly(6000)
    for stream in ("metrics", "runs"):
        seqs = [record["seq"] for record in broker.topics.records(stream)]
        assert seqs == list(range(len(seqs)))


def _until_delivered(backlog: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while backlog.left():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def test_a_topic_that_is_missing_is_named_and_waited_for(
    topics: Any, home: Path, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    """The other streams go on meanwhile; no topic is made by asking for it."""
    topics.create("runs", "metrics_json", "schemas")
    run = runtide.init(project="p")
    log(run, 0, 100)
    run.log({"note": "x"})
    until(lambda: topics.messages("metrics_json"), "the other stream arrived")
    said = capfd.readouterr().err
    assert f"the topic {topics.kafka.topic('metrics')} is not on" in said and "`runtide topics`" in said
    assert topics.kafka.topic("metrics") not in topics.admin.list_topics(timeout=DEADLINE).topics
    topics.create("metrics")
    run.finish()
    assert [point for point in topics.points() if point[0] == "a"] == exactly(100)
    assert leftovers(home) == []


def test_a_topic_that_is_deleted_is_waited_for(
    topics: Any, home: Path, until: Until, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gives up on its messages: another one takes over from what was acknowledged."""
    monkeypatch.setenv("RUNTIDE_KAFKA_TOPIC_METADATA_PROPAGATION_MAX_MS", "1")
    monkeypatch.setenv("RUNTIDE_KAFKA_TOPIC_METADATA_REFRESH_INTERVAL_MS", "100")
    topics.create()
    run = runtide.init(project="p")
    log(run, 0, 100)
    _until_delivered(run._sender._transport._backlog)
    topics.delete("metrics")
    said = ""

    def is_told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "runtide topics" in said

    log(run, 100, 200)
    until(is_told, "the missing topic is told")
    topics.create("metrics")
    log(run, 200, 300)
    run.finish()
    assert leftovers(home) == []
    assert topics.points() == exactly(300)[100:]


def test_a_partition_that_nobody_leads_holds_up_nothing_else(
    mock_cluster: Any, script: Script, home: Path, until: Until, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the same writer's other streams, nor other writers, nor what dead ones left behind."""
    dead = "import runtide\nfor n in range(3):\n    run = runtide.init(project='p', reinit='create_new')\n"
    script(
        dead + "    run.log({'a': 1.0, 'note': 'x'})\n    run.finish()",
        RUNTIDE_KAFKA="127.0.0.1:9",
        RUNTIDE_FINISH_TIMEOUT="0.1",
    )
    mine = zlib.crc32((5).to_bytes(8, "big")) % 4
    stuck, *others = leftovers(home)
    assert len(others) == 2
    for folder in (stuck, *others):
        partition = (mine + (1 if folder is stuck else 2)) % 4
        (folder / "forward.json").write_text(json.dumps({"partition": dict.fromkeys(STREAMS, partition), "acked": {}}))
        about = json.loads((folder / "writer.json").read_text())
        (folder / "writer.json").write_text(json.dumps({**about, "destination": resolve({}).destination}))
    mock_cluster.lead("m.metrics", (mine + 1) % 4, -1)
    mock_cluster.lead("m.metrics_json", mine, -1)
    monkeypatch.setattr("runtide._names.writer_id", lambda: 5)
    run = runtide.init(project="p")
    run.log({"a": 0.0, "note": "y"})
    assert run.flush()
    backlog = run._sender._transport._backlog
    until(lambda: leftovers(home) == sorted([stuck, backlog.path]), "what dead writers left is delivered, but for one")
    before = backlog.position("metrics")
    log(run, 1, 1000)
    until(lambda: backlog.position("metrics") > before, "the numbers go on")
    said = ""

    def is_told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "has been silent" in said

    until(is_told, "what waits is told")
    mock_cluster.lead("m.metrics", (mine + 1) % 4, 1)
    mock_cluster.lead("m.metrics_json", mine, 1)
    until(lambda: leftovers(home) == [backlog.path], "all that dead writers left is delivered")
    run.finish()
    assert leftovers(home) == []


def test_a_record_that_the_topic_does_not_take_is_skipped_and_told(
    topics: Any, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its neighbours in the same batch arrive, also those that are only together too large."""
    topics.create("runs", "metrics", "schemas")
    topics.create("metrics_json", max_bytes=20_000)
    run = runtide.init(project="p")
    for number in range(40):
        noise = os.urandom(30_000 if number == 20 else 1000).hex()
        run.log({"note": noise})
        assert run.flush()
    run.finish()
    assert leftovers(home) == []
    steps = sorted(step for record in topics.records("metrics_json") for step in record["steps"])
    assert steps == [step for step in range(40) if step != 20]
    said = capfd.readouterr().err
    assert said.count("is lost") == 1 and "runtide topics --check" in said


def test_the_outbox_is_bounded_and_losses_are_counted(
    nowhere: str, script: Script, home: Path, topics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the spool is: the finish event says how many points of which reason."""
    source = """
import json
import runtide
run = runtide.init(project='p')
for number in range(20_000):
    run.log({'a': float(number), 'b': 1.0})
    if number % 1000 == 0:
        run.flush()
runtide.finish()
print(json.dumps(run.dropped))
"""
    done = script(
        source,
        RUNTIDE_KAFKA=nowhere,
        RUNTIDE_SPOOL_MAX_BYTES="100000",
        RUNTIDE_MEMORY_MAX_POINTS="5000",
        RUNTIDE_FINISH_TIMEOUT="1",
    )
    dropped = json.loads(done.stdout.splitlines()[-1])
    assert set(dropped) == {"spool_full"}
    assert sum(path.stat().st_size for path in home.rglob("*.seg")) < 120_000
    assert "runtide forward" in done.stderr
    monkeypatch.setenv("RUNTIDE_KAFKA", topics.kafka.servers)
    topics.create()
    assert main(["forward", "--all"]) == 0
    assert len(topics.points()) == 40_000 - dropped["spool_full"]
    (end,) = [record for record in topics.records("runs") if record["event"] == "finish"]
    assert end["dropped"] == dropped


KILLED = """
import os, signal
import runtide
run = runtide.init(project='p', id='killed')
for number in range(1_000_000):
    run.log({'a': float(number), 'b': number * 0.5})
    if number == STOP // 2:
        assert run.flush()
    if number == STOP:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("stop", [20_000, 150_000])
def test_what_a_killed_process_left_is_delivered_on_the_same_partitions(
    script: Script, topics: Any, home: Path, stop: int
) -> None:
    """kill -9 in the midst of delivery: every number arrives, in order but for repeats of the unacknowledged."""
    topics.create(partitions=8)
    script(KILLED.replace("STOP", str(stop)), expect=-9, RUNTIDE_SEGMENT_BYTES="100000")
    assert len(leftovers(home)) == 1
    topics.widen("metrics", 13)
    assert main(["forward"]) == 0
    assert leftovers(home) == []
    seqs = [record["seq"] for record in topics.records("metrics")]
    assert sorted(set(seqs)) == list(range(max(seqs) + 1))
    repeats = [position for position in range(1, len(seqs)) if seqs[position] <= seqs[position - 1]]
    assert len(repeats) <= 1
    assert len({message.partition() for message in topics.messages("metrics")}) == 1


def test_a_torn_entry_of_a_dead_writer_is_skipped_and_told(
    nowhere: str, script: Script, topics: Any, home: Path, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Everything before it arrives."""
    script("import runtide\nfor i in range(3): runtide.init(project='p').log({'a': float(i)}); runtide.run.flush()",
           RUNTIDE_KAFKA=nowhere, RUNTIDE_FINISH_TIMEOUT="0.2")  # fmt: skip
    (segment,) = home.glob("outbox/*/metrics-*.seg")
    with segment.open("ab") as file:
        file.write(segment.read_bytes()[-30:])
    monkeypatch.setenv("RUNTIDE_KAFKA", topics.kafka.servers)
    topics.create()
    assert main(["forward", "--all"]) == 0
    assert topics.points() == exactly(3)
    assert capfd.readouterr().err.count("30 bytes cannot be delivered") == 1
    assert leftovers(home) == []


FORK = """
import gc, os, sys
import runtide
run = runtide.init(project='p', id='forked')
for number in range(1000):
    run.log({'parent': float(number)})
    if number % 100 == 0:
        assert run.flush()
children = []
for kind in range(3):
    if (child := os.fork()) == 0:
        if kind:
            for number in range(100):
                run.log({f'child{kind}': float(number)})
            runtide.finish()
        gc.collect()
        if kind == 2:
            os._exit(0)
        sys.exit(0)
    children.append(child)
for number in range(1000, 2000):
    run.log({'parent': float(number)})
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
"""


def test_forked_children_deliver_what_they_log_and_leave_the_parents_alone(
    script: Script, topics: Any, home: Path
) -> None:
    """Also a child that logs nothing, and that ends with or without taking the interpreter down."""
    topics.create()
    script(FORK)
    assert leftovers(home) == []
    points = topics.points()
    assert len(points) == len(set(points))
    assert sorted(v for k, _, v in points if k == "parent") == list(map(float, range(2000)))
    for child in ("child1", "child2"):
        assert sorted(v for k, _, v in points if k == child) == list(map(float, range(100)))


@pytest.mark.parametrize("link", ["topics", "stack"])
def test_no_thread_of_ours_imports_anything(script: Script, request: pytest.FixtureRequest, link: str) -> None:
    """A child that is forked in the midst of an import waits for it for ever."""
    there = request.getfixturevalue(link)
    if link == "topics":
        there.create()
    done = script("""
import sys, threading
import runtide

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print(threading.current_thread().name, name)

sys.meta_path.insert(0, Watch())
run = runtide.init(project='p')
run.log({'a': 1.0, 'note': 'x'})
assert run.flush()
run.finish()
""")
    assert done.stdout == ""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_deliver_what_they_log(script: Script, topics: Any, home: Path, method: str) -> None:
    """Of multiprocessing, by whatever method."""
    topics.create()
    done = script(f"""
import multiprocessing
import runtide

def work(run, number):
    for value in range(50):
        run.log({{f'worker{{number}}': float(value)}})

if __name__ == '__main__':
    context = multiprocessing.get_context('{method}')
    run = runtide.init(project='p', name='n')
    run.log({{'main': 1.0}})
    assert run.flush()
    workers = [context.Process(target=work, args=(run, number)) for number in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert all(worker.exitcode == 0 for worker in workers)
""")
    assert leftovers(home) == [], done.stderr
    for number in range(2):
        assert sorted(v for k, _, v in topics.points() if k == f"worker{number}") == list(map(float, range(50)))


def test_a_process_that_ends_while_the_broker_hangs_ends(broker: Any, script: Script, home: Path, until: Until) -> None:
    """Cleanly, with what it had sent and not heard of still on disk."""
    broker.process.send_signal(signal.SIGSTOP)
    try:
        done = script(
            "import runtide\nrun = runtide.init(project='p')\nrun.log({'a': 0.0})", RUNTIDE_FINISH_TIMEOUT="1"
        )
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert "not delivered yet" in done.stderr
    assert len(leftovers(home)) == 1
    until(lambda: main(["forward"]) == 0, "it is delivered")  # a broker that hung leads nothing for a while
    assert set(broker.topics.points()) == set(exactly(1))


def test_many_runs_in_a_process_leave_no_threads_and_no_files_behind(topics: Any, home: Path) -> None:
    """Each with a link of its own, since the last one ended before it."""

    def count() -> tuple[int, int]:
        for thread in threading.enumerate():
            if thread.name == "runtide-forwarder":
                thread.join(DEADLINE)
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    topics.create()
    seen = []
    for number in range(8):
        run = runtide.init(project="p", id=f"r{number}")
        log(run, 0, 100)
        run.finish()
        seen.append(count())
    for of_runs in zip(*seen, strict=True):
        assert min(of_runs[4:]) <= max(of_runs[:4]), seen
    assert len(topics.points()) == 800


def test_the_command_forward_says_what_it_did(
    nowhere: str, script: Script, topics: Any, home: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the living alone, fails when nobody answers, and when it has nowhere to go to."""
    monkeypatch.setenv("RUNTIDE_KAFKA", nowhere)
    script("import runtide\nrun = runtide.init(project='p', id='x')\nrun.log({'a': 0.0})", RUNTIDE_FINISH_TIMEOUT="0.2")
    command = [sys.executable, "-m", "runtide", "forward"]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert failed.returncode == 1 and nowhere in failed.stderr and "is still in" in failed.stderr, failed.stderr
    unset = {name: value for name, value in os.environ.items() if name != "RUNTIDE_KAFKA"}
    aimless = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, env=unset)
    assert aimless.returncode == 1 and "RUNTIDE_KAFKA=host:port" in aimless.stderr
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "0.1")
    live = runtide.init(project="p", id="live")
    live.log({"b": 1.0})
    assert live.flush()
    monkeypatch.setenv("RUNTIDE_KAFKA", topics.kafka.servers)
    topics.create()
    left = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert left.returncode == 0 and left.stdout.startswith(f"2 folders are for kafka://{nowhere}/"), left.stdout
    done = subprocess.run([*command, "--all"], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    size = int(done.stdout.split()[1])
    assert done.stdout.splitlines()[0] == f"default/p/x: {size} of {size} bytes delivered"
    assert "1 writers are alive" in done.stdout
    assert topics.points() == exactly(1)
