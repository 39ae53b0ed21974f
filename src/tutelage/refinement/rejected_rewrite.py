"""Rewrites of rejected pairs: the prompt gives the teacher the reason for the rejection.

    rejected candidate + complaint (+ the student's own attempt) --> teacher --> another candidate

The request is the reflection's own prompt with the reason under it, so replies are laid out, read
and judged exactly as those of a reflection; the new candidate's parent is the rejected one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from tutelage.data import INSTRUCTION_REFLECTION, OK, RESPONSE_REFLECTION, Candidate, Message
from tutelage.refinement import statuses
from tutelage.refinement.concurrency import DEFAULT_OUTSTANDING, run_bounded
from tutelage.refinement.config import RefineSettings
from tutelage.refinement.prompt import normalised
from tutelage.refinement.reflection import ask_until_usable, failed, reflection_request
from tutelage.refinement.reply_parser import Fault
from tutelage.teacher import Request, Teacher

Complaint: TypeAlias = Literal["too_surprising", "too_easy", "instruction_misleads", "wrong"]

_SEEDS_APART = 1000
"""Distance of seeds, so that a later attempt is a new request even with the same text."""


@dataclass(frozen=True, slots=True)
class _Ask:
    step: str
    reason: str
    wish: str


ASKS: Mapping[Complaint, _Ask] = MappingProxyType(
    {
        "too_surprising": _Ask(
            RESPONSE_REFLECTION,
            "The response is too surprising for the student: it is too far from what the student "
            "could say by itself.",
            "Write a response that is just as correct but takes smaller steps, in plainer words "
            "and shorter sentences, and stays as close to the student's own way of answering as "
            "the truth allows.",
        ),
        "too_easy": _Ask(
            INSTRUCTION_REFLECTION,
            "The pair is too easy for the student: it could have written the response by itself.",
            "Make the instruction harder, so that answering it needs one more step of reasoning "
            "or more precise knowledge, and answer the harder instruction completely.",
        ),
        "instruction_misleads": _Ask(
            INSTRUCTION_REFLECTION,
            "The instruction misleads the student: it does not help to predict the response, or "
            "the response does not show what was asked.",
            "Repair the instruction, so that it asks clearly for just what the response gives, "
            "and write a response that follows from it.",
        ),
        "wrong": _Ask(
            RESPONSE_REFLECTION,
            "The response is wrong: its final result was checked.",
            "Find the mistake, correct it, and write the whole response again with the right "
            "result.",
        ),
    }
)
"""For each complaint, the step, the reason and the request to the teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A candidate that is sent back to the teacher.

    Attributes:
        candidate: The parent of what will be written; its status is ok.
        complaint: Why the student rejected it.
        attempt: What the student answers by itself, to be shown; None shows nothing.
        reference: The right answer, shown where the response is wrong; None shows nothing.
        number: Which attempt of this example it is, from 0.
    """

    candidate: Candidate
    complaint: Complaint
    attempt: str | None = None
    reference: str | None = None
    number: int = 0


def rewrite_step(complaint: Complaint) -> str:
    """Step of a complaint: a new response, or a new instruction with its response."""
    return ASKS[complaint].step


def rewrite_request(
    rejected: Rejected, *, teacher: Teacher, settings: RefineSettings, attempt: int = 0
) -> Request:
    """Request for the rewrite of a rejected candidate; sends nothing.

    Args:
        rejected: What goes back, and why.
        teacher: Only its name and abilities are used.
        settings: Prompt, limits, seed and temperatures of the reflection.
        attempt: As for a reflection: later ones have another seed and temperature.
    """
    ask = ASKS[rejected.complaint]
    plain = reflection_request(
        rejected.candidate, step=ask.step, teacher=teacher, settings=settings, attempt=attempt
    )
    *before, user = plain.messages
    asked = Message(role="user", content=f"{user.content}\n\n{_reason(rejected)}")
    seed = (plain.seed or 0) + _SEEDS_APART * rejected.number
    return replace(plain, messages=(*before, asked), seed=seed)


def _reason(rejected: Rejected) -> str:
    ask = ASKS[rejected.complaint]
    parts = [
        "A student model that will be trained on this pair has refused it.",
        f"=== WHY IT WAS REFUSED ===\n{ask.reason}",
    ]
    if rejected.attempt is not None:
        parts.append(f"=== THE STUDENT'S OWN ATTEMPT ===\n{rejected.attempt}")
    if rejected.reference is not None and rejected.complaint == "wrong":
        parts.append(f"=== THE RIGHT RESULT ===\n{rejected.reference}")
    parts.append(f"=== WHAT TO DO ===\n{ask.wish} Do not mention the student or this refusal.")
    return "\n\n".join(parts)


async def rewrite(rejected: Rejected, *, teacher: Teacher, settings: RefineSettings) -> Candidate:
    """Rewrite a rejected candidate with a teacher.

    Args:
        rejected: What goes back, and why.
        teacher: The teacher to ask.
        settings: Prompt, limits, attempts.

    Returns:
        Exactly one candidate whose parent is the rejected one; a failure has a status.
    """
    parent, step = rejected.candidate, ASKS[rejected.complaint].step
    return await ask_until_usable(
        parent,
        lambda n: rewrite_request(rejected, teacher=teacher, settings=settings, attempt=n),
        step=step,
        teacher=teacher,
        settings=settings,
        accept=lambda outcome: _without_echo(outcome, rejected, teacher=teacher.name),
    )


def _without_echo(candidate: Candidate, rejected: Rejected, *, teacher: str) -> Candidate:
    """Replace a text that repeats our reason by a fault: it is not one to train on."""
    if candidate.status != OK:
        return candidate
    ask = ASKS[rejected.complaint]
    text = normalised(" ".join(m.content for m in candidate.messages[-2:]))
    said = [own for own in (ask.reason, ask.wish) if normalised(own) in text]
    if not said:
        return candidate
    fault = Fault(status=statuses.ECHOED_PROMPT, detail=f"it repeats {said[0][:60]!r}")
    return failed(
        rejected.candidate,
        step=candidate.step,
        teacher=teacher,
        fault=fault,
        request_key=candidate.request_key,
        finish_reason=candidate.finish_reason,
    )


async def rewrite_all(
    rejected: Iterable[Rejected],
    *,
    teacher: Teacher,
    settings: RefineSettings,
    on_done: Callable[[Candidate], None] | None = None,
) -> list[Candidate]:
    """Rewrite rejected candidates; exactly one outcome each, in the order given.

    Args:
        rejected: The candidates, with the reasons.
        teacher: The teacher.
        settings: Prompt, limits, attempts.
        on_done: Called with each outcome as it arrives.
    """

    async def one(_: int, item: Rejected) -> Candidate:
        outcome = await rewrite(item, teacher=teacher, settings=settings)
        if on_done is not None:
            on_done(outcome)
        return outcome

    return await run_bounded(rejected, one, outstanding=DEFAULT_OUTSTANDING)
