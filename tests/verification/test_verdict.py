"""What a check can say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.verification.verdict import RULINGS, Verdict, right, shorten


def test_there_are_four_verdicts_and_none_is_a_number():
    assert RULINGS == ("right", "wrong", "no_answer", "cannot_check")
    for verdict in ("1", "0.0", "failed", ""):
        with pytest.raises(DataError, match="unknown verdict"):
            Verdict(verdict=verdict, evidence="x")


def test_a_verdict_without_evidence_is_refused():
    with pytest.raises(DataError, match="without evidence"):
        right("")


@given(st.text(), st.integers(20, 100))
def test_a_shortened_text_fits_and_keeps_its_ends(text, limit):
    short = shorten(text, limit)
    assert len(short) <= limit
    if len(text) <= limit:
        assert short == text
    else:
        assert text.startswith(short[:5])
        assert text.endswith(short[-5:])
