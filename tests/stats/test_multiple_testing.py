"""Corrected p-values by hand, and properties of the corrections."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.stats.multiple_testing import fixed_sequence, holm


def test_a_fixed_sequence_stops_at_the_first_that_fails() -> None:
    assert fixed_sequence([0.01, 0.02, 0.3, 0.001]) == [0.01, 0.02, 0.3, 0.3]
    assert fixed_sequence([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_first_of_a_fixed_sequence_is_not_corrected(values: list[float]) -> None:
    corrected = fixed_sequence(values)
    assert corrected[0] == values[0]
    assert corrected == sorted(corrected)
    assert all(a >= b for a, b in zip(corrected, values, strict=True))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(values: list[float]) -> None:
    corrected = holm(values)
    assert all(c >= v for c, v in zip(corrected, values, strict=True))
    assert all(c <= 1 for c in corrected)
    pairs = sorted(zip(values, corrected, strict=True))
    assert [c for _, c in pairs] == sorted(corrected)
