"""Rows with tools in rarer forms: nothing that is called, returned or thought is lost."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import Candidate, Row, read
from tutelage.data.example import Message
from tutelage.data.field_values import UnreadableRowError
from tutelage.data.tool_calls import calls_in, calls_of, describes_tools, results_in, tools_text

ASK = {"role": "user", "content": "How warm is it in Oslo, and what time is it?"}
SAID = {"role": "assistant", "content": "4 degrees at noon."}
WEATHER = {"name": "weather", "arguments": {"city": "Oslo"}}
CLOCK = {"name": "clock", "arguments": {}}
TOOLS = [
    {"name": "weather", "description": "The weather now."},
    {"name": "clock", "description": "The time now."},
]
PAIR = [{"id": "c1", "function": WEATHER}, {"id": "c2", "function": CLOCK}]


def row_of(*turns: dict[str, Any], **more: Any) -> Row:
    (found,) = read([{"messages": [ASK, *turns], "tools": TOOLS, **more}])
    return found


def first(*turns: dict[str, Any]) -> Candidate:
    found = row_of(*turns)
    assert found.status == "ok", found.detail
    return found.candidates[0]


def status(*turns: dict[str, Any]) -> tuple[str, str]:
    """Status and detail of a row next to one that is read."""
    good = {"messages": [ASK, SAID]}
    bad, _ = read([{"messages": [ASK, *turns], "tools": TOOLS}, good])
    return bad.status, bad.detail or ""


def calls(message: Message) -> list[dict[str, Any]]:
    return [call["function"] for call in json.loads(message.tool_calls or "[]")]


def links(candidate: Candidate) -> dict[str, str]:
    """Content of each result by the name of the tool it is linked to."""
    names = {
        call["id"]: call["function"]["name"]
        for message in candidate.messages
        for call in json.loads(message.tool_calls or "[]")
    }
    results = [m for m in candidate.messages if m.role == "tool"]
    return {names[m.tool_call_id or ""]: m.content for m in results}


LINKED = {"weather": "4", "clock": "noon"}


# Results and their calls.


@pytest.mark.parametrize(
    "of_call",
    [
        lambda made_id, _: {"tool_call_id": made_id},
        lambda made_id, _: {"tool_call_ids": [made_id]},
        lambda made_id, _: {"call_id": made_id},
        lambda made_id, _: {"tool_use_id": made_id},
        lambda made_id, _: {"id": made_id},
        lambda _, name: {"name": name},
        lambda _, name: {"tool_name": name},
        lambda _, name: {"name": f"functions.{name}"},
        lambda _, name: {"id": "message-7", "tool_name": name},
    ],
)
def test_results_in_another_order_keep_their_calls(of_call) -> None:
    candidate = first(
        {"role": "assistant", "content": "", "tool_calls": PAIR},
        {"role": "tool", "content": "noon", **of_call("c2", "clock")},
        {"role": "tool", "content": "4", **of_call("c1", "weather")},
        SAID,
    )
    assert links(candidate) == LINKED


def test_an_id_of_the_call_itself_may_be_named_call_id() -> None:
    made = [{"id": "fc_1", "call_id": "c1", **WEATHER}, {"call_id": "c2", **CLOCK}]
    candidate = first(
        {"role": "assistant", "content": "", "tool_calls": made},
        {"role": "tool", "content": "noon", "call_id": "c2"},
        {"role": "tool", "content": "4", "call_id": "c1"},
        SAID,
    )
    assert links(candidate) == LINKED


def test_an_id_that_no_call_has_is_matched_by_name_or_position() -> None:
    bare = [{"function": WEATHER}, {"function": CLOCK}]
    for names in ({"4": "weather", "noon": "clock"}, {"noon": "clock", "4": "weather"}):
        results = [
            {"role": "tool", "content": said, "name": name, "tool_call_id": f"id-{said}"}
            for said, name in names.items()
        ]
        turns = [{"role": "assistant", "content": "", "tool_calls": bare}, *results, SAID]
        assert links(first(*turns)) == LINKED


def test_a_second_result_of_the_same_call_does_not_take_the_next_one() -> None:
    candidate = first(
        {"role": "assistant", "content": "", "tool_calls": PAIR},
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
        {"role": "tool", "content": "noon", "tool_call_id": "c2"},
        SAID,
    )
    assert [m.tool_call_id for m in candidate.messages if m.role == "tool"] == ["c1", "c1", "c2"]


# Arguments.


@pytest.mark.parametrize("key", ["params", "kwargs", "tool_input", "args", "input", "parameters"])
def test_arguments_have_several_names(key: str) -> None:
    want = {"name": "f", "arguments": {"x": 1}}
    for call in (
        {"name": "f", key: {"x": 1}},
        {"name": "f", "arguments": None, key: '{"x": 1}'},
        {"function": {"name": "f", key: {"x": 1}}},
        {"function": {"name": "f"}, key: {"x": 1}},
    ):
        assert [c["function"] for c in calls_of([call], name="tool_calls")] == [want]


@pytest.mark.parametrize("value", [{"x": 1}, '{"x": 1}'])
def test_arguments_of_an_unknown_name_make_a_row_unreadable(value: object) -> None:
    for call in ({"name": "f", "slots": value}, {"function": {"name": "f", "slots": value}}):
        found = status({"role": "assistant", "content": "", "tool_calls": [call]})
        assert found[0] == "bad_type"
        assert "slots" in found[1]


@pytest.mark.parametrize(
    "more", [{}, {"slots": {}}, {"slots": {"x": None}}, {"metadata": {"a": 1}}, {"note": "now"}]
)
def test_a_call_may_have_no_arguments(more: dict[str, Any]) -> None:
    (call,) = calls_of({"name": "clock", **more}, name="tool_calls")
    assert call["function"] == CLOCK


# Turns of calls and of results.


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "tool_call", "content": "", "tool_calls": [WEATHER]},
        {"role": "tool_call", "content": json.dumps(WEATHER), "tool_calls": [WEATHER]},
        {"role": "tool_calls", "content": None, "tool_calls": json.dumps([WEATHER])},
        {"role": "function_call", "content": None, "function_call": WEATHER},
        {"role": "function_call", "content": None, **WEATHER},
        {"role": "function_call", "function": WEATHER},
        {
            "role": "tool_call",
            "content": None,
            "tool_name": "weather",
            "tool_input": {"city": "Oslo"},
        },
        {"role": "tool_call", "content": str(WEATHER)},
        {"role": "tool_call", "content": str([WEATHER])},
    ],
)
def test_a_turn_of_calls_may_hold_them_beside_its_content(turn: dict[str, Any]) -> None:
    row = row_of(turn, {"role": "tool", "content": "4"}, SAID)
    assert row.status == "ok", row.detail
    (_, called, result, _) = row.candidates[0].messages
    assert calls(called) == [WEATHER]
    assert result.tool_call_id == json.loads(called.tool_calls or "")[0]["id"]
    assert "turn_fields" not in (row.example.extra or "")


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "tool_call", "content": ""},
        {"role": "tool_call", "content": None, "name": "weather"},
        {"role": "tool_call", "content": "[]"},
        {"role": "tool_call", "content": None, "tool_calls": [{"name": None}]},
        {"role": "tool_call", "content": json.dumps(CLOCK), "tool_calls": [WEATHER]},
    ],
)
def test_a_turn_of_calls_without_a_call_makes_a_row_unreadable(turn: dict[str, Any]) -> None:
    assert status(turn, SAID)[0] == "unsupported_content"


@pytest.mark.parametrize(
    "more",
    [
        {"output": "4"},
        {"result": "4"},
        {"content": "", "response": "4"},
        {"content": None, "tool_results": "4"},
        {"tool_results": [{"tool_call_id": "c1", "content": "4"}]},
        {"content": [{"type": "tool_result", "tool_use_id": "c1", "content": "4"}]},
    ],
)
def test_a_result_may_be_beside_the_content(more: dict[str, Any]) -> None:
    called = {"role": "assistant", "content": "", "tool_calls": PAIR[:1]}
    row = row_of(called, {"role": "tool", "tool_call_id": "c1", **more}, SAID)
    assert row.status == "ok", row.detail
    assert links(row.candidates[0]) == {"weather": "4"}
    assert "turn_fields" not in (row.example.extra or "")


def test_one_turn_may_hold_the_results_of_several_calls() -> None:
    listed = [{"call_id": "c2", "output": "noon"}, {"call_id": "c1", "output": "4"}]
    called = {"role": "assistant", "content": "", "tool_calls": PAIR}
    assert links(first(called, {"role": "tool", "tool_results": listed}, SAID)) == LINKED
    mixed = {"role": "tool", "content": [*listed, {"type": "text", "text": "and more"}]}
    assert status(called, mixed, SAID)[0] == "unsupported_content"


def test_a_result_that_is_a_list_of_objects_stays_one_result() -> None:
    listed = [{"id": 1, "title": "a"}, {"id": 2, "title": "b"}]
    called = {"role": "assistant", "content": "", "tool_calls": PAIR[:1]}
    (text,) = links(first(called, {"role": "tool", "content": listed}, SAID)).values()
    assert json.loads(text) == listed


@pytest.mark.parametrize("more", [{"data": "4"}, {"data": {"t": 4}}, {"content": None, "out": [4]}])
def test_a_result_under_an_unknown_name_makes_a_row_unreadable(more: dict[str, Any]) -> None:
    called = {"role": "assistant", "content": "", "tool_calls": PAIR[:1]}
    assert status(called, {"role": "tool", **more}, SAID)[0] == "unsupported_content"


@pytest.mark.parametrize("more", [{}, {"content": ""}, {"id": "m1", "seconds": 2, "status": "ok"}])
def test_a_result_may_be_empty(more: dict[str, Any]) -> None:
    called = {"role": "assistant", "content": "", "tool_calls": PAIR[:1]}
    assert links(first(called, {"role": "tool", **more}, SAID)) == {"weather": ""}


@pytest.mark.parametrize("role", ["tool_output", "tool_outputs"])
def test_an_output_of_a_tool_is_a_result(role: str) -> None:
    called = {"role": "assistant", "content": "", "tool_calls": PAIR[:1]}
    assert links(first(called, {"role": role, "content": "4"}, SAID)) == {"weather": "4"}


def test_calls_that_are_all_null_are_no_calls(tmp_path) -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        ASK,
        {"role": "assistant", "content": "", "function_call": WEATHER, "tool_calls": [PAIR[0]]},
    ]
    nothing = {"name": None, "arguments": {"city": None}}
    for turn in turns[:3]:
        turn |= {"function_call": nothing, "tool_calls": [{"id": None, "function": nothing}]}
    turns[3]["function_call"] = nothing
    pq.write_table(
        pa.Table.from_pylist([{"messages": turns, "tools": TOOLS}]), tmp_path / "a.parquet"
    )
    (row,) = read(str(tmp_path / "a.parquet"))
    assert row.status == "ok", row.detail
    assert [calls(m) for m in row.candidates[0].messages] == [[], [], [], [WEATHER]]


# Schemas.


def schema(**function: Any) -> dict[str, Any]:
    text = tools_text([{"name": "f", **function}], name="tools")
    return json.loads(text or "")[0]["function"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": {"type": "str"}, "id": {"type": "int", "description": "Which."}},
        {"type": {"type": "str"}},
        {"properties": {"type": "str", "description": "Which."}},
    ],
)
def test_a_listed_parameter_may_have_the_name_of_a_keyword(parameters: dict[str, Any]) -> None:
    assert schema(parameters=parameters)["parameters"] == {
        "type": "object",
        "properties": parameters,
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"type": {"type": "string"}}},
        {"type": ["object", "null"], "properties": {}},
        {"properties": {"x": {"type": "string"}}},
        {"properties": {}},
        {"anyOf": [{"type": "object"}]},
        {"$ref": "#/x"},
    ],
)
def test_a_json_schema_stays_as_it_is(parameters: dict[str, Any]) -> None:
    assert schema(parameters=parameters)["parameters"] == parameters


@pytest.mark.parametrize("name", ["input_schema", "inputSchema"])
def test_an_input_schema_is_the_schema_of_the_parameters(name: str) -> None:
    wanted = {"type": "object", "properties": {"x": {"type": "string"}}}
    found = schema(**{name: wanted, "description": "F."})
    assert list(found.items()) == [("name", "f"), ("parameters", wanted), ("description", "F.")]


# Calls inside texts.


@pytest.mark.parametrize(
    "written",
    [str(WEATHER), json.dumps(WEATHER), "{'name': 'weather', 'arguments': {'city': \"Oslo\"}}"],
)
def test_calls_in_a_text_may_be_in_pythons_notation(written: str) -> None:
    candidate = first(
        {"role": "assistant", "content": f"<tool_call>\n{written}\n</tool_call>"},
        {"role": "tool", "content": "<tool_response>4</tool_response>"},
        SAID,
    )
    assert calls(candidate.messages[1]) == [WEATHER]
    assert links(candidate) == {"weather": "4"}


def test_names_of_json_are_known_in_pythons_notation() -> None:
    (call,) = calls_of("{'name': 'f', 'arguments': {'a': true, 'b': None}}", name="x")
    assert call["function"] == {"name": "f", "arguments": {"a": True}}


@pytest.mark.parametrize("text", ["{'name': f()}", "{1, 2}", "{'name': 'f', 'arguments': {1}}"])
def test_what_is_no_plain_value_is_no_call(text: str) -> None:
    with pytest.raises(UnreadableRowError, match="neither JSON nor"):
        calls_of(text, name="x")


def test_thinking_may_mention_the_mark_of_a_call() -> None:
    for mention in ("I use <tool_call> here.", f"<tool_call>{json.dumps(CLOCK)}</tool_call>?"):
        thought = f"<think>\n{mention}\n</think>\n"
        found = calls_in(f"{thought}I look.\n<tool_call>{json.dumps(WEATHER)}</tool_call>")
        assert found is not None
        assert found[0] == f"{thought}I look."
        assert [call["function"] for call in found[1]] == [WEATHER]
        assert calls_in(f"{thought}No call.") is None


def test_a_call_that_cannot_be_read_leaves_the_text_alone() -> None:
    good = f"<tool_call>{json.dumps(WEATHER)}</tool_call>"
    assert calls_in(f"<tool_call>weather?</tool_call>{good}") is None


def test_results_in_a_user_turn_answer_the_calls() -> None:
    called = "\n".join(f"<tool_call>{json.dumps(call)}</tool_call>" for call in (WEATHER, CLOCK))
    answered = "<tool_response>\n4\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"
    for role in ("user", "tool"):
        candidate = first(
            {"role": "assistant", "content": called}, {"role": role, "content": answered}, SAID
        )
        assert links(candidate) == LINKED
        assert candidate.instruction == ASK["content"]


def test_a_user_turn_with_more_than_results_is_a_question() -> None:
    said = {"role": "user", "content": "<tool_response>4</tool_response> What is this?"}
    called = {"role": "assistant", "content": "", "tool_calls": PAIR[:1]}
    assert first(called, said, SAID).instruction == said["content"]
    alone = {"role": "user", "content": "<tool_response>4</tool_response>"}
    assert first(SAID, alone, SAID).instruction == alone["content"]


def test_frames_around_results() -> None:
    assert results_in("a <tool_response>4</tool_response>") is None
    assert results_in("<tool_response> 4 </tool_response>") == ["4"]
    assert results_in("<tool_response>a</tool_response> b</tool_response>") == [
        "a</tool_response> b"
    ]


# Parts in the style of Gemini.


def test_a_thought_part_is_thinking() -> None:
    parts = [{"text": "T", "thought": True}, {"text": "A", "thought": None}]
    last = first({"role": "model", "parts": parts}).messages[-1]
    assert (last.content, last.reasoning) == ("A", "T")
    beside = [{"type": "text", "text": "A", "thinking": "T"}]
    last = first({"role": "assistant", "content": beside}).messages[-1]
    assert (last.content, last.reasoning) == ("A", "T")


def test_parts_that_call_and_answer() -> None:
    made = [{"functionCall": {"name": c["name"], "args": c["arguments"]}} for c in (WEATHER, CLOCK)]
    made[0] |= {"text": "I look.", "thoughtSignature": "x"}
    results = [
        {"functionResponse": {"name": "clock", "response": {"result": "noon"}}},
        {"function_response": {"name": "weather", "response": {"result": 4}}},
    ]
    for role in ("user", "function", "tool"):
        candidate = first({"role": "model", "parts": made}, {"role": role, "parts": results}, SAID)
        assert candidate.messages[1].content == "I look."
        assert calls(candidate.messages[1]) == [WEATHER, CLOCK]
        found = {name: json.loads(text) for name, text in links(candidate).items()}
        assert found == {"weather": {"result": 4}, "clock": {"result": "noon"}}


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "model", "parts": [{"text": "A", "reasoningContent": {"text": "T"}}]},
        {"role": "model", "parts": [{"text": "A", "inlineData": {"data": "x"}}]},
        {"role": "model", "parts": [{"text": "A", "thinking": {"of": "T"}}]},
        {"role": "user", "parts": [{"functionCall": {"name": "clock", "args": {}}}]},
        {"role": "user", "content": [{"type": "tool_use", **WEATHER}]},
        {"role": "assistant", "content": [{"type": "tool_result", "content": "4"}]},
        {"role": "model", "parts": [{"functionResponse": {"name": "clock", "out": "noon"}}]},
    ],
)
def test_parts_in_an_unknown_place_make_a_row_unreadable(turn: dict[str, Any]) -> None:
    assert status(turn, SAID)[0] in ("unsupported_content", "bad_type")


# Channels of harmony.


def harmony(channel: str, content: str, **more: str) -> dict[str, Any]:
    return {"role": "assistant", "channel": channel, "content": content, **more}


def test_the_analysis_is_the_thinking_of_the_turn_behind_it() -> None:
    candidate = first(
        harmony("analysis", "Ask the tool."),
        harmony("commentary", '{"city": "Oslo"}', recipient="functions.weather"),
        {"role": "tool", "name": "functions.weather", "content": "4"},
        harmony("analysis", "4, then."),
        harmony("final", "4 degrees."),
    )
    called, result, last = candidate.messages[1:]
    assert (called.content, called.reasoning, calls(called)) == ("", "Ask the tool.", [WEATHER])
    assert result.tool_call_id == json.loads(called.tool_calls or "")[0]["id"]
    assert (last.content, last.reasoning) == ("4 degrees.", "4, then.")


def test_a_preamble_is_the_text_of_the_turn_that_calls() -> None:
    candidate = first(
        harmony("analysis", "Ask the tool."),
        harmony("commentary", "I look."),
        harmony("commentary", "{}", recipient="functions.clock"),
        {"role": "tool", "content": "noon"},
        SAID,
    )
    called = candidate.messages[1]
    assert (called.content, called.reasoning) == ("I look.", "Ask the tool.")
    assert calls(called) == [CLOCK]


def test_analysis_without_an_answer_is_no_answer() -> None:
    assert status(harmony("analysis", "Hm."))[0] == "unsupported_content"
    row = row_of(harmony("analysis", "Hm."), {"role": "user", "content": "Well?"}, SAID)
    assert [m.role for m in row.candidates[0].messages] == ["user", "user", "assistant"]
    assert json.loads(row.example.extra or "")["turn_fields"] == [{"turn": 1, "analysis": "Hm."}]


def test_a_call_in_harmony_has_json_arguments() -> None:
    turn = harmony("commentary", "print(1)", recipient="python")
    assert status(turn, SAID)[0] == "unsupported_content"


# Tools that the prompt describes.


@pytest.mark.parametrize(
    "text",
    [
        f"Tools:\n{json.dumps(TOOLS)}",
        f"Tools:\n{TOOLS}",
        json.dumps({"tools": json.dumps(TOOLS)}),
        "<|im_system|>tool_declare<|im_middle|>[...]<|im_end|>",
    ],
)
def test_tools_that_the_system_prompt_lists_are_not_rendered_twice(text: str) -> None:
    messages = [{"role": "system", "content": text}, ASK, SAID]
    (row,) = read([{"messages": messages, "tools": TOOLS}])
    assert row.example.tools is None
    assert "weather" in (row.example.extra or "")


@pytest.mark.parametrize(
    "text",
    [
        f"Tools:\n{json.dumps(TOOLS[:1])}",
        'Call {"name": "weather"} and {"name": "clock"}.',
        "You may call weather and clock.",
    ],
)
def test_tools_that_the_system_prompt_only_mentions_are_rendered(text: str) -> None:
    assert not describes_tools(text, tools_text(TOOLS, name="tools") or "")
