"""Cost estimate of a run, before it starts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tutelage.errors import BatchPendingError, NotInJournalError
from tutelage.teacher.budget import prompt_tokens_at_most
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.journal import Journal
from tutelage.teacher.journal_file import Entry, answer_of
from tutelage.teacher.protocol import Reply, Request

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
        calls_in_batches: Requests that wait in a provider's batches, which were paid for.
        prompt_tokens: Expected, over the calls to send.
        max_completion_tokens: The most that the replies can have, over the calls to send.
        cost_expected: In `currency`, with `COMPLETION_FRACTION` of the completion tokens.
        cost_at_most: In `currency`: every byte a token and every reply as long as allowed.
        currency: Or None where no prices were given; both costs are then None too.
    """

    calls: int
    calls_in_journal: int
    calls_in_batches: int
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
    wanted = {request.key: request for request in (completed(r, settings) for r in requests)}
    known = journal.known(wanted) if journal is not None else set()
    return _estimate_of(
        [request for key, request in wanted.items() if key not in known],
        settings=settings,
        calls_in_journal=len(known),
        count_tokens=count_tokens,
        completion_fraction=completion_fraction,
    )


def completed(request: Request, settings: TeacherSettings) -> Request:
    """Request with what the settings add to its body and leave out, as it is sent and keyed."""
    return replace(request, extra=dict(settings.extra_body) or None, omit=settings.omit)


def _estimate_of(
    to_send: Sequence[Request],
    *,
    settings: TeacherSettings,
    calls_in_journal: int,
    calls_in_batches: int = 0,
    count_tokens: Callable[[str], int] | None = None,
    completion_fraction: float = COMPLETION_FRACTION,
) -> Estimate:
    prices = settings.charged
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
        calls_in_journal=calls_in_journal,
        calls_in_batches=calls_in_batches,
        prompt_tokens=prompt,
        max_completion_tokens=completion,
        cost_expected=expected,
        cost_at_most=at_most,
        currency=prices.currency if prices is not None else None,
    )


class CachedTeacher:
    """Teacher of a dry run: it answers from the teacher cache, and notes what it would have to ask.

    The code that asks a teacher can be run with it as it is, so that requests that depend on
    earlier replies are those of the real run as far as these replies are there.

    Args:
        settings: Settings of the teacher.
        journal: Its cache, which is only read.
        supports_schema: Whether requests carry a JSON schema.

    Attributes:
        to_send: Requests that nothing answers, each once, by key.
        answered: Keys of requests that the cache answers.
        waiting: Keys of requests that wait in a provider's batch.
    """

    def __init__(
        self, settings: TeacherSettings, journal: Journal, *, supports_schema: bool = False
    ) -> None:
        self.to_send: dict[str, Request] = {}
        self.answered: set[str] = set()
        self.waiting: set[str] = set()
        self._settings = settings
        self._journal = journal
        self._supports_schema = supports_schema
        self._batches = settings.batch and journal.has_batches

    @property
    def name(self) -> str:
        """Name of the teacher."""
        return self._settings.teacher_name

    @property
    def supports_schema(self) -> bool:
        """Whether a request may carry a JSON schema."""
        return self._supports_schema

    async def ask(self, request: Request) -> Reply:
        """Cached reply to a request, which is noted.

        Raises:
            NotInJournalError: There is none: it would be sent.
            BatchPendingError: It was sent in a batch.
            UnusableReplyError: The teacher had answered without text.
        """
        entry = self.note(request)
        if entry is not None:
            return answer_of(entry)
        key = completed(request, self._settings).key
        if key in self.waiting:
            raise BatchPendingError(f"request {key} waits in a batch of {self.name}")
        raise NotInJournalError(f"request {key} would be sent to {self.name}")

    def note(self, request: Request) -> Entry | None:
        """Note a request, and give its cached reply if there is one."""
        request = completed(request, self._settings)
        entry = self._journal.get(request.key)
        if entry is not None:
            self.answered.add(request.key)
        elif self._batches and self._journal.batches.batch_of(request.key) is not None:
            self.waiting.add(request.key)
        else:
            self.to_send.setdefault(request.key, request)
        return entry

    def knows(self, request: Request) -> bool:
        """Whether the cache answers a request, which is not noted."""
        return self._journal.get(completed(request, self._settings).key) is not None

    def expect(self, request: Request) -> None:
        """Note a call whose text is not known yet, with a request of about its size."""
        self.to_send[f"expected {len(self.to_send)}"] = completed(request, self._settings)

    @property
    def estimate(self) -> Estimate:
        """Estimated cost of the calls to send."""
        return _estimate_of(
            list(self.to_send.values()),
            settings=self._settings,
            calls_in_journal=len(self.answered),
            calls_in_batches=len(self.waiting),
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
