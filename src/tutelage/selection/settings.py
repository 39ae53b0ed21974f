"""The settings of a selection."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

RuleName: TypeAlias = Literal[
    "srt", "grape", "rsr", "ifd_top", "random", "longest", "all_original", "all_refined"
]


class SelectSettings(BaseModel):
    """Which rule decides, and how strictly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: RuleName = "srt"
    mode: Literal["safe", "paper"] = Field(
        default="safe", description="The truth table of the srt rule."
    )
    margin: float = Field(
        default=0.0,
        ge=0.0,
        description="srt, safe mode: how much better a refinement must be to win, in units of the metric compared.",
    )
    keep_fraction: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="ifd_top, random, longest: the share of examples to keep.",
    )
    keep_count: int | None = Field(
        default=None,
        ge=1,
        description="ifd_top, random, longest: how many examples to keep, instead of a share.",
    )
    per_source: bool = Field(
        default=False, description="ifd_top: apply the share within each source."
    )
    seed: int = Field(default=0, description="Of the random rule and of the nulls.")
    max_unscored_fraction: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Stop when more candidates than this could not be scored.",
    )
