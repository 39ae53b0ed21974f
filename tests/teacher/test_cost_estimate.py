"""Tests of the estimate before a run."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.teacher import (
    Journal,
    JournaledTeacher,
    Prices,
    Request,
    ScriptedTeacher,
    TeacherSettings,
)
from tutelage.teacher.cost import CachedTeacher, Estimate

PRICES = Prices(input_per_million=2e6, output_per_million=1e6)
SETTINGS = TeacherSettings(model="m", prices=PRICES)


def request_of(text: str, seed: int = 0) -> Request:
    messages = (Message(role="user", content=text),)
    return Request(model="m", messages=messages, max_tokens=100, seed=seed)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    with Journal(tmp_path_factory.mktemp("empty") / "journal.sqlite") as found:
        yield found


def estimated(
    requests: list[Request], *, journal: Journal, settings: TeacherSettings = SETTINGS
) -> Estimate:
    teacher = CachedTeacher(settings, journal)
    for request in requests:
        teacher.note(request)
    return teacher.estimate


@given(st.lists(st.builds(request_of, st.text(max_size=200), st.integers(0, 3)), max_size=9))
def test_an_estimate_is_never_above_its_own_limit(empty: Journal, requests: list[Request]) -> None:
    found = estimated(requests, journal=empty)
    assert found.calls == len({r.key for r in requests})
    assert found.cost_expected is not None
    assert found.cost_at_most is not None
    assert found.cost_expected <= found.cost_at_most


def test_an_estimate_by_hand(empty: Journal) -> None:
    found = estimated([request_of("x" * 80)], journal=empty)
    assert found.prompt_tokens == 80 / 4 + 2 * 5
    assert found.max_completion_tokens == 100
    assert found.cost_expected == 2 * 30 + 50
    assert found.cost_at_most == 2 * (80 + 64) + 100
    assert found.currency == "USD"


def test_what_the_journal_holds_costs_nothing(
    journal: Journal, request_for: Callable[..., Request]
) -> None:
    settings = TeacherSettings(model="m", extra_body={"top_k": 1})
    teacher = JournaledTeacher(ScriptedTeacher("yes", name="m"), journal, extra=settings.extra_body)
    asyncio.run(teacher.ask(request_for(seed=1)))
    found = estimated(
        [request_for(seed=1), request_for(seed=2)], settings=settings, journal=journal
    )
    assert (found.calls, found.calls_in_journal) == (1, 1)


def test_without_prices_there_is_no_cost_rather_than_none_to_pay(empty: Journal) -> None:
    found = estimated([request_of("x")], journal=empty, settings=TeacherSettings(model="m"))
    assert (found.cost_expected, found.cost_at_most, found.currency) == (None, None, None)
