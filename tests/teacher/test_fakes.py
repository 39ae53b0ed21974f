"""Tests of the teacher with a script."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tutelage.errors import TeacherBusyError, TeacherError
from tutelage.teacher import Reply, Request, ScriptedTeacher

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
