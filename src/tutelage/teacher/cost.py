"""Cost of a teacher: accounting of calls and tokens with a limit, and an estimate before a run."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

from tutelage.errors import BatchPendingError, BudgetError, NotInJournalError, TeacherError
from tutelage.teacher.config import Prices, TeacherSettings
from tutelage.teacher.journal import Journal
from tutelage.teacher.journal_file import Entry, answer_of
from tutelage.teacher.protocol import Reply, Request

MESSAGE_OVERHEAD_TOKENS = 32
"""Upper bound of the tokens that a chat template adds to one turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Snapshot of the calls, tokens and cost since a teacher was opened.

    Attributes:
        asked: Requests that came in, each one counted once.
        from_journal: Of these, answered without sending anything.
        answered: Of these, answered by the teacher now.
        failed: Of these, ended in an error.
        under_way: Of these, not ended yet.
        failures: Attempts that failed, by kind of error; one request may fail several times.
        prompt_tokens: Prompt tokens of the replies of now, as far as the server counted.
        completion_tokens: Likewise.
        seconds: Summed over the replies of now; more than the clock's where they overlap.
        cost: Paid now, in `currency`.
        cost_estimated: The part of `cost` of replies whose tokens the server did not count; for
            these the most they can have cost is taken.
        cost_from_journal: What the replies from the journal had cost when they were asked for.
        spent_before: What this run had paid before it was started again; counts to the cap.
        max_cost: The cap on `cost + spent_before`, or None.
        currency: Currency of all costs, or None where no prices were given: costs are then 0.
    """

    asked: int = 0
    from_journal: int = 0
    answered: int = 0
    failed: int = 0
    under_way: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    cost_estimated: float = 0.0
    cost_from_journal: float = 0.0
    spent_before: float = 0.0
    max_cost: float | None = None
    currency: str | None = None

    def as_dict(self) -> dict[str, object]:
        """All counts, for a manifest."""
        counted = {f.name: getattr(self, f.name) for f in fields(self)}
        return counted | {"failures": dict(self.failures)}

    def in_words(self) -> str:
        """One short line for people.

        Examples:
            >>> Tally(asked=5, answered=3, from_journal=2, cost=0.5, currency="USD").in_words()
            '3 new calls, 2 cached, 0.50 USD'
        """
        parts = [f"{self.answered} new {'call' if self.answered == 1 else 'calls'}"]
        if self.from_journal:
            parts.append(f"{self.from_journal} cached")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.currency is not None:
            total = self.cost + self.spent_before
            cap = f" of {self.max_cost:.2f}" if self.max_cost is not None else ""
            parts.append(f"{total:.2f}{cap} {self.currency}")
        return ", ".join(parts)


def prompt_tokens_at_most(request: Request) -> int:
    """Upper bound on the tokens of a prompt, computed without a tokenizer.

    A byte-level tokenizer never makes more than one token of a byte. English text has about a
    quarter of this.
    """
    text = sum(len(m.content.encode("utf-8", "surrogatepass")) for m in request.messages)
    schema = "" if request.schema is None else json.dumps(dict(request.schema))
    return text + len(schema) + MESSAGE_OVERHEAD_TOKENS * (len(request.messages) + 1)


class Account:
    """Account that counts calls and reserves their worst-case cost against `max_cost`.

    Before a call is sent, the most it can cost is reserved. A call that does not fit next to the
    reservations of the others waits for them; one that does not fit even without them is rejected.
    A server that counts more tokens than could be reserved (thinking beyond `max_tokens`) costs
    more than was held back: the cap is then passed by that much of the calls that are under way,
    and no other call is sent. Attempts that failed are counted as free, since a server that does
    not answer sends no count.

    Args:
        prices: Without them everything costs 0.
        max_cost: The cap, in the currency of the prices.
        spent_before: What this run had paid before it was started again.
    """

    def __init__(
        self,
        *,
        prices: Prices | None = None,
        max_cost: float | None = None,
        spent_before: float = 0.0,
    ) -> None:
        self.prices = prices
        self.currency = prices.currency if prices else None
        self._max_cost = max_cost
        self._spent_before = spent_before
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._seconds = 0.0
        self._cost = 0.0
        self._cost_estimated = 0.0
        self._cost_from_journal = 0.0
        self._reserved: list[float] = []
        self._waiting: list[asyncio.Future[None]] = []

    def cost_at_most(self, request: Request) -> float:
        """Worst-case cost of one attempt."""
        if self.prices is None:
            return 0.0
        return self.prices.cost(
            prompt_tokens=prompt_tokens_at_most(request), completion_tokens=request.max_tokens
        )

    @asynccontextmanager
    async def reserved(self, request: Request) -> AsyncIterator[None]:
        """Context manager that reserves the worst-case cost of a request.

        Raises:
            BudgetError: Sending it could bring the cost above the cap.
        """
        amount = self.cost_at_most(request)
        if self._max_cost is not None:
            while not self._fits(amount):
                if not self._fits(amount, with_reservations=False):
                    raise self._over(amount)
                settled = asyncio.get_running_loop().create_future()
                self._waiting.append(settled)
                await settled
        self._reserved.append(amount)
        try:
            yield
        finally:
            self._reserved.remove(amount)
            self._wake()

    def asked(self) -> None:
        """Count a request that arrived."""
        self._counts["asked"] += 1

    def met(self, *, cost: float) -> None:
        """Count a cached answer, with or without text."""
        self._cost_from_journal += cost

    def found(self) -> None:
        """Count a request that was answered without a call."""
        self._counts["from_journal"] += 1

    def paid(
        self,
        request: Request,
        *,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        seconds: float,
    ) -> float:
        """Count the tokens, time and cost of a call.

        Args:
            request: The request of the call.
            prompt_tokens: As the server counted them; None where it did not.
            completion_tokens: Likewise.
            seconds: Duration of the call.

        Returns:
            Its cost; where the server did not count the tokens, the most it can have been.
        """
        self._counts["prompt_tokens"] += prompt_tokens or 0
        self._counts["completion_tokens"] += completion_tokens or 0
        self._seconds += seconds
        if self.prices is None:
            return 0.0
        if prompt_tokens is None or completion_tokens is None:
            cost = self.cost_at_most(request)
            self._cost_estimated += cost
        else:
            cost = self.prices.cost(
                prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
            )
        self._cost += cost
        return cost

    def answered(self) -> None:
        """Count a call that ended with a reply."""
        self._counts["answered"] += 1

    def failed(self) -> None:
        """Count a request that ended with an error."""
        self._counts["failed"] += 1

    def attempt_failed(self, error: TeacherError) -> None:
        """Count a failed attempt, whether or not another one follows."""
        self._failures[type(error).__name__] += 1

    def abandoned(self) -> None:
        """Uncount a request whose caller was cancelled before it ended."""
        self._counts["asked"] -= 1

    @property
    def left(self) -> float | None:
        """Remaining budget, or None where there is no limit."""
        if self._max_cost is None:
            return None
        return self._max_cost - self._spent_before - self._cost

    @property
    def tally(self) -> Tally:
        """Snapshot of all counts."""
        ended = self._counts["from_journal"] + self._counts["answered"] + self._counts["failed"]
        return Tally(
            asked=self._counts["asked"],
            from_journal=self._counts["from_journal"],
            answered=self._counts["answered"],
            failed=self._counts["failed"],
            under_way=self._counts["asked"] - ended,
            failures=MappingProxyType(dict(sorted(self._failures.items()))),
            prompt_tokens=self._counts["prompt_tokens"],
            completion_tokens=self._counts["completion_tokens"],
            seconds=self._seconds,
            cost=self._cost,
            cost_estimated=self._cost_estimated,
            cost_from_journal=self._cost_from_journal,
            spent_before=self._spent_before,
            max_cost=self._max_cost,
            currency=self.currency,
        )

    def _fits(self, amount: float, *, with_reservations: bool = True) -> bool:
        if self._max_cost is None:
            return True
        held = sum(self._reserved) if with_reservations else 0.0
        return self._spent_before + self._cost + held + amount <= self._max_cost

    def _over(self, amount: float) -> BudgetError:
        spent = self._spent_before + self._cost
        return BudgetError(
            f"the next call may cost {amount:.4g} {self.currency}, {spent:.4g} of "
            f"{self._max_cost:.4g} {self.currency} is spent",
            hint="raise max_cost and start the run again; replies so far are in the teacher cache",
        )

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done() and not settled.get_loop().is_closed():
                settled.set_result(None)


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


def completed(request: Request, settings: TeacherSettings) -> Request:
    """Request with what the settings add to its body and leave out, as it is sent and keyed."""
    return replace(request, extra=dict(settings.extra_body) or None, omit=settings.omit)


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
        to_send = list(self.to_send.values())
        prices = self._settings.charged
        prompt = sum(prompt_tokens_expected(r) for r in to_send)
        completion = sum(r.max_tokens for r in to_send)
        expected = at_most = None
        if prices is not None:
            expected = prices.cost(
                prompt_tokens=prompt, completion_tokens=round(completion * COMPLETION_FRACTION)
            )
            at_most = prices.cost(
                prompt_tokens=sum(prompt_tokens_at_most(r) for r in to_send),
                completion_tokens=completion,
            )
        return Estimate(
            calls=len(to_send),
            calls_in_journal=len(self.answered),
            calls_in_batches=len(self.waiting),
            prompt_tokens=prompt,
            max_completion_tokens=completion,
            cost_expected=expected,
            cost_at_most=at_most,
            currency=prices.currency if prices is not None else None,
        )


def prompt_tokens_expected(request: Request) -> int:
    """Expected tokens of a prompt: a quarter of its characters, and those of the template."""
    turns = TURN_TOKENS * (len(request.messages) + 1)
    characters = sum(len(m.content) for m in request.messages)
    return turns + round(characters / CHARACTERS_PER_TOKEN)
