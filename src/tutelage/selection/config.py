"""Settings of a selection."""

from collections.abc import Mapping
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

RuleName: TypeAlias = Literal[
    "srt",
    "grape",
    "rsr",
    "lark",
    "srt_pairwise",
    "best_of_n",
    "keep_all",
    "ifd_top",
    "random",
    "longest",
    "all_original",
    "all_refined",
    "permuted",
    "length_matched",
    "chosen_version",
    "refused_version",
    "cheap",
    "oracle",
    "extension",
]

SEVERAL: tuple[RuleName, ...] = ("grape", "rsr", "lark", "best_of_n", "random", "longest")
"""Rules that rank the candidates of an example, so that several can be kept."""

OTHER_SOURCES = "*"
"""Quota name of every source that is not named."""

BASELINES: tuple[RuleName, ...] = (
    "permuted",
    "length_matched",
    "chosen_version",
    "refused_version",
    "cheap",
)
"""Rules based on another rule, which the setting `of` names."""

LENGTHS = {"long": 1.0, "short": 4.0}
"""Default mixture: long to short answers, for students of up to 3B parameters (arXiv 2502.12143).
"""


class MixSettings(BaseModel):
    """Shares of the kinds of responses in the set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["teacher", "length"] = Field(
        description="How kinds of responses are distinguished."
    )
    shares: Mapping[str, float] = Field(
        default_factory=dict,
        description="By teacher: its name and its weight, such as {strong: 1, weak: 4}. By "
        "length: long and short; 1 to 4 by default.",
    )
    long_tokens: int | None = Field(
        default=None,
        ge=1,
        description="by length: a response is long from this many tokens; by default above the "
        "median of all responses that may be chosen.",
    )

    @field_validator("shares")
    @classmethod
    def _are_weights(cls, shares: Mapping[str, float]) -> Mapping[str, float]:
        for name, weight in shares.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"{name} has the weight {weight}; it must be above 0")
        return shares

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.by == "length" and self.shares and set(self.shares) != set(LENGTHS):
            raise ValueError("a mix by length needs the shares of long and short")
        if self.by == "teacher" and len(self.shares) < 2:  # noqa: PLR2004
            raise ValueError("a mix by teacher needs the shares of at least two teachers")
        if self.by == "teacher" and self.long_tokens is not None:
            raise ValueError("long_tokens is only for a mix by length")
        return self

    @property
    def weights(self) -> Mapping[str, float]:
        """Shares with the default filled in."""
        return self.shares or LENGTHS


class SelectSettings(BaseModel):
    """Settings of a selection: rule, thresholds, budget and gates."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: RuleName = "srt"
    of: RuleName = Field(
        default="srt",
        description="permuted, length_matched, cheap, chosen_version, refused_version: the rule "
        "on which they are based.",
    )
    truth: str | None = Field(
        default=None,
        min_length=1,
        description="oracle: the column of the data that marks rows with a faulty rewrite.",
    )
    truth_clean: tuple[str | int | float | bool | None, ...] = Field(
        default=("", "false", "no", "0", "none", "clean", "ok"),
        min_length=1,
        description="oracle: the values of that column that mean no fault, in any case; every "
        "other value is a fault.",
    )
    function: str | None = Field(
        default=None, description="extension: the rule's name in the file of extensions."
    )
    mode: Literal["safe", "paper"] = Field(
        default="safe", description="The truth table of the srt rule."
    )
    margin: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="srt in safe mode and srt_pairwise: how much better a rewrite must be to "
        "win, in units of the compared metric.",
    )
    use_filters: bool = Field(
        default=True,
        description="Exclude candidates that filters.parquet dropped, if the run has that file.",
    )
    gate: Literal["off", "not_wrong", "right"] = Field(
        default="not_wrong",
        description="Verdicts that may be chosen, if the run has verdicts.parquet: all; all but "
        "wrong and no_answer; only right.",
    )
    gate_check: str | None = Field(
        default=None,
        min_length=1,
        description="The check whose verdicts the gate uses, if a run has several; by default "
        "the most recent.",
    )
    gate_order: Literal["before", "after"] = Field(
        default="before",
        description="before: the gate is applied before the rule. after: the gate is applied to "
        "the rule's result.",
    )
    quality_gate: Literal["off", "calibrated"] = Field(
        default="off",
        description="calibrated: exclude versions in which detectors find a fault; the "
        "detectors are fitted on faults planted into the run's own rows.",
    )
    max_false_refusals: float = Field(
        default=0.05,
        gt=0.0,
        le=0.5,
        description="quality_gate: the share of clean versions that may be rejected.",
    )
    quality_gate_examples: int = Field(
        default=150,
        ge=60,
        description="quality_gate: the number of examples that faults are planted into; each "
        "takes about 24 scored texts.",
    )
    quality_gate_rejected: str | None = Field(
        default=None,
        description="quality_gate: a file of rows that a person rejected, as one more fault.",
    )
    keep_per_example: int = Field(
        default=1,
        ge=1,
        description="grape, rsr, lark, best_of_n, random, longest: the most candidates of an "
        "example that are kept.",
    )
    one_teacher: bool = Field(
        default=False,
        description="If several candidates of an example are kept, all are by the teacher of "
        "the best one.",
    )
    best_by: str | None = Field(
        default=None, description="best_of_n: the column of the scores that is compared."
    )
    best_is: Literal["high", "low"] = Field(
        default="high", description="best_of_n: which end of that column is better."
    )
    mix: MixSettings | None = None
    keep_fraction: float | None = Field(
        default=None, gt=0.0, le=1.0, description="The share of examples to keep."
    )
    keep_count: int | None = Field(
        default=None, ge=1, description="How many examples to keep, instead of a share."
    )
    per_source: bool = Field(
        default=False, description="Apply the share or the count within each source."
    )
    quotas: Mapping[str, int] = Field(
        default_factory=dict,
        description="The most examples to keep of each source, instead of a share or a count; "
        f'"{OTHER_SOURCES}" applies to each source that is not named.',
    )
    diversity: Literal["k_center", "facility_location"] | None = Field(
        default=None,
        description="Keep the examples that cover the others best. By default the rule's metric "
        "or a random draw decides which examples the share, the count or the quotas "
        "keep.",
    )
    diversity_of: Literal["instruction", "response"] = Field(
        default="instruction", description="The text that is embedded."
    )
    embedder: Mapping[str, JsonValue] = Field(
        default_factory=lambda: {"kind": "words"},
        description="diversity, cheap: as in docs/filters.md, such as {kind: model2vec, model: "
        "FOLDER}.",
    )
    seed: int = Field(default=0, description="Seed of all random draws, including the baselines.")
    max_unscored_fraction: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Stop if more than this share of the candidates could not be scored.",
    )

    @field_validator("quotas")
    @classmethod
    def _are_counts(cls, quotas: Mapping[str, int]) -> Mapping[str, int]:
        for source, count in quotas.items():
            if count < 0:
                raise ValueError(f"{source} has the quota {count}; it must be at least 0")
        return quotas

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.keep_fraction is not None and self.keep_count is not None:
            raise ValueError("give keep_fraction or keep_count, not both")
        if self.quotas and (self.keep_fraction is not None or self.keep_count is not None):
            raise ValueError("give quotas, or keep_fraction or keep_count, not both")
        if self.compared_rule == "ifd_top" and not self.cuts:
            raise ValueError("rule ifd_top needs keep_fraction, keep_count or quotas")
        if self.diversity and not self.cuts:
            raise ValueError("diversity needs keep_fraction, keep_count or quotas")
        if self.keep_per_example > 1 and self.rule not in SEVERAL:
            raise ValueError(
                f"rule {self.rule} does not support keep_per_example; rules that do: "
                f"{', '.join(SEVERAL)}"
            )
        if (self.rule == "best_of_n") != (self.best_by is not None):
            raise ValueError("best_by is required for rule best_of_n and not allowed otherwise")
        if (self.rule == "extension") != (self.function is not None):
            raise ValueError("function is required for rule extension and not allowed otherwise")
        return self

    @model_validator(mode="after")
    def _check_baselines(self) -> Self:
        if self.rule in BASELINES and self.of in (*BASELINES, "oracle", "lark", "best_of_n"):
            raise ValueError(f"rule {self.rule} cannot be made from {self.of}")
        if self.rule == "cheap" and self.of == "keep_all":
            raise ValueError(f"rule cheap cannot be made from {self.of}")
        if (self.rule == "oracle") != (self.truth is not None):
            raise ValueError(
                "truth names the column that says whether a row is faulty: it is required for rule "
                "oracle and not allowed otherwise"
            )
        if self.of == "extension":
            raise ValueError("no baseline can be made from an extension")
        return self

    @property
    def compared_rule(self) -> RuleName:
        """Rule whose metrics are compared; for a baseline, the rule on which it is based."""
        return self.of if self.rule in BASELINES else self.rule

    @property
    def cuts(self) -> bool:
        """Whether fewer than all examples are requested."""
        return bool(self.quotas) or self.keep_fraction is not None or self.keep_count is not None
