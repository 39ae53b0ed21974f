"""Tests of what can be asked."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.errors import DataError
from tutelage.teacher import Request

texts = st.text(max_size=8)
requests = st.builds(
    Request,
    model=st.sampled_from(["a", "b"]),
    messages=st.builds(
        lambda before, last: (*before, Message(role="user", content=last)),
        st.lists(
            st.builds(Message, role=st.sampled_from(["system", "user"]), content=texts), max_size=2
        ),
        texts,
    ),
    temperature=st.sampled_from([0, 0.0, -0.0, 1, 1.0, 0.7]),
    top_p=st.sampled_from([1, 1.0, 0.9]),
    max_tokens=st.sampled_from([1, 2]),
    seed=st.sampled_from([None, 0, 1]),
    schema=st.sampled_from([None, {"type": "object"}]),
    extra=st.sampled_from([None, {"cache_prompt": False}]),
)


@given(requests, requests)
def test_keys_are_equal_exactly_where_requests_are(one: Request, other: Request) -> None:
    assert (one.key == other.key) == (one == other)


def test_a_key_stays_the_same_over_releases(request_for: Callable[..., Request]) -> None:
    assert request_for("hello").key == "33da1ffcd9d986bc66ac"
    assert request_for("hello", extra={"top_k": 1}).key == "6a099b6c2f728990701a"


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"max_tokens": 0},
        {"messages": ()},
        {"messages": (Message(role="assistant", content="x"),)},
    ],
)
def test_what_no_teacher_can_answer_is_no_request(
    request_for: Callable[..., Request], change: dict[str, object]
) -> None:
    with pytest.raises(DataError):
        replace(request_for(), **change)
