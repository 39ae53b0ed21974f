"""Many claims: one verdict each, in order; what a verdict holds, and the settings."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.data.schemas import VERDICTS
from tutelage.errors import DataError, SettingsError
from tutelage.teacher import ScriptedTeacher
from tutelage.verification.config import VerifySettings
from tutelage.verification.run import verify_responses, verify_table
from tutelage.verification.sandbox import why_no_sandbox
from tutelage.verification.verdict import RULINGS, Claim, Constraint, Verdict, right, shorten


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


@pytest.mark.parametrize(
    "wrong",
    [{"check": "vibes"}, {"processes": 0}, {"time_limit_seconds": 0}, {"chekc": "maths"}],
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValidationError):
        VerifySettings(**wrong)


def test_isolation_is_the_default():
    assert VerifySettings().allow_weak_sandbox is False


NUMBER = VerifySettings(check="number", processes=1)
MATHS = VerifySettings(check="maths", processes=2, time_limit_seconds=1)
kinds = st.sampled_from(["right", "wrong", "no_answer", "cannot_check"])


def claim_for(kind, index):
    response = {"right": "#### 5", "wrong": "#### 6", "no_answer": None}.get(kind, "#### x + 4")
    return Claim(candidate_id=f"c{index}", response=response, reference="5")


@given(st.lists(kinds, max_size=30))
@settings(max_examples=25, deadline=None)
def test_every_claim_has_one_verdict_in_order(wanted):
    claims = [claim_for(kind, index) for index, kind in enumerate(wanted)]
    found = list(verify_table(claims, NUMBER))
    assert [v.candidate_id for v in found] == [c.candidate_id for c in claims]
    assert [v.verdict for v in found] == wanted


def test_slow_and_hanging_claims_keep_their_place():
    pytest.importorskip("math_verify")
    answers = ["5", "9^{9^{9^{9}}}", "x + 5", "6", r"\sqrt{25}"]
    claims = [Claim(response=rf"\boxed{{{a}}}", reference="5") for a in answers]
    found = [v.verdict for v in verify_table(claims, MATHS)]
    assert found == ["right", "cannot_check", "wrong", "wrong", "right"]


def test_claims_are_read_lazily_and_a_closed_iterator_leaves_nothing_behind():
    seen = []

    def endless():
        while True:
            seen.append(1)
            yield Claim(response="#### 5", reference="5")

    verdicts = verify_table(endless(), NUMBER)
    assert next(verdicts).verdict == "right"
    verdicts.close()
    assert len(seen) < 10


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ("exact", {"response": "Paris", "reference": "paris"}, {"response": "Rome"}),
        ("choice", {"response": "B", "reference": "B", "choices": ("x", "y")}, {"response": "A"}),
        (
            "constraints",
            {"response": "a", "constraints": (Constraint(kind="punctuation:no_comma"),)},
            {"response": "a,"},
        ),
        ("code", {"response": "def f(): pass", "tests": "f()"}, {"response": "def g(): pass"}),
    ],
)
def test_every_check_can_be_reached(check, right, wrong):
    if check == "code" and why_no_sandbox() is not None:
        pytest.skip(f"no isolation here: {why_no_sandbox()}")
    claims = [Claim(**right), Claim(**{**right, **wrong}), Claim(**{**right, "response": " "})]
    found = verify_table(claims, VerifySettings(check=check, processes=2))
    assert [v.verdict for v in found] == ["right", "wrong", "no_answer"]


def test_the_judge_needs_a_teacher_and_keeps_the_order():
    judge = VerifySettings(check="judge")
    with pytest.raises(SettingsError, match="needs a teacher"):
        verify_table([], judge)
    teacher = ScriptedTeacher(
        lambda request: '{"verdict": "right"}' if "sixty" in request.messages[0].content else "eh"
    )
    claims = [
        Claim(candidate_id=str(i), instruction="?", response="sixty" if i == 66 else "x")
        for i in range(70)
    ]
    found = list(verify_table(claims, judge, teacher=teacher))
    assert [v.candidate_id for v in found] == [str(i) for i in range(70)]
    assert [i for i, v in enumerate(found) if v.verdict == "right"] == [66]


def test_rows_of_a_file_become_a_table():
    rows = [
        {"id": 7, "output": "#### 18", "gold": 18.0},
        {"id": 8, "output": "#### 17", "gold": 18},
        {"id": 9, "output": None, "gold": "18"},
        {"id": 10, "output": "#### 18", "gold": None},
        {"output": "#### 18", "gold": float("nan")},
        {"output": "#### 18"},
    ]
    table = verify_responses(
        rows, NUMBER, response_field="output", reference_field="gold", candidate_id_field="id"
    )
    assert table.schema == VERDICTS
    assert table.column("row").to_pylist() == [0, 1, 2, 3, 4, 5]
    assert table.column("candidate_id").to_pylist() == ["7", "8", "9", "10", None, None]
    assert table.column("verdict").to_pylist() == [
        *("right", "wrong", "no_answer", "cannot_check", "cannot_check", "cannot_check")
    ]
    assert not pa.compute.any(pa.compute.equal(table.column("evidence"), "")).as_py()


def test_a_field_that_is_not_there_is_an_error_with_the_names_that_are():
    with pytest.raises(DataError, match=r"row 0: no field 'gold'; it has 'output', 'answer'"):
        verify_responses(
            [{"output": "5", "answer": "5"}],
            NUMBER,
            response_field="output",
            reference_field="gold",
        )


def test_constraints_are_read_as_ifeval_writes_them():
    row = {
        "response": "a, b",
        "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
        "kwargs": [{"keywords": None}, {"keywords": ["a"], "relation": None}],
    }
    check = VerifySettings(check="constraints")
    assert verify_responses([row], check).column("verdict").to_pylist() == ["wrong"]
    row["response"] = "a b"
    assert verify_responses([row], check).column("verdict").to_pylist() == ["right"]
    row["kwargs"] = '[{}, {"keywords": ["z"]}]'
    assert verify_responses([row], check).column("verdict").to_pylist() == ["wrong"]
    row["kwargs"] = None
    assert verify_responses([row], check).column("verdict").to_pylist() == ["cannot_check"]


def test_choices_may_be_a_list_or_json():
    check = VerifySettings(check="choice")
    for choices in (["x", "why"], '["x", "why"]'):
        rows = [{"response": "It is why.", "reference": 1, "choices": choices}]
        assert verify_responses(rows, check).column("verdict").to_pylist() == ["right"]


def test_an_empty_file_gives_an_empty_table():
    assert verify_responses([], NUMBER).num_rows == 0
