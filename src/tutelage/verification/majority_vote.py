"""Majority vote over several responses to one instruction.

Agreement is evidence, not correctness: models share mistakes. `verdicts_by_majority` treats the
majority's answer as right only if this check is requested, and its evidence gives the counts.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tutelage.data.thinking import split_thinking
from tutelage.verification.answer_extraction import NotFound, find_answer, strip_markup
from tutelage.verification.number_parsing import read_quantity
from tutelage.verification.verdict import Verdict, cannot_check, no_answer, right, wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Most frequent answer among N responses.

    Attributes:
        answer: As its first voter wrote it; None without any answer or with a tie.
        votes: How many responses gave the most frequent answer; 0 without any answer.
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
        """Votes over responses, in (0, 1]; None where no response has an answer."""
        return self.votes / self.responses if self.votes else None


def find_agreement(responses: Iterable[str | None], *, instruction: str | None = None) -> Agreement:
    """Count the final answers of responses to one instruction.

    Plain quantities are the same where their numbers are (`1,200` and `$1200.00`); other answers
    where their text is. The result does not depend on the order of the responses, except for which
    spelling of an answer is shown.

    Args:
        responses: All responses to one instruction; None has no text.
        instruction: What was asked, if it is known; see `find_answer`.

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
        found = find_answer(_answer(response), instruction=instruction)
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


def verdicts_by_majority(
    responses: Iterable[str | None],
    *,
    minimum_share: float = 0.0,
    instruction: str | None = None,
) -> list[Verdict]:
    """Verdicts that use the majority's answer as the reference.

    Args:
        responses: All responses to one instruction; None has no text.
        minimum_share: The least share of the responses, in [0, 1], that must give that answer.
        instruction: What was asked, if it is known.

    Returns:
        One verdict a response, in order: `cannot_check` for all at a tie, where one response is
        all there is, or below the share. The evidence gives the votes, and that they are no proof.

    Examples:
        >>> [v.verdict for v in verdicts_by_majority(["#### 4", "#### 4", "#### 5", "I pass."])]
        ['right', 'right', 'wrong', 'no_answer']
    """
    texts = list(responses)
    found = find_agreement(texts, instruction=instruction)
    share = found.share or 0.0
    counted = f"{found.votes} of {found.responses} responses"
    if found.tied:
        unsure = f"a tie: {', '.join(found.tied)} by {counted} each"
    elif found.votes < 2:  # noqa: PLR2004  (no two responses agree)
        unsure = "no two responses agree"
    elif share < minimum_share:
        unsure = f"{counted} agree on {found.answer}, fewer than {minimum_share:g} of them"
    else:
        unsure = ""
    evidence = f"majority (no proof): {counted} answer {found.answer}"
    verdicts = []
    for text, agrees in zip(texts, found.agrees, strict=True):
        if isinstance(find_answer(_answer(text), instruction=instruction), NotFound):
            verdicts.append(no_answer("no final answer was found"))
        elif unsure or agrees is None:
            verdicts.append(cannot_check(unsure or "its answer cannot be compared"))
        else:
            verdicts.append(right(evidence) if agrees else wrong(evidence))
    return verdicts


def _answer(response: str | None) -> str:
    """Text after the thinking; empty where there is none."""
    return split_thinking(response or "").answer
