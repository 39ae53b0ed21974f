"""Metrics of a whole set, such as all responses of one teacher, and metrics fitted on a set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data import Reading
from tutelage.errors import DataError, SpanMismatchError
from tutelage.metrics.group import with_column
from tutelage.metrics.response import divide

CASL_COLUMNS = ("grape", "aslec_drop", "first_token_logprob", "first_token_share")
"""Columns of a scores table from which `casl` is fitted: the target, then its three predictors."""


def rsr_of_set(*, mean_ranks: Sequence[float], mean_surprisals: Sequence[float]) -> float | None:
    """Rank-surprisal ratio of a set: mean rank over mean surprisal of its responses.

    The ratio of the two means, not the mean of the ratios. Lower is better: the set (a teacher)
    suits the student.

    Source: Rank-Surprisal Ratio (arXiv 2601.14249), dataset level.

    Args:
        mean_ranks: `mean_rank` of each response, in [1, 100].
        mean_surprisals: `mean_surprisal` of each response, nats per token.

    Returns:
        Ranks per nat, in (0, inf), or None where every surprisal is 0.

    Raises:
        DataError: No response, or lists of different length.

    Examples:
        >>> rsr_of_set(mean_ranks=[2.0, 4.0], mean_surprisals=[1.0, 2.0])
        2.0
    """
    if not mean_ranks or len(mean_ranks) != len(mean_surprisals):
        raise DataError(
            f"a set needs one mean rank and one mean surprisal per response, got {len(mean_ranks)} "
            f"and {len(mean_surprisals)}"
        )
    return divide(float(np.mean(mean_ranks)), float(np.mean(mean_surprisals)))


def car(*, mean_reward: float, mean_nll: float, beta: float = 1.0) -> float:
    """Compatibility-adjusted reward of a set: its quality minus a penalty for surprisal.

    mean reward / (1 + beta * mean loss). Higher is better: choose this teacher. At beta 0 it is
    the reward alone.

    Source: CAR (arXiv 2411.07133). The paper's beta could not be confirmed; 1 is ours.

    Args:
        mean_reward: Mean reward of the set's responses, at least 0. A reward model that gives
            logits must be shifted or squashed first: dividing a negative reward turns it around.
        mean_nll: Mean `mean_surprisal` of the set's responses under the untrained student.
        beta: Weight of the loss, at least 0.

    Returns:
        In the unit of the reward, in [0, mean_reward].

    Raises:
        DataError: A negative reward, loss or beta.

    Examples:
        >>> car(mean_reward=4.0, mean_nll=1.0)
        2.0
    """
    for name, value in (("mean_reward", mean_reward), ("mean_nll", mean_nll), ("beta", beta)):
        if not value >= 0:
            raise DataError(
                f"car: {name} is {value}, it must be at least 0",
                hint="shift or squash rewards that can be negative before averaging them",
            )
    return mean_reward / (1 + beta * mean_nll)


def delta_loss(*, base: Reading, current: Reading) -> float:
    """Decrease of a response's loss by training: loss under the base minus the current loss.

    Positive where the current student finds the response less surprising than the base student
    did, 0 where nothing changed. With a stronger reference as `current` it is the excess loss of
    Rho-1 (arXiv 2404.07965), per response instead of per token.

    Args:
        base: The candidate as the base student read it.
        current: The same candidate as the current student read it, with the same tokenizer.

    Returns:
        Nats per token, in (-inf, inf).

    Raises:
        SpanMismatchError: The two count different numbers of tokens.
        DataError: They are readings of two candidates.
    """
    if base.candidate_id != current.candidate_id:
        raise DataError(f"readings of {base.candidate_id} and {current.candidate_id} compared")
    before = base.views["response_given_instruction"]
    after = current.views["response_given_instruction"]
    if before.tokens != after.tokens:
        raise SpanMismatchError(
            f"candidate {base.candidate_id}: {before.tokens} tokens under the base student but "
            f"{after.tokens} under the current one",
            hint="compare students that share a tokenizer and a template",
        )
    return before.mean_nll - after.mean_nll


@dataclass(frozen=True, slots=True, kw_only=True)
class CaslFit:
    """Fitted line `grape` = intercept + a * rest + b * first + gamma * share.

    Attributes:
        intercept: Nats per token.
        rest: Weight of `aslec_drop`, the mean over all other tokens.
        first: Weight of `first_token_logprob`.
        share: Gamma, the weight of `first_token_share`, nats per token: what the length of steps
            alone does to `grape`.
        responses: How many responses it was fitted on.
    """

    intercept: float
    rest: float
    first: float
    share: float
    responses: int


def fit_casl(*, grape: NDArray[np.float64], causes_R_3: NDArray[np.float64]) -> CaslFit:
    """Fit how much of `grape` is explained by the length of steps.

    Args:
        grape: `grape` of R responses.
        causes_R_3: `aslec_drop`, `first_token_logprob` and `first_token_share` of each.

    Returns:
        The ordinary least-squares fit; up to rounding it does not depend on
        the order of responses.

    Raises:
        DataError: Fewer than 5 responses, or responses that do not tell the causes apart.
    """
    responses = len(grape)
    design = np.column_stack([np.ones(responses), causes_R_3])
    if responses <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        raise DataError(
            f"{responses} responses are not enough to separate the length of steps from their "
            "likelihood",
            hint="casl is fitted over a set: give it at least 5 responses with different steps",
        )
    weights = np.linalg.lstsq(design, grape, rcond=None)[0]
    return CaslFit(
        intercept=float(weights[0]),
        rest=float(weights[1]),
        first=float(weights[2]),
        share=float(weights[3]),
        responses=responses,
    )


def casl(*, grape: float, first_token_share: float, fit: CaslFit) -> float:
    """Mean log-probability, corrected for the length of steps: grape - gamma * share.

    Higher is better among candidates of one instruction.

    Source: ASLEC-CASL (arXiv 2604.06834). Deviation: step borders as in `aslec_drop`.

    Args:
        grape: Mean log-probability of the response, nats per token.
        first_token_share: Share of its tokens that begin a step, in (0, 1].
        fit: The fit over the set.

    Returns:
        Nats per token, in (-inf, inf).
    """
    return grape - fit.share * first_token_share


def with_casl(scores: pa.Table) -> tuple[pa.Table, CaslFit]:
    """Scores table with the column `casl`, fitted over the rows that have numbers.

    Args:
        scores: A table of the SCORES schema with the columns of `CASL_COLUMNS`.

    Returns:
        The same rows in the same order, null where a row has no numbers; and the fit.

    Raises:
        DataError: A column is missing, or the set cannot be fitted.
    """
    missing = [name for name in CASL_COLUMNS if name not in scores.column_names]
    if missing:
        raise DataError(
            f"the scores have no column {missing[0]!r}",
            hint="score again with --metrics casl, which includes its inputs",
        )
    values_R_4 = np.column_stack(
        [scores[name].cast(pa.float64()).to_numpy() for name in CASL_COLUMNS]
    )
    scored = np.isfinite(values_R_4).all(axis=1)
    fit = fit_casl(grape=values_R_4[scored, 0], causes_R_3=values_R_4[scored, 1:])
    column = [
        casl(grape=float(row[0]), first_token_share=float(row[3]), fit=fit)
        if np.isfinite(row).all()
        else None
        for row in values_R_4
    ]
    return with_column(scores, "casl", column), fit
