import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.reporting.blocks import one_line, visible

HIDDEN = "\x00\x07\x1b\x7f\x85\xad\u200b\u200f\u202a\u202e\u2066\u2069\u2028\ufeff\U000e0041"


@pytest.mark.parametrize("character", HIDDEN)
def test_what_hides_or_turns_text_around_is_shown(character: str) -> None:
    shown = visible(f"a{character}b")
    assert character not in shown
    assert len(shown) > 2


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines\tand a tab", "👩\u200d🔬", "مرحبا", "e\u0301"]
)
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(st.text())
def test_it_is_idempotent_and_can_be_written_as_utf_8(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    shown.encode()


@given(st.text(), st.integers(1, 40))
def test_one_line_is_one_line_and_no_longer_than_asked(text: str, characters: int) -> None:
    line = one_line(text, characters=characters)
    assert "\n" not in line
    assert len(line) <= characters


def test_a_lone_surrogate_is_shown() -> None:
    assert visible("\ud800") == "⟦U+D800⟧"
