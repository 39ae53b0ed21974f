"""Removal of a secret from decoded text: plain, encoded, or split over several fields.

A server may repeat the key it was sent: in an error message, inside a JSON document that it quotes,
as a base64 header, or in two halves. Values are scrubbed after decoding, because the raw bytes of
the same text look different under every escape.
"""

import base64
import re
from collections.abc import Callable, Iterator

KEY = "[key]"
"""What stands where the key stood."""

LEAST_ENCODED = 8
"""Characters of a key that is looked for in encodings and halves; shorter ones occur by chance."""

LEAST_PIECE = 4
"""Characters of the smaller piece of a key that was split over two fields."""

PLACEHOLDERS = frozenset(
    (
        *("none", "null", "empty", "dummy", "fake", "test", "ollama", "lm-studio", "no-key"),
        *("no-key-required", "not-needed", "not-required", "sk-no-key-required", "token", "key"),
        *("na", "n/a", "x", "xxx", "local", "llama.cpp", "vllm", "placeholder", "api-key"),
    )
)
"""Values that local servers take in place of a key: no secrets, but words that replies use."""

_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
"""Lower case for ASCII alone, so that positions stay what they were."""


class Redactor:
    r"""Replaces one key by `[key]` in texts and in JSON values.

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
        self._whole = None if not self._key else re.compile("|".join(_patterns(self._key)))
        self._needles = () if not self._key else tuple(_needles(self._key))

    def __repr__(self) -> str:
        return "Redactor()"

    def text(self, text: str) -> str:
        """The text without the key."""
        if self._whole is None:
            return text
        return self._pieces([self._whole.sub(KEY, text)])[0]

    def value(self, value: object) -> object:
        """A JSON value without the key, neither in one field nor split over several."""
        if self._whole is None:
            return value
        whole = self._whole
        texts: list[str] = []

        def collect(text: str) -> str:
            texts.append(whole.sub(KEY, text))
            return text

        _mapped(value, collect)
        scrubbed = iter(self._pieces(texts))
        return _mapped(value, lambda _: next(scrubbed))

    def _pieces(self, texts: list[str]) -> list[str]:
        for needle, folded in self._needles:
            flat = [text.translate(_LOWER) if folded else text for text in texts]
            pieces = _pieces_of(needle, flat)
            if pieces:
                pattern = "|".join(re.escape(piece) for piece in pieces)
                found = re.compile(pattern, re.IGNORECASE | re.ASCII if folded else 0)
                texts = [found.sub(KEY, text) for text in texts]
        return texts


def _patterns(key: str) -> Iterator[str]:
    """Regular expressions of the whole key, the longer encodings first."""
    if len(key) >= LEAST_ENCODED:
        variants = dict.fromkeys((key, key.lower(), key.upper()))
        for core in dict.fromkeys(core for variant in variants for core in _base64_cores(variant)):
            # The characters beside the core hold bits of the key too.
            inside = r"\s*".join(map(_of_base64, core))
            yield rf"[A-Za-z0-9+/_-]?{inside}[A-Za-z0-9+/_-]?=*"
        yield r"[\s:,]*".join(_of_hex(character) for character in key)
        yield "".join(_escaped(character) for character in key)
    else:
        yield re.escape(key)


def _base64_cores(key: str) -> Iterator[str]:
    """The part of each base64 text that does not depend on what stands around the key."""
    data = key.encode()
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        yield text[first:last]


def _of_base64(character: str) -> str:
    return {"+": "[+-]", "-": "[+-]", "/": r"(?:\\*/|_)", "_": r"(?:\\*/|_)"}.get(
        character, character
    )


def _of_hex(character: str) -> str:
    forms = {f"{ord(form):02x}" for form in (character.lower(), character.upper())}
    return rf"(?:\\*[x]|0x)?(?i:{'|'.join(sorted(forms))})"


def _escaped(character: str) -> str:
    """One character in either case, as itself or under the escapes of JSON, URLs and HTML."""
    forms = dict.fromkeys((character, character.lower(), character.upper()))
    codes = "|".join(f"{ord(form):02x}" for form in forms)
    decimals = "|".join(str(ord(form)) for form in forms)
    plain = "|".join(re.escape(form) for form in forms)
    return (
        rf"(?:\\*(?:{plain})|%(?:25)*(?i:{codes})|\\+u(?:\{{)?0*(?i:{codes})(?:\}})?"
        rf"|\\+x(?i:{codes})|&(?:amp;)*#0*(?:{decimals});?|&(?:amp;)*#[xX]0*(?i:{codes});?)"
    )


def _needles(key: str) -> Iterator[tuple[str, bool]]:
    """Texts whose halves are looked for, with whether case is ignored."""
    if len(key) < LEAST_ENCODED:
        return
    yield key.translate(_LOWER), True
    yield key.encode().hex(), True
    for core in _base64_cores(key):
        yield core, False


def _pieces_of(needle: str, texts: list[str]) -> list[str]:
    """Pieces of a needle in several texts that together make the whole, longest first; or none."""
    length = len(needle)
    begin = _longest(lambda size: needle[:size], texts, most=length - 1)
    end = _longest(lambda size: needle[length - size :], texts, most=length - 1)
    if begin + end >= length:
        # Overlaps are allowed: a server that cuts in the middle may repeat a character.
        pieces = [needle[:begin], needle[length - end :]]
        return sorted((p for p in pieces if len(p) >= LEAST_PIECE), key=len, reverse=True)
    least = max(12, length // 2)
    return [p for p in (needle[:begin], needle[length - end :]) if len(p) >= least]


def _longest(piece: Callable[[int], str], texts: list[str], *, most: int) -> int:
    """The length of the longest piece that stands in one of the texts."""
    low, high = 0, most
    while low < high:  # a longer piece holds every shorter one
        middle = (low + high + 1) // 2
        wanted = piece(middle)
        if any(wanted in text for text in texts):
            low = middle
        else:
            high = middle - 1
    return low


def _mapped(value: object, change: Callable[[str], str]) -> object:
    """A JSON value with every text in it changed, names and whole numbers included, in order."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        text = str(value)
        changed = change(text)
        return value if changed == text else changed
    if isinstance(value, list):
        return [_mapped(inner, change) for inner in value]
    if isinstance(value, dict):
        return {change(str(name)): _mapped(inner, change) for name, inner in value.items()}
    return value
