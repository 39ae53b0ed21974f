"""Shapes of data sets on the hub, by their columns; every row here is made up."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import ReadSettings, read
from tutelage.data.example import Candidate
from tutelage.errors import DataError

ASK, SAY = "What is 6 times 7?", "It is 42."
CHAT = [{"role": "user", "content": ASK}, {"role": "assistant", "content": SAY}]
GPT = [{"from": "human", "value": ASK}, {"from": "gpt", "value": SAY}]

PAIRS = {
    "MetaMathQA": {"type": "X", "query": ASK, "original_question": "6*7?", "response": SAY},
    "GSM8K": {"question": ASK, "answer": SAY},
    "GSM-Symbolic": {
        "id": 1,
        "instance": 0,
        "question": ASK,
        "answer": SAY,
        "original_id": 3,
        "original_question": "What is 5 times 7?",
        "original_answer": "35",
        "canary": "x",
    },
    "OpenMathInstruct-2": {
        "problem": ASK,
        "generated_solution": SAY,
        "expected_answer": "42",
        "problem_source": "made up",
    },
    "NuminaMath-CoT": {"source": "s", "problem": ASK, "solution": SAY, "messages": CHAT},
    "NuminaMath-TIR": {"problem": ASK, "solution": SAY, "messages": CHAT},
    "NuminaMath-1.5": {
        "problem": ASK,
        "solution": SAY,
        "answer": "42",
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "s",
        "synthetic": False,
    },
    "OpenThoughts": {
        "system": "",
        "conversations": [{"from": "user", "value": ASK}, {"from": "assistant", "value": SAY}],
    },
    "OpenThoughts3": {"difficulty": 4, "source": "s", "domain": "m", "conversations": GPT},
    "OpenR1-Math": {
        "problem": ASK,
        "solution": "6*7=42",
        "answer": "42",
        "source": "s",
        "messages": CHAT,
        "correctness_count": 1,
        "uuid": "u",
        "finish_reasons": None,
    },
    "LIMO": {"question": ASK, "solution": SAY, "answer": "42"},
    "Tulu-3": {"id": "a", "messages": CHAT, "source": "s"},
    "SlimOrca": {
        "conversations": [
            {"from": "human", "value": ASK, "weight": 0.0},
            {"from": "gpt", "value": SAY, "weight": 1.0},
        ]
    },
    "OpenHermes": {
        "conversations": GPT,
        "source": "s",
        "category": None,
        "system_prompt": None,
        "model": None,
        "custom_instruction": None,
    },
    "UltraChat 200k": {"prompt": ASK, "prompt_id": "p", "messages": CHAT},
    "UltraChat": {"id": "1", "data": [ASK, SAY]},
    "UltraFeedback binarized": {
        "prompt": ASK,
        "prompt_id": "p",
        "messages": CHAT,
        "chosen": CHAT,
        "rejected": [CHAT[0], {"role": "assistant", "content": "41"}],
        "score_chosen": 9.0,
    },
    "Capybara": {"source": "s", "conversation": [{"input": ASK, "output": SAY}]},
    "Magpie": {
        "uuid": "u",
        "model": "m",
        "instruction": ASK,
        "response": SAY,
        "conversations": GPT,
        "gen_input_configs": {"temperature": 1.0},
        "difficulty": "easy",
    },
    "LIMA": {"conversations": [ASK, SAY], "source": "s"},
    "FLAN": {"inputs": ASK, "targets": SAY, "task_name": "t", "template_type": "zs"},
    "Dolly": {"instruction": ASK, "context": "", "response": SAY, "category": "open_qa"},
    "no_robots": {"prompt": ASK, "prompt_id": "p", "messages": CHAT, "category": "Open QA"},
    "OASST trees": {
        "message_tree_id": "t",
        "prompt": {
            "text": ASK,
            "role": "prompter",
            "replies": [
                {"text": "43", "role": "assistant", "rank": 1, "replies": []},
                {"text": SAY, "role": "assistant", "rank": 0, "replies": []},
            ],
        },
    },
    "OASST guanaco": {"text": f"### Human: {ASK}### Assistant: {SAY}"},
    "DPO": {"prompt": ASK, "chosen": SAY, "rejected": "43"},
    "DPO, turns": {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": CHAT[1:]},
    "DPO, no prompt": {"chosen": CHAT, "rejected": CHAT},
    "DPO, marked text": {
        "chosen": f"\n\nHuman: {ASK}\n\nAssistant: {SAY}",
        "rejected": f"\n\nHuman: {ASK}\n\nAssistant: no",
    },
    "DPO, LLaMA-Factory": {"conversations": GPT[:1], "chosen": GPT[1], "rejected": GPT[1]},
    "DPO, LLaMA-Factory v1": {"chosen_messages": CHAT, "rejected_messages": CHAT},
    "Orca DPO": {"system": "", "question": ASK, "chosen": SAY, "rejected": "43"},
    "KTO": {"prompt": ASK, "completion": SAY, "label": True},
    "KTO, LLaMA-Factory": {"messages": CHAT, "kto_tag": True},
    "LLaMA-Factory v1": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "value": ASK}], "loss_weight": 0.0},
            {"role": "assistant", "content": [{"type": "text", "value": SAY}], "loss_weight": 1.0},
        ]
    },
    "answers beside the turns": {"messages": CHAT[:1], "response": SAY},
}


def first(row: dict) -> Candidate:
    (found,) = read([row])
    assert found.status == "ok", found.detail
    return found.candidates[0]


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_read_from_every_shape(name: str) -> None:
    candidate = first(PAIRS[name])
    assert candidate.status == "ok", candidate.detail
    assert candidate.step == "original"
    assert [(m.role, m.content) for m in candidate.messages] == [("user", ASK), ("assistant", SAY)]


def test_references_of_the_shapes_that_have_one() -> None:
    for name in ("OpenMathInstruct-2", "NuminaMath-1.5", "LIMO", "OpenR1-Math"):
        (row,) = read([PAIRS[name]])
        assert row.example.reference == "42", name


def test_what_nobody_asked_for_is_kept_in_extra() -> None:
    (row,) = read([PAIRS["UltraFeedback binarized"]])
    assert json.loads(row.example.extra)["rejected"][1]["content"] == "41"
    assert first(PAIRS["MetaMathQA"]).response == SAY


def test_thinking_that_stands_in_a_column_of_its_own() -> None:
    for row in (
        {"question": ASK, "attempt": SAY, "thinking_trajectories": ["6*7"], "solution": "42"},
        {
            "question": ASK,
            "deepseek_attempt": SAY,
            "deepseek_thinking_trajectory": "6*7",
            "solution": "42",
            "gemini_attempt": "no",
            "gemini_thinking_trajectory": "no",
        },
        {
            "problem": ASK,
            "deepseek_solution": SAY,
            "deepseek_reasoning": "6*7",
            "ground_truth_solution": "42",
        },
    ):
        (found,) = read([row])
        (candidate,) = found.candidates
        assert (candidate.response, candidate.messages[-1].reasoning) == (SAY, "6*7")
        assert found.example.reference == "42"


def test_generations_are_samples_beside_the_row_s_own() -> None:
    row = {
        "problem": ASK,
        "solution": "s",
        "answer": "42",
        "messages": CHAT,
        "generations": [SAY, "I say 42."],
        "correctness_math_verify": [True, True],
    }
    (found,) = read([row])
    assert [(c.step, c.response) for c in found.candidates] == [
        ("original", SAY),
        ("sample", SAY),
        ("sample", "I say 42."),
    ]
    assert json.loads(found.example.extra)["correctness_math_verify"] == [True, True]


def test_completions_of_ultrafeedback_keep_their_scores() -> None:
    row = {
        "source": "s",
        "instruction": ASK,
        "models": ["a", "b"],
        "completions": [
            {"model": "a", "response": SAY, "overall_score": 8.0},
            {"model": "b", "response": "43", "overall_score": 2.0},
        ],
    }
    (found,) = read([row])
    assert [(c.teacher, c.response) for c in found.candidates] == [("a", SAY), ("b", "43")]
    extra = json.loads(found.example.extra)
    assert [item["overall_score"] for item in extra["completions"]] == [8.0, 2.0]


def test_messages_of_a_tree_become_a_conversation_for_each_answer() -> None:
    def message(own: str, parent: str | None, role: str, text: str) -> dict:
        return {
            "message_id": own,
            "parent_id": parent,
            "message_tree_id": "a",
            "role": role,
            "text": text,
            "lang": "en",
            "rank": None,
        }

    found = list(
        read(
            [
                message("a", None, "prompter", ASK),
                message("b", "a", "assistant", SAY),
                message("c", "b", "prompter", "Sure?"),
                message("d", "c", "assistant", "Yes."),
                message("e", "a", "assistant", "42"),
                message("f", "z", "assistant", "lost"),
            ]
        )
    )
    statuses = [row.status for row in found]
    part = "part_of_a_conversation"
    assert statuses == [part, "ok", part, "ok", "ok", "missing_fields"]
    said = [[m.content for m in row.candidates[0].messages] for row in found if row.candidates]
    assert said == [[ASK, SAY], [ASK, SAY, "Sure?", "Yes."], [ASK, "42"]]


def test_questions_with_a_verifier_are_questions(tmp_path) -> None:
    rows = [
        {
            "data_source": "made/up",
            "prompt": CHAT[:1],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": "42"},
            "extra_info": {"index": 0, "split": "train", "answer": "6*7=42 #### 42"},
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "verl.parquet")
    found = read(str(tmp_path / "verl.parquet"))
    (row,) = found
    assert (row.example.reference, row.candidates, row.example.source) == ("42", (), "made/up")
    assert "--map response=extra_info.answer" in found.notes[0]
    (row,) = read([{"messages": CHAT[:1], "ground_truth": "42", "dataset": "gsm"}])
    assert (row.example.reference, row.candidates, row.example.source) == ("42", (), "gsm")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASK, "completion": "bad", "label": False},
        {"prompt": CHAT[:1], "completion": CHAT[1:], "label": False},
        {"messages": CHAT, "kto_tag": False},
        {"prompt": ASK, "completion": "bad", "label": "False"},
        {"prompt": ASK, "completion": "bad", "label": 0},
        {"instruction": ASK, "output": "bad", "kto_tag": 0.0},
        {"messages": [CHAT[0], {**CHAT[1], "weight": 0}]},
        {"messages": [CHAT[0], {**CHAT[1], "train": False}]},
        {"messages": [CHAT[0], {**CHAT[1], "loss_weight": 0.0}]},
        {"messages": [CHAT[0], {**CHAT[1], "loss": False}]},
        {"conversations": [GPT[0], {**GPT[1], "weight": "0"}]},
        {"instruction": ASK, "output": "bad", "model": "m", "label": False},
    ],
)
def test_what_is_not_to_be_trained_on_has_no_text(row: dict) -> None:
    candidate = first(row)
    assert (candidate.status, candidate.messages) == ("untrained_response", ())
    assert candidate.detail


def test_the_last_turn_that_is_trained_on_is_the_response() -> None:
    talk = [*CHAT, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "No."}]
    candidate = first({"messages": [*talk[:3], {**talk[3], "train": False}]})
    assert candidate.response == SAY
    (row,) = read([{"messages": [*talk[:3], {**talk[3], "train": False}]}])
    assert json.loads(row.example.extra)["turns_behind"][1]["content"] == "No."
    candidate = first({"messages": [talk[0], {**talk[1], "weight": 0}, *talk[2:]]})
    assert (candidate.response, candidate.messages[1].trained) == ("No.", False)


SPANS = [
    ([(0, 30, True)], "ok"),
    ([(0, 8, True), (10, 19, True), (21, 30, True)], "ok"),  # what is between is a space
    ([(0, 8, False), (9, 18, True), (19, 30, False)], "partly_trained"),
    ([(0, 29, True)], "partly_trained"),
    ([(0, 30, False)], "untrained_response"),
    ([(0, 30, True), (5, 30, 0)], "partly_trained"),
    ([(0, "x", True)], "bad_type"),
    ([(None, 3, True)], "bad_type"),
    ([], None),
]


@pytest.mark.parametrize(("spans", "status"), SPANS)
@pytest.mark.parametrize("name", ["train_detail", "spans"])
def test_spans_of_axolotl_train_a_whole_turn_or_none(name: str, spans: list, status: str) -> None:
    turn = {"role": "assistant", "content": "I'm doing very well, thank you!"}
    detail = [dict(zip(("begin_offset", "end_offset", "train"), s, strict=True)) for s in spans]
    if status is None:  # by its name alone
        status = "untrained_response" if name == "train_detail" else "ok"
    row, _ = read([{"messages": [CHAT[0], {**turn, name: detail}]}, {"messages": CHAT}])
    written, _ = read(
        [{"messages": [CHAT[0], {**turn, name: json.dumps(detail)}]}, {"messages": CHAT}]
    )
    assert written.status == row.status or not detail
    assert status in (row.status, *(c.status for c in row.candidates))
    assert (row.status == "ok") == (status in ("ok", "untrained_response"))
    if status == "partly_trained":
        assert f"messages[1].{name} trains on " in row.detail
    talk = [CHAT[0], {**turn, name: detail, "train": False}, CHAT[0], CHAT[1]]
    candidate = first({"messages": talk})  # `train` decides, where both are given
    assert (candidate.response, candidate.messages[1].trained) == (SAY, False)


LLAMA_3 = (
    f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{ASK}<|eot_id|>"
    f"<|start_header_id|>assistant<|end_header_id|>\n\n{SAY}<|eot_id|>"
)


@pytest.mark.parametrize(
    "text",
    [
        LLAMA_3,
        f"<bos><start_of_turn>user\n{ASK}<end_of_turn>\n<start_of_turn>model\n{SAY}<end_of_turn>\n",
        f"<|user|>\n{ASK}</s>\n<|assistant|>\n{SAY}</s>",
        f"<|user|>{ASK}<|end|><|assistant|>{SAY}<|end|>",
        f"<|system|>\nBe kind.</s>\n<|user|>\n{ASK}</s>\n<|assistant|>\n{SAY}</s>",
        f"<s><|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n{SAY}<|im_end|>",
        str(CHAT),
    ],
)
def test_a_conversation_that_is_written_into_one_text(text: str) -> None:
    for name in ("messages", "text") if text.startswith("<") else ("messages",):
        candidate = first({name: text})
        assert (candidate.instruction, candidate.response) == (ASK, SAY)


@pytest.mark.parametrize("off", ["no", "FALSE", " off "])
@pytest.mark.parametrize("switch", ["train", "loss_mask"])
def test_switches_of_turns_in_words(switch: str, off: str) -> None:
    assert first({"messages": [CHAT[0], {**CHAT[1], switch: off}]}).status == "untrained_response"
    assert first({"messages": [CHAT[0], {**CHAT[1], switch: "yes"}]}).response == SAY


@pytest.mark.parametrize(("mask", "on", "off"), [("masked", True, False), ("no_loss", "yes", 0)])
def test_a_turn_that_is_left_out_of_the_loss_is_not_trained_on(
    mask: str, on: object, off: object
) -> None:
    hidden = first({"messages": [{**CHAT[0], mask: on}, {**CHAT[1], mask: on}]})
    assert hidden.status == "untrained_response"
    shown = first({"messages": [{**CHAT[0], mask: on}, {**CHAT[1], mask: off}]})
    assert shown.response == SAY


@pytest.mark.parametrize("thought", [["first", "then"], "first\nthen"])
@pytest.mark.parametrize("name", ["reasoning_content", "thought"])
def test_thinking_of_a_turn_in_parts_and_by_other_names(name: str, thought: object) -> None:
    candidate = first({"messages": [CHAT[0], {**CHAT[1], name: thought}]})
    assert candidate.messages[-1].reasoning == "first\nthen"


@pytest.mark.parametrize("role", ["ai", "Chatbot", "AI"])
def test_more_names_of_the_assistant(role: str) -> None:
    assert first({"messages": [CHAT[0], {"role": role, "content": SAY}]}).response == SAY


def test_assistant_turns_of_a_prompt_are_no_targets_as_in_trl() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]}
    prompt = [CHAT[0], CHAT[1], {"role": "user", "content": "Sure?"}]
    candidate = first({"prompt": prompt, "completion": CHAT[1:]})
    assert [turn.trained for turn in candidate.messages] == [True, False, True, True]
    several = [call, {"role": "tool", "content": "7"}, CHAT[1]]
    candidate = first({"prompt": prompt, "completion": several})
    assert [turn.trained for turn in candidate.messages] == [True, False, True, True, True, True]
    flat = first({"messages": [*prompt, CHAT[1]]})
    assert all(turn.trained for turn in flat.messages)


def test_an_original_is_before_a_refinement_only_where_there_is_one() -> None:
    both = {"original_question": "old?", "original_answer": "old"}
    assert first({**both, "question": ASK, "answer": SAY}).response == SAY
    assert first(both).response == "old"
    (row,) = read([{**both, "refined_question": ASK, "refined_answer": SAY}])
    assert [c.response for c in row.candidates] == ["old", SAY]
    (row,) = read([{**both, "question": ASK}])
    assert (row.candidates, row.example.instruction) == ((), ASK)
    (row,) = read([{"original_question": "old?", "rewritten_question": ASK, "response": SAY}])
    assert row.candidates == ()


def test_rows_that_share_an_instruction_are_told_and_read_as_samples_when_asked() -> None:
    rows = [{"question": ASK, "answer": text} for text in ("42", "forty-two", "six sevens")]
    found = read(rows)
    assert [row.candidates[0].step for row in found] == ["original"] * 3
    assert found.notes[0].startswith("2 rows with the instruction of an earlier row")
    assert "--as samples" in found.notes[0]
    asked = read(rows, ReadSettings(shape="samples"))
    assert [row.candidates[0].step for row in asked] == ["sample"] * 3
    assert len({row.example.example_id for row in asked}) == 1
    assert asked.notes == []
    numbered = read([{**row, "sample_index": i} for i, row in enumerate(rows)])
    assert [row.candidates[0].step for row in numbered] == ["sample"] * 3


def test_a_response_that_stands_twice_in_its_row_is_one_sample() -> None:
    row = {"instruction": ASK, "responses": [SAY, SAY]}
    first_row, second_row = read([row, row])
    assert [len(first_row.candidates), len(first_row.repeated)] == [1, 0]
    assert first_row.status == "ok"
    assert "1 of 2 candidates are repeated" in first_row.detail
    assert (second_row.status, second_row.candidates) == ("duplicate", ())


def test_a_label_of_numbers_is_a_class_elsewhere() -> None:
    candidate = first({"instruction": ASK, "output": SAY, "label": 0})
    assert (candidate.status, candidate.response) == ("ok", SAY)


def test_a_definition_stands_in_front_of_its_input() -> None:
    row = {"task_name": "t", "definition": "Multiply.", "inputs": ASK, "targets": SAY}
    assert [m.content for m in first(row).messages] == [f"Multiply.\n{ASK}", SAY]


@pytest.mark.parametrize("truth", [["42"], '["42"]', 42])
def test_a_reference_may_be_a_list_of_one(truth: object) -> None:
    row = {"prompt": CHAT[:1], "reward_model": {"style": "rule", "ground_truth": truth}}
    (found,) = read([row])
    assert found.example.reference == "42"


def test_parts_may_be_plain_texts_and_tools_go_by_another_name() -> None:
    tools = [{"type": "function", "function": {"name": "multiply", "parameters": {}}}]
    row = {"messages": [{"role": "user", "content": [ASK]}, CHAT[1]], "available_tools": tools}
    candidate = first(row)
    assert candidate.messages[0].content == ASK
    assert json.loads(candidate.tools) == tools


@pytest.mark.parametrize("shape", [{"messages": CHAT}, {"prompt": ASK, "completion": SAY}])
def test_a_row_keeps_its_own_template_arguments(shape: dict[str, object]) -> None:
    arguments = {"enable_thinking": False, "custom_instructions": None}
    candidates = [
        first({**shape, "chat_template_kwargs": value})
        for value in (arguments, json.dumps(arguments), {}, None)
    ]
    assert [c.template_args and json.loads(c.template_args) for c in candidates] == [
        arguments,
        arguments,
        None,
        None,
    ]
    assert len({c.candidate_id for c in candidates}) == len({c.example_id for c in candidates}) == 2
    (example,) = [row.example for row in read([{**shape, "chat_template_kwargs": arguments}])]
    assert (example.template_args, example.extra) == (candidates[0].template_args, None)


@pytest.mark.parametrize("value", [[1], "no", {"tools": []}, {"chat_template": "x"}])
def test_what_is_no_argument_of_a_row_is_a_status(value: object) -> None:
    found, _ = read([{"messages": CHAT, "chat_template_kwargs": value}, {"messages": CHAT}])
    assert found.status == "bad_type"
    assert "chat_template_kwargs" in found.detail


TEXTS = {
    "ChatML": f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{ASK}<|im_end|>\n"
    f"<|im_start|>assistant\n{SAY}<|im_end|>\n",
    "Llama 2": f"<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n{ASK} [/INST] {SAY} </s>",
    "Glaive": f"USER: {ASK}\n\n\nASSISTANT: {SAY} <|endoftext|>\n\n\n",
    "Alpaca": f"Below is an instruction.\n\n### Instruction:\n{ASK}\n\n### Response:\n{SAY}",
    "Alpaca with an input": f"### Instruction:\nWhat is it?\n\n### Input:\n6 times 7\n\n"
    f"### Response:\n{SAY}</s>",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_with_the_marks_of_a_template_is_a_conversation(kind: str) -> None:
    messages = first({"text": TEXTS[kind]}).messages
    asked = "What is it?\n6 times 7" if "input" in kind else ASK
    assert [m.content for m in messages if m.role != "system"] == [asked, SAY]
    systems = [m.content for m in messages if m.role == "system"]
    assert systems == (["Be brief."] if kind in ("ChatML", "Llama 2") else [])


def test_a_text_without_an_answer_or_with_words_in_front_is_no_conversation() -> None:
    for text in (f"USER: {ASK}", f"See:\n\n### Instruction:\n{ASK}\n\n### Response:\n{SAY}", ASK):
        with pytest.raises(DataError, match="no instruction"):
            list(read([{"text": text}]))


def test_gemini_s_turns_and_the_responses_of_named_models() -> None:
    said = [{"role": "user", "parts": [{"text": ASK}]}, {"role": "model", "parts": [{"text": SAY}]}]
    row = {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": said}
    assert [m.content for m in first(row).messages] == ["Be brief.", ASK, SAY]
    several = [{"response_model": "a", "response": SAY}, {"response_model": "b", "response": "43"}]
    (found,) = read([{"question": ASK, "responses": several}])
    assert [c.teacher for c in found.candidates] == ["a", "b"]


def test_columns_beside_that_may_belong_to_prompt_or_response_are_pointed_out() -> None:
    thinking = "Six sevens are forty-two, since seven times six is the same."
    assert first({"Question": ASK, "Complex_CoT": thinking, "Response": SAY}).messages[-1].reasoning
    rows = [{"question": ASK, "choices": ["41", "42"], "cot": thinking, "response": SAY}]
    found = read(rows)
    list(found)
    assert [note.split(":")[0] for note in found.notes] == [
        "1 row with a column choices",
        "1 row with a column cot",
    ]
    assert "--map reasoning=cot" in found.notes[1]
    more = read(
        [{"question": ASK, "response": SAY, "passage": "Of 42.", "api_list": [{"name": "a"}]}]
    )
    list(more)
    assert "--map tools=api_list" in more.notes[0]
    assert "column passage: it is not part of the instruction" in more.notes[1]
    mapped = read(rows, ReadSettings(fields={"reasoning": "cot"}))
    (row,) = mapped
    assert row.candidates[0].messages[-1].reasoning == thinking
    assert len(mapped.notes) == 1


def test_paths_of_pictures_are_media_and_a_loss_scale_of_0_is_not_trained_on() -> None:
    turns = [*CHAT[:1], {**CHAT[1], "loss_scale": 0.0}]
    media, scaled = read([{"messages": CHAT, "image_path": "a.png"}, {"messages": turns}])
    assert media.status == "unsupported_content"
    assert scaled.candidates[0].status == "untrained_response"


def test_turns_without_a_role_list_the_fields_there_are() -> None:
    (found, _) = read([{"conversation": [{"speaker": "a", "line": ASK}]}, {"messages": CHAT}])
    assert found.detail.endswith(": conversation[0] has no role or from; its fields: speaker, line")


def test_pairs_of_input_and_output_keep_their_system_prompt_and_their_switch() -> None:
    row = {
        "conversation": [
            {"system": "Answer in one word.", "input": "Is ice cold?", "output": "No."},
            {"system": "", "input": ASK, "output": SAY, "topic": "sums"},
        ]
    }
    row["conversation"][0]["output_with_loss"] = False
    (found,) = read([row])
    turns = found.candidates[0].messages
    assert [m.role for m in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert (turns[0].content, turns[4].content) == ("Answer in one word.", SAY)
    assert [turns[2].trained, turns[4].trained] == [False, True]
    assert json.loads(found.example.extra)["turn_fields"] == [{"turn": 1, "topic": "sums"}]


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_a_history_that_is_written_as_a_text_belongs_to_the_prompt(written) -> None:
    turns = first({"instruction": ASK, "history": written([["Hi", "Hello"]]), "output": SAY})
    assert [m.content for m in turns.messages] == ["Hi", "Hello", ASK, SAY]
    assert len(first({"instruction": ASK, "history": "[]", "output": SAY}).messages) == 2
    row, _ = read([{"instruction": ASK, "history": "[Hi", "output": SAY}, {"messages": CHAT}])
    assert row.status == "bad_type"


@pytest.mark.parametrize("name", ["images", "image_url", "audio", "image_list"])
def test_media_in_a_field_of_a_turn_are_no_text(name: str) -> None:
    for turns in (
        [{**CHAT[0], name: ["a.png"]}, CHAT[1]],
        [CHAT[0], {**CHAT[1], name: {"id": "a"}}],
    ):
        row, _ = read([{"messages": turns}, {"messages": CHAT}])
        assert row.status == "unsupported_content"
    assert first({"messages": [{**CHAT[0], name: []}, CHAT[1]]}).response == SAY
    row, _ = read([{"prompt": ASK, "response": SAY, name: ["a.png"]}, {"messages": CHAT}])
    assert row.status == "unsupported_content"


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_a_prompt_of_turns_that_is_written_as_a_text_is_read_as_turns(written) -> None:
    row = {"prompt": written(CHAT[:1]), "completion": written(CHAT[1:])}
    candidate = first(row)
    assert [(m.role, m.content) for m in candidate.messages] == [("user", ASK), ("assistant", SAY)]
    assert first({**row, "completion": SAY}).response == SAY
    people = written([{"name": "Ada", "role": "user"}])
    assert first({"prompt": people, "completion": SAY}).instruction == people
    assert first({"prompt": ASK, "completion": written(CHAT[1:])}).response == written(CHAT[1:])


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning": [{"type": "text", "text": "6 is 42 / 7."}]},
        {"reasoning": {"content": "6 is 42 / 7."}},
        {"reasoning_details": [{"type": "reasoning.text", "text": "6 is 42 / 7."}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "6 is 42 / 7.", "signature": "s"}]},
    ],
)
def test_thinking_of_a_turn_in_objects(fields: dict) -> None:
    assert first({"messages": [CHAT[0], {**CHAT[1], **fields}]}).messages[1].reasoning == (
        "6 is 42 / 7."
    )
    sealed = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}
    (row,) = read([{"messages": [CHAT[0], {**CHAT[1], **sealed}]}])
    assert row.candidates[0].messages[1].reasoning is None
    assert "encrypted" in row.example.extra


def test_more_names_of_columns_that_are_part_of_the_prompt() -> None:
    row = {"system_message": "Be brief.", "instructions": "Compute.", "input": ASK, "output": SAY}
    turns = first(row).messages
    assert [m.content for m in turns] == ["Be brief.", f"Compute.\n{ASK}", SAY]
    rows = read([{"question": ASK, "instructions": "Be exact.", "answer": SAY}])
    list(rows)
    assert any("instructions" in note for note in rows.notes)
