"""Plain rows are read by a plan of their column names; the row-by-row path is the oracle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import (
    Candidate,
    Example,
    FieldName,
    Message,
    ReadSettings,
    Shape,
    candidate_id_of,
    content_hash,
    example_id_of,
    read,
)
from tutelage.data.field_aliases import FieldMap
from tutelage.data.field_values import UnreadableRowError
from tutelage.data.file_records import DECODER, jsonl_records
from tutelage.data.ids import message_parts, original_ids_of
from tutelage.data.row_parser import parse_row, plain_parts, plain_texts

PLAIN: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "Add.", "input": "2 and 2", "output": "4"},
    "alpaca with its prompt": {"instruction": "Add.", "input": "", "output": "4", "text": "Add. 4"},
    "null input": {"instruction": "Add 2 and 2.", "input": None, "output": "4"},
    "LLaMA-Factory": {
        "instruction": "Add.",
        "input": "",
        "output": "4",
        "system": "Be brief.",
        "history": [],
    },
    "prompt and completion": {"prompt": "Add 2 and 2.", "completion": "4", "id": 7},
    "question and answer": {"question": "2 + 2?", "answer": "4"},
    "problem, solution, answer": {"problem": "2 + 2?", "solution": "It is 4.", "answer": "4"},
    "OpenAI": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": "4"},
            {"role": "user", "content": "é \U0001f600?"},
            {"role": "assistant", "content": 'a "b"\n\\ \u2028'},
        ],
        "source": "sums",
    },
    "ShareGPT": {
        "id": "a-1",
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
    },
    "UltraChat": {
        "prompt": "Hi",
        "prompt_id": "x",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
    },
}


def planned(
    row: Mapping[str, Any], *, shape: Shape = "auto", fields: Mapping[FieldName, str] | None = None
) -> tuple[Example, tuple[Candidate, ...]] | None:
    """What the planned path gives, for a row whose column names have been seen."""
    names = FieldMap(fields or {}, shape=shape)
    names.open(row)
    columns = names.columns_of(row)
    texts = None if columns is None else plain_texts(row, columns, source="file")
    return None if texts is None else plain_parts(texts)


def row_by_row(
    row: Mapping[str, Any], *, shape: Shape = "auto", fields: Mapping[FieldName, str] | None = None
) -> tuple[Example, tuple[Candidate, ...]] | str:
    """What the row-by-row path gives, or the status of a row it refuses."""
    try:
        opened = FieldMap(fields or {}, shape=shape).open(row)
        parsed = parse_row(opened, shape=shape, source="file", teacher=None)
    except UnreadableRowError as error:
        return error.status
    return parsed.example, parsed.candidates


@pytest.mark.parametrize("name", PLAIN)
def test_plain_rows_of_every_usual_shape_take_the_planned_path(name: str) -> None:
    row = PLAIN[name]
    assert planned(row) is not None
    assert planned(row) == row_by_row(row)


@pytest.mark.parametrize(
    "change",
    [
        {"output": ""},
        {"output": " \n"},
        {"output": None},
        {"output": 4},
        {"output": float("nan")},
        {"output": ["4", "5"]},
        {"output": "Human: 2 + 2? Assistant: 4"},
        {"output": "\n\nHuman: 2 + 2?\n\nAssistant: 4"},
        {"output": [{"role": "assistant", "content": "4"}]},
        {"instruction": "", "input": ""},
        {"instruction": None},
        {"instruction": ["a"]},
        {"instruction": [{"role": "user", "content": "2 + 2?"}]},
        {"input": 3},
        {"input": float("nan")},
        {"input": {"a": 1}},
        {"image": "cat.png"},
        {"image": None},
        {"history": [["a", "b"]]},
        {"history": "none"},
        {"system": 1},
        {"system": " "},
        {"reference": 4},
        {"reference": ["4", "four"]},
        {"reference": "", "gold": "4"},
        {"reference": None, "gold": "4"},
        {"source": {"url": "x"}},
        {"source": None, "dataset": "sums"},
        {"model": "gpt"},
        {"tools": "[]"},
        {"label": False},
        {"reasoning_content": "Two and two."},
        {"original_instruction": "Sum."},
        {"refined_output": "four"},
        {"reward_model": {"ground_truth": "4"}},
        {"messages": None},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]},
        {"answer": "4"},
        {"context": "of sums"},
        {"meta": {"a": [float("inf"), None]}, "score": float("nan")},
        {"Output": "four"},
    ],
    ids=ascii,
)
def test_a_row_that_differs_gives_what_the_row_by_row_path_gives(change: dict[str, Any]) -> None:
    row = {**PLAIN["alpaca"], **change}
    found = planned(row)
    assert found is None or found == row_by_row(row)


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [{"role": "user", "content": "Hi"}],
        [{"role": "assistant", "content": "Hi"}],
        [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}],
        [{"role": "user", "content": " "}, {"role": "assistant", "content": "Hi"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "value": "Hi"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A", "weight": 0}],
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "A"},
            {"role": "user", "content": "And?"},
        ],
        [
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Be brief."},
            {"role": "assistant", "content": "A"},
        ],
        [{"role": "user", "content": "Hi"}, {"role": "model", "content": "A"}],
        [{"role": "user", "content": "Hi"}, {"role": "Assistant", "content": "A"}],
        [{"role": "user", "content": "Hi"}, {"role": "robot", "content": "A"}],
        [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "A"}],
        [{"role": "user", "content": "Hi"}, {"role": "function_call", "content": '{"name": "a"}'}],
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "A"},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "A"},
        ],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}, "more"],
        [{"from": "human", "role": "user"}, {"from": "gpt", "value": "A"}],
        [{"input": "Hi", "output": "A"}],
        ["Hi", "A"],
        '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}]',
        ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}),
    ],
    ids=ascii,
)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"system": "Be brief."},
        {"system": []},
        {"system": None, "prompt": "Hi", "model": "gpt"},
        {"label": False},
        {"tools": '[{"name": "clock"}]'},
        {"responses": ["A", "B"]},
        {"response": "B"},
    ],
    ids=ascii,
)
def test_turns_that_differ_give_what_the_row_by_row_path_gives(
    turns: object, more: dict[str, Any]
) -> None:
    row = {"messages": turns, **more}
    found = planned(row)
    assert found is None or found == row_by_row(row)


@pytest.mark.parametrize(
    "fields",
    [
        {"response": "output", "reference": "output"},
        {"instruction": "input"},
        {"instruction": "input", "input": "instruction"},
        {"source": "input"},
        {"system": "input", "history": "instruction"},
        {"model": "input"},
        {"label": "input"},
        {"reference": "nothing"},
    ],
    ids=ascii,
)
@pytest.mark.parametrize("shape", ["auto", "alpaca", "messages", "pool", "samples", "refined"])
def test_mapped_names_and_forced_shapes_mean_the_same_on_both_paths(
    fields: dict[FieldName, str], shape: Shape
) -> None:
    for row in PLAIN.values():
        for mapped in ({}, fields):
            found = planned(row, shape=shape, fields=mapped)
            assert found is None or found == row_by_row(row, shape=shape, fields=mapped)


def test_a_value_inside_a_field_is_found_where_an_earlier_row_has_none() -> None:
    row = {"question": "2 + 2?", "output": "4", "reward_model": {"style": "rule"}}
    checked = {**row, "reward_model": {"ground_truth": "four"}}
    references = [r.example.reference for r in read([row, row, checked, row]) if r.example]
    assert references == [None, None, "four", None]


TEXTS = st.sampled_from(
    [
        *("", " ", "Add.", "4", 'a "quoted"\n\ttext\\', "é 你好 \U0001f600", "\x00\x1f\x7f\u2028"),
        *("half \ud83d", "\ud83d\ude00", "Human: 2?", "### Human: 2?\n### Assistant: 4", "false"),
    ]
)
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.sampled_from([0, 4, -1.5, float("nan"), float("inf"), True, False, 10**30]),
    st.lists(TEXTS, max_size=2),
    st.dictionaries(st.sampled_from(["text", "ground_truth", "type"]), TEXTS, max_size=2),
)
TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "human", "tool", "User", None]),
        "content": st.one_of(TEXTS, TEXTS, VALUES),
    },
    optional={"weight": st.sampled_from([0, 1]), "name": TEXTS},
)
SHARED_TURN = st.fixed_dictionaries(
    {"from": st.sampled_from(["human", "gpt", "system"]), "value": TEXTS}
)
GOOD_TURNS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3).map(
    lambda pairs: [
        {"role": role, "content": said}
        for pair in pairs
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]
)
TURNS = st.one_of(GOOD_TURNS, st.lists(TURN, max_size=4), st.lists(SHARED_TURN, max_size=4), VALUES)
NAMES = [
    *("instruction", "input", "output", "Output", "prompt", "completion", "question", "answer"),
    *("problem", "solution", "context", "system", "history", "reference", "gold", "source"),
    *("dataset", "text", "id", "meta", "model", "label", "tools", "image", "original_prompt"),
    *("reward_model", "reasoning_content", "refined_output", "responses", "rationale"),
]
ROWS = st.one_of(
    st.builds(
        lambda instruction, output, more: {"instruction": instruction, "output": output, **more},
        TEXTS,
        TEXTS,
        st.dictionaries(st.sampled_from(NAMES), st.one_of(TEXTS, VALUES), max_size=3),
    ),
    st.dictionaries(st.sampled_from(NAMES), st.one_of(TEXTS, VALUES), max_size=6),
    st.builds(
        lambda name, turns, more: {name: turns, **more},
        st.sampled_from(["messages", "conversations"]),
        TURNS,
        st.dictionaries(st.sampled_from(NAMES), st.one_of(TEXTS, VALUES), max_size=3),
    ),
)
SHAPES = st.sampled_from(["auto", "auto", "messages", "alpaca", "prompt_completion", "pool"])
MAPPINGS = st.one_of(
    st.just({}),
    st.dictionaries(
        st.sampled_from(["instruction", "response", "input", "reference", "source", "system"]),
        st.sampled_from(NAMES[:18]),
        max_size=2,
    ),
)


@settings(max_examples=600, deadline=None)
@given(row=ROWS, shape=SHAPES, fields=MAPPINGS)
def test_both_paths_give_the_same_for_any_row(
    row: dict[str, Any], shape: Shape, fields: dict[FieldName, str]
) -> None:
    found = planned(row, shape=shape, fields=fields)
    if found is not None:
        assert found == row_by_row(row, shape=shape, fields=fields)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.one_of(ROWS, st.sampled_from(list(PLAIN.values()))), min_size=1))
def test_reading_gives_each_row_what_it_gives_alone(rows: list[dict[str, Any]]) -> None:
    plain = {"instruction": "Begin.", "output": "Begun."}  # a source of reasons alone is refused
    seen: set[str] = set()
    for row, read_row in zip([plain, *rows], read([plain, *rows]), strict=True):
        alone = row_by_row(row)
        if isinstance(alone, str):
            assert (read_row.status, read_row.example) == (alone, None)
            continue
        example, candidates = alone
        assert read_row.example is not None
        assert read_row.example.example_id == example.example_id
        assert read_row.example.messages == example.messages
        ids = {c.candidate_id for c in candidates} or {example.example_id}
        assert (read_row.status == "duplicate") == (ids <= seen)
        assert {*read_row.candidates, *read_row.repeated} == set(candidates)
        seen |= ids


def test_duplicates_and_sources_are_the_same_on_the_planned_path(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    lines = [PLAIN["alpaca"], PLAIN["alpaca"], {**PLAIN["alpaca"], "output": "5"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = read(path)
    first, again, other = rows
    assert [row.status for row in (first, again, other)] == ["ok", "duplicate", "ok"]
    assert first.example is not None
    assert first.example.source == "sums"
    assert again.candidates == ()
    assert again.repeated == first.candidates
    assert again.detail == f"{path}:2: 1 of 1 candidates are repeated"
    assert rows.notes[0].startswith("1 row with the instruction of an earlier row")
    renamed = list(read(path, ReadSettings(source_name="mine")))
    assert {row.example.source for row in renamed if row.example} == {"mine"}


def test_null_columns_of_a_table_leave_its_rows_plain() -> None:
    table = pa.table({"instruction": ["a", "b"], "input": ["c", None], "output": ["d", "e"]})
    assert [row.example.instruction for row in read(table) if row.example] == ["a\nc", "b"]


MESSAGES = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["user", "assistant"]),
        content=st.text(),
        reasoning=st.none() | st.text(),
        trained=st.booleans(),
    ),
    max_size=3,
)


@given(messages=MESSAGES, reference=st.none() | st.text(), tools=st.none() | st.text())
def test_ids_are_hashes_of_the_json_text_of_their_parts(
    messages: list[Message], reference: str | None, tools: str | None
) -> None:
    parts = [message_parts(m) for m in messages]
    more = [] if tools is None else [tools]
    example_id = example_id_of(messages, reference=reference, tools=tools)
    assert example_id == content_hash("example", parts, reference, *more)
    candidate_id = candidate_id_of(
        example_id=example_id,
        step="sample",
        parent_id=None,
        teacher=reference,
        messages=messages,
        distinction=tools,
        tools=tools,
    )
    asked = ("candidate", example_id, "sample", None, reference, parts, tools, *more)
    assert candidate_id == content_hash(*asked)


@given(texts=st.lists(st.text(), min_size=2, max_size=4), reference=st.none() | st.text(max_size=5))
def test_the_ids_of_plain_rows_are_the_ids_of_all_rows(
    texts: list[str], reference: str | None
) -> None:
    messages = [Message(role="user", content=text) for text in texts]
    example_id = example_id_of(messages, reference=reference)
    candidate_id = candidate_id_of(
        example_id=example_id, step="original", parent_id=None, teacher=None, messages=messages
    )
    turns = [(message.role, message.content) for message in messages]
    assert original_ids_of(turns, reference=reference) == (example_id, candidate_id)


@pytest.mark.parametrize(
    "line",
    [
        *('{"a": 1}', ' {"a": 1}', '{"a": 1} ', '{"a": 1}\r', '{"a": 1}\t\r', '{"a": 1}\x0b', "1"),
        *('{"a": NaN}', '{"a": 1}{"a": 2}', '{"a": 1}, {"a": 2}', '{"a": ', "\r{", "nothing", '"a'),
        *('{"a": 1}x\r', "\ufeff{}", "[" * 100_000, '{"a": "\\ud83d"}', '{"a": 1, "a": 2}', "-"),
        '{"a": "\t"}',
    ],
    ids=lambda line: ascii(line[:20]),
)
def test_a_line_holds_what_a_strict_decoder_finds_in_it(line: str) -> None:
    try:
        expected: Any = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        expected = error

    def chunks() -> Any:
        yield b'{"first": 1}\n' + line.encode()

    _, record = jsonl_records(chunks())
    if isinstance(expected, Exception):
        assert record.value is None
        assert record.problem is not None
        deep = isinstance(expected, RecursionError)
        assert record.problem.status == ("nested_too_deeply" if deep else "malformed_json")
        assert deep or record.problem.detail.startswith(str(expected))
    else:
        assert record.problem is None
        assert repr(record.value) == repr(expected)
