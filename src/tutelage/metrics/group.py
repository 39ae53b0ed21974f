"""Metrics of a candidate relative to the other candidates of its instruction."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data.schemas import column
from tutelage.errors import DataError

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
    # L_k * rho_k is Brier_k, so no loss stands under a fraction and a loss of 0 needs no case.
    estimates: NDArray[np.float64] = (2 * briers - losses * (briers.sum() / total)) / total
    return estimates


def lark_weights(estimates_K: Sequence[float], *, keep: int) -> NDArray[np.float64]:
    """Training weights of the best `keep` of K candidates of one instruction; the rest get 0.

    q_k = (1 / B) (e_k - e_(B+1)) / (mean of the best B - e_(B+1)), where e_(B+1) is the best
    estimate that was left out, or the worst one where all are kept; uniform over the best B where
    these are all equal. Ties keep the candidate that stands first.

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
        DataError: A column that is needed is not there.
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
