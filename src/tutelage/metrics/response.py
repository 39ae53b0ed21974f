"""Metrics of a response from its token statistics."""

import math

import numpy as np

from tutelage.data import TokenStats
from tutelage.errors import DataError, SpanMismatchError

# ----------------------------------------------------------------------------------------------
# Ratios of one text read with and without the other half of its pair.
# ----------------------------------------------------------------------------------------------


_FLOAT64_MAX_LOG = math.log(1.7976931348623157e308)


def ifd(*, response: TokenStats, response_given_instruction: TokenStats) -> float | None:
    """Instruction-following difficulty (IFD): perplexity after the instruction over without it.

    The ratio of two perplexities of the same tokens, after the instruction over without it:
    exp(L(response given instruction) - L(response)). At 1 the instruction made no difference,
    below 1 it helps, above 1 it misleads: a mismatched pair.

    Source: Selective Reflection-Tuning, equation 3 (arXiv 2402.10110); Superfiltering
    (arXiv 2402.00530). Deviations: "alone" is after the template's response header, and both
    sides count the same token ids; the authors read the bare text and may count one token less.

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


# ----------------------------------------------------------------------------------------------
# Response.
# ----------------------------------------------------------------------------------------------


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

    Source: LARK (arXiv 2605.30651), where it stands for how fast the loss can fall. Deviation: over
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
