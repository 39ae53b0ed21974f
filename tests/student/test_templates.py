"""What a template renders for training decides, not what it promises."""

import jinja2
import pytest

from tutelage.data import Message
from tutelage.errors import SettingsError
from tutelage.student.chat_template import open_chat_template, template_problems
from tutelage.student.template import (
    ALPACA_TEXT,
    TemplateRefusedError,
    parse_raw_template,
    reverse_prompt,
)

USER = Message(role="user", content="Why?")
LOOP = "{% for m in messages %}<{{ m.role }}>{{ CONTENT }}</s>{% endfor %}"
GENERATE = "{% if add_generation_prompt %}<assistant>{% endif %}"


def chat(source, bos=None):
    environment = jinja2.Environment(autoescape=False)  # noqa: S701  (chat text, not HTML)

    def refuse(message):
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    template = environment.from_string(source)

    def render(messages, generate):
        return template.render(messages=messages, add_generation_prompt=generate)

    return open_chat_template(render, name="chat", source=source, bos=bos)


def test_a_plain_template_has_its_generation_prompt_as_header():
    template = chat(LOOP.replace("CONTENT", "m.content") + GENERATE)
    rendered = template.render([USER], " because ")
    assert rendered.context == "<user>Why?</s><assistant>"
    assert (rendered.target, rendered.end, rendered.verbatim) == (" because ", "</s>", True)
    assert template.header == "<assistant>"
    assert template_problems(template) == []


def test_a_template_that_trims_has_the_trimmed_response_scored():
    template = chat(LOOP.replace("CONTENT", "m.content | trim") + GENERATE)
    rendered = template.render([USER], "  because\n")
    assert (rendered.target, rendered.offset) == ("because", 2)
    assert any("trims" in problem for problem in template_problems(template))


def test_what_a_template_puts_before_the_response_is_context():
    source = (
        "{% for m in messages %}<{{ m.role }}>"
        "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}</s>{% endfor %}"
    ) + GENERATE
    template = chat(source)
    rendered = template.render([USER], "because")
    assert rendered.context == "<user>Why?</s><assistant><think></think>"
    assert rendered.target == "because"
    assert template.header == "<assistant><think></think>"
    assert any("in front of the response" in p for p in template_problems(template))


def test_a_template_that_rewrites_the_response_is_reported():
    content = "m.content.split('</think>')[-1]"
    template = chat(LOOP.replace("CONTENT", content) + GENERATE)
    assert not template.render([USER], "<think>x</think>y").verbatim
    assert any("rewrites" in problem for problem in template_problems(template))


def test_a_refused_system_prompt_is_an_error_with_the_templates_words():
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + LOOP.replace("CONTENT", "m.content")
        + GENERATE
    )
    template = chat(source)
    with pytest.raises(TemplateRefusedError, match="no system"):
        template.render([Message(role="system", content="s"), USER], "because")
    assert any("refuses a system prompt" in p for p in template_problems(template))


def test_a_header_starts_with_bos_where_contexts_do():
    source = "<s>" + LOOP.replace("CONTENT", "m.content") + GENERATE
    assert chat(source, bos="<s>").header == "<s><assistant>"
    assert chat(source, bos="<bos>").header == "<assistant>"


def test_without_a_generation_prompt_the_text_in_between_is_the_header():
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}[I]{{ m.content }}[/I]"
        "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    template = chat(source)
    assert template.header == "[/I]"
    assert template.render([USER], "because").context == "[I]Why?[/I]"


def test_alpaca_renders_as_its_authors_do():
    template = parse_raw_template(ALPACA_TEXT, name="alpaca")
    rendered = template.render([USER], "because")
    assert rendered.context.endswith("### Instruction:\nWhy?\n\n### Response:")
    assert template.header == "### Response:"
    assert template.adds_bos


def test_braces_in_an_instruction_are_only_text():
    template = parse_raw_template("Q: {instruction}\nA: {response}", name="qa")
    turn = Message(role="user", content="{response} {instruction}")
    assert template.render([turn], "x").context == "Q: {response} {instruction}\nA: "


@pytest.mark.parametrize("text", ["Q: A:", "{instruction}{instruction} A:", "{instruction}"])
def test_a_raw_template_without_its_places_is_refused(text):
    with pytest.raises(SettingsError):
        parse_raw_template(text, name="bad")


def test_the_reverse_prompt_is_worded_as_designed():
    expected = "Someone gave the answer below to a request.\n\nY\n\nWrite the request it answers."
    assert reverse_prompt("Y") == expected
