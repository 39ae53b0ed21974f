"""How long is a text?"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from tutelage.errors import SettingsError
from tutelage.filters.candidate_texts import Pool, compute
from tutelage.filters.config import LengthSettings
from tutelage.filters.decisions import NO_RESPONSE
from tutelage.filters.ngrams import word_symbols
from tutelage.filters.numeric import Numbers, column_numbers, numbers

TokenCounter: TypeAlias = Callable[[Sequence[str]], Sequence[int]]
"""Counts the tokens of each text, in order."""


def measure_length(
    pool: Pool,
    settings: LengthSettings,
    *,
    scores: pa.Table | None = None,
    count_tokens: TokenCounter | None = None,
) -> Numbers:
    """Count the characters, words or tokens of each candidate's text.

    Characters are Unicode code points. Words are runs of letters, digits and marks. Tokens are
    counted by `count_tokens` where it is given, otherwise taken from the scores table, where
    they are the target tokens of the student that scored.

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
            "length in tokens without a tokenizer and without scores",
            hint="score the candidates first, or use `unit: words`",
        )
    if settings.of == "both":
        raise SettingsError(
            "the scores table counts the tokens of instruction and response apart",
            hint="use `of: response` or `of: instruction`, or pass a tokenizer",
        )
    return column_numbers(pool, f"{settings.of}_tokens", scores=scores)
