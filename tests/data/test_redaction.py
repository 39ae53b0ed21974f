"""A key that a server repeats does not get past the client, whatever it is wrapped in."""

import base64
import codecs
import gzip
import html
import json
import re
import time
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.key_forms import _SMALL, KeyForms
from tutelage.data.redaction import KEY, Redactor
from tutelage.teacher import openai_format

SECRET = "sk-Not/a+Real_Key-" + "0123456789"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def base58(text: str) -> str:
    number, found = int.from_bytes(text.encode(), "big"), ""
    while number:
        number, digit = divmod(number, 58)
        letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
        found = letters[digit] + found
    return found


WRAPPINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "lower": str.lower,
    "percent": lambda key: quote(key, safe=""),
    "percent of all": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "percent twice": lambda key: quote(quote(key, safe=""), safe=""),
    "json escapes": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "json in json": lambda key: json.dumps(json.dumps({"k": key})).replace("/", "\\/"),
    "html": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "html hex": lambda key: key.replace("-", "&#x2d;"),
    "hex": lambda key: key.encode().hex(),
    "hex upper": lambda key: key.encode().hex().upper(),
    "hex with colons": lambda key: key.encode().hex(":"),
    "base64": b64,
    "base64 at 1": lambda key: b64("a" + key + "z"),
    "base64 at 2": lambda key: b64("ab" + key + "yz"),
    "base64 after a user": lambda key: b64("user:" + key),
    "base64 for urls": lambda key: base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
    "base64 of base64": lambda key: b64(b64(key)),
    "base64 of escaped json": lambda key: b64("".join(f"\\u{ord(c):04x}" for c in key)),
    "base64 of hex": lambda key: b64(key.encode().hex()),
    "base64 of gzip": lambda key: base64.b64encode(gzip.compress(key.encode())).decode(),
    "base64 of UTF-16": lambda key: base64.b64encode(key.encode("utf-16-le")).decode(),
    "base64 under escapes": lambda key: "".join(f"\\u{ord(c):04x}" for c in b64(key)),
    "hex of base64": lambda key: b64(key).encode().hex(),
    "hex of UTF-16": lambda key: key.encode("utf-16-le").hex(),
    "base32": lambda key: base64.b32encode(key.encode()).decode(),
    "quoted-printable": lambda key: "".join(f"={ord(c):02X}" for c in key),
    "octal": lambda key: "".join(f"\\{ord(c):03o}" for c in key),
    "decimals": lambda key: str(list(key.encode())),
    "code points": lambda key: " ".join(f"U+{ord(c):04X}" for c in key),
    "named entities": lambda key: html.escape(key).replace("/", "&sol;").replace("+", "&plus;"),
    "spaces between": " ".join,
    "zero width between": "\u200b".join,
    "full width": lambda key: "".join(chr(ord(c) + 0xFEE0) for c in key),
    "reversed": lambda key: key[::-1],
    "dashes between": "-".join,
    "stars between": "**".join,
    "bits": lambda key: " ".join(f"{c:08b}" for c in key.encode()),
    "bits together": lambda key: "".join(f"{c:08b}" for c in key.encode()),
    "rot13": lambda key: codecs.encode(key, "rot13"),
    "rot47": lambda key: "".join(chr(33 + (ord(c) - 33 + 47) % 94) for c in key),
    "base64 of rot13": lambda key: b64(codecs.encode(key, "rot13")),
    "base32 in lower case": lambda key: base64.b32encode(key.encode()).decode().lower(),
    "base32 in hexadecimal order": lambda key: base64.b32hexencode(key.encode()).decode(),
    "base58": base58,
    "base85": lambda key: base64.b85encode(key.encode()).decode(),
    "base85 at 2": lambda key: base64.b85encode(f"ab{key}yz".encode()).decode(),
    "base85 of gzip": lambda key: base64.b85encode(gzip.compress(key.encode())).decode(),
    "base85 of base64": lambda key: base64.b85encode(b64(key).encode()).decode(),
    "ascii85": lambda key: base64.a85encode(key.encode()).decode(),
    "ascii85 in brackets": lambda key: base64.a85encode(key.encode(), adobe=True).decode(),
    "base64 of zlib": lambda key: base64.b64encode(zlib.compress(key.encode())).decode(),
    "base64 of base85": lambda key: b64(base64.b85encode(key.encode()).decode()),
    "dots between": ".".join,
    "a list of characters": lambda key: json.dumps(list(key)),
    "bullets": lambda key: "\n".join(f"- {c}" for c in key),
    "tags": lambda key: "".join(f"<b>{c}</b>" for c in key),
    "marks above": "\u0301".join,
    "bold letters": lambda key: "".join(
        chr(0x1D400 + ord(c) - 65 + (-6 if c.islower() else 0)) if c.isalpha() else c for c in key
    ),
    "tag characters": lambda key: "".join(chr(0xE0000 + ord(c)) for c in key),
    "long escapes": lambda key: "".join(f"\\U{ord(c):08x}" for c in key),
    "binary": lambda key: " ".join(f"{ord(c):08b}" for c in key),
    "calls": lambda key: " + ".join(f"chr({ord(c)})" for c in key),
    "base64 in lines": lambda key: "\n".join(b64(key)[i : i + 8] for i in range(0, 40, 8)),
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_key_is_replaced_in_every_wrapping(name: str) -> None:
    wrapped = WRAPPINGS[name](SECRET)
    shown = Redactor(SECRET).text(f"before {wrapped} after")
    assert KEY in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    pieces = [wrapped[i : i + 10] for i in range(2, len(wrapped) - 12)]
    assert not [piece for piece in pieces if piece.strip() and piece in shown]


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_key_is_in_no_value_and_no_name_of_a_body(name: str) -> None:
    wrapped = WRAPPINGS[name](SECRET)
    body = {"choices": [{"message": {"content": f"you sent {wrapped}!", wrapped: [wrapped]}}]}
    parsed = openai_format.parse_body(
        json.dumps(body).encode(), place="here", redactor=Redactor(SECRET)
    )
    assert isinstance(parsed, dict)
    text = json.dumps(parsed, ensure_ascii=False)
    assert text.count(KEY) == 3
    assert json.dumps(wrapped[4:-4])[1:-1] not in text


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_two_fields_that_make_the_key_are_scrubbed(cut: int) -> None:
    value: Any = {"a": f"see {SECRET[:cut]}", "b": ["other", f"{SECRET[cut:]} end"]}
    shown = json.dumps(Redactor(SECRET).value(value))
    longest = max(
        (n for n in range(len(SECRET) + 1) if SECRET[:n] in shown or SECRET[-n:] in shown)
        if shown
        else [0]
    )
    assert longest < 4
    assert "other" in shown


def test_what_is_nested_without_end_is_left_out_and_the_key_with_it() -> None:
    deep: Any = SECRET
    for _ in range(900):
        deep = [deep, {"x": SECRET}]
    found = json.dumps(Redactor(SECRET).value({"text": "four", "deep": deep}))
    assert SECRET not in found
    assert found.startswith('{"text": "four"')


def test_a_number_that_is_the_key_is_scrubbed() -> None:
    assert Redactor("12345678901234567890").value([12345678901234567890, 7]) == [KEY, 7]


@pytest.mark.parametrize("key", [None, "EMPTY", "ollama", "none", "lm-studio"])
def test_what_is_no_secret_changes_nothing(key: str | None) -> None:
    value = {"text": "EMPTY is none of ollama's lm-studio words", "n": 7, "x": [None, True, 1.5]}
    assert Redactor(key).value(value) == value


@settings(deadline=None)  # the first use of a key compiles its patterns
@given(st.text(), st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8))
def test_ordinary_text_stays_as_it_is_and_a_key_never_stays(text: str, key: str) -> None:
    redactor = Redactor(key)
    assert key not in redactor.text(f"{text}{key}{text}").replace(KEY, "")
    if not set(key.lower()) & set(text.lower()) and not any(c in text for c in "%\\&") and text:
        assert redactor.text(text) == text


def test_a_streamed_answer_is_scrubbed_after_its_pieces_are_joined() -> None:
    events = [
        {"choices": [{"delta": {"content": piece}, "finish_reason": None}]}
        for piece in (SECRET[:9], SECRET[9:])
    ]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    data = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    parsed: Any = openai_format.parse_body(data, place="here", redactor=Redactor(SECRET))
    assert parsed["choices"][0]["message"]["content"] == KEY


@pytest.mark.parametrize("key", ["a\"b\\c'd<e>&f g", "p@ss:w$rd^(1)[2]{3}|*?", "ключ-секрет-123"])
@pytest.mark.parametrize(
    "wrap", [str, repr, json.dumps, html.escape, b64, lambda key: quote(key, safe="")]
)
def test_a_key_of_special_characters_is_found(key: str, wrap: Callable[[str], str]) -> None:
    assert KEY in Redactor(key).text(f"you sent {wrap(key)} to us")


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_key_that_is_spelt_token_by_token_is_scrubbed(size: int) -> None:
    pieces = [SECRET[i : i + size] for i in range(0, len(SECRET), size)]
    shapes = [
        ["a ", *pieces, " b"],
        {"logprobs": [{"token": p, "logprob": -0.5, "bytes": list(p.encode())} for p in pieces]},
        {"content": [{"type": "text", "text": piece} for piece in pieces]},
    ]
    for shape in shapes:
        shown: Any = Redactor(SECRET).value(shape)
        assert KEY in json.dumps(shown)
        texts = json.dumps(shown)
        assert not [p for p in pieces if len(p) > 1 and f'"{p}"' in texts]
        assert str(list(SECRET[:3].encode()))[1:-1] not in texts
    assert Redactor(SECRET).value(["a", "b", 7]) == ["a", "b", 7]


def test_a_long_reply_without_the_key_is_read_quickly_and_stays_as_it_is() -> None:
    text = "A sentence of the reply, with a path /a/b and 12 %. " * 2000
    blob = base64.b64encode(bytes(range(256)) * 200).decode()
    started = time.process_time()
    assert Redactor(SECRET).value({"text": text, "image": blob}) == {"text": text, "image": blob}
    assert time.process_time() - started < 20  # ruled out: time that grows with the square


FORMS = KeyForms(SECRET)
PATTERN = re.compile("|".join(form.pattern for form in FORMS._forms))
LONG = "word 12, é\u200b" * _SMALL


@pytest.mark.parametrize("name", WRAPPINGS)
def test_a_long_text_is_replaced_as_by_all_patterns(name: str) -> None:
    text = f"{LONG} {WRAPPINGS[name](SECRET)} {LONG}"
    assert FORMS.replaced(text, "[key]") == PATTERN.sub("[key]", text)
    swapped = f"{LONG} {WRAPPINGS[name](SECRET.swapcase())} {LONG}"
    assert FORMS.replaced(swapped, "[key]") == PATTERN.sub("[key]", swapped)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(WRAPPINGS)),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(" \\0:\t%\u2003x=")), max_size=3),
)
def test_a_form_with_something_in_between_is_found_where_its_pattern_matches(
    name: str, put: list[tuple[int, str]]
) -> None:
    wrapped = WRAPPINGS[name](SECRET)
    for place, what in put:
        at = place % len(wrapped)
        wrapped = wrapped[:at] + what + wrapped[at:]
    text = LONG + wrapped
    assert FORMS.in_text(text) == (PATTERN.search(text) is not None)


def test_a_reply_of_two_megabytes_takes_a_fraction_of_a_second() -> None:
    redactor = Redactor(SECRET)
    text = "A sentence of the reply, with a path /a/b and 12 words. " * 36_000
    started = time.process_time()
    assert redactor.value({"content": text}) == {"content": text}
    assert time.process_time() - started < 1.5  # it was 2 s and more with every pattern
