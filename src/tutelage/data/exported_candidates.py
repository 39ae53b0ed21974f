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

from tutelage.data.candidate_versions import Version, candidate_of, is_blank
from tutelage.data.chat_messages import turns_of
from tutelage.data.conversation_pairs import Pair, answer
from tutelage.data.example import OK, ORIGINAL, SAMPLE, STEPS, Candidate, Message, split_response
from tutelage.data.field_values import UnreadableRowError, text_of


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
    if status is not None and not isinstance(status, str):
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
