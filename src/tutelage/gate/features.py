"""Features of fault detectors for one response: token statistics, metrics and repetition.

Pure functions of a `Reading` and the two texts. A feature that cannot be had is NaN here and
nowhere else: a detector sends it to a branch of its own, and it is never shown as a number.
"""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tutelage.data import END_VIEW, Reading, TokenStats
from tutelage.errors import DataError
from tutelage.gate.text_signs import (
    foreign_words,
    played_turns,
    refusal_share,
    template_pieces,
    unfinished,
)

Numbers = NDArray[np.float64]

_EDGE_TOKENS = 8
"""Tokens that count as the start and as the end of a response."""
_WINDOW = 12
_NEAR_ZERO_NATS = 0.05
_SURE_RANK = 10
_MARKS = re.compile(r"<\|[^|\n]{0,40}\|>|</?[A-Za-z!][^>\n]{0,60}>|&[a-z]{2,6};|\[/?[a-zA-Z]{1,4}\]"
                    r"|\\[nt]|\\[a-z]{3,}\{|\{\"|\"\}")  # fmt: skip
_BLANKS = re.compile(r"\[[A-Z][^\]\n]{2,60}\]|\{\{?\s?\w{0,20}\s?\}?\}|<[A-Z_]{3,}>|\.\.\.\n")
_LABELS = re.compile(r"^(?:#+ ?)?[A-Z][A-Za-z]{0,10} ?:(?:\s|$)|^<\|?\w+", re.MULTILINE)
_ENDS = tuple(".!?:;)]}\"'`*>|\u201d\u2019\u3002\uff01\uff1f\u300d\u300f\u2026")
_WORDS = re.compile(r"\w+|[^\w\s]")

FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "log_ifd": "surprise given the instruction minus surprise alone, nats per token",
        "log_r_ifd": "surprise at the instruction given the response minus alone, nats per token",
        "surprise": "mean surprise given the instruction (minus grape), nats per token",
        "surprise_alone": "mean surprise without the instruction, nats per token",
        "rsr": "rank-surprisal ratio",
        "log_tokens": "logarithm of the length in tokens",
        "log_length_to_instruction": "logarithm of response tokens over instruction tokens",
        "surprise_first": "mean surprise of the first 8 tokens",
        "surprise_last": "mean surprise of the last 8 tokens",
        "surprise_trend": "surprise of the second half minus that of the first",
        "surprise_spread": "standard deviation of the surprise",
        "surprise_median": "median surprise",
        "surprise_top": "mean of the highest tenth of surprises",
        "peak_window": "highest mean surprise of 12 tokens in a row",
        "low_window": "lowest mean surprise of 12 tokens in a row",
        "surprise_jump": "largest rise of mean surprise from what comes before to 12 tokens",
        "sure_share": "share of tokens with a surprise below 0.05 nats",
        "sure_run": "longest run of such tokens, as a share of all",
        "gain_first": "what the instruction saves on the first 8 tokens, nats per token",
        "gain_last": "what the instruction saves on the last half, nats per token",
        "gain_low_quarter": "what the instruction saves on the quarter where it saves least",
        "entropy": "mean entropy, nats",
        "entropy_gap": "surprise minus entropy: text that is less likely than the student expects",
        "entropy_gap_last": "surprise minus entropy on the last half",
        "entropy_gap_top": "surprise minus entropy on the 12 tokens in a row where it is highest",
        "rank_above_10": "share of tokens of rank above 10",
        "rank_capped": "share of tokens of rank 100 or more",
        "rank_first": "share of tokens that were the student's first choice",
        "end_surprise": "surprise that the text ends where it does, nats",
        "end_gap": "the same minus the entropy there",
        "instruction_copied": "share of the instruction's words in runs that the response repeats",
        "response_copied": "share of the response's words in runs that the instruction contains",
        "longest_copy": "longest run in common, as a share of the instruction's words",
        "starts_with_copy": "length of the run in common near the response's beginning, in words",
        "repeated_share": "share of 4-word sequences that occurred before",
        "repeated_long": "share of 10-word sequences that occurred before",
        "repeated_run": "longest run of words that occurs twice, as a share of the response",
        "repeated_surprise": "mean surprise of repeated text, where there is some",
        "compression": "compressed over plain bytes",
        "marks": "pieces of markup per hundred words",
        "blanks": "unfilled placeholders per hundred words",
        "labels": "lines that begin with a label such as a role, per hundred words",
        "symbol_share": "share of characters that are neither letters, digits nor white space",
        "foreign_letters": "share of letters of a script that the instruction does not have",
        "wide_letters": "share of letters beyond ASCII, minus that of the instruction",
        "ends_open": "1 where the text stops without a closing mark, else 0",
        "ends_in_colon": "1 where the last line is a label or question, else 0",
        "unfinished": "1 where the text looks cut off, 2 where it ends in a small word, else 0",
        "refusal_share": "share of the sentences that refuse",
        "foreign_words": "share of common words of another language, minus those of the own one",
        "played_turns": "lines that begin a turn of the user",
        "template_pieces": "pieces of a chat or prompt template",
    }
)
"""Description of each feature. For those of `COMPARED` there is also the difference from the row's
original.
"""

COMPARED = (
    "log_ifd",
    "log_r_ifd",
    "surprise",
    "surprise_alone",
    "rsr",
    "log_tokens",
    "surprise_last",
    "entropy_gap",
    "rank_above_10",
    "repeated_share",
    "compression",
    "symbol_share",
)
DIFFERENCES = tuple(f"{name}_less_original" for name in COMPARED)
NAMES: tuple[str, ...] = (*FEATURES, *DIFFERENCES)
"""Names of all features, in the order in which a gate stores them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """Token statistics and texts of one version.

    Attributes:
        reading: All four views, with ranks and entropies, and `end_of_turn` where there is one.
        instruction: The last user turn.
        response: The text that the response's offsets count in.
    """

    reading: Reading
    instruction: str
    response: str


def features_of(text: ScoredText, *, original: Mapping[str, float] | None = None) -> Numbers:
    """Features of one version, in the order of `NAMES`.

    Args:
        text: The version.
        original: `plain_features` of the row's original; None where there is none, or where the
            version is the original: the differences are NaN then.

    Returns:
        float64, NaN where a feature cannot be had.

    Raises:
        DataError: The reading lacks a view or a statistic.
    """
    own = plain_features(text)
    differences = [
        math.nan if original is None else own[name] - original[name] for name in COMPARED
    ]
    return np.array([*own.values(), *differences], dtype=np.float64)


def plain_features(text: ScoredText) -> dict[str, float]:
    """Features of `FEATURES`, by name.

    Raises:
        DataError: The reading lacks a view or a statistic.
    """
    views = text.reading.views
    missing = [v for v in ("response_given_instruction", "response", "instruction_given_response",
                           "instruction") if v not in views]  # fmt: skip
    given = views.get("response_given_instruction")
    if missing or given is None or given.ranks_T is None or given.entropies_T is None:
        raise DataError(
            f"candidate {text.reading.candidate_id}: the quality gate needs all four views with "
            "ranks and entropies",
            hint="score with statistics `full`; a vLLM server cannot provide entropies",
        )
    alone = views["response"]
    instruction, reverse = views["instruction"], views["instruction_given_response"]
    numbers = _surprise_features(given, alone)
    numbers |= _rank_features(given)
    numbers |= _end_features(views.get(END_VIEW))
    numbers |= {
        "log_ifd": given.mean_nll - alone.mean_nll,
        "log_r_ifd": reverse.mean_nll - instruction.mean_nll,
        "log_tokens": math.log(given.tokens),
        "log_length_to_instruction": math.log(given.tokens / instruction.tokens),
    }
    words, starts = _words(text.response)
    asked, _ = _words(text.instruction)
    numbers |= _copy_features(words, asked)
    repeated_W, repetition = _repetition_features(words)
    numbers |= repetition
    numbers["repeated_surprise"] = _surprise_of(
        repeated_W, starts, given, text.reading.response_starts_T
    )
    numbers |= _surface_features(text, words=len(words))
    return {name: float(numbers[name]) for name in FEATURES}


def _surprise_features(given: TokenStats, alone: TokenStats) -> dict[str, float]:
    surprise_T = -given.logprobs_T.astype(np.float64)
    gain_T = -alone.logprobs_T.astype(np.float64) - surprise_T
    entropy_T = _entropies(given)
    gap_T = surprise_T - entropy_T
    half = len(surprise_T) // 2
    windows = _window_means(surprise_T)
    sure_T = surprise_T < _NEAR_ZERO_NATS
    top = max(1, len(surprise_T) // 10)
    return {
        "surprise": float(surprise_T.mean()),
        "surprise_alone": alone.mean_nll,
        "surprise_first": float(surprise_T[:_EDGE_TOKENS].mean()),
        "surprise_last": float(surprise_T[-_EDGE_TOKENS:].mean()),
        "surprise_trend": _mean(surprise_T[half:]) - _mean(surprise_T[:half]),
        "surprise_spread": float(surprise_T.std()),
        "surprise_median": float(np.median(surprise_T)),
        "surprise_top": float(np.sort(surprise_T)[-top:].mean()),
        "peak_window": float(windows.max()),
        "low_window": float(windows.min()),
        "surprise_jump": _jump(surprise_T),
        "sure_share": float(sure_T.mean()),
        "sure_run": _longest_run(sure_T) / len(sure_T),
        "gain_first": float(gain_T[:_EDGE_TOKENS].mean()),
        "gain_last": _mean(gain_T[half:]),
        "gain_low_quarter": min(_mean(part) for part in np.array_split(gain_T, 4) if len(part)),
        "entropy": float(entropy_T.mean()),
        "entropy_gap": float(gap_T.mean()),
        "entropy_gap_last": _mean(gap_T[half:]),
        "entropy_gap_top": float(_window_means(gap_T).max()),
    }


def _end_features(end: TokenStats | None) -> dict[str, float]:
    """Features of the end of the turn: a text that was cut off ends where the student goes on."""
    if end is None:
        return {"end_surprise": math.nan, "end_gap": math.nan}
    surprise = end.mean_nll
    gap = math.nan if end.entropies_T is None else surprise - float(end.entropies_T[0])
    return {"end_surprise": surprise, "end_gap": gap}


def _rank_features(given: TokenStats) -> dict[str, float]:
    ranks_T = np.asarray(given.ranks_T, dtype=np.float64)
    nats = given.mean_nll * given.tokens
    return {
        "rsr": float(ranks_T.sum() / nats) if nats > 0 else math.nan,
        "rank_above_10": float((ranks_T > _SURE_RANK).mean()),
        "rank_capped": float((ranks_T >= 100).mean()),  # noqa: PLR2004
        "rank_first": float((ranks_T <= 1).mean()),
    }


def _copy_features(words: Sequence[str], asked: Sequence[str]) -> dict[str, float]:
    """Features of instruction text that the response repeats, in runs of four or more words."""
    size = min(4, max(2, len(asked)))
    mine, theirs = _grams(words, size), _grams(asked, size)
    copied_I = _covered([gram in set(mine) for gram in theirs], size, len(asked))
    copied_R = _covered([gram in set(theirs) for gram in mine], size, len(words))
    run, place = _longest_common(words, asked)
    early = run if place <= 8 else 0  # noqa: PLR2004
    return {
        "instruction_copied": _mean(copied_I),
        "response_copied": _mean(copied_R),
        "longest_copy": run / len(asked) if asked else 0.0,
        "starts_with_copy": float(early),
    }


def _repetition_features(words: Sequence[str]) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Features of words that repeat an earlier sequence of four words."""
    seen_W = _covered(_seen_before(_grams(words, 4)), 4, len(words))
    longest = _longest_repeat(words)
    text = " ".join(words).encode("utf-8", "surrogatepass")
    return seen_W, {
        "repeated_share": _mean(np.array(_seen_before(_grams(words, 4)))),
        "repeated_long": _mean(np.array(_seen_before(_grams(words, 10)))),
        "repeated_run": longest / len(words) if words else 0.0,
        "compression": len(zlib.compress(text, 6)) / len(text) if text else math.nan,
    }


def _surface_features(text: ScoredText, *, words: int) -> dict[str, float]:
    response, hundred = text.response, max(words, 10) / 100
    stripped = response.rstrip()
    letters = [c for c in response if c.isalpha()]
    scripts = {_script(c) for c in text.instruction if c.isalpha()}
    wide = sum(ord(c) > 127 for c in letters) / max(1, len(letters))  # noqa: PLR2004
    asked = [c for c in text.instruction if c.isalpha()]
    asked_wide = sum(ord(c) > 127 for c in asked) / max(1, len(asked))  # noqa: PLR2004
    last_line = stripped.rsplit("\n", 1)[-1]
    return {
        "marks": len(_MARKS.findall(response)) / hundred,
        "blanks": len(_BLANKS.findall(response)) / hundred,
        "labels": len(_LABELS.findall(response)) / hundred,
        "symbol_share": _mean(np.array([not (c.isalnum() or c.isspace()) for c in response])),
        "foreign_letters": _mean(np.array([_script(c) not in scripts for c in letters])),
        "wide_letters": wide - asked_wide,
        "ends_open": float(not stripped.endswith(_ENDS)),
        "ends_in_colon": float(last_line.endswith((":", "?", "\uff1f", "\uff1a")))
        + float(bool(_LABELS.match(last_line))),
        "unfinished": unfinished(response),
        "refusal_share": refusal_share(response),
        "foreign_words": foreign_words(response, asked=text.instruction),
        "played_turns": played_turns(response),
        "template_pieces": template_pieces(response),
    }


def _entropies(stats: TokenStats) -> Numbers:
    return np.asarray(stats.entropies_T, dtype=np.float64)


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.astype(np.float64).mean()) if len(values) else 0.0


def _window_means(values_T: Numbers) -> Numbers:
    """Means of all windows; the overall mean where the text is shorter than a window."""
    if len(values_T) <= _WINDOW:
        return np.array([values_T.mean()])
    sums = np.concatenate([[0.0], np.cumsum(values_T)])
    means: Numbers = (sums[_WINDOW:] - sums[:-_WINDOW]) / _WINDOW
    return means


def _jump(surprise_T: Numbers) -> float:
    """Largest rise from everything before to the next window; 0 for short texts."""
    if len(surprise_T) < 2 * _WINDOW:
        return 0.0
    windows = _window_means(surprise_T)[_EDGE_TOKENS:]
    before = np.cumsum(surprise_T) / np.arange(1, len(surprise_T) + 1)
    return float((windows - before[_EDGE_TOKENS - 1 :][: len(windows)]).max())


def _longest_run(flags_T: NDArray[np.bool_]) -> int:
    longest = run = 0
    for flag in flags_T.tolist():
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest


def _words(text: str) -> tuple[list[str], list[int]]:
    """Words and punctuation in lower case, with their starts; single characters without spaces."""
    found = list(_WORDS.finditer(text))
    if found and sum(m.end() - m.start() for m in found) / len(found) > 12:  # noqa: PLR2004
        found = list(re.finditer(r"\S", text))
    return [m.group().lower() for m in found], [m.start() for m in found]


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def _seen_before(grams: Sequence[tuple[str, ...]]) -> list[bool]:
    seen: set[tuple[str, ...]] = set()
    flags = []
    for gram in grams:
        flags.append(gram in seen)
        seen.add(gram)
    return flags


def _covered(flags: Sequence[bool], size: int, words: int) -> NDArray[np.bool_]:
    """Mask of words that lie in a flagged sequence."""
    covered_W = np.zeros(words, dtype=np.bool_)
    for place, flag in enumerate(flags):
        if flag:
            covered_W[place : place + size] = True
    return covered_W


def _longest_common(words: Sequence[str], asked: Sequence[str]) -> tuple[int, int]:
    """Longest run of words common to both, and its start in the first."""
    low, high, place = 0, min(len(words), len(asked)), 0
    while low < high:
        middle = (low + high + 1) // 2
        there = set(_grams(asked, middle))
        at = next((i for i, gram in enumerate(_grams(words, middle)) if gram in there), None)
        if at is None:
            high = middle - 1
        else:
            low, place = middle, at
    return low, place


def _longest_repeat(words: Sequence[str]) -> int:
    """Longest run of words that occurs twice without overlap."""
    low, high = 0, len(words) // 2
    while low < high:
        middle = (low + high + 1) // 2
        if _repeats(words, middle):
            low = middle
        else:
            high = middle - 1
    return low


def _repeats(words: Sequence[str], size: int) -> bool:
    first: dict[tuple[str, ...], int] = {}
    for place, gram in enumerate(_grams(words, size)):
        if place - first.setdefault(gram, place) >= size:
            return True
    return False


def _surprise_of(
    words_W: NDArray[np.bool_],
    starts: Sequence[int],
    given: TokenStats,
    token_starts_T: NDArray[np.int32] | None,
) -> float:
    """Mean surprisal of the tokens that start within flagged words; NaN without any."""
    if token_starts_T is None or not words_W.any():
        return math.nan
    word_T = np.searchsorted(np.array(starts), token_starts_T + 1, side="right") - 1
    chosen_T = (word_T >= 0) & words_W[np.clip(word_T, 0, None)]
    return -float(given.logprobs_T[chosen_T].mean()) if chosen_T.any() else math.nan


def _script(character: str) -> int:
    """Coarse script of a character: Latin with its accents, or a block of 256 code points."""
    code = ord(character)
    if code < 0x250 or 0x1E00 <= code < 0x1F00:  # noqa: PLR2004
        return 0
    if 0x3040 <= code < 0xA000:  # noqa: PLR2004  (Japanese and Chinese mix)
        return 0x3040
    return code >> 8
