"""Rows with tools, in every spelling: what is asked, called, returned and answered."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.test_row_parser import candidates_row
from tutelage.data import Candidate, read
from tutelage.data.tool_calls import calls_of
from tutelage.errors import DataError

ASK = "How warm is it in Oslo?"
CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
BARE = {"name": "weather", "description": "The weather now."}
TOOLS = json.dumps([{"type": "function", "function": BARE}])
FRAMED = {"type": "function", "id": "abc", "function": CALL}
AS_TEXT = {
    **FRAMED,
    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
}

ROWS = {
    "OpenAI": {
        "messages": [
            {"role": "user", "content": ASK},
            {"role": "assistant", "content": None, "tool_calls": [AS_TEXT]},
            {"role": "tool", "tool_call_id": "abc", "content": '{"t": 4}'},
            {"role": "assistant", "content": "4 degrees."},
        ],
        "tools": [BARE],
    },
    "OpenAI, calls as text": {
        "messages": [
            {"role": "user", "content": ASK},
            {"role": "assistant", "content": "", "tool_calls": json.dumps([FRAMED])},
            {"role": "tool", "tool_call_id": "abc", "content": {"t": 4}},
            {"role": "assistant", "content": "4 degrees."},
        ],
        "tools": json.dumps([BARE]),
    },
    "OpenAI, before tools": {
        "messages": [
            {"role": "user", "content": ASK},
            {"role": "assistant", "content": None, "function_call": CALL},
            {"role": "function", "name": "weather", "content": '{"t": 4}'},
            {"role": "assistant", "content": "4 degrees."},
        ],
        "functions": [BARE],
    },
    "ShareGPT": {
        "conversations": [
            {"from": "human", "value": ASK},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": '{"t": 4}'},
            {"from": "gpt", "value": "4 degrees."},
        ],
        "tools": json.dumps([BARE]),
    },
    "TRL": {
        "prompt": [
            {"role": "user", "content": ASK},
            {"role": "assistant", "tool_calls": [FRAMED]},
            {"role": "tool", "name": "weather", "content": '{"t": 4}'},
        ],
        "completion": [{"role": "assistant", "content": "4 degrees."}],
        "tools": TOOLS,
    },
    "Hermes with a list of tools": {
        "conversations": [
            {"from": "human", "value": ASK},
            {"from": "gpt", "value": f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>"},
            {"from": "tool", "value": '<tool_response>\n{"t": 4}\n</tool_response>'},
            {"from": "gpt", "value": "4 degrees."},
        ],
        "tools": json.dumps([BARE]),
    },
    "parts": {
        "messages": [
            {"role": "user", "content": ASK},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "abc", **CALL}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "abc", "content": '{"t": 4}'}],
            },
            {"role": "assistant", "content": "4 degrees."},
        ],
        "tools": [BARE],
    },
}


def first(row: dict) -> Candidate:
    (found,) = read([row])
    assert found.status == "ok", found.detail
    return found.candidates[0]


@pytest.mark.parametrize("name", ROWS)
def test_every_spelling_is_the_same_conversation(name: str) -> None:
    candidate = first(ROWS[name])
    assert [m.role for m in candidate.messages] == ["user", "assistant", "tool", "assistant"]
    (call,) = json.loads(candidate.messages[1].tool_calls)
    assert call["function"] == CALL
    assert candidate.messages[1].content == ""
    assert json.loads(candidate.messages[2].content) == {"t": 4}
    assert candidate.messages[2].tool_call_id == call["id"]
    assert (candidate.instruction, candidate.response) == (ASK, "4 degrees.")
    assert [m.role for m in candidate.context] == ["user", "assistant", "tool"]
    assert candidate.tools == TOOLS


def test_made_ids_have_the_length_that_every_template_takes() -> None:
    (call,) = json.loads(first(ROWS["ShareGPT"]).messages[1].tool_calls)
    assert len(call["id"]) == 9
    assert call["id"].isalnum()


def test_parquet_gives_every_row_the_fields_of_all(tmp_path) -> None:
    other = {**BARE, "name": "clock", "strict": True}
    rows = [ROWS["OpenAI"], {"messages": [{"role": "user", "content": "?"}], "tools": [other]}]
    table = pa.Table.from_pylist(rows)
    # The order of a file's fields is part of the prompt; pyarrow below 24 would write them sorted.
    names = ("name", "description", "strict")
    tool = pa.struct([table.schema.field("tools").type.value_type.field(name) for name in names])
    schema = table.schema.set(
        table.schema.get_field_index("tools"), pa.field("tools", pa.list_(tool))
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "rows.parquet")
    found = list(read(str(tmp_path / "rows.parquet")))
    assert found[0].example.tools == TOOLS
    assert found[0].candidates[0].candidate_id == first(ROWS["OpenAI"]).candidate_id


def test_a_last_turn_that_only_calls_is_a_response() -> None:
    row = {"query": ASK, "tools": json.dumps([BARE]), "answers": json.dumps([CALL])}
    candidate = first(row)
    assert (candidate.status, candidate.response) == ("ok", "")
    assert json.loads(candidate.messages[-1].tool_calls)[0]["function"] == CALL
    candidate = first({**ROWS["OpenAI"], "messages": ROWS["OpenAI"]["messages"][:2]})
    assert (candidate.status, candidate.instruction) == ("ok", ASK)


def test_parameters_listed_by_name_become_a_schema() -> None:
    parameters = {"city": {"type": "str", "description": "Where."}}
    row = {"query": ASK, "tools": [{**BARE, "parameters": parameters}], "answers": [CALL]}
    (tool,) = json.loads(first(row).tools)
    assert tool["function"]["parameters"] == {"type": "object", "properties": parameters}


def test_a_result_at_the_end_waits_for_an_answer() -> None:
    (row,) = read([{**ROWS["OpenAI"], "messages": ROWS["OpenAI"]["messages"][:3]}])
    assert (row.status, row.candidates) == ("ok", ())
    assert [m.role for m in row.example.context] == ["user", "assistant", "tool"]
    assert row.example.uses_tools


def test_several_calls_are_answered_one_by_one() -> None:
    turns = [
        {"from": "human", "value": ASK},
        {"from": "gpt", "value": "I look."},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "function_call", "value": json.dumps({"name": "clock", "arguments": {}})},
        {"from": "observation", "value": "4"},
        {"from": "observation", "value": "noon"},
        {"from": "gpt", "value": "4 degrees at noon."},
    ]
    candidate = first({"conversations": turns, "tools": json.dumps([BARE])})
    assert [m.role for m in candidate.context] == ["user", "assistant", "tool", "tool"]
    calls = json.loads(candidate.messages[1].tool_calls)
    assert candidate.messages[1].content == "I look."
    assert [c["function"]["name"] for c in calls] == ["weather", "clock"]
    assert [m.tool_call_id for m in candidate.messages[2:4]] == [c["id"] for c in calls]


def test_tools_described_in_the_system_prompt_are_not_rendered_twice() -> None:
    turns = [
        {"from": "system", "value": f"Call these: <tools>{json.dumps(BARE)}</tools>"},
        {"from": "human", "value": ASK},
        {"from": "gpt", "value": f"<tool_call>{json.dumps(CALL)}</tool_call>"},
    ]
    (row,) = read([{"conversations": turns}])
    assert row.candidates[0].response.startswith("<tool_call>")
    (row,) = read([{"conversations": turns, "tools": json.dumps([BARE])}])
    assert row.example.tools is None
    assert "weather" in row.example.extra


def test_calls_as_plain_text_stay_text() -> None:
    turns = [
        {"from": "user", "value": ASK},
        {"from": "assistant", "value": "[weather(city='Oslo')]"},
        {"from": "tool", "value": '[{"t": 4}]'},
        {"from": "assistant", "value": "4 degrees."},
    ]
    candidate = first({"system": "You may call weather.", "conversations": turns})
    roles = [m.role for m in candidate.messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    assert candidate.messages[2].content == "[weather(city='Oslo')]"
    assert candidate.messages[3].tool_call_id is None


@pytest.mark.parametrize("tools", ["", "[]", [], None, "null"])
def test_no_tools_are_no_tools(tools: object) -> None:
    assert first({**ROWS["OpenAI"], "tools": tools}).tools is None


@pytest.mark.parametrize("tools", ["a hammer", ["hammer"], 5, [{"description": "no name"}]])
def test_tools_that_are_no_schemas_have_a_reason(tools: object) -> None:
    (row,) = [r for r in read([{**ROWS["OpenAI"], "tools": tools}, ROWS["TRL"]]) if r.row == 0]
    assert row.status == "bad_type"
    assert "tools" in row.detail


@pytest.mark.parametrize(
    "more",
    [
        {"images": ["a.png"]},
        {"image": "a.png"},
        {"videos": ["a.mp4"]},
        {"audios": [{"bytes": b"x"}]},
    ],
)
def test_media_are_part_of_the_prompt_and_cannot_be_left_out(more: dict) -> None:
    row = {"instruction": "What is shown?", "output": "A hill."}
    found = list(read([{**row, **more}, row, {**row, **dict.fromkeys(more, None)}]))
    assert [r.status for r in found] == ["unsupported_content", "ok", "duplicate"]
    assert next(iter(more)) in found[0].detail


def test_thinking_of_a_turn_and_other_fields_of_turns_are_kept() -> None:
    for key in ("reasoning_content", "thinking", "reasoning"):
        turns = [
            {"role": "user", "content": "6*7?", "name": "Ada"},
            {"role": "assistant", "content": "42", key: "six sevens", "score": 0.5},
        ]
        (row,) = read([{"messages": turns}])
        user, said = row.candidates[0].messages
        assert (user.name, said.reasoning, said.content) == ("Ada", "six sevens", "42")
        assert json.loads(row.example.extra)["turn_fields"] == [{"turn": 1, "score": 0.5}]
    turns[1]["content"] = [
        {"type": "reasoning", "value": "six sevens"},
        {"type": "text", "value": "42"},
    ]
    assert first({"messages": turns}).messages[1].content == "42"


def test_exported_candidates_with_tools_are_read_back() -> None:
    for row in ROWS.values():
        (found,) = read([row])
        again = json.loads(json.dumps(candidates_row(found.example, found.candidates)))
        (back,) = read([again])
        assert back.candidates == found.candidates
        assert back.example.example_id == found.example.example_id


@pytest.mark.parametrize("spoken", [(), ({"from": "gpt", "value": "I will look."},)])
@pytest.mark.parametrize("apart", [True, False])
def test_a_turn_of_calls_keeps_its_thinking(spoken, apart) -> None:
    said = json.dumps(CALL) if apart else f"<think>\nOslo is a city.\n</think>\n{json.dumps(CALL)}"
    turn = {"from": "function_call", "value": said}
    turn |= {"reasoning_content": "Oslo is a city."} if apart else {}
    row = {"conversations": [{"from": "human", "value": ASK}, *spoken, turn], "tools": TOOLS}
    (found,) = read([row])
    last = found.candidates[0].messages[-1]
    assert last.reasoning == "Oslo is a city."
    assert json.loads(last.tool_calls)[0]["function"]["name"] == "weather"


def olmo(calls: str, **more: Any) -> dict[str, Any]:
    """A row as OLMo 3's data writes it, with the fields of all turns."""

    def turn(role: str, content: str | None, **fields: str) -> dict[str, Any]:
        return {
            "role": role,
            "content": content,
            "functions": None,
            "function_calls": None,
            **fields,
        }

    return {
        "messages": [
            turn("system", "Call functions.", functions=json.dumps([BARE])),
            turn("user", "How warm is Rome?"),
            turn("assistant", None, function_calls=calls),
            turn("environment", '{"degrees": 12}'),
            turn("assistant", "It is 12 degrees."),
        ],
        **more,
    }


def test_functions_and_calls_in_turns_are_read() -> None:
    (row,) = read([olmo('weather(city="Rome", days=[1, 2], now=true)')])
    (candidate,) = row.candidates
    assert row.status == "ok"
    assert json.loads(candidate.tools or "")[0]["function"]["name"] == BARE["name"]
    called, result = candidate.messages[2:4]
    (call,) = json.loads(called.tool_calls or "")
    arguments = {"city": "Rome", "days": [1, 2], "now": True}
    assert call["function"] == {"name": "weather", "arguments": arguments}
    assert (result.role, result.tool_call_id) == ("tool", call["id"])
    assert "function" not in (row.example.extra or "")


@pytest.mark.parametrize(
    "calls",
    ["a.b(x=1)\na.c(y='z')", "[a.b(x=1), a.c(y='z')]", "(a.b(x=1), a.c(y='z'))"],
)
def test_several_calls_in_pythons_notation(calls: str) -> None:
    found = [call["function"] for call in calls_of(calls, name="function_calls")]
    assert found == [
        {"name": "a.b", "arguments": {"x": 1}},
        {"name": "a.c", "arguments": {"y": "z"}},
    ]


@pytest.mark.parametrize(
    "calls",
    [
        "weather('Rome')",
        "weather(city=Rome)",
        "weather(city={1, 2})",
        "x = 1",
        "weather",
        "f(**a)",
        "f(",
    ],
)
def test_what_is_no_call_makes_the_row_unreadable_not_empty(calls: str) -> None:
    with pytest.raises(DataError, match="function_calls' is neither JSON nor calls in Python"):
        list(read([olmo(calls)]))


def test_tools_of_the_row_win_over_those_of_a_turn() -> None:
    other = {**BARE, "name": "clock"}
    (row,) = read([olmo('clock(zone="UTC")', tools=[other])])
    (candidate,) = row.candidates
    assert [t["function"]["name"] for t in json.loads(candidate.tools or "")] == ["clock"]
    assert "weather" in row.example.extra
