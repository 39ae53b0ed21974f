"""Settings of an evaluation: tasks, and how the student answers."""

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.models.config import DEVICE_PATTERN, DEVICES
from tutelage.student.config import TemplateSettings

TaskKind: TypeAlias = Literal[
    "held_out", "gain", "choice", "exact_match", "ifeval", "steps", "lm_eval"
]


def _is_none(value: object) -> bool:
    return value is None


class TaskSettings(BaseModel):
    """Settings of one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1, pattern=r"^[\w.-]+$", description="Name of the task in tables and file names."
    )
    kind: TaskKind = Field(
        description="held_out: log-likelihood of reference answers; gain: how much the "
        "instruction helps with them; choice: the most likely of several answers; "
        "exact_match: a generated answer against a reference; ifeval: generated text against "
        "constraints a program checks; steps: what each generated reasoning step adds; "
        "lm_eval: a task of the lm-evaluation-harness."
    )
    path: str | None = Field(
        default=None,
        description="File of the items; for lm_eval a folder with your own task files.",
    )
    fields: dict[str, str] = Field(
        default_factory=dict, description="Field names of the file, by our names, if they differ."
    )
    step: Literal["original", "refined"] = Field(
        default="original", description="held_out, gain: the version to use of rows that have two."
    )
    prompt: str = Field(
        default="{question}", description="exact_match, steps, choice: the instruction."
    )
    check: Literal["maths", "number", "exact"] = Field(
        default="maths", description="exact_match: how answers are compared."
    )
    lead: str = Field(
        default="\nThe answer is ",
        description="steps: text between the reasoning and the answer.",
    )
    max_new_tokens: int = Field(
        default=256, ge=1, description="The most tokens of a generated answer."
    )
    limit: int | None = Field(
        default=None, ge=1, description="Maximum number of items, sampled by their ids."
    )
    harness_task: str | None = Field(default=None, description="lm_eval: the task's name there.")
    shots: int = Field(default=0, ge=0, description="lm_eval: examples in the prompt.")
    harness_filter: str | None = Field(
        default=None,
        exclude_if=_is_none,  # what was hashed before this setting was there stays as it was
        description="lm_eval: the filter that extracts the answers; by default the task's first "
        "one (strict-match for GSM8K).",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "lm_eval":
            if self.harness_task is None:
                raise ValueError("a task of kind lm_eval needs harness_task")
        elif self.path is None:
            raise ValueError(f"a task of kind {self.kind} needs path")
        if self.harness_filter is not None and self.kind != "lm_eval":
            raise ValueError(f"harness_filter has no effect in a task of kind {self.kind}")
        if "{question}" not in self.prompt:
            raise ValueError("prompt must contain {question}")
        return self


def _is_auto(value: object) -> bool:
    return value == "auto"


CPU_ANSWERS = 16
"""Answers that are generated at once on a CPU."""


class EvaluateSettings(TemplateSettings):
    """Settings of an evaluation: the student, its template and its generation."""

    template: str = Field(default="chat", description="chat, alpaca, or a template file.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto")
    device: str = Field(default="auto", pattern=DEVICE_PATTERN, description=DEVICES)
    backend: Literal["auto", "vllm-offline"] = Field(
        default="auto",
        exclude_if=_is_auto,  # what was hashed before this setting was there stays as it was
        description="vllm-offline: generate and compute likelihoods with vLLM in this process.",
    )
    max_length: int | None = Field(
        default=None, ge=2, description="Maximum length in tokens; longer items are too_long."
    )
    batch_examples: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="Answers generated at once; halved if they do not fit into memory. auto: as "
        "many as fit into the GPU's memory; 16 on a CPU.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the sample of items and of the harness."
    )

    def hashed(self) -> dict[str, Any]:
        """The settings as a key takes them: `auto` as the number that was the default before."""
        values = self.model_dump(mode="json")
        if values["batch_examples"] == "auto":
            values["batch_examples"] = CPU_ANSWERS
        return values
