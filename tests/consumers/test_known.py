from hypothesis import given
from hypothesis import strategies as st

from runtide_consumers.known import Ranges


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8))))
def test_ranges_are_a_set_of_numbers(added: list[tuple[int, int]]) -> None:
    """Ranges contain what was added, nothing else, and never more ranges than there are gaps."""
    ranges, model = Ranges(), set()
    for first, more in added:
        ranges.add(first, first + more)
        model |= set(range(first, first + more + 1))
        assert {number for number in range(75) if number in ranges} == model
        assert len(ranges) == sum(number - 1 not in model for number in model)
