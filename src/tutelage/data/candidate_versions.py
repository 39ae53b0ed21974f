"""Construction of an example's candidates, each with its text or the reason for having none."""

from dataclasses import dataclass

from tutelage.data.example import (
    INSTRUCTION_REFLECTION,
    OK,
    RESPONSE_REFLECTION,
    Candidate,
    Message,
    instruction_of,
)
from tutelage.data.ids import candidate_id_of

EMPTY_INSTRUCTION = "empty_instruction"
"""The instruction is missing or blank."""

EMPTY_RESPONSE = "empty_response"
"""The response is missing or blank."""

UNTRAINED = "untrained_response"
"""The row marks its response as not to be trained on: weight 0, train false or label false."""

UNCHANGED = "unchanged"
"""The refinement is identical to its parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Text and provenance from which one candidate is made.

    Attributes:
        step: One of `tutelage.data.example.STEPS`.
        context: Everything in front of the response.
        response: The assistant turn; its text may be blank.
        parent_id: The candidate it was made from, if any.
        teacher: The teacher that wrote it; None for the user's own text.
        status: A status it is known to have, or None to go by its text.
        detail: Explanation of the status, for people.
        tools: The tools of its prompt, as JSON text.
        template_args: The template arguments of its row, as JSON text.
    """

    step: str
    context: tuple[Message, ...]
    response: Message
    parent_id: str | None = None
    teacher: str | None = None
    status: str | None = None
    detail: str | None = None
    tools: str | None = None
    template_args: str | None = None


def is_blank(response: Message) -> bool:
    """Whether an assistant turn is empty: no text, no tool call and no thinking."""
    return not (
        response.content.strip() or response.tool_calls or (response.reasoning or "").strip()
    )


def candidate_of(version: Version, *, example_id: str) -> Candidate:
    """Make a candidate; one whose instruction or response is blank gets a status and no text."""
    status = version.status or _status_of(version)
    messages = (*version.context, version.response) if status == OK else ()
    candidate_id = candidate_id_of(
        example_id=example_id,
        step=version.step,
        parent_id=version.parent_id,
        teacher=version.teacher,
        messages=messages,
        distinction=None if status == OK else status,
        tools=version.tools,
        template_args=version.template_args,
    )
    return Candidate(
        candidate_id=candidate_id,
        example_id=example_id,
        parent_id=version.parent_id,
        step=version.step,
        teacher=version.teacher,
        messages=messages,
        status=status,
        detail=version.detail,
        tools=version.tools,
        template_args=version.template_args,
    )


def refinement_of(
    original: Version,
    *,
    context: tuple[Message, ...],
    response: Message,
    parent_id: str,
    teacher: str | None,
    example_id: str,
) -> Candidate:
    """Candidate for a refinement that the data already contains.

    It is a rewritten instruction if the instruction differs by more than white space, and
    otherwise a rewritten response of the original's own context. A new instruction whose
    response is blank stays without text: it is never paired with the old response.

    Args:
        original: The original.
        context: The refined context.
        response: The refined response; blank where there is none.
        parent_id: The id of the original's candidate.
        teacher: The teacher that refined it.
        example_id: The example both are versions of.
    """
    same_instruction = _words(context) == _words(original.context)
    same = (
        same_instruction
        and response.content.strip() == original.response.content.strip()
        and (response.tool_calls, response.reasoning)
        == (original.response.tool_calls, original.response.reasoning)
    )
    version = Version(
        step=RESPONSE_REFLECTION if same_instruction else INSTRUCTION_REFLECTION,
        context=original.context if same_instruction else context,
        response=response,
        parent_id=parent_id,
        teacher=teacher,
        status=UNCHANGED if same and not is_blank(response) else None,
        tools=original.tools,
        template_args=original.template_args,
    )
    return candidate_of(version, example_id=example_id)


def _words(context: tuple[Message, ...]) -> list[tuple[str, list[str], str | None]]:
    return [(turn.role, turn.content.split(), turn.tool_calls) for turn in context]


def _status_of(version: Version) -> str:
    if not instruction_of(version.context).strip():
        return EMPTY_INSTRUCTION
    if is_blank(version.response):
        return EMPTY_RESPONSE
    return OK if version.response.trained else UNTRAINED
