import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtide_consumers.clickhouse import Store
from runtide_consumers.known import Known, Ranges
from runtide_schemas import parse_address


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8))))
def test_ranges_are_a_set_of_numbers(added: list[tuple[int, int]]) -> None:
    """Ranges contain what was added, nothing else, and never more ranges than there are gaps."""
    ranges, model = Ranges(), set()
    for first, more in added:
        ranges.add(first, first + more)
        model |= set(range(first, first + more + 1))
        assert {number for number in range(75) if number in ranges} == model
        assert len(ranges) == sum(number - 1 not in model for number in model)


def test_the_ledger_is_read_as_ranges(target: Any) -> None:
    """What is loaded is exactly what the ledger's rows cover, per writer and run, overlaps and gaps included."""
    pick = random.Random(1)
    rows, model = [], {}
    for _ in range(300):
        writer, run, first = pick.randrange(1, 4), pick.choice(["a/b/c", "a/b/d"]), pick.randrange(400)
        last = first + pick.randrange(3)
        model.setdefault((writer, run), set()).update(range(first, last + 1))
        rows.append(
            {"stream": "metrics", "run_id": run, "writer": writer, "first_seq": first, "last_seq": last, "records": 1,
             "source": "s", "partition": 1, "first_offset": 0, "next_offset": 1}
        )  # fmt: skip
    target.store.insert_rows("ledger", [*rows, {**rows[0], "stream": "runs", "first_seq": 1000, "last_seq": 1000}], "t")
    known = Known(target.store, "metrics")
    known.load([1, 2, 3, 4])
    for (writer, run), numbers in model.items():
        ranges = known._writers[writer][run]
        assert {number for number in range(1100) if number in ranges} == numbers
        assert len(ranges) == sum(number - 1 not in numbers for number in numbers)
    assert known._writers[4] == {}


def test_more_writers_than_one_query_takes_are_asked_for_in_parts(target: Any) -> None:
    """A server takes 128 KiB of a parameter; a batch may have thousands of writers."""
    row = {"stream": "metrics", "run_id": "a/b/c", "first_seq": 0, "last_seq": 4, "records": 5, "source": "s",
           "partition": 1, "first_offset": 0, "next_offset": 1}  # fmt: skip
    writers = range(2**62, 2**62 + 12_000)
    target.store.insert_rows("ledger", [{**row, "writer": writers[0]}, {**row, "writer": writers[-1]}], "t")
    asked: list[int] = []

    class Counting(Store):
        def query(self, sql: str, **parameters: Any) -> Any:
            asked.append(len(str(parameters["writers"])))
            return super().query(sql, **parameters)

    known = Known(Counting(parse_address(target.url)), "metrics")
    known.load(writers)
    assert [writer for writer, runs in known._writers.items() if runs] == [writers[0], writers[-1]]
    assert len(known._writers) == len(writers)
    assert len(asked) > 1
    assert max(asked) < 128 << 10
