"""Requests, the scripted teacher that answers them, and the repetition of a recording."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.errors import (
    DataError,
    JournalError,
    NotInJournalError,
    TeacherBusyError,
    TeacherError,
)
from tutelage.teacher import (
    Journal,
    JournaledTeacher,
    Reply,
    Request,
    ScriptedTeacher,
    TeacherSettings,
    open_teacher,
)

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


RequestFor = Callable[..., Request]


async def later(request: Request) -> str:
    await asyncio.sleep(0)
    return request.messages[-1].content.upper()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("same", "same"),
        ("", ""),
        ({"hello": "by text"}, "by text"),
        ({"hello": ""}, ""),
        ({"33da1ffcd9d986bc66ac": "by key"}, "by key"),
        (lambda r: f"{len(r.messages)} turn", "1 turn"),
        (later, "HELLO"),
    ],
)
def test_the_script_is_followed(request_for: RequestFor, script: Any, text: str) -> None:
    teacher = ScriptedTeacher(script)
    reply = asyncio.run(teacher.ask(request_for()))
    assert reply.text == text
    assert reply.request_key == request_for().key
    assert teacher.asked == [request_for()]


def test_a_whole_reply_gets_the_key_of_its_request(request_for: RequestFor) -> None:
    line = Reply(request_key="", model="x", text="cut", finish_reason="length")
    reply = asyncio.run(ScriptedTeacher(line).ask(request_for()))
    assert (reply.request_key, reply.finish_reason) == (request_for().key, "length")


def test_an_error_in_the_script_is_raised(request_for: RequestFor) -> None:
    with pytest.raises(TeacherBusyError):
        asyncio.run(ScriptedTeacher(TeacherBusyError("full")).ask(request_for()))


def test_a_line_that_is_missing_is_named(request_for: RequestFor) -> None:
    with pytest.raises(TeacherError, match="no line for 'hello'"):
        asyncio.run(ScriptedTeacher({}).ask(request_for()))


def test_a_recording_is_repeated_from_a_file_that_cannot_be_written(
    tmp_path: Path, request_for: Callable[..., Request]
) -> None:
    settings = TeacherSettings(kind="replay", model="m")
    with Journal(tmp_path / "journal.sqlite") as journal:
        teacher = JournaledTeacher(ScriptedTeacher("yes", name="m"), journal)
        asyncio.run(teacher.ask(request_for()))
        journal.pack(tmp_path / "packed.sqlite")
    with Journal(tmp_path / "packed.sqlite", read_only=True) as journal:
        teacher = open_teacher(settings, journal)
        reply = asyncio.run(teacher.ask(request_for()))
        assert (reply.text, reply.from_journal) == ("yes", True)
        with pytest.raises(NotInJournalError, match=request_for("new").key) as caught:
            asyncio.run(teacher.ask(request_for("new")))
        assert "kind" in (caught.value.hint or "")
        assert teacher.tally.failures == {"NotInJournalError": 1}
        assert (teacher.tally.from_journal, teacher.tally.failed) == (1, 1)


def test_a_teacher_that_is_paid_needs_a_journal_that_can_be_written(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.sqlite").close()
    settings = TeacherSettings(model="m", base_url="http://127.0.0.1:1/v1")
    with (
        Journal(tmp_path / "journal.sqlite", read_only=True) as journal,
        pytest.raises(JournalError, match="only read"),
    ):
        open_teacher(settings, journal)
