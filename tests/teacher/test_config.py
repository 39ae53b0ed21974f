"""Settings of a teacher, and the teacher that is made from them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from tutelage.errors import TeacherError
from tutelage.teacher import Journal, Prices, Request, TeacherSettings, open_teacher

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


SettingsFor = Callable[..., TeacherSettings]
RequestFor = Callable[..., Request]


def obeys(body: dict[str, Any]) -> str:
    return json.dumps({"verdict": "quexil"}) if "response_format" in body else "yes"


def open_and_ask(
    settings: TeacherSettings, journal: Journal, *requests: Request, run: str | None = None
) -> tuple[bool, list[Any], Any]:
    async def scene() -> tuple[bool, list[Any], Any]:
        async with open_teacher(settings, journal, run=run) as teacher:
            outcomes = await asyncio.gather(
                *(teacher.ask(r) for r in requests), return_exceptions=True
            )
            return teacher.supports_schema, list(outcomes), teacher.tally

    return asyncio.run(scene())


def test_a_schema_is_tried_once_and_remembered(
    endpoint: Any, settings: SettingsFor, journal: Journal
) -> None:
    endpoint.script = lambda _, body: endpoint.answer(body=endpoint.good(obeys(body)))
    auto = settings(supports_schema="auto")
    assert open_and_ask(auto, journal)[0] is True
    assert open_and_ask(auto, journal)[0] is True
    assert len(endpoint.seen) == 1
    replay = TeacherSettings(kind="replay", model="m")
    assert open_and_ask(replay, journal)[0] is True


def test_auto_means_no_where_the_endpoint_only_says_200(
    endpoint: Any, settings: SettingsFor, journal: Journal
) -> None:
    assert open_and_ask(settings(supports_schema="auto"), journal)[0] is False


def test_what_the_settings_say_is_not_tried(
    endpoint: Any, settings: SettingsFor, journal: Journal
) -> None:
    assert open_and_ask(settings(supports_schema="yes"), journal)[0] is True
    assert open_and_ask(TeacherSettings(kind="replay", model="m"), journal)[0] is True
    assert open_and_ask(settings(supports_schema="no"), journal)[0] is False
    assert not endpoint.seen


def test_a_whole_run_from_the_journal_needs_no_server(
    endpoint: Any, settings: SettingsFor, journal: Journal, request_for: RequestFor
) -> None:
    auto = settings(supports_schema="auto")
    open_and_ask(auto, journal, request_for())
    endpoint.stop()
    _, outcomes, tally = open_and_ask(auto, journal, request_for())
    assert outcomes[0].text == "yes"
    assert tally.from_journal == 1


def test_every_failed_attempt_is_counted_and_recorded(
    endpoint: Any,
    settings: SettingsFor,
    journal: Journal,
    request_for: RequestFor,
) -> None:
    wait = {"retry-after-ms": "1"}
    endpoint.answers(
        endpoint.answer(status=429, headers=wait),
        endpoint.answer(status=500, headers=wait),
        endpoint.answer(body=endpoint.good()),
    )
    _, outcomes, tally = open_and_ask(settings(), journal, request_for())
    assert outcomes[0].text == "yes"
    assert tally.failures == {"TeacherBusyError": 1, "TeacherUnreachableError": 1}
    assert tally.failures == journal.failures()
    assert (tally.answered, tally.failed) == (1, 0)


def test_the_last_failed_attempt_is_counted_once(
    endpoint: Any, settings: SettingsFor, journal: Journal, request_for: RequestFor
) -> None:
    endpoint.answers(endpoint.answer(status=500, headers={"retry-after-ms": "1"}))
    _, outcomes, tally = open_and_ask(settings(max_attempts=2), journal, request_for())
    assert isinstance(outcomes[0], TeacherError)
    assert tally.failures == {"TeacherUnreachableError": 2} == journal.failures()
    assert tally.failed == 1


def test_a_run_that_is_started_again_knows_what_it_spent(
    endpoint: Any, settings: SettingsFor, journal: Journal, request_for: RequestFor
) -> None:
    prices = Prices(input_per_million=1e6, output_per_million=1e6)
    paid = settings(prices=prices, max_cost=1000)
    first = open_and_ask(paid, journal, request_for(seed=1), run="r")[2]
    assert (first.cost, first.spent_before) == (10, 0)
    second = open_and_ask(paid, journal, request_for(seed=1), request_for(seed=2), run="r")[2]
    assert (second.cost, second.spent_before, second.cost_from_journal) == (10, 10, 10)
    assert (second.max_cost, second.currency) == (1000, "USD")


def test_the_name_is_used_in_tables_and_the_model_is_sent(
    endpoint: Any, settings: SettingsFor, journal: Journal, request_for: RequestFor
) -> None:
    named = settings(model="served/by-this-name", name="big", extra_body={"top_k": 1})
    _, outcomes, _ = open_and_ask(named, journal, request_for(model="big"))
    assert endpoint.seen[0].body["model"] == "served/by-this-name"
    assert endpoint.seen[0].body["top_k"] == 1
    assert outcomes[0].request_key == request_for(model="big", extra={"top_k": 1}).key


@pytest.mark.parametrize("heavy", ["torch", "transformers", "openai"])
def test_the_room_opens_without_what_is_heavy(heavy: str) -> None:
    code = f"import sys, tutelage.teacher; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
