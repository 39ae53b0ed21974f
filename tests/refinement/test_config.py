import pytest
from pydantic import ValidationError

from tutelage.refinement import RefineSettings, SampleSettings


@pytest.mark.parametrize("kind", [RefineSettings, SampleSettings])
def test_settings_are_frozen_and_know_their_names(kind):
    settings = kind()
    with pytest.raises(ValidationError):
        settings.seed = 1
    with pytest.raises(ValidationError, match="temprature"):
        kind(temprature=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": ()},
        {"steps": ("response", "response")},
        {"steps": ("answer",)},
        {"attempts": 0},
        {"max_tokens": 0},
        {"use_schema": True},
        {"min_response_chars": 10, "max_response_chars": 5},
        {"prompt_version": "v0"},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValidationError):
        RefineSettings(**wrong)


def test_settings_survive_their_own_json():
    settings = RefineSettings(steps=("response",), instruction_prompt="a.jinja", attempts=3)
    assert RefineSettings.model_validate_json(settings.model_dump_json()) == settings
