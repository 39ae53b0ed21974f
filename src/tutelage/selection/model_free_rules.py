"""Rules without a student: deviation in language, length and similarity, and known faults.

`cheap` refuses as many versions as another rule, those that look least usual; it is the baseline
for "the student knows more than three simple bands". `oracle` knows which rows are faulty, so it
says how much could be gained at all.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tutelage.data import ORIGINAL
from tutelage.errors import DataError
from tutelage.selection.candidate_table import NONE, Bools, Floats, Indexes, Pool
from tutelage.selection.config import SelectSettings
from tutelage.selection.reasons import (
    ORIGINAL_WITHIN_BANDS,
    OUTSIDE_BANDS,
    REFUSED_BY_GATE,
    TRUTH_CLEAN,
    TRUTH_FAULTY,
    WITHIN_BANDS,
    Order,
    Verdict,
    why_unscored,
    words,
)
from tutelage.selection.simple_rules import first

DEVIATION = "deviation"
"""Evidence column of `cheap`: how far a version is from the usual; see `band_deviations`."""
FAULTY = "truth_faulty"
"""Evidence column of `oracle`: 1 where the refinements of the row are faulty, else 0."""

_OTHER_LANGUAGE = 100.0
"""Penalty where response and instruction are in different languages."""
_MAD_OF_A_NORMAL = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""

_Decides: TypeAlias = Callable[[Pool, SelectSettings], Verdict]


def band_deviations(
    *, words_N: Floats, similarity_N: Floats, other_language_N: Bools, original_N: Bools
) -> Floats:
    """Deviation of each version from the usual values among versions of its kind.

    The larger of two robust deviations from the median, that of the logarithm of the length and
    that of the similarity of instruction and response, in units of 1.48 median absolute deviations.
    Originals are compared with originals, and all other versions with each other.

    Args:
        words_N: Words of each response.
        similarity_N: Similarity of each response with its instruction.
        other_language_N: Whether the two are known to be in different languages; adds 100.
        original_N: Which versions are originals.

    Examples:
        >>> even = np.zeros(4, dtype=bool)
        >>> band_deviations(
        ...     words_N=np.array([9.0, 9, 9, 99]), similarity_N=np.array([0.1, 0.2, 0.3, 0.2]),
        ...     other_language_N=even, original_N=even,
        ... ).round(1).tolist()
        [1.3, 0.0, 1.3, 2.3]
    """
    deviation_N = np.zeros(len(words_N))
    for of_kind_N in (original_N, ~original_N):
        for values_N in (np.log1p(words_N), similarity_N):
            values = values_N[of_kind_N]
            if len(values):
                deviation_N[of_kind_N] = np.maximum(deviation_N[of_kind_N], _deviations(values))
    return deviation_N + np.where(other_language_N, _OTHER_LANGUAGE, 0.0)


def _deviations(values: Floats) -> Floats:
    apart = np.abs(values - np.median(values))
    # Where more than half are alike the median absolute deviation is 0.
    scale = float(np.median(apart)) / _MAD_OF_A_NORMAL or float(values.std()) or 1.0
    found: Floats = apart / scale
    return found


def decide_cheap(pool: Pool, settings: SelectSettings, *, rule: _Decides) -> Verdict:
    """The most usual versions, in the number of refinements and originals that a rule keeps.

    Of each example the most usual refinement is considered. As many as the rule keeps stay; of the
    other examples as many originals as the rule keeps. What the quality gate refused takes part:
    the gate asks the student.

    Args:
        pool: The candidates.
        settings: Settings of the selection.
        rule: The rule of which this is a baseline.
    """
    verdict = rule(pool, settings)
    cost_N = _number(pool, DEVIATION, settings)
    kept_E = verdict.chosen_E != NONE
    refused_N = np.array([status == REFUSED_BY_GATE for status in pool.statuses], dtype=np.bool_)
    usable_N = (pool.usable_N | (pool.written_N & refused_N[pool.status_N])) & ~np.isnan(cost_N)
    original_N = pool.of_step(ORIGINAL)
    refined_E = pool.best(usable_N & ~original_N, cost_N, highest=False)
    original_E = pool.best(usable_N & original_N, cost_N, highest=False)
    originals = int((kept_E & original_N[verdict.chosen_E]).sum())
    refined = int(kept_E.sum()) - originals
    is_refined_E = _most_usual(refined_E, cost_N, refined)
    is_original_E = _most_usual(np.where(is_refined_E, NONE, original_E), cost_N, originals)
    short = int(kept_E.sum()) - int(is_refined_E.sum()) - int(is_original_E.sum())
    if short:  # the other examples have too few originals: further refinements stay instead
        is_refined_E |= _most_usual(
            np.where(is_refined_E | is_original_E, NONE, refined_E), cost_N, short
        )
    chosen_E = np.where(is_refined_E, refined_E, np.where(is_original_E, original_E, NONE))
    considered_E = np.where(refined_E != NONE, refined_E, original_E)
    cut = float(cost_N[refined_E[is_refined_E]].max()) if is_refined_E.any() else np.nan
    deviation_E = pool.at(DEVIATION, chosen_E)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [is_refined_E, is_original_E, considered_E != NONE],
            [words(pool, name) for name in (WITHIN_BANDS, ORIGINAL_WITHIN_BANDS, OUTSIDE_BANDS)],
            default=why_unscored(pool, first(pool)),
        ),
        evidence={
            "deviation_refined": pool.at(DEVIATION, refined_E),
            "deviation_original": pool.at(DEVIATION, original_E),
            "deviation_chosen": deviation_E,
            "deviation_cut": np.where(refined_E != NONE, cut, np.nan),
        },
        order=None
        if verdict.order is None
        else Order(cost_E=deviation_E, kept=None, dropped=verdict.order.dropped),
    )


def _most_usual(version_E: Indexes, cost_N: Floats, count: int) -> Bools:
    """Examples whose version is among the `count` most usual; ties by example id."""
    there = np.flatnonzero(version_E != NONE)
    order = there[np.argsort(cost_N[version_E[there]], kind="stable")]
    taken_E = np.zeros(len(version_E), dtype=np.bool_)
    taken_E[order[:count]] = True
    return taken_E


def decide_oracle(pool: Pool, settings: SelectSettings) -> Verdict:
    """The most changed refinement of every row without a planted fault, else the original.

    Of an example without refinements the truth is about the original: a faulty one is dropped.
    """
    faulty_N = _number(pool, FAULTY, settings) == 1.0
    original_N = pool.of_step(ORIGINAL)
    there_N = pool.step_N >= 0
    has_refined_E = np.zeros(pool.examples, dtype=np.bool_)
    has_refined_E[pool.example_N[there_N & ~original_N & pool.written_N]] = True
    faulty_E = np.zeros(pool.examples, dtype=np.bool_)
    faulty_E[pool.example_N[faulty_N]] = True
    changed_N = pool.changed_N.astype(np.float64)
    refined_E = pool.best(pool.usable_N & ~original_N, changed_N, highest=True)
    original_E = pool.least_changed(pool.usable_N & original_N)
    chosen_E = np.select(
        [has_refined_E & ~faulty_E & (refined_E != NONE), has_refined_E | ~faulty_E],
        [refined_E, original_E],
        default=NONE,
    ).astype(np.int64)
    judged_E = (refined_E != NONE) | (original_E != NONE)
    return Verdict(
        chosen_E=chosen_E,
        reason_E=np.select(
            [judged_E & faulty_E, judged_E],
            [words(pool, TRUTH_FAULTY), words(pool, TRUTH_CLEAN)],
            default=why_unscored(pool, first(pool)),
        ),
        evidence={FAULTY: np.where(judged_E, faulty_E.astype(np.float64), np.nan)},
    )


def _number(pool: Pool, name: str, settings: SelectSettings) -> Floats:
    if name not in pool.numbers:
        raise DataError(
            f"rule {settings.rule} needs the texts or columns of the data, which are not available "
            "here",
            hint="use `tutelage select RUN`, which reads them from the run folder",
        )
    return pool.numbers[name]
