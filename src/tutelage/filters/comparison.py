"""Comparison of filters: what each keeps, their overlap, and the part that length explains."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data.schemas import FILTER_COMPARISON, FILTER_OVERLAPS, FILTER_REASONS
from tutelage.errors import DataError
from tutelage.filters.candidate_texts import compute, pool_of
from tutelage.filters.pipeline import FilterResult
from tutelage.stats.rank_correlation import spearman


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Filters compared with each other.

    Attributes:
        filters: One row for each filter: what it keeps and how that relates to length.
        overlaps: One row for each pair of filters.
        reasons: One row for each filter and reason.
    """

    filters: pa.Table
    overlaps: pa.Table
    reasons: pa.Table


def compare(results: Sequence[FilterResult], candidates: pa.Table) -> Comparison:
    """Compare filters that decided on the same candidates.

    Args:
        results: From `try_filters`.
        candidates: The table they decided on.

    Raises:
        DataError: The filters did not decide on these candidates, in this order.
    """
    pool = pool_of(candidates)
    for result in results:
        if result.decisions["candidate_id"].to_pylist() != list(pool.candidate_ids):
            raise DataError(
                f"filter {result.name!r} decided on {len(result.decisions)} candidates, "
                f"not on the {len(pool)} of the table",
                hint="compare the results of try_filters, where every filter sees everything",
            )
    lengths = compute.fill_null(compute.utf8_length(pool.responses), -1)
    characters = np.asarray(lengths, dtype=np.float64)
    kept = {r.name: np.asarray(r.decisions["kept"]).astype(bool) for r in results}
    return Comparison(
        filters=pa.Table.from_pylist(
            [_filter_row(result, characters) for result in results], schema=FILTER_COMPARISON
        ),
        overlaps=pa.Table.from_pylist(
            [_overlap_row(a, b, kept) for a, b in combinations(kept, 2)],
            schema=FILTER_OVERLAPS,
        ),
        reasons=pa.Table.from_pylist(
            [row for result in results for row in _reason_rows(result)],
            schema=FILTER_REASONS,
        ),
    )


def _filter_row(result: FilterResult, characters: NDArray[np.float64]) -> dict[str, object]:
    kept = np.asarray(result.decisions["kept"]).astype(bool)
    answered = characters >= 0
    measured = np.asarray(result.decisions["value"].is_valid()).astype(bool) & answered
    values = np.asarray(compute.fill_null(result.decisions["value"], 0.0), dtype=np.float64)
    return {
        "filter": result.name,
        "kind": result.kind,
        "candidates": len(kept),
        "kept": int(kept.sum()),
        "kept_fraction": float(kept.mean()) if len(kept) else None,
        "mean_characters_kept": _mean(characters[kept & answered]),
        "mean_characters_dropped": _mean(characters[~kept & answered]),
        "measured": int(measured.sum()),
        "length_correlation": spearman(values[measured], characters[measured]),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _overlap_row(a: str, b: str, kept: dict[str, NDArray[np.bool_]]) -> dict[str, object]:
    total = len(kept[a])
    both = int((kept[a] & kept[b]).sum())
    either = int((kept[a] | kept[b]).sum())
    chance = float(kept[a].sum()) * float(kept[b].sum()) / total if total else 0.0
    union = float(kept[a].sum()) + float(kept[b].sum()) - chance
    return {
        "filter_a": a,
        "filter_b": b,
        "kept_by_both": both,
        "kept_by_either": either,
        "jaccard": both / either if either else None,
        "jaccard_by_chance": chance / union if union else None,
    }


def _reason_rows(result: FilterResult) -> list[dict[str, object]]:
    pairs = zip(
        result.decisions["kept"].to_pylist(), result.decisions["reason"].to_pylist(), strict=True
    )
    return [
        {"filter": result.name, "kept": kept, "reason": reason, "candidates": count}
        for (kept, reason), count in sorted(Counter(pairs).items(), key=lambda e: (-e[1], str(e)))
    ]
