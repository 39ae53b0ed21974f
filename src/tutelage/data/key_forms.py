"""Forms in which a text can contain a key, each with a quick test that rules it out.

The pattern of a form costs about a tenth of a microsecond a character, which is seconds for a
reply of some megabytes. So each form has a condition that its matches fulfil and that the bytes of
a text show at once: the patterns of the others are searched for.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from html.entities import html5

import numpy as np

LEAST_ENCODED = 8
"""Shortest key that is searched for in encodings and in halves; shorter ones occur by chance."""

# Repetitions have bounds: a reply of nothing but backslashes must not take time that grows with
# the square of its length.
_UNSEEN = "[\\s\\x00\\u00ad\\u200b-\\u200f\\u2060\\ufeff]{0,4}"
"""Characters that may occur inside a key without changing how it looks."""

_BETWEEN = r"[\s:,;]{0,8}(?:00)?"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ROT13 = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)
_ROT47 = {c: chr(33 + (c - 33 + 47) % 94) for c in range(33, 127)}
_ENTITIES: dict[str, list[str]] = {}
for _name, _meant in html5.items():
    if len(_meant) == 1 and _meant.isascii():
        _ENTITIES.setdefault(_meant, []).append(_name.rstrip(";"))


_SPACE = b"\t\n\v\f\r\x1c\x1d\x1e\x1f "
_NOT_ASCII = bytes(range(128, 256))
_LOWERED = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_HEX_DIGITS = bytes.maketrans(b"ABCDEF45", b"abcdef67")
"""Lower case, and the high digits of capital letters made those of small ones."""

_NOT_BITS = bytes(code for code in range(128) if code not in b"01b:,;" + _SPACE)
_BITS = bytes(b"0"[0] if code in _NOT_BITS else b"1"[0] for code in range(256))
_SMALL = 200
"""Length of a text below which the patterns cost less than the tests."""

_LEAST_NEEDLE = 4
_MOST_OF_CHARACTER = 64
"""Longest form of one character, with what may come before the next one."""


class KeyText:
    """A text, or the bytes of one in latin-1, in the forms that the tests need.

    Args:
        content: The text.
    """

    def __init__(self, content: str | bytes) -> None:
        self._content = content
        self.is_small = len(content) < _SMALL

    @cached_property
    def text(self) -> str:
        """Content as a text."""
        return self._content if isinstance(self._content, str) else self._content.decode("latin-1")

    @cached_property
    def raw(self) -> bytes:
        """Bytes of the content."""
        if isinstance(self._content, bytes):
            return self._content
        return self._content.encode("utf-8", "surrogatepass")

    @cached_property
    def ascii(self) -> bytes:
        """ASCII characters, and those of full width as such."""
        if not isinstance(self._content, str) or self._content.isascii():
            return self.raw.translate(None, _NOT_ASCII) if self.raw else b""
        if b"\xef\xbc" in self.raw or b"\xef\xbd" in self.raw:
            codes = np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), np.uint32)
            wide = (codes >= 0xFF01) & (codes <= 0xFF5E)  # noqa: PLR2004  (Unicode's block)
            codes = np.where(wide, codes - 0xFEE0, codes)
            return codes[codes < 128].astype(np.uint8).tobytes()  # noqa: PLR2004
        return self.raw.translate(None, _NOT_ASCII)

    @cached_property
    def plain(self) -> bytes:
        """Lower case without white space and backslashes."""
        return _plain(self.ascii)

    @cached_property
    def base64(self) -> bytes:
        """Without white space and backslashes, in the letters of standard base64."""
        return _base64(self.ascii)

    @cached_property
    def hex(self) -> bytes:
        """Hexadecimal digits in one form, without what may come between bytes."""
        return _hex(self.ascii)

    @cached_property
    def numbers(self) -> bytes:
        """Decimal numbers as characters in lower case; NUL for what is none."""
        data = np.frombuffer(self.raw, np.uint8)
        digits = np.concatenate(([False], (data >= 48) & (data <= 57), [False]))  # noqa: PLR2004
        edges = np.flatnonzero(digits[1:] != digits[:-1])
        starts, ends = edges[::2], edges[1::2]
        values = np.zeros(len(starts), np.int64)
        for place in range(3):
            here = starts + place < ends
            digit = data[np.where(here, starts + place, 0)].astype(np.int64) - 48
            values = np.where(here, values * 10 + digit, values)
        values[(ends - starts > 3) | (values > 255)] = 0  # noqa: PLR2004
        return values.astype(np.uint8).tobytes().translate(_LOWERED)

    @cached_property
    def bits(self) -> bytes:
        """A 1 for each character that may belong to binary digits, else a 0."""
        return self.raw.translate(_BITS)


def _plain(text: bytes) -> bytes:
    return text.translate(_LOWERED, _SPACE + b"\0\\")


def _base64(text: bytes) -> bytes:
    return text.translate(_STANDARD, _SPACE + b"\\")


def _hex(text: bytes) -> bytes:
    return text.translate(_HEX_DIGITS, _SPACE + b":,;\\xXuU+0")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyForm:
    """One form of a key.

    Attributes:
        pattern: Regular expression of the key in this form.
        possible: Whether a text may hold it; false only where it does not.
    """

    pattern: str
    possible: Callable[[KeyText], bool]


class KeyForms:
    """All forms of one key, searched for together.

    Args:
        key: The key; not empty.
    """

    def __init__(self, key: str) -> None:
        self._forms = tuple(_forms(key))
        self._found: dict[tuple[int, ...], re.Pattern[str] | None] = {(): None}

    def in_text(self, content: str | bytes) -> bool:
        """Whether a text, or the latin-1 bytes of one, holds the key."""
        text = KeyText(content)
        pattern = self._pattern(text)
        return pattern is not None and pattern.search(text.text) is not None

    def replaced(self, content: str, by: str) -> str:
        """Text with the key replaced in each form."""
        pattern = self._pattern(KeyText(content))
        return content if pattern is None else pattern.sub(by, content)

    def _pattern(self, text: KeyText) -> re.Pattern[str] | None:
        """Pattern of the forms that are possible in a text, in their order; None without any.

        A form that is not possible matches nowhere, so it changes nothing that it is left out.
        """
        which = tuple(
            at for at, form in enumerate(self._forms) if text.is_small or form.possible(text)
        )
        if which not in self._found:
            self._found[which] = re.compile("|".join(self._forms[at].pattern for at in which))
        return self._found[which]


def _forms(key: str) -> Iterator[KeyForm]:
    """Forms of a key, the longer ones first."""
    if len(key) < LEAST_ENCODED:
        yield KeyForm(pattern=re.escape(key), possible=lambda text: key in text.text)
        return
    variants = dict.fromkeys((key, key.lower(), key.upper()))
    for core in dict.fromkeys(core for variant in variants for core in base64_cores(variant)):
        # The characters before and after the core hold bits of the key too.
        inside = r"\s{0,8}".join(map(_of_base64, core))
        yield KeyForm(
            pattern=rf"[A-Za-z0-9+/_-]?{inside}[A-Za-z0-9+/_-]?=*",
            possible=_holding("base64", _base64(core.encode())),
        )
    known = key.isascii()
    in_hex = _holding("hex", _hex(key.encode().hex().encode()) if known else b"")
    in_numbers = _holding("numbers", key.lower().encode() if known else b"")
    in_bits = _holding("bits", b"1" * 8 * len(key) if known else b"")
    yield KeyForm(pattern=_BETWEEN.join(map(_of_hex, key)), possible=in_hex)
    yield KeyForm(pattern=r"[\s:,;]{0,8}".join(map(_of_decimal, key)), possible=in_numbers)
    yield KeyForm(pattern=_spaced_bits(key), possible=in_bits)
    yield _literal(_base58(key))
    yield KeyForm(pattern=r"\W{1,8}(?:chr\()?".join(map(_of_decimal, key)), possible=in_numbers)
    yield KeyForm(pattern=r"[\s,;]{0,8}".join(map(_of_binary, key)), possible=in_bits)
    yield _literal(binascii.b2a_uu(key.encode()[:45])[1:].decode().strip())
    yield _escaped_form(key, between=_UNSEEN)
    for other in (key[::-1], key.translate(_ROT13), key.translate(_ROT47)):
        yield _escaped_form(other, between="")


def _literal(text: str) -> KeyForm:
    return KeyForm(pattern=re.escape(text), possible=_holding("raw", text.encode()))


def _holding(name: str, needle: bytes) -> Callable[[KeyText], bool]:
    """Test whether the named form of a text holds some bytes; true where these are too few."""
    if len(needle) < _LEAST_NEEDLE:
        return lambda _: True
    return lambda text: needle in getattr(text, name)


def _escaped_form(key: str, *, between: str) -> KeyForm:
    """Form of a key whose characters are plain or escaped, each in its own way.

    Either all of them are plain, or an escape of one of them is in the text.
    """
    pattern = between.join(map(_escaped, key))
    needle = _plain(key.encode()) if key.isascii() else b""
    if len(needle) < _LEAST_NEEDLE:
        return KeyForm(pattern=pattern, possible=lambda _: True)
    escapes = tuple(_escapes(key))
    one = re.compile(pattern)

    def possible(text: KeyText) -> bool:
        return needle in text.plain or any(
            one.search(text.raw[low:high].decode("utf-8", "ignore"))
            for low, high in _around(text.raw, escapes, _MOST_OF_CHARACTER * len(key))
        )

    return KeyForm(pattern=pattern, possible=possible)


def _around(
    raw: bytes, escapes: Iterable[re.Pattern[bytes]], size: int
) -> Iterator[tuple[int, int]]:
    """Places around the escapes in a text; those that meet are one."""
    starts = sorted(found.start() for escape in escapes for found in escape.finditer(raw))
    low = high = 0
    for start in starts:
        if start - size > high:
            if high:
                yield low, high
            low = start - size
        high = start + size
    if high:
        yield max(0, low), high


def _escapes(key: str) -> Iterator[re.Pattern[bytes]]:
    """Patterns of an escape of any character of a key; each begins with its mark."""
    forms = {form for one in key for form in (one, one.lower(), one.upper())}
    wide = {chr(ord(form) + 0xFEE0) for form in forms if "!" <= form <= "~"}
    octets = "|".join(sorted({f"{ord(form):02x}" for form in forms} | {"ef"}))
    codes = "|".join(sorted(f"{ord(form):02x}" for form in forms | wide))
    octal = "|".join(sorted(f"{ord(form):o}" for form in forms | wide))
    decimals = "|".join(sorted(str(ord(form)) for form in forms | wide))
    names = sorted({name for form in forms for name in _ENTITIES.get(form, ())})
    named = "".join(f"|{name}" for name in names)
    for pattern in (
        rf"%(?:25){{0,4}}(?i:{octets})",
        rf"=(?i:{octets})",
        rf"\\(?:[uU]\{{?0{{0,6}}(?i:{codes})|x(?i:{octets})|0{{0,6}}(?:{octal}))",
        rf"&(?:amp;){{0,4}}(?:#0{{0,6}}(?:{decimals})|#[xX]0{{0,6}}(?i:{codes}){named})",
    ):
        yield re.compile(pattern.encode())


def base64_cores(key: str) -> Iterator[str]:
    """Part of each base64 text that does not depend on the bytes around the key."""
    data = key.encode()
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        yield text[first:last]


def _spaced_bits(key: str) -> str:
    """A pattern of the bits of a key, a byte at a time."""
    return r"[\s:,;]{0,8}".join(f"(?:0b)?{byte:08b}" for byte in key.encode())


def _base58(key: str) -> str:
    """A key in base 58, as wallets and some token formats write bytes."""
    number, digits = int.from_bytes(key.encode(), "big"), []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    return "".join(reversed(digits))


def _of_base64(character: str) -> str:
    return {"+": "[+-]", "-": "[+-]", "/": r"(?:\\{0,8}/|_)", "_": r"(?:\\{0,8}/|_)"}.get(
        character, character
    )


def _of_hex(character: str) -> str:
    forms = {f"{ord(form):02x}" for form in (character.lower(), character.upper())}
    return rf"(?:\\{{0,8}}x|0x|[uU]\+0{{0,6}})?(?i:{'|'.join(sorted(forms))})"


def _of_decimal(character: str) -> str:
    forms = {str(ord(form)) for form in (character.lower(), character.upper())}
    return rf"(?<!\d)(?:{'|'.join(sorted(forms))})(?!\d)"


def _of_binary(character: str) -> str:
    forms = {f"{ord(form):08b}" for form in (character.lower(), character.upper())}
    return rf"(?:0b)?0?(?:{'|'.join(sorted(forms))})"


def _escaped(character: str) -> str:
    """Pattern of one character in either case, plain or as an escape of JSON, URLs or HTML."""
    forms = dict.fromkeys((character, character.lower(), character.upper()))
    if "!" <= character <= "~":
        forms |= dict.fromkeys(chr(ord(form) + 0xFEE0) for form in tuple(forms))  # full width
    codes = "|".join(f"{ord(form):02x}" for form in forms)
    octal = "|".join(f"{ord(form):o}" for form in forms)
    decimals = "|".join(str(ord(form)) for form in forms)
    plain = "|".join(re.escape(form) for form in forms)
    names = "|".join(name for form in forms for name in _ENTITIES.get(form, ()))
    named = rf"|&(?:amp;){{0,4}}(?:{names});?" if names else ""
    octets = "|".join(
        "".join(rf"(?:%(?:25){{0,4}}|\\{{1,8}}x|=){byte:02x}" for byte in form.encode())
        for form in forms
        if not form.isascii()
    )
    bytes_ = rf"|(?i:{octets})" if octets else ""
    return (
        rf"(?:\\{{0,8}}(?:{plain})|%(?:25){{0,4}}(?i:{codes})"
        rf"|\\{{1,8}}[uU]\{{?0{{0,6}}(?i:{codes})\}}?"
        rf"|\\{{1,8}}x(?i:{codes})|\\{{1,8}}0{{0,6}}(?:{octal})(?!\d)|=(?i:{codes})"
        rf"|&(?:amp;){{0,4}}#0{{0,6}}(?:{decimals});?"
        rf"|&(?:amp;){{0,4}}#[xX]0{{0,6}}(?i:{codes});?{named}{bytes_})"
    )
