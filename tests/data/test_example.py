"""The data model: ids, candidates, tables, and the text that a response answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import (
    STEPS,
    Candidate,
    Message,
    candidate_id_of,
    content_hash,
    context_of,
    example_id_of,
    response_of,
)
from tutelage.data.example import asked_text
from tutelage.data.schemas import CANDIDATES, candidates_from_table, candidates_to_table
from tutelage.errors import DataError

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10)
contexts = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=texts),
    max_size=3,
).map(lambda turns: (*turns, Message(role="user", content="q")))
good = st.builds(
    Candidate,
    candidate_id=texts,
    example_id=texts,
    parent_id=st.none() | texts,
    step=st.sampled_from(STEPS),
    teacher=st.none() | texts,
    messages=contexts.map(lambda turns: (*turns, Message(role="assistant", content="r"))),
    criticism=st.none() | texts,
)
failed = st.builds(
    Candidate, candidate_id=texts, example_id=texts, status=st.just("teacher_failed"), detail=texts
)


@given(st.lists(good | failed, max_size=5))
def test_candidates_survive_a_table(candidates: list[Candidate]) -> None:
    table = candidates_to_table(candidates)
    assert table.schema == CANDIDATES
    assert candidates_from_table(table) == candidates
    shuffled = table.select(sorted(table.column_names))
    assert candidates_from_table(shuffled) == candidates


@given(good)
def test_a_candidate_is_its_context_and_its_response(candidate: Candidate) -> None:
    assert candidate.instruction == "q"
    assert candidate.response == "r"
    assert candidate.messages[:-1] == candidate.context


def test_ids_are_the_same_on_every_machine_and_in_every_version() -> None:
    # Journals, caches and run folders of users hold these ids.
    turns = [Message(role="user", content="é"), Message(role="assistant", content="\ud800")]
    example_id = example_id_of(turns, reference="4")
    assert example_id == "03863d36d81813b4c2c7"
    assert (
        candidate_id_of(
            example_id=example_id, step="original", parent_id=None, teacher=None, messages=turns
        )
        == "0ec369387fffe369ccd8"
    )


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=4))
def test_different_parts_have_different_hashes(one: list[str], other: list[str]) -> None:
    assert (content_hash(*one) == content_hash(*other)) == (one == other)
    assert len(content_hash(*one)) == 20


def test_the_id_of_an_example_depends_on_its_reference_and_its_roles() -> None:
    turn = [Message(role="user", content="q")]
    ids = {
        example_id_of(turn),
        example_id_of(turn, reference=""),
        example_id_of(turn, reference="4"),
        example_id_of([Message(role="system", content="q")]),
    }
    assert len(ids) == 4


def test_a_candidate_has_text_exactly_when_it_is_ok() -> None:
    turns = (Message(role="user", content="q"), Message(role="assistant", content="r"))
    for wrong in (
        {"status": "ok"},
        {"status": "unchanged", "messages": turns},
        {"messages": turns[:1]},
        {"messages": turns, "step": "guess"},
    ):
        with pytest.raises(DataError):
            Candidate(candidate_id="c", example_id="e", **wrong)
    with pytest.raises(DataError):
        Message(role="critic", content="")


def test_context_and_response_are_split_at_the_last_user_turn() -> None:
    turns = tuple(
        Message(role=role, content=str(i))
        for i, role in enumerate(("system", "user", "assistant", "user", "assistant"))
    )
    assert context_of(turns) == turns[:4]
    assert response_of(turns) == "4"
    assert response_of(turns[:4]) is None
    with pytest.raises(DataError):
        context_of(turns[:1])


TURN = st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=30))


def said(*turns):
    return [Message(role=role, content=content) for role, content in turns]


def test_no_user_turn_is_no_request():
    assert asked_text(said(("system", "x"), ("assistant", "y"))) is None
    assert asked_text([]) is None


def test_one_user_turn_is_the_request():
    assert asked_text(said(("user", "2?"), ("assistant", "y"))) == ("2?", False)


def test_the_oldest_turns_are_left_out_and_the_system_prompt_is_kept():
    turns = said(
        ("system", "Be brief."),
        *((role, f"{role} {n} " + "x" * 30) for n in range(9) for role in ("user", "assistant")),
        ("user", "Last? " + "y" * 500),
        ("assistant", "response"),
    )
    text, is_conversation = asked_text(turns, most=100)
    assert is_conversation
    assert text.startswith(
        "[system]\nBe brief.\n\n[16 earlier turns are left out]\n\n[user]\nuser 8"
    )
    assert text.endswith("[user]\nLast? " + "y" * 500)
    assert "response" not in text


def test_a_long_turn_is_shortened_in_the_middle():
    text, _ = asked_text(said(("user", "a" + "b" * 9_998 + "c"), ("assistant", "y"), ("user", "z")))
    assert "[6,000 characters are left out]" in text
    assert text.startswith("[user]\nab")
    assert "bc\n" in text


@given(st.lists(TURN, max_size=8), st.integers(10, 120))
def test_the_last_request_is_whole_and_the_rest_is_within_the_limit(turns, most):
    found = asked_text(said(*turns), most=most)
    before = turns[:-1] if turns and turns[-1][0] == "assistant" else turns
    asked = [content for role, content in before if role == "user"]
    assert (found is not None) == bool(asked)
    if found is not None:
        assert asked[-1] in found[0]
        assert len(found[0]) <= len(asked[-1]) + most + 16 * len(turns) + 60
