"""Verdicts of a check, claims and constraints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from tutelage.data import Message
from tutelage.data.example import asked_text
from tutelage.errors import DataError

Ruling: TypeAlias = Literal["right", "wrong", "no_answer", "cannot_check"]
RULINGS: tuple[Ruling, ...] = get_args(Ruling)

EVIDENCE_CHARACTERS = 600
"""Most characters of the evidence, which is shortened in the middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Verdict of a check on one response; it has no number on purpose.

    Attributes:
        candidate_id: Whose response it is, if the caller named it.
        verdict: `right` and `wrong` were checked; `no_answer` means the response holds nothing
            that could be checked; `cannot_check` means that the check itself could not be made
            (no reference, an ambiguous answer, a time limit, a missing sandbox).
        evidence: For people: what was compared with what, and where in the response it stood.
    """

    candidate_id: str | None = None
    verdict: Ruling
    evidence: str

    def __post_init__(self) -> None:
        if self.verdict not in RULINGS:
            raise DataError(
                f"unknown verdict {self.verdict!r}", hint=f"verdicts are {', '.join(RULINGS)}"
            )
        if not self.evidence:
            raise DataError(f"verdict {self.verdict!r} without evidence")


def right(evidence: str) -> Verdict:
    """Verdict: the response was checked and is right."""
    return Verdict(verdict="right", evidence=shorten(evidence))


def wrong(evidence: str) -> Verdict:
    """Verdict: the response was checked and is wrong."""
    return Verdict(verdict="wrong", evidence=shorten(evidence))


def no_answer(evidence: str) -> Verdict:
    """Verdict: the response has no answer that could be checked."""
    return Verdict(verdict="no_answer", evidence=shorten(evidence))


def cannot_check(evidence: str) -> Verdict:
    """Verdict: the check was not possible."""
    return Verdict(verdict="cannot_check", evidence=shorten(evidence))


def shorten(text: str, limit: int = EVIDENCE_CHARACTERS) -> str:
    """Text shortened in the middle to at most `limit` characters (at least 20).

    Examples:
        >>> shorten("a" * 30, 20)
        'aaaaaaa [...] aaaaaa'
    """
    if len(text) <= limit:
        return text
    gap = " [...] "
    kept = limit - len(gap)
    head = kept - kept // 2
    return text[:head] + gap + text[len(text) - kept // 2 :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One verifiable instruction (constraint).

    Attributes:
        kind: As IFEval names it, for example `punctuation:no_comma`.
        arguments: Its arguments by name, without those that are null.
    """

    kind: str
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A response to be checked, with its reference.

    Attributes:
        candidate_id: Comes back in the verdict.
        response: What the model wrote; None where it wrote nothing.
        reference: The right answer: for maths, number, choice, exact, and where there is one for
            the judge.
        choices: For choice: the texts, in order.
        tests: For code: Python statements that raise an error if the program is wrong.
        constraints: For constraints: all must be met.
        instruction: For the judge: what was asked; for constraints of the kind that repeat it.
        conversation: For the judge: the turns in front of the response, as one text, where there
            are more than the instruction.
    """

    candidate_id: str | None = None
    response: str | None
    reference: str | None = None
    choices: tuple[str, ...] = ()
    tests: str | None = None
    constraints: tuple[Constraint, ...] = ()
    instruction: str | None = None
    conversation: str | None = None


def conversation_of(turns: Sequence[Message | Mapping[str, Any]]) -> str | None:
    """`Claim.conversation` of a row's turns; None where the instruction is all there is."""
    asked = asked_text(turns)
    return asked[0] if asked is not None and asked[1] else None
