"""Pipeline of filters, applied one after the other or each on its own, and their comparison."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data import OK
from tutelage.data.extensions import extension_named
from tutelage.data.schemas import (
    FILTER_COMPARISON,
    FILTER_OVERLAPS,
    FILTER_REASONS,
    FINAL_DECISIONS,
)
from tutelage.errors import DataError, SettingsError
from tutelage.filters.candidates import PASSED_ALL, Pool, Verdicts, compute, pool_of
from tutelage.filters.classifier import classify
from tutelage.filters.config import (
    ClassifierSettings,
    ColumnSettings,
    ContaminationSettings,
    DuplicatesSettings,
    EchoSettings,
    ExactDuplicatesSettings,
    ExtensionSettings,
    FilterSettings,
    IfdSettings,
    LengthSettings,
    NearDuplicatesSettings,
    PassRateSettings,
    SemanticDuplicatesSettings,
    SimilaritySettings,
    TeacherRatingSettings,
)
from tutelage.filters.contamination import drop_contaminated
from tutelage.filters.duplicates import drop_exact_duplicates, drop_near_duplicates
from tutelage.filters.embeddings import make_embedder
from tutelage.filters.llm_difficulty import NOT_IN_JOURNAL, TEACHER_FAILED, rate_difficulty
from tutelage.filters.numeric import (
    Numbers,
    TokenCounter,
    column_numbers,
    drop_echoes,
    keep_band,
    measure_length,
    measure_pass_rate,
)
from tutelage.filters.similarity import drop_semantic_duplicates, measure_similarity
from tutelage.stats.rank_correlation import spearman
from tutelage.teacher import Teacher

# The filter of an extension: a user's function says why a candidate is dropped.


KEPT = "kept"
"""Reason of a candidate that the function keeps."""

_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")


def judge_by_extension(pool: Pool, function: str) -> Verdicts:
    """Apply a user's function to each candidate.

    Raises:
        DataError: It failed, or gave something other than None or a reason.
    """
    asked = extension_named("filter", function)
    reasons = []
    rows: Any = zip(
        pool.candidate_ids, pool.instructions.to_pylist(), pool.responses.to_pylist(), strict=True
    )
    for candidate_id, instruction, response in rows:
        about = f"candidate {candidate_id}"
        told = asked.call(
            {"candidate_id": candidate_id, "instruction": instruction, "response": response},
            about=about,
        )
        if told is not None and not (isinstance(told, str) and _REASON.fullmatch(told)):
            raise DataError(
                f"extension filter {function}: gave {told!r} for {about}",
                hint="give None to keep it, or one snake_case word that says why it is dropped",
            )
        reasons.append(told or KEPT)
    return Verdicts(
        kept_N=np.array([reason == KEPT for reason in reasons], dtype=np.bool_),
        reasons_N=reasons,
        values_N=np.zeros(len(reasons)),
        known_N=np.zeros(len(reasons), dtype=np.bool_),
        details_N=[None] * len(reasons),
    )


# From the settings of one filter to its verdicts.


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Inputs that filters may need besides the candidates.

    Attributes:
        scores: The scores table, for lengths in tokens and for columns of numbers.
        teacher: For ratings.
        count_tokens: For lengths in tokens; without it the scores table counts.
    """

    scores: pa.Table | None = None
    teacher: Teacher | None = None
    count_tokens: TokenCounter | None = None


async def judge(pool: Pool, settings: FilterSettings, means: Means) -> Verdicts:
    """Decide on candidates that all have text.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        means: Inputs besides the candidates.

    Raises:
        SettingsError: The filter needs scores or a teacher that are missing.
        DataError: A table or a set is not what it should be.
        MissingExtraError: The filter needs a library that is not installed.
    """
    match settings:
        case ContaminationSettings() | EchoSettings():
            return _judge_copies(pool, settings)
        case ExactDuplicatesSettings() | NearDuplicatesSettings() | SemanticDuplicatesSettings():
            return _judge_duplicates(pool, settings, means)
        case SimilaritySettings():
            return _judge_similarity(pool, settings)
        case ClassifierSettings() | ExtensionSettings():
            return _judge_one_by_one(pool, settings)
        case TeacherRatingSettings():
            if means.teacher is None:
                raise SettingsError("the filter teacher_rating needs a teacher")
            return keep_band(pool, await rate_difficulty(pool, settings, means.teacher), settings)
        case _:
            return keep_band(pool, _look_up(pool, settings, means), settings)


def _judge_one_by_one(pool: Pool, settings: ClassifierSettings | ExtensionSettings) -> Verdicts:
    match settings:
        case ClassifierSettings():
            return _judge_class(pool, settings)
        case ExtensionSettings():
            return judge_by_extension(pool, settings.function)


def _look_up(
    pool: Pool,
    settings: LengthSettings | PassRateSettings | IfdSettings | ColumnSettings,
    means: Means,
) -> Numbers:
    scores = means.scores
    match settings:
        case LengthSettings():
            return measure_length(pool, settings, scores=scores, count_tokens=means.count_tokens)
        case PassRateSettings():
            return measure_pass_rate(pool, settings, scores=scores)
        case IfdSettings(metric=column, student=student):
            return column_numbers(pool, column, scores=scores, student=student)
        case ColumnSettings(column=column, student=student):
            return column_numbers(pool, column, scores=scores, student=student)


def _judge_copies(pool: Pool, settings: ContaminationSettings | EchoSettings) -> Verdicts:
    match settings:
        case ContaminationSettings():
            return drop_contaminated(pool, settings)
        case EchoSettings():
            return drop_echoes(pool, settings)


def _judge_duplicates(pool: Pool, settings: DuplicatesSettings, means: Means) -> Verdicts:
    match settings:
        case ExactDuplicatesSettings():
            return drop_exact_duplicates(pool, settings, scores=means.scores)
        case NearDuplicatesSettings():
            return drop_near_duplicates(pool, settings, scores=means.scores)
        case SemanticDuplicatesSettings():
            embedder = make_embedder(settings.embedder)
            return drop_semantic_duplicates(pool, settings, embedder, scores=means.scores)


def _judge_similarity(pool: Pool, settings: SimilaritySettings) -> Verdicts:
    embedder = make_embedder(settings.embedder)
    verdicts = keep_band(pool, measure_similarity(pool, settings, embedder), settings)
    return replace(verdicts, facts={"embedder": embedder.name})


def _judge_class(pool: Pool, settings: ClassifierSettings) -> Verdicts:
    classified = classify(pool, settings)
    facts: dict[str, str | int | float] = {"training_texts": classified.training_texts}
    if classified.held_out_accuracy is not None and classified.held_out_majority is not None:
        facts["held_out_accuracy"] = classified.held_out_accuracy
        facts["held_out_majority"] = classified.held_out_majority
    return replace(keep_band(pool, classified.probabilities, settings), facts=facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterResult:
    """Decisions of one filter.

    Attributes:
        name: Unique among the filters of a call.
        kind: The filter's kind.
        decisions: `FILTER_DECISIONS`, one row for each candidate it was given, in their order.
        facts: What the filter says about all of them, such as the embedder's name.
        seconds: How long it took.
    """

    name: str
    kind: str
    decisions: pa.Table
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    seconds: float = 0.0

    def tally(self) -> dict[str, int]:
        """Count of each reason."""
        return dict(sorted(Counter(map(str, self.decisions["reason"].to_pylist())).items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """Decisions of filters applied one after the other.

    Attributes:
        results: One for each filter; each was given what those before it kept.
        final: `FINAL_DECISIONS`, one row for each candidate, in the order of the table: the
            decision of the filter that dropped it, or `passed_all`.
    """

    results: tuple[FilterResult, ...]
    final: pa.Table


def apply_filters(
    candidates: pa.Table,
    *,
    filters: Sequence[FilterSettings],
    scores: pa.Table | None = None,
    teacher: Teacher | None = None,
    count_tokens: TokenCounter | None = None,
) -> Filtered:
    """Apply filters one after the other; each gets what those before it kept.

    Nothing is removed: the final table has one row for each candidate, in the order given. A
    candidate without text keeps its own status as the reason, and no filter's name.

    Args:
        candidates: A candidates table or an examples table.
        filters: In the order in which they are applied; at least one.
        scores: The scores table, where a filter needs it.
        teacher: Where a filter asks one.
        count_tokens: Counts the tokens of texts, instead of the scores table.

    Raises:
        SettingsError: A filter needs scores or a teacher that are missing.
        DataError: A table is not what it should be, or a set cannot be read.
        MissingExtraError: A filter needs a library that is not installed.
    """
    means = Means(scores=scores, teacher=teacher, count_tokens=count_tokens)
    return asyncio.run(apply_filters_async(candidates, filters=filters, means=means))


async def apply_filters_async(
    candidates: pa.Table, *, filters: Sequence[FilterSettings], means: Means
) -> Filtered:
    """Like `apply_filters`, for callers inside an event loop.

    Args:
        candidates: Table of the CANDIDATES schema.
        filters: The filters.
        means: Inputs besides the candidates.
    """
    pool = pool_of(candidates)
    outcome = _Outcome(pool)
    alive = np.arange(len(pool), dtype=np.int64)
    results = []
    for name, settings in _named(filters, means):
        result = await _run(pool.take(alive), settings, name=name, means=means)
        results.append(result)
        outcome.record(alive, result)
        alive = alive[np.asarray(result.decisions["kept"])]
    return Filtered(results=tuple(results), final=outcome.to_table())


def try_filters(
    candidates: pa.Table,
    *,
    filters: Sequence[FilterSettings],
    scores: pa.Table | None = None,
    teacher: Teacher | None = None,
    count_tokens: TokenCounter | None = None,
) -> tuple[FilterResult, ...]:
    """Apply each filter to all candidates on its own, so that they can be compared.

    Args, raises: as for `apply_filters`.

    Args:
        candidates: Table of the CANDIDATES schema.
        filters: The filters.
        scores: The scores table, where a filter needs it.
        teacher: The teacher, where a filter asks one.
        count_tokens: Counts tokens where a filter needs it.

    Returns:
        One result for each filter, in their order.
    """
    means = Means(scores=scores, teacher=teacher, count_tokens=count_tokens)
    return asyncio.run(try_filters_async(candidates, filters=filters, means=means))


async def try_filters_async(
    candidates: pa.Table, *, filters: Sequence[FilterSettings], means: Means
) -> tuple[FilterResult, ...]:
    """Like `try_filters`, for callers inside an event loop.

    Args:
        candidates: Table of the CANDIDATES schema.
        filters: The filters.
        means: Inputs besides the candidates.
    """
    pool = pool_of(candidates)
    return tuple(
        [
            await _run(pool, settings, name=name, means=means)
            for name, settings in _named(filters, means)
        ]
    )


async def ask_for_ratings(
    candidates: pa.Table,
    *,
    filters: Sequence[FilterSettings],
    means: Means,
    each_alone: bool = False,
) -> None:
    """Ask the teacher what filters would ask it, and decide nothing; for dry runs.

    Filters in front of one that asks are applied, so that only what they keep is asked about. A
    candidate without a rating counts as kept, and extensions, which are a user's functions, are
    not called: the requests are at least those of the filters.

    Args:
        candidates: Table of the CANDIDATES schema.
        filters: The filters.
        means: Inputs besides the candidates.
        each_alone: Whether each filter is applied on its own, to all candidates.

    Raises:
        SettingsError: A filter asks, and there is no teacher.
    """
    pool = pool_of(candidates)
    alive = np.arange(len(pool), dtype=np.int64)
    named = _named(filters, means)
    asking = [n for n, (_, s) in enumerate(named) if isinstance(s, TeacherRatingSettings)]
    for name, settings in named[: max(asking, default=-1) + 1]:
        asks = isinstance(settings, TeacherRatingSettings)
        if isinstance(settings, ExtensionSettings) or (each_alone and not asks):
            continue
        result = await _run(pool.take(alive), settings, name=name, means=means)
        if each_alone:
            continue
        passed = [
            row["kept"] or (asks and row["reason"] in (NOT_IN_JOURNAL, TEACHER_FAILED))
            for row in result.decisions.select(["kept", "reason"]).to_pylist()
        ]
        alive = alive[np.array(passed, dtype=bool)]


def _named(filters: Sequence[FilterSettings], means: Means) -> list[tuple[str, FilterSettings]]:
    """Give every filter a unique name, and raise an error for filters that cannot run."""
    if not filters:
        raise SettingsError("no filters were given", hint="list at least one under `filters`")
    for settings in filters:
        if isinstance(settings, TeacherRatingSettings) and means.teacher is None:
            raise SettingsError(
                "the filter teacher_rating needs a teacher", hint="name one with --teacher"
            )
    named: dict[str, FilterSettings] = {}
    for settings in filters:
        wanted = settings.name or settings.kind
        name, repeat = wanted, 1
        while name in named:
            repeat += 1
            name = f"{wanted}_{repeat}"
        named[name] = settings
    return list(named.items())


async def _run(pool: Pool, settings: FilterSettings, *, name: str, means: Means) -> FilterResult:
    """Decide on every candidate; those without text are dropped by their status."""
    started = time.monotonic()
    is_ok = np.array([status == OK for status in pool.statuses], dtype=bool)
    verdicts = await judge(pool.take(np.flatnonzero(is_ok)), settings, means)
    complete = _spread(verdicts, pool, is_ok.nonzero()[0].tolist())
    return FilterResult(
        name=name,
        kind=settings.kind,
        decisions=complete.to_table(pool.candidate_ids),
        facts=verdicts.facts,
        seconds=time.monotonic() - started,
    )


def _spread(verdicts: Verdicts, pool: Pool, rows: Sequence[int]) -> Verdicts:
    """Verdicts on all candidates from those on the ok ones."""
    reasons = list(pool.statuses)
    details: list[str | None] = [None] * len(pool)
    for row, reason, detail in zip(rows, verdicts.reasons_N, verdicts.details_N, strict=True):
        reasons[row], details[row] = reason, detail
    kept = np.zeros(len(pool), dtype=bool)
    known = np.zeros(len(pool), dtype=bool)
    values = np.zeros(len(pool))
    kept[rows], known[rows], values[rows] = verdicts.kept_N, verdicts.known_N, verdicts.values_N
    return replace(
        verdicts, kept_N=kept, reasons_N=reasons, values_N=values, known_N=known, details_N=details
    )


class _Outcome:
    """Final decision on each candidate so far."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._dropped: dict[int, dict[str, object]] = {}

    def record(self, rows: Sequence[int] | np.ndarray, result: FilterResult) -> None:
        dropped = ~np.asarray(result.decisions["kept"])
        decisions = result.decisions.filter(pa.array(dropped)).to_pylist()
        for row, decision in zip(np.asarray(rows)[dropped].tolist(), decisions, strict=True):
            ours = self._pool.statuses[row] == OK
            self._dropped[row] = {**decision, "filter": result.name if ours else None}

    def to_table(self) -> pa.Table:
        passed = {"kept": True, "reason": PASSED_ALL, "value": None, "detail": None, "filter": None}
        rows = [
            self._dropped.get(row, {"candidate_id": candidate_id, **passed})
            for row, candidate_id in enumerate(self._pool.candidate_ids)
        ]
        return pa.Table.from_pylist(rows, schema=FINAL_DECISIONS)


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
