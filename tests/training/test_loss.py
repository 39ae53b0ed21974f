"""Loss of a training: it equals the plain formula, and counts each row by its weight."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import DataError
from tutelage.student import open_student
from tutelage.training import TrainSettings, encode_file, train_student
from tutelage.training.train import student_settings

pytest.importorskip("trl")
torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from tutelage.training import loss as loss_module  # noqa: E402
from tutelage.training import trainer as trainer_module  # noqa: E402

summed: Any = loss_module.SummedLoss.apply


def drawn(tokens: int, vocabulary: int, width: int = 24) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width)
    weight = torch.randn(vocabulary, width)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(vocabulary, (tokens,))


@pytest.mark.parametrize(("tokens", "vocabulary"), [(1, 7), (33, 500), (9, 16), (16, 64)])
def test_loss_and_gradients_are_those_of_cross_entropy(
    tokens: int, vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "TOKENS", 8)
    monkeypatch.setattr(loss_module, "SLICE", 16)
    hidden, weight, targets = drawn(tokens, vocabulary)
    found = summed(hidden, weight, targets, torch.float32)
    (3.0 * found).backward()
    plain_hidden, plain_weight = (x.detach().clone().requires_grad_() for x in (hidden, weight))
    expected: Any = cross_entropy(plain_hidden @ plain_weight.T, targets, reduction="sum")
    (3.0 * expected).backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(hidden.grad, plain_hidden.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weight.grad, plain_weight.grad, atol=1e-5, rtol=1e-5)


def test_products_in_bfloat16_stay_near() -> None:
    hidden, weight, targets = drawn(40, 300)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        hidden.grad = weight.grad = None
        summed(hidden, weight, targets, dtype).backward()
        assert weight.grad.dtype == torch.float32
        gradients.append((hidden.grad.clone(), weight.grad.clone()))
    for exact, near in zip(*gradients, strict=True):
        assert (exact - near).norm() < 0.02 * exact.norm()


def test_a_head_that_is_not_trained_gets_no_gradient() -> None:
    hidden, weight, targets = drawn(5, 30)
    summed(hidden, weight.detach(), targets, torch.float32).backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_no_token_with_loss_is_a_loss_of_zero() -> None:
    hidden, weight, targets = drawn(0, 30)
    found = summed(hidden, weight, targets, torch.float32)
    found.backward()
    assert found.item() == 0.0


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("microbatch", [2, 3, 6])
def test_the_trained_weights_are_those_of_the_trainers_own_loss(
    rows: Path, student: Path, tmp_path: Path, method: str, microbatch: int
) -> None:
    settings = TrainSettings.model_validate(
        {
            "method": method,
            "epochs": 2,
            "batch_examples": 6,
            "microbatch_examples": microbatch,
            "learning_rate": 1e-2,
            "dtype": "float32",
        }
    )
    found = {}
    for name in ("ours", "theirs"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "theirs":
                patch.setattr(trainer_module, "has_plain_head", lambda _: False)
            found[name] = train_student(
                rows, model=str(student), settings=settings, out=tmp_path / name
            )
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in found]
    for name, ours in weights[0].items():
        torch.testing.assert_close(ours, weights[1][name], atol=2e-3, rtol=0)
    assert found["ours"].first_loss == pytest.approx(found["theirs"].first_loss, abs=1e-5)
    assert found["ours"].last_loss == pytest.approx(found["theirs"].last_loss, abs=1e-4)


def test_a_head_that_does_more_than_one_product_is_left_to_the_trainer(student: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student)
    assert trainer_module.has_plain_head(model)
    for name, value in (("final_logit_softcapping", 30.0), ("logits_scaling", 8.0)):
        setattr(model.config, name, value)
        assert not trainer_module.has_plain_head(model)
        setattr(model.config, name, None)
    model.lm_head = torch.nn.Linear(4, 4, bias=True)
    assert not trainer_module.has_plain_head(model)


def test_the_trainer_uses_it(rows: Path, student: Path, tmp_path: Path) -> None:
    """Else every other test here could pass on the trainer's own loss alone."""
    called = []

    def counted(*given: Any) -> Any:
        called.append(given)
        return loss_module.summed_loss(*given)

    settings = TrainSettings(dtype="float32", batch_examples=12, microbatch_examples=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "summed_loss", counted)
        train_student(rows, model=str(student), settings=settings, out=tmp_path / "out")
    assert len(called) == 3


def test_the_memory_of_the_logits_is_bounded_by_tokens_held_together() -> None:
    seen = []

    plain = torch.empty

    def empty(shape: Any, **more: Any) -> Any:
        seen.append(shape)
        return plain(shape, **more)

    hidden, weight, targets = drawn(loss_module.TOKENS + 5, 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        summed(hidden, weight, targets, torch.float32)
    assert max(shape[0] for shape in seen) == loss_module.TOKENS


PLAIN = TrainSettings(batch_examples=4, learning_rate=1e-2, dtype="float32", schedule="constant")


def weighted(rows: Path, weights: list[Any], name: str) -> Path:
    values = [json.loads(line) for line in rows.read_text().splitlines()]
    for value, weight in zip(values, weights, strict=True):
        if weight is not None:
            value["train_weight"] = weight
    path = rows.with_name(name)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def encoded(rows: Path, student: Path, **more: Any) -> Any:
    return encode_file(rows, open_student(student_settings(str(student), PLAIN)), **more)


def weights_of(folder: str) -> dict[str, Any]:
    return load_file(str(Path(folder) / "model.safetensors"))


def test_each_token_counts_as_its_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "TOKENS", 8)
    monkeypatch.setattr(loss_module, "SLICE", 16)
    torch.manual_seed(0)
    hidden, head = (torch.randn(n, 24, requires_grad=True) for n in (21, 50))
    targets, weights = torch.randint(50, (21,)), torch.rand(21) * 3
    apply: Any = loss_module.SummedLoss.apply
    apply(hidden, head, targets, torch.float32, weights).backward()
    mine = hidden.grad.clone(), head.grad.clone()
    hidden.grad = head.grad = None
    nats = cross_entropy(hidden @ head.T, targets, reduction="none")
    (nats * weights).sum().backward()
    torch.testing.assert_close(mine[0], hidden.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine[1], head.grad, atol=1e-5, rtol=1e-5)


def test_weights_are_relative_to_their_mean(rows: Path, student: Path) -> None:
    found = encoded(weighted(rows, [2.0, 6.0, *[None] * 10], "w.jsonl"), student)
    mean = (2 + 6 + 10) / 12  # a row without a weight counts 1
    assert found.relative_weights == pytest.approx([2 / mean, 6 / mean, *[1 / mean] * 10])
    assert math.fsum(found.relative_weights) == pytest.approx(12)


def test_a_row_of_weight_0_is_left_out_with_that_reason(rows: Path, student: Path) -> None:
    found = encoded(weighted(rows, [0, *[1.0] * 11], "w.jsonl"), student)
    assert found.left_out_by_reason == {"zero_weight": 1}
    assert found.relative_weights is None  # the others all count the same


@pytest.mark.parametrize("wrong", [-0.5, "heavy", True, [1.0]])
def test_what_is_no_weight_is_refused_with_its_place(
    rows: Path, student: Path, wrong: object
) -> None:
    path = weighted(rows, [*[1.0] * 7, wrong, *[1.0] * 4], "w.jsonl")
    with pytest.raises(DataError, match=r"w\.jsonl, row 7: train_weight is") as caught:
        encoded(path, student)
    assert "--weights off" in str(caught.value.hint)
    assert len(encoded(path, student, weighted=False).rows) == 12


def test_equal_rows_may_have_weights_of_their_own(rows: Path, student: Path) -> None:
    line = json.loads(rows.read_text().splitlines()[0])
    path = rows.with_name("twice.jsonl")
    path.write_text("".join(json.dumps({**line, "train_weight": w}) + "\n" for w in (1, 3)))
    assert encoded(path, student).relative_weights == (0.5, 1.5)


def test_a_weighted_training_differs_and_equal_weights_change_nothing(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    def trained(path: Path, name: str, **more: Any) -> tuple[Any, dict[str, Any]]:
        settings = PLAIN.model_copy(update=more)
        done = train_student(path, model=str(student), settings=settings, out=tmp_path / name)
        return done, weights_of(done.path)

    _, plain = trained(rows, "plain")
    _, equal = trained(weighted(rows, [0.25] * 12, "equal.jsonl"), "equal")
    uneven_rows = weighted(rows, [8.0, *[0.1] * 11], "uneven.jsonl")
    done, uneven = trained(uneven_rows, "uneven")
    _, ignored = trained(uneven_rows, "off", row_weights="off")
    assert all(torch.equal(plain[name], equal[name]) for name in plain)
    assert all(torch.equal(plain[name], ignored[name]) for name in plain)
    assert any(not torch.allclose(plain[name], uneven[name]) for name in plain)
    manifest = json.loads((Path(done.path).parent / "manifest.json").read_text())
    assert manifest["rows"]["weighted"] is True


def test_both_ways_to_the_loss_train_the_same_student(
    rows: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weighted(rows, [8.0, *[0.1] * 11], "uneven.jsonl")
    mine = train_student(path, model=str(student), settings=PLAIN, out=tmp_path / "mine")
    monkeypatch.setattr(trainer_module, "has_plain_head", lambda _: False)
    other = train_student(path, model=str(student), settings=PLAIN, out=tmp_path / "other")
    assert other.first_loss == pytest.approx(mine.first_loss, rel=1e-4)
    first, second = weights_of(mine.path), weights_of(other.path)
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=2e-3, rtol=1e-2)
