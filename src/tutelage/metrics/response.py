"""Metrics of a response from its token statistics, as a whole and by its steps."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.data import Reading, TokenStats
from tutelage.errors import DataError, SpanMismatchError

# Ratios of one text read with and without the other half of its pair.


_FLOAT64_MAX_LOG = math.log(1.7976931348623157e308)


def ifd(*, response: TokenStats, response_given_instruction: TokenStats) -> float | None:
    """Instruction-following difficulty (IFD): perplexity after the instruction over without it.

    The ratio of two perplexities of the same tokens, after the instruction over without it:
    exp(L(response given instruction) - L(response)). At 1 the instruction made no difference,
    below 1 it helps, above 1 it misleads: a mismatched pair.

    Source: Selective Reflection-Tuning, equation 3 (arXiv 2402.10110); Superfiltering
    (arXiv 2402.00530). Deviations: "alone" is after the template's response header, and both
    sides count the same token ids; the authors read the bare text and may count one token fewer.

    Args:
        response: The response read after the header alone.
        response_given_instruction: The same response tokens read after the instruction.

    Returns:
        A ratio without unit, in (0, inf), or None where it is too large for a float64.

    Raises:
        SpanMismatchError: The two readings count different numbers of tokens.

    Examples:
        >>> import numpy as np
        >>> alone = TokenStats(logprobs_T=np.float32([-1.0, -2.0]))
        >>> given = TokenStats(logprobs_T=np.float32([-1.0, -1.0]))
        >>> round(ifd(response=alone, response_given_instruction=given), 4)
        0.6065
    """
    _check_same_tokens("response", alone=response, given=response_given_instruction)
    return exp(response_given_instruction.mean_nll - response.mean_nll)


def ifd_loss(*, response: TokenStats, response_given_instruction: TokenStats) -> float | None:
    """Loss ratio variant of `ifd`, which is a ratio of perplexities.

    L(response given instruction) / L(response). At 1 the instruction made no difference, below 1
    it helps, above 1 it misleads. It ranks pairs differently from `ifd`.

    Source: Cherry LLM (arXiv 2308.12032); data-juicer and wana compute this one.
    Deviation: both sides count the same token ids.

    Args:
        response: The response read after the header alone.
        response_given_instruction: The same response tokens read after the instruction.

    Returns:
        A ratio without unit, in [0, inf), or None where the response alone has loss 0.

    Raises:
        SpanMismatchError: The two readings count different numbers of tokens.
    """
    _check_same_tokens("response", alone=response, given=response_given_instruction)
    return divide(response_given_instruction.mean_nll, response.mean_nll)


def r_ifd(*, instruction: TokenStats, instruction_given_response: TokenStats) -> float | None:
    """Reversed IFD: how little the response helps the student to predict the instruction.

    exp(L(instruction given response) - L(instruction)). At 1 the response says nothing about the
    instruction, below 1 it gives it away (a matched pair), above 1 it misleads.

    Source: Selective Reflection-Tuning, equation 8 (arXiv 2402.10110). Deviations: our own wording
    of the reverse request; both sides count the same token ids.

    Args:
        instruction: The instruction read after the header alone.
        instruction_given_response: The same instruction tokens read after the response, wrapped
            in a request to guess the instruction.

    Returns:
        A ratio without unit, in (0, inf), or None where it is too large for a float64.

    Raises:
        SpanMismatchError: The two readings count different numbers of tokens.
    """
    _check_same_tokens("instruction", alone=instruction, given=instruction_given_response)
    return exp(instruction_given_response.mean_nll - instruction.mean_nll)


def ppl(*, response_given_instruction: TokenStats) -> float | None:
    """Perplexity of the response after the instruction: exp of the mean loss.

    At 1 the student was certain of every token. It mixes two opposite things, text the student
    cannot follow and text it can learn from, so it has no direction of its own.

    Returns:
        A number of equally likely tokens, in [1, inf), or None where it is too large for a float64.
    """
    return exp(response_given_instruction.mean_nll)


def exp(nats: float) -> float | None:
    """Exponential, or None on overflow of a float64."""
    return math.exp(nats) if nats <= _FLOAT64_MAX_LOG else None


def divide(numerator: float, denominator: float) -> float | None:
    """Quotient, or None on division by zero or overflow of a float64."""
    if denominator == 0:
        return None
    quotient = numerator / denominator
    return quotient if math.isfinite(quotient) else None


def _check_same_tokens(text: str, *, alone: TokenStats, given: TokenStats) -> None:
    if alone.tokens != given.tokens:
        raise SpanMismatchError(
            f"the {text} covers {alone.tokens} tokens alone but {given.tokens} after its context",
            hint="tokenise the pair once and read those token ids in both contexts",
        )


HIGH_ENTROPY_ONE_IN = 200
"""One in how many tokens `high_entropy_sum` adds up: 0.5%, as in its paper."""


def grape(*, response_given_instruction: TokenStats) -> float:
    """Mean log-probability of the response after the instruction (GRAPE).

    Source: GRAPE (arXiv 2502.04194): keep the response with the highest length-normalised
    probability under the base model. Higher is better among candidates of one instruction, and
    says nothing across instructions.

    Returns:
        Nats per token, in (-inf, 0]; 0 where the student was certain of every token.
    """
    # 0.0 - x instead of -x: a certain student gives 0.0, not -0.0.
    return 0.0 - response_given_instruction.mean_nll


def mean_surprisal(*, response_given_instruction: TokenStats) -> float:
    """Mean surprisal of the response after the instruction, which is its loss.

    Source: a baseline of RSR (arXiv 2601.14249) and the loss of LARK (arXiv 2605.30651).

    Returns:
        Nats per token, in [0, inf).
    """
    return response_given_instruction.mean_nll


def mean_rank(*, response_given_instruction: TokenStats) -> float:
    """Mean rank of the response's tokens in the vocabulary, clipped at 100.

    Source: RSR (arXiv 2601.14249). The rank is 1 + the number of strictly more probable tokens.

    Returns:
        A rank in [1, 100]; 1 where every token was the student's first choice.

    Raises:
        DataError: Ranks were not measured.
    """
    return float(ranks_of(response_given_instruction).mean())


def rsr(*, response_given_instruction: TokenStats) -> float | None:
    """Rank-surprisal ratio: low for tokens with a high rank and a high surprisal.

    sum of min(rank, 100) / sum of surprisal: the surprisal-weighted mean of the ratio of each
    token. Lower is better: the student finds the tokens unlikely, but among its first choices.

    Source: Rank-Surprisal Ratio (arXiv 2601.14249), trajectory level. The authors warn that it is
    noisy on short responses. Deviation: no epsilon under the fraction.

    Returns:
        Ranks per nat, in (0, inf), or None where the student was certain of every token.

    Raises:
        DataError: Ranks were not measured.

    Examples:
        >>> stats = TokenStats(
        ...     logprobs_T=np.float32([-0.1, -1, -5]), ranks_T=np.uint8([1, 2, 100])
        ... )
        >>> round(rsr(response_given_instruction=stats), 3)
        16.885
    """
    ranks = float(ranks_of(response_given_instruction).sum())
    nats = response_given_instruction.mean_nll * response_given_instruction.tokens
    return divide(ranks, nats)


def brier(*, response_given_instruction: TokenStats) -> float:
    """Mean Brier score of the student's prediction of each response token.

    The mean over tokens of 1 - 2 p(token) + (sum over the vocabulary of squared probabilities).

    Source: LARK (arXiv 2605.30651), where it measures how fast the loss can fall. Deviation: over
    the whole vocabulary; the authors' code renormalises the 50 most probable tokens.

    Returns:
        A score in [0, 2]; 0 where the student was certain and right, 2 where certain and wrong.

    Raises:
        DataError: Sums of squared probabilities were not measured.
    """
    squares = response_given_instruction.sum_squares_T
    if squares is None:
        raise missing_statistics("sums of squared probabilities")
    probabilities = np.exp(response_given_instruction.logprobs_T.astype(np.float64))
    score = float(np.mean(1 - 2 * probabilities + squares.astype(np.float64)))
    return min(max(score, 0.0), 2.0)  # float32 statistics can pass the ends by a rounding


def upd(*, response_given_instruction: TokenStats, vocabulary_tokens: int) -> float:
    """Fraction of surprising tokens at positions where the student was sure of another token.

    The mean over tokens of sigmoid(surprisal) * max(0, 1 - entropy / log(vocabulary)).

    Source: UPD as computed by OpenDataArena's scorers; no paper of its own was found.

    Args:
        response_given_instruction: The response read after the instruction, with entropies.
        vocabulary_tokens: Size of the student's vocabulary, at least 2.

    Returns:
        A weight in [0, 1); 0 where every distribution was uniform. A student that is sure and
        right gives 0.5.

    Raises:
        DataError: Entropies were not measured.
    """
    surprisals = -response_given_instruction.logprobs_T.astype(np.float64)
    certainties = 1 - entropies_of(response_given_instruction) / math.log(vocabulary_tokens)
    # surprisals are at least 0, so exp(-surprisal) cannot overflow.
    sigmoids = 1 / (1 + np.exp(-surprisals))
    return float(np.mean(sigmoids * np.maximum(0.0, certainties)))


def high_entropy_sum(*, response_given_instruction: TokenStats) -> float:
    """Sum of the highest 0.5% of the token entropies: the response's most uncertain positions.

    Source: High-Entropy Sum (arXiv 2605.22389). Deviation: at least one token is counted, so that
    a response of fewer than 200 tokens has a number (its highest entropy) too. It grows with
    length: compare responses of like length.

    Returns:
        Nats, in [0, inf).

    Raises:
        DataError: Entropies were not measured.
    """
    entropies = np.sort(entropies_of(response_given_instruction))[::-1]
    counted_tokens = math.ceil(len(entropies) / HIGH_ENTROPY_ONE_IN)
    return float(entropies[:counted_tokens].sum())


def ranks_of(stats: TokenStats) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Clipped ranks as float64.

    Raises:
        DataError: They were not measured.
    """
    if stats.ranks_T is None:
        raise missing_statistics("ranks")
    return stats.ranks_T.astype(np.float64)


def entropies_of(stats: TokenStats) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Entropies in nats as float64.

    Raises:
        DataError: They were not measured.
    """
    if stats.entropies_T is None:
        raise missing_statistics("entropies")
    return stats.entropies_T.astype(np.float64)


def missing_statistics(what: str) -> DataError:
    """Error for a reading that lacks the statistics that a metric needs."""
    return DataError(
        f"the reading has no {what}",
        hint="ask the student for the statistics that `tutelage.metrics.statistics_for` names",
    )


LALP_WINDOW_STEPS = 4
"""Earlier steps that serve as the context of a step, as in version 1 of the paper."""

_BORDER = re.compile(r"(?<=[.?!])\s+|(?<=[\u3002\uff01\uff1f])\s*|\s*\n\s*")
_LIST_NUMBER = re.compile(r"\s*\(?(?:\d{1,3}|[a-zA-Z])[.)]\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step of a response with the few steps before it, as (context, target) text.

    Attributes:
        earlier: The steps just before, as they are in the response; follows the instruction.
        step: The text whose tokens are scored.
    """

    earlier: str
    step: str


def step_spans(response: str) -> list[tuple[int, int]]:
    """Cut a response into sentences and lines.

    A step ends after `.`, `?` or `!` before white space, after their full-width forms, and at a
    line break. A list number such as `2.` stays with its line. White space belongs to the step
    that follows it, as it does in most tokens; white space at the end to the last step.

    Returns:
        (start, end) in characters, in order, without gaps; empty for a response without text.

    Examples:
        >>> text = "1. Add 2. Done? Yes"
        >>> [text[a:b] for a, b in step_spans(text)]
        ['1. Add 2.', ' Done?', ' Yes']
    """
    spans = []
    start = 0
    for border in _BORDER.finditer(response):
        text = response[start : border.start()]
        if text.strip() and not _LIST_NUMBER.fullmatch(text) and response[border.end() :].strip():
            spans.append((start, border.start()))
            start = border.start()
    if response[start:].strip():
        spans.append((start, len(response)))
    return spans


def step_views(response: str, *, window_steps: int = LALP_WINDOW_STEPS) -> list[StepView]:
    """Short views that `lalp` reads: each step after at most `window_steps` earlier ones.

    Args:
        response: The response that is scored.
        window_steps: At least 0; 0 reads every step right after the instruction.

    Returns:
        One view a step, in order. The student reads each as: instruction, `earlier`, then `step`.
    """
    if window_steps < 0:
        raise DataError(f"a window of {window_steps} steps: it must be at least 0")
    spans = step_spans(response)
    return [
        StepView(
            earlier=response[spans[max(0, index - window_steps)][0] : start],
            step=response[start:end],
        )
        for index, (start, end) in enumerate(spans)
    ]


def lalp(steps: Sequence[TokenStats]) -> float:
    """Local naturalness: mean log-probability of each step after the instruction and a few steps.

    The mean over steps, with equal weight, of the step's mean log-probability. Higher is better
    among candidates of one instruction. A long trace is not judged by how well the student already
    knows its beginning.

    Source: arXiv 2510.03988 (version 1: the 4 sentences before; version 2: a share of them).
    Deviations: the instruction is always in the context, which the abstract does not say; the
    sentence borders are ours.

    Args:
        steps: One reading a view of `step_views`, in any order.

    Returns:
        Nats per token, in (-inf, 0].

    Raises:
        DataError: There is no step.
    """
    if not steps:
        raise DataError("a response without steps has no local naturalness")
    return float(np.mean([0.0 - step.mean_nll for step in steps]))


def first_token_indexes(*, response: str, starts_T: NDArray[np.int32]) -> NDArray[np.int64]:
    """Indices of the target tokens that begin a step.

        response   A a .   B b .        steps: "A a .", " B b ."
        tokens     0 1 2   3 4 5        first tokens: 0 and 3
                                        (3 is " B": the space before counts to it)

    A token that begins inside the step before, and covers the border, begins no step. Where a
    character is made of several tokens, the first of them is meant.

    Args:
        response: The text that was read.
        starts_T: For each target token the offset, in characters, where it starts; ascending.

    Returns:
        Indexes into the target tokens, ascending, without repetition.
    """
    found: set[int] = set()
    for start, end in step_spans(response):
        text = response[start:end]
        first_character = start + len(text) - len(text.lstrip())
        index = int(np.searchsorted(starts_T, first_character, side="right")) - 1
        if index < 0:
            continue  # the token at the border of context and response is not a target
        index = int(np.searchsorted(starts_T, starts_T[index], side="left"))
        if not response[int(starts_T[index]) : first_character].strip():
            found.add(index)
    return np.array(sorted(found), dtype=np.int64)


def aslec_drop(reading: Reading, *, response: str) -> float | None:
    """Mean log-probability of the response without the first token of each step.

    Higher is better among candidates of one instruction. The first token of a step is the least
    likely one, and long steps dilute it: a plain mean prefers traces with long steps.

    Source: ASLEC-DROP (arXiv 2604.06834). Deviations: one token a step is left out (the paper's
    text; the authors' script leaves out two), and the borders are ours (the script splits at
    ". " and "? " only).

    Returns:
        Nats per token, in (-inf, 0], or None where every token begins a step.

    Raises:
        DataError: The reading does not say where its tokens start.
    """
    logprobs_T, first_T = _split_first(reading, response)
    return _mean(logprobs_T[~first_T])


def first_token_logprob(reading: Reading, *, response: str) -> float | None:
    """Mean log-probability of the tokens that begin a step, for which `casl` corrects.

    Returns:
        Nats per token, in (-inf, 0], or None where no target token begins a step.

    Raises:
        DataError: The reading does not say where its tokens start.
    """
    logprobs_T, first_T = _split_first(reading, response)
    return _mean(logprobs_T[first_T])


def first_token_share(reading: Reading, *, response: str) -> float:
    """Share of the response's tokens that begin a step; high where steps are short.

    Source: F of ASLEC-CASL (arXiv 2604.06834). A diagnosis, not a goal: a metric that correlates
    with it measures the length of steps.

    Returns:
        A fraction in [0, 1].

    Raises:
        DataError: The reading does not say where its tokens start.
    """
    _, first_T = _split_first(reading, response)
    return float(first_T.mean())


def _split_first(reading: Reading, response: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log-probabilities of the response's tokens, and a mask of those that begin a step."""
    stats = reading.views["response_given_instruction"]
    starts_T = reading.response_starts_T
    if starts_T is None or len(starts_T) != stats.tokens:
        raise DataError(
            f"candidate {reading.candidate_id}: the reading does not say where each of its "
            f"{stats.tokens} response tokens starts",
            hint="leave out the metrics of steps (aslec_drop, first_token_*) for this student",
        )
    first_T = np.zeros(stats.tokens, dtype=np.bool_)
    first_T[first_token_indexes(response=response, starts_T=starts_T)] = True
    return stats.logprobs_T.astype(np.float64), first_T


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
