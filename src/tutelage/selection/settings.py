"""The settings of a selection."""

from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
        allow_inf_nan=False,
        description="srt, safe mode: how much better a refinement must be to win, in units of "
        "the metric compared.",
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
        default=False, description="ifd_top: apply the share or the count within each source."
    )
    seed: int = Field(default=0, description="Of the random rule and of the nulls.")
    max_unscored_fraction: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Stop when more candidates than this could not be scored.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.keep_fraction is not None and self.keep_count is not None:
            raise ValueError("give keep_fraction or keep_count, not both")
        if self.rule == "ifd_top" and self.keep_fraction is None and self.keep_count is None:
            raise ValueError("rule ifd_top needs keep_fraction or keep_count")
        return self
