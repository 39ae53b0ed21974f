"""Word-by-word comparison of two texts."""

import re
from difflib import SequenceMatcher

from tutelage.reporting.blocks import Span

MAX_CHARACTERS = 3000
"""Longest part of a text that is shown."""

_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def difference(
    before: str, after: str, *, characters: int = MAX_CHARACTERS
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Compare two texts word by word.

    Args:
        before: A text of any length.
        after: The text that was made from it.
        characters: What of either text is beyond this is left out, and said so.

    Returns:
        The spans of either side, in order. The spans that are `same` hold the same words.

    Examples:
        >>> left, right = difference("a red fox", "a brown fox")
        >>> [s.text for s in left if s.kind == "only_before"]
        ['red']
        >>> "".join(s.text for s in right)
        'a brown fox'
    """
    shown_before, rest_before = _cut(before, characters)
    shown_after, rest_after = _cut(after, characters)
    words_before, words_after = _WORD.findall(shown_before), _WORD.findall(shown_after)
    matcher = SequenceMatcher(a=words_before, b=words_after, autojunk=False)
    left: list[Span] = []
    right: list[Span] = []
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        gone, come = "".join(words_before[a:a_end]), "".join(words_after[b:b_end])
        if kind == "equal":
            left.append(Span(text=gone))
            right.append(Span(text=come))
        else:
            left += [Span(text=gone, kind="only_before")] if gone else []
            right += [Span(text=come, kind="only_after")] if come else []
    return (*left, *rest_before), (*right, *rest_after)


def whole(text: str) -> tuple[Span, ...]:
    """Text without a comparison."""
    shown, rest = _cut(text, MAX_CHARACTERS)
    return (Span(text=shown), *rest)


def _cut(text: str, characters: int) -> tuple[str, tuple[Span, ...]]:
    if len(text) <= characters:
        return text, ()
    left = len(text) - characters
    return text[:characters], (Span(text=f"\n… {left:,} more characters are not shown"),)
