"""Does a response say its instruction again?

`r_ifd` asks how well the response lets the student guess the instruction. A response that opens by
repeating it makes that trivial, so its `r_ifd` is low for no good reason: such a response must be
known before `r_ifd` decides.
"""

from dataclasses import replace

from tutelage.filters.candidate_texts import Pool, compute
from tutelage.filters.config import EchoSettings
from tutelage.filters.decisions import NO_RESPONSE, Verdicts
from tutelage.filters.ngrams import segmented_words, words_of
from tutelage.filters.numeric import numbers
from tutelage.filters.value_band import ABOVE_MAXIMUM, keep_band

ECHOES = "echoes_instruction"
"""The reason where a response repeats (nearly) all of its instruction."""


def repeated_share(*, instruction: str, response: str, ngram_words: int) -> float | None:
    """The share of an instruction's word n-grams that stand in the response.

    Args:
        instruction: The last user turn.
        response: The answer to it.
        ngram_words: At least 1; an instruction with fewer words is looked for whole.

    Returns:
        In [0, 1]: 1 where the whole instruction is there, in order. None where it has no words.

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
    """Keep the candidates whose response does not say the instruction again.

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
