from hypothesis import given
from hypothesis import strategies as st

from tutelage.reporting.blocks import MAX_CHARACTERS, difference, whole

words = st.lists(st.sampled_from(["a", "b", "c", ".", " ", "\n", "é"]), max_size=30).map("".join)


@given(words, words)
def test_both_sides_can_be_put_together_again(before: str, after: str) -> None:
    left, right = difference(before, after)
    assert "".join(s.text for s in left) == before
    assert "".join(s.text for s in right) == after


@given(words, words)
def test_both_sides_share_what_is_the_same(before: str, after: str) -> None:
    left, right = difference(before, after)
    same = ["".join(s.text for s in side if s.kind == "same") for side in (left, right)]
    assert same[0] == same[1]
    assert all(s.kind != "only_after" for s in left)
    assert all(s.kind != "only_before" for s in right)


def test_a_long_text_is_cut_and_says_so() -> None:
    (shown, rest) = whole("x" * (MAX_CHARACTERS + 5))
    assert len(shown.text) == MAX_CHARACTERS
    assert "5 more characters" in rest.text
