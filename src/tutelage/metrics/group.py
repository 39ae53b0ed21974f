"""Metrics of several candidates together: of one instruction, or of a whole set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data import Reading
from tutelage.data.schemas import column
from tutelage.errors import DataError, SpanMismatchError
from tutelage.metrics.response import divide

_Ingredients: TypeAlias = tuple[str, int, float, float]
"""Columns: candidate id, row, mean surprisal, Brier score."""


def lark(*, losses_K: Sequence[float], briers_K: Sequence[float]) -> NDArray[np.float64] | None:
    """Expected learning speed (LARK) of each of K candidates of one instruction.

    (L_k / sum L) * (2 rho_k - sum(rho_i L_i) / sum L) with rho = Brier / L. Higher is better,
    among these candidates only.

    Source: LARK (arXiv 2605.30651). Deviations: the Brier score is over the whole vocabulary (see
    `brier`), and end-of-turn tokens are not scored.

    Args:
        losses_K: `mean_surprisal` of each candidate, nats per token, at least 0.
        briers_K: `brier` of each candidate, in [0, 2].

    Returns:
        float64, one estimate a candidate, without unit; or None where all losses are 0: there is
        nothing left to learn and nothing to compare.

    Raises:
        DataError: No candidate, or lists of different length.

    Examples:
        >>> lark(losses_K=[1.0, 1.0], briers_K=[0.5, 0.5]).tolist()
        [0.25, 0.25]
    """
    if not losses_K or len(losses_K) != len(briers_K):
        raise DataError(f"lark needs one loss and one Brier score per candidate, got {losses_K!r}")
    losses = np.asarray(losses_K, dtype=np.float64)
    briers = np.asarray(briers_K, dtype=np.float64)
    total = losses.sum()
    if total == 0:
        return None
    # L_k * rho_k is Brier_k, so no loss is a denominator and a loss of 0 needs no case.
    estimates: NDArray[np.float64] = (2 * briers - losses * (briers.sum() / total)) / total
    return estimates


def lark_weights(estimates_K: Sequence[float], *, keep: int) -> NDArray[np.float64]:
    """Training weights of the best `keep` of K candidates of one instruction; the rest get 0.

    q_k = (1 / B) (e_k - e_(B+1)) / (mean of the best B - e_(B+1)), where e_(B+1) is the best
    estimate that was left out, or the worst one where all are kept; uniform over the best B where
    these are all equal. Ties keep the candidate that comes first.

    Source: LARK (arXiv 2605.30651), the closed form with a chi-square penalty. Deviation: the
    paper needs a candidate that is left out; with keep at or above K we use the worst one, which
    then weighs 0 unless all are equal.

    Args:
        estimates_K: The `lark` of each candidate; finite.
        keep: How many candidates may weigh more than 0, at least 1.

    Returns:
        float64, in [0, 1], in the order given; they sum to 1.

    Raises:
        DataError: No candidate, an estimate that is not finite, or keep below 1.

    Examples:
        >>> lark_weights([4, 3, 2, 1], keep=2).round(4).tolist()
        [0.6667, 0.3333, 0.0, 0.0]
    """
    estimates = np.asarray(estimates_K, dtype=np.float64)
    if not len(estimates) or not np.isfinite(estimates).all():
        raise DataError(f"lark weights need finite estimates, got {list(estimates_K)!r}")
    if keep < 1:
        raise DataError(f"lark weights: keep is {keep}, it must be at least 1")
    order = np.argsort(-estimates, kind="stable")
    kept = order[:keep]
    floor = estimates[order[min(keep, len(order) - 1)]]
    gains = estimates[kept] - floor
    weights = np.zeros(len(estimates))
    weights[kept] = gains / gains.sum() if gains.sum() > 0 else 1 / len(kept)
    return weights


def with_lark(scores: pa.Table, *, keep: int = 3) -> pa.Table:
    """Scores table with the columns `lark` and `lark_weight`.

    Args:
        scores: A table of the SCORES schema with the columns `mean_surprisal` and `brier`.
        keep: How many candidates of an instruction may weigh more than 0, at least 1.

    Returns:
        The same rows in the same order. Both columns are null where a row has no numbers, and
        where all candidates of an instruction have loss 0. Ties within an instruction keep the
        smaller candidate id, so the result does not depend on the order of rows.

    Raises:
        DataError: A column that is needed is missing.
    """
    for name in ("mean_surprisal", "brier"):
        if name not in scores.column_names:
            raise DataError(
                f"the scores have no column {name!r}",
                hint="score again with --metrics lark, which includes its inputs",
            )
    pools: dict[str, list[_Ingredients]] = {}
    names = ("example_id", "candidate_id", "mean_surprisal", "brier")
    for row, values in enumerate(zip(*(scores[n].to_pylist() for n in names), strict=True)):
        example_id, candidate_id, loss, score = values
        if loss is not None and score is not None:
            pools.setdefault(str(example_id), []).append((str(candidate_id), row, loss, score))
    estimates: list[float | None] = [None] * len(scores)
    weights: list[float | None] = [None] * len(scores)
    for pool in pools.values():
        pool.sort()
        found = lark(losses_K=[p[2] for p in pool], briers_K=[p[3] for p in pool])
        if found is None:
            continue
        shares = lark_weights(found.tolist(), keep=keep)
        for (_, row, _, _), estimate, share in zip(pool, found, shares, strict=True):
            estimates[row], weights[row] = float(estimate), float(share)
    return with_column(with_column(scores, "lark", estimates), "lark_weight", weights)


def with_column(table: pa.Table, name: str, values: Sequence[float | None]) -> pa.Table:
    """Table with a float64 column added or replaced.

    Args:
        table: The table.
        name: Name of the column.
        values: One value per row; None for null.
    """
    numbers = pa.array(values, pa.float64())
    index = table.schema.get_field_index(name)
    field = column(name, pa.float64())
    if index < 0:
        return table.append_column(field, numbers)
    return table.set_column(index, field, numbers)


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
