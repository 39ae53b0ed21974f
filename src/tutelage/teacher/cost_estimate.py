"""Cost estimate of a run, before it starts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tutelage.teacher.budget import prompt_tokens_at_most
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.journal import Journal
from tutelage.teacher.protocol import Request

CHARACTERS_PER_TOKEN = 4.0
"""Characters per token of English text; code and other languages have fewer."""

COMPLETION_FRACTION = 0.5
"""Fraction of `max_tokens` that a reply is expected to use where nothing is known about the
teacher.
"""

TURN_TOKENS = 5
"""Tokens that a typical chat template adds to one turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimated calls, tokens, cost and time of some requests.

    Attributes:
        calls: Requests that would be sent: equal ones once, none that the journal holds.
        calls_in_journal: Requests that the journal answers.
        prompt_tokens: Expected, over the calls to send.
        max_completion_tokens: The most that the replies can have, over the calls to send.
        cost_expected: In `currency`, with `COMPLETION_FRACTION` of the completion tokens.
        cost_at_most: In `currency`: every byte a token and every reply as long as allowed.
        currency: Or None where no prices were given; both costs are then None too.
    """

    calls: int
    calls_in_journal: int
    prompt_tokens: int
    max_completion_tokens: int
    cost_expected: float | None
    cost_at_most: float | None
    currency: str | None


def estimate(
    requests: Iterable[Request],
    *,
    settings: TeacherSettings,
    journal: Journal | None = None,
    count_tokens: Callable[[str], int] | None = None,
    completion_fraction: float = COMPLETION_FRACTION,
) -> Estimate:
    """Estimate calls, tokens, cost and time of some requests without sending any.

    Args:
        requests: What would be asked.
        settings: Settings of the teacher: prices, and what is added to each request.
        journal: Where some may already be answered.
        count_tokens: A tokenizer; without it a token is taken to be four characters.
        completion_fraction: The part of `max_tokens`, in [0, 1], a reply is expected to use.
    """
    prices, extra = settings.charged, dict(settings.extra_body) or None
    completed = (replace(request, extra=extra, omit=settings.omit) for request in requests)
    wanted = {request.key: request for request in completed}
    known = journal.known(wanted) if journal is not None else set()
    to_send = [request for key, request in wanted.items() if key not in known]
    prompt = sum(prompt_tokens_expected(r, count_tokens=count_tokens) for r in to_send)
    completion = sum(r.max_tokens for r in to_send)
    expected = at_most = None
    if prices is not None:
        expected = prices.cost(
            prompt_tokens=prompt, completion_tokens=round(completion * completion_fraction)
        )
        at_most = prices.cost(
            prompt_tokens=sum(prompt_tokens_at_most(r) for r in to_send),
            completion_tokens=completion,
        )
    return Estimate(
        calls=len(to_send),
        calls_in_journal=len(known),
        prompt_tokens=prompt,
        max_completion_tokens=completion,
        cost_expected=expected,
        cost_at_most=at_most,
        currency=prices.currency if prices is not None else None,
    )


def prompt_tokens_expected(
    request: Request, *, count_tokens: Callable[[str], int] | None = None
) -> int:
    """Expected tokens of a prompt: from a tokenizer, or a quarter of its characters."""
    turns = TURN_TOKENS * (len(request.messages) + 1)
    if count_tokens is not None:
        return turns + sum(count_tokens(m.content) for m in request.messages)
    characters = sum(len(m.content) for m in request.messages)
    return turns + round(characters / CHARACTERS_PER_TOKEN)
