import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.refinement.reply_parser import eaten_escape, read_object, schema_of

KEYS = ("criticism", "instruction", "response")
PAIR = {"criticism": "vague", "instruction": "Say {x}.", "response": 'He said "{}".'}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(PAIR),
        json.dumps(PAIR, indent=2),
        "```json\n" + json.dumps(PAIR) + "\n```",
        "Here you are:\n" + json.dumps(PAIR) + "\nI hope this helps {really}.",
        "{not json} " + json.dumps(PAIR),
        json.dumps(PAIR) + "\n" + json.dumps(PAIR),
        json.dumps({"other": 1}) + json.dumps(PAIR),
    ],
)
def test_the_one_object_is_found(text):
    assert read_object(text, keys=KEYS) == (PAIR, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no object",
        "{",
        '{"criticism": "a", "instruction": "b", "response": "c"',
        r'{"criticism": "a", "instruction": "\alpha", "response": "c"}',
        r'{"criticism": "a", "instruction": "\u12", "response": "c"}',
        "{'instruction': 'single quotes', 'response': 'x'}",
        '{"instruction": "a", "response": "b", "response": "c"}',
        json.dumps(PAIR) + json.dumps({**PAIR, "response": "another"}),
        json.dumps([1, 2]),
        json.dumps({"other": 1}),
        "[" * 100_000,
        '{"instruction":' * 5_000,
        "{" * 100_000,
    ],
)
def test_no_object_or_two_are_a_problem(text):
    found, problem = read_object(text, keys=KEYS)
    assert found is None
    assert problem


def test_a_raw_newline_in_a_string_is_read_as_one():
    found, _ = read_object('{"instruction": "a\nb", "response": "c"}', keys=KEYS)
    assert found == {"instruction": "a\nb", "response": "c"}


@pytest.mark.parametrize(
    "latex", [r"\frac{1}{2}", r"2 \times 3", r"\beta", r"\text{km}", r"\theta", r"\rho", r"\to 0"]
)
def test_a_latex_command_with_one_backslash_is_noticed(latex):
    try:
        decoded = json.loads(f'"{latex}"')
    except json.JSONDecodeError:
        pytest.fail(f"{latex} was chosen because it decodes")
    assert eaten_escape(f"so {decoded} holds") is not None
    assert eaten_escape(f"so {latex} holds") is None


@pytest.mark.parametrize(
    "text", ["a\tb", "if x:\n\treturn x", "a\r\nb", "\ttry:\n\t\ttotal = 1", "name\tother"]
)
def test_tabs_and_line_ends_of_code_are_no_lost_backslash(text):
    assert eaten_escape(text) is None


def test_the_schema_asks_for_all_keys_in_order_and_no_other():
    schema = schema_of(KEYS)
    assert list(schema["properties"]) == list(KEYS)
    assert schema["required"] == list(KEYS)
    assert schema["additionalProperties"] is False


@given(st.dictionaries(st.sampled_from(KEYS), st.text(), min_size=1))
def test_any_object_of_strings_is_read_back(pair):
    assert read_object(f"Well: {json.dumps(pair)}!", keys=KEYS) == (pair, None)


@given(st.text(alphabet='{}[]":,\\ncriticsmuoep '))
def test_no_text_raises(text):
    found, problem = read_object(text, keys=KEYS)
    assert (found is None) != (problem is None)
