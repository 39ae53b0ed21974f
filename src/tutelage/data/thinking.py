"""Thinking inside responses: splitting and joining, in every known format.

    <think>...</think>                     DeepSeek R1, Qwen, GLM, Nemotron and most others
    <thinking>, <thought>, <reasoning>     prompted models, EXAONE Deep, GRPO recipes
    [THINK]...[/THINK]                     Magistral
    <seed:think>...</seed:think>           Seed-OSS
    <|begin_of_thought|>                   OpenThoughts; the answer between <|begin_of_solution|>
    <|START_THINKING|>                     Command A Reasoning, with <|START_RESPONSE|>
    <|inner_prefix|>, <|channel>thought    Apertus, Gemma
    <|channel|>analysis<|message|>         gpt-oss (harmony), also with its control tokens removed
    <|im_start|>think                      s1

A marker inside code (between backticks, or in a fenced block) is text about thinking, not
thinking.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A response split into its thinking and its answer.

    Attributes:
        thoughts: What comes before the answer, without the markers; None where the
            response holds no thinking. Empty thoughts are an empty text.
        answer: What follows the last closed thought; the whole response where there is no
            thinking; empty where the last thought is not closed.
        closed: False where the last thought goes on to the end of the text.
    """

    thoughts: str | None
    answer: str
    closed: bool


_TAGS = ("think", "thinking", "thought", "reasoning", "seed:think", "seed:cot_think")
_OTHERS = (
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|im_start|>think", "<|im_start|>answer"),
    ("◁think▷", "◁/think▷"),
)
_MAY_DANGLE = {"think", "thinking", "seed:think", "[THINK]", "<|begin_of_thought|>", "◁think▷"}
"""Formats whose opening tag a chat template may have put into the prompt."""

_OPENINGS = {opening.lower(): opening for opening, _ in _OTHERS}
_CLOSINGS = {closing.lower(): opening for opening, closing in _OTHERS}
_MARKER = re.compile(
    rf"<(/?)({'|'.join(_TAGS)})>|("
    + "|".join(re.escape(marker) for pair in _OTHERS for marker in pair)
    + ")",
    re.IGNORECASE,
)
_MAY_HOLD = re.compile(r"think|thought|reasoning|<\|inner_|channel|analysis", re.IGNORECASE)
_INLINE_CODE = re.compile(r"(`+)(?!`)[^\n]*?(?<!`)\1(?!`)")
_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n]*$.*?^[ \t]*\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL
)
_SOLUTION = re.compile(
    r"^\s*<\|(?:begin_of_solution|START_RESPONSE)\|>\s?"
    r"(.*?)\s*(?:<\|(?:end_of_solution|END_RESPONSE)\|>)?\s*$",
    re.DOTALL,
)
_HARMONY_TURN = re.compile(
    r"(?:<\|start\|>)?(?:assistant)?\s*<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?"
    r"<\|message\|>(.*?)(?P<end><\|(?:end|return|call)\|>|(?=<\|start\|>)|(?=<\|channel\|>)|\Z)",
    re.DOTALL,
)
_HARMONY_BARE = re.compile(r"\s*analysis(?=\S)(.*?)assistantfinal(.*)\Z", re.DOTALL)
"""Remains of harmony's format after control tokens were removed during decoding."""


class _Marker(NamedTuple):
    kind: str
    opens: bool
    start: int
    end: int


class _Piece(NamedTuple):
    thought: bool
    text: str
    closed: bool


def split_thinking(text: str) -> Thinking:
    r"""Split a response into its thinking and its answer.

    Args:
        text: The response as it was written.

    Examples:
        >>> split_thinking("<think>2 and 2</think>\n\n4")
        Thinking(thoughts='2 and 2', answer='4', closed=True)
        >>> split_thinking("so it is four</think>4")
        Thinking(thoughts='so it is four', answer='4', closed=True)
        >>> split_thinking("<think>2 and")
        Thinking(thoughts='2 and', answer='', closed=False)
        >>> split_thinking("4")
        Thinking(thoughts=None, answer='4', closed=True)
    """
    pieces = list(_pieces(text))
    last = max((i for i, piece in enumerate(pieces) if piece.thought), default=None)
    if last is None:
        return Thinking(thoughts=None, answer="".join(p.text for p in pieces), closed=True)
    before = [piece.text.strip() for piece in pieces[: last + 1]]
    closed = pieces[last].closed
    answer = "".join(piece.text for piece in pieces[last + 1 :]) if closed else ""
    return Thinking(
        thoughts="\n\n".join(filter(None, before)), answer=_answer_of(answer), closed=closed
    )


def strip_thinking(text: str) -> str:
    r"""Response without its thinking; text between two blocks of thinking stays.

    Of an unclosed thought nothing stays. A text without thinking is returned as it is.

    Examples:
        >>> strip_thinking("<think>a</think>First.\n<think>b</think>Then.")
        'First.\nThen.'
    """
    pieces = list(_pieces(text))
    if not any(piece.thought for piece in pieces):
        return text
    kept = "".join(piece.text for piece in pieces if not piece.thought)
    return _answer_of(kept)


def join_thinking(thoughts: str | None, answer: str) -> str:
    r"""Response with its thinking in front, in the most common format.

    Examples:
        >>> join_thinking("2 and 2", "4")
        '<think>\n2 and 2\n</think>\n\n4'
        >>> join_thinking(None, "4")
        '4'
    """
    if thoughts is None:
        return answer
    return f"<think>\n{thoughts.strip()}\n</think>\n\n{answer.lstrip()}"


def _answer_of(text: str) -> str:
    """Answer without the space after the last thought and without the frame that some sets add."""
    framed = _SOLUTION.match(text)
    return framed[1] if framed else text.lstrip()


def _pieces(text: str) -> Iterator[_Piece]:
    """Text in order, cut into thinking and other text."""
    if not _MAY_HOLD.search(text):
        yield _Piece(thought=False, text=text, closed=True)
    elif "<|channel|>" in text:
        yield from _harmony(text)
    elif bare := _HARMONY_BARE.match(text):
        yield _Piece(thought=True, text=bare[1], closed=True)
        yield _Piece(thought=False, text=bare[2], closed=True)
    else:
        yield from _marked(text)


def _harmony(text: str) -> Iterator[_Piece]:
    at = 0
    for turn in _HARMONY_TURN.finditer(text):
        if between := text[at : turn.start()].strip():
            yield _Piece(thought=False, text=between, closed=True)
        final = turn[1].lower() == "final"
        # A channel other than the final one ends where the next turn or its own end begins.
        closed = final or bool(turn["end"]) or turn.end() < len(text)
        yield _Piece(thought=not final, text=turn[2], closed=closed)
        at = turn.end()
    if at < len(text):
        yield _Piece(thought=False, text=text[at:], closed=True)


def _marked(text: str) -> Iterator[_Piece]:
    at = 0
    opened: _Marker | None = None
    for marker in _markers(text):
        if opened is not None:
            if not marker.opens and marker.kind == opened.kind:
                yield _Piece(thought=True, text=text[opened.end : marker.start], closed=True)
                at, opened = marker.end, None
        elif marker.opens:
            if marker.start > at:
                yield _Piece(thought=False, text=text[at : marker.start], closed=True)
            at, opened = marker.start, marker
        elif marker.kind in _MAY_DANGLE:
            # Its opening stood in the prompt: all that came before it was thinking.
            yield _Piece(thought=True, text=text[at : marker.start], closed=True)
            at = marker.end
    if opened is not None and _starts_a_line(text, opened):
        yield _Piece(thought=True, text=text[opened.end :], closed=False)
    elif at < len(text):
        yield _Piece(thought=False, text=text[at:], closed=True)


def _starts_a_line(text: str, marker: _Marker) -> bool:
    """Whether a marker starts its line; prose may mention a marker."""
    return not text[text.rfind("\n", 0, marker.start) + 1 : marker.start].strip()


def _markers(text: str) -> Iterator[_Marker]:
    found = [_marker(match) for match in _MARKER.finditer(text)]
    if not found:
        return
    inline = _spans(_INLINE_CODE, text)
    fenced = _spans(_FENCE, text)
    for marker in found:
        in_block = any(start < marker.start < end for start, end in fenced)
        in_line = any(start < marker.start < end for start, end in inline)
        # A marker alone on its line closes a thought even where a block inside was left open.
        if in_line or (in_block and not _is_alone(text, marker)):
            continue
        yield marker


def _spans(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text)] if "`" in text or "~" in text else []


def _is_alone(text: str, marker: _Marker) -> bool:
    end = text.find("\n", marker.end)
    behind = text[marker.end : len(text) if end < 0 else end]
    return not marker.opens and _starts_a_line(text, marker) and not behind.strip()


def _marker(match: re.Match[str]) -> _Marker:
    if match[2]:
        return _Marker(match[2].lower(), not match[1], *match.span())
    spelled = match[3].lower()
    if spelled in _OPENINGS:
        return _Marker(_OPENINGS[spelled], True, *match.span())
    return _Marker(_CLOSINGS[spelled], False, *match.span())
