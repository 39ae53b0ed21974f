"""Tasks that only read, by hand-computed numbers, and answers in limited memory or from vLLM."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tutelage.data import Candidate, ViewName
from tutelage.errors import DataError, StudentError
from tutelage.evaluation import TaskSettings
from tutelage.evaluation.config import CPU_ANSWERS, EvaluateSettings
from tutelage.evaluation.items import Item, read_items, read_references
from tutelage.evaluation.tasks import (
    Answer,
    answer_all,
    choose,
    first_statement,
    fitting_answers,
    gain,
    held_out,
    reasoning_quality,
)
from tutelage.models.hardware import Memory
from tutelage.models.loading import bytes_a_token, needed
from tutelage.progress import Silent
from tutelage.student import StudentModel, StudentSettings, TableStudent, open_student


def nats_of(table: dict[str, float]) -> TableStudent:
    def mean(candidate: Candidate, _view: ViewName) -> float:
        return table[candidate.response]

    return TableStudent(mean_nats=mean)


def item(**more: object) -> Item:
    return Item(item_id="a", question="Which?", **more)  # type: ignore[arg-type]


def write(path: Path, rows: list[object]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return str(path)


def test_the_margin_is_the_right_choice_less_the_best_of_the_others() -> None:
    student = nats_of({"x": 2.0, "y": 0.5, "z": 1.25})
    (right,) = choose([item(choices=("x", "y", "z"), answer_index=1)], student)
    assert math.isclose(right.value or 0, 0.75, abs_tol=1e-6)
    assert (right.correct, right.text) == (True, "y")
    (wrong,) = choose([item(choices=("x", "y", "z"), answer_index=0)], student)
    assert math.isclose(wrong.value or 0, -1.5, abs_tol=1e-6)
    assert (wrong.correct, wrong.text) == (False, "y")


def test_a_tie_is_not_right() -> None:
    student = nats_of({"x": 1.0, "y": 1.0})
    (result,) = choose([item(choices=("x", "y"), answer_index=0)], student)
    assert result.correct is False


def test_an_item_with_an_unreadable_choice_has_no_value() -> None:
    (result,) = choose([item(choices=("x", " "), answer_index=0)], nats_of({"x": 1.0}))
    assert (result.status, result.value, result.correct) == ("empty_response", None, None)


def test_held_out_is_the_mean_log_likelihood_of_the_reference(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Say it.", "output": "short"},
        {"instruction": "And?", "output": "long"},
    ]
    task = TaskSettings(name="h", kind="held_out", path=write(tmp_path / "h.jsonl", rows))
    found = list(held_out(read_references(task, seed=0), nats_of({"short": 1.5, "long": 3.0})))
    assert [round(r.value or 0, 6) for r in found] == [-1.5, -3.0]


def test_gain_is_what_the_instruction_saves(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Say it.", "output": "helped"},
        {"instruction": "And?", "output": "hurt"},
    ]
    task = TaskSettings(name="g", kind="gain", path=write(tmp_path / "g.jsonl", rows))
    nats = {"helped": (1.5, 2.0), "hurt": (2.5, 2.25)}

    def mean(candidate: Candidate, view: ViewName) -> float:
        return nats[candidate.response][view == "response"]

    found = list(gain(read_references(task, seed=0), TableStudent(mean_nats=mean)))
    assert sorted(result.value or 0 for result in found) == pytest.approx([-0.25, 0.5])


def test_held_out_reads_the_version_that_was_asked_for(tmp_path: Path) -> None:
    rows = [{"instruction": "Say it.", "original_output": "old", "refined_output": "new"}]
    path = write(tmp_path / "h.jsonl", rows)
    for step, response in (("original", "old"), ("refined", "new")):
        task = TaskSettings.model_validate(
            {"name": "h", "kind": "held_out", "path": path, "step": step}
        )
        (reference,) = read_references(task, seed=0)
        assert reference.candidate.response == response


def test_the_draw_of_items_does_not_depend_on_their_order(tmp_path: Path) -> None:
    rows: list[object] = [
        {"id": n, "question": f"q{n}", "choices": ["a", "b"], "answer_index": 0} for n in range(20)
    ]
    names = []
    for order in (rows, rows[::-1]):
        path = write(tmp_path / "c.jsonl", order)
        task = TaskSettings(name="c", kind="choice", path=path, limit=5)
        names.append(sorted(i.item_id for i in read_items(task, seed=3)))
    assert names[0] == names[1]
    assert len(names[0]) == 5


def test_a_missing_field_is_named_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"question": "q", "choices": ["a", "b"]}])
    with pytest.raises(DataError, match=r"row 0: has no answer_index"):
        read_items(TaskSettings(name="c", kind="choice", path=path), seed=0)


def test_two_items_with_one_id_are_refused(tmp_path: Path) -> None:
    row = {"id": 1, "question": "q", "answer": "2"}
    path = write(tmp_path / "c.jsonl", [row, row])
    with pytest.raises(DataError, match="occurs twice"):
        read_items(TaskSettings(name="c", kind="exact_match", path=path), seed=0)


def test_a_whole_number_answer_is_written_without_a_point(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [{"question": "q", "answer_num": 51.0}])
    (found,) = read_items(TaskSettings(name="c", kind="exact_match", path=path), seed=0)
    assert found.answer == "51"


class _Steps(TableStudent):
    """Reads an answer with so many nats for each number of characters before it."""

    def read_pairs(self, pairs, **_):  # type: ignore[no-untyped-def]
        import numpy as np

        from tutelage.data import TokenStats

        for pair in pairs:
            steps = pair.context.count(".")
            nats = {0: 4.0, 1: 2.5, 2: 2.0, 3: 0.1}[steps]
            yield TokenStats(logprobs_T=np.array([-nats, -nats], dtype=np.float32))


def test_a_step_is_worth_what_it_takes_off_the_answer() -> None:
    text = "He has three. He buys four. That makes 7."
    asked = [Item(item_id="a", question="How many", answer="7")]
    (result,) = reasoning_quality(asked, [text], _Steps(), lead="\nThe answer is ")
    detail = json.loads(result.detail or "")
    assert detail["drops"] == [1.5, 0.5, 1.9]
    assert detail["step_that_states_the_answer"] == 2
    assert math.isclose(result.value or 0, 2.0, abs_tol=1e-6)  # what led there: 1.5 + 0.5


def test_an_answer_without_reasoning_is_worth_nothing_and_no_text_has_no_value() -> None:
    asked = [Item(item_id="a", question="How many", answer="7")] * 2
    bare, empty = reasoning_quality(asked, ["It is 7.", " "], _Steps(), lead="\n")
    assert bare.value == 0.0
    assert (empty.status, empty.value) == ("no_reasoning", None)


@pytest.mark.parametrize(
    ("text", "answer", "step"),
    [
        ("Ten is 10. So 1.", "1", 1),
        ("It is 1,000.", "1000", 0),
        ("Ten by a hundred. That is 1,000. Done.", "1,000", 1),
        ("That is 1000.", "1,000", 0),
        ("That is 11,000.", "1,000", None),
        ("It is 7.5.", "7", None),
        ("7 of them.", "7", 0),
    ],
)
def test_where_an_answer_is_first_stated(text: str, answer: str, step: int | None) -> None:
    assert first_statement(text, answer) == step


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
