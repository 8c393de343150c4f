"""The ingest server as a real process, by clients that lie, repeat themselves and die; and the consumer behind it."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from runtide_consumers.clickhouse import Store
from runtide_consumers.consume import consume_spool, drain_spool
from runtide_schemas import STREAMS, encode, encode_entry, encode_header, parse_address
from runtide_stack.errors import IngestError
from runtide_stack.mirror import SILENT, Mirror

Until = Callable[[Callable[[], object], str], None]
WRITER = "00000000000000aa"
HEADER = encode_header(STREAMS["metrics"])


class Server:
    """One `python -m runtide_stack.ingest` on a folder; `restart` keeps folder and port."""

    def __init__(self, folder: Path, until: Until, file_limit: int = 0, **environment: str) -> None:
        self.dir = folder
        self.until = until
        self.environment = {**os.environ, **environment}
        self.file_limit = file_limit
        self.log = folder.with_suffix(".log")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.start()
        token = (folder / "ingest.token").read_text()
        self.client.headers["Authorization"] = f"Bearer {token}"

    def start(self) -> None:
        command = [sys.executable, "-m", "runtide_stack.ingest", "--dir", str(self.dir), "--port", str(self.port)]
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (self.file_limit, self.file_limit))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stderr=log, env=self.environment, preexec_fn=limit if self.file_limit else None
            )
        self.until(self.healthy, "the server answers")

    def healthy(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def post(
        self, offset: int, data: bytes, *, segment: bool = False, writer: str = WRITER, stream: str = "metrics"
    ) -> httpx.Response:
        values = {"offset": str(offset)} | ({"segment": "1"} if segment else {})
        return self.client.post(f"/ingest/{writer}/{stream}", params=values, content=data)

    def files(self, writer: str = WRITER) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in (self.dir / "spool" / writer).glob("*.seg")}


@pytest.fixture
def start_server(tmp_path: Path, until: Until) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def start(**options: Any) -> Server:
        made.append(Server(tmp_path / f"stack{len(made)}", until, **options))
        return made[-1]

    yield start
    for one in made:
        one.client.close()
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    return start_server()


def name(base: int, stream: str = "metrics") -> str:
    return f"{stream}-{base:020d}.seg"


def record(writer: int, seq: int) -> bytes:
    """An entry with one point: step `seq`."""
    fields = {
        "run_id": "e/p/run", "writer": writer, "seq": seq, "attempt": 1_700_000_000_000_000, "rank": 0, "ordered": True,
        "keys": ["loss"], "steps": [seq], "times": [1_700_000_000_000], "values": [writer + seq / 7],
    }  # fmt: skip
    return encode_entry(encode(STREAMS["metrics"], fields), 1_700_000_000_000_000)


def segments(writer: int, count: int, per_segment: int) -> list[bytes]:
    """A writer's segment files: `count` records."""
    return [
        HEADER + b"".join(record(writer, seq) for seq in range(first, min(first + per_segment, count)))
        for first in range(0, count, per_segment)
    ]


def send(server: Server, writer: str, files: list[bytes], size: int, base: int = 0) -> int:
    """Send files in pieces of `size` bytes, as a client does; returns the offset behind them."""
    for data in files:
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            answer = server.post(base + at, piece, segment=at == 0, writer=writer)
            assert (answer.status_code, answer.json()) == (200, {"next": base + at + len(piece)})
        base += len(data)
    return base


def test_bytes_arrive_as_they_are_whatever_the_pieces(server: Server) -> None:
    """Pieces of any size give the client's own files; the token's file is the owner's; the folder is described."""
    description = {"run_id": "e/p/run", "pid": 1, "host": socket.gethostname(), "started": 5}
    assert server.client.put(f"/ingest/{WRITER}", json=description).status_code == 200
    files = segments(0xAA, 7, 3)
    end = send(server, WRITER, files, 37)
    bases = [0, len(files[0]), len(files[0]) + len(files[1])]
    assert server.files() == {name(base): data for base, data in zip(bases, files, strict=True)}
    assert end == sum(map(len, files))
    folder = server.dir / "spool" / WRITER
    assert json.loads((folder / "writer.json").read_text()) == description | {"received": True}
    assert {file.name for file in folder.iterdir() if file.suffix != ".seg"} == {"writer.json"}
    assert (server.dir / "ingest.token").stat().st_mode & 0o777 == 0o600
    assert server.client.post(f"/ingest/{WRITER}/closed").status_code == 200
    assert (folder / "closed").exists()


def test_repeats_overlaps_and_gaps(server: Server) -> None:
    """What is there is skipped, what overlaps is cut, what leaves a gap is answered with the offset that is wanted."""
    assert server.post(0, b"0123456789", segment=True).json() == {"next": 10}
    assert server.post(0, b"0123456789", segment=True).json() == {"next": 10}
    assert server.post(3, b"345").json() == {"next": 6}
    assert server.post(8, b"89abc").json() == {"next": 13}
    gap = server.post(14, b"e")
    assert (gap.status_code, gap.json()["next"]) == (409, 13)
    assert "13" in gap.json()["error"]
    assert server.post(13, b"ABC", segment=True).json() == {"next": 16}
    assert server.post(13, b"ABCD", segment=True).json() == {"next": 17}
    assert server.post(0, b"0123456789abc", segment=True).json() == {"next": 13}
    assert server.post(17, b"").json() == {"next": 17}
    assert server.files() == {name(0): b"0123456789abc", name(13): b"ABCD"}


def test_only_the_right_token_opens(server: Server) -> None:
    """A wrong or missing token is 401 on every address but /health, and leaves nothing on the disk."""
    good = server.client.headers["Authorization"]
    for token in (None, "Bearer", good[:-1], good + "x", good.lower(), f"Basic {good[7:]}", "Bearer é"):
        headers = {} if token is None else {"Authorization": token.encode()}
        with httpx.Client(base_url=server.client.base_url, headers=headers) as stranger:
            answers = [
                stranger.get("/ingest"),
                stranger.put(f"/ingest/{WRITER}", json={}),
                stranger.post(f"/ingest/{WRITER}/metrics?offset=0", content=b"x"),
                stranger.post(f"/ingest/{WRITER}/closed"),
            ]
            assert [answer.status_code for answer in answers] == [401] * 4
            assert all("token" in answer.json()["error"] for answer in answers)
            assert stranger.get("/health").status_code == 200
    assert not list((server.dir / "spool").iterdir())
    assert server.client.get("/ingest").status_code == 200
    assert good[7:] not in server.log.read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/ingest/80000000000000aa/metrics?offset=0",
        "/ingest/00000000000000AA/metrics?offset=0",
        "/ingest/00000000000000aa%0a/metrics?offset=0",
        "/ingest/0/metrics?offset=0",
        "/ingest/%2e%2e/metrics?offset=0",
        "/ingest/..%2f..%2fetc/metrics?offset=0",
        "/ingest/٠٠٠٠٠٠٠٠٠٠٠٠٠٠aa/metrics?offset=0",
        f"/ingest/{WRITER}/..%2fmetrics?offset=0",
        f"/ingest/{WRITER}/nothing?offset=0",
        f"/ingest/{WRITER}/metrics%00?offset=0",
        f"/ingest/{WRITER}/metrics",
        f"/ingest/{WRITER}/metrics?offset=-1",
        f"/ingest/{WRITER}/metrics?offset=1e3",
        f"/ingest/{WRITER}/metrics?offset=٣",
        f"/ingest/{WRITER}/metrics?offset=9999999999999999999",
    ],
)
def test_paths_that_name_nothing_of_ours(server: Server, path: str) -> None:
    """Ids, streams and offsets that are none are refused in JSON, and nothing is made anywhere."""
    before = sorted(server.dir.parent.rglob("*"))
    answer = server.client.post(path, content=b"x")
    assert answer.status_code in (400, 404) and answer.json()["error"]
    assert sorted(server.dir.parent.rglob("*")) == before


def test_descriptions_that_are_none(server: Server) -> None:
    """A writer.json has to be a JSON object of a reasonable size."""
    for body, status in ((b"[]", 400), (b"{", 400), (b"[" * 60_000, 400), (b"\xff", 400), (b" " * 70_000, 413)):
        answer = server.client.put(f"/ingest/{WRITER}", content=body)
        assert answer.status_code == status and answer.json()["error"]
    assert not list((server.dir / "spool").iterdir())


def test_what_is_too_large_is_refused_whole(server: Server) -> None:
    """More than 16 MiB is 413, whether announced or not; exactly 16 MiB is taken."""
    assert server.post(0, bytes(16 << 20), segment=True).status_code == 200
    pieces = (bytes(1 << 20) for _ in range(17))
    streamed = server.client.post(f"/ingest/{WRITER}/metrics?offset={16 << 20}", content=pieces)
    assert streamed.status_code == 413
    assert [len(data) for data in server.files().values()] == [16 << 20]


def test_a_body_that_breaks_off_leaves_nothing(server: Server, until: Until) -> None:
    """A client that dies in the middle of its body has sent nothing; the next one goes on from where it was."""
    server.post(0, b"0123", segment=True)
    token = server.client.headers["Authorization"]
    for framing in ("Content-Length: 100", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", server.port)) as torn:
            head = [f"POST /ingest/{WRITER}/metrics?offset=4 HTTP/1.1", "Host: x", f"Authorization: {token}", framing]
            torn.sendall(
                "\r\n".join([*head, "", ""]).encode()
                + (b"a\r\nxxxxxxxxxx\r\n" if "chunked" in framing else b"xxxxxxxxxx")
            )
    assert server.post(4, b"4567").json() == {"next": 8}
    assert server.files() == {name(0): b"01234567"}
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def test_kill_between_and_within_pieces(server: Server) -> None:
    """kill -9 and a new start: it goes on behind what is on the disk, also behind half a piece."""
    server.post(0, b"0123456789", segment=True)
    server.kill()
    with (server.dir / "spool" / WRITER / name(0)).open("ab") as file:
        file.write(b"ab")  # the half of a piece that a kill leaves
    server.start()
    assert server.post(12, b"c").json() == {"next": 13}
    assert server.post(10, b"abcd").json() == {"next": 14}
    assert server.files() == {name(0): b"0123456789abcd"}


def test_a_full_disk_takes_nothing_back_later_all(start_server: Callable[..., Server]) -> None:
    """A write that the disk cuts off is 507 and leaves the file as it was; what fits is still taken."""
    server = start_server(file_limit=10_000)
    assert server.post(0, bytes(9_000), segment=True).status_code == 200
    full = server.post(9_000, b"x" * 2_000)
    assert full.status_code == 507 and "spool" in full.json()["error"]
    assert server.files() == {name(0): bytes(9_000)}
    assert server.post(9_000, b"x" * 1_000).json() == {"next": 10_000}


def test_the_quota_counts_the_whole_spool(start_server: Callable[..., Server]) -> None:
    """RUNTIDE_SPOOL_MAX_BYTES bounds all writers together, the local ones too; word of a run's end still gets in."""
    server = start_server(RUNTIDE_SPOOL_MAX_BYTES="20000")
    (server.dir / "spool" / "somebody").write_bytes(bytes(9_000))
    assert server.post(0, bytes(9_000), segment=True).status_code == 200
    other = server.post(0, bytes(9_000), segment=True, writer="00000000000000bb")
    assert other.status_code == 507 and "RUNTIDE_SPOOL_MAX_BYTES" in other.json()["error"]
    assert server.post(0, bytes(9_000), segment=True, stream="runs").status_code == 200


def test_a_folder_of_a_local_process_is_not_touched(server: Server) -> None:
    """A client with the id of a process that writes to the spool itself is refused."""
    folder = server.dir / "spool" / WRITER
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "writer.json").write_text(json.dumps({"host": socket.gethostname()}))
    (folder / name(0)).write_bytes(b"0123")
    assert server.post(4, b"4").status_code == 400
    assert server.client.post(f"/ingest/{WRITER}/closed").status_code == 200
    assert server.files() == {name(0): b"0123"} and not (folder / "closed").exists()


def test_an_ended_folder_takes_nothing_new_until_it_is_gone(server: Server) -> None:
    """Behind `closed` only repeats are answered with 200; new bytes wait until the consumer took the folder away."""
    server.post(0, b"0123", segment=True)
    for _ in range(2):
        assert server.client.post(f"/ingest/{WRITER}/closed").status_code == 200
    assert server.client.put(f"/ingest/{WRITER}", json={}).status_code == 200
    assert server.post(0, b"0123", segment=True).json() == {"next": 4}
    assert server.post(4, b"4").status_code == 503
    assert server.files() == {name(0): b"0123"}
    folder = server.dir / "spool" / WRITER
    (folder / "writer.json").unlink()  # as the consumer does, first of all
    (folder / name(0)).unlink()
    assert server.post(4, b"4").status_code == 503
    (folder / "closed").unlink()
    assert server.post(4, b"4").status_code == 503
    folder.rmdir()
    assert server.client.post(f"/ingest/{WRITER}/closed").status_code == 200
    assert not folder.exists()
    assert server.post(4, b"4").json() == {"next": 5}
    assert server.files() == {name(4): b"4"}


def test_a_second_server_on_the_folder_is_refused(server: Server) -> None:
    """Two that append to the same files would mix them up."""
    command = [sys.executable, "-m", "runtide_stack.ingest", "--dir", str(server.dir), "--port", "1"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert second.stderr == f"runtide ingest: another one works on {server.dir}; a folder has one at a time\n"


def test_silent_writers_are_ended_once_their_last_entry_is_whole(tmp_path: Path) -> None:
    """After an hour a folder is closed, unless it holds half an entry, belongs to a local process or was just used."""
    mirror = Mirror(tmp_path, 1 << 30)
    names = [f"{number:016x}" for number in range(5)]
    whole = HEADER + record(1, 0)
    for writer in names:
        mirror.describe(writer, {})
        mirror.append(writer, "metrics", 0, whole, segment=True)
    mirror.append(names[1], "metrics", len(whole), record(1, 1)[:-1], segment=False)
    mirror.append(names[2], "metrics", len(whole), HEADER[:20], segment=True)
    (tmp_path / names[3] / "writer.json").write_text("{}")
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, time.time() - SILENT - 60))
    mirror.append(names[4], "metrics", len(whole), record(1, 1), segment=False)
    mirror.close_silent()
    assert [writer for writer in names if (tmp_path / writer / "closed").exists()] == names[:1]


def test_a_folder_that_nobody_can_read_does_not_keep_others_from_being_ended(tmp_path: Path) -> None:
    """A machine that lost its power may leave an empty file: its writer waits until the consumer took that away."""
    mirror = Mirror(tmp_path, 1 << 30)
    for writer in ("0" * 15 + "1", WRITER):
        mirror.describe(writer, {})
        mirror.append(writer, "metrics", 0, HEADER, segment=True)
    (tmp_path / ("0" * 15 + "1") / "writer.json").write_bytes(b"")
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, time.time() - SILENT - 60))
    mirror.close_silent()
    assert (tmp_path / WRITER / "closed").exists()
    with pytest.raises(IngestError) as refused:
        mirror.append("0" * 15 + "1", "metrics", len(HEADER), b"more", segment=False)
    assert refused.value.status == 503


def test_a_gap_that_cannot_be_closed_is_left(server: Server, target: Store) -> None:
    """What was lost on both sides is: the rest comes in all the same, and the ledger shows what is missing."""
    first = HEADER + record(0xAA, 0)
    server.post(0, first, segment=True)
    behind = len(first) + 5000
    rest = HEADER + record(0xAA, 7) + record(0xAA, 8)
    assert server.post(behind, rest, segment=True).status_code == 409
    assert server.client.post(
        f"/ingest/{WRITER}/metrics", params={"offset": str(behind), "gap": "1"}, content=rest
    ).status_code == 409  # fmt: skip
    assert server.client.post(
        f"/ingest/{WRITER}/metrics", params={"offset": str(behind), "gap": "1", "segment": "1"}, content=rest
    ).json() == {"next": behind + len(rest)}  # fmt: skip
    server.client.post(f"/ingest/{WRITER}/closed")
    drain_spool(server.dir / "spool", target, threading.Event())
    assert points(target) == [(0xAA, 0), (0xAA, 7), (0xAA, 8)]
    seqs = f"SELECT first_seq, last_seq FROM `{target.database}`.ledger WHERE stream = 'metrics' ORDER BY first_seq"
    assert [tuple(row) for row in target.query(seqs)] == [(0, 0), (7, 8)]
    assert not (server.dir / "spool" / WRITER).exists()


@pytest.fixture
def target(store: Any, database: str) -> Store:
    return Store(parse_address(f"http://default:{quote(store.password, safe='')}@{store.host}:{store.port}/{database}"))


def points(target: Store) -> list[tuple[int, int]]:
    """Writer and step of every row."""
    return sorted(
        (int(writer), int(step))
        for writer, step in target.query(f"SELECT writer, step FROM `{target.database}`.metrics")
    )


def test_eight_clients_at_once_and_exactly_their_points_in_the_store(
    server: Server, target: Store, until: Until
) -> None:
    """Eight clients that send every piece twice from two threads, with kills of the server: every point once."""
    count = 60

    def client(number: int) -> None:
        writer, sent = f"{number:016x}", 0
        for data in segments(number, count, 13):
            at = 0
            while at < len(data):
                piece = data[at : at + 401]
                with ThreadPoolExecutor(2) as twice:
                    posts = [twice.submit(server.post, sent + at, piece, segment=at == 0, writer=writer) for _ in "ab"]
                try:
                    answers = [post.result() for post in posts]
                except httpx.TransportError:
                    continue  # it was killed: send that again
                assert [answer.status_code for answer in answers] == [200, 200]
                at += len(piece)
            sent += len(data)
        assert server.client.post(f"/ingest/{writer}/closed").status_code == 200

    stop = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(1, 9)]
        until(lambda: len(server.files(f"{1:016x}")) > 1 or clients[0].done(), "something arrived")
        server.kill()
        server.start()
        for one in clients:
            one.result()
    drain_spool(server.dir / "spool", target, stop)
    assert points(target) == [(writer, step) for writer in range(1, 9) for step in range(count)]
    assert [list(row) for row in target.query(f"SELECT count() FROM `{target.database}`.dead_letters")] == [[0]]
    assert not [path for path in (server.dir / "spool").iterdir() if path.is_dir()]


@pytest.mark.parametrize("cut", [0, 30])
def test_a_client_goes_on_after_its_folder_was_taken_away(server: Server, target: Store, cut: int) -> None:
    """Closed for its silence and consumed, a writer comes back in the middle of a segment: nothing is missing."""
    (data,) = segments(0xAA, 4, 4)
    at = len(HEADER + record(0xAA, 0) + record(0xAA, 1))
    server.post(0, data[:at], segment=True)
    server.client.post(f"/ingest/{WRITER}/closed")
    spool, stop = server.dir / "spool", threading.Event()
    drain_spool(spool, target, stop)
    assert not (spool / WRITER).exists()
    # Also when it sends again what it had sent: its client crashed before it noted that.
    assert server.post(at - cut, data[at - cut :]).json() == {"next": len(data)}
    server.client.post(f"/ingest/{WRITER}/closed")
    drain_spool(spool, target, stop)
    assert points(target) == [(0xAA, step) for step in range(4)]


def test_writers_that_end_and_come_back_while_the_consumer_takes_their_folders_away(
    server: Server, target: Store, until: Until
) -> None:
    """A live consumer deletes ended folders under the feet of writers that go on at once: every point once."""
    cycles, spool, stop = 25, server.dir / "spool", threading.Event()
    consumer = threading.Thread(target=consume_spool, args=(spool, target, stop, lambda: None))

    def client(number: int) -> None:
        writer, at = f"{number:016x}", 0
        for cycle in range(cycles):
            piece = (b"" if cycle else HEADER) + record(number, 2 * cycle) + record(number, 2 * cycle + 1)
            for part in (piece[:-50], piece[-50:]):
                until(lambda part=part, at=at: post(writer, at, part), "the folder takes bytes again")
                at += len(part)
            assert server.client.post(f"/ingest/{writer}/closed").status_code == 200

    def post(writer: str, at: int, part: bytes) -> bool:
        answer = server.post(at, part, segment=at == 0, writer=writer)
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    consumer.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for one in [pool.submit(client, number) for number in range(1, 5)]:
                one.result()
        until(lambda: not [path for path in spool.iterdir() if path.is_dir()], "all folders are gone")
    finally:
        stop.set()
        consumer.join()
    assert points(target) == [(writer, step) for writer in range(1, 5) for step in range(2 * cycles)]
    assert [list(row) for row in target.query(f"SELECT count() FROM `{target.database}`.dead_letters")] == [[0]]
