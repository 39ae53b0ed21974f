"""What do several answers to one instruction agree on?

Agreement is evidence, not correctness: models share mistakes. So it gives no `right` or `wrong`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tutelage.verification.answers import NotFound, find_answer
from tutelage.verification.maths import strip_markup
from tutelage.verification.quantities import read_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The most frequent answer among N responses.

    Attributes:
        answer: As its first voter wrote it; None where nobody answered or the first place is tied.
        votes: How many responses gave the most frequent answer; 0 where nobody answered.
        responses: How many responses there are, those without an answer included.
        tied: The answers that share the first place, in order of appearance; empty without a tie.
        agrees: For each response: whether it gave `answer`; None where it gave none, or at a tie.
    """

    answer: str | None
    votes: int
    responses: int
    tied: tuple[str, ...]
    agrees: tuple[bool | None, ...]

    @property
    def share(self) -> float | None:
        """Votes over responses, in (0, 1]; None where nobody answered."""
        return self.votes / self.responses if self.votes else None


def find_agreement(responses: Iterable[str | None]) -> Agreement:
    """Count the final answers of responses to one instruction.

    Plain quantities are the same where their numbers are (`1,200` and `$1200.00`); other answers
    where their text is. The result does not depend on the order of the responses, except for which
    spelling of an answer is shown.

    Examples:
        >>> found = find_agreement(["The answer is 42.", "#### 42.0", "#### 41", None])
        >>> found.answer, found.votes, found.share
        ('42', 2, 0.5)
        >>> find_agreement(["#### 1", "#### 2"]).tied
        ('1', '2')
    """
    keys: list[str | None] = []
    written: dict[str, str] = {}
    for response in responses:
        found = find_answer(response or "")
        text = None if isinstance(found, NotFound) else strip_markup(found.text)
        key = _key(text) if text else None
        keys.append(key)
        if key is not None and text is not None:
            written.setdefault(key, text)
    votes = Counter(key for key in keys if key is not None)
    most = max(votes.values(), default=0)
    first = [key for key in written if votes[key] == most]
    winner = first[0] if len(first) == 1 else None
    return Agreement(
        answer=written[winner] if winner is not None else None,
        votes=most,
        responses=len(keys),
        tied=tuple(written[key] for key in first) if len(first) > 1 else (),
        agrees=tuple(None if key is None or winner is None else key == winner for key in keys),
    )


def _key(text: str) -> str:
    quantity = read_quantity(text)
    if quantity is not None:
        return f"number {quantity.values[0].limit_denominator(10**9)}"
    return f"text {' '.join(text.casefold().split())}"
