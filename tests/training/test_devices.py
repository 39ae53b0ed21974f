"""Training on what there is: several processes, too little memory, rows without padding."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.conftest import write_rows
from tutelage.errors import MissingExtraError, SettingsError, StudentError
from tutelage.student import open_student
from tutelage.training import TrainSettings, encode_file, train_student
from tutelage.training.processes import Processes, launched
from tutelage.training.train import student_settings

pytest.importorskip("trl")

QUICK = TrainSettings(batch_examples=6, microbatch_examples=3, learning_rate=1e-2, dtype="float32")
"""13 rows: the last batch is short, and so is the last microbatch."""

CLOSE = 1e-4
"""Sums in another order; three steps of Adam at this rate move a weight by 0.01 and more."""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", 13)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, student: Path) -> Path:
    """The model of one process with all the memory it wants."""
    folder = tmp_path_factory.mktemp("alone")
    rows = write_rows(folder / "rows.jsonl", 13)
    train_student(rows, model=str(student), settings=QUICK, out=folder / "out")
    return folder / "out" / "model"


def trained(rows: Path, student: Path, out: Path, **more: Any) -> Path:
    settings = QUICK.model_copy(update=more)
    train_student(rows, model=str(student), settings=settings, out=out)
    return out / "model"


def furthest(one: Path, other: Path) -> float:
    """The largest difference of a weight."""
    from safetensors.torch import load_file

    left, right = (load_file(p / "model.safetensors") for p in (one, other))
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def test_what_a_launcher_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() == Processes(rank=0, count=1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == Processes(rank=1, count=2)
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(SettingsError, match="WORLD_SIZE"):
        launched()


def test_a_batch_that_processes_cannot_share_is_refused(
    rows: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tutelage.training.trainer as trainer_module

    monkeypatch.setattr(trainer_module, "launched", lambda: Processes(rank=0, count=4))
    with pytest.raises(SettingsError, match="4 processes") as raised:
        trained(rows, student, tmp_path / "out")
    assert "multiple of 4" in str(raised.value.hint)
    with pytest.raises(SettingsError, match="its own GPU"):
        trained(rows, student, tmp_path / "other", batch_examples=8, device="cuda:1")


@pytest.fixture(scope="module")
def launched_twice(tmp_path_factory: pytest.TempPathFactory, student: Path) -> dict[str, Path]:
    """By kind of launch: what two processes made."""
    folder = tmp_path_factory.mktemp("two")
    rows = write_rows(folder / "rows.jsonl", 13)
    outs = {kind: folder / kind for kind in ("ddp", "fsdp")}
    command = [sys.executable, "-m", "tests.training.two_processes", str(rows), str(student)]
    paths = os.pathsep.join([str(Path("src").resolve()), str(Path.cwd())])
    done = subprocess.run(
        [*command, *map(str, outs.values())],
        capture_output=True,
        text=True,
        timeout=1100,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return outs


@pytest.mark.timeout(1200)  # they import everything anew, and a busy machine takes its time
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_give_the_result_of_one(
    launched_twice: dict[str, Path], alone: Path, kind: str
) -> None:
    out = launched_twice[kind]
    assert furthest(out / "model", alone) < CLOSE
    assert [(out / f"steps-{rank}").read_text() for rank in range(2)] == ["3", "3"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["state"] == "done"
    assert manifest["result"]["rows"] == 13
    assert not (out / "checkpoints").exists()


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A device on which more than so many rows of training do not fit."""
    import torch
    from transformers import LlamaModel

    device = SimpleNamespace(rows=99, seen=[])
    forward = LlamaModel.forward

    def limited(self: Any, input_ids: Any = None, **more: Any) -> Any:
        if self.training:
            positions = more.get("position_ids")
            count = len(input_ids) if positions is None else int((positions == 0).sum())
            device.seen.append(count)
            if count > device.rows:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(LlamaModel, "forward", limited)
    return device


@pytest.mark.parametrize("padding_free", ["off", "on"])
@pytest.mark.parametrize("fits", [2, 1])
def test_a_microbatch_that_does_not_fit_is_halved_with_the_same_result(  # noqa: PLR0917  (pytest's)
    rows: Path,
    student: Path,
    alone: Path,
    tmp_path: Path,
    short_of_memory: SimpleNamespace,
    padding_free: str,
    fits: int,
) -> None:
    short_of_memory.rows = fits
    model = trained(rows, student, tmp_path / "out", padding_free=padding_free)
    assert furthest(model, alone) < CLOSE
    too_large = [count for count in short_of_memory.seen if count > fits]
    assert too_large == [3]  # it was found out once, and kept


def test_long_rows_are_computed_in_smaller_parts_on_a_cpu(  # noqa: PLR0917  (pytest's)
    rows: Path,
    student: Path,
    alone: Path,
    tmp_path: Path,
    short_of_memory: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tutelage.training.trainer as trainer_module

    monkeypatch.setattr(trainer_module, "CPU_TOKENS", 1)
    model = trained(rows, student, tmp_path / "parts", microbatch_examples=None)
    assert set(short_of_memory.seen) == {1}
    assert furthest(model, alone) < CLOSE
    short_of_memory.seen.clear()
    trained(rows, student, tmp_path / "asked_for")  # 3 rows are asked for, so they are computed
    assert set(short_of_memory.seen) == {3, 1}


def test_gradients_of_a_backward_pass_that_ended_early_are_not_counted(
    rows: Path, student: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import LlamaModel

    real, seen, raised = LlamaModel.forward, [], []

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Any) -> Any:  # noqa: ARG004
            return value.clone()

        @staticmethod
        def backward(ctx: Any, *outer: Any) -> Any:  # noqa: ARG004
            raised.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")

    def in_the_second_microbatch(self: Any, input_ids: Any = None, **more: Any) -> Any:
        seen.append(len(input_ids))
        if len(seen) != 2:
            return real(self, input_ids=input_ids, **more)
        # Beside the usual states, so that some weights get their gradients before it fails.
        out = real(self, input_ids=input_ids, **more)
        out.last_hidden_state += Fails.apply(self.embed_tokens(input_ids)) * 0
        return out

    monkeypatch.setattr(LlamaModel, "forward", in_the_second_microbatch)
    model = trained(rows, student, tmp_path / "out")
    assert raised == [1]
    assert seen[:3] == [3, 3, 1]
    assert furthest(model, alone) < CLOSE


def test_a_single_row_that_does_not_fit_says_what_to_change(
    rows: Path, student: Path, tmp_path: Path, short_of_memory: SimpleNamespace
) -> None:
    short_of_memory.rows = 0
    with pytest.raises(StudentError, match="out of memory: a single row") as raised:
        trained(rows, student, tmp_path / "out")
    assert "--gradient-checkpointing on" in str(raised.value.hint)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["state"] == "failed"


def test_gradient_checkpointing_changes_no_weight(
    rows: Path, student: Path, alone: Path, tmp_path: Path
) -> None:
    model = trained(rows, student, tmp_path / "out", gradient_checkpointing="on")
    assert furthest(model, alone) < CLOSE


def test_base_weights_in_bfloat16_are_merged_into_the_original_ones(
    rows: Path, student: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    exact = trained(rows, student, tmp_path / "exact", method="lora")
    rounded = trained(rows, student, tmp_path / "lora", method="lora", base_weights="bfloat16")
    start, left, right = (load_file(p / "model.safetensors") for p in (student, exact, rounded))
    for name, weight in start.items():
        change = (left[name] - weight).norm()
        # Rounding of the base moves gradients a little, and no weight that nobody trained.
        assert (right[name] - left[name]).norm() <= 0.3 * change, name
        assert bool(change) is ("proj" in name)


def test_four_bits_say_what_they_need(rows: Path, student: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="base_weights 4bit"):
        trained(rows, student, tmp_path / "out", method="lora", base_weights="4bit", device="cpu")
    with pytest.raises(ValueError, match="is for method lora"):
        TrainSettings(base_weights="4bit")


def test_liger_says_that_it_is_missing(rows: Path, student: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match="liger-kernel"):
        trained(rows, student, tmp_path / "out", liger="on")


def test_the_loss_of_liger_is_that_of_the_trainer(
    student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    import torch
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM

    from tutelage.training.loss import fused_loss, summed_loss

    class Fused:
        def __init__(self, *, reduction: str) -> None:
            assert reduction == "sum"

        def __call__(self, weight: Any, hidden_N_H: Any, targets_N: Any) -> Any:
            return cross_entropy(hidden_N_H @ weight.T, targets_N, reduction="sum")

    fake = SimpleNamespace(LigerFusedLinearCrossEntropyLoss=Fused)
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace(transformers=fake))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", fake)
    model = AutoModelForCausalLM.from_pretrained(student)
    ids = torch.arange(5, 17).view(2, 6)
    inputs = {"input_ids": ids, "labels": ids.masked_fill(ids % 5 == 0, -100)}
    for found, expected in zip(fused_loss(model, inputs), summed_loss(model, inputs), strict=True):
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_one_process_uses_one_of_several_cards(tmp_path: Path) -> None:
    from trl import SFTConfig

    from tutelage.training.model_weights import quiet
    from tutelage.training.trainer import _on_one_device

    with quiet():
        arguments = SFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", bf16=False)
        _ = arguments.device
    arguments._n_gpu = 8
    assert _on_one_device(arguments, "cuda").n_gpu == 1
    assert arguments.train_batch_size == arguments.per_device_train_batch_size


@pytest.mark.parametrize("padding_free", ["off", "on"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_every_mode_trains_on_the_tokens_that_are_scored(
    rows: Path, student: Path, tmp_path: Path, padding_free: str, method: str
) -> None:
    from tutelage.progress import Silent
    from tutelage.training.loss import in_parts
    from tutelage.training.trainer import build_trainer

    settings = QUICK.model_copy(update={"padding_free": padding_free, "method": method})
    opened = open_student(student_settings(str(student), settings))
    encoded = encode_file(rows, opened)
    trainer = build_trainer(
        encoded, opened.parts, settings, checkpoints=tmp_path, progress=Silent()
    )
    seen = []
    for batch in trainer.get_train_dataloader():
        for row in in_parts(batch, rows=1):
            ids, labels = row["input_ids"][0].tolist(), row["labels"][0].tolist()
            seen.append((tuple(ids), tuple(labels)))
    assert sorted(seen) == sorted((row.ids, row.labels) for row in encoded.rows)


def test_a_model_that_reads_on_across_the_border_of_joined_rows_is_found_out() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM

    from tutelage.training.loss import reads_joined_rows

    torch.manual_seed(0)
    tiny = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    llama = LlamaForCausalLM(LlamaConfig(**tiny, num_attention_heads=2))
    assert reads_joined_rows(llama)
    mamba = MambaForCausalLM(MambaConfig(**tiny, state_size=4))
    assert not reads_joined_rows(mamba)
