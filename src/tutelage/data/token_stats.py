"""Token statistics: the student's log-probabilities and ranks of each target token."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError

ViewName: TypeAlias = Literal[
    "response_given_instruction",
    "response",
    "instruction_given_response",
    "instruction",
    "end_of_turn",
]
VIEW_NAMES: tuple[ViewName, ...] = (
    "response_given_instruction",
    "response",
    "instruction_given_response",
    "instruction",
)
"""Views from which metrics are computed."""
END_VIEW: Literal["end_of_turn"] = "end_of_turn"
"""First token of what ends the turn, after the whole response. It is in no score; the quality gate
asks how surprised the student is that the text ends here."""
SCORING_CONTRACT = 2
"""Version of what is scored (docs/scoring.md). Scores of different versions are not comparable.

1: header and context from a probe of the template. 2: each row is rendered as a whole, and header
and context are those of the row itself.
"""
RANK_CLIP = 100
"""Largest rank that is distinguished; higher ranks count as this (Rank-Surprisal Ratio, arXiv
2601.14249).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStats:
    """Statistics of the T target tokens of one view, with T at least 1.

    Attributes:
        logprobs_T: float32, nats, at most 0: log p(token | everything before it).
        ranks_T: uint8 in [1, 100], or None where not measured: 1 + the number of tokens of the
            vocabulary that are strictly more probable, clipped at 100.
        entropies_T: float32, nats, at least 0, or None: entropy of the student's distribution at
            that position.
        sum_squares_T: float32 in (0, 1], or None: sum over the vocabulary of squared
            probabilities at that position.
    """

    logprobs_T: NDArray[np.float32]
    ranks_T: NDArray[np.uint8] | None = None
    entropies_T: NDArray[np.float32] | None = None
    sum_squares_T: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.logprobs_T.ndim != 1 or not len(self.logprobs_T):
            raise DataError("token statistics need at least one target token")
        if not math.isfinite(float(self.logprobs_T.sum(dtype=np.float64))):
            raise DataError(
                "a token's log-probability is not finite",
                hint="record Unscored(reason='nonfinite') instead",
            )

    @property
    def tokens(self) -> int:
        """Number of target tokens, at least 1."""
        return len(self.logprobs_T)

    @property
    def mean_nll(self) -> float:
        """Mean negative log-likelihood, nats per target token, at least 0."""
        return -float(self.logprobs_T.sum(dtype=np.float64)) / self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Token statistics of one candidate, by view.

    Attributes:
        candidate_id: Whose reading this is.
        views: The views that were asked for, by name. The alone view of a text has exactly as
            many tokens as the view that has a context: they are the same token ids. `end_of_turn`
            is missing where the template ends a turn with nothing, or where it does not fit.
        straddles: True where a token crossed the border between a context and its target and was
            therefore counted to the context.
        truncated: True where the target was cut, on both sides alike, to fit the length limit.
        stripped: True where the template changed white space of the text, so that the rendered
            text was read and not the one in the data.
        control_tokens_in_data: True where a turn contains the text of a special token, which is
            read as that token, as in training.
        response_starts_T: int32, or None: for each target token of the response, the offset in
            characters of the rendered response where it starts.
        instruction_starts_T: The same for the instruction.
        vocabulary_tokens: How many tokens the student's distribution is over, or None where
            it is unknown: only metrics that compare an entropy with its maximum need it.
    """

    candidate_id: str
    views: Mapping[ViewName, TokenStats]
    straddles: bool = False
    truncated: bool = False
    stripped: bool = False
    control_tokens_in_data: bool = False
    response_starts_T: NDArray[np.int32] | None = field(default=None)
    instruction_starts_T: NDArray[np.int32] | None = field(default=None)
    vocabulary_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscored:
    """A candidate that could not be scored, with the reason instead of a number.

    Attributes:
        candidate_id: Whose reading is missing.
        reason: Why, in snake_case: `empty_response`, `empty_instruction`, `too_long`,
            `no_target_tokens`, `token_out_of_range`, `rewritten_by_template`, `template_refused`,
            `not_trained`, `nonfinite`, `student_failed`, or the candidate's own status.
        detail: For people: the numbers or the exception behind the reason.
    """

    candidate_id: str
    reason: str
    detail: str | None = None


ReadingOutcome: TypeAlias = Reading | Unscored
