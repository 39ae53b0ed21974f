"""What a template renders for training decides, and its settings belong to fingerprint and keys."""

import json
from dataclasses import replace

import jinja2
import pytest

from tests.tiny_student import save_student
from tutelage.data import VIEW_NAMES, Message, Unscored
from tutelage.errors import SettingsError
from tutelage.pipeline.config import checked
from tutelage.student import StudentSettings, check_template, open_student
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


TEMPLATE = (
    "{% if show %}[{{ show }}]{% endif %}{{ strftime_now('%Y') }}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CALLS = "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_student(tmp_path_factory.mktemp("student") / "m", template=TEMPLATE))


def student_of(folder, **settings):
    values = {"model": folder, "dtype": "float32", "use_cache": False, **settings}
    return open_student(checked(StudentSettings, values, place="test"))


def read(folder, candidate, **settings):
    with student_of(folder, **settings) as student:
        (outcome,) = student.read([candidate], views=VIEW_NAMES)
    return outcome


def test_each_setting_changes_fingerprint_and_keys(folder, candidate_of):
    settings = (
        {},
        {"template_args": {"show": 1}},
        {"template_args": {"show": 2}},
        {"template_date": "2024-05-06"},
        {"thinking": "exclude"},
    )
    students = [student_of(folder, **one) for one in settings]
    assert len({student.fingerprint for student in students}) == len(settings)
    key = {s.parts.scope.side_key(candidate_of("a", "b"), "response") for s in students}
    assert len(key) == len(settings)


def test_the_contract_belongs_to_the_fingerprint(folder, monkeypatch):
    before = student_of(folder).fingerprint
    monkeypatch.setattr("tutelage.student.components.SCORING_CONTRACT", 3)
    assert student_of(folder).fingerprint != before


def test_arguments_and_date_reach_the_template(folder, candidate_of):
    candidate = candidate_of("Name a colour.", "red")
    with student_of(folder, template_args={"show": "x"}, template_date="2024-05-06") as student:
        assert student.context_text(candidate).startswith("[x]2024<|im_start|>user")


def test_the_arguments_of_a_row_win_and_belong_to_its_key(folder, candidate_of):
    plain = candidate_of("Name a colour.", "red")
    own = replace(plain, template_args='{"show": "row"}')
    with student_of(folder, template_args={"show": "x"}) as student:
        assert student.context_text(own).startswith("[row]2026")
        keys = {student.parts.scope.side_key(c, "response") for c in (plain, own)}
        assert len(keys) == 2
        reverse = student.parts.builder.encode(own, "instruction")
        assert student.parts.decode_all(reverse.given[0].ids_T).startswith("[row]2026")
    given = read(folder, plain, template_args={"show": "row"})
    for view in VIEW_NAMES:
        assert (
            given.views[view].logprobs_T.tolist()
            == read(folder, own).views[view].logprobs_T.tolist()
        )


def test_a_name_that_is_not_an_argument_is_refused(folder):
    with pytest.raises(SettingsError, match="messages"):
        student_of(folder, template_args={"messages": []})


def test_thinking_is_scored_when_it_is_excluded_and_else_has_a_status(folder, candidate_of):
    thinking = candidate_of("Name a colour.", "<think>\nOne of three.\n</think>\n\nred")
    outcome = read(folder, thinking)
    assert isinstance(outcome, Unscored)
    assert outcome.reason == "rewritten_by_template"
    assert "--thinking exclude" in outcome.detail
    answers = read(folder, thinking, thinking="exclude")
    plain = read(folder, candidate_of("Name a colour.", "red"))
    for view in VIEW_NAMES:
        assert answers.views[view].logprobs_T.tolist() == plain.views[view].logprobs_T.tolist()
    nothing = read(folder, candidate_of("Name a colour.", "<think>red"), thinking="exclude")
    assert nothing.reason == "empty_response"


def test_flags_say_what_was_changed_and_what_was_taken_for_markup(folder, candidate_of, tmp_path):
    trims = str(save_student(tmp_path / "m", template=TEMPLATE.replace("[-1]", "[-1] | trim")))
    outcome = read(trims, candidate_of("Name a colour.", " red "))
    assert (outcome.stripped, outcome.control_tokens_in_data) == (True, False)
    outcome = read(folder, candidate_of("Name <|im_end|> a colour.", "red"))
    assert (outcome.stripped, outcome.control_tokens_in_data) == (False, True)


def test_flags_come_back_from_the_cache(folder, candidate_of, tmp_path):
    candidate = candidate_of("Name <|im_end|> a colour.", "red")
    settings = {"use_cache": True, "cache_path": tmp_path / "r.sqlite"}
    first, second = (read(folder, candidate, **settings) for _ in range(2))
    assert first.control_tokens_in_data
    assert second.control_tokens_in_data


def test_turns_that_are_not_trained_on_are_no_targets(folder, candidate_from):
    turns = [
        Message(role="user", content="Name a colour."),
        Message(role="assistant", content="red", trained=False),
        Message(role="user", content="Another."),
        Message(role="assistant", content="blue"),
    ]
    with student_of(folder, turns="all") as student:
        assert student.response_text(candidate_from(turns)) == "blue"
    turns[3] = replace(turns[3], trained=False)
    assert read(folder, candidate_from(turns)).reason == "not_trained"
    turns[1] = replace(turns[1], trained=True)
    assert read(folder, candidate_from(turns)).reason == "not_trained"
    assert not isinstance(read(folder, candidate_from(turns), turns="all"), Unscored)


def test_turns_behind_tool_results_are_targets(folder, candidate_from, tmp_path):
    call = json.dumps([{"function": {"name": "taste", "arguments": {}}}])
    turns = [
        Message(role="user", content="Name a colour."),
        Message(role="assistant", content="I try", tool_calls=call),
        Message(role="tool", content="red"),
        Message(role="assistant", content="red it is"),
    ]
    assert read(folder, candidate_from(turns), turns="all").reason == "rewritten_by_template"
    source = TEMPLATE.replace("<|im_end|>", CALLS + "<|im_end|>")
    knows = str(save_student(tmp_path / "m", template=source))
    with student_of(knows, turns="all") as student:
        assert student.response_text(candidate_from(turns)) == "I trytaste\nred it is"


def test_the_doctor_says_that_a_template_reads_the_date(folder):
    problems = check_template(StudentSettings(model=folder))
    assert any("--template-date" in problem for problem in problems)
