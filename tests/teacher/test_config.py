"""Tests of the settings of a teacher."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from tutelage.teacher import Prices, TeacherSettings

SECRET = "sk-not-a-real-key-" + "0123456789"


def test_the_default_is_an_openai_endpoint() -> None:
    settings = TeacherSettings(model="m")
    assert (settings.kind, settings.base_url) == ("openai", None)


def test_settings_survive_being_written_and_read() -> None:
    settings = TeacherSettings(
        model="m",
        base_url="http://127.0.0.1:1/v1/",
        prices=Prices(input_per_million=1, output_per_million=2, currency="EUR"),
        max_cost=3,
        extra_body={"cache_prompt": False},
    )
    assert TeacherSettings.model_validate(json.loads(settings.model_dump_json())) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key_env": SECRET},
        {"api_key_env": "abcdef0123456789"},
        {"base_url": f"https://user:{SECRET}@host/v1"},
        {"base_url": f"https://host/v1?key={SECRET}"},
        {"base_url": f"https://host/v1?api-version={SECRET}"},
        {"base_url": f"https://host/v1?api-version=1&Subscription-Key={SECRET[-10:]}"},
        {"base_url": f"https://host/v1?sv=2022&sig={SECRET[-10:]}"},
        {"base_url": f"https://host/v1?{SECRET}"},
        {"base_url": f"https://host/v1#{SECRET}"},
        {"key_header": f"Authorization: {SECRET}"},
        {"extra_body": {"api_key": SECRET}},
        {"extra_body": {"deep": [{"Authorization": f"Bearer {SECRET}"}]}},
        {"api_key": SECRET},
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        TeacherSettings(model="m", **wrong)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "host/v1"},
        {"base_url": "ftp://host/v1"},
        {"base_url": "http://host:99999/v1"},
        {"base_url": "http://host:abc/v1"},
        {"base_url": "http://ho st/v1"},
        {"base_url": "http://ho\nst/v1"},
        {"base_url": "http://host/v1/chat/completions"},
        {"base_url": "http://host/v1?api-version"},
        {"base_url": "http://host/v1?a=1&a=2"},
        {"base_url": "http://host/v1?=1"},
        {"base_url": "http://host/v1#top"},
        {"key_header": "Content-Type"},
        {"key_header": "two words"},
        {"concurrency": 0},
        {"max_attempts": 0},
        {"temperature": -0.1},
        {"top_p": 0},
        {"max_cost": 1.0},
        {"extra_body": {"temperature": 1}},
        {"extra_body": {"n": 2}},
        {"timeout_seconds": float("inf")},
        {"unknown": 1},
        {"kind": "carrier pigeon"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TeacherSettings(**({"model": "m"} | wrong))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://host/v1/?", "http://host/v1"),
        ("http://host/d/?api-version=2024-10-21", "http://host/d?api-version=2024-10-21"),
        ("https://host/v1?a=&b=x%20y", "https://host/v1?a=&b=x%20y"),
    ],
)
def test_a_query_of_a_provider_is_kept(given: str, kept: str) -> None:
    assert TeacherSettings(model="m", base_url=given).base_url == kept


def test_the_address_that_is_offered_instead_keeps_its_query() -> None:
    with pytest.raises(ValidationError, match=r"give http://host/d\?api-version=1"):
        TeacherSettings(model="m", base_url="http://host/d/chat/completions?api-version=1")


def test_prices_are_per_million_tokens() -> None:
    prices = Prices(input_per_million=3.0, output_per_million=15.0)
    assert prices.cost(prompt_tokens=1000, completion_tokens=200) == pytest.approx(0.006)


def test_a_local_teacher_is_called_by_the_name_of_its_folder() -> None:
    assert TeacherSettings(kind="local", model="/somewhere/deep/tiny").teacher_name == "tiny"
    assert TeacherSettings(model="org/tiny").teacher_name == "org/tiny"
    assert TeacherSettings(model="org/tiny", name="t").teacher_name == "t"


def test_how_something_is_asked_is_not_a_setting_of_whom() -> None:
    with pytest.raises(
        ValidationError, match="max_tokens, temperature: is a setting of the requests"
    ):
        TeacherSettings.model_validate({"model": "m", "temperature": 0.5, "max_tokens": 7})


@pytest.mark.parametrize("given", ["top_p, seed", ["seed", "top_p", "seed"], ("top_p", "seed")])
def test_what_is_left_out_may_be_a_list_or_one_text(given: object) -> None:
    assert TeacherSettings(model="m", omit=given).omit == ("seed", "top_p")


def test_only_what_can_be_left_out_is_taken() -> None:
    with pytest.raises(ValueError, match="seed"):
        TeacherSettings(model="m", omit=["messages"])
