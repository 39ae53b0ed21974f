"""What is put before a check."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tutelage.data import OK, Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """One instruction that a program can check.

    Attributes:
        kind: As IFEval names it, for example `punctuation:no_comma`.
        arguments: Its arguments by name, without those that are null.
    """

    kind: str
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A response that claims to be right, and what it is to be held against.

    Attributes:
        candidate_id: Comes back in the verdict.
        response: What the model wrote; None where it wrote nothing.
        reference: The right answer: for maths, number, choice, exact, and where there is one for
            the judge.
        choices: For choice: the texts, in order.
        tests: For code: Python statements that raise an error if the program is wrong.
        constraints: For constraints: all must be met.
        instruction: For the judge: what was asked; for constraints of the kind that repeat it.
    """

    candidate_id: str | None = None
    response: str | None
    reference: str | None = None
    choices: tuple[str, ...] = ()
    tests: str | None = None
    constraints: tuple[Constraint, ...] = ()
    instruction: str | None = None


def claim_of(candidate: Candidate, *, reference: str | None = None) -> Claim:
    """The claim of a candidate that it reaches a reference answer.

    A candidate without text (its status is not ok) makes a claim without a response, which every
    check answers with `no_answer`.
    """
    has_text = candidate.status == OK
    return Claim(
        candidate_id=candidate.candidate_id,
        response=candidate.response if has_text else None,
        instruction=candidate.instruction if has_text else None,
        reference=reference,
    )
