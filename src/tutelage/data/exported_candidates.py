"""Parser of the `candidates` field of exported rows.

    {"messages": [...original...],
     "candidates": [
        {"step": "instruction_reflection", "parent": "original", "teacher": T, "messages": [...]},
        {"step": "response_reflection", "parent": "original", "teacher": T, "response": "..."},
        {"step": "response_reflection", "parent": 0, "teacher": T, "messages": [...]}]}

`parent` is the `candidate_id` an earlier entry carries, the position of an earlier entry, or a
step that only one earlier entry has. A reflection that names none was made from the original.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tutelage.data.chat_messages import turns_of
from tutelage.data.conversation_pairs import Pair, answer
from tutelage.data.example import (
    INSTRUCTION_REFLECTION,
    OK,
    ORIGINAL,
    RESPONSE_REFLECTION,
    SAMPLE,
    STEPS,
    Candidate,
    Message,
    instruction_of,
    split_response,
)
from tutelage.data.field_values import UnreadableRowError, text_of
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


def listed_candidates(
    listed: Sequence[object],
    *,
    name: str,
    pair: Pair,
    originals: tuple[Candidate, ...],
    example_id: str,
) -> Iterator[Candidate]:
    """Parse the candidates of an exported row, in its order, without the original.

    Args:
        listed: The entries.
        name: The field's name, for the reason.
        pair: The row's own conversation: its context, for entries that have only a response, and
            its tools.
        originals: The row's own version, or nothing.
        example_id: The example they are versions of.

    Raises:
        UnreadableRowError: `bad_candidates`, or what is wrong with an entry's turns.
    """
    labels: dict[object, str | None] = {ORIGINAL: originals[0].candidate_id if originals else None}
    for index, entry in enumerate(listed):
        place = f"{name}[{index}]"
        if not isinstance(entry, Mapping):
            raise UnreadableRowError("bad_candidates", f"{place} is not an object")
        step = entry.get("step")
        if step not in STEPS:
            raise UnreadableRowError(
                "bad_candidates", f"{place} has the step {step!r}; known: {', '.join(STEPS)}"
            )
        if step == ORIGINAL:
            made = _the_original(entry, place=place, originals=originals, pair=pair)
        else:
            made = candidate_of(
                _version(entry, place=place, step=step, pair=pair, labels=labels),
                example_id=example_id,
            )
            yield made
            # A step that two entries have names neither of them.
            labels[step] = None if step in labels else made.candidate_id
        labels[index] = made.candidate_id
        if isinstance(entry.get("candidate_id"), str):
            labels[entry["candidate_id"]] = made.candidate_id


def _the_original(
    entry: Mapping[str, object],
    *,
    place: str,
    originals: tuple[Candidate, ...],
    pair: Pair,
) -> Candidate:
    """Check that the entry of the original agrees with the row itself."""
    if not originals:
        raise UnreadableRowError("bad_candidates", f"{place} is an original; the row has none")
    original = originals[0]
    said_context, said = _text(entry, place=place, pair=pair)
    if original.status == OK and not is_blank(said) and (*said_context, said) != original.messages:
        raise UnreadableRowError("bad_candidates", f"{place} is not the row's own conversation")
    return original


def _version(
    entry: Mapping[str, object],
    *,
    place: str,
    step: str,
    pair: Pair,
    labels: Mapping[object, str | None],
) -> Version:
    own_context, response = _text(entry, place=place, pair=pair)
    status = entry.get("status")
    if status is not None and not (isinstance(status, str) and status.isprintable()):
        raise UnreadableRowError("bad_candidates", f"{place} has the status {status!r}")
    parent = entry.get("parent", entry.get("parent_id"))
    if parent is None and step != SAMPLE:
        parent = ORIGINAL
    if parent is not None and (not isinstance(parent, str | int) or labels.get(parent) is None):
        raise UnreadableRowError(
            "bad_candidates", f"{place} has the parent {parent!r}, which names no earlier entry"
        )
    return Version(
        step=step,
        context=own_context,
        response=response,
        parent_id=None if parent is None else labels[parent],
        teacher=text_of(entry.get("teacher"), name=f"{place}.teacher"),
        status=None if status == OK else status,
        detail=text_of(entry.get("detail"), name=f"{place}.detail"),
        tools=pair.tools,
        template_args=pair.template_args,
    )


def _text(
    entry: Mapping[str, object], *, place: str, pair: Pair
) -> tuple[tuple[Message, ...], Message]:
    """Context and response of an entry; blank where it has no text."""
    if entry.get("messages"):
        found = turns_of(entry["messages"], name=place, tools=pair.tools is not None)
        split = split_response(found.turns, name=place)
        return split.context, split.response or answer("")
    instruction = text_of(entry.get("instruction"), name=f"{place}.instruction")
    context = pair.context
    if instruction is not None:
        at = max(i for i, turn in enumerate(context) if turn.role == "user")
        context = (*context[:at], Message(role="user", content=instruction))
    return context, answer(text_of(entry.get("response"), name=f"{place}.response") or "")
