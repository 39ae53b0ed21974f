"""Claims made of candidates."""

from tutelage.data import Candidate, Message
from tutelage.verification import Claim, claim_of


def test_a_candidate_claims_with_its_last_turns():
    messages = (Message(role="user", content="2 + 2?"), Message(role="assistant", content="4"))
    candidate = Candidate(candidate_id="c", example_id="e", messages=messages)
    assert claim_of(candidate, reference="4") == Claim(
        candidate_id="c", response="4", instruction="2 + 2?", reference="4"
    )


def test_a_candidate_without_text_claims_nothing():
    candidate = Candidate(candidate_id="c", example_id="e", status="teacher_failed")
    assert claim_of(candidate, reference="4").response is None
