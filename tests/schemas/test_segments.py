import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_schemas import (
    STREAMS,
    Damage,
    Entry,
    SegmentError,
    encode_entry,
    encode_header,
    read_header,
    scan,
)

PAYLOADS = st.lists(st.binary(max_size=30), min_size=1, max_size=5)


def _payloads(items: list[Entry | Damage]) -> list[bytes]:
    return [item.payload for item in items if isinstance(item, Entry)]


def test_header_says_the_stream_and_its_schema() -> None:
    """A segment can be read by who does not know the stream's schema."""
    stream = STREAMS["metrics"]
    data = encode_header(stream)
    header = read_header(data + b"more")
    assert header is not None
    assert (header.stream, header.schema_json, header.size) == ("metrics", stream.schema_json, len(data))
    assert all(read_header(data[:length]) is None for length in range(len(data)))


def test_damaged_header_is_an_error() -> None:
    """A flipped bit in the header's text is noticed."""
    data = bytearray(encode_header(STREAMS["metrics"]))
    data[30] ^= 1
    with pytest.raises(SegmentError, match="checksum"):
        read_header(bytes(data))
    with pytest.raises(SegmentError, match="does not start"):
        read_header(b"something else")


@given(PAYLOADS)
def test_entries_come_back_and_cover_everything(payloads: list[bytes]) -> None:
    """Entries follow one another without a byte between."""
    data = b"".join(encode_entry(payload, 5) for payload in payloads)
    items, covered = scan(data, ended=False)
    assert _payloads(items) == payloads
    assert covered == len(data)
    assert [item.start for item in items] == [0, *[item.end for item in items[:-1]]]


@given(PAYLOADS, st.data())
def test_a_flipped_bit_costs_its_entry_only(payloads: list[bytes], data: st.DataObject) -> None:
    """Every other entry comes back, and what is damaged is said: also when nothing will follow."""
    entries = [encode_entry(payload, 5) for payload in payloads]
    raw = bytearray(b"".join(entries))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    ends = [sum(map(len, entries[: i + 1])) for i in range(len(entries))]
    hit = next(i for i, end in enumerate(ends) if bit // 8 < end)
    items, covered = scan(bytes(raw), ended=True)
    assert _payloads(items) == payloads[:hit] + payloads[hit + 1 :]
    assert sum(isinstance(item, Damage) for item in items) == 1
    assert covered == len(raw)


@given(PAYLOADS, st.data())
def test_a_torn_tail_waits_while_the_writer_lives(payloads: list[bytes], data: st.DataObject) -> None:
    """An incomplete last entry is left for later, and is damage once the writer has ended."""
    raw = b"".join(encode_entry(payload, 5) for payload in payloads)
    last = len(encode_entry(payloads[-1], 5))
    torn = raw[: len(raw) - data.draw(st.integers(1, last - 1))]
    items, covered = scan(torn, ended=False)
    assert _payloads(items) == payloads[:-1]
    assert covered == len(raw) - last
    items, covered = scan(torn, ended=True)
    assert _payloads(items) == payloads[:-1]
    assert isinstance(items[-1], Damage)
    assert covered == len(torn)


def test_a_payload_that_holds_an_entry_is_one_entry() -> None:
    """Bytes that look like an entry inside a payload are not taken for one, complete or not."""
    outer = encode_entry(b"before" + encode_entry(b"inner", 1) + b"after", 2)
    items, _ = scan(outer, ended=False)
    assert len(items) == 1
    assert scan(outer[:-1], ended=False) == ([], 0)
