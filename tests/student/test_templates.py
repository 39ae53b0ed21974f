"""What a template renders for training decides, not what it promises."""

import jinja2
import pytest

from tutelage.data import Message
from tutelage.errors import SettingsError
from tutelage.student.chat_template import open_chat_template, template_problems
from tutelage.student.template import (
    ALPACA_TEXT,
    RewrittenError,
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

    def render(messages, generate, tools, arguments):
        return template.render(
            {
                **arguments,
                "messages": messages,
                "add_generation_prompt": generate,
                "tools": tools,
            }
        )

    return open_chat_template(render, name="chat", source=source, bos=bos)


def rendered_by(template, turns, response):
    return template.render([*turns, Message(role="assistant", content=response)], len(turns))


def test_a_plain_template_has_its_generation_prompt_as_header():
    template = chat(LOOP.replace("CONTENT", "m.content") + GENERATE)
    rendered = rendered_by(template, [USER], " because ")
    assert rendered.context == "<user>Why?</s><assistant>"
    assert (rendered.target, rendered.end, rendered.stripped) == (" because ", "</s>", False)
    assert rendered.header == "<assistant>"
    (problem,) = template_problems(template)
    assert problem.startswith("rewrites thinking (a field")


def test_a_template_that_trims_has_the_trimmed_response_scored():
    template = chat(LOOP.replace("CONTENT", "m.content | trim") + GENERATE)
    rendered = rendered_by(template, [USER], "  because\n")
    assert (rendered.target, rendered.stripped) == ("because", True)
    assert any("trims" in problem for problem in template_problems(template))


def test_what_a_template_puts_before_the_response_is_context():
    source = (
        "{% for m in messages %}<{{ m.role }}>"
        "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}</s>{% endfor %}"
    ) + GENERATE
    template = chat(source)
    rendered = rendered_by(template, [USER], "because")
    assert rendered.context == "<user>Why?</s><assistant><think></think>"
    assert rendered.target == "because"
    assert rendered.header == "<assistant><think></think>"
    assert any("in front of the response" in p for p in template_problems(template))


def test_a_template_that_rewrites_the_response_is_reported():
    content = "m.content.split('</think>')[-1]"
    template = chat(LOOP.replace("CONTENT", content) + GENERATE)
    with pytest.raises(RewrittenError, match="does not render"):
        rendered_by(template, [USER], "<think>x</think>y")
    assert any("rewrites" in problem for problem in template_problems(template))


def test_a_refused_system_prompt_is_an_error_with_the_templates_words():
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + LOOP.replace("CONTENT", "m.content")
        + GENERATE
    )
    template = chat(source)
    with pytest.raises(TemplateRefusedError, match="no system"):
        rendered_by(template, [Message(role="system", content="s"), USER], "because")
    assert any("refuses a system prompt" in p for p in template_problems(template))


def test_a_header_starts_with_bos_where_contexts_do():
    source = "<s>" + LOOP.replace("CONTENT", "m.content") + GENERATE
    assert rendered_by(chat(source, bos="<s>"), [USER], "x").header == "<s><assistant>"
    assert rendered_by(chat(source, bos="<bos>"), [USER], "x").header == "<assistant>"


def test_without_a_generation_prompt_the_text_in_between_is_the_header():
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}[I]{{ m.content }}[/I]"
        "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
    )
    rendered = rendered_by(chat(source), [USER], "because")
    assert rendered.header == "[/I]"
    assert rendered.context == "[I]Why?[/I]"


def test_alpaca_renders_as_its_authors_do():
    template = parse_raw_template(ALPACA_TEXT, name="alpaca")
    rendered = rendered_by(template, [USER], "because")
    assert rendered.context.endswith("### Instruction:\nWhy?\n\n### Response:")
    assert template.header == "### Response:"
    assert template.adds_bos


def test_braces_in_an_instruction_are_only_text():
    template = parse_raw_template("Q: {instruction}\nA: {response}", name="qa")
    turn = Message(role="user", content="{response} {instruction}")
    assert rendered_by(template, [turn], "x").context == "Q: {response} {instruction}\nA: "


@pytest.mark.parametrize("text", ["Q: A:", "{instruction}{instruction} A:", "{instruction}"])
def test_a_raw_template_without_its_places_is_refused(text):
    with pytest.raises(SettingsError):
        parse_raw_template(text, name="bad")


def test_the_reverse_prompt_is_worded_as_designed():
    expected = "Someone gave the answer below to a request.\n\nY\n\nWrite the request it answers."
    assert reverse_prompt("Y") == expected
