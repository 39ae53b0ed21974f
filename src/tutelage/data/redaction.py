"""Removal of a secret from decoded text: plain, encoded, or split over several fields.

A server may repeat the key it was sent: in an error message, inside a JSON document that it quotes,
as a base64 header, in two halves, or token by token. Values are scrubbed after decoding, because
the raw bytes of the same text look different under every escape. Encodings of encodings are
decoded a few times and looked through.
"""

import base64
import binascii
import html
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from urllib.parse import unquote

import numpy as np

from tutelage.data.key_forms import LEAST_ENCODED, KeyForms, base64_cores

KEY = "[key]"
"""Replacement text for the key."""

LEAST_PIECE = 4
"""Characters of the smaller piece of a split key."""

MOST_DEPTH = 100
"""Most lists and objects around a value of an answer; what is deeper is left out."""

PLACEHOLDERS = frozenset(
    (
        *("none", "null", "empty", "dummy", "fake", "test", "ollama", "lm-studio", "no-key"),
        *("no-key-required", "not-needed", "not-required", "sk-no-key-required", "token", "key"),
        *("na", "n/a", "x", "xxx", "local", "llama.cpp", "vllm", "placeholder", "api-key"),
    )
)
"""Placeholder keys of local servers: not secrets, but words that occur in replies."""

LEAST_SPELLED = 10
"""Letters and digits of a key that is looked for spelled out, one by one."""

_TAG = re.compile(r"</?\w[^<>]{0,40}>")
_TAG_CHARACTERS = {0xE0000 + code: code for code in range(0x20, 0x7F)}
"""Invisible characters that encode ASCII."""

_DECODINGS = 3
"""Nested encodings that are undone."""

_RUN = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,6}")
_RUN_85 = re.compile(r"[!-~]{20,}")
_RFC_1924 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_ASCII_85 = "".join(map(chr, range(33, 118)))
_Z_85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_BASE85 = tuple(
    (frozenset(letters), str.maketrans(letters, _RFC_1924), str.maketrans(_RFC_1924, letters))
    for letters in (_RFC_1924, _ASCII_85, _Z_85)
)
"""The letters of each form of base 85, and how to write it as the first form and the other way."""

_DIGIT_85 = np.zeros(128, np.int64)
_DIGIT_85[list(_RFC_1924.encode())] = range(85)

_NO_LETTERS = bytes(code for code in range(128) if not chr(code).isalnum())
_LOWER_BYTES = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
"""Lower-case table for ASCII alone, so that positions do not change."""


class Redactor:
    r"""Redactor that replaces one key by `[key]` in texts and JSON values.

    Args:
        key: The secret, or None where none is sent; then nothing is changed.

    Examples:
        >>> Redactor("sk-abcdefgh").text("you sent Bearer sk-abcdefgh")
        'you sent Bearer [key]'
        >>> Redactor("sk-abcdefgh").value({"error": ["%73k-abcd\\u0065fgh"]})
        {'error': ['[key]']}
    """

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None or key.lower() in PLACEHOLDERS else key
        self._forms = None if not self._key else KeyForms(self._key)
        self._cores_85 = (
            ()
            if not self._key or len(self._key) < LEAST_ENCODED
            else tuple(dict.fromkeys(_base85_cores(self._key)))
        )
        self._needles = () if not self._key else tuple(_needles(self._key))
        self._least = max(16, len(self._key or ""))

    def __repr__(self) -> str:
        return "Redactor()"

    def text(self, text: str) -> str:
        """Text without the key."""
        if self._forms is None:
            return text
        return self._pieces([self._scrubbed(text)])[0]

    def value(self, value: object) -> object:
        """JSON value without the key, whether whole in one field or split over several."""
        if self._forms is None:
            return value
        texts: list[str] = []
        groups: dict[str | None, list[int]] = {}

        def collect(text: str, field: str | None) -> str:
            if field is not None:
                for group in (field, None):
                    groups.setdefault(group, []).append(len(texts))
            texts.append(self._scrubbed(text))
            return text

        _mapped(value, collect)
        texts = self._pieces(texts)
        for members in groups.values():
            if len(members) > 1:
                self._spread(texts, members)
        scrubbed = iter(texts)
        return _mapped(value, lambda _, __: next(scrubbed))

    def _scrubbed(self, text: str) -> str:
        """Text without the whole key, plain or under up to three encodings."""
        if self._forms is None:
            return text
        text = self._forms.replaced(text, KEY)
        if len(self._key or "") < LEAST_ENCODED:
            return text
        for core in self._cores_85:
            if core in text:  # its neighbours hold bytes of the key too
                text = re.sub(rf"[!-~]{{0,5}}{re.escape(core)}[!-~]{{0,5}}", KEY, text)
        text, parts, end = self._unspelled(text), [], 0
        for low, high in _long_tokens(text, least=self._least):
            parts += [text[end:low], self._decoded(text[low:high])]
            end = high
        return "".join([*parts, text[end:]]) if parts else text

    def _unspelled(self, text: str) -> str:
        """The text without a key that is spelled out, such as `s.k.-.a.b` or `<b>s</b><b>k</b>`."""
        wanted = _letters(self._key or "")
        if len(wanted) < LEAST_SPELLED or wanted not in _flat_letters(text):
            return text
        spelled = [(at, _letters(part)) for at, part in _characters(text)]
        spelled = [(at, letter) for at, letter in spelled if letter]
        flat = "".join(letter[0] for _, letter in spelled)
        start = flat.find(wanted)
        while start >= 0:
            places = [at for at, _ in spelled[start : start + len(wanted)]]
            apart = sum(high - low > 1 for low, high in pairwise(places))
            other = any(
                text[at].lower() != letter for at, letter in zip(places, wanted, strict=True)
            )
            if other or apart >= len(wanted) // 2:
                rest = self._unspelled(text[places[-1] + 1 :])
                return text[: places[0]] + KEY + rest
            start = flat.find(wanted, start + 1)
        return text

    def _decoded(self, token: str) -> str:
        """Token without what decodes to the key."""
        tried: set[str] = set()

        def without(run: re.Match[str]) -> str:
            tried.add(run[0])
            return KEY if self._holds(run[0], _DECODINGS) else run[0]

        left = _RUN.sub(without, token)
        if left != token or token in tried:
            return left
        return KEY if self._holds(token, _DECODINGS) else token

    def _holds(self, text: str, depth: int) -> bool:
        """Whether a text decodes to the key."""
        if self._forms is None or depth == 0:
            return False
        return any(self._plainly(plain, depth) for plain in _decodings(text))

    def _plainly(self, plain: str | bytes, depth: int) -> bool:
        """Whether a decoded text, or its bytes in latin-1, holds the key or decodes to it."""
        if self._forms is None:
            return False
        if self._forms.in_text(plain):
            return True
        flat = plain if isinstance(plain, bytes) else plain.encode("utf-8", "surrogatepass")
        return any(core.encode() in flat for core in self._cores_85) or any(
            self._holds(_latin(plain[low:high]), depth - 1)
            for low, high in _long_tokens(plain, least=self._least)
        )

    def _spread(self, texts: list[str], members: Sequence[int]) -> None:
        """Remove the key from texts that spell it piece by piece, as tokens or bytes."""
        key = (self._key or "").translate(_LOWER)
        if len(key) < LEAST_ENCODED:
            return
        codes = [texts[at] for at in members]
        for pieces in ([t.translate(_LOWER) for t in codes], [_character_of(t) for t in codes]):
            flat = "".join(pieces)
            start = flat.find(key)
            while start >= 0:
                end, at = start + len(key), 0
                for member, piece in zip(members, pieces, strict=True):
                    low, high = max(start - at, 0), min(end - at, len(piece))
                    at += len(piece)
                    if low < high:
                        mark = KEY if at - len(piece) <= start else ""
                        whole = piece != texts[member].translate(_LOWER)  # a code: all of it
                        rest = ("", "") if whole else (texts[member][:low], texts[member][high:])
                        texts[member] = rest[0] + mark + rest[1]
                start = flat.find(key, end)
                if start >= 0:  # positions have moved: once more from the texts as they are now
                    self._spread(texts, members)
                    return

    def _pieces(self, texts: list[str]) -> list[str]:
        flat: dict[bool, list[bytes]] = {}
        for needle, folded in self._needles:
            if folded not in flat:
                raw = [text.encode("utf-8", "surrogatepass") for text in texts]
                flat[folded] = [text.lower() for text in raw] if folded else raw
            pieces = _pieces_of(needle, flat[folded])
            if pieces:
                pattern = "|".join(re.escape(piece) for piece in pieces)
                found = re.compile(pattern, re.IGNORECASE | re.ASCII if folded else 0)
                texts = [found.sub(KEY, text) for text in texts]
                flat = {}
        return texts


def _letters(text: str) -> str:
    """The letters and digits of a text in one form, without tags between them."""
    plain = unicodedata.normalize("NFKD", _TAG.sub("", text).translate(_TAG_CHARACTERS))
    return re.sub(r"[\W_]+", "", plain).lower()


def _flat_letters(text: str) -> str:
    """Letters and digits in ASCII of a text in one form, as `_letters`, without the others.

    Consecutive ASCII letters of `_letters` are consecutive here, too.
    """
    if "<" in text:
        text = _TAG.sub("", text)
    if not text.isascii():
        text = _to_ascii(text)
    return text.encode().translate(_LOWER_BYTES, _NO_LETTERS).decode()


def _to_ascii(text: str) -> str:
    """Text with each character replaced by the ASCII part of its plain form."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    there = np.zeros(0x110000, np.bool_)
    there[codes] = True
    forms = {
        code: unicodedata.normalize("NFKD", chr(_TAG_CHARACTERS.get(code, code)))
        .encode("ascii", "ignore")
        .decode()
        for code in (np.flatnonzero(there[128:]) + 128).tolist()
    }
    if any(len(form) > 1 for form in forms.values()):
        return text.translate(forms)
    table = np.zeros(0x110000, np.uint8)
    table[:128] = range(128)
    for code, form in forms.items():
        table[code] = ord(form) if form else 0
    return table[codes].tobytes().decode()


def _characters(text: str) -> Iterator[tuple[int, str]]:
    """The characters of a text outside its tags, with their places."""
    tags = [found.span() for found in _TAG.finditer(text)]
    inside = {at for low, high in tags for at in range(low, high)}
    return ((at, character) for at, character in enumerate(text) if at not in inside)


_TRIGGERS = (
    re.compile(rb"%[0-9a-fA-F]{2}"),
    re.compile(rb"&[#A-Za-z]"),
    re.compile(rb"\\[ux]\{?[0-9a-fA-F]{2}"),
)
"""Beginnings of what `_decodings` undoes; further ones are runs of letters."""

_LETTERS_64 = bytes(
    b"01"[re.match(rb"[A-Za-z0-9+/_-]", bytes([c])) is not None] for c in range(256)
)
_LETTERS_85 = bytes(b"01"[33 <= code <= 126] for code in range(256))  # noqa: PLR2004
_SPACES = bytes(b"10"[chr(code).isspace()] for code in range(256))
_UTF8_SPACES = bytes(b"10"[chr(code).isspace() and code < 128] for code in range(256))  # noqa: PLR2004


def _long_tokens(text: str | bytes, *, least: int) -> Iterator[tuple[int, int]]:
    """Spans of the tokens of a text that `_decodings` could undo.

    Args:
        text: A text, or its bytes in latin-1.
        least: Characters of the shortest token.
    """
    is_bytes = isinstance(text, bytes)
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    marks = raw.translate(_SPACES if is_bytes else _UTF8_SPACES)
    if b"1" * least not in marks:
        return
    found = _trigger_places(raw)
    if isinstance(text, str) and not text.isascii():  # places in bytes are none in the text
        if next(found, None) is not None:
            yield from (one.span() for one in re.finditer(rf"(?<!\S)\S{{{least},}}", text))
        return
    end = 0
    for place in sorted(found):
        if place < end:
            continue
        start = marks.rfind(b"0", 0, place) + 1
        end = marks.find(b"0", place)
        end = len(raw) if end < 0 else end
        if end - start >= least:
            yield start, end


def _trigger_places(raw: bytes) -> Iterator[int]:
    for trigger in _TRIGGERS:
        yield from (found.start() for found in trigger.finditer(raw))
    for letters, count in ((_LETTERS_64, 12), (_LETTERS_85, 20)):
        marks, run = raw.translate(letters), b"1" * count
        place = marks.find(run)
        while place >= 0:
            yield place
            end = marks.find(b"0", place)
            place = -1 if end < 0 else marks.find(run, end)


def _decodings(text: str) -> Iterator[str | bytes]:
    """Decodings of a text without spaces, one encoding removed."""
    if any(mark in text for mark in "%\\&="):
        plain = html.unescape(unquote(text))
        plain = re.sub(
            r"\\{1,8}[ux]\{?([0-9a-fA-F]{2,6})\}?", lambda m: _character(int(m[1], 16)), plain
        )
        if plain != text:
            yield plain
    for run in _RUN.findall(text):
        yield from _plain_or_packed(_octets(run.rstrip("=")))
    for run in _RUN_85.findall(text):
        yield from _plain_or_packed(_octets_of_85(run))


def _latin(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("latin-1")


def _plain_or_packed(found: Iterator[bytes]) -> Iterator[bytes]:
    for data in found:
        for unpacked in (data, _unpacked(data)):
            if unpacked:
                yield unpacked


def _character(code: int) -> str:
    return chr(code) if code < 0x110000 else ""  # noqa: PLR2004  (where Unicode ends)


def _octets(body: str) -> Iterator[bytes]:
    if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", body):
        yield bytes.fromhex(body)
    if re.fullmatch(r"[A-Za-z2-7]+", body):
        with suppress(binascii.Error):
            yield base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    if re.fullmatch(r"[A-Va-v0-9]+", body):
        with suppress(binascii.Error):
            yield base64.b32hexdecode(body.upper() + "=" * (-len(body) % 8))
    standard = body.translate(str.maketrans("-_", "+/"))
    for start in range(4):
        part = standard[start:]
        part = part[: len(part) - (len(part) % 4 == 1)]
        yield base64.b64decode(part + "=" * (-len(part) % 4))


def _octets_of_85(run: str) -> Iterator[bytes]:
    """Decodings of a text in each form of base 85, if it looks like one."""
    body = run.strip("\"'").removeprefix("<~").removesuffix("~>")
    kinds = (str.isupper, str.islower, str.isdigit)
    if not all(any(map(kind, body)) for kind in kinds) or body.isalnum():
        return
    letters = set(body)
    for form, to_first, _ in _BASE85:
        if letters <= form:
            with suppress(ValueError):  # a group of five that encodes more than four bytes
                yield _decode_85(body.translate(to_first))


def _decode_85(text: str) -> bytes:
    """Bytes of a text in base 85.

    Raises:
        ValueError: Five characters encode more than four bytes.
    """
    padding = -len(text) % 5
    digits = _DIGIT_85[np.frombuffer((text + "~" * padding).encode(), np.uint8)].reshape(-1, 5)
    numbers = digits @ np.array([85**4, 85**3, 85**2, 85, 1])
    if len(numbers) and numbers.max() >> 32:
        raise ValueError("a group of five characters is too large")
    data = numbers.astype(">u4").tobytes()
    found: bytes = data[: len(data) - padding]
    return found


def _base85_cores(key: str) -> Iterator[str]:
    """Part of each base 85 text that does not depend on the text around the key.

    Each group of four bytes is written on its own, as five characters.
    """
    data = key.encode()
    for offset in range(4):
        padded = b"\0" * offset + data
        whole = padded[4 if offset else 0 : len(padded) // 4 * 4]
        if whole:
            text = base64.b85encode(whole).decode()
            yield from (text.translate(from_first) for _, _, from_first in _BASE85)


def _unpacked(data: bytes) -> bytes:
    """First megabyte decompressed with gzip, zlib or deflate; empty where none applies."""
    for window in (47, -15):
        try:
            return zlib.decompressobj(window).decompress(data, 1 << 20)
        except zlib.error:
            continue
    return b""


def _character_of(text: str) -> str:
    """Character of a code below 256; NUL for invalid input, so that nothing matches."""
    code = int(text) if len(text) <= 3 and text.isascii() and text.isdecimal() else 0  # noqa: PLR2004
    return chr(code).translate(_LOWER) if 0 < code < 256 else "\0"  # noqa: PLR2004


def _needles(key: str) -> Iterator[tuple[str, bool]]:
    """Texts whose halves are searched for, each with whether case is ignored."""
    if len(key) < LEAST_ENCODED:
        return
    yield key.translate(_LOWER), True
    yield key.encode().hex(), True
    for core in base64_cores(key):
        yield core, False


def _pieces_of(needle: str, texts: list[bytes]) -> list[str]:
    """Pieces of the key in several texts that together make the whole, longest first; or none."""
    length = len(needle)
    halves = (needle[: length // 2].encode(), needle[length - length // 2 :].encode())
    if not any(half in text for half in halves for text in texts):
        return []  # what follows needs at least one half
    begin = _longest(lambda size: needle[:size], texts, most=length - 1)
    end = _longest(lambda size: needle[length - size :], texts, most=length - 1)
    if begin + end >= length:
        # Overlaps are allowed: a server that cuts in the middle may repeat a character.
        pieces = [needle[:begin], needle[length - end :]]
        return sorted((p for p in pieces if len(p) >= LEAST_PIECE), key=len, reverse=True)
    least = max(12, length // 2)
    return [p for p in (needle[:begin], needle[length - end :]) if len(p) >= least]


def _longest(piece: Callable[[int], str], texts: list[bytes], *, most: int) -> int:
    """Length of the longest piece that occurs in one of the texts."""
    low, high = 0, most
    while low < high:  # a longer piece holds every shorter one
        middle = (low + high + 1) // 2
        wanted = piece(middle).encode()
        if any(wanted in text for text in texts):
            low = middle
        else:
            high = middle - 1
    return low


def _mapped(
    value: object,
    change: Callable[[str, str | None], str],
    field: str | None = "",
    *,
    depth: int = 0,
) -> object:
    """JSON value with a function applied to every text in it, including names and integers.

    What is nested deeper than `MOST_DEPTH` is left out: no server's answer is, and a recursion
    would end in an error.

    Args:
        value: The value.
        change: From a text, and the name of the field it is in, or None where it is a name itself.
        field: The name of the field that `value` is in.
        depth: How many lists and objects are around it.
    """
    if isinstance(value, str):
        return change(value, field)
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        text = str(value)
        changed = change(text, field)
        return value if changed == text else changed
    if isinstance(value, list) and depth < MOST_DEPTH:
        return [_mapped(inner, change, field, depth=depth + 1) for inner in value]
    if isinstance(value, dict) and depth < MOST_DEPTH:
        return {
            change(str(name), None): _mapped(inner, change, str(name), depth=depth + 1)
            for name, inner in value.items()
        }
    return None if isinstance(value, list | dict) else value
