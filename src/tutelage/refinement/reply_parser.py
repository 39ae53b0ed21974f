"""Parser of replies: the text becomes a draft, or a fault with its reason."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tutelage.data import INSTRUCTION_REFLECTION
from tutelage.refinement import statuses
from tutelage.refinement.prompt import Form
from tutelage.refinement.reply_patterns import Cleaned, cleaned, is_refusal
from tutelage.teacher import UNKNOWN, Reply, ending_of

# ----------------------------------------------------------------------------------------------
# Replies laid out with marker lines: found, put in order, and never guessed at.
#
#     <<<CRITICISM>>>          a marker is at the start of a line; case, spacing, bold, list
#     ...                      numbers and the number of brackets may differ
#     <<<NEW INSTRUCTION>>>    each section at most once, the instruction before the response
#     ...
#     <<<NEW RESPONSE>>>
#     ...
#     <<<END>>>                may be missing only where the server says that the reply is whole
#
# A marker in the middle of a line is text. So is one inside a code fence, unless the reply makes
# no sense that way (the whole reply is in a fence, or a fence was never closed).
# ----------------------------------------------------------------------------------------------


SectionName: TypeAlias = Literal["criticism", "instruction", "response", "end"]

_MARKER = re.compile(
    r"""^[ \t>\#-]* (?:\d+[.)][ \t]*)? (?P<deco>[*_`]*)
    <{2,4} [ \t]*
    (?: (?P<end>/?END)
      | (?P<close>/|END[ \t_-]+(?:OF[ \t_-]+)?)?
        (?: (?P<criticism>CRITICISM|CRITIQUE)
          | (?:NEW|BETTER|IMPROVED|REVISED|REWRITTEN)?[ \t_-]*
            (?: (?P<instruction>INSTRUCTION) | (?P<response>RESPONSE|ANSWER) ) )
    )
    [ \t]* >{2,4}
    (?: [ \t*_`:\#]*$ | (?P=deco) [ \t]* :? [ \t]* )""",
    re.IGNORECASE | re.VERBOSE,
)
_FENCE = re.compile(r"^[ \t]{0,3}(?P<mark>`{3,}|~{3,})(?P<info>[^\n]*)$")
_ORDER: tuple[SectionName, ...] = ("criticism", "instruction", "response")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """Sections of a reply by marker; None where a section is missing.

    Attributes:
        ended: True where an end marker follows the last section.
        problem: Why the markers do not make sense, or None.
    """

    criticism: str | None = None
    instruction: str | None = None
    response: str | None = None
    ended: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    name: SectionName | None  # None: text before the first marker
    lines: tuple[str, ...]


def read_sections(text: str, *, wanted: Sequence[SectionName]) -> Sections:
    """Split a reply into its sections.

    Args:
        text: The reply.
        wanted: Which of `instruction` and `response` the reply should have.

    Returns:
        What was found. `problem` is set where two readings are possible or nothing was found.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    sections = _sections_of(_pieces(lines, in_fence=_fenced(lines)))
    if all(getattr(sections, name) is not None for name in wanted):
        return sections
    unmasked = _sections_of(_pieces(lines, in_fence=[False] * len(lines)))
    if unmasked.problem is None and all(getattr(unmasked, n) is not None for n in wanted):
        return unmasked
    return sections


def has_marker(text: str) -> bool:
    """Whether any line of the text starts with one of our markers."""
    return any(_MARKER.match(line) for line in text.split("\n"))


def _fenced(lines: Sequence[str]) -> list[bool]:
    """Mask of lines inside a code fence that is opened and closed again."""
    inside = [False] * len(lines)
    opened: tuple[int, str] | None = None
    for index, line in enumerate(lines):
        found = _FENCE.match(line)
        if found is None:
            continue
        mark, info = found["mark"], found["info"].strip()
        if opened is None:
            opened = (index, mark)
        elif mark.startswith(opened[1]) and not info:
            inside[opened[0] : index + 1] = [True] * (index + 1 - opened[0])
            opened = None
    return inside


def _pieces(lines: Sequence[str], *, in_fence: Sequence[bool]) -> list[_Piece]:
    pieces: list[_Piece] = []
    name: SectionName | None = None
    held: list[str] = []
    for line, masked in zip(lines, in_fence, strict=True):
        found = None if masked else _MARKER.match(line)
        if found is None:
            held.append(line)
            continue
        pieces.append(_Piece(name=name, lines=tuple(held)))
        name = _name_of(found)
        rest = line[found.end() :]
        held = [rest] if rest.strip() else []
    pieces.append(_Piece(name=name, lines=tuple(held)))
    return pieces


def _name_of(found: re.Match[str]) -> SectionName:
    if found["end"] or found["close"]:
        return "end"
    if found["criticism"]:
        return "criticism"
    return "instruction" if found["instruction"] else "response"


def _sections_of(pieces: Sequence[_Piece]) -> Sections:
    names = [p.name for p in pieces if p.name in _ORDER]
    if "instruction" not in names and "response" not in names:
        return Sections(problem="no marker line starts a new instruction or a new response")
    if names != [name for name in _ORDER if name in names]:
        return Sections(problem=f"the markers come in the order {', '.join(map(str, names))}")
    texts = {str(p.name): _text_of(p.lines) for p in pieces if p.name in _ORDER}
    last = max(i for i, p in enumerate(pieces) if p.name in _ORDER)
    tail = pieces[last + 1 :]
    if len(tail) > 1 and any(_text_of(p.lines) for p in tail[:-1]):
        return Sections(problem="there is text between two end markers")
    ended = bool(tail)
    before = _text_of(pieces[0].lines)
    if not ended and _opens_fence(pieces[0].lines):
        texts[str(pieces[last].name)] = _without_last_fence(pieces[last].lines)
    criticism = texts.get("criticism") or before
    return Sections(
        criticism=criticism or None,
        instruction=texts.get("instruction"),
        response=texts.get("response"),
        ended=ended,
    )


def _text_of(lines: Sequence[str]) -> str:
    """Lines without surrounding blank ones; the indentation of the first line is kept."""
    kept = list(lines)
    while kept and not kept[0].strip():
        kept.pop(0)
    return "\n".join(kept).rstrip()


def _opens_fence(lines: Sequence[str]) -> bool:
    return sum(_FENCE.match(line) is not None for line in lines) % 2 == 1


def _without_last_fence(lines: Sequence[str]) -> str:
    """Reply without the closing fence of a fence around all of it."""
    text = _text_of(lines)
    kept = text.split("\n")
    if kept and _FENCE.match(kept[-1]) and _opens_fence(kept):
        return _text_of(kept[:-1])
    return text


# ----------------------------------------------------------------------------------------------
# Reply parser.
# ----------------------------------------------------------------------------------------------


# ----------------------------------------------------------------------------------------------
# Replies laid out as a JSON object: read exactly, or not at all.
# ----------------------------------------------------------------------------------------------


_MAX_ATTEMPTS = 50  # opening braces tried, so that a reply full of braces stays cheap to reject
# \f, \b, \r and \t are valid JSON escapes, so a LaTeX command with a single backslash decodes
# without an error into a control character and the rest of its name: \frac -> form feed + "rac".
_EATEN_COMMAND = re.compile(
    r"[\x08\x0c]|\r(?:ho|ight|angle)|\t(?:imes|ext|heta|frac|ilde|riangle|an\b|au\b|o\b)|\x00"
)


class _DuplicateKeyError(ValueError):
    """The object has the same key twice, so its meaning is ambiguous."""


def schema_of(keys: Sequence[str]) -> dict[str, object]:
    """The JSON schema of an object with exactly these keys, all strings, in this order."""
    return {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }


def read_object(
    text: str, *, keys: Sequence[str]
) -> tuple[Mapping[str, object], None] | tuple[None, str]:
    """Parse the one JSON object in a reply.

    A code fence and text around the object are tolerated; two different objects are not.

    Args:
        text: The reply.
        keys: An object counts where it has at least one of these keys.

    Returns:
        The object and None, or None and what is wrong.
    """
    try:
        found = [o for o in _objects(text) if any(key in o for key in keys)]
    except _DuplicateKeyError as error:
        return None, str(error)
    if not found:
        return None, "no JSON object with the requested keys"
    if any(other != found[0] for other in found[1:]):
        return None, f"{len(found)} different JSON objects"
    return found[0], None


def eaten_escape(text: str) -> str | None:
    r"""Place at which a decoded string shows that a backslash was lost, or None.

    Examples:
        >>> eaten_escape("one\x0crac{1}{2}")
        "a LaTeX command lost its backslash near 'one\\x0crac{1}{2}'"
    """
    found = _EATEN_COMMAND.search(text)
    if found is None:
        return None
    near = text[max(0, found.start() - 10) : found.end() + 10]
    return f"a LaTeX command lost its backslash near {near!r}"


def _objects(text: str) -> Iterator[dict[str, object]]:
    position = 0
    for _ in range(_MAX_ATTEMPTS):
        position = text.find("{", position)
        if position < 0:
            return
        try:
            value, position = _DECODER.raw_decode(text, position)
        except _DuplicateKeyError:
            raise
        except (ValueError, RecursionError):
            position += 1
            continue
        if isinstance(value, dict):
            yield value


def _unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(f"the key {key!r} occurs twice")
        result[key] = value
    return result


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_unique)


# ----------------------------------------------------------------------------------------------
# Reply parser.
# ----------------------------------------------------------------------------------------------


_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_INVISIBLE = re.compile("[\\s\x00\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]*")
"""White space and invisible characters."""
_OPEN_THOUGHT = re.compile(r"\s*<think>(?!.*</think>)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Text of the teacher before the checks.

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
    """Reason why a reply gives no candidate.

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
    """Keys of the JSON object requested for a step, in order.

    The word "new" is part of a key: without it a small teacher copies the old text under it.
    """
    if step == INSTRUCTION_REFLECTION:
        return ("criticism", "new_instruction", "new_response")
    return ("criticism", "new_response")


def fault_of_finish_reason(finish_reason: str, *, tokens: int | None) -> Fault | None:
    """Fault that the server's finish reason reports, or None.

    Args:
        finish_reason: As the server said.
        tokens: Tokens of the completion, where the server said.
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
    """Fault that every kind of reply can have, or None."""
    fault = fault_of_finish_reason(reply.finish_reason, tokens=reply.completion_tokens)
    if fault is not None:
        return fault
    if _INVISIBLE.fullmatch(reply.text):
        thought = len(reply.reasoning or "")
        after = f" after {thought} characters of reasoning; raise max_tokens" if thought else ""
        return Fault(status=statuses.EMPTY_RESPONSE, detail=f"the reply is empty{after}")
    if not _encodable(reply.text):
        return Fault(status=statuses.UNPARSEABLE, detail="the reply holds a lone surrogate")
    return None


def is_whole(reply: Reply, *, max_tokens: int | None) -> bool:
    """Whether the server says that the reply is complete.

    Where it gives no reason to stop at all, a reply with fewer tokens than it might have had counts
    as whole; without a count of tokens this is unknown.

    Args:
        reply: The reply.
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
    """Parse a reply to a rewrite request.

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
    """Parse a reply that consists of a response only.

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
    if _INVISIBLE.fullmatch(_THOUGHT.sub("", clean.text, count=1)):
        return Fault(status=statuses.EMPTY_RESPONSE, detail="nothing follows the thoughts")
    draft = Draft(response=re.sub(r"\A(?:[^\S\n]*\n)+", "", clean.text).rstrip())
    return _noted(draft, reply, clean)


def _noted(outcome: DraftOrFault, reply: Reply, clean: Cleaned) -> DraftOrFault:
    if isinstance(outcome, Fault):
        return outcome
    apart = reply.reasoning
    if apart and _THOUGHT.match(outcome.response) and apart.strip() in outcome.response:
        apart = None  # the server gives the thought twice: here, and in front of the answer
    reasoning = "\n\n".join(part for part in (apart, clean.thought) if part) or None
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
            detail="a new instruction, though only a new response was requested",
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
        if _INVISIBLE.fullmatch(parts[key]):
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
    """Whether a text can be written to a table; lone surrogates cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
