"""Tests of the front door."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tutelage.errors import TeacherError
from tutelage.teacher import Journal, Prices, Request, TeacherSettings, open_teacher

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
