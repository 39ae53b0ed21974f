"""What the teacher is told about a refusal, and what becomes of its answer."""

import asyncio
import json

import pytest

from tutelage.data import INSTRUCTION_REFLECTION, OK, RESPONSE_REFLECTION, Candidate, Message
from tutelage.errors import TeacherUnreachableError, UnusableReplyError
from tutelage.refinement import RefineSettings
from tutelage.refinement.rejected_rewrite import (
    ASKS,
    Complaint,
    Rejected,
    rewrite,
    rewrite_all,
    rewrite_request,
    rewrite_step,
)
from tutelage.teacher import Reply, Request, ScriptedTeacher
from tutelage.teacher.fakes import Line

PAIR = Candidate(
    candidate_id="c",
    example_id="e",
    step=RESPONSE_REFLECTION,
    parent_id="o",
    messages=(
        Message(role="user", content="Why does ice float?"),
        Message(role="assistant", content="Its lattice lowers the density."),
    ),
)
SETTINGS = RefineSettings(use_schema="always", attempts=2)


def scripted(line: Line | None = None) -> ScriptedTeacher:
    def answer(request: Request) -> Line:
        if line is not None:
            return line
        keys = list((request.schema or {})["properties"])  # type: ignore[call-overload]
        texts = {
            "criticism": "Too dense.",
            "new_instruction": "Explain to a child why ice floats on water.",
            "new_response": "Ice takes more room than water, so it is lighter and floats.",
        }
        return json.dumps({key: texts[key] for key in keys})

    return ScriptedTeacher(answer, supports_schema=True)


def said(refused: Rejected) -> str:
    return rewrite_request(refused, teacher=scripted(), settings=SETTINGS).messages[-1].content


@pytest.mark.parametrize("complaint", list(ASKS))
def test_the_request_shows_the_pair_and_says_why_it_was_refused(complaint: Complaint) -> None:
    text = said(Rejected(candidate=PAIR, complaint=complaint))
    assert "Why does ice float?" in text
    assert "Its lattice lowers the density." in text
    assert ASKS[complaint].reason in text
    assert ASKS[complaint].wish in text


def test_the_students_own_attempt_is_shown_where_there_is_one() -> None:
    refused = Rejected(candidate=PAIR, complaint="too_surprising", attempt="Ice is light.")
    assert "=== THE STUDENT'S OWN ATTEMPT ===\nIce is light." in said(refused)
    assert "OWN ATTEMPT" not in said(Rejected(candidate=PAIR, complaint="too_surprising"))


def test_the_right_result_is_shown_only_where_the_response_is_wrong() -> None:
    assert "42" in said(Rejected(candidate=PAIR, complaint="wrong", reference="42"))
    assert "42" not in said(Rejected(candidate=PAIR, complaint="too_easy", reference="42"))


def test_each_attempt_is_a_request_of_its_own() -> None:
    keys = {
        rewrite_request(
            Rejected(candidate=PAIR, complaint="wrong", number=number),
            teacher=scripted(),
            settings=SETTINGS,
        ).key
        for number in range(3)
    }
    assert len(keys) == 3


@pytest.mark.parametrize("complaint", list(ASKS))
def test_a_rewrite_is_a_candidate_whose_parent_was_refused(complaint: Complaint) -> None:
    found = asyncio.run(
        rewrite(
            Rejected(candidate=PAIR, complaint=complaint), teacher=scripted(), settings=SETTINGS
        )
    )
    assert (found.status, found.parent_id, found.step) == (OK, "c", rewrite_step(complaint))
    new_instruction = found.instruction != PAIR.instruction
    assert new_instruction == (found.step == INSTRUCTION_REFLECTION)


def test_a_reply_that_repeats_the_reason_is_no_candidate() -> None:
    line = json.dumps({"criticism": "No.", "new_response": f"So: {ASKS['wrong'].reason} Fine."})
    found = asyncio.run(
        rewrite(
            Rejected(candidate=PAIR, complaint="wrong"), teacher=scripted(line), settings=SETTINGS
        )
    )
    assert found.status == "echoed_prompt"


def test_a_teacher_that_is_away_is_a_status() -> None:
    found = asyncio.run(
        rewrite_all(
            [Rejected(candidate=PAIR, complaint="wrong")] * 2,
            teacher=scripted(TeacherUnreachableError("no line")),
            settings=SETTINGS,
        )
    )
    assert [one.status for one in found] == ["teacher_failed"] * 2


def test_a_rewrite_is_asked_for_again_on_the_terms_of_a_reflection() -> None:
    def asked(text: str) -> list[Request]:
        cut = Reply(request_key="", model="m", text=text, finish_reason="length")
        teacher = ScriptedTeacher(cut, supports_schema=True)
        refused = Rejected(candidate=PAIR, complaint="too_surprising")
        outcome = asyncio.run(rewrite(refused, teacher=teacher, settings=SETTINGS))
        assert (outcome.status, outcome.finish_reason) == ("cut_by_length", "length")
        return teacher.asked

    assert len(asked("On and on we go. " * 60)) == 2
    assert len(asked("Ice takes more room than water, so it is")) == 1


def test_a_reply_without_text_keeps_why_it_ended() -> None:
    error = UnusableReplyError("an empty reply")
    error.finish_reason = "content_filter"
    refused = Rejected(candidate=PAIR, complaint="too_surprising")
    teacher = ScriptedTeacher(error, supports_schema=True)
    outcome = asyncio.run(rewrite(refused, teacher=teacher, settings=SETTINGS))
    assert outcome.finish_reason == "content_filter"
