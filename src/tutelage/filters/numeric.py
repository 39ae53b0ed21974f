"""Filters by a number: length, a score or column, the pass rate and repetition."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data import OK
from tutelage.errors import DataError, SettingsError
from tutelage.filters.candidates import NO_RESPONSE, Pool, Verdicts, compute
from tutelage.filters.config import (
    BandSettings,
    EchoSettings,
    IfdSettings,
    LengthSettings,
    PassRateSettings,
)
from tutelage.filters.ngrams import segmented_words, word_symbols, words_of

NOT_SCORED = "not_scored"
"""Reason where the scores table has no row for a candidate."""

NO_NUMBER = "no_number"
"""Reason where the number in the row is null or not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """One number for each of N candidates, where it exists.

    Attributes:
        values_N: float64; only meaningful where `known_N`.
        known_N: Bool.
        reasons_N: Why a number is missing; empty where it is known.
        details_N: For people; text or None.
    """

    values_N: NDArray[np.float64]
    known_N: NDArray[np.bool_]
    reasons_N: Sequence[str]
    details_N: Sequence[str | None]


def numbers(
    values: Sequence[float | None] | NDArray[np.float64],
    *,
    missing: str | Sequence[str] = NO_NUMBER,
    details: Sequence[str | None] | None = None,
) -> Numbers:
    """Numbers from values; None, NaN and infinities count as missing.

    Args:
        values: One for each candidate.
        missing: The reason of those that are missing, or one reason for each candidate.
        details: One for each candidate.
    """
    raw = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    known = np.isfinite(raw)
    why = [missing] * len(raw) if isinstance(missing, str) else missing
    return Numbers(
        values_N=np.where(known, raw, 0.0),
        known_N=known,
        reasons_N=["" if there else w for there, w in zip(known.tolist(), why, strict=True)],
        details_N=[None] * len(raw) if details is None else details,
    )


def column_numbers(
    pool: Pool, column: str, *, scores: pa.Table | None, student: str | None = None
) -> Numbers:
    """Numbers of a column of the scores table, by candidate id, or of the candidates table.

    Args:
        pool: The candidates.
        column: A column of numbers.
        scores: The scores table, if there is one.
        student: Whose scores, where there are several.

    Raises:
        SettingsError: No table has the column, or the student is not in the scores table or
            must be named.
        DataError: The scores table has two rows for one candidate.
    """
    if scores is not None and column in scores.column_names:
        return _from_scores(pool, column, _of_student(scores, student))
    if column in pool.table.column_names:
        return numbers(_floats(pool.table, column))
    known = [] if scores is None else scores.column_names
    raise SettingsError(
        f"no column {column!r} in the scores table "
        f"({', '.join(known) if known else 'there is none'}) or in the candidates table "
        f"({', '.join(pool.table.column_names)})",
        hint="score the candidates with that metric first, or name another column",
    )


def _from_scores(pool: Pool, column: str, scores: pa.Table) -> Numbers:
    scored_ids = scores["candidate_id"].combine_chunks()
    if compute.count_distinct(scored_ids).as_py() != len(scored_ids):
        raise DataError(
            "the scores table has two rows for one candidate",
            hint="a scores table has one row for each candidate and student",
        )
    at = compute.index_in(pa.array(pool.candidate_ids, pa.string()), value_set=scored_ids)
    rows = scores.take(at)
    missing = [NO_NUMBER] * len(pool)
    if "status" in scores.column_names:
        statuses: list[Any] = rows["status"].to_pylist()
        missing = [NO_NUMBER if s == OK else str(s) for s in statuses]
    absent = np.asarray(at.is_null())
    missing = [
        NOT_SCORED if gone else why for gone, why in zip(absent.tolist(), missing, strict=True)
    ]
    return numbers(_floats(rows, column), missing=missing)


def _of_student(scores: pa.Table, student: str | None) -> pa.Table:
    if "student" not in scores.column_names:
        return scores
    students: list[str] = sorted(s for s in scores["student"].unique().to_pylist() if s)
    if student is None and len(students) <= 1:
        return scores
    if student is None or student not in students:
        what = "holds scores of several students" if student is None else f"has no {student!r}"
        raise SettingsError(
            f"the scores table {what}: {', '.join(students)}",
            hint="name one of them as the filter's `student`",
        )
    chosen: pa.Table = scores.filter(compute.equal(scores["student"], student))
    return chosen


def _floats(table: pa.Table, column: str) -> Sequence[float | None]:
    kind = table.schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise SettingsError(f"column {column!r} holds {kind}, not numbers")
    values: Any = table[column].cast(pa.float64()).to_pylist()
    return list(values)


# Keep what lies in a band of one number, or the best share of it.


IN_BAND = "in_band"
BELOW_MINIMUM = "below_minimum"
ABOVE_MAXIMUM = "above_maximum"
IN_SHARE = "in_share"
OUTSIDE_SHARE = "outside_share"


def keep_band(pool: Pool, measured: Numbers, settings: BandSettings) -> Verdicts:
    """Keep a band of one number.

    A candidate without a number is dropped, with the reason why it has none. `keep_fraction`
    chooses among those within the limits; between equal numbers the id decides, so the result
    does not depend on the order of the candidates.

    Args:
        pool: The candidates.
        measured: Their numbers.
        settings: The limits.

    Returns:
        Verdicts with one of `in_band`, `below_minimum`, `above_maximum`, `in_share`,
        `outside_share`, or the reason why there is no number.
    """
    values = measured.values_N
    reasons = np.full(len(pool), IN_BAND, dtype=object)
    if settings.minimum is not None:
        reasons[values < settings.minimum] = BELOW_MINIMUM
    if settings.maximum is not None:
        reasons[values > settings.maximum] = ABOVE_MAXIMUM
    if isinstance(settings, IfdSettings) and settings.below is not None:
        reasons[values >= settings.below] = ABOVE_MAXIMUM
    kept = measured.known_N & (reasons == IN_BAND)
    if settings.keep_fraction is not None:
        budget = math.ceil(settings.keep_fraction * len(pool))
        chosen = _best(pool, values, kept, budget, highest=settings.prefer == "high")
        reasons[kept] = OUTSIDE_SHARE
        reasons[chosen] = IN_SHARE
        kept = chosen
    words = [
        str(reason) if known else missing
        for reason, known, missing in zip(
            reasons, measured.known_N.tolist(), measured.reasons_N, strict=True
        )
    ]
    return Verdicts(
        kept_N=kept,
        reasons_N=words,
        values_N=values,
        known_N=measured.known_N,
        details_N=measured.details_N,
    )


def _best(
    pool: Pool,
    values_N: NDArray[np.float64],
    eligible_N: NDArray[np.bool_],
    budget: int,
    *,
    highest: bool,
) -> NDArray[np.bool_]:
    signed = -values_N if highest else values_N
    rows = sorted(
        np.flatnonzero(eligible_N).tolist(), key=lambda i: (signed[i], pool.candidate_ids[i])
    )
    chosen = np.zeros(len(pool), dtype=bool)
    chosen[rows[:budget]] = True
    return chosen


TokenCounter: TypeAlias = Callable[[Sequence[str]], Sequence[int]]
"""Function type: number of tokens of each text, in order."""


def measure_length(
    pool: Pool,
    settings: LengthSettings,
    *,
    scores: pa.Table | None = None,
    count_tokens: TokenCounter | None = None,
) -> Numbers:
    """Length of each candidate's text in characters, words or tokens.

    Characters are Unicode code points. Words are runs of letters, digits and marks. Tokens are
    counted by `count_tokens` where it is given, otherwise taken from the scores table, where
    they are the target tokens of the student that scored.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        scores: The scores table, with token counts.
        count_tokens: Counts tokens where the scores table does not.

    Raises:
        SettingsError: Tokens are asked for and nothing can count them.
    """
    texts = pool.text(settings.of)
    match settings.unit:
        case "characters":
            lengths = compute.utf8_length(texts).to_pylist()
            return numbers(lengths, missing=NO_RESPONSE)
        case "words":
            counts = word_symbols(texts).counts_N.astype(np.float64)
            counts[np.asarray(texts.is_null())] = np.nan
            return numbers(counts, missing=NO_RESPONSE)
        case "tokens":
            if count_tokens is not None:
                return _counted(texts.to_pylist(), count_tokens)
            return _scored_tokens(pool, settings, scores)


def _counted(texts: Sequence[str | None], count_tokens: TokenCounter) -> Numbers:
    present = [text for text in texts if text is not None]
    counts = iter(count_tokens(present))
    return numbers([None if t is None else next(counts) for t in texts], missing=NO_RESPONSE)


def _scored_tokens(pool: Pool, settings: LengthSettings, scores: pa.Table | None) -> Numbers:
    if scores is None:
        raise SettingsError(
            "length in tokens needs a tokenizer or scores",
            hint="score the candidates first, or use `unit: words`",
        )
    if settings.of == "both":
        raise SettingsError(
            "the scores table counts the tokens of instruction and response separately",
            hint="use `of: response` or `of: instruction`, or pass a tokenizer",
        )
    return column_numbers(pool, f"{settings.of}_tokens", scores=scores)


def measure_pass_rate(
    pool: Pool, settings: PassRateSettings, *, scores: pa.Table | None = None
) -> Numbers:
    """Pass rate of each candidate's example: 0 if the student is never right, 1 if always.

    Args:
        pool: The candidates.
        settings: Settings of the filter.
        scores: The scores table, if it has the rates.

    Raises:
        DataError: A rate is outside [0, 1], as a rate in percent would be.
    """
    measured = column_numbers(pool, settings.column, scores=scores)
    outside = measured.known_N & ((measured.values_N < 0.0) | (measured.values_N > 1.0))
    for row in np.flatnonzero(outside)[:1].tolist():
        raise DataError(
            f"candidate {pool.candidate_ids[row]}: {settings.column} is "
            f"{measured.values_N[row]}, which is not a fraction in [0, 1]",
            hint="divide the column by the number of answers, or name another column",
        )
    return measured


# Responses that repeat their instruction.
#
# `r_ifd` asks how well the response lets the student guess the instruction. A response that opens
# by repeating it makes that trivial, so its `r_ifd` is low for no good reason: such a response must
# be known before `r_ifd` decides.


ECHOES = "echoes_instruction"
"""Reason where a response repeats (nearly) all of its instruction."""


def repeated_share(*, instruction: str, response: str, ngram_words: int) -> float | None:
    """Share of an instruction's word n-grams that occur in the response.

    Args:
        instruction: The last user turn.
        response: The answer to it.
        ngram_words: At least 1; an instruction with fewer words is looked for whole.

    Returns:
        In [0, 1]: 1 where the whole instruction occurs, in order. None where it has no words.

    Examples:
        >>> repeated_share(instruction="Name two red fruits.", ngram_words=3,
        ...                response="Two red fruits are cherries and plums.")
        0.5
    """
    return _share(words_of(instruction), words_of(response), ngram_words)


def _share(asked: list[str], said: list[str], ngram_words: int) -> float | None:
    if not asked:
        return None
    size = min(ngram_words, len(asked))
    there = {tuple(said[at : at + size]) for at in range(len(said) - size + 1)}
    wanted = [tuple(asked[at : at + size]) for at in range(len(asked) - size + 1)]
    return sum(gram in there for gram in wanted) / len(wanted)


def drop_echoes(pool: Pool, settings: EchoSettings) -> Verdicts:
    """Keep the candidates whose response does not repeat the instruction.

    An instruction without words cannot be repeated: the share is 0.
    """
    instructions, responses = pool.text("instruction"), pool.text("response")
    missing = [
        not there
        for there in compute.and_(*map(compute.is_valid, (instructions, responses))).to_pylist()
    ]
    asked, said = (segmented_words(texts).to_pylist() for texts in (instructions, responses))
    shares = [
        None
        if absent
        else _share((one or "").split(), (other or "").split(), settings.ngram_words) or 0.0
        for absent, one, other in zip(missing, asked, said, strict=True)
    ]
    verdicts = keep_band(pool, numbers(shares, missing=NO_RESPONSE), settings)
    reasons = [ECHOES if word == ABOVE_MAXIMUM else word for word in verdicts.reasons_N]
    return replace(verdicts, reasons_N=reasons)
