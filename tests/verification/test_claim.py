"""Claims made of candidates."""

from tutelage.data import Candidate, Message
from tutelage.verification import Claim, claim_of


def test_a_candidate_claims_with_its_last_turns():
    messages = (Message(role="user", content="2 + 2?"), Message(role="assistant", content="4"))
    candidate = Candidate(candidate_id="c", example_id="e", messages=messages)
    assert claim_of(candidate, reference="4") == Claim(
        candidate_id="c", response="4", instruction="2 + 2?", reference="4"
    )


def test_a_candidate_claims_with_the_turns_in_front_of_it():
    turns = [("system", "Be brief."), ("user", "2 + 2?"), ("tool", "4"), ("assistant", "Four")]
    messages = tuple(Message(role=role, content=text) for role, text in turns)
    claim = claim_of(Candidate(candidate_id="c", example_id="e", messages=messages))
    assert claim.instruction == "2 + 2?"
    assert claim.conversation == "[system]\nBe brief.\n\n[user]\n2 + 2?\n\n[tool]\n4"


def test_a_candidate_without_text_claims_nothing():
    candidate = Candidate(candidate_id="c", example_id="e", status="teacher_failed")
    assert claim_of(candidate, reference="4").response is None
