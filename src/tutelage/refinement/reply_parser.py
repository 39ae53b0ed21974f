"""From the text of a reply to what the teacher wrote: a draft, or a fault with its reason."""

import re
from dataclasses import dataclass, replace
from typing import TypeAlias

from tutelage.data import INSTRUCTION_REFLECTION
from tutelage.refinement import statuses
from tutelage.refinement.chat_markup import Cleaned, cleaned
from tutelage.refinement.json_reply import eaten_escape, read_object
from tutelage.refinement.marker_reply import SectionName, read_sections
from tutelage.refinement.prompt import Form
from tutelage.refinement.reply_phrases import is_refusal
from tutelage.teacher import UNKNOWN, Reply, ending_of

_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"\s*<think>(?!.*</think>)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the teacher wrote, before it is judged.

    Attributes:
        criticism: What it said is weak in the parent, or None.
        instruction: The new instruction; None where none was asked for.
        response: The new response.
        note: What was cut from the reply around it, or None.
        reasoning: What the teacher thought before it wrote this, where that was kept apart or cut.
    """

    criticism: str | None = None
    instruction: str | None = None
    response: str
    note: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a reply gives no candidate.

    Attributes:
        status: One of `tutelage.refinement.statuses`.
        detail: For people: what was wrong, with the place.
        criticism: What the teacher said is weak in the parent, where that could be read.
    """

    status: str
    detail: str
    criticism: str | None = None


DraftOrFault: TypeAlias = Draft | Fault


def keys_of(step: str) -> tuple[str, ...]:
    """The keys of the JSON object that a step asks for, in order.

    The word "new" is part of a key: without it a small teacher copies the old text under it.
    """
    if step == INSTRUCTION_REFLECTION:
        return ("criticism", "new_instruction", "new_response")
    return ("criticism", "new_response")


def fault_of_finish_reason(finish_reason: str, *, tokens: int | None) -> Fault | None:
    """The fault that the server itself reports by its reason to stop.

    Args:
        finish_reason: As the server said.
        tokens: Of the completion, where the server said.
    """
    ending = ending_of(finish_reason)
    if ending == "cut":
        after = "" if tokens is None else f" after {tokens} tokens"
        detail = f"the server stopped it{after} ({finish_reason})"
        return Fault(status=statuses.CUT_BY_LENGTH, detail=detail)
    if ending == "filtered":
        detail = f"the server filtered the reply ({finish_reason})"
        return Fault(status=statuses.REFUSED, detail=detail)
    return None


def _fault_of_whole(reply: Reply) -> Fault | None:
    """What is wrong with a reply whatever was asked for."""
    fault = fault_of_finish_reason(reply.finish_reason, tokens=reply.completion_tokens)
    if fault is not None:
        return fault
    if not reply.text.strip():
        return Fault(status=statuses.EMPTY_RESPONSE, detail="the reply is empty")
    if not _encodable(reply.text):
        return Fault(status=statuses.UNPARSEABLE, detail="the reply holds a lone surrogate")
    return None


def is_whole(reply: Reply, *, max_tokens: int | None) -> bool:
    """Whether the server says that the reply is whole.

    Where it gives no reason to stop at all, a reply with fewer tokens than it might have had counts
    as whole; without a count of tokens nobody can tell.

    Args:
        reply: What came.
        max_tokens: The limit that was asked for; None where it is not known.

    Examples:
        >>> reply = Reply(
        ...     request_key="k", model="m", text="Yes.", finish_reason=UNKNOWN, completion_tokens=2
        ... )
        >>> is_whole(reply, max_tokens=1024), is_whole(reply, max_tokens=2)
        (True, False)
    """
    if ending_of(reply.finish_reason) == "whole":
        return True
    if reply.finish_reason != UNKNOWN or max_tokens is None or reply.completion_tokens is None:
        return False
    return reply.completion_tokens < max_tokens


def parse_reply(
    reply: Reply, *, step: str, form: Form, prompt: str = "", max_tokens: int | None = None
) -> DraftOrFault:
    """Read a reply to a reflection request.

    Args:
        reply: The teacher's reply.
        step: `instruction_reflection` or `response_reflection`.
        form: The layout that was asked for.
        prompt: The old texts; markup of chat templates that they hold is left alone.
        max_tokens: The limit that was asked for; None where it is not known.

    Returns:
        A draft whose parts are all there and not blank, or the fault.
    """
    fault = _fault_of_whole(reply)
    if fault is not None:
        return fault
    clean = cleaned(reply.text, prompt=prompt, turns=False)
    if clean.fault is not None and not _OPEN_THOUGHT.match(clean.text):
        return Fault(status=statuses.CHAT_MARKUP, detail=clean.fault)
    text = _THOUGHT.sub("", clean.text, count=1) if _THOUGHT.match(clean.text) else clean.text
    if form == "json":
        outcome = _parse_json(text, step=step)
    else:
        whole = is_whole(reply, max_tokens=max_tokens)
        outcome = _parse_markers(text, step=step, finish_reason=reply.finish_reason, whole=whole)
    if isinstance(outcome, Fault) and outcome.status == statuses.UNPARSEABLE and is_refusal(text):
        return Fault(status=statuses.REFUSED, detail=f"the reply begins {text.strip()[:60]!r}")
    return _noted(outcome, reply, clean)


def parse_sample(reply: Reply, *, prompt: str = "", max_tokens: int | None = None) -> DraftOrFault:
    """Read a reply that is a response as it stands.

    Blank lines around it are dropped, and markup of chat templates is cut with a note; thoughts
    between `<think>` tags are kept, because students of reasoning are trained on them.

    Args:
        reply: The teacher's reply.
        prompt: What was asked; markup that it mentions is left alone.
        max_tokens: The limit that was asked for; None where it is not known.
    """
    fault = _fault_of_whole(reply)
    if fault is not None:
        return fault
    if not is_whole(reply, max_tokens=max_tokens):
        return _unclear_end(reply.finish_reason, criticism=None)
    if _OPEN_THOUGHT.match(reply.text):
        return Fault(status=statuses.UNPARSEABLE, detail="a <think> tag is never closed")
    clean = cleaned(reply.text, prompt=prompt)
    if clean.fault is not None:
        return Fault(status=statuses.CHAT_MARKUP, detail=clean.fault)
    if not _THOUGHT.sub("", clean.text, count=1).strip():
        return Fault(status=statuses.EMPTY_RESPONSE, detail="nothing follows the thoughts")
    draft = Draft(response=re.sub(r"\A(?:[^\S\n]*\n)+", "", clean.text).rstrip())
    return _noted(draft, reply, clean)


def _noted(outcome: DraftOrFault, reply: Reply, clean: Cleaned) -> DraftOrFault:
    if isinstance(outcome, Fault):
        return outcome
    reasoning = "\n\n".join(part for part in (reply.reasoning, clean.thought) if part) or None
    notes = list(clean.notes)
    if reply.finish_reason == UNKNOWN and reply.completion_tokens is not None:
        notes.append(f"the server gave no reason to stop after {reply.completion_tokens} tokens")
    note = "; ".join(notes) or None
    return replace(outcome, note=note, reasoning=reasoning)


def _parse_json(text: str, *, step: str) -> DraftOrFault:
    keys = keys_of(step)
    found, problem = read_object(text, keys=keys)
    if found is None:
        return Fault(status=statuses.UNPARSEABLE, detail=str(problem))
    extra = sorted(set(found) - set(keys))
    if extra:
        return Fault(status=statuses.UNPARSEABLE, detail=f"unexpected keys {', '.join(extra)}")
    parts: dict[str, str] = {}
    for key, value in found.items():
        if not isinstance(value, str):
            kind = type(value).__name__
            return Fault(status=statuses.UNPARSEABLE, detail=f"{key} is a {kind}, not a string")
        lost = eaten_escape(value)
        if lost is not None or not _encodable(value):
            detail = lost or "it holds a lone surrogate"
            return Fault(status=statuses.UNPARSEABLE, detail=f"{key}: {detail}")
        parts[key.removeprefix("new_")] = re.sub(r"\A(?:[^\S\n]*\n)+", "", value).rstrip()
    return _draft_of(step, parts)


def _parse_markers(text: str, *, step: str, finish_reason: str, whole: bool) -> DraftOrFault:
    wanted: tuple[SectionName, ...] = (
        ("instruction", "response") if step == INSTRUCTION_REFLECTION else ("response",)
    )
    sections = read_sections(text, wanted=wanted)
    if sections.problem is not None:
        return Fault(status=statuses.UNPARSEABLE, detail=sections.problem)
    parts = {
        name: value
        for name in ("criticism", "instruction", "response")
        if (value := getattr(sections, name)) is not None
    }
    if "instruction" in parts and "instruction" not in wanted:
        return Fault(
            status=statuses.UNPARSEABLE,
            detail="a new instruction, though only a new response was asked for",
            criticism=sections.criticism,
        )
    draft = _draft_of(step, parts)
    if isinstance(draft, Draft) and not sections.ended and not whole:
        return _unclear_end(finish_reason, criticism=sections.criticism)
    return draft


def _draft_of(step: str, parts: dict[str, str]) -> DraftOrFault:
    criticism = parts.get("criticism", "").strip() or None
    needed = [key.removeprefix("new_") for key in keys_of(step) if key != "criticism"]
    missing = [key for key in needed if key not in parts]
    if missing:
        status = statuses.UNPARSEABLE if missing == needed else statuses.HALF_PARSED
        detail = f"the reply has no {' and no '.join(missing)}"
        return Fault(status=status, detail=detail, criticism=criticism)
    for key in needed:
        if not parts[key].strip():
            status = statuses.EMPTY_INSTRUCTION if key == "instruction" else statuses.EMPTY_RESPONSE
            return Fault(status=status, detail=f"the new {key} is empty", criticism=criticism)
    instruction = parts["instruction"].strip() if "instruction" in needed else None
    return Draft(criticism=criticism, instruction=instruction, response=parts["response"])


def _unclear_end(finish_reason: str, *, criticism: str | None) -> Fault:
    return Fault(
        status=statuses.UNCLEAR_END,
        detail=f"no end marker, and the server stopped for the reason {finish_reason!r}",
        criticism=criticism,
    )


def _encodable(text: str) -> bool:
    """Whether the text can be written to a table: lone surrogates cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
