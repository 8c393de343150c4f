import io
import json
from array import array

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtide_schemas import STREAMS, CodecError, decode, encode, encode_frame, peek, split

METRICS = STREAMS["metrics"]
LONGS = st.integers(-(2**63), 2**63 - 1)
FRAME = {"run_id": "a/b/c", "writer": 7, "seq": 0, "attempt": 1, "rank": 0, "ordered": True}


def test_fingerprint_is_that_of_the_specification() -> None:
    """The prefix is C3 01 and the little-endian CRC-64-AVRO of the canonical schema."""
    assert fastavro.schema.fingerprint('"null"', "CRC-64-AVRO") == (0x63DD24E7CC258F8A).to_bytes(8, "little").hex()
    assert METRICS.prefix[:2] == b"\xc3\x01"
    assert len(METRICS.prefix) == 10


@given(
    keys=st.lists(st.text(max_size=5), max_size=4, unique=True),
    steps=st.lists(LONGS, max_size=5),
    data=st.data(),
)
def test_frames_are_the_bytes_that_the_library_writes(keys: list[str], steps: list[int], data: st.DataObject) -> None:
    """Writing the values as one raw block gives the same bytes as fastavro, NaN and signed zero included."""
    count = len(keys) * len(steps)
    values = data.draw(st.lists(st.floats(), min_size=count, max_size=count))
    record = {**FRAME, "keys": keys, "steps": steps, "times": [0] * len(steps)}
    assert encode_frame(record, array("d", values)) == encode(METRICS, {**record, "values": values})


@given(run_id=st.text(min_size=1, max_size=40), writer=st.integers(0, 2**63 - 1), seq=st.integers(0, 2**63 - 1))
def test_peek_reads_what_every_stream_starts_with(run_id: str, writer: int, seq: int) -> None:
    """The first three fields come back without the rest being decoded."""
    record = {**FRAME, "run_id": run_id, "writer": writer, "seq": seq, "keys": [], "steps": [], "times": []}
    assert peek(split(encode_frame(record, array("d")))[1]) == (run_id, writer, seq)


@given(st.binary(max_size=60))
def test_random_bytes_never_do_worse_than_a_codec_error(data: bytes) -> None:
    """Whatever comes in, the answer is a record or a CodecError."""
    for read in (lambda: peek(data), lambda: split(data), lambda: decode(METRICS, METRICS.prefix + data)):
        try:
            read()
        except CodecError as error:
            assert str(error)


def test_another_schema_is_refused_by_name() -> None:
    """Decoding with the wrong stream says which schema came and which was expected."""
    message = encode(STREAMS["metrics_json"], {**FRAME, "keys": [], "steps": [], "times": [], "values": []})
    with pytest.raises(CodecError, match="is not that of the stream metrics"):
        decode(METRICS, message)


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_every_stream_starts_with_the_same_fields_and_documents_all(name: str) -> None:
    """run_id, writer and seq come first, and every field says what it is."""
    fields = json.loads(STREAMS[name].schema_json)["fields"]
    assert [(field["name"], field["type"]) for field in fields[:3]] == [
        ("run_id", "string"),
        ("writer", "long"),
        ("seq", "long"),
    ]
    assert all(len(field["doc"]) > 5 for field in fields)


def test_values_stay_last_in_a_frame() -> None:
    """encode_frame writes the values behind everything else."""
    assert json.loads(METRICS.schema_json)["fields"][-1]["name"] == "values"


def test_a_frame_decodes_with_the_library() -> None:
    """What we write, fastavro reads."""
    record = {**FRAME, "keys": ["x", "y"], "steps": [3, 9], "times": [1, 2]}
    message = encode_frame(record, array("d", [1.5, -0.0, float("inf"), 5e-324]))
    read = fastavro.schemaless_reader(io.BytesIO(message[10:]), METRICS.schema, None)
    assert read == {**record, "values": [1.5, -0.0, float("inf"), 5e-324]}
