"""Trainer based on TRL's `SFTTrainer`, for rows that are already tokenised."""

import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from tutelage.errors import MissingExtraError, SettingsError, StudentError
from tutelage.models import give_memory_back
from tutelage.models.hardware import kind_of
from tutelage.models.loading import memory_errors
from tutelage.progress import Progress, Silent
from tutelage.student.components import OpenStudent
from tutelage.student.engine import OutOfMemoryError
from tutelage.student.tokenizer import load_hf_tokenizer
from tutelage.training.config import TrainingSpeed, TrainSettings, steps_of
from tutelage.training.loss import (
    JoinedRows,
    base_of,
    fused_loss,
    in_parts,
    reads_joined_rows,
    rows_in,
    summed_loss,
    weighted_loss,
)
from tutelage.training.model_weights import (
    adapters_of,
    diverged,
    multiplied_dtype,
    quiet,
    starting_model,
    step_of,
)
from tutelage.training.processes import Processes, launched
from tutelage.training.tokenized_rows import NO_LOSS, TRAIN_WEIGHT, Encoded
from tutelage.training.trackers import current_tracking

# In which order rows are trained on: random, but rows of like length together.


POOL_BATCHES = 16
"""Batches in a pool within which rows are sorted by length: enough to avoid padding, few enough
that batches vary.
"""


class LikeLengths:
    """Sampler with batches of similar lengths; the order depends only on seed and epoch.

    A continued training therefore sees the order that it would have seen. Its parent's own
    grouped sampler uses a global generator and does not keep that promise.

    Args:
        lengths: Tokens of each row.
        batch: Rows of one optimizer step, at least 1.
        seed: At least 0.
        shared: An epoch is filled to a multiple of so many rows, those that all processes together
            compute at once. What it is filled with is the row behind the last one.
    """

    def __init__(self, lengths: Sequence[int], *, batch: int, seed: int, shared: int = 1) -> None:
        self._lengths = list(lengths)
        self._batch = batch
        self._seed = seed
        self._filling = -len(self._lengths) % shared
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths) + self._filling

    def __iter__(self) -> Iterator[int]:
        shuffler = random.Random(f"{self._seed}:{self._epoch}")
        order = list(range(len(self._lengths)))
        shuffler.shuffle(order)
        size = self._batch * POOL_BATCHES
        batches: list[list[int]] = []
        for start in range(0, len(order), size):
            pool = sorted(order[start : start + size], key=lambda i: -self._lengths[i])
            batches += [pool[at : at + self._batch] for at in range(0, len(pool), self._batch)]
        # Only a batch that is last may be short: rows are taken in a line, batch by batch.
        short = [batch for batch in batches if len(batch) < self._batch]
        whole = [batch for batch in batches if len(batch) == self._batch]
        shuffler.shuffle(whole)
        for batch in whole + short:
            yield from batch
        yield from [len(order)] * self._filling


CPU_MICROBATCH = 4
CPU_TOKENS = 4096
"""Tokens, with padding, that a CPU computes at once. There, a shortage of memory raises no error:
the operating system ends the process. 4 rows of 3,000 tokens would take 18 GB for 135M weights."""
_log = logging.getLogger(__name__)


def build_trainer(
    encoded: Encoded,
    parts: OpenStudent,
    settings: TrainSettings,
    *,
    checkpoints: Path,
    progress: Progress,
) -> SFTTrainer:
    """Build the trainer, ready to start or to resume.

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
    processes = launched()
    share = _microbatch(parts, settings, processes)
    watch = _Watch(progress)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    model = starting_model(parts, settings)
    joined = _joins_rows(model, parts, settings)
    with quiet():
        trainer = _Trainer(
            order=LikeLengths(
                [len(row.ids) for row in encoded.rows],
                batch=settings.batch_examples,
                seed=settings.seed,
                shared=share * processes.count if processes.count > 1 else 1,
            ),
            liger=_uses_liger(parts, settings, encoded),
            tokens_at_once=_tokens_at_once(parts, settings, processes),
            model=model,
            args=_arguments(encoded, parts, settings, checkpoints=checkpoints),
            train_dataset=_dataset(encoded, filled=processes.count > 1),
            processing_class=tokenizer_of(parts),
            peft_config=adapters_of(settings),
            callbacks=[watch],
        )
    trainer.remove_callback(PrinterCallback)
    if joined:
        trainer.data_collator = JoinedRows()
    elif encoded.relative_weights is not None:
        trainer.data_collator = _WithWeights(trainer.data_collator)
    return trainer


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """Subclass of TRL's trainer with a fixed row order, cheaper losses and split microbatches."""

    def __init__(
        self, *, order: LikeLengths, liger: bool, tokens_at_once: int | None, **arguments: Any
    ) -> None:
        self._order = order
        self._liger = liger
        self._tokens_at_once = tokens_at_once
        self._rows_at_once: int | None = None
        self._step_begun = -1
        self._of_step: list[Any] = []
        super().__init__(**arguments)

    def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
        return self._order

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Compute the gradients of a microbatch, split where it does not fit into memory.

        A backward pass that ended early has added to gradients already. So after a shortage the
        whole optimizer step is begun again, in halves; the loss is a sum over tokens divided by
        those of the step, and stays the same.
        """
        if self._step_begun != self.state.global_step:
            self._step_begun, self._of_step = self.state.global_step, []
        self._of_step.append(inputs)
        loss = self._try(model, [inputs], num_items_in_batch)
        while loss is None:
            self._halve()
            give_memory_back()
            model.zero_grad(set_to_none=True)
            loss = self._try(model, self._of_step, num_items_in_batch)
        return loss

    def _try(self, model: Any, microbatches: list[Any], in_batch: Any) -> Any:
        """Loss of the last microbatch, or None where one does not fit into memory."""
        step = super().training_step
        loss: Any = None
        try:
            with memory_errors(OutOfMemoryError):
                for inputs in microbatches:
                    rows = self._rows_of(inputs)
                    parts = [inputs] if rows >= rows_in(inputs) else in_parts(inputs, rows=rows)
                    loss = sum(step(model, part, num_items_in_batch=in_batch) for part in parts)
        except OutOfMemoryError as error:
            if self.accelerator.num_processes > 1:  # the others wait for gradients of this one
                raise does_not_fit(str(error), rows=max(map(rows_in, microbatches))) from error
            return None
        return loss

    def _rows_of(self, inputs: Any) -> int:
        """Rows of a microbatch to compute at once: fewer if memory was short or rows are long."""
        rows = self._rows_at_once or rows_in(inputs)
        if self._tokens_at_once is None or "position_ids" in inputs:
            return rows
        width = int(inputs["input_ids"].shape[1])
        return max(1, min(rows, self._tokens_at_once // width))

    def _halve(self) -> None:
        rows = self._rows_at_once or max(map(rows_in, self._of_step))
        if rows == 1:
            longest = max(inputs["input_ids"].shape[1] for inputs in self._of_step)
            raise does_not_fit(f"a single row of up to {longest} tokens", rows=1)
        self._rows_at_once = rows // 2
        _log.warning(
            "out of memory: microbatches of %d rows do not fit, %d rows are computed at once from "
            "here on; the batch and its loss stay the same",
            rows,
            self._rows_at_once,
        )

    def train_order(self) -> LikeLengths:
        """Row order of the first epoch."""
        self._order.set_epoch(0)
        return self._order

    def compute_loss(self, model: Any, inputs: dict[str, Any], **more: Any) -> Any:
        alone = self.accelerator.num_processes == 1
        base = base_of(self.model)
        plain = alone and has_plain_head(base) and (self._liger or is_on_cpu(base))
        if more.get("return_outputs") or not (plain or TRAIN_WEIGHT in inputs):
            return super().compute_loss(model, inputs, **more)
        with self.accelerator.autocast():
            if plain and self._liger:
                loss, count = fused_loss(base, inputs)
            elif plain:
                loss, count = summed_loss(base, inputs)
            else:
                loss, count = weighted_loss(model, inputs)
        in_batch = more.get("num_items_in_batch")
        if in_batch is None:
            return loss / count
        # The gradients of processes are averaged, and the count is that of all of them.
        return loss * self.accelerator.num_processes / in_batch


def does_not_fit(what: str, *, rows: int) -> StudentError:
    """Error for a training that runs out of memory, with what to change.

    Args:
        what: What did not fit.
        rows: How many rows were computed at once.
    """
    smaller = f"--microbatch {max(1, rows // 2)}, " if rows > 1 else ""
    return StudentError(
        f"the training run is out of memory: {what}",
        hint=f"{smaller}--gradient-checkpointing on, --method lora (with --base-weights 4bit), or "
        "a smaller --max-tokens; to split a model over several GPUs use FSDP, see docs/train.md",
    )


class _WithWeights:
    """Collator that adds the weight of each row to another collator's batch."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        weights = [row[TRAIN_WEIGHT] for row in rows]
        rest = [{name: v for name, v in row.items() if name != TRAIN_WEIGHT} for row in rows]
        batch: dict[str, Any] = self._inner(rest)
        return {**batch, TRAIN_WEIGHT: torch.tensor(weights, dtype=torch.float32)}


def is_on_cpu(model: Any) -> bool:
    """Whether the product with the vocabulary runs on the CPU."""
    return bool(model.get_output_embeddings().weight.device.type == "cpu")


def has_plain_head(model: Any) -> bool:
    """Whether the logits are a single matrix product."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    altered = ("final_logit_softcapping", "logit_scale", "output_multiplier", "logits_scaling")
    return (
        isinstance(head, torch.nn.Linear)
        and getattr(head, "bias", None) is None
        and not getattr(config, "output_router_logits", False)
        and all(getattr(config, name, None) is None for name in (*altered, "lm_head_multiplier"))
    )


def _dataset(encoded: Encoded, *, filled: bool) -> Dataset:
    """Rows as a dataset, with an optional row without loss that completes an epoch."""
    weights = encoded.relative_weights
    more = [encoded.rows[0]] if filled else []
    return Dataset.from_dict(
        {
            "input_ids": [list(row.ids) for row in (*encoded.rows, *more)],
            "labels": [
                *(list(row.labels) for row in encoded.rows),
                *([NO_LOSS] * len(row.labels) for row in more),
            ],
            **({} if weights is None else {TRAIN_WEIGHT: [*weights, *([1.0] * len(more))]}),
        }
    )


def _microbatch(parts: OpenStudent, settings: TrainSettings, processes: Processes) -> int:
    """Rows that a process computes at once.

    Raises:
        SettingsError: The batch cannot be divided among the processes.
    """
    if processes.count > 1 and ":" in settings.device:
        raise SettingsError(
            f"device is {settings.device}, but {processes.count} processes were launched: each has "
            "its own GPU",
            hint="leave --device out, or start one process without a launcher",
        )
    if settings.batch_examples % processes.count:
        raise SettingsError(
            f"batch_examples is {settings.batch_examples}, but {processes.count} processes were "
            "launched: they cannot share it evenly",
            hint=f"set --batch to a multiple of {processes.count}, or launch fewer processes",
        )
    share = settings.batch_examples // processes.count
    # A CPU gains nothing from large microbatches and loses the time it spends on their padding.
    usual = CPU_MICROBATCH if parts.device == "cpu" else share
    micro = min(settings.microbatch_examples or usual, share)
    while share % micro:
        micro -= 1  # whole microbatches only: else the batch would not be what was asked for
    return micro


def _tokens_at_once(
    parts: OpenStudent, settings: TrainSettings, processes: Processes
) -> int | None:
    """Limit of the tokens computed at once, or None where there is none."""
    # Processes have to take the same number of parts, and a given size is what was asked for.
    limited = parts.device == "cpu" and processes.count == 1
    return CPU_TOKENS if limited and settings.microbatch_examples is None else None


def _arguments(
    encoded: Encoded, parts: OpenStudent, settings: TrainSettings, *, checkpoints: Path
) -> SFTConfig:
    on_cpu = parts.device == "cpu"
    processes = launched()
    micro = _microbatch(parts, settings, processes)
    steps = steps_of(len(encoded.rows), settings)
    dtype = multiplied_dtype(parts, settings)
    saves = settings.gradient_checkpointing
    arguments = SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_examples // processes.count // micro,
        learning_rate=settings.peak_learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup_fraction * steps),
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=None,
        gradient_checkpointing=not on_cpu if saves == "auto" else saves == "on",
        gradient_checkpointing_kwargs={"use_reentrant": False},
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=on_cpu,
        # Only a model that also sees has weights that text does not use.
        ddp_find_unused_parameters="text_config" in parts.folder.config,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
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
    return _on_one_device(arguments, parts.device) if processes.count == 1 else arguments


def _on_one_device(arguments: SFTConfig, device: str) -> SFTConfig:
    """Restrict a process to one device, even if there are several.

    With several cards in sight, transformers would divide each microbatch among them
    (DataParallel), so that a batch would have as many times the rows that were asked for.
    """
    _ = arguments.device  # found out here, at its first use
    arguments._n_gpu = min(1, arguments.n_gpu)  # noqa: SLF001  (there is no argument for it)
    kind, _, number = device.partition(":")
    if number:
        getattr(torch, kind).set_device(int(number))
        arguments.__dict__["_setup_devices"] = torch.device(device)
    return arguments


def _joins_rows(model: Any, parts: OpenStudent, settings: TrainSettings) -> bool:
    """Whether rows are joined instead of padded.

    Raises:
        SettingsError: They are to be, and the model does not read joined rows as separate ones.
    """
    if settings.padding_free == "off":
        return False
    if settings.padding_free == "auto":
        flash = kind_of(parts.device) == "cuda" and is_flash_attn_2_available()
        if not flash or not reads_joined_rows(model):
            return False
        model.set_attn_implementation("flash_attention_2")
        return True
    if not reads_joined_rows(model):
        raise SettingsError(
            f"padding_free: a {parts.folder.model_type} model does not read joined rows as "
            "separate ones",
            hint="set padding_free to off: rows are then padded",
        )
    return True


def _uses_liger(parts: OpenStudent, settings: TrainSettings, encoded: Encoded) -> bool:
    """Whether the loss is computed by liger-kernel.

    Raises:
        MissingExtraError: It is to be, and it is not installed.
        SettingsError: It is to be, and it cannot.
    """
    if settings.liger == "off":
        return False
    there = find_spec("liger_kernel") is not None
    fits = kind_of(parts.device) in ("cuda", "xpu") and launched().count == 1
    weighted = encoded.relative_weights is not None
    if settings.liger == "auto":
        return there and fits and not weighted
    if not there:
        raise MissingExtraError("liger: on needs liger-kernel", hint="pip install liger-kernel")
    if weighted or not fits:
        raise SettingsError(
            "liger: on is for one GPU and rows of equal weight",
            hint="set liger to auto, or --weights off",
        )
    return True


def tokenizer_of(parts: OpenStudent) -> Any:
    """Tokenizer of the student with a padding token, as a trainer needs it."""
    tokenizer = load_hf_tokenizer(parts.folder.tokenizer_path, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_answers(trainer: SFTTrainer, encoded: Encoded) -> None:
    """Check that the trained student can read the shortest row.

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
        raise diverged(f"the answers are no numbers after step {step_of(trainer.state)}")


def measured_speed(
    encoded: Encoded, parts: OpenStudent, settings: TrainSettings, *, seconds: float
) -> TrainingSpeed:
    """The first optimizer steps; see `training_speed`.

    Args:
        encoded: The rows.
        parts: The student.
        settings: How it would be trained.
        seconds: Steps are added until so much time has passed.
    """
    watch = _Stopwatch(seconds)
    opened = time.monotonic()
    settings = settings.model_copy(update={"epochs": 1})
    with TemporaryDirectory(prefix="tutelage-") as folder:
        trainer = build_trainer(
            encoded, parts, settings, checkpoints=Path(folder), progress=Silent()
        )
        trainer.add_callback(watch)
        with quiet():
            trainer.train()
        order = list(trainer.train_order())
    ends, batch = watch.ends, settings.batch_examples
    first = 1 if len(ends) > 1 else 0
    began = ends[0] if first else watch.began
    rows = order[first * batch : len(ends) * batch]
    return TrainingSpeed(
        tokens=sum(len(encoded.rows[i].ids) for i in rows),
        seconds=ends[-1] - began,
        setup_seconds=watch.began - opened,
    )


class _Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Trainer callback that times steps and stops after a time limit."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.began = time.monotonic()
        self.ends: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        self.ends.append(time.monotonic())
        if len(self.ends) > 1 and self.ends[-1] - self.began >= self._seconds:
            control.should_training_stop = True


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Trainer callback that reports progress and stops a training that diverged.

    The seconds are in the log, so in each checkpoint: a continued training counts on from them.
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
            raise diverged(f"the loss is {loss} at step {step_of(state)}")
        state.log_history[-1]["seconds"] = time.monotonic() - self._started
        self._note = f"loss {loss:.3f}"
        tracking = current_tracking()
        if tracking is not None:
            names = ("loss", "learning_rate", "grad_norm", "epoch")
            numbers = {f"train/{name}": logs[name] for name in names if name in logs}
            tracking.log(numbers, step=state.global_step)
