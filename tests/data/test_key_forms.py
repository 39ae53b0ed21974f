"""The quick tests of the forms of a key rule out no text that a pattern would match."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_redaction import SECRET, WRAPPINGS
from tutelage.data.key_forms import _SMALL, KeyForms
from tutelage.data.redaction import Redactor

FORMS = KeyForms(SECRET)
PATTERN = re.compile("|".join(form.pattern for form in FORMS._forms))
LONG = "word 12, é\u200b" * _SMALL


@pytest.mark.parametrize("name", WRAPPINGS)
def test_a_long_text_is_replaced_as_by_all_patterns(name: str) -> None:
    text = f"{LONG} {WRAPPINGS[name](SECRET)} {LONG}"
    assert FORMS.replaced(text, "[key]") == PATTERN.sub("[key]", text)
    swapped = f"{LONG} {WRAPPINGS[name](SECRET.swapcase())} {LONG}"
    assert FORMS.replaced(swapped, "[key]") == PATTERN.sub("[key]", swapped)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(WRAPPINGS)),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(" \\0:\t%\u2003x=")), max_size=3),
)
def test_a_form_with_something_in_between_is_found_where_its_pattern_matches(
    name: str, put: list[tuple[int, str]]
) -> None:
    wrapped = WRAPPINGS[name](SECRET)
    for place, what in put:
        at = place % len(wrapped)
        wrapped = wrapped[:at] + what + wrapped[at:]
    text = LONG + wrapped
    assert FORMS.in_text(text) == (PATTERN.search(text) is not None)


def test_a_reply_of_two_megabytes_takes_a_fraction_of_a_second() -> None:
    redactor = Redactor(SECRET)
    text = "A sentence of the reply, with a path /a/b and 12 words. " * 36_000
    started = time.process_time()
    assert redactor.value({"content": text}) == {"content": text}
    assert time.process_time() - started < 1.5  # it was 2 s and more with every pattern
