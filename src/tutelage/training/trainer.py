"""TRL's `SFTTrainer` over rows that are tokenised already, and how its student is saved."""

import math
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging as hf_logging
from trl import SFTConfig, SFTTrainer

from tutelage.errors import DivergedError
from tutelage.models.folder import cpu_multiplies_bfloat16
from tutelage.models.loading import load_weights
from tutelage.progress import Progress
from tutelage.student.components import OpenStudent
from tutelage.student.tokenizer import load_hf_tokenizer
from tutelage.training.config import TrainSettings, steps_of
from tutelage.training.loss import base_of, summed_loss, weighted_loss
from tutelage.training.row_order import LikeLengths
from tutelage.training.tokenized_rows import TRAIN_WEIGHT, Encoded
from tutelage.training.trackers import current_tracking

CPU_MICROBATCH = 4
_TOKENIZER_FILES = (
    "tokenizer",
    "special_tokens_map",
    "added_tokens",
    "chat_template",
    "vocab.json",
    "merges.txt",
)


def build_trainer(
    encoded: Encoded,
    parts: OpenStudent,
    settings: TrainSettings,
    *,
    checkpoints: Path,
    progress: Progress,
) -> SFTTrainer:
    """The trainer, ready to start or to continue.

    Weights and optimizer are float32: an update of a hundredth of a percent would vanish in the
    rounding of bfloat16 weights. Rows of like length share a batch, which wastes no time on
    padding.

    Args:
        encoded: Rows with their labels; the trainer neither tokenises nor cuts them.
        parts: The student to start from.
        settings: How to train.
        checkpoints: Where the trainer keeps them.
        progress: Told of each optimizer step.
    """
    watch = _Watch(progress)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with quiet():
        trainer = _Trainer(
            order=LikeLengths(
                [len(row.ids) for row in encoded.rows],
                batch=settings.batch_examples,
                seed=settings.seed,
            ),
            model=load_weights(parts.folder, parts.settings, dtype="float32"),
            args=_arguments(encoded, parts, settings, checkpoints=checkpoints),
            train_dataset=_dataset(encoded),
            processing_class=tokenizer_of(parts),
            peft_config=_adapters(settings),
            callbacks=[watch],
        )
    trainer.remove_callback(PrinterCallback)
    if encoded.relative_weights is not None:
        trainer.data_collator = _WithWeights(trainer.data_collator)
    return trainer


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with our order of rows and, on a CPU, our product with the vocabulary."""

    def __init__(self, *, order: LikeLengths, **arguments: Any) -> None:
        self._order = order
        super().__init__(**arguments)

    def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
        return self._order

    def compute_loss(self, model: Any, inputs: dict[str, Any], **more: Any) -> Any:
        alone = self.accelerator.num_processes == 1
        plain = alone and has_plain_head(base_of(self.model))
        if more.get("return_outputs") or not (plain or TRAIN_WEIGHT in inputs):
            return super().compute_loss(model, inputs, **more)
        with self.accelerator.autocast():
            if plain:
                loss, count = summed_loss(base_of(self.model), inputs)
            else:
                loss, count = weighted_loss(model, inputs)
        in_batch = more.get("num_items_in_batch")
        if in_batch is None:
            return loss / count
        # The gradients of processes are averaged, and the count is that of all of them.
        return loss * self.accelerator.num_processes / in_batch


class _WithWeights:
    """A collator that adds the weight of each row to what another one makes of the rest."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        weights = [row[TRAIN_WEIGHT] for row in rows]
        rest = [{name: v for name, v in row.items() if name != TRAIN_WEIGHT} for row in rows]
        batch: dict[str, Any] = self._inner(rest)
        return {**batch, TRAIN_WEIGHT: torch.tensor(weights, dtype=torch.float32)}


def has_plain_head(model: Any) -> bool:
    """Whether the logits are one product on a CPU, and nothing but it."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    altered = ("final_logit_softcapping", "logit_scale", "output_multiplier", "logits_scaling")
    return (
        isinstance(head, torch.nn.Linear)
        and getattr(head, "bias", None) is None
        and head.weight.device.type == "cpu"
        and not getattr(config, "output_router_logits", False)
        and all(getattr(config, name, None) is None for name in (*altered, "lm_head_multiplier"))
    )


def _dataset(encoded: Encoded) -> Dataset:
    weights = encoded.relative_weights
    return Dataset.from_dict(
        {
            "input_ids": [list(row.ids) for row in encoded.rows],
            "labels": [list(row.labels) for row in encoded.rows],
            **({} if weights is None else {TRAIN_WEIGHT: list(weights)}),
        }
    )


def _arguments(
    encoded: Encoded, parts: OpenStudent, settings: TrainSettings, *, checkpoints: Path
) -> SFTConfig:
    on_cpu = parts.device == "cpu"
    # A CPU gains nothing from large microbatches and loses the time it spends on their padding.
    usual = CPU_MICROBATCH if on_cpu else settings.batch_examples
    micro = min(settings.microbatch_examples or usual, settings.batch_examples)
    while settings.batch_examples % micro:
        micro -= 1  # whole microbatches only: else the batch would not be what was asked for
    steps = steps_of(len(encoded.rows), settings)
    return SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_examples // micro,
        learning_rate=settings.peak_learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup_fraction * steps),
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=None,
        gradient_checkpointing=not on_cpu,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=on_cpu,
        bf16=_multiplies_bfloat16(parts, settings),
        save_strategy="steps" if steps > settings.checkpoint_steps else "no",
        save_steps=settings.checkpoint_steps,
        save_total_limit=1,
        logging_steps=1,
        logging_nan_inf_filter=False,  # else a loss that is no number is logged as 0
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=encoded.relative_weights is None,  # the weights are a column
    )


def _multiplies_bfloat16(parts: OpenStudent, settings: TrainSettings) -> bool:
    if settings.dtype != "auto":
        return settings.dtype == "bfloat16"
    return cpu_multiplies_bfloat16() if parts.device == "cpu" else torch.cuda.is_bf16_supported()


def tokenizer_of(parts: OpenStudent) -> Any:
    """The student's tokenizer as a trainer needs it: with something to pad with."""
    tokenizer = load_hf_tokenizer(parts.folder.tokenizer_path, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _adapters(settings: TrainSettings) -> LoraConfig | None:
    if settings.method == "full":
        return None
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def check_answers(trainer: SFTTrainer, encoded: Encoded) -> None:
    """Let the trained student read one row, the shortest.

    The loss of a step is measured before its update, so that no loss tells of the last one.

    Raises:
        DivergedError: What it answers is no number.
    """
    model = trainer.model
    shortest = min(encoded.rows, key=lambda row: len(row.ids))
    ids_1_T = torch.tensor([shortest.ids], device=model.device)
    model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        logits_1_T_V = model(input_ids=ids_1_T).logits
    # A logit of minus infinity is a token that is not in use; their sum has to be a number.
    if not torch.logsumexp(logits_1_T_V.float(), dim=-1).isfinite().all():
        raise _diverged(f"the answers are no numbers after step {_step(trainer.state)}")


def save_trained(
    trainer: SFTTrainer, parts: OpenStudent, path: Path, *, dtype: Literal["float32", "source"]
) -> None:
    """Save the trained student, complete or not at all.

    The tokenizer's files are copied as they are, so that text is cut into the same tokens.

    Args:
        trainer: After its training.
        parts: The student that was trained.
        path: Where to.
        dtype: What was trained, or what the student came in: of weights around 0.1 bfloat16 drops
            updates below 0.0002, which is most of what a short training does.

    Raises:
        DivergedError: A weight, or its square, is no number; nothing is saved.
    """
    model = trainer.model
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    saved = torch.float32 if dtype == "float32" else _dtype_in(parts.folder.model_path)
    model = model.to(dtype=saved)
    _check_weights(model, step=_step(trainer.state))
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with quiet():
        model.save_pretrained(str(temporary), safe_serialization=True)
    for file in sorted(parts.folder.tokenizer_path.iterdir()):
        taken = file.name.startswith(
            ("tokenizer", "special_tokens", "added_tokens", "chat_template")
        )
        if taken or file.name in ("vocab.json", "merges.txt"):
            shutil.copyfile(file, temporary / file.name)
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


def _dtype_in(folder: Path) -> torch.dtype:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    found = getattr(config, "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _check_weights(model: Any, *, step: str) -> None:
    for name, weights in model.named_parameters():
        for value in torch.aminmax(weights.detach()):  # both are nan where one weight is
            # A norm squares what it is given: where that is infinite, it answers 0, a number.
            if not value.float().square().isfinite():
                dtype = str(weights.dtype).removeprefix("torch.")
                raise _diverged(
                    f"a weight of {name} is {value.item():g} in {dtype} after step {step}"
                )


def _step(state: Any) -> str:
    return f"{state.global_step} of {state.max_steps}"


def _diverged(what: str) -> DivergedError:
    return DivergedError(
        f"the training diverged: {what}; no student is saved",
        hint="lower `learning_rate`, and choose another --out or remove the folder",
    )


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Hands each step on to our own progress, notes the time, and stops what has diverged.

    The seconds stand in the log, so in each checkpoint: a continued training counts on from them.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._note = ""
        self._started = time.monotonic()

    def on_train_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.log_history:  # a checkpoint of an earlier version holds no seconds
            self._started -= state.log_history[-1].get("seconds", 0.0)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._progress.advance(note=self._note)

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise _diverged(f"the loss is {loss} at step {_step(state)}")
        state.log_history[-1]["seconds"] = time.monotonic() - self._started
        self._note = f"loss {loss:.3f}"
        tracking = current_tracking()
        if tracking is not None:
            names = ("loss", "learning_rate", "grad_norm", "epoch")
            numbers = {f"train/{name}": logs[name] for name in names if name in logs}
            tracking.log(numbers, step=state.global_step)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep bars and repeated advice of the libraries off the screen, where our progress stands."""
    import datasets

    shown, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if shown:
            hf_logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()
