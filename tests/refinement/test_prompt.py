import pytest

from tutelage.data import INSTRUCTION_REFLECTION, RESPONSE_REFLECTION
from tutelage.errors import SettingsError
from tutelage.refinement import RefineSettings, load_prompt, prompt_of
from tutelage.refinement.prompt import normalised, sentences_of

OWN = (
    "{% block system %}Be strict.{% endblock %}"
    "{% block user %}{{ instruction }} / {{ response }}\n"
    '{% if form == "json" %}"new_response"{% else %}<<<NEW RESPONSE>>>{% endif %}{% endblock %}'
)


def filled(prompt, form="markers", earlier=()):
    return prompt.messages(
        form=form,
        earlier=earlier,
        instruction="ASK",
        response="TELL",
        instruction_criteria=("Is it odd?",),
        response_criteria=("Is it even?",),
    )


@pytest.mark.parametrize("step", [INSTRUCTION_REFLECTION, RESPONSE_REFLECTION])
@pytest.mark.parametrize("form", ["json", "markers"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_packages_prompts_show_the_pair_the_criteria_and_the_layout(step, form, version):
    system, user = filled(load_prompt(step=step, version=version), form)
    assert (system.role, user.role) == ("system", "user")
    assert "ASK" in user.content
    assert "TELL" in user.content
    assert "Is it even?" in system.content
    assert ("Is it odd?" in system.content) == (step == INSTRUCTION_REFLECTION)
    assert ("<<<END>>>" in system.content) == (form == "markers")
    assert ("JSON" in system.content) == (form == "json")
    assert "EARLIER TURN" not in user.content
    assert "\n\n\n" not in user.content


def test_a_users_file_takes_the_place_of_ours(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(OWN)
    settings = RefineSettings(response_prompt=path)
    prompt = prompt_of(RESPONSE_REFLECTION, settings)
    assert prompt.name == "mine.jinja"
    assert [m.content for m in filled(prompt)] == ["Be strict.", "ASK / TELL\n<<<NEW RESPONSE>>>"]
    assert prompt_of(INSTRUCTION_REFLECTION, settings).name == "instruction_reflection.v1"


def test_an_empty_system_block_sends_no_system_turn(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(OWN.replace("Be strict.", ""))
    assert [m.role for m in filled(load_prompt(step=RESPONSE_REFLECTION, path=path))] == ["user"]


def test_the_fingerprint_follows_the_text(tmp_path):
    fingerprints = set()
    for number, source in enumerate((OWN, OWN, OWN.replace("strict", "kind"))):
        path = tmp_path / f"{number}.jinja"
        path.write_text(source)
        fingerprints.add(load_prompt(step=RESPONSE_REFLECTION, path=path).fingerprint)
    assert len(fingerprints) == 2


def test_a_prompt_does_not_change_while_it_is_in_use(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(OWN)
    before = load_prompt(step=RESPONSE_REFLECTION, path=path)
    path.write_text(OWN.replace("strict", "kind"))
    assert load_prompt(step=RESPONSE_REFLECTION, path=path) == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("just text", "has no system and no user block"),
        (OWN.replace("{{ instruction }}", ""), "does not show the instruction"),
        (OWN.replace("{{ response }}", ""), "does not show the response"),
        (OWN.replace("<<<NEW RESPONSE>>>", ""), "does not ask for <<<NEW RESPONSE>>>"),
        (OWN.replace('"new_response"', ""), "does not ask for"),
        (OWN.replace("{{ instruction }}", "{{ instrction }}"), "UndefinedError"),
        (OWN + "{% if %}", "TemplateSyntaxError"),
        (OWN.replace("Be strict.", "{{ ''.__class__.__mro__ }}"), "SecurityError"),
    ],
)
def test_a_prompt_file_that_cannot_work_is_refused_before_anything_is_asked(
    tmp_path, source, message
):
    path = tmp_path / "mine.jinja"
    path.write_text(source)
    with pytest.raises(SettingsError, match=message):
        load_prompt(step=RESPONSE_REFLECTION, path=path)


def test_a_missing_prompt_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="nowhere"):
        load_prompt(step=RESPONSE_REFLECTION, path=tmp_path / "nowhere")


def test_a_step_that_is_no_reflection_is_refused():
    with pytest.raises(SettingsError, match="sample"):
        prompt_of("sample", RefineSettings())


def test_a_prompt_knows_its_own_sentences_and_none_of_the_datas():
    prompt = load_prompt(step=INSTRUCTION_REFLECTION)
    for sentence in sentences_of("\n".join(m.content for m in filled(prompt))):
        known = sentence in prompt.own_sentences
        assert known or len(sentence.split()) < 6
    assert normalised("=== OLD RESPONSE ===") in prompt.own_lines
    assert normalised("(the complete new instruction)") in prompt.own_lines
    assert "" not in prompt.own_sentences | prompt.own_lines
