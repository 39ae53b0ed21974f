"""Sanitiser of untrusted text: invisible characters become visible."""

import re

_CONTROL_PICTURES = 0x2400
_DELETE = 0x7F
_DELETE_PICTURE = "\u2421"

# Tabs and line feeds stay. Zero-width joiners stay too: emoji and several scripts need them.
_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters of ASCII and Latin-1
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, fillers, marks
    "\u200b\u200e\u200f\u2028\u2029\u202a-\u202e"  # zero width, line and direction
    "\u2060-\u206f\ufeff\ufff9-\ufffb\u3164\uffa0"  # joiners, isolates, annotation
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # what no file may hold
    "\U000e0000-\U000e0fff"  # tags and variation selectors that spell hidden text
    "]"
)


def visible(text: str) -> str:
    r"""Text with invisible and direction-changing characters replaced by visible ones.

    ASCII controls become their pictures; everything else that cannot be seen becomes its code
    point in white brackets. The result holds no markup and still has to be escaped.

    Examples:
        >>> visible("a\x00b\u202ec")
        'a␀b⟦U+202E⟧c'
        >>> visible("line\r\nline\tend")
        'line\nline\tend'
    """
    return _HIDDEN.sub(_shown, text.replace("\r\n", "\n"))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:  # noqa: PLR2004  (the ASCII controls)
        return chr(_CONTROL_PICTURES + code)
    return _DELETE_PICTURE if code == _DELETE else f"⟦U+{code:04X}⟧"


def one_line(text: str, *, characters: int) -> str:
    r"""Visible text on one line, truncated to a number of characters.

    Examples:
        >>> one_line("two\nlines", characters=20)
        'two lines'
        >>> one_line("a long name", characters=7)
        'a long…'
    """
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= characters else flat[: characters - 1].rstrip() + "…"
