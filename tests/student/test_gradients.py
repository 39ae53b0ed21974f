"""Projected gradients: a true gradient's inner products, nothing for what cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from tests.tiny_student import save_student
from tutelage.data import Candidate, Message, Unscored
from tutelage.student import StudentSettings, open_student
from tutelage.student.gradients import projected_gradients

torch = pytest.importorskip("torch")


def candidate(name: str, response: str) -> Candidate:
    turns = (
        Message(role="user", content="Name a colour."),
        Message(role="assistant", content=response),
    )
    return Candidate(candidate_id=name, example_id="e", messages=turns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("gradients") / "student")


def test_inner_products_are_those_of_the_gradients(folder: Path) -> None:
    student = open_student(StudentSettings(model=str(folder), use_cache=False))
    answers = [candidate("a", "It is red."), candidate("b", "It is red or blue."),
               candidate("c", "No 7 !")]  # fmt: skip
    sketches = np.array(
        [
            np.concatenate(
                [
                    next(projected_gradients([c], student=student, dimensions=256, seed=seed))
                    for seed in range(4)
                ]
            )
            for c in answers
        ]
    )
    exact = np.array([true_gradient(folder, student, c) for c in answers])
    assert sketches @ sketches.T / 4 == pytest.approx(exact @ exact.T, rel=0.25, abs=0.1)
    student.close()


def true_gradient(folder: Path, student, answer: Candidate) -> np.ndarray:  # type: ignore[no-untyped-def]
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    (passage,) = student.parts.builder.encode(answer, "response").given
    ids = torch.as_tensor(passage.ids_T, dtype=torch.long).unsqueeze(0)
    logits = model(ids).logits[0, passage.target_start - 1 : -1]
    torch.nn.functional.cross_entropy(logits, ids[0, passage.target_start :]).backward()
    return np.concatenate(
        [
            weight.grad.flatten().numpy()
            for name, weight in model.named_parameters()
            if weight.dim() == 2 and "embed" not in name and "lm_head" not in name
        ]
    )


def test_an_answer_that_cannot_be_read_has_its_reason(folder: Path) -> None:
    student = open_student(StudentSettings(model=str(folder), use_cache=False, max_length=30))
    long = candidate("long", "red " * 60)
    found, again = projected_gradients([long, candidate("a", "red")], student=student)
    assert isinstance(found, Unscored)
    assert found.reason == "too_long"
    assert isinstance(again, np.ndarray)
    student.close()
