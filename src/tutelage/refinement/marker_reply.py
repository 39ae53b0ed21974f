"""Replies laid out with marker lines: found, put in order, and never guessed at.

    <<<CRITICISM>>>          a marker stands at the start of a line; case, spacing, bold, list
    ...                      numbers and the number of brackets may differ
    <<<NEW INSTRUCTION>>>    each section at most once, the instruction before the response
    ...
    <<<NEW RESPONSE>>>
    ...
    <<<END>>>                may be missing only where the server says that the reply is whole

A marker in the middle of a line is text. So is one inside a code fence, unless the reply makes
no sense that way (the whole reply stands in a fence, or a fence was never closed).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

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
    """The parts of a reply by marker; None where a part is missing.

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
    """Read the sections of a reply.

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
    """For each line: does it stand inside a code fence that is opened and closed again?"""
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
        return Sections(problem="text stands between two end markers")
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
    """The lines without blank ones around them; indentation of the first line is kept."""
    kept = list(lines)
    while kept and not kept[0].strip():
        kept.pop(0)
    return "\n".join(kept).rstrip()


def _opens_fence(lines: Sequence[str]) -> bool:
    return sum(_FENCE.match(line) is not None for line in lines) % 2 == 1


def _without_last_fence(lines: Sequence[str]) -> str:
    """Drop the closing fence of a reply that stands in a fence as a whole."""
    text = _text_of(lines)
    kept = text.split("\n")
    if kept and _FENCE.match(kept[-1]) and _opens_fence(kept):
        return _text_of(kept[:-1])
    return text
