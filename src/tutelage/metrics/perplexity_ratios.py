"""Ratios of one text read with and without the other half of its pair."""

import math

from tutelage.data import TokenStats
from tutelage.errors import SpanMismatchError

_FLOAT64_MAX_LOG = math.log(1.7976931348623157e308)


def ifd(*, response: TokenStats, response_given_instruction: TokenStats) -> float | None:
    """How little the instruction helps the student to predict the response.

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
    """The ratio of the two losses, where `ifd` is the ratio of the two perplexities.

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
    """How little the response helps the student to guess the instruction.

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
    """The exponential, or None where a float64 cannot hold it."""
    return math.exp(nats) if nats <= _FLOAT64_MAX_LOG else None


def divide(numerator: float, denominator: float) -> float | None:
    """The quotient, or None where there is none or a float64 cannot hold it."""
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
