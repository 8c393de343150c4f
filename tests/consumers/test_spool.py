import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtide_consumers.batch import container
from runtide_consumers.positions import Positions
from runtide_consumers.spool import FULL_BYTES, SpoolSource
from runtide_consumers.telemetry import Telemetry
from runtide_consumers.writers import Spool
from runtide_schemas import STREAMS, encode, encode_header

METRICS = STREAMS["metrics"]
HEADER = len(encode_header(METRICS))
Make = Callable[..., Any]


def source_of(spool: Path, positions: Positions, **options: Any) -> SpoolSource:
    return SpoolSource(Spool(spool), positions, "metrics", "f" * 16, Telemetry(), **options)


def ends_of_entries(path: Path) -> list[int]:
    """Where the header and every entry of a segment end."""
    data, ends, at = path.read_bytes(), [], HEADER
    while at <= len(data):
        ends.append(at)
        if at == len(data):
            break
        at += 24 + int.from_bytes(data[at + 4 : at + 8], "little")
    return ends


def covered(rejects: list[tuple[int, int, str]]) -> set[int]:
    return {offset for start, length, _ in rejects for offset in range(start, start + length)}


def test_a_cut_anywhere_costs_what_was_cut(writer: Make, reading: Any, positions: Positions) -> None:
    """A file of a dead writer cut at any byte gives the whole entries before it; the rest is in the dead letters."""
    model = writer()
    model.log(3)
    segment = model.folder / f"metrics-{0:020d}.seg"
    data, ends = segment.read_bytes(), ends_of_entries(segment)
    cuts = [*range(0, HEADER, 13), *range(HEADER, len(data))]
    cases = {}
    for cut in cuts:
        case = writer()
        (case.folder / segment.name).write_bytes(data[:cut])
        case.close()
        cases[case.writer] = cut
    reading.read(positions)
    # All copies carry the same writer in their records: count by partition.
    found: dict[int, int] = {}
    for batch in reading.batches:
        for record in batch.records:
            found[record.partition] = found.get(record.partition, 0) + 1
    for partition, cut in cases.items():
        whole = [end for end in ends[1:] if end <= cut]
        assert found.get(partition, 0) == len(whole), cut
        last = 0 if cut < HEADER else ([HEADER, *whole])[-1]
        assert covered(reading.rejects.get(partition, [])) == set(range(last, cut)), cut
        assert all(reason for _, _, reason in reading.rejects.get(partition, []))
        assert not (reading.path / f"{partition:016x}").exists()


def test_a_flipped_bit_anywhere_costs_one_entry(writer: Make, reading: Any, positions: Positions) -> None:
    """One flipped bit at any byte loses the entry that it is in, or none when in the header; the neighbours arrive."""
    model = writer()
    model.log(3)
    segment = model.folder / f"metrics-{0:020d}.seg"
    data, ends = segment.read_bytes(), ends_of_entries(segment)
    cases = {}
    for at in [*range(14), *range(14, HEADER, 11), *range(HEADER, ends[-2])]:
        case = writer()
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        (case.folder / segment.name).write_bytes(flipped)
        case.close()
        cases[case.writer] = at
    reading.read(positions)
    found: dict[int, list[int]] = {}
    for batch in reading.batches:
        for record in batch.records:
            found.setdefault(record.partition, []).append(record.seq)
    for partition, at in cases.items():
        hit = [i for i in range(3) if ends[i] <= at < ends[i + 1]]
        assert found[partition] == [seq for seq in range(3) if seq not in hit], at
        start, end = (ends[hit[0]], ends[hit[0] + 1]) if hit else (0, HEADER)
        assert covered(reading.rejects[partition]) == set(range(start, end)), at


def test_a_live_writers_half_entry_waits(writer: Make, spool: Path, positions: Positions) -> None:
    """An incomplete entry is neither skipped nor damaged while its writer lives, and arrives when it is complete."""
    one = writer()
    one.log(1)
    source = source_of(spool, positions, age=0)
    batch = source.poll()
    assert batch is not None and len(batch.records) == 1
    source.commit(batch)
    entry = (one.folder / f"metrics-{0:020d}.seg").read_bytes()[HEADER:]
    for start in range(0, len(entry) - 7, 7):
        one.raw(entry[start : start + 7])
        assert source.poll() is None
    one.raw(entry[start + 7 :])
    batch = source.poll()
    assert batch is not None and (len(batch.records), batch.rejects) == (1, ())


def test_damage_before_a_live_tail_is_passed_once_something_sound_follows(
    writer: Make, spool: Path, positions: Positions
) -> None:
    """Rubbish of a live writer is rejected as soon as an entry follows it, not before."""
    one = writer()
    one.log(1)
    one.raw(b"rubbish")
    source = source_of(spool, positions, age=0)
    batch = source.poll()
    assert batch is not None and (len(batch.records), batch.rejects) == (1, ())
    source.commit(batch)
    assert source.poll() is None
    one.log(1)
    batch = source.poll()
    assert batch is not None
    assert [r.payload for r in batch.rejects] == [b"rubbish"]
    assert [r.seq for r in batch.records] == [1]


def test_segments_go_only_after_the_commit_and_the_newest_stays(
    writer: Make, spool: Path, positions: Positions
) -> None:
    """A segment is deleted when its last byte is committed; the one that grows stays until its writer ends."""
    one = writer()
    for _ in range(5):
        one.log(2)
        one.rotate()
    one.log(1)
    source = source_of(spool, positions, age=0)
    left = [6]
    while batch := source.poll():
        assert len(list(one.folder.glob("*.seg"))) == left[-1]
        source.intend(batch)
        assert len(list(one.folder.glob("*.seg"))) == left[-1]
        source.commit(batch)
        left.append(len(list(one.folder.glob("*.seg"))))
    assert left == [6, 5, 4, 3, 2, 1, 1]
    one.close()
    spool_now = source_of(spool, positions, age=0)
    assert spool_now.poll() is None
    assert not one.folder.exists()


def test_foreign_files_are_left_alone(writer: Make, reading: Any, positions: Positions, spool: Path) -> None:
    """What is not ours in a folder stays, and so does the folder; folders with other names are not looked at."""
    one = writer()
    one.log(1)
    (one.folder / "notes.txt").write_text("mine")
    (spool / "something").mkdir()
    (spool / "ffffffffffffffff").mkdir()
    one.close()
    assert reading.read(positions).seqs == {1: [0]}
    assert sorted(p.name for p in one.folder.iterdir()) == ["closed", "lock", "notes.txt", "writer.json"]
    assert (spool / "something").exists() and (spool / "ffffffffffffffff").exists()


def test_what_cannot_be_read_does_not_stop_the_rest(
    writer: Make, reading: Any, positions: Positions, spool: Path
) -> None:
    """A segment that is a folder, and a writer's folder that is a file, are left alone; others are read."""
    broken, good = writer(), writer()
    (broken.folder / f"metrics-{0:020d}.seg").mkdir()
    (spool / "0000000000000009").write_text("a file")
    broken.close()
    good.log(1)
    good.close()
    assert reading.read(positions).seqs == {2: [0]}
    assert broken.folder.exists()


def test_segments_of_an_unknown_stream_stay(writer: Make, reading: Any, positions: Positions) -> None:
    """Files of a stream that this version does not know are kept for one that does."""
    one = writer()
    one.log(1)
    (one.folder / f"novelty-{0:020d}.seg").write_bytes(b"later")
    one.close()
    reading.read(positions)
    assert (one.folder / f"novelty-{0:020d}.seg").read_bytes() == b"later"


def test_a_dead_writer_on_this_host_has_ended(writer: Make, reading: Any, positions: Positions) -> None:
    """A writer that was killed leaves no mark, but its lock is free: its half entry is damage and its folder goes."""
    one = writer()
    one.log(2)
    one.raw(b"\xd1RTe half")
    one.die()
    reading.read(positions)
    assert reading.seqs == {1: [0, 1]}
    assert [length for _, length, _ in reading.rejects[1]] == [len(b"\xd1RTe half")]
    assert not one.folder.exists()


def test_a_silent_writer_on_another_host_is_believed_to_live(writer: Make, reading: Any, positions: Positions) -> None:
    """A free lock says nothing about another host: what is whole is read, what is half waits, nothing is deleted."""
    one = writer(host="elsewhere")
    one.log(2)
    one.raw(b"\xd1RTe half")
    one.die()
    assert reading.read(positions).seqs == {1: [0, 1]}
    assert reading.rejects == {}
    assert len(list(one.folder.glob("*.seg"))) == 1


def test_a_writer_on_another_host_ends_after_five_minutes_of_silence(
    writer: Make, spool: Path, positions: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five minutes without a change a writer of another host counts as dead; any change starts the time again."""
    now = [1000.0]
    monkeypatch.setattr(
        "runtide_consumers.writers.time", type("Clock", (), {"monotonic": lambda: now[0], "time_ns": time.time_ns})
    )
    one = writer(host="elsewhere")
    one.log(1)
    folders = Spool(spool)

    def ended_after(seconds: float) -> bool:
        now[0] += seconds
        return bool(folders.writers()[0].ended)

    assert not ended_after(0)
    assert not ended_after(299)
    one.log(1)
    assert not ended_after(2)
    assert not ended_after(299)
    assert ended_after(3)


def test_a_writer_over_http_never_ends_by_silence(
    writer: Make, spool: Path, positions: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes its bytes says when it ends: a client without a network for days comes back to the same folder."""
    now = [1000.0]
    monkeypatch.setattr(
        "runtide_consumers.writers.time", type("Clock", (), {"monotonic": lambda: now[0], "time_ns": time.time_ns})
    )
    one = writer()
    one.log(1)
    (one.folder / "writer.json").write_text(json.dumps({"host": socket.gethostname(), "received": True}))
    one.die()
    folders = Spool(spool)
    for _ in range(3):
        now[0] += 1_000_000
        assert not folders.writers()[0].ended
    one.close()
    now[0] += 1
    assert folders.writers()[0].ended


def test_a_folder_that_goes_never_looks_like_one_that_lives(
    writer: Make, spool: Path, positions: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its files go, a folder has the mark of its end or no description: nobody appends to it over HTTP."""
    one = writer()
    one.log(1)
    one.close()
    unlink, seen = Path.unlink, []

    def watched(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        seen.append({file.name for file in one.folder.iterdir()})

    source = source_of(spool, positions, age=0)
    batch = source.poll()
    assert batch is not None
    monkeypatch.setattr(Path, "unlink", watched)
    source.commit(batch)
    assert not one.folder.exists()
    assert set() in seen and not [names for names in seen if "writer.json" in names and "closed" not in names]


def test_an_entry_larger_than_a_batch_gets_one(writer: Make, reading: Any, positions: Positions) -> None:
    """A record beyond the size of a batch is delivered, and small ones around it too."""
    one = writer()
    one.log(1)
    big = {**_record(1), "keys": ["k" * (FULL_BYTES + 1000)], "values": [1.0, 2.0]}
    one.append(encode(METRICS, big))
    one.append(encode(METRICS, _record(2)))
    one.close()
    assert reading.read(positions).seqs == {1: [0, 1, 2]}
    assert len(reading.batches) > 1


def _record(seq: int, writer: int = 1) -> dict[str, Any]:
    return {
        "run_id": "e/p/r", "writer": writer, "seq": seq, "attempt": 1, "rank": 0, "ordered": True,
        "keys": ["k"], "steps": [1, 2], "times": [1, 2], "values": [1.0, 2.0],
    }  # fmt: skip


def test_a_busy_writer_does_not_starve_the_others(writer: Make, spool: Path, positions: Positions) -> None:
    """With more than a batch waiting, every writer is served within as many batches as there are writers."""
    payload = encode(METRICS, {**_record(0), "keys": ["k" * 3_000_000]})
    writers = [writer() for _ in range(3)]
    for one in writers:
        for _ in range(6):
            one.append(payload)
    source = source_of(spool, positions, age=0)
    served = []
    for _ in range(3):
        batch = source.poll()
        assert batch is not None
        source.commit(batch)
        served += [r.partition for r in batch.ranges]
    assert set(served) == {1, 2, 3}


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_writers_with_entries_of_one_size_take_turns(
    writer: Make, spool: Path, positions: Positions, count: int
) -> None:
    """Whose next entry does not fit begins the next batch, however many there are."""
    payload = encode(METRICS, {**_record(0), "keys": ["k" * 3_000_000]})
    writers = [writer() for _ in range(count)]
    for one in writers:
        for _ in range(count):
            one.append(payload)
    source = source_of(spool, positions, age=0)
    served: list[int] = []
    for _ in range(count):
        batch = source.poll()
        assert batch is not None
        source.commit(batch)
        served += [r.partition for r in batch.ranges]
    assert set(served) == {one.writer for one in writers}


def test_a_writer_of_another_schema_takes_its_turn(writer: Make, spool: Path, positions: Positions) -> None:
    """One that never stops has the lower id: a batch has one schema, and the other's comes next."""
    schema = json.loads(METRICS.schema_json)
    schema["fields"].insert(6, {"name": "extra", "type": "string", "default": ""})
    other = type(METRICS)("metrics", json.dumps(schema))
    busy, old = writer(), writer()
    old.rotate(header=encode_header(other))
    old.append(encode(other, {**_record(0), "extra": "x"}))
    source = source_of(spool, positions, age=0)
    served = []
    for _ in range(2):
        busy.log(1)
        batch = source.poll()
        assert batch is not None
        source.commit(batch)
        served += [record.partition for record in batch.records]
    assert served == [busy.writer, old.writer]


def test_a_schema_that_becomes_known_changes_no_batch(writer: Make, spool: Path, positions: Positions) -> None:
    """A record was left out for its schema; a later version knows it, and makes the same batch of the intent."""
    schema = json.loads(METRICS.schema_json)
    schema["fields"].insert(6, {"name": "extra", "type": "string", "default": ""})
    other = type(METRICS)("metrics", json.dumps(schema))
    one = writer()
    one.append(encode(other, {**_record(0), "extra": "x"}))
    one.seq = 1
    one.log(3)
    batch = source_of(spool, positions, age=0).poll()
    assert batch is not None
    assert ([r.seq for r in batch.records], len(batch.rejects)) == ([1, 2, 3], 1)
    source_of(spool, positions).intend(batch)
    later = source_of(spool, positions)
    known = later._schema
    later._schema = lambda prefix, segment: other.schema_json if prefix == other.prefix else known(prefix, segment)
    again = later.poll()
    assert again is not None
    assert (again.rebuilt, again.token, again.records) == (True, batch.token, batch.records)
    assert [r.offset for r in again.rejects] == [r.offset for r in batch.rejects]


def test_batches_are_cut_where_the_schema_changes(writer: Make, reading: Any, positions: Positions) -> None:
    """Records of an older schema, named by the segment's header, never share a batch with others; none is lost."""
    schema = json.loads(METRICS.schema_json)
    schema["fields"].insert(6, {"name": "extra", "type": "string", "default": ""})
    other = type(METRICS)("metrics", json.dumps(schema))
    one = writer()
    one.log(2)
    one.rotate(header=encode_header(other))
    one.append(encode(other, {**_record(2), "extra": "x"}))
    one.rotate()
    one.append(encode(METRICS, _record(3)))
    two = writer()
    two.log(1)
    for each in (one, two):
        each.close()
    reading.read(positions)
    assert reading.seqs == {1: [0, 1, 2, 3], 2: [0]}
    assert {len(json.loads(batch.schema_json)["fields"]) for batch in reading.batches} == {10, 11}


def test_a_schema_nobody_brings_is_rejected(writer: Make, reading: Any, positions: Positions) -> None:
    """A record whose fingerprint neither the registry nor the header knows is rejected by name; neighbours arrive."""
    one = writer()
    one.log(1)
    one.append(b"\xc3\x01" + bytes(8) + encode(METRICS, _record(1))[10:])
    one.append(
        encode(
            STREAMS["runs"],
            {
                "run_id": "a/b/c",
                "writer": 1,
                "seq": 0,
                "attempt": 1,
                "rank": 0,
                "child": False,
                "time": 1,
                "event": "start",
            },
        )
    )
    one.append(b"no message")
    one.log(1)
    one.close()
    reading.read(positions)
    assert reading.seqs == {1: [0, 1]}
    assert ["0000000000000000" in reason for _, _, reason in reading.rejects[1]] == [True, False, False]
    assert len(reading.rejects[1]) == 3


@pytest.mark.parametrize(
    "schema",
    ['"string"', '{"type": "record"}', '{"type": "what"}', "[1", "{}", '{"type": "record", "name": "x", "fields": 3}'],
)
def test_a_header_with_a_schema_that_is_none(writer: Make, reading: Any, positions: Positions, schema: str) -> None:
    """A sound header with nonsense for a schema stops nothing: records are read by fingerprint or rejected."""
    one = writer()
    one.rotate(header=encode_header(type(METRICS)("metrics", schema)))
    one.append(b"\xc3\x01" + bytes(8) + one.spoil()[10:])
    one.log(1)
    one.close()
    assert reading.read(positions).seqs == {1: [1]}
    assert len(reading.rejects[1]) == 1


def test_a_batch_waits_for_company_but_not_for_ever(writer: Make, spool: Path, positions: Positions) -> None:
    """A small batch is handed out once its age is reached, a full one at once."""
    one = writer()
    one.log(1)
    patient = source_of(spool, positions, age=3600)
    assert patient.poll() is None
    for seq in range(3):
        one.append(encode(METRICS, {**_record(seq + 1), "keys": ["k" * 3_000_000]}))
    assert patient.poll() is not None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_rebuilt_batch_is_the_same_to_the_byte(data: st.DataObject, tmp_path_factory: Any, writer: Make) -> None:
    """After a crash the intent gives the same bytes and token, whatever was appended, closed or excluded meanwhile."""
    spool = tmp_path_factory.mktemp("spool")
    writers = [writer(spool=spool, writer=number + 1) for number in range(data.draw(st.integers(1, 3)))]
    pieces = st.sampled_from(["log", "rotate", "rubbish", "nonsense", "half"])

    def act(plan: list[tuple[int, str]]) -> None:
        for number, piece in plan:
            one = writers[number % len(writers)]
            if piece == "log":
                one.log(1)
            elif piece == "rotate":
                one.rotate()
            elif piece == "rubbish":
                one.raw(os.urandom(5))
            elif piece == "nonsense":
                one.append(b"not a record")
            else:
                one.raw(b"\xd1RTe")

    plans = st.lists(st.tuples(st.integers(0, 2), pieces), max_size=12)
    act(data.draw(plans))
    first = Positions(spool / "positions.sqlite", dict)
    batch = source_of(spool, first, age=0).poll()
    if batch is None:
        first.close()
        return
    reasons = st.sampled_from(["", "poison"])
    chosen = [r for r in batch.records if data.draw(st.booleans())]
    batch = batch.without({(r.partition, r.offset): data.draw(reasons) for r in chosen})
    source_of(spool, first).intend(batch)
    first.close()
    act(data.draw(plans))
    for one in writers:
        if data.draw(st.booleans()):
            one.close()
    second = Positions(spool / "positions.sqlite", dict)
    again = source_of(spool, second).poll()
    second.close()
    assert again is not None and again.rebuilt
    assert again.token == batch.token
    assert again.records == batch.records
    if batch.records:
        assert container(again, again.records) == container(batch, batch.records)
    assert sorted(r.offset for r in again.rejects) == sorted(r.offset for r in batch.rejects)


def test_this_host_is_named_as_writers_name_it(writer: Make) -> None:
    """The tests' writers and the consumer agree on the host's name, else the tests of dead writers prove nothing."""
    assert json.loads((writer().folder / "writer.json").read_text())["host"] == socket.gethostname()
