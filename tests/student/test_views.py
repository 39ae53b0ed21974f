"""Views: where the border runs, which tokens both sides of a ratio count, and the end of a turn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import END_VIEW, VIEW_NAMES, Message, Reading, Unscored
from tutelage.student import Cache, StudentSettings, open_student
from tutelage.student.chat_template import open_chat_template
from tutelage.student.passages import EncodedSide, Refusal
from tutelage.student.template import ALPACA_TEXT, parse_raw_template
from tutelage.student.tokenizer import fast_tokenizer
from tutelage.student.views import ViewBuilder, blank_reason

words = st.text(alphabet="abc -:\n#.ü漢", min_size=1, max_size=40).filter(str.strip)


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no-bos"])
def hf_tokenizer(request, tiny_tokenizer):
    return tiny_tokenizer(bos=request.param)


@pytest.fixture(scope="module", params=["chat", "alpaca"])
def builder(request, hf_tokenizer):
    return builder_of(hf_tokenizer, request.param)


def builder_of(hf_tokenizer, template, **options):
    if template == "chat":
        made = open_chat_template(
            lambda messages, generate, _tools, _arguments: hf_tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generate
            ),
            name="chat",
            source=hf_tokenizer.chat_template,
            bos=hf_tokenizer.bos_token,
        )
    else:
        made = parse_raw_template(ALPACA_TEXT, name="alpaca", end="</s>")
    options = {"max_length": 4096} | options
    return ViewBuilder(
        template=made, tokenizer=fast_tokenizer(hf_tokenizer, place="test"), **options
    )


@given(instruction=words, response=words)
@settings(deadline=None)
def test_context_and_target_are_the_tokens_of_the_joined_text(
    instruction, response, builder, hf_tokenizer, candidate_of
):
    side = builder.encode(candidate_of(instruction, response), "response")
    if isinstance(side, Refusal):
        assert side.reason == "no_target_tokens"
        return
    (given_passage,), (alone,) = side.given, side.alone
    rendered = builder.template.render(candidate_of(instruction, response).messages, 1)
    whole = hf_tokenizer(rendered.context + rendered.target, add_special_tokens=False)["input_ids"]
    bos = [0] if builder.template.adds_bos and hf_tokenizer("a")["input_ids"][0] == 0 else []
    assert given_passage.ids_T.tolist() == bos + whole
    target = given_passage.ids_T[given_passage.target_start :].tolist()
    assert alone.ids_T[alone.target_start :].tolist() == target
    header = hf_tokenizer(rendered.header, add_special_tokens=False)["input_ids"]
    assert alone.ids_T[: alone.target_start].tolist() == bos + header
    assert len(side.starts_T) == len(target)
    if not side.straddles:
        assert hf_tokenizer.decode(target) == rendered.target


def test_a_token_across_the_border_belongs_to_the_context(hf_tokenizer, candidate_of):
    builder = builder_of(hf_tokenizer, "alpaca")
    side = builder.encode(candidate_of("Name them.", "- first"), "response")
    assert isinstance(side, EncodedSide)
    assert side.straddles
    passage = side.given[0]
    context = hf_tokenizer.decode(passage.ids_T[: passage.target_start])
    assert not context.endswith("### Response:")
    assert side.starts_T[0] > 0


def test_truncation_cuts_both_sides_alike(hf_tokenizer, candidate_of):
    candidate = candidate_of("Write a poem.", "its waves and its wind " * 20)
    whole = builder_of(hf_tokenizer, "chat").encode(candidate, "response")
    limit = len(whole.given[0].ids_T) - 7
    dropped = builder_of(hf_tokenizer, "chat", max_length=limit).encode(candidate, "response")
    assert isinstance(dropped, Refusal)
    assert dropped.reason == "too_long"
    cut = builder_of(hf_tokenizer, "chat", max_length=limit, truncate=True)
    side = cut.encode(candidate, "response")
    assert side.truncated
    assert side.given[0].targets == side.alone[0].targets == whole.given[0].targets - 7
    assert len(side.given[0].ids_T) == limit
    reverse = cut.encode(candidate, "instruction")
    assert len(reverse.given[0].ids_T) <= limit
    assert reverse.given[0].targets == reverse.alone[0].targets


def test_a_context_that_leaves_no_room_is_too_long_even_when_cutting(hf_tokenizer, candidate_of):
    builder = builder_of(hf_tokenizer, "chat", max_length=12, truncate=True)
    side = builder.encode(candidate_of("Write a poem. " * 9, "waves"), "response")
    assert isinstance(side, Refusal)
    assert side.reason == "too_long"


def test_the_end_of_the_turn_is_one_more_token_on_both_sides(hf_tokenizer, candidate_of):
    for template in ("chat", "alpaca"):
        candidate = candidate_of("Name them.", "red, blue")
        plain = builder_of(hf_tokenizer, template).encode(candidate, "response")
        ended = builder_of(hf_tokenizer, template, score_end_of_turn=True)
        side = ended.encode(candidate, "response")
        assert side.given[0].targets == side.alone[0].targets == plain.given[0].targets + 1
        last = hf_tokenizer.decode(side.given[0].ids_T[-1:])
        assert last == ("<|im_end|>" if template == "chat" else "</s>")


def test_all_turns_are_pooled_each_with_its_own_context(hf_tokenizer, candidate_from):
    turns = [("user", "a b"), ("assistant", "c"), ("user", "d e"), ("assistant", "f. f. f.")]
    candidate = candidate_from([Message(role=r, content=c) for r, c in turns])
    side = builder_of(hf_tokenizer, "chat", all_turns=True).encode(candidate, "response")
    last = builder_of(hf_tokenizer, "chat").encode(candidate, "response")
    assert len(side.given) == len(side.alone) == 2
    assert side.given[1].ids_T.tolist() == last.given[0].ids_T.tolist()
    first = hf_tokenizer.decode(side.given[0].ids_T)
    assert first.endswith("<|im_start|>assistant\nc")


def test_starts_of_pooled_turns_are_offsets_of_the_joined_text(hf_tokenizer, candidate_from):
    turns = [
        Message(role=role, content=text)
        for role, text in (
            ("user", "Name a colour."),
            ("assistant", "red it is"),
            ("user", "And another?"),
            ("assistant", "blue"),
        )
    ]
    builder = builder_of(hf_tokenizer, "chat", all_turns=True)
    for side, text in (("response", "red it is\nblue"), ("instruction", None)):
        found = builder.encode(candidate_from(turns), side)
        assert found.text == (text or "Name a colour.\nAnd another?")
        assert len(found.ids_T) == len(found.starts_T) == sum(p.targets for p in found.given)
        ends = [*found.starts_T[1:].tolist(), len(found.text)]
        pieces = [found.text[a:b] for a, b in zip(found.starts_T.tolist(), ends, strict=True)]
        assert "".join(pieces) == found.text[found.starts_T[0] :]
        decoded = [hf_tokenizer.decode([token]) for token in found.ids_T]
        assert [p.replace("\n", "") for p in pieces] == decoded


@pytest.mark.parametrize(
    ("instruction", "response", "reason"),
    [("x", " \n", "empty_response"), (" ", "x", "empty_instruction"), ("x", "y", None)],
)
def test_blank_texts_have_a_reason_and_no_passages(instruction, response, reason, candidate_of):
    found = blank_reason(candidate_of(instruction, response))
    assert (None if found is None else found.reason) == reason


def test_a_pair_gets_one_bos_token_also_where_its_context_shows_one(tiny_tokenizer):
    builder = builder_of(tiny_tokenizer(bos=True), "chat")
    plain = builder.encode_pair("Name three", " primary colours")
    shown = builder.encode_pair("<s>Name three", " primary colours")
    assert isinstance(plain, EncodedSide)
    assert plain.given[0].ids_T.tolist() == shown.given[0].ids_T.tolist()
    assert plain.given[0].ids_T.tolist().count(0) == 1


EVERYTHING = (*VIEW_NAMES, END_VIEW)


def settings_of(folder: Path, **more: Any) -> StudentSettings:
    return StudentSettings(model=str(folder), dtype="float32", use_cache=False, **more)


def read(folder: Path, candidates: Any, views: Any = EVERYTHING, **more: Any) -> list[Any]:
    with open_student(settings_of(folder, **more)) as student:
        return list(student.read(candidates, views=views, statistics="full"))


@pytest.mark.parametrize("backend", ["packed", "transformers"])
def test_it_is_the_log_probability_of_the_token_behind_the_response(
    tiny_llama, candidate_of, backend
):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    candidates = [candidate_of("Name them.", text) for text in ("red, blue", "red, bl", "waves.")]
    readings = read(tiny_llama, candidates, backend=backend)
    for candidate, reading in zip(candidates, readings, strict=True):
        turns = [{"role": m.role, "content": m.content} for m in candidate.messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        ids_T = tokenizer(text, add_special_tokens=False)["input_ids"]
        names = tokenizer.convert_ids_to_tokens(ids_T)
        at = len(names) - 1 - names[::-1].index("<|im_end|>")
        with torch.no_grad():
            logits = model(torch.tensor([ids_T])).logits[0, at - 1].double()
        expected = float(torch.log_softmax(logits, -1)[ids_T[at]])
        end = reading.views[END_VIEW]
        assert end.tokens == 1
        assert float(end.logprobs_T[0]) == pytest.approx(expected, abs=5e-4)
        assert end.entropies_T is not None


def test_asking_for_it_changes_no_other_number(tiny_llama, some_candidates):
    without = read(tiny_llama, some_candidates, VIEW_NAMES)
    for plain, more in zip(without, read(tiny_llama, some_candidates), strict=True):
        assert set(more.views) == set(EVERYTHING)
        assert END_VIEW not in plain.views
        for view in VIEW_NAMES:
            assert more.views[view].logprobs_T == pytest.approx(
                plain.views[view].logprobs_T, abs=5e-5
            )
        assert np.array_equal(more.response_starts_T, plain.response_starts_T)


def test_it_costs_one_token_beyond_the_response(tiny_llama, some_candidates):
    with open_student(settings_of(tiny_llama)) as student:
        (given, *_) = student.tokens_to_read(some_candidates, views=["response_given_instruction"])
        (end, *_) = student.tokens_to_read(some_candidates, views=[END_VIEW])
    assert end == given + 1


def test_a_template_without_an_end_leaves_it_out(tiny_llama, candidate_of, tmp_path):
    template = tmp_path / "plain.txt"
    template.write_text("Q: {instruction}\nA: {response}", "utf-8")
    (reading,) = read(tiny_llama, [candidate_of("Name them.", "red")], template=str(template))
    with open_student(settings_of(tiny_llama, template=str(template))) as student:
        (end,) = student.parts.builder.render_targets(candidate_of("Name them.", "red"))
    assert isinstance(reading, Reading)
    assert (END_VIEW in reading.views) == bool(end.end)
    assert set(VIEW_NAMES) <= set(reading.views)


def test_where_it_does_not_fit_the_response_is_still_scored(tiny_llama, candidate_of):
    candidate = candidate_of("Name them.", "red, blue")
    with open_student(settings_of(tiny_llama)) as student:
        (tokens,) = student.tokens_to_read([candidate], views=["response_given_instruction"])
    (reading,) = read(
        tiny_llama, [candidate], ("response_given_instruction", END_VIEW), max_length=tokens
    )
    assert set(reading.views) == {"response_given_instruction"}


def test_a_row_that_cannot_be_read_is_unscored_for_its_own_reason(tiny_llama, candidate_of):
    (outcome,) = read(tiny_llama, [candidate_of("Name them.", " ")])
    assert isinstance(outcome, Unscored)
    assert outcome.reason == "empty_response"


def test_it_comes_from_the_cache_too(tiny_llama, some_candidates, tmp_path):
    settings = StudentSettings(model=str(tiny_llama), dtype="float32", cache_path=tmp_path / "c")
    with open_student(settings, cache=Cache(tmp_path / "c")) as student:
        fresh = list(student.read(some_candidates, views=EVERYTHING, statistics="full"))
        again = list(student.recall(some_candidates, views=EVERYTHING))
    for one, other in zip(fresh, again, strict=True):
        assert isinstance(one, Reading)
        assert isinstance(other, Reading)
        assert one.views[END_VIEW].logprobs_T == other.views[END_VIEW].logprobs_T
