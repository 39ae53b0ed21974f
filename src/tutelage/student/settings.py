"""The settings of the student's room."""

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

DtypeName: TypeAlias = Literal["float32", "bfloat16", "float16"]
BackendName: TypeAlias = Literal["auto", "packed", "transformers"]
Statistics: TypeAlias = Literal["nll", "full"]
"""`nll`: log-probabilities only; `full`: also ranks, entropies and sums of squares."""


class StudentSettings(BaseModel):
    """Which model reads, through which template, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        description="A model folder, a hub id, or the alias of a bundled model (smollm2-135m)."
    )
    template: str = Field(
        default="chat",
        description="`chat` (the student's own), `alpaca`, or the path of a template file.",
    )
    dtype: Literal["auto"] | DtypeName = Field(
        default="auto", description="auto: bfloat16 where the hardware computes in it, or float32."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N.",
    )
    backend: BackendName = Field(
        default="auto",
        description="auto: `packed` for the decoders it knows on a CPU, `transformers` elsewhere.",
    )
    native: bool = Field(
        default=True, description="Compile some steps for this CPU, where there is a C compiler."
    )
    batch_tokens: int = Field(
        default=4096, ge=1, description="At most this many tokens are computed at once."
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        description="The most tokens a view may have; by default the model's own limit, or 8192.",
    )
    on_overflow: Literal["drop", "truncate"] = Field(
        default="drop",
        description="drop: status too_long. truncate: cut the target on both sides alike.",
    )
    turns: Literal["last", "all"] = Field(
        default="last", description="Which assistant turns are read; all turns are pooled."
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
    use_cache: bool = Field(default=True, description="Keep readings and reuse them.")
    cache_path: Path | None = Field(
        default=None, description="By default readings.sqlite in tutelage's cache folder."
    )
