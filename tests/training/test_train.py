"""Training: which tokens carry loss, the order of rows, what comes out, and what a kill costs."""

import gc
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Candidate, Message, Reading
from tutelage.errors import DataError, RunError, StudentError
from tutelage.student import StudentSettings, open_student
from tutelage.training import TrainSettings, encode_file, train_student
from tutelage.training.tokenized_rows import NO_LOSS
from tutelage.training.train import last_checkpoint, student_settings

pytest.importorskip("trl")

from tutelage.training.trainer import LikeLengths

QUICK = TrainSettings(epochs=2, batch_examples=4, learning_rate=1e-2, dtype="float32")


def encoded(rows: Path, student: Path, **more: Any) -> Any:
    settings = TrainSettings(dtype="float32", **more)
    return encode_file(rows, open_student(student_settings(str(student), settings)))


def decode(student: Path, ids: Any) -> str:
    from transformers import AutoTokenizer

    return str(AutoTokenizer.from_pretrained(student).decode(list(ids)))


def test_loss_is_on_the_response_and_its_end_of_turn_and_nowhere_else(
    rows: Path, student: Path
) -> None:
    first = encoded(rows, student).rows[0]
    with_loss = [token for token in first.labels if token != NO_LOSS]
    assert decode(student, with_loss) == "red, blue and green 0<|im_end|>"
    context = first.ids[: len(first.ids) - len(with_loss)]
    assert decode(student, context).endswith("<|im_start|>assistant\n")


def test_a_base_student_gets_a_bos_token_and_learns_to_end(rows: Path, base_student: Path) -> None:
    first = encoded(rows, base_student, template="alpaca").rows[0]
    assert first.ids[0] == 0
    assert first.labels[-1] == 1
    assert decode(base_student, [t for t in first.labels if t != NO_LOSS]).endswith(" 0</s>")


def test_the_tokens_that_carry_loss_are_those_that_are_scored(rows: Path, student: Path) -> None:
    settings = StudentSettings(model=str(student), use_cache=False, dtype="float32")
    texts = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    candidates = [
        Candidate(candidate_id=str(i), example_id=str(i), messages=tuple(Message(**m) for m in t))
        for i, t in enumerate(texts)
    ]
    with open_student(settings) as reader:
        read = list(reader.read(candidates, views=["response_given_instruction"]))
    for row, outcome in zip(encoded(rows, student).rows, read, strict=True):
        assert isinstance(outcome, Reading)
        assert row.loss_tokens == outcome.views["response_given_instruction"].tokens + 1


def test_a_row_that_does_not_fit_is_left_out_with_its_reason_and_never_cut(
    rows: Path, student: Path
) -> None:
    whole = encoded(rows, student)
    limit = sorted(len(row.ids) for row in whole.rows)[5]
    short = encoded(rows, student, max_tokens=limit)
    assert all(len(row.ids) <= limit for row in short.rows)
    assert {row.reason for row in short.left_out} == {"too_long"}
    assert len(short.rows) + len(short.left_out) == 12
    kept = {row.row: row.ids for row in whole.rows}
    assert all(kept[row.row] == row.ids for row in short.rows)


def test_a_row_that_stands_twice_is_trained_on_twice(tmp_path: Path, student: Path) -> None:
    line = json.dumps({"instruction": "Name a colour.", "output": "red"})
    (tmp_path / "twice.jsonl").write_text(f"{line}\n{line}\n")
    assert len(encoded(tmp_path / "twice.jsonl", student).rows) == 2


def test_a_row_without_a_response_is_left_out(tmp_path: Path, student: Path) -> None:
    rows = [{"instruction": "Name one.", "output": "red"}, {"instruction": "And?", "output": " "}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = encoded(path, student)
    assert found.left_out_by_reason == {"empty_response": 1}


def test_a_file_with_nothing_to_train_on_is_an_error(tmp_path: Path, student: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"instruction": "And?", "output": ""}))
    with pytest.raises(DataError, match="1 empty_response"):
        encoded(path, student)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trained_student_has_learnt_and_its_room_opens_it(
    rows: Path, student: Path, tmp_path: Path, method: str
) -> None:
    settings = QUICK.model_copy(update={"method": method})
    trained = train_student(rows, model=str(student), settings=settings, out=tmp_path / "out")
    assert trained.steps == 6
    assert trained.last_loss < trained.first_loss
    opened = StudentSettings(model=trained.path, use_cache=False, dtype="float32")
    with open_student(opened) as reader:
        assert reader.describe()["max_length"] == 256
        assert reader.fingerprint != open_student(StudentSettings(model=str(student))).fingerprint


def test_the_first_loss_is_what_the_student_scored(
    tmp_path: Path, student: Path, write_rows: Any
) -> None:
    """An outside reference: the trainer's own loss against the student's own reading."""
    rows = write_rows(tmp_path / "rows.jsonl", 4)
    settings = QUICK.model_copy(update={"epochs": 1})
    trained = train_student(rows, model=str(student), settings=settings, out=tmp_path / "out")
    texts = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    reading = StudentSettings(
        model=str(student), use_cache=False, dtype="float32", score_end_of_turn=True
    )
    candidates = [
        Candidate(candidate_id=str(i), example_id=str(i), messages=tuple(Message(**m) for m in t))
        for i, t in enumerate(texts)
    ]
    with open_student(reading) as reader:
        stats = [
            outcome.views["response_given_instruction"]
            for outcome in reader.read(candidates, views=["response_given_instruction"])
            if isinstance(outcome, Reading)
        ]
    nats = sum(s.mean_nll * s.tokens for s in stats) / sum(s.tokens for s in stats)
    assert math.isclose(trained.first_loss, nats, abs_tol=1e-4)


def models_in_memory() -> set[int]:
    from transformers import PreTrainedModel

    return {id(x) for x in gc.get_objects() if issubclass(type(x), PreTrainedModel)}


def test_nothing_of_a_training_stays_in_memory(rows: Path, student: Path, tmp_path: Path) -> None:
    gc.collect()
    before = models_in_memory()  # other tests may hold some
    gc.disable()  # else the test depends on when Python collects by itself
    try:
        train_student(rows, model=str(student), settings=QUICK, out=tmp_path / "out")
        left = models_in_memory() - before
    finally:
        gc.enable()
    assert not left


def test_a_finished_training_is_not_repeated_and_another_is_refused(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    first = train_student(rows, model=str(student), settings=QUICK, out=tmp_path / "out")
    again = train_student(rows, model=str(student), settings=QUICK, out=tmp_path / "out")
    assert again == first
    other = QUICK.model_copy(update={"seed": 1})
    with pytest.raises(RunError, match="another training"):
        train_student(rows, model=str(student), settings=other, out=tmp_path / "out")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    def weights(name: str, seed: int) -> bytes:
        settings = QUICK.model_copy(update={"seed": seed, "threads": 1})
        train_student(rows, model=str(student), settings=settings, out=tmp_path / name)
        return (tmp_path / name / "model" / "model.safetensors").read_bytes()

    assert weights("a", 0) == weights("b", 0)
    assert weights("a", 0) != weights("c", 1)


_KILLED = """
import os, sys
from pathlib import Path
from tutelage.training import TrainSettings, train_student

class Killer:
    def begin(self, stage, *, total, unit): self.steps = 0
    def advance(self, count=1, *, note=None):
        self.steps += count
        if self.steps == int(sys.argv[4]):
            os.kill(os.getpid(), 9)
    def end(self, *, note=None): pass

train_student(Path(sys.argv[1]), model=sys.argv[2], out=Path(sys.argv[3]), progress=Killer(),
    settings=TrainSettings.model_validate_json(sys.argv[5]))
"""


def test_a_killed_training_continues_and_ends_with_the_same_weights(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"checkpoint_steps": 2, "threads": 1})
    whole = train_student(rows, model=str(student), settings=settings, out=tmp_path / "whole")
    out = tmp_path / "killed"
    arguments = [str(rows), str(student), str(out), "5", settings.model_dump_json()]
    killed = subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    checkpoint = last_checkpoint(out / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-4"
    assert not (out / "model").exists()
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert state["log_history"][-1]["seconds"] > 0
    state["log_history"][-1]["seconds"] = 1000.0
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    continued = train_student(rows, model=str(student), settings=settings, out=out)
    assert continued.steps == whole.steps
    ends = [Path(t.path, "model.safetensors").read_bytes() for t in (whole, continued)]
    assert ends[0] == ends[1]
    assert not (out / "checkpoints").exists()
    assert 1000 < continued.seconds < 1000 + 600  # of the attempt that was not lost, and of this


def diverges(rows: Path, student: Path, out: Path, **more: Any) -> str:
    settings = QUICK.model_copy(update=more)
    with pytest.raises(StudentError, match="the training run diverged") as caught:
        train_student(rows, model=str(student), settings=settings, out=out)
    assert "learning_rate" in str(caught.value.hint)
    assert [path.name for path in out.iterdir() if "model" in path.name] == []
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["state"], manifest["error"]) == ("failed", str(caught.value))
    assert "result" not in manifest
    return str(caught.value)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_loss_that_is_no_number_is_an_error_that_names_its_step(
    rows: Path, student: Path, tmp_path: Path, method: str
) -> None:
    said = diverges(rows, student, tmp_path / "out", learning_rate=1e30, method=method)
    assert re.search(r"the loss is (nan|inf) at step [2-6] of 6", said)


def test_a_last_update_that_destroys_the_student_is_noticed(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    """The loss of a step is measured before its update: of the last, none tells."""
    said = diverges(
        rows, student, tmp_path / "out", learning_rate=1e15, batch_examples=12, epochs=1
    )
    assert "answers are no numbers after step 1 of 1" in said


def test_weights_whose_squares_are_infinite_are_not_saved(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    """A norm makes zeros of them, so that every answer is a number."""
    more = {"learning_rate": 1e30, "batch_examples": 12, "epochs": 1}
    said = diverges(rows, student, tmp_path / "out", **more)
    assert re.search(r"a weight of .* is .*e\+(29|30) in float32 after step 1 of 1", said)


def test_weights_that_the_students_own_dtype_cannot_hold_are_not_saved(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    half = shutil.copytree(student, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(student).half().save_pretrained(half)
    more = {"learning_rate": 1e6, "batch_examples": 12, "epochs": 1, "save_dtype": "source"}
    said = diverges(rows, half, tmp_path / "out", **more)
    assert re.search(r"a weight of .* (nan|-?inf) in float16 after step 1 of 1", said)


def test_a_small_update_of_a_bfloat16_student_is_saved(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    """An update below half a step of bfloat16 is lost where weights are saved as they came."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    half = shutil.copytree(student, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(student).bfloat16().save_pretrained(half)
    before = load_file(half / "model.safetensors")

    def changed(save_dtype: str) -> tuple[torch.dtype, float]:
        settings = QUICK.model_copy(update={"learning_rate": 1e-6, "save_dtype": save_dtype})
        found = train_student(rows, model=str(half), settings=settings, out=tmp_path / save_dtype)
        after = load_file(Path(found.path) / "model.safetensors")
        moved = sum(int((after[n].float() != w.float()).sum()) for n, w in before.items())
        return next(iter(after.values())).dtype, moved / sum(w.numel() for w in before.values())

    dtype, share = changed("float32")
    assert dtype == torch.float32
    assert share > 0.5
    dtype, share = changed("source")
    assert dtype == torch.bfloat16
    assert share < 0.1


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    for steps, state in ((10, "{}"), (20, '{"cut'), (30, None)):
        folder = tmp_path / f"checkpoint-{steps}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-10"


def test_weights_that_do_not_fit_their_config_stop_the_training_by_name(
    student: Path, rows: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(student, tmp_path / "damaged")
    config = json.loads((damaged / "config.json").read_text(encoding="utf-8"))
    config["intermediate_size"] = 64
    (damaged / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(StudentError, match="damaged: the model cannot be loaded"):
        train_student(rows, model=str(damaged), settings=TrainSettings(), out=tmp_path / "out")


lengths = st.lists(st.integers(1, 500), min_size=1, max_size=200)


@given(lengths, st.integers(1, 9), st.integers(0, 3), st.integers(0, 3))
def test_every_row_comes_once_an_epoch(
    tokens: list[int], batch: int, seed: int, epoch: int
) -> None:
    order = LikeLengths(tokens, batch=batch, seed=seed)
    order.set_epoch(epoch)
    assert sorted(order) == list(range(len(tokens)))
    assert len(order) == len(tokens)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = LikeLengths(range(1, 41), batch=4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_rows_of_a_batch_are_alike_in_length() -> None:
    tokens = [(7 * n) % 64 + 1 for n in range(64)]
    order = list(LikeLengths(tokens, batch=4, seed=0))
    padded = sum(4 * max(tokens[i] for i in order[at : at + 4]) for at in range(0, 64, 4))
    assert padded <= 1.06 * sum(tokens)
