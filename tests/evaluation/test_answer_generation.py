"""Answers in less memory than all of them need, and answers that vLLM writes."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tutelage.errors import StudentError
from tutelage.evaluation.answer_tasks import Answer, answer_all, fitting_answers
from tutelage.evaluation.config import CPU_ANSWERS, EvaluateSettings
from tutelage.evaluation.items import Item
from tutelage.models.hardware import Memory
from tutelage.models.loading import bytes_a_token, needed
from tutelage.progress import Silent
from tutelage.student import StudentModel, StudentSettings, open_student

QUESTIONS = ["red", "blue or green", "one", "two and three", "four"]


def opened(student: Path, **more: Any) -> StudentModel:
    settings = {"dtype": "float32", "use_cache": False, **more}
    return open_student(StudentSettings(model=str(student), **settings))


def answers(student: StudentModel, kept: Path) -> list[Any]:
    items = [Item(item_id=str(n), question=q) for n, q in enumerate(QUESTIONS)]
    return answer_all(items, student, max_new_tokens=5, batch=8, kept=kept, progress=Silent())


def test_answers_that_do_not_fit_together_are_written_in_halves(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import LlamaForCausalLM

    exact = answers(opened(student), tmp_path / "exact")
    generate, sizes, fits = LlamaForCausalLM.generate, [], 2

    def short_of_memory(self: Any, *, input_ids: Any, **more: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(self, input_ids=input_ids, **more)

    monkeypatch.setattr(LlamaForCausalLM, "generate", short_of_memory)
    assert answers(opened(student), tmp_path / "halves") == exact
    assert sizes == [5, 2, 3, 1, 2]
    fits = 0
    with pytest.raises(StudentError, match="out of memory: an answer of 5 tokens") as raised:
        answers(opened(student), tmp_path / "none")
    assert "max_new_tokens" in str(raised.value.hint)


def test_vllm_writes_the_answers(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Llm:
        def __init__(self, **_: Any) -> None: ...

        def generate(self, prompts: Any, sampling: Any, *, use_tqdm: bool) -> Any:  # noqa: ARG002
            asked.append((prompts, sampling))
            written = [[70, 71, 3], [72, 73, 74, 75, 76], [77], [78, 3], [79, 80]]
            reasons = ["stop", "length", "stop", "stop", "length"]
            return [
                SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason=reason)])
                for ids, reason in zip(written, reasons, strict=True)
            ]

    fake = SimpleNamespace(LLM=Llm, SamplingParams=lambda **values: values)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    model = opened(student, backend="vllm-offline")
    found = answers(model, tmp_path / "kept")
    by_length = sorted(range(5), key=lambda n: (-len(QUESTIONS[n]), str(n)))
    first, second, third = (found[n] for n in by_length[:3])
    decode = model.parts.decode
    assert first == Answer(text=decode([70, 71]), ended=True, tokens=3)
    assert second == Answer(text=decode([72, 73, 74, 75, 76]), ended=False, tokens=5)
    assert third == Answer(text=decode([77]), ended=True, tokens=2)  # its end is not handed over
    ((prompts, sampling),) = asked
    assert len(prompts) == 5
    assert sampling["max_tokens"] == 5
    assert sampling["stop_token_ids"] == [3]
    assert answers(model, tmp_path / "kept") == found
    assert len(asked) == 1


def test_as_many_answers_as_fit_are_generated_at_once(student: Path) -> None:
    parts = opened(student).parts
    weights = needed(parts.folder, dtype="float32").weights
    one = 100 * bytes_a_token(parts.folder, dtype="float32")
    asked: list[str] = []

    def holding(answers: float) -> Callable[[str], Memory]:
        def memory(device: str) -> Memory:
            asked.append(device)
            return Memory(free=0, total=weights + round(answers * one / 0.7))

        return memory

    assert fitting_answers(parts, tokens=100, memory=holding(3)) == CPU_ANSWERS
    assert not asked  # a CPU gains nothing from more
    parts.__dict__["device"] = "cuda:1"
    fits = [
        fitting_answers(parts, tokens=100, memory=holding(n)) for n in (0.5, 1.1, 7.9, 8.1, 10_000)
    ]
    assert fits == [1, 1, 4, 8, 256]
    assert set(asked) == {"cuda:1"}
    assert fitting_answers(parts, tokens=200, memory=holding(8.1)) == 4
    vllm = opened(student, backend="vllm-offline").parts
    assert fitting_answers(vllm, tokens=100) == 1024


def test_a_batch_that_finds_itself_has_the_key_of_the_old_default() -> None:
    auto, sixteen = EvaluateSettings(), EvaluateSettings(batch_examples=16)
    assert auto.batch_examples == "auto"
    assert auto.hashed() == sixteen.hashed() == sixteen.model_dump(mode="json")
    assert auto.hashed() != EvaluateSettings(batch_examples=8).hashed()
