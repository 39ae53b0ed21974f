"""Settings of the student and of its template."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from tutelage.models.config import DEVICE_PATTERN, DEVICES, DtypeName, name_of_a_key
from tutelage.student.passages import CPU_TOKENS

BackendName: TypeAlias = Literal["auto", "packed", "transformers", "vllm", "vllm-offline"]
Statistics: TypeAlias = Literal["nll", "ranks", "full"]
"""`nll`: log-probabilities only; `ranks`: ranks too; `full`: also entropies and sums of squares."""


TEMPLATE_DATE = date(2026, 1, 1)
"""Fixed date for templates that use today's date, so that scores do not change."""
_SET_BY_US = {
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "raise_exception",
    "strftime_now",
}


def _is_none(value: object) -> bool:
    return value is None


def _is_one(value: object) -> bool:
    return value == 1


def _is_usual_fraction(value: object) -> bool:
    return value == 0.9  # noqa: PLR2004  (the default)


def _is_default(value: object) -> bool:
    return value in ({}, TEMPLATE_DATE, "include")


class TemplateSettings(BaseModel):
    """Settings of the template, the same for scoring, training and evaluation.

    Settings with their default values are left out when they are written or hashed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    template_args: dict[str, JsonValue] = Field(
        default_factory=dict,
        exclude_if=_is_default,
        description="Arguments of the chat template, such as enable_thinking: false.",
    )
    template_date: date = Field(
        default=TEMPLATE_DATE,
        exclude_if=_is_default,
        description="The date (YYYY-MM-DD) that chat templates see as today.",
    )
    thinking: Literal["include", "exclude"] = Field(
        default="include",
        exclude_if=_is_default,
        description="include: thinking is part of the response. exclude: it is removed from "
        "assistant turns before they are rendered.",
    )

    @field_validator("template_args")
    @classmethod
    def _arguments_are_free(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(_SET_BY_US & set(value))
        if taken:
            raise ValueError(f"{taken[0]!r} is set by tutelage; template_date sets the date")
        return value


def template_values(settings: TemplateSettings) -> Mapping[str, Any]:
    """Values of the `TemplateSettings` fields of a settings object that extends them, by name."""
    return {name: getattr(settings, name) for name in TemplateSettings.model_fields}


class StudentSettings(TemplateSettings):
    """Settings of the student: model, template and limits."""

    model: str = Field(
        description="A model folder, a hub id, or the alias of a bundled model (smollm2-135m)."
    )
    template: str = Field(
        default="chat",
        description="`chat` (the student's own), `alpaca`, or the path of a template file.",
    )
    dtype: Literal["auto"] | DtypeName = Field(
        default="auto",
        description="auto: bfloat16 if the hardware supports it, otherwise float16 on a GPU and "
        "float32 on a CPU.",
    )
    device: str = Field(
        default="auto",
        pattern=DEVICE_PATTERN,
        description=DEVICES,
    )
    backend: BackendName = Field(
        default="auto",
        description="auto: `packed` for the decoders it knows on a CPU, `transformers` elsewhere. "
        "vllm: a vLLM server, see base_url. vllm-offline: vLLM in this process, on a GPU.",
    )
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = Field(
        default=None,
        exclude_if=_is_none,
        description="Split a model that does not fit on one GPU across all GPUs and the CPU, as "
        "transformers does (needs accelerate).",
    )
    tensor_parallel: int = Field(
        default=1,
        ge=1,
        exclude_if=_is_one,
        description="vllm-offline: the number of GPUs for tensor parallelism.",
    )
    gpu_memory_fraction: float = Field(
        default=0.9,
        gt=0.0,
        le=1.0,
        exclude_if=_is_usual_fraction,
        description="vllm-offline: the fraction of each GPU's memory to use.",
    )
    base_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of the vLLM server that serves `model`, such as http://127.0.0.1:8000/v1.",
    )
    served_model: str | None = Field(
        default=None,
        min_length=1,
        description="The student's name on the vLLM server; needed if it serves several models.",
    )
    api_key_env: Annotated[str | None, AfterValidator(name_of_a_key)] = Field(
        default=None,
        description="The environment variable with the vLLM server's key; the key is never stored.",
    )
    requests_in_flight: int = Field(
        default=4, ge=1, description="Requests that a vLLM server gets at the same time."
    )
    native: bool = Field(
        default=True, description="Compile some operations for this CPU, if there is a C compiler."
    )
    batch_tokens: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto",
        description="Maximum tokens per batch; a batch that does not fit into memory is halved. "
        "auto: as many as fit into the GPU's free memory; on a CPU "
        f"{CPU_TOKENS}, with two batches at once.",
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        description="Maximum tokens per scored text; by default the model's own limit, or 8192.",
    )
    on_overflow: Literal["drop", "truncate"] = Field(
        default="drop",
        description="drop: the candidate gets the status too_long. truncate: its target is "
        "truncated, equally in both texts of a ratio.",
    )
    turns: Literal["last", "all"] = Field(
        default="last", description="Assistant turns to score: the last, or all together."
    )
    score_end_of_turn: bool = Field(
        default=False, description="Count the token that ends the turn as part of the response."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run Python code from the model's repository."
    )
    weights: Literal["safetensors", "pickle"] = Field(
        default="safetensors", description="pickle: also load .bin files, which can run code."
    )
    use_cache: bool = Field(default=True, description="Cache token statistics and reuse them.")
    cache_path: Path | None = Field(
        default=None,
        description="The cache file; by default readings.sqlite in tutelage's cache folder.",
    )

    @model_validator(mode="after")
    def _server_is_described(self) -> Self:
        if (self.backend == "vllm") != (self.base_url is not None):
            raise ValueError("backend vllm and base_url (--student-url) belong together")
        if self.backend != "vllm" and (self.served_model or self.api_key_env):
            raise ValueError("served_model and api_key_env are for backend vllm")
        if self.device_map is not None and self.backend not in ("auto", "transformers"):
            raise ValueError("device_map is for backend transformers")
        if self.tensor_parallel > 1 and self.backend != "vllm-offline":
            raise ValueError(
                "tensor_parallel is for backend vllm-offline; a server has its own flag for it"
            )
        if self.backend == "vllm" and self.dtype == "auto":
            # Numbers of two dtypes must not meet in one ratio, and the server does not tell.
            raise ValueError("set dtype (--dtype) to the dtype with which the server was started")
        return self
