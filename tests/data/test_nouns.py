"""The nouns keep their promises: ids, candidates, tables."""

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
