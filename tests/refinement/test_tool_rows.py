"""What a teacher may do with a row that calls tools, and what it is never asked for."""

import asyncio

import pytest

from tutelage.data import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION, Candidate, read
from tutelage.refinement import Crowd, RefineSettings, SampleSettings, reflect_all, sample_in_waves
from tutelage.teacher import ScriptedTeacher

REPLY = (
    "<<<CRITICISM>>>\nIt names no unit.\n"
    "<<<NEW RESPONSE>>>\nIn Oslo it is four degrees Celsius at this very moment.\n<<<END>>>"
)
CALL = [{"name": "weather", "arguments": {"city": "Oslo"}}]
TURNS = [
    {"role": "user", "content": "Say how warm it is in Oslo right now, please."},
    {"role": "assistant", "content": "", "tool_calls": CALL},
    {"role": "tool", "content": '{"t": 4}'},
    {"role": "assistant", "content": "It is 4 in Oslo right now, as I have been told."},
]
TOOLS = [{"name": "weather"}]


def candidate(turns: list) -> Candidate:
    (row,) = read([{"messages": turns, "tools": TOOLS}])
    return row.candidates[0]


def reflected(parent: Candidate, step: str) -> tuple[Candidate, ScriptedTeacher]:
    teacher = ScriptedTeacher(REPLY)
    (made,) = asyncio.run(
        reflect_all([parent], step=step, teacher=teacher, settings=RefineSettings(attempts=1))
    )
    return made, teacher


def test_a_new_response_keeps_the_calls_and_results_in_front_of_it() -> None:
    parent = candidate(TURNS)
    made, teacher = reflected(parent, RESPONSE_REFLECTION)
    assert made.status == "ok", made.detail
    assert made.messages[:-1] == parent.messages[:-1]
    assert made.response.startswith("In Oslo it is four degrees")
    assert made.tools == parent.tools
    (request,) = teacher.asked
    shown = request.messages[-1].content
    assert '[call weather] {"city": "Oslo"}' in shown
    assert '{"t": 4}' in shown


def test_a_new_instruction_never_stands_in_front_of_calls_made_for_the_old_one() -> None:
    made, teacher = reflected(candidate(TURNS), INSTRUCTION_REFLECTION)
    assert (made.status, made.messages, teacher.asked) == ("uses_tools", (), [])
    assert "old instruction" in made.detail


@pytest.mark.parametrize("step", [INSTRUCTION_REFLECTION, RESPONSE_REFLECTION])
def test_a_response_that_calls_a_tool_is_not_rewritten(step: str) -> None:
    made, teacher = reflected(candidate(TURNS[:2]), step)
    assert (made.status, teacher.asked) == ("uses_tools", [])


def test_a_teacher_without_the_tools_is_not_asked_for_samples() -> None:
    (row,) = read([{"messages": TURNS[:1], "tools": TOOLS}])
    teacher = ScriptedTeacher("4 degrees.")
    crowd = Crowd(teachers=(teacher,), shares=(1.0,))
    made = asyncio.run(sample_in_waves([row.example], crowd=crowd, settings=SampleSettings(n=2)))
    assert [c.status for c in made] == ["uses_tools", "uses_tools"]
    assert len({c.candidate_id for c in made}) == 2
    assert teacher.asked == []
