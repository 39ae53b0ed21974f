"""The view `end_of_turn`: how surprised the student is that a response ends where it does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.data import END_VIEW, VIEW_NAMES, Reading, Unscored
from tutelage.student import Cache, StudentSettings, open_student

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
