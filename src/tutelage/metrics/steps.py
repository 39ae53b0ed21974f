"""Steps of a response: their borders, and metrics of their tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.data import Reading, TokenStats
from tutelage.errors import DataError

LALP_WINDOW_STEPS = 4
"""Earlier steps that serve as the context of a step, as in version 1 of the paper."""

_BORDER = re.compile(r"(?<=[.?!])\s+|(?<=[\u3002\uff01\uff1f])\s*|\s*\n\s*")
_LIST_NUMBER = re.compile(r"\s*\(?(?:\d{1,3}|[a-zA-Z])[.)]\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step of a response with the few steps before it, as (context, target) text.

    Attributes:
        earlier: The steps just before, as they stand in the response; follows the instruction.
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
