import re
from pathlib import Path

import pytest

from tutelage.data import STEPS
from tutelage.gate import FAULTS
from tutelage.refinement.statuses import REFINEMENT_STATUSES
from tutelage.reporting.number_format import (
    REASON_WORDS,
    SET_WORDS,
    STEP_WORDS,
    number,
    reason_words,
)
from tutelage.selection import NULL_NAMES, REASONS
from tutelage.selection.reasons import SHUT_OUT

UNREAD = (
    *("empty_instruction", "empty_response", "untrained_response", "not_trained", "too_long"),
    *("no_target_tokens", "template_refused", "rewritten_by_template", "nonfinite"),
    *("token_out_of_range", "student_failed"),
)
"""Why a student gives a candidate no number."""


def test_every_reason_of_the_rules_has_words() -> None:
    assert set(REASONS) <= set(REASON_WORDS)


def test_every_reason_against_a_candidate_has_words() -> None:
    assert set(SHUT_OUT) <= set(REASON_WORDS)
    assert set(UNREAD) <= set(REASON_WORDS)


def test_every_status_of_a_refinement_has_words() -> None:
    assert REFINEMENT_STATUSES - {"ok"} <= set(REASON_WORDS)


def test_every_status_of_a_row_and_every_planted_fault_has_words() -> None:
    said = (Path(__file__).parents[2] / "docs" / "input.md").read_text(encoding="utf-8")
    listed = said.partition("why it could not be read")[2].partition("A malformed line")[0]
    statuses = set(re.findall(r"`([a-z_]+)`", listed))
    assert len(statuses) >= 14
    assert statuses | set(FAULTS) | {"rejected"} <= set(REASON_WORDS)


def test_every_step_and_null_has_words() -> None:
    assert set(STEPS) == set(STEP_WORDS)
    assert set(NULL_NAMES) <= set(SET_WORDS)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_without_a_number_is_told_apart_from_a_reason(step: str) -> None:
    assert reason_words(f"{step}_too_long") == f"{STEP_WORDS[step]}: too long for the student"


def test_what_is_no_number_is_not_shown_as_one() -> None:
    assert number(None) == number(float("nan")) == number(float("inf"))
    assert not any(c.isdigit() for c in number(None))
