"""A response is found where the row has it, whatever the template puts around it."""

import re
from datetime import date

import pytest

from tutelage.data import Message
from tutelage.errors import SettingsError
from tutelage.student.chat_template import compile_template, open_chat_template, template_problems
from tutelage.student.template import RewrittenError, TemplateRefusedError

ASK = Message(role="user", content="Which sea is salty?")
GENERATE = "{% if add_generation_prompt %}"


def opened(source, *, bos=None, today=date(2026, 1, 1), control_tokens=None, **variables):
    values = {"bos_token": "<s>", "eos_token": "</s>", **variables}
    render = compile_template(source, today=today, variables=values)
    return open_chat_template(
        render, name="test", source=source, bos=bos, control_tokens=control_tokens
    )


def said(content, **more):
    return Message(role="assistant", content=content, **more)


def marked(around):
    return (
        "{% for m in messages %}{% if m.role == 'assistant' %}<|bot|>"
        + around
        + "<|end|>{% else %}<|{{ m.role }}|>{{ m.content }}{% endif %}{% endfor %}"
        + GENERATE
        + "<|bot|>{% endif %}"
    )


def test_white_space_behind_the_generation_prompt_belongs_to_the_target():
    template = opened(
        "{% for m in messages %}{{ 'HUMAN' if m.role == 'user' else 'BOT' }}: {{ m.content }}</s>"
        "{% endfor %}" + GENERATE + "BOT:{% endif %}"
    )
    rendered = template.render([ASK, said("All.")], 1)
    assert rendered.context.endswith("</s>BOT:")
    assert (rendered.header, rendered.target, rendered.stripped) == ("BOT:", " All.", False)


def test_a_prompt_that_opens_a_thought_is_context():
    template = opened(
        marked("{{ m.content }}").replace("<|bot|>{% endif %}", "<|bot|><think>\n{% endif %}")
    )
    thinking = template.render([ASK, said("<think>\nSeas.\n</think>\n\nAll.")], 1)
    assert thinking.context.endswith("<|bot|><think>\n")
    assert thinking.header == "<|bot|><think>\n"
    assert thinking.target == "Seas.\n</think>\n\nAll."
    assert template.render([ASK, said("All.")], 1).header == "<|bot|>"


def test_the_header_is_that_of_the_row():
    template = opened(
        marked("{% if '<think>' not in m.content %}<think></think>{% endif %}{{ m.content }}")
    )
    assert template.render([ASK, said("All.")], 1).header == "<|bot|><think></think>"
    assert template.render([ASK, said("<think>S</think>All.")], 1).header == "<|bot|>"


@pytest.mark.parametrize(
    "around",
    [
        "{{ m.content.split('</think>')[-1] }}",
        "{{ m.content }}{{ m.content }}",
        "{{ m.content.split('</think>') | reverse | join('</think>') }}",
        "{{ m.content.split('</think>')[0] if '</think>' in m.content }}{{ m.content }}",
        "{{ m.content.replace('salty', 'sweet') }}",
    ],
    ids=["dropped", "doubled", "moved", "thought doubled", "other words"],
)
def test_words_that_are_missing_doubled_or_moved_are_never_scored(around):
    template = opened(marked(around))
    with pytest.raises(RewrittenError):
        template.render([ASK, said("<think>Seas are salty.</think>All of them.")], 1)


def test_re_wrapped_white_space_is_a_flag():
    template = opened(marked("{{ m.content.replace('</think>', '\n</think>\n\n') }}"))
    rendered = template.render([ASK, said("<think>Seas.</think>All.")], 1)
    assert rendered.target == "<think>Seas.\n</think>\n\nAll."
    assert rendered.stripped


@pytest.mark.parametrize("word", ["end", "|", "e", "bot", "<", "Which sea is salty?"])
def test_a_word_of_the_markup_is_found_as_the_response(word):
    rendered = opened(marked("{{ m.content }}")).render([ASK, said(word)], 1)
    assert rendered.context == "<|user|>Which sea is salty?<|bot|>"
    assert (rendered.target, rendered.end) == (word, "<|end|>")


def test_thinking_apart_is_part_of_the_target_with_its_markup():
    template = opened(
        marked(
            "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
            "{{ m.content }}"
        )
    )
    rendered = template.render([ASK, said("All.", reasoning="Seas.")], 1)
    assert rendered.target == "<think>Seas.</think>All."
    with pytest.raises(RewrittenError, match="does not render"):
        opened(marked("{{ m.content }}")).render([ASK, said("All.", reasoning="Seas.")], 1)


def test_an_earlier_turn_ends_where_it_ends():
    row = [ASK, said("All."), ASK, said("Really all.")]
    rendered = opened(marked("{{ m.content }}")).render(row, 1)
    assert rendered.context == "<|user|>Which sea is salty?<|bot|>"
    assert (rendered.target, rendered.end) == ("All.", "<|end|>")


CALL = '[{"type": "function", "function": {"name": "taste", "arguments": {"sea": "Baltic"}}}]'
CALLS = (
    "{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }} "
    "{{ c.function.arguments | tojson }}</call>{% endfor %}"
)


def test_a_call_is_a_target_and_its_result_is_not():
    row = [ASK, said("", tool_calls=CALL), Message(role="tool", content="salty"), said("Baltic.")]
    template = opened(marked(CALLS))
    assert template.render(row, 1).target == '<call>taste {"sea": "Baltic"}</call>'
    assert template.render(row, 3).target == "Baltic."
    with pytest.raises(RewrittenError):
        opened(marked("{{ m.content }}")).render(row, 1)


TWICE = CALL[:-1] + ", " + CALL[1:]


@pytest.mark.parametrize(
    ("around", "calls"),
    [
        (CALLS + "{{ m.content }}", CALL),
        ("{{ m.reasoning }}" + CALLS + "{{ m.reasoning }}", CALL),
        (CALLS + CALLS.replace("{{ m.content }}", ""), CALL),
        (CALLS.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]"), TWICE),
    ],
)
def test_words_of_a_turn_with_calls_that_are_rendered_twice_or_not_at_all(around, calls):
    turn = said("I taste it.", reasoning="The sea decides.", tool_calls=calls)
    if "reasoning" not in around:
        around = "<think>{{ m.reasoning }}</think>" + around
    with pytest.raises(RewrittenError, match=r"more than once|does not render"):
        opened(marked(around)).render([ASK, turn], 1)


def test_a_turn_may_say_what_its_calls_say_and_make_two_that_are_alike():
    around = "<think>{{ m.reasoning }}</think>" + CALLS
    turn = said("I taste it.", reasoning="I taste it. Baltic.", tool_calls=TWICE)
    target = opened(marked(around)).render([ASK, turn], 1).target
    assert target.count('<call>taste {"sea": "Baltic"}</call>') == 2
    names = said("call", tool_calls='[{"function": {"name": "call", "arguments": {}}}]')
    assert opened(marked(CALLS)).render([ASK, names], 1).target == "call<call>call {}</call>"


OPENS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<|call|>{{ c.function.name }} "
    "{{ c.function.arguments | tojson }}{% endfor %}"
    "{% if m.role == 'assistant' %}{{ '<|called|>' if m.tool_calls else '<|said|>' }}{% endif %}"
    "<|end|>{% endfor %}"
)


@pytest.mark.parametrize(
    "behind", ["<|assistant|>", "<|assistant|><|think|>", "<|system|>Answer now.<|end|>"]
)
def test_what_a_template_puts_behind_any_conversation_is_not_part_of_a_call(behind):
    tokens = re.compile(r"<\|\w+\|>")
    template = opened(OPENS + behind, control_tokens=tokens)
    call, result = said("", tool_calls=CALL), Message(role="tool", content="salty")
    for row in ([ASK, call], [ASK, call, result, said("Baltic.")]):
        rendered = template.render(row, 1)
        assert rendered.target == '<|call|>taste {"sea": "Baltic"}<|called|>'
        assert rendered.end.startswith("<|end|>")


def test_a_line_break_between_a_call_and_the_end_of_its_turn_belongs_to_the_end():
    source = marked(CALLS.replace("</call>", "</call>\n"))
    rendered = opened(source).render([ASK, said("", tool_calls=CALL)], 1)
    assert rendered.target == '<call>taste {"sea": "Baltic"}</call>'
    assert rendered.end == "\n<|end|>"


def test_a_template_that_wants_arguments_as_text_gets_them_so():
    as_text = CALLS.replace("c.function.arguments | tojson", "'' + c.function.arguments")
    rendered = opened(marked(as_text)).render([ASK, said("", tool_calls=CALL)], 1)
    assert rendered.target == '<call>taste {"sea": "Baltic"}</call>'


def test_a_template_that_renders_nothing_is_an_error_that_says_so():
    for source in ("{{ raise_exception('never') }}", "{{ messages[7].content.x }}", "{{ 1 // 0 }}"):
        with pytest.raises(SettingsError, match="cannot render"):
            opened(source)


def test_a_row_that_a_template_refuses_costs_that_row():
    template = opened(marked("{% if m.content == 'bad' %}{{ 1 // 0 }}{% endif %}{{ m.content }}"))
    assert template.render([ASK, said("All.")], 1).target == "All."
    with pytest.raises(TemplateRefusedError, match="refuses"):
        template.render([ASK, said("bad")], 1)


LOOPS = "{% set r = range(9999) %}{% for i in r %}{% for j in r %}{% for k in r %}"
BIG = "{% set r = range(9999) %}{% set big = 'x' * 9000000 %}"
GROWING = "{% set ns = namespace(x=['ab'] if LIST else 'ab') %}{% for i in range(60) %}"


@pytest.mark.parametrize(
    "loops",
    [
        LOOPS + "{% endfor %}" * 3,
        LOOPS.replace("k in r", "k in r if false") + "{% endfor %}" * 3,
        "{% set r = range(9999) %}{% for i in r %}{% for j in r %}{{ '' }}{% endfor %}{% endfor %}",
    ],
)
def test_templates_that_never_end_are_stopped(monkeypatch, loops):
    monkeypatch.setattr("tutelage.student.template_sandbox.RENDER_SECONDS", 0.0)
    with pytest.raises(SettingsError, match="takes more than"):
        opened(loops + marked("{{ m.content }}"))


@pytest.mark.parametrize(
    "huge",
    [
        "{{ 'x' * 999999999 }}",
        "{{ 9 ** 999999 }}",
        "{{ range(9999999) | list }}",
        GROWING.replace("LIST", "false") + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        GROWING.replace("LIST", "false") + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        GROWING.replace("LIST", "true") + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ '%99999999d' % 1 }}",
        "{{ '%*d' % (99999999, 1) }}",
        "{{ '%99999999d' | format(1) }}",
        "{{ '{:>{}}'.format(1, 99999999) }}",
        "{{ 'a'.ljust(99999999) }}",
        "{{ 'a' | center(99999999) }}",
        "{{ [1] | batch(99999999, 'x') | list }}",
        "{{ [1] | tojson(indent=99999999) }}",
        BIG + "{{ big.replace('x', big) }}",
        BIG + "{{ big | replace('x', big) }}",
        BIG + "{{ r | join(big) }}",
        BIG + "{% for i in r %}{{ big }}{% endfor %}",
        BIG + "{% set y %}{% for i in r %}{{ big }}{% endfor %}{% endset %}",
    ],
)
def test_templates_that_build_huge_values_are_stopped(huge):
    with pytest.raises(SettingsError, match="cannot render"):
        opened(huge + marked("{{ m.content }}"))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in [1, 2, 3] %}{{ loop.index ~ '-' ~ m }},{% endfor %}", "1-1,2-2,3-3,"),
        ("{% for m in [1, 2] if m > 2 %}{{ m }}{% else %}none{% endfor %}", "none"),
        ("{{ 'a' ~ none ~ 1 }}{{ 'b' ~ nobody }}", "aNone1b"),
        ("{{ '%s' | format(123456789) }}{{ '{}'.format(123456789) }}", "123456789" * 2),
        ("{{ 'call 12345678901'.ljust(18) }}.", "call 12345678901  ."),
        ("{{ [1, 2] | join(', ') }}{{ '-'.join(['a', 'b']) }}", "1, 2a-b"),
        ("{{ 1 + 2 }}{{ 'a' + 'b' }}{{ 7 % 4 }}{{ 2 ** 10 }}", "3ab31024"),
    ],
)
def test_the_limits_do_not_change_what_a_template_writes(source, text):
    render = compile_template(source, today=date(2026, 1, 1), variables={})
    assert render([], False, None, {}) == text


def test_the_date_is_a_setting():
    source = "<|date|>{{ strftime_now('%d %b %Y') }}" + marked("{{ m.content }}")
    contexts = {
        opened(source, today=day).render([ASK, said("All.")], 1).context[:24]
        for day in (date(2026, 1, 1), date(2026, 1, 1), date(2025, 7, 9))
    }
    assert sorted(contexts) == ["<|date|>01 Jan 2026<|use", "<|date|>09 Jul 2025<|use"]


def test_problems_name_the_setting_that_mends_them():
    template = opened(marked("{{ m.content.split('</think>')[-1] }}"))
    assert any("--thinking exclude" in problem for problem in template_problems(template))


def test_a_generation_prompt_in_other_words_takes_nothing_from_the_response():
    template = opened(
        marked("{{ m.content }}").replace(
            "<|bot|>{% endif %}", "<|bot|>Here are my steps:{% endif %}"
        )
    )
    rendered = template.render([ASK, said("Here are my seas: all.")], 1)
    assert rendered.target == "Here are my seas: all."
    assert rendered.header == "<|bot|>"


def test_thinking_with_other_tags_than_in_the_row_is_a_flag():
    template = opened(
        marked(
            "{% set c = m.content %}{% if '</think>' in c %}"
            "{% set c = c.split('</think>')[1] %}{% if 'cold' in m.content %}"
            "<think>cold</think>{% endif %}{% endif %}{{ c }}"
        )
    )
    dropped = template.render([ASK, said("<think>\n\n</think>\n\nAll.")], 1)
    assert (dropped.target.strip(), dropped.stripped) == ("All.", True)
    assert template.render([ASK, said("<think>cold</think>All.")], 1).stripped is False
    assert template.render([ASK, said("<think>\ncold\n</think>All.")], 1).stripped is True


def test_a_turn_of_calls_may_end_without_the_line_break_of_other_turns():
    template = opened(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.tool_calls %}"
        "<call>{{ m.tool_calls[0].function | tojson }}</call>{% else %}\n{% endif %}<STOP_12>"
        "{% endfor %}" + GENERATE + "assistant: {% endif %}"
    )
    calls = '[{"type": "function", "function": {"name": "tide", "arguments": {"day": 2}}}]'
    rendered = template.render([ASK, said("", tool_calls=calls)], 1, tools="[]")
    assert rendered.target.endswith("</call>")
    assert rendered.end == "<STOP_12>"


def test_a_template_may_need_tools():
    source = "{% for t in tools %}{{ t | tojson }}{% endfor %}" + marked("{{ m.content }}")
    template = opened(source)  # iterates over tools: a row without them is refused
    with pytest.raises(TemplateRefusedError):
        template.render([ASK, said("All.")], 1)
    assert template.render([ASK, said("All.")], 1, tools="[]").target == "All."
    assert any(p.startswith("refuses a row without tools") for p in template_problems(template))


def test_a_template_may_need_a_system_prompt():
    source = (
        "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + marked("{{ m.content }}")
    )
    problems = template_problems(opened(source))
    assert any("without a system prompt" in problem for problem in problems)


CLOSES_OLD_THOUGHTS = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
    "{% if m.role == 'user' %}<|user|>{{ m.content }}<|bot|>"
    "{{ '<think>' if loop.index0 == ns.last else '</think>' }}"
    "{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
)


def test_the_header_of_an_earlier_turn_does_not_hold_the_question():
    """The question itself opens the answer, in other words where another question follows."""
    template = opened(CLOSES_OLD_THOUGHTS)
    row = [ASK, said("All."), Message(role="user", content="Why?"), said("Rivers bring salt.")]
    rendered = template.render(row, 1)
    assert rendered.context == "<|user|>Which sea is salty?<|bot|></think>"
    assert rendered.header == "<|bot|></think>"
    assert (rendered.target, rendered.end) == ("All.", "<|end|>")
    assert template.render(row, 3).header == "<|bot|><think>"


def test_white_space_at_the_end_of_an_answer_with_thinking_belongs_to_the_target():
    template = opened(
        marked("{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
               "{{ m.content }}")
    )  # fmt: skip
    rendered = template.render([ASK, said("All.\n", reasoning="Seas.")], 1)
    assert rendered.target == "<think>Seas.</think>All.\n"
    assert (rendered.end, rendered.stripped) == ("<|end|>", False)
