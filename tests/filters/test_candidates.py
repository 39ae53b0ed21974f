"""Candidates in columns, and the decision of a filter on each."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Message, instruction_of, response_of
from tutelage.data.example import ROLES
from tutelage.data.schemas import CANDIDATES, EXAMPLES, messages_to_arrow
from tutelage.errors import DataError
from tutelage.filters.candidates import Verdicts, answers_only, pool_of

turns = st.builds(Message, role=st.sampled_from(ROLES), content=st.text(max_size=6))
conversations = st.lists(
    st.tuples(st.lists(turns, max_size=4), turns).map(
        lambda parts: (*parts[0], Message(role="user", content="u"), parts[1])
    ),
    max_size=5,
)


def _examples(rows):
    return pa.Table.from_pylist(
        [
            {"example_id": f"e{i}", "messages": messages_to_arrow(messages)}
            for i, messages in enumerate(rows)
        ],
        schema=EXAMPLES,
    )


@settings(deadline=None, max_examples=50)
@given(conversations)
def test_columns_hold_the_same_texts_as_the_nouns_of_data(rows):
    pool = pool_of(_examples(rows))
    assert pool.instructions.to_pylist() == [instruction_of(m) for m in rows]
    assert pool.responses.to_pylist() == [response_of(m) for m in rows]


@settings(deadline=None, max_examples=50)
@given(conversations)
def test_every_other_turn_is_an_earlier_one(rows):
    pool = pool_of(_examples(rows))
    for earlier, messages in zip(pool.earlier.to_pylist(), rows, strict=True):
        rest = list(messages)
        if response_of(messages) is not None:
            rest.pop()
        rest.pop(max(at for at, m in enumerate(rest) if m.role == "user"))
        assert earlier == "".join(f"{m.content}\n" for m in rest)


def test_a_sliced_table_reads_its_own_rows():
    table = _examples(
        [
            (Message(role="user", content=f"q{i}"), Message(role="assistant", content=f"a{i}"))
            for i in range(5)
        ]
    )
    pool = pool_of(table.slice(2, 2))
    assert pool.instructions.to_pylist() == ["q2", "q3"]
    assert pool.responses.to_pylist() == ["a2", "a3"]


def test_earlier_turns_are_joined():
    messages = [
        Message(role="system", content="be kind"),
        Message(role="user", content="first"),
        Message(role="assistant", content="one"),
        Message(role="user", content="second"),
        Message(role="assistant", content="two"),
    ]
    pool = pool_of(_examples([messages]))
    assert pool.earlier.to_pylist() == ["be kind\nfirst\none\n"]


def test_taking_keeps_ids_and_texts_together(make_candidates):
    pool = pool_of(make_candidates([("a", "1"), ("b", "2"), ("c", None)])).take(np.array([2, 0]))
    assert pool.candidate_ids == ["c002", "c000"]
    assert pool.instructions.to_pylist() == [None, "a"]
    assert pool.statuses == ["teacher_failed", "ok"]


def test_both_is_missing_where_the_response_is(make_candidates):
    pool = pool_of(make_candidates([("a", "1"), ("c", None)]))
    assert pool.text("both").to_pylist() == ["a\n1", None]


def test_an_id_that_stands_there_twice_is_refused(make_candidates):
    with pytest.raises(DataError, match="candidate x is in the table twice"):
        pool_of(make_candidates([("a", "1"), ("b", "2")], ids=["x", "x"]))


def test_a_table_without_messages_is_refused():
    with pytest.raises(DataError, match="no column messages"):
        pool_of(pa.table({"candidate_id": ["a"]}))


def test_an_ok_row_without_a_user_turn_is_refused():
    row = {"candidate_id": "a", "example_id": "e", "status": "ok"}
    row["messages"] = [{"role": "assistant", "content": "hello"}]
    with pytest.raises(DataError, match="without a user turn"):
        pool_of(pa.Table.from_pylist([row], schema=CANDIDATES))


def test_an_empty_table_is_an_empty_pool(make_candidates):
    assert len(pool_of(make_candidates([]))) == 0


def test_a_response_holds_all_that_is_trained_on():
    ask = Message(role="user", content="When?")
    calls = '[{"type": "function", "function": {"name": "tide", "arguments": {}}}]'
    table = _examples(
        [
            (ask, Message(role="assistant", content="Now.", reasoning="It is noon.")),
            (ask, Message(role="assistant", content="", tool_calls=calls)),
            (ask, Message(role="assistant", content="<think>noon</think>Now.", reasoning="")),
            (
                ask,
                Message(role="assistant", content="Now.", reasoning="It is noon."),
                ask,
                Message(role="assistant", content="Later."),
            ),
        ]
    )
    pool = pool_of(table)
    assert pool.responses.to_pylist()[:2] == ["It is noon.\n\nNow.", f"\n{calls}"]
    assert "It is noon." in pool.earlier.to_pylist()[3]
    assert "It is noon." in pool.dialogues.to_pylist()[3]
    answers = pool_of(answers_only(table))
    assert answers.responses.to_pylist() == ["Now.", f"\n{calls}", "Now.", "Later."]
    assert "It is noon." not in answers.earlier.to_pylist()[3]


def _verdicts(values, known):
    return Verdicts(
        kept_N=np.array([True] * len(values)),
        reasons_N=["in_band"] * len(values),
        values_N=np.array(values),
        known_N=np.array(known),
        details_N=[None] * len(values),
    )


def test_an_unknown_value_is_null_and_not_a_number():
    table = _verdicts([1.0, 0.0], [True, False]).to_table(["a", "b"])
    assert table["value"].to_pylist() == [1.0, None]


def test_a_known_value_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="not finite"):
        _verdicts([np.nan], [True]).to_table(["a"])


def test_a_filter_that_lost_a_row_is_refused():
    with pytest.raises(DataError, match="differ in length"):
        _verdicts([1.0], [True]).to_table(["a", "b"])
