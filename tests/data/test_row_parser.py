"""Every shape by hand: what each row becomes."""

import json
from collections.abc import Iterable

import pytest

from tutelage.data import OK, Candidate, Example, ReadSettings, Row, read
from tutelage.data.schemas import messages_to_arrow, plain_turns
from tutelage.errors import DataError


def one(row: dict, **settings) -> Row:
    """The only row of a source that has one."""
    (found,) = read([row], ReadSettings(**settings))
    return found


def said(candidate: Candidate) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in candidate.messages]


def candidates_row(example: Example, candidates: Iterable[Candidate]) -> dict[str, object]:
    """An example with all its candidates, as the export writes it."""
    listed = [
        {
            "candidate_id": c.candidate_id,
            "step": c.step,
            "parent": c.parent_id,
            "teacher": c.teacher,
            "status": c.status,
            "messages": plain_turns(messages_to_arrow(c.messages)),
        }
        for c in candidates
    ]
    named = {
        "reference": example.reference,
        "source": example.source,
        "tools": example.tools,
        "chat_template_kwargs": example.template_args,
    }
    return {
        "messages": plain_turns(messages_to_arrow(example.messages)),
        "candidates": listed,
        **{name: value for name, value in named.items() if value is not None},
    }


PAIR = [("user", "What is 2 + 2?"), ("assistant", "4")]

CONVERSATION = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4"},
]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CONVERSATION},
        {"messages": json.dumps(CONVERSATION)},
        {
            "conversations": [
                {"from": "human", "value": "What is 2 + 2?"},
                {"from": "gpt", "value": "4"},
            ]
        },
        {"prompt": "What is 2 + 2?", "completion": "4"},
        {"prompt": CONVERSATION[:1], "completion": CONVERSATION[1:]},
        {"prompt": CONVERSATION[:1], "completion": "4"},
        {"instruction": "What is 2 + 2?", "input": "", "output": "4"},
        {"instruction": "What is 2 + 2?", "input": None, "output": 4},
        {"question": "What is 2 + 2?", "answer": "4"},
        {"Question": "What is 2 + 2?", " Answer ": 4},
        {"input": "What is 2 + 2?", "output": "4"},
        {"instruction": "What is 2 + 2?", "context": "", "response": "4"},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "4"}]},
            ]
        },
    ],
)
def test_every_spelling_of_a_pair_is_the_same_example(row: dict) -> None:
    found = one(row)
    assert found.status == "ok", found.detail
    assert [(m.role, m.content) for m in found.example.messages] == PAIR
    (original,) = found.candidates
    assert (original.step, original.status, original.teacher) == ("original", "ok", None)
    assert original.candidate_id == one({"messages": CONVERSATION}).candidates[0].candidate_id


def test_the_input_of_alpaca_follows_the_instruction_after_a_newline() -> None:
    row = one({"instruction": "Add them.", "input": "2 and 2", "output": "4"})
    assert row.example.instruction == "Add them.\n2 and 2"
    assert (
        one({"instruction": "", "input": "2 and 2", "output": "4"}).example.instruction == "2 and 2"
    )
    assert one({"instruction": "Add", "input": " \n", "output": "4"}).example.instruction == "Add"


def test_system_and_history_come_before_the_instruction() -> None:
    row = one(
        {
            "system": "Be brief.",
            "history": [["Hi", "Hello"]],
            "instruction": "2 + 2?",
            "output": "4",
        }
    )
    assert said(row.candidates[0]) == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "2 + 2?"),
        ("assistant", "4"),
    ]


def test_a_row_without_a_response_field_is_an_example_without_an_original() -> None:
    for row in ({"prompt": "Why?"}, {"messages": CONVERSATION[:1]}, {"question": "Why?", "id": 3}):
        found = one(row)
        assert (found.status, found.candidates) == ("ok", ())
        assert [m.role for m in found.example.messages] == ["user"]


@pytest.mark.parametrize("blank", ["", " \n", None, float("nan")])
def test_a_blank_response_is_an_original_with_a_status_and_no_text(blank: object) -> None:
    row = one({"instruction": "Why?", "output": blank})
    (original,) = row.candidates
    assert (original.status, original.messages, original.step) == ("empty_response", (), "original")
    assert [m.role for m in row.example.messages] == ["user"]


def test_a_blank_instruction_is_an_original_with_a_status_and_no_text() -> None:
    row = one({"instruction": " ", "output": "4"})
    assert [(c.status, c.messages) for c in row.candidates] == [("empty_instruction", ())]


def test_reference_and_source_are_found_by_name() -> None:
    row = one({"question": "2 + 2?", "solution": "2 + 2 = 4", "answer": 4, "dataset": "sums"})
    assert (row.example.reference, row.example.source) == ("4", "sums")
    assert row.candidates[0].response == "2 + 2 = 4"


def test_an_answer_that_is_the_response_is_not_the_reference() -> None:
    assert one({"question": "2 + 2?", "answer": "4"}).example.reference is None


def test_what_nobody_asked_for_is_kept_as_json() -> None:
    row = one(
        {
            "question": "2 + 2?",
            "answer": "4",
            "id": 7,
            "tags": ["é"],
            "none": None,
            "nan": float("nan"),
            "raw": b"ab",
            "deep": {"x": float("inf")},
        }
    )
    assert json.loads(row.example.extra) == {
        "id": 7,
        "tags": ["é"],
        "raw": "(2 bytes)",
        "deep": {"x": None},
    }
    assert one({"question": "2 + 2?", "answer": "4"}).example.extra is None


def test_a_mapping_wins_over_every_other_name() -> None:
    row = one(
        {"question": "Q", "answer": "A", "text": "T", "gold": "G"},
        fields={"instruction": "text", "response": "gold", "reference": "answer"},
    )
    assert (row.example.instruction, row.candidates[0].response) == ("T", "G")
    assert row.example.reference == "A"
    assert json.loads(row.example.extra) == {"question": "Q"}


def test_a_mapped_field_serves_for_nothing_else_but_may_be_mapped_twice() -> None:
    only = one({"question": "Q", "answer": "A"}, fields={"reference": "answer"})
    assert (only.example.reference, only.candidates) == ("A", ())
    both = one(
        {"question": "Q", "answer": "A"}, fields={"reference": "answer", "response": "answer"}
    )
    assert (both.example.reference, both.candidates[0].response) == ("A", "A")


def test_the_source_is_the_mapped_field_then_the_given_name_then_the_rows_own() -> None:
    row = {"question": "Q", "answer": "A", "source": "own", "set": "mapped"}
    assert one(row).example.source == "own"
    assert one(row, source_name="given").example.source == "given"
    assert one(row, source_name="given", fields={"source": "set"}).example.source == "mapped"


# Refined pairs -------------------------------------------------------------------------------

REFINED = {
    "instruction": "Add them.",
    "input": "2 and 2",
    "original_output": "4",
    "refined_output": "2 + 2 = 4",
    "refiner": "T",
}


def test_a_new_response_is_a_response_reflection_of_the_original() -> None:
    original, refined = one(REFINED).candidates
    assert said(original)[-1] == ("assistant", "4")
    assert (refined.step, refined.parent_id) == ("response_reflection", original.candidate_id)
    assert (refined.teacher, refined.response) == ("T", "2 + 2 = 4")
    assert refined.context == original.context


def test_a_new_instruction_with_its_response_is_an_instruction_reflection() -> None:
    row = one({**REFINED, "refined_instruction": "Add the two numbers.", "refined_input": "2, 2"})
    original, refined = row.candidates
    assert (refined.step, refined.parent_id) == ("instruction_reflection", original.candidate_id)
    assert said(refined) == [("user", "Add the two numbers.\n2, 2"), ("assistant", "2 + 2 = 4")]
    assert row.example.instruction == "Add them.\n2 and 2"


def test_an_instruction_that_differs_only_in_white_space_is_the_same() -> None:
    row = one({**REFINED, "refined_instruction": " Add   them. ", "refined_input": "2 and 2\n"})
    original, refined = row.candidates
    assert refined.step == "response_reflection"
    assert refined.context == original.context


def test_without_a_refined_instruction_the_original_one_is_meant() -> None:
    for more in ({"refined_instruction": ""}, {"refined_instruction": None, "refined_input": ""}):
        refined = one({**REFINED, **more}).candidates[1]
        assert (refined.step, refined.instruction) == ("response_reflection", "Add them.\n2 and 2")


def test_a_refined_instruction_keeps_the_input_unless_the_row_says_otherwise() -> None:
    kept = one({**REFINED, "refined_instruction": "Sum them."}).candidates[1]
    assert kept.instruction == "Sum them.\n2 and 2"
    gone = one({**REFINED, "refined_instruction": "Add 2 and 2.", "refined_input": ""}).candidates[
        1
    ]
    assert gone.instruction == "Add 2 and 2."


@pytest.mark.parametrize("missing", [{"refined_output": ""}, {"refined_output": None}, {}])
def test_a_new_instruction_is_never_paired_with_an_old_response(missing: dict) -> None:
    row = {k: v for k, v in REFINED.items() if k != "refined_output"}
    row = one({**row, "refined_instruction": "Sum them.", **missing})
    original, refined = row.candidates
    assert original.response == "4"
    assert (refined.step, refined.status) == ("instruction_reflection", "empty_response")
    assert refined.messages == ()


def test_a_refinement_that_changed_nothing_says_so() -> None:
    refined = one({**REFINED, "refined_output": "4\n"}).candidates[1]
    assert (refined.status, refined.messages) == ("unchanged", ())


def test_a_refined_response_that_is_empty_says_so() -> None:
    refined = one({**REFINED, "refined_output": ""}).candidates[1]
    assert (refined.step, refined.status) == ("response_reflection", "empty_response")


def test_an_empty_original_can_be_refined() -> None:
    original, refined = one({**REFINED, "original_output": ""}).candidates
    assert (original.status, refined.status) == ("empty_response", OK)
    assert refined.parent_id == original.candidate_id


def test_the_teacher_of_a_refinement_may_be_given_for_all() -> None:
    row = {k: v for k, v in REFINED.items() if k != "refiner"}
    assert one(row, teacher_name="given").candidates[1].teacher == "given"
    assert one(row).candidates[1].teacher is None


def test_refined_messages_refine_a_conversation() -> None:
    better = [CONVERSATION[0], {"role": "assistant", "content": "2 + 2 = 4"}]
    row = one({"messages": CONVERSATION, "refined_messages": better})
    assert [c.step for c in row.candidates] == ["original", "response_reflection"]


# Pools ---------------------------------------------------------------------------------------


def test_the_rows_of_a_long_pool_share_one_example_and_each_is_a_sample() -> None:
    rows = list(
        read(
            [
                {"question": "2 + 2?", "model": "a", "output": "4", "gold": "4"},
                {"question": "2 + 2?", "model": "b", "output": "four", "gold": "4"},
            ]
        )
    )
    assert len({r.example.example_id for r in rows}) == 1
    samples = [c for r in rows for c in r.candidates]
    assert [(c.step, c.teacher, c.parent_id) for c in samples] == [
        ("sample", "a", None),
        ("sample", "b", None),
    ]
    assert [m.role for m in rows[0].example.messages] == ["user"]
    assert rows[0].example.reference == "4"


def test_the_final_answer_of_a_model_is_not_the_reference() -> None:
    rows = list(
        read(
            [
                {"question": "2 + 2?", "model": m, "output": f"It is {a}.", "final_answer": a}
                for m, a in (("a", "4"), ("b", "5"))
            ]
        )
    )
    assert [r.example.reference for r in rows] == [None, None]
    assert len({r.example.example_id for r in rows}) == 1
    assert (
        one({"question": "2?", "solution": "It is 2", "final_answer": "2"}).example.reference == "2"
    )


def test_a_named_writer_does_not_make_a_sample_of_an_original() -> None:
    row = one({"instruction": "Add", "original_output": "4", "refiner": "T", "chosen": "x"})
    assert [c.step for c in row.candidates] == ["original"]
    row = one({"instruction": "Add", "original_output": "4", "model": "T"})
    assert [c.step for c in row.candidates] == ["original"]


@pytest.mark.parametrize(
    "responses",
    [
        ["4", "four"],
        [{"text": "4"}, {"output": "four"}],
    ],
)
def test_a_wide_pool_is_a_sample_for_each_response(responses: list) -> None:
    row = one({"instruction": "2 + 2?", "responses": responses}, teacher_name="T")
    assert [(c.step, c.teacher, c.response) for c in row.candidates] == [
        ("sample", "T", "4"),
        ("sample", "T", "four"),
    ]


def test_a_wide_pool_may_name_the_model_of_each_response_and_have_an_original() -> None:
    row = one(
        {
            "prompt": "2 + 2?",
            "response": "four",
            "completions": [{"model": "a", "response": "4"}, {"model": "b", "response": " "}],
        }
    )
    assert [(c.step, c.teacher, c.status) for c in row.candidates] == [
        ("original", None, "ok"),
        ("sample", "a", "ok"),
        ("sample", "b", "empty_response"),
    ]


def test_a_response_that_a_pool_holds_twice_is_one_candidate_and_the_row_says_so() -> None:
    row = one({"prompt": "2 + 2?", "responses": ["4", "four", "4"]})
    assert (row.status, len(row.candidates)) == ("ok", 2)
    assert "1 of 3 candidates" in row.detail


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Name one.", "output": ["Red.", "Blue."]},
        {"instruction": ["Name one.", "Name two."], "output": "Red."},
        {"prompt": "Name one.", "completion": ("Red.", "Blue.")},
        {"question": "Name one.", "answer": ["Red.", {"type": "text", "text": "Blue."}]},
        {"instruction": "Name one.", "responses": [["Red.", "m"], ["Blue.", "m"]]},
    ],
)
def test_several_texts_are_never_glued_into_one(row: dict) -> None:
    found, _ = read([row, {"instruction": "Name one.", "output": "Red."}], ReadSettings())
    assert (found.status, found.candidates) == ("bad_type", ())
    assert "holds 2 texts where one is expected" in str(found.detail)


def test_several_responses_are_read_as_such_where_the_mapping_says_so() -> None:
    row = {"instruction": "Name one.", "output": ["Red.", "Blue."]}
    found = one(row, fields={"responses": "output"})
    assert [c.response for c in found.candidates] == ["Red.", "Blue."]
    parts = [{"type": "text", "text": "Red and "}, {"type": "text", "text": "blue."}]
    assert one({"prompt": "Two?", "completion": parts}).candidates[0].response == "Red and blue."


def test_a_completion_of_several_turns_goes_on_with_its_prompt() -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
    turns = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "4"}]
    row = {"prompt": CONVERSATION[:1], "completion": [*turns, CONVERSATION[1]]}
    (candidate,) = one(row).candidates
    assert [m.role for m in candidate.messages] == ["user", "assistant", "tool", "assistant"]
    assert (
        candidate.messages[2].tool_call_id == json.loads(candidate.messages[1].tool_calls)[0]["id"]
    )
    assert (
        candidate.candidate_id
        == one({"messages": [*CONVERSATION[:1], *turns, CONVERSATION[1]]})
        .candidates[0]
        .candidate_id
    )
    found, _ = read([{**row, "completion": turns}, row], ReadSettings())
    assert found.status == "unexpected_turns"


@pytest.mark.parametrize(
    "name", ["image_0", "Image", "images_2", "picture", "image_url", "video_paths", "audio_file"]
)
def test_a_column_of_media_is_never_silently_left_out(name: str) -> None:
    row = {"instruction": "What is shown?", "output": "A sea."}
    found, _ = read([{**row, name: "sea.png"}, row], ReadSettings())
    assert found.status == "unsupported_content"
    assert one({**row, name: None}).status == "ok"
    assert one({**row, "image_id": 7, "audiobook": "Sea"}).status == "ok"


def test_fields_that_only_look_like_ours_are_left_alone() -> None:
    row = one(
        {
            "question": "2 + 2?",
            "output": "4",
            "answer": ["4", "four"],
            "history": "maths",
            "system": {"name": "x"},
            "samples": 8,
            "source": [1],
            "model": {"name": "m"},
        }
    )
    assert row.status == "ok", row.detail
    assert (row.example.reference, row.example.source, len(row.example.messages)) == (None, None, 2)
    assert set(json.loads(row.example.extra)) == {
        "answer",
        "history",
        "system",
        "samples",
        "source",
        "model",
    }
    rows = list(
        read(
            [{"question": "Q", "gold": ["4"]}, {"question": "Q"}],
            ReadSettings(fields={"reference": "gold"}),
        )
    )
    assert [r.status for r in rows] == ["bad_type", "ok"]


def test_a_blank_reference_is_none() -> None:
    blank = one({"question": "Q", "output": "A", "reference": " "})
    assert blank.example == one({"question": "Q", "output": "A"}).example


def test_a_forced_shape_is_enforced() -> None:
    row = {"instruction": "2 + 2?", "model": "m", "output": "4"}
    assert one(row).candidates[0].step == "sample"
    assert one(row, shape="alpaca").candidates[0].step == "original"
    rows = list(read([{"messages": CONVERSATION}, row], ReadSettings(shape="messages")))
    assert [r.status for r in rows] == ["ok", "missing_fields"]
    assert one({"question": "2?", "output": "2"}, shape="pool").candidates[0].step == "sample"
    for shape in ("refined", "candidates", "question_answer"):
        with pytest.raises(DataError, match="missing_fields"):
            one(row, shape=shape)


# Our own export ------------------------------------------------------------------------------


def srt_row() -> dict:
    turns = lambda q, a: [{"role": "user", "content": q}, {"role": "assistant", "content": a}]  # noqa: E731
    return {
        "messages": turns("q", "a"),
        "candidates": [
            {
                "step": "instruction_reflection",
                "parent": "original",
                "teacher": "T",
                "messages": turns("q2", "a2"),
            },
            {"step": "response_reflection", "parent": "original", "teacher": "T", "response": "a3"},
            {
                "step": "response_reflection",
                "parent": 0,
                "teacher": "T",
                "messages": turns("q2", "a4"),
            },
        ],
    }


def test_the_four_variants_of_selective_reflection_can_be_read() -> None:
    original, instruction, response, both = one(srt_row()).candidates
    assert original.step == "original"
    assert instruction.parent_id == response.parent_id == original.candidate_id
    assert both.parent_id == instruction.candidate_id
    assert (response.instruction, response.response) == ("q", "a3")
    assert (both.instruction, both.response) == ("q2", "a4")


def test_what_is_exported_is_read_back_with_the_same_ids() -> None:
    for row in (
        srt_row(),
        REFINED,
        {**REFINED, "refined_output": ""},
        {"question": "2?", "output": "2", "model": "m", "gold": "2"},
    ):
        first = one(row)
        again = one(json.loads(json.dumps(candidates_row(first.example, first.candidates))))
        assert again.candidates == first.candidates
        assert again.example.example_id == first.example.example_id


@pytest.mark.parametrize(
    "listed",
    [
        [{"step": "response_reflection", "parent": "nobody", "response": "x"}],
        [{"step": "response_reflection", "parent": 0, "response": "x"}],
        [{"step": "guess", "response": "x"}],
        [
            {
                "step": "original",
                "messages": [
                    {"role": "user", "content": "other"},
                    {"role": "assistant", "content": "x"},
                ],
            }
        ],
        [{"step": "sample", "response": "x"}, 5],
    ],
)
def test_candidates_that_contradict_themselves_are_a_reason(listed: list) -> None:
    rows = list(read([{**srt_row(), "candidates": listed}, srt_row()]))
    assert [r.status for r in rows] == ["bad_candidates", "ok"]


# Reasons -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({"messages": []}, "no_user_turn"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "no_user_turn"),
        ({"messages": [*CONVERSATION, CONVERSATION[1]]}, "unexpected_turns"),
        ({"messages": [*CONVERSATION, {"role": "system", "content": "s"}]}, "unexpected_turns"),
        ({"messages": [{"role": "critic", "content": "x"}, *CONVERSATION]}, "unsupported_role"),
        ({"messages": [{"content": "x"}, *CONVERSATION]}, "unsupported_role"),
        (
            {
                "messages": [
                    CONVERSATION[0],
                    {"role": "assistant", "content": "", "tool_calls": [{}]},
                ]
            },
            "unsupported_content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "unsupported_content",
        ),
        ({"messages": ["hello"]}, "bad_type"),
        ({"messages": "hello"}, "bad_type"),
        ({"messages": "[1"}, "bad_type"),
        ({"messages": 5}, "bad_type"),
        ({"instruction": {"a": 1}, "output": "x"}, "bad_type"),
        ({"instruction": "q", "output": {"a": 1}}, "bad_type"),
        ({"instruction": "q", "output": [{"type": "image"}]}, "unsupported_content"),
        ({"instruction": "q", "responses": [{"score": 1}]}, "bad_type"),
        ({"instruction": "q", "output": "a", "history": [["only one"]]}, "bad_type"),
        ({"text": "hello"}, "missing_fields"),
        ({}, "missing_fields"),
    ],
)
def test_a_row_that_cannot_be_read_has_a_reason_and_a_place(row: dict, status: str) -> None:
    bad, good = read([row, {"messages": CONVERSATION}])
    assert (bad.status, bad.example, bad.candidates) == (status, None, ())
    assert bad.detail.startswith("<rows>:1: ")
    assert good.status == "ok"


def test_lone_surrogates_become_replacement_characters_and_broken_pairs_are_mended() -> None:
    row = one({"question": "\ud800?", "answer": "\ud83d\ude00", "id": "\udfff"})
    assert row.example.instruction == "\ufffd?"
    assert row.candidates[0].response == "\U0001f600"
    row.example.extra.encode()
