"""What a response answers, as a text for a judge."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.data.example import asked_text

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
