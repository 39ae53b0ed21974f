"""A key that a server repeats does not get past the client, whatever it is wrapped in."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.teacher import openai_format
from tutelage.teacher.redaction import KEY, Redactor

SECRET = "sk-Not/a+Real_Key-" + "0123456789"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


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


def test_a_number_that_is_the_key_is_scrubbed() -> None:
    assert Redactor("12345678901234567890").value([12345678901234567890, 7]) == [KEY, 7]


@pytest.mark.parametrize("key", [None, "EMPTY", "ollama", "none", "lm-studio"])
def test_what_is_no_secret_changes_nothing(key: str | None) -> None:
    value = {"text": "EMPTY is none of ollama's lm-studio words", "n": 7, "x": [None, True, 1.5]}
    assert Redactor(key).value(value) == value


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
