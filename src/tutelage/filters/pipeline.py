"""Apply filters one after the other, or each on its own."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from tutelage.data import OK
from tutelage.data.schemas import FINAL_DECISIONS
from tutelage.errors import SettingsError
from tutelage.filters.candidate_texts import Pool, pool_of
from tutelage.filters.config import FilterSettings, TeacherRatingSettings
from tutelage.filters.decisions import PASSED_ALL, Verdicts
from tutelage.filters.dispatch import Means, judge
from tutelage.filters.length import TokenCounter
from tutelage.teacher import Teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterResult:
    """What one filter decided.

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
        """How many candidates got each reason."""
        return dict(sorted(Counter(map(str, self.decisions["reason"].to_pylist())).items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """What filters decided one after the other.

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
    """Apply filters one after the other. Each is given what those before it kept.

    Nothing is removed: the final table has one row for each candidate, in the order given. A
    candidate without text keeps its own status as the reason, and no filter's name.

    Args:
        candidates: A candidates table or an examples table.
        filters: In the order in which they are applied; at least one.
        scores: The scores table, where a filter needs it.
        teacher: Where a filter asks one.
        count_tokens: Counts the tokens of texts, instead of the scores table.

    Raises:
        SettingsError: A filter needs scores or a teacher that are not there.
        DataError: A table is not what it should be, or a set cannot be read.
        MissingExtraError: A filter needs a library that is not installed.
    """
    means = Means(scores=scores, teacher=teacher, count_tokens=count_tokens)
    return asyncio.run(apply_filters_async(candidates, filters=filters, means=means))


async def apply_filters_async(
    candidates: pa.Table, *, filters: Sequence[FilterSettings], means: Means
) -> Filtered:
    """Like `apply_filters`, for callers that already run an event loop."""
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
    """Apply each filter to all candidates, on its own, so that they can be compared.

    Args, raises: as for `apply_filters`.

    Returns:
        One result for each filter, in their order.
    """
    means = Means(scores=scores, teacher=teacher, count_tokens=count_tokens)
    return asyncio.run(try_filters_async(candidates, filters=filters, means=means))


async def try_filters_async(
    candidates: pa.Table, *, filters: Sequence[FilterSettings], means: Means
) -> tuple[FilterResult, ...]:
    """Like `try_filters`, for callers that already run an event loop."""
    pool = pool_of(candidates)
    return tuple(
        [
            await _run(pool, settings, name=name, means=means)
            for name, settings in _named(filters, means)
        ]
    )


def _named(filters: Sequence[FilterSettings], means: Means) -> list[tuple[str, FilterSettings]]:
    """Give every filter a name of its own; refuse what cannot be run before anything is run."""
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
    """Decide on every candidate; those without text are decided by their status."""
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
    """Verdicts on the ok candidates as verdicts on all."""
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
    """The last word on each candidate so far."""

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
