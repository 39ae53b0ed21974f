"""Settings of a training."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.models.config import DEVICE_PATTERN, DEVICES
from tutelage.student.config import TemplateSettings

FULL_LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 2e-4


def _is_auto(value: object) -> bool:
    """Whether a setting is automatic and so left out of the hash: older trainings stay valid."""
    return value == "auto"


class TrainSettings(TemplateSettings):
    """Settings of a training run, without the rows and the student."""

    method: Literal["full", "lora"] = Field(
        default="full",
        description="full: every weight. lora: low-rank adapters, merged at the end.",
    )
    epochs: int = Field(default=1, ge=1, description="How often each row is seen.")
    learning_rate: float | None = Field(
        default=None,
        gt=0.0,
        allow_inf_nan=False,
        description=f"Peak learning rate; by default {FULL_LEARNING_RATE} (full), "
        f"{LORA_LEARNING_RATE} (lora).",
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="Schedule of the learning rate after its peak."
    )
    warmup_fraction: float = Field(
        default=0.1,
        ge=0.0,
        lt=1.0,
        description="The share of steps in which the learning rate rises to its peak.",
    )
    batch_examples: int = Field(default=8, ge=1, description="Rows of one optimizer step.")
    microbatch_examples: int | None = Field(
        default=None,
        ge=1,
        description="Rows computed at once, halved where they do not fit into memory; by default "
        "the whole batch, on a CPU 4 or as many as have 4,096 tokens.",
    )
    max_tokens: int | None = Field(
        default=None,
        ge=2,
        description="The most tokens of a row; longer rows are left out and reported, never "
        "cut. By default the student's own limit.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the order of rows, of dropout and of the adapters."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Dtype of the matrix products; trained weights and the optimizer stay in "
        "float32. auto: bfloat16 if the hardware supports it, float16 on "
        "other NVIDIA GPUs.",
    )
    save_dtype: Literal["float32", "source"] = Field(
        default="float32",
        description="Dtype of the saved weights. float32: as they were trained. source: the "
        "student's original dtype; bfloat16 discards most of a short training run.",
    )
    device: str = Field(
        default="auto",
        pattern=DEVICE_PATTERN,
        description=DEVICES,
    )
    template: str = Field(
        default="chat",
        description="The template with which the student was scored: chat, alpaca, or a "
        "template file.",
    )
    turns: Literal["last", "all"] = Field(
        default="last", description="Assistant turns with loss: the last, or all."
    )
    row_weights: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: the loss of a row is weighted by its column train_weight, relative "
        "to the mean; rows without one count 1. off: all rows count the same.",
    )
    base_weights: Literal["auto", "float32", "bfloat16", "4bit"] = Field(
        default="auto",
        exclude_if=_is_auto,
        description="lora: dtype of the weights that are not trained. auto: bfloat16 on a "
        "GPU that supports it, otherwise float32. 4bit: NF4, needs "
        "bitsandbytes. The adapters are merged into the original weights in any "
        "case.",
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        default="auto",
        exclude_if=_is_auto,
        description="on: activations are recomputed for the gradients, which saves memory and "
        "takes about a third more time. auto: on, except on a CPU.",
    )
    padding_free: Literal["auto", "on", "off"] = Field(
        default="auto",
        exclude_if=_is_auto,
        description="on: rows of a microbatch are concatenated instead of padded. auto: on "
        "if FlashAttention is installed and the model reads concatenated rows as "
        "separate ones.",
    )
    liger: Literal["auto", "on", "off"] = Field(
        default="auto",
        exclude_if=_is_auto,
        description="The fused loss of the library liger-kernel. auto: on, with one NVIDIA or AMD "
        "GPU, if it is installed.",
    )
    lora_rank: int = Field(default=16, ge=1, description="lora: the rank of the adapters.")
    lora_alpha: int = Field(
        default=32, ge=1, description="lora: scale of the adapters, which is alpha / rank."
    )
    checkpoint_steps: int = Field(
        default=200,
        ge=1,
        description="Steps between checkpoints, from which an interrupted training run resumes.",
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads; by default all.")

    @model_validator(mode="after")
    def _is_for_adapters(self) -> Self:
        if self.base_weights in ("bfloat16", "4bit") and self.method != "lora":
            raise ValueError(
                f"base_weights {self.base_weights} is for method lora: weights that are trained "
                "are held in float32"
            )
        return self

    @property
    def peak_learning_rate(self) -> float:
        """Peak learning rate: the setting, or the default of the method."""
        if self.learning_rate is not None:
            return self.learning_rate
        return FULL_LEARNING_RATE if self.method == "full" else LORA_LEARNING_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpeed:
    """Speed of training a student.

    Attributes:
        tokens: Trained on in the steps that were timed, contexts too.
        seconds: These steps took.
        setup_seconds: It took to load the model and to make the trainer.
    """

    tokens: int
    seconds: float
    setup_seconds: float


def steps_of(rows: int, settings: TrainSettings) -> int:
    """Number of optimizer steps of a training."""
    return math.ceil(rows / settings.batch_examples) * settings.epochs
