"""A model as the judge."""

import asyncio

import pytest

from tutelage.errors import BudgetError, TeacherUnreachableError
from tutelage.teacher import ScriptedTeacher
from tutelage.verification.llm_judge import judge
from tutelage.verification.verdict import Claim

CLAIM = Claim(instruction="2 + 2?", response="4", reference="four")


def ask(line, claim=CLAIM, **options):
    teacher = ScriptedTeacher(line, name="wise", **options)
    return asyncio.run(judge(claim, teacher)), teacher


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"reason": "It is 4.", "verdict": "right"}', "right"),
        ('```json\n{"reason": "No.", "verdict": "wrong"}\n```', "wrong"),
        ("Verdict: RIGHT", "right"),
        ('{"reason": "Who knows", "verdict": "unsure"}', "cannot_check"),
        ("I would say it is right.", "cannot_check"),
        ('{"verdict": "right"} {"verdict": "wrong"}', "cannot_check"),
        ("", "cannot_check"),
        ("8/10", "cannot_check"),
    ],
)
def test_only_a_verdict_that_can_be_read_counts(reply, verdict):
    found, _ = ask(reply)
    assert found.verdict == verdict
    assert "judge wise" in found.evidence


def test_the_reason_is_the_evidence():
    found, _ = ask('{"reason": "Two and two\\nmake four.", "verdict": "right"}')
    assert found.evidence == "judge wise: Two and two\nmake four."


def test_the_judge_sees_request_reference_and_answer_and_one_schema():
    _, teacher = ask("x", supports_schema=True)
    (request,) = teacher.asked
    text = request.messages[0].content
    assert all(part in text for part in ("2 + 2?", "\n4\n", "\nfour\n"))
    assert request.schema is not None
    _, teacher = ask("x", Claim(instruction="2 + 2?", response="4"))
    assert "REFERENCE" not in teacher.asked[0].messages[0].content
    assert teacher.asked[0].schema is None


def test_the_judge_sees_the_conversation_and_plain_requests_stay_as_they_were():
    _, teacher = ask("x")
    plain = teacher.asked[0].messages[0].content
    assert plain.startswith("You check answers. Below are a request, a reference answer that")
    assert "[REQUEST]\n2 + 2?\n[END OF REQUEST]" in plain
    _, teacher = ask("x", Claim(instruction="now?", response="4", conversation="[user]\nnow?"))
    text = teacher.asked[0].messages[0].content
    assert "[CONVERSATION]\n[user]\nnow?\n[END OF CONVERSATION]" in text
    assert "the last one of the user in a conversation" in text
    assert "[REQUEST]" not in text


def test_braces_in_a_response_are_only_text():
    _, teacher = ask("x", Claim(instruction="{a}", response="{b} {0}"))
    assert "{b} {0}" in teacher.asked[0].messages[0].content


def test_a_judge_that_cannot_be_asked_gives_no_verdict_but_a_budget_stops():
    found, _ = ask(TeacherUnreachableError("no connection"))
    assert found.verdict == "cannot_check"
    assert "TeacherUnreachableError: no connection" in found.evidence
    with pytest.raises(BudgetError):
        ask(BudgetError("that would cost more"))


def test_an_empty_response_is_not_sent():
    found, teacher = ask("x", Claim(instruction="2 + 2?", response=" "))
    assert found.verdict == "no_answer"
    assert not teacher.asked
    assert ask("x", Claim(response="4"))[0].verdict == "cannot_check"
