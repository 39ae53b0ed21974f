"""Position of an assistant turn in a rendered row.

    full      <turns in front> <|assistant|> Blue.<|end|> <later turns>
    header                     ^
    border                                  ^              the target starts
    end                                           ^        the target ends

Only texts are compared, so that any template can be read: the row itself, the conversation in
front of the turn with and without the generation prompt, and the same row with a marker in place
of the turn, which shows what the template puts around a response.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutelage.data import Message
from tutelage.student.template import RewrittenError, is_opening, pieces_of

PROBE = "Qzprobe"
"""Placeholder of a turn, a word that no template and hardly any data contains."""
_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Positions in a rendered row, in characters.

    Attributes:
        header: Where the header starts.
        border: Where the context ends and the target starts.
        end: Where the target ends.
        after: What ends the turn.
        stripped: Whether white space of the turn was changed.
    """

    header: int
    border: int
    end: int
    after: str
    stripped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    start: int
    end: int
    stripped: bool
    in_pieces: bool = False


def find_turn(
    *,
    turn: Message,
    full: str,
    prompt: str | None,
    bare: str | None,
    alone: str | None,
    probed: str | None,
    between: Callable[[], str | None],
    upto: str | None = None,
    control_tokens: re.Pattern[str] | None = None,
) -> Span:
    """Locate an assistant turn in its rendered row.

    Args:
        turn: What the assistant wrote.
        full: The whole row, rendered.
        prompt: The turns in front, with the generation prompt; None where they are refused.
        bare: The turns in front without it.
        alone: The turns in front and `PROBE` as response.
        probed: The whole row with `PROBE` in place of the turn.
        between: Gives the text between the content of the turn in front and `PROBE`.
        upto: The turns in front and the turn, without those behind it; None for the last turn.
        control_tokens: Finds the text of special tokens, for turns that end with another one.

    Raises:
        RewrittenError: Words of the turn are missing, or there more than once.
    """
    front = _part(probed, 0) or _part(alone, 0)
    region = _region(full, bare=bare, front=front, between=between)
    limit = len(full) - _common_suffix(full, _part(probed, 2) if probed else "")
    after = _part(alone, 2).rstrip()
    calls = _calls(turn)
    if calls:
        if not full.endswith(_part(probed, 2)):
            limit = len(full)
        if upto is not None:
            limit = min(limit, _common_prefix(full, upto))
        shared = _shared_end(full if upto is None else upto, _part(alone, 2), tokens=control_tokens)
        if bare is None or not bare.endswith(shared):
            shared = ""
        limit, after = _end_of_calls(
            full,
            calls,
            region=region,
            limit=limit,
            after=after,
            shared=shared,
            tokens=control_tokens,
        )
        found = _find_calls(turn, calls, full=full, region=region, limit=limit)
        if not (turn.reasoning or "").strip() and full.startswith(front) and front:
            found = replace(found, start=max(len(front), region), in_pieces=False)
    else:
        found = _find_text(turn, full=full, region=region, limit=limit, front=front)
    border = _border(full, prompt, region=region, found=found)
    header = region
    if not full[header:border].strip():
        behind = between()
        if behind is not None and front.endswith(behind):
            header = min(len(front) - len(behind), border)
    if not full.startswith(after, found.end):
        gap = full[found.end : limit]  # a line break between the last call and the end
        after = gap + after if calls and not gap.strip() and full.startswith(after, limit) else ""
    return Span(header=header, border=border, end=found.end, after=after, stripped=found.stripped)


def _part(text: str | None, index: int) -> str:
    """Text in front of the probe (0) or behind it (2)."""
    return text.rpartition(PROBE)[index] if text and PROBE in text else ""


def _common_suffix(text: str, suffix: str) -> int:
    if text.endswith(suffix):
        return len(suffix)
    count = 0
    while count < min(len(text), len(suffix)) and text[-1 - count] == suffix[-1 - count]:
        count += 1
    return count


def _common_prefix(text: str, other: str) -> int:
    count = 0
    while count < min(len(text), len(other)) and text[count] == other[count]:
        count += 1
    return count


def _region(full: str, *, bare: str | None, front: str, between: Callable[[], str | None]) -> int:
    """End of the previous turn."""
    if bare is not None and full.startswith(bare):
        return len(bare)
    behind = between()
    if behind is not None and front.endswith(behind):
        return _common_prefix(full, front[: len(front) - len(behind)])
    return 0


def _find_text(turn: Message, *, full: str, region: int, limit: int, front: str) -> _Found:
    content = turn.content
    if turn.reasoning is not None and turn.reasoning.strip():
        return _find_pieces([turn.reasoning, content], full=full, region=region, limit=limit)
    for text, stripped in ((content, False), (content.strip(), True)):
        at = full.rfind(text, region, limit)
        if at >= 0:
            found = _Found(start=at, end=at + len(text), stripped=stripped)
            break
    else:
        where = _Squeezed.of(full, region, limit)
        spot = where.rfind(_squeeze(content), len(where.text))
        if spot is None:
            pieces = pieces_of(content)
            if pieces is None:
                raise _missing(content)
            parted = _find_pieces(pieces, full=full, region=region, limit=limit)
            return replace(parted, stripped=True)  # the tags, too, are not as they were
        found = _Found(start=spot[0], end=spot[1], stripped=True)
    _check_once(content, full=full, region=region, limit=limit, found=found, front=front)
    return found


def _find_pieces(pieces: Sequence[str], *, full: str, region: int, limit: int) -> _Found:
    """Locate texts one after another; markup of the template may be between them."""
    where = _Squeezed.of(full, region, limit)
    upper, spots = len(where.text), []
    said = [piece for piece in pieces if piece.strip()]
    wanted = [_squeeze(piece) for piece in said]
    for piece, words in zip(reversed(wanted), reversed(said), strict=True):
        at = where.text.rfind(piece, 0, upper)
        if at < 0:
            raise _missing(words)
        spots.append((at, at + len(piece)))
        upper = at
    last, first = spots[0], spots[-1]
    around = where.text[: first[0]] + "\n" + where.text[last[1] :]
    for piece in wanted:
        if len(piece) > 3 and piece in around:  # noqa: PLR2004  (markup can contain short words)
            raise _doubled(piece)
    if len(wanted) > 1:
        inner = "\n".join(where.text[b:a] for (a, _), (_, b) in itertools.pairwise(spots))
        for piece in wanted:
            if len(piece) > 3 and piece in inner:  # noqa: PLR2004
                raise _doubled(piece)
    end = where.places[last[1] - 1] + 1
    white = said[-1][len(said[-1].rstrip()) :]
    return _Found(
        start=where.places[first[0]],
        end=end + _common_prefix(full[end:limit], white),
        stripped=any(full.find(piece, region, limit) < 0 for piece in pieces),
        in_pieces=True,
    )


def _check_once(
    content: str, *, full: str, region: int, limit: int, found: _Found, front: str
) -> None:
    """Raise an error if any part of the turn is rendered twice."""
    before, behind = full[region : found.start], full[found.end : limit]
    usual = front[region:]
    if before == usual and not behind.strip():
        return
    around, plain = _squeeze(before) + "\n" + _squeeze(behind), _squeeze(usual)
    for piece in (content, *(pieces_of(content) or ())):
        text = _squeeze(piece)
        if text and around.count(text) > plain.count(text):
            raise _doubled(piece)


def _border(full: str, prompt: str | None, *, region: int, found: _Found) -> int:
    """Start of the target: after the generation prompt if only white space follows it.

    A trainer puts loss on that white space. Where the generation prompt holds the first words of
    the turn (an opening tag), they are given, too.
    """
    if prompt is not None and full.startswith(prompt):
        at = len(prompt)
        if at <= found.start and (found.in_pieces or not full[at : found.start].strip()):
            return at
        if found.start < at < found.end:
            return at
    elif prompt is not None:
        # The generation prompt opens a thought in other words than the row does.
        at = _common_prefix(prompt, full)
        if found.start < at < found.end and is_opening(full[found.start : at]):
            return at
    gap = full[region : found.start]
    if prompt is not None and gap.strip():
        for length in range(len(gap), len(gap.rstrip()) - 1, -1):
            if prompt.endswith(gap[:length]):
                return region + length
    return found.start


def _find_calls(
    turn: Message, calls: Sequence[Any], *, full: str, region: int, limit: int
) -> _Found:
    where = _Squeezed.of(full, region, limit)
    starts = []
    for piece in (turn.reasoning or "", turn.content):
        text = _squeeze(piece)
        if not text:
            continue
        at = where.text.find(text)
        if at < 0:
            raise _missing(piece)
        starts.append(where.places[at])
    for forms, times in Counter(_words_of_calls(calls)).items():
        if max(where.text.count(_squeeze(form)) for form in forms) < times:
            raise _missing(forms[0])
    _check_calls_once(turn, calls, rendered=where.text)
    if not starts:
        name = where.text.find(_squeeze(_name_of(calls[0])))
        starts.append(_opening(full, where.places[name], region=region))
    end = region + len(full[region:limit].rstrip())
    return _Found(start=min(starts), end=end, stripped=False, in_pieces=True)


def _check_calls_once(turn: Message, calls: Sequence[Any], *, rendered: str) -> None:
    """Raise an error if a turn with calls has more of its words than it should."""
    said = [text for text in (turn.reasoning or "", turn.content) if text.strip()]
    written: list[tuple[str, ...]] = [(text,) for text in said]
    written += map(_forms_of_arguments, calls)
    parts = [tuple(map(_squeeze, forms)) for forms in written]
    for forms, (text, *_) in zip(parts, written, strict=True):
        # A name, or {} for no arguments, may be markup.
        is_name = forms[0].isidentifier() or not any(map(str.isalnum, forms[0]))
        wanted = sum(other[0].count(forms[0]) for other in parts)
        if len(forms[0]) <= 3 or is_name:  # noqa: PLR2004  (markup can contain short words)
            continue
        if max(map(rendered.count, forms)) > wanted:
            raise _doubled(text)


def _forms_of_arguments(call: Any) -> tuple[str, ...]:
    """Arguments of a call as JSON, as JSON inside a text, and in Python's notation."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return text, json.dumps(text, ensure_ascii=False)[1:-1], str(arguments)


def _end_of_calls(
    full: str,
    calls: Sequence[Any],
    *,
    region: int,
    limit: int,
    after: str,
    shared: str,
    tokens: re.Pattern[str] | None,
) -> tuple[int, str]:
    """End of a turn with tool calls, and the text that ends it.

    That is what ends every turn, behind the last call; or what the template puts behind any
    conversation, such as the start of the next turn; or another special token that does not
    belong to the markup of calls, where the template has one for turns that wait for a result.

    Args:
        full: The whole row, rendered.
        calls: The calls of the turn.
        region: End of the turn in front.
        limit: Where the turn ends at the latest.
        after: What ends a turn of text.
        shared: What ends any conversation, as `_shared_end` gives it; empty where there is nothing.
        tokens: Finds the text of special tokens.
    """
    last = max((full.rfind(_name_of(call), region, limit) for call in calls), default=region)
    for ending in (after, after.strip()):  # a turn of calls may end without the line break
        at = full.find(ending, max(last, region)) if ending else -1
        if 0 <= at <= limit:
            return at, ending
    behind = max(last, region)
    at = full.find(shared, behind, limit) if shared else -1
    if at < 0:
        # At an earlier turn there is only a part of it, where a template opens a turn after each.
        at = limit - _overlap(full[behind:limit], shared)
    if 0 <= at < limit:
        return at, full[at:limit]
    marks = [] if tokens is None else list(tokens.finditer(full, max(last, region), limit))
    if marks and not full[marks[-1].end() : limit].strip() and not _is_call(marks[-1].group()):
        return marks[-1].start(), marks[-1].group()
    return limit, ""


def _shared_end(upto: str, behind: str, *, tokens: re.Pattern[str] | None) -> str:
    """Special tokens, and what follows them, that end a turn of calls and a turn of text alike.

        text    ...<|end_text|><|end_of_turn|><|bot|>
        calls   ...<|end_call|><|end_of_turn|><|bot|>
                               `------ shared -----'

    Args:
        upto: The conversation up to the turn with calls, rendered.
        behind: What follows a turn of text at the end of a conversation.
        tokens: Finds the text of special tokens.

    Returns:
        Empty where they have no special token in common.
    """
    if tokens is None:
        return ""
    first = tokens.search(upto, len(upto) - _common_suffix(upto, behind))
    return "" if first is None else upto[first.start() :]


def _overlap(text: str, ending: str) -> int:
    """Length of the longest start of `ending` with which `text` ends."""
    lengths = range(min(len(text), len(ending)), 0, -1)
    return next((n for n in lengths if text.endswith(ending[:n])), 0)


def _is_call(token: str) -> bool:
    return "tool_call" in token or "tool▁call" in token or token.startswith(("</", "[/"))


def _opening(full: str, at: int, *, region: int) -> int:
    """Start of the markup that opens a call, on the line of its name or just before it."""
    line = full.rfind("\n", region, at) + 1
    return line if line > region else at


def _calls(turn: Message) -> list[Any]:
    return list(json.loads(turn.tool_calls)) if turn.tool_calls else []


def _name_of(call: Any) -> str:
    function = call.get("function", call) if isinstance(call, dict) else {}
    return str(function.get("name", ""))


def _words_of_calls(calls: Sequence[Any]) -> Iterator[tuple[str, ...]]:
    """Words of the calls that must be rendered, in the forms that templates use."""
    for call in calls:
        yield (_name_of(call),)
        function = call.get("function", call) if isinstance(call, dict) else {}
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                yield (arguments, json.dumps(arguments)[1:-1])
                continue
        yield from _leaves(arguments)


def _leaves(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield (str(name),)
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        if value.strip():
            plain, ascii_only = json.dumps(value, ensure_ascii=False), json.dumps(value)
            yield (value, plain[1:-1], ascii_only[1:-1], repr(value)[1:-1])
    elif value is None:
        yield ("null", "None", "none")
    else:
        yield (str(value), json.dumps(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Squeezed:
    """Text without its white space, with the original position of each character."""

    text: str
    places: list[int]

    @classmethod
    def of(cls, full: str, start: int, end: int) -> "_Squeezed":
        places = [at for at in range(start, end) if not full[at].isspace()]
        return cls(text="".join([full[at] for at in places]), places=places)

    def rfind(self, text: str, upper: int) -> tuple[int, int] | None:
        at = self.text.rfind(text, 0, upper) if text else -1
        return None if at < 0 else (self.places[at], self.places[at + len(text) - 1] + 1)


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _missing(text: str) -> RewrittenError:
    return RewrittenError(
        f"the template does not render {_short(text)}",
        hint="if it is thinking, score the answers alone with --thinking exclude",
    )


def _doubled(text: str) -> RewrittenError:
    return RewrittenError(f"the template renders {_short(text)} more than once")


def _short(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= _MOST_SHOWN else shown[:_MOST_SHOWN] + "...")
