"""Markup of chat templates in replies, in the spelling of many models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import OK, Example, Message
from tutelage.refinement import SampleSettings
from tutelage.refinement.reply_patterns import cleaned
from tutelage.refinement.sample import join_duplicates, sample_of_reply
from tutelage.teacher import Reply, ScriptedTeacher

ANSWER = "Both sums are twelve."
BAR = "\uff5c"


@pytest.mark.parametrize(
    "reply",
    [
        f"{ANSWER}<|im_end|>",
        f"{ANSWER}<|im_end|>\n",
        f"{ANSWER}<end_of_turn>",
        f"{ANSWER}</s>",
        f"{ANSWER}<|eot_id|>",
        f"{ANSWER}<|endoftext|>",
        f"{ANSWER}<{BAR}end\u2581of\u2581sentence{BAR}>",
        f"{ANSWER}<|END_OF_TURN_TOKEN|>",
        f"{ANSWER}[|endofturn|]",
        f"{ANSWER}<turn|>",
        f"{ANSWER}<eos><pad><pad>",
        f"{ANSWER}<|im_end|>\n<|im_start|>user\nAnd 3 + 4?<|im_end|>\n<|im_start|>assistant\n7",
        f"{ANSWER}\n<|im_start|>user\nAnd 3 + 4?",
        f"{ANSWER}<end_of_turn>\n<start_of_turn>user\nAnd 3 + 4?",
        f"{ANSWER}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd 3 + 4?",
        f"{ANSWER}</s>\nUser: And 3 + 4?",
        f"{ANSWER} [INST] And 3 + 4? [/INST] 7",
        f"{ANSWER}<|endoftext|>An unrelated text begins here.",
        f"{ANSWER}\n\nHuman: And what is 3 + 4?\n\nAssistant: 7",
        f"{ANSWER}\n\n### User: And what is 3 + 4?",
        f"<|im_start|>assistant\n{ANSWER}<|im_end|>",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{ANSWER}",
        f"<start_of_turn>model\n{ANSWER}",
        f"assistant\n\n{ANSWER}",
        f"<s>{ANSWER}</s>",
        f"{ANSWER}</s><s>[INST] And 3 + 4? [/INST] 7",
        f"{ANSWER}\nUser: And what is 3 + 4?\nAssistant: 7",
        f"<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
        f"<|begin_of_box|>{ANSWER}<|end_of_box|>",
        f"Let me see, 5 and 7 ...\n</think>\n\n{ANSWER}",
        f"Hm.</think>{ANSWER}<|im_end|>",
        f"<thought>5 + 7</thought>{ANSWER}",
        f"<thinking>\n5 + 7\n</thinking>\n{ANSWER}",
        f"[THINK]5 + 7[/THINK]{ANSWER}",
        f"<|begin_of_thought|>x<|end_of_thought|><|begin_of_solution|>{ANSWER}<|end_of_solution|>",
        f"<|channel>thought\n5 + 7<channel|>{ANSWER}<turn|>",
        (
            "<|channel|>analysis<|message|>A sum.<|end|>"
            "<|start|>assistant<|channel|>final<|message|>"
            f"{ANSWER}<|return|>"
        ),
        f"<|start|>assistant<|channel|>final<|message|>{ANSWER}",
        f"analysisThe user wants a sum.assistantfinal{ANSWER}",
    ],
)
def test_what_the_assistant_said_is_all_that_is_left(reply: str) -> None:
    clean = cleaned(reply, prompt="How much are 5 + 7 and 6 + 6?")
    assert clean.fault is None
    assert clean.text.strip() == ANSWER
    assert clean.notes


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        (ANSWER, ""),
        ("<think>5 + 7</think>\nTwelve.", ""),
        ("End it with `<|im_end|>`.", "How does a turn end?"),
        ("```\n<|im_start|>user\nHi<|im_end|>\n```\nThat is all.", "Show me a turn."),
        ("ChatML ends a turn with <|im_end|> and goes on.", "Explain ChatML."),
        ("A </s> closes strikethrough, as in <s>old</s> new.", "How do I strike text out?"),
        ("Models pad with <pad> tokens on the right.", "What is padding?"),
        ("Anna: Hi.\n\nUser: How are you today?\n\nAnna: Well.", "Write a dialogue."),
        ("<reasoning>5 + 7</reasoning><answer>12</answer>", "Put it into <reasoning> tags."),
        ("host: a\nUser: root\nport: 22", "Give me an ssh config."),
        ("x <| f |> y", "F#"),
    ],
)
def test_text_that_only_speaks_of_markup_is_left_alone(reply: str, prompt: str) -> None:
    clean = cleaned(reply, prompt=prompt)
    assert (clean.text, clean.notes, clean.fault) == (reply, (), None)


@pytest.mark.parametrize(
    "reply",
    [
        "<|channel|>analysis<|message|>The user wants a sum.",
        "<|channel|>commentary to=functions.add<|message|>{}<|call|>",
        "analysisA sum.assistantfinal ",
        "<|im_end|>",
        "Twelve. <think> Or not",
        "Twelve. <think>or not</think> Thirteen. </think> <think>",
    ],
)
def test_what_nobody_can_read_is_a_fault(reply: str) -> None:
    assert cleaned(reply).fault


@given(st.text())
def test_any_text_is_cleaned_and_cleaning_twice_changes_nothing(text: str) -> None:
    once = cleaned(text)
    if once.fault is None:
        assert cleaned(once.text).text == once.text


def sample_of(text: str, *, keep: bool = False, **reply: object) -> object:
    example = Example(example_id="e", messages=(Message(role="user", content="5 + 7?"),))
    fields: dict[str, object] = {"finish_reason": "stop", **reply}
    return sample_of_reply(
        example,
        Reply(request_key="k", model="m", text=text, **fields),  # type: ignore[arg-type]
        teacher=ScriptedTeacher(""),
        settings=SampleSettings(keep_reasoning=keep),
    )


def test_the_detail_of_a_sample_says_what_was_cut_and_a_fault_is_a_status() -> None:
    whole, lost = sample_of(f"{ANSWER}<|im_end|>"), sample_of("<|channel|>analysis<|message|>x")
    assert (whole.status, whole.response) == (OK, ANSWER)
    assert whole.detail == "cut '<|im_end|>' at the end"
    assert (lost.status, lost.messages) == ("chat_markup", ())


@pytest.mark.parametrize("keep", [False, True])
def test_reasoning_is_kept_in_the_sample_where_asked(keep: bool) -> None:  # noqa: FBT001
    apart = sample_of("12", keep=keep, reasoning="5 + 7")
    inside = sample_of("5 + 7</think>12", keep=keep)
    for sample in (apart, inside):
        assert sample.response == "12"
        assert sample.messages[-1].reasoning == ("5 + 7" if keep else None)


def test_equal_answers_after_different_thoughts_are_two_samples_where_thoughts_are_kept() -> None:
    for keep, statuses in ((True, ["ok", "ok"]), (False, ["ok", "duplicate_sample"])):
        both = [sample_of("12", keep=keep, reasoning=thought) for thought in ("a", "b")]
        assert [c.status for c in join_duplicates(both)] == statuses


@pytest.mark.parametrize(
    ("finish", "tokens", "status"),
    [
        ("STOP", None, "ok"),
        ("FinishReason.STOP", None, "ok"),
        ("endTurn", None, "ok"),
        ("COMPLETE", None, "ok"),
        ("unknown", 5, "ok"),
        ("unknown", 1024, "unclear_end"),
        ("unknown", None, "unclear_end"),
        ("tool_calls", 5, "unclear_end"),
        ("MAX_TOKENS", None, "cut_by_length"),
        ("Length", None, "cut_by_length"),
        ("SAFETY", None, "refused"),
        ("Content-Filter", None, "refused"),
    ],
)
def test_reasons_to_stop_are_compared_without_case(
    finish: str, tokens: int | None, status: str
) -> None:
    assert sample_of("12", finish_reason=finish, completion_tokens=tokens).status == status


def test_thinking_of_harmony_alone_is_no_answer():
    assert (
        cleaned("analysisThe user wants a sum.").fault == "harmony markup without a final message"
    )
    assert cleaned("Analysis of the sum: it is twelve.").fault is None


@pytest.mark.parametrize(
    "reply",
    [
        f"{ANSWER}<|endofmessage|>",
        f"{ANSWER}<|/assistant|>",
        f"{ANSWER}<|im_end",
        f"{ANSWER} [end of text]\n",
        f"{ANSWER}<unk>",
        f"{ANSWER}<EOT>",
        f"assistant\n{ANSWER}",
        f"Assistant: {ANSWER}",
        f"### Response:\n{ANSWER}",
        f"final<|message|>{ANSWER}",
        f"<mm:think>5 + 7</mm:think>{ANSWER}",
        f"<|think_start|>5 + 7<|think_end|>{ANSWER}",
        f"<scratchpad>5 + 7</scratchpad>\n{ANSWER}",
        f"<answer>\n{ANSWER}\n</answer>",
        f"{ANSWER}\n\nQuestion: What is 3 + 4?\nAnswer: 7",
        f"{ANSWER}assistant\n\nThe sum of 3 and 4 is 7.",
        f"{ANSWER}\nuser\nWhat is 3 + 4?\nmodel\n7",
        f"{ANSWER}\n\nUtilisateur : et combien font 3 + 4 ?",
    ],
)
def test_markup_of_other_servers_and_models_is_cut(reply: str) -> None:
    assert cleaned(reply, prompt="What is 5 + 7?").text.strip() == ANSWER


@pytest.mark.parametrize(
    ("reply", "prompt"),
    [
        ("Assistant managers help. User: people.", "Who helps?"),
        ("Assistant: Hi.\nUser: Bye.\nAssistant: Bye.", "Who says what?"),
        ("<answer>12</answer>", "Give it in <answer> tags."),
        ("<response><status>ok</status></response>", "As XML, please."),
        ("In UML: A <|-- B, and in F#: x |> f <| y", "How are they written?"),
        ("The state <|y|>z goes on", "Which state?"),
        ("Ask your teaching assistant\n\nThen go on.", "What now?"),
        ("<s>old</s> new price", "Strike it."),
        ("The list ends with the word [EOS]", "How does it end?"),
    ],
)
def test_what_only_looks_like_markup_stays(reply: str, prompt: str) -> None:
    assert cleaned(reply, prompt=prompt).text == reply


def test_a_name_in_front_of_a_token_is_no_answer() -> None:
    assert cleaned("analysis<|message|>The user wants a sum.").fault is not None


def test_a_thought_that_a_server_gives_twice_is_kept_once() -> None:
    reply = Reply(
        request_key="k",
        model="m",
        text=f"<think>A sum.</think>{ANSWER}",
        finish_reason="stop",
        reasoning="A sum.",
    )
    settings = SampleSettings(keep_reasoning=True)
    example = Example(
        example_id="e", messages=(Message(role="user", content="5 + 7?"),), source="s"
    )
    teacher = ScriptedTeacher([], name="m")
    sample = sample_of_reply(example, reply, teacher=teacher, settings=settings)
    assert (sample.status, sample.messages[-1].reasoning) == (OK, None)


@pytest.mark.parametrize("text", [" \n\t", "\u200b\u200b\ufeff", "<think>A sum.</think>\u2060\n"])
def test_a_reply_that_nobody_sees_is_empty(text: str) -> None:
    assert sample_of(text, finish_reason="stop").status == "empty_response"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("ASSISTANT: It is 12.", "It is 12."),
        ("**Assistant:** It is 12.", "It is 12."),
        ("<reasoning>Sum.</reasoning>\n<answer>\nIt is 12.\n</answer>", "It is 12."),
        ("<reserved_107>It is 12.", "It is 12."),
        ("<s> It is 12.", "It is 12."),
        ("Assistant: Hello.\nUser: Bye.", "Assistant: Hello.\nUser: Bye."),
    ],
)
def test_the_name_of_the_speaker_and_the_tags_of_an_answer_are_cut(reply, said):
    assert cleaned(reply, prompt="Add five and seven.").text == said


def test_what_was_asked_for_stays():
    assert cleaned("<answer>12</answer>", prompt="Answer in <answer> tags.").text.startswith("<a")
    assert (
        cleaned("Assistant: Hi.", prompt="Write one line of a dialogue.").text[:10] == "Assistant:"
    )
