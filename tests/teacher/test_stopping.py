"""When a run of requests stops: a key that is no longer accepted, and the cap on cost."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import BudgetError, TeacherStoppedError
from tutelage.refinement.concurrency import run_bounded
from tutelage.teacher import Journal, Prices, Reply, Request, TeacherSettings, open_teacher
from tutelage.teacher.journal_file import VERSION

RequestFor = Callable[..., Request]
SettingsFor = Callable[..., TeacherSettings]


def ask_all(settings: TeacherSettings, journal: Journal, requests: list[Request]) -> Any:
    async def work() -> Any:
        async with open_teacher(settings, journal, run="r") as teacher:

            async def one(_: int, request: Request) -> Any:
                try:
                    return await teacher.ask(request)
                except BudgetError as error:
                    return error

            try:
                return await run_bounded(requests, one, outstanding=4), teacher.tally
            except TeacherStoppedError as stopped:
                return stopped, teacher.tally

    return asyncio.run(work())


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_key_that_is_no_longer_accepted_stops_the_run_and_loses_no_reply(
    endpoint: Any,
    settings: SettingsFor,
    request_for: RequestFor,
    journal: Journal,
    status: int,
) -> None:
    def script(index: int, _: dict[str, Any]) -> Any:
        if index < 6:
            return endpoint.answer(body=endpoint.good())
        if index == 6:
            return endpoint.answer(status=status, body={"error": {"message": "pay first"}})
        return endpoint.answer(body=endpoint.good(), seconds=0.05)

    endpoint.script = script
    stopped, _ = ask_all(
        settings(concurrency=4), journal, [request_for(seed=i) for i in range(200)]
    )
    assert isinstance(stopped, TeacherStoppedError)
    assert not stopped.may_pass
    assert f"HTTP {status}" in str(stopped)
    assert len(endpoint.seen) <= 6 + 4
    assert len(journal) == len(endpoint.seen) - 1  # what was under way is paid for, and kept


def test_a_text_that_moderation_refuses_does_not_stop_the_run(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, journal: Journal
) -> None:
    endpoint.script = lambda index, _: (
        endpoint.answer(status=403, body={"error": {"message": "flagged by moderation"}})
        if index == 2
        else endpoint.answer(body=endpoint.good())
    )

    async def work() -> list[Any]:
        async with open_teacher(settings(concurrency=1), journal) as teacher:
            return [
                (await asyncio.gather(teacher.ask(request_for(seed=i)), return_exceptions=True))[0]
                for i in range(6)
            ]

    outcomes = asyncio.run(work())
    assert [isinstance(o, Reply) for o in outcomes] == [True, True, False, True, True, True]


def test_the_cap_is_passed_by_no_more_than_the_calls_under_way_cost_beyond_their_reservation(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, journal: Journal
) -> None:
    beyond = 500  # the server counts thinking that max_tokens does not limit
    usage = {"prompt_tokens": 0, "completion_tokens": 10 + beyond}
    endpoint.answers(endpoint.answer(body=endpoint.good(usage=usage), seconds=0.02))
    prices = Prices(input_per_million=0, output_per_million=1e6)
    capped = settings(concurrency=4, prices=prices, max_cost=35)
    outcomes, tally = ask_all(capped, journal, [request_for(seed=i) for i in range(100)])
    replies = [o for o in outcomes if isinstance(o, Reply)]
    assert len(replies) == len(endpoint.seen) == 3  # three reservations of 10 fit below 35
    assert tally.cost == 3 * (10 + beyond) <= 35 + 3 * beyond
    assert sum(isinstance(o, BudgetError) for o in outcomes) == 97
    again, _ = ask_all(capped, journal, [request_for(seed=i) for i in range(100, 120)])
    assert all(isinstance(o, BudgetError) for o in again)
    assert len(endpoint.seen) == 3


def test_an_old_journal_is_read_and_gets_the_new_column_when_it_is_written_to(
    tmp_path: Path, request_for: RequestFor, endpoint: Any, settings: SettingsFor
) -> None:
    path = tmp_path / "journal.sqlite"
    thinking = endpoint.good(message={"reasoning_content": "hm"})
    endpoint.answers(endpoint.answer(body=endpoint.good()), endpoint.answer(body=thinking))
    with Journal(path) as journal:
        ask_all(settings(), journal, [request_for(seed=0)])
    with sqlite3.connect(path) as old:
        old.execute("ALTER TABLE replies DROP COLUMN reasoning")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with Journal(path, read_only=True) as journal:
        entry = journal.get(request_for(seed=0).key)
        assert entry is not None
        assert (entry.text, entry.reasoning) == ("yes", None)
        assert journal.pack(tmp_path / "packed.sqlite") == 1
    with Journal(path) as journal:
        (replies, _) = ask_all(settings(), journal, [request_for(seed=1)])
        assert replies[0].reasoning == "hm"
        entry = journal.get(request_for(seed=1).key)
        assert entry is not None
        assert entry.reasoning == "hm"
        assert len(journal) == 2
    with sqlite3.connect(path) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (VERSION,)
    now.close()
    with Journal(tmp_path / "packed.sqlite") as journal:
        assert len(journal) == 1


def test_what_is_left_out_is_not_sent_and_makes_another_request(
    endpoint: Any, settings: SettingsFor, request_for: RequestFor, journal: Journal
) -> None:
    requests = [request_for(seed=0), request_for(seed=1)]
    ask_all(settings(), journal, requests)
    ask_all(settings(omit=["seed", "top_p"], supports_schema="no"), journal, requests)
    assert [sorted(s.body.keys() & {"seed", "top_p", "temperature"}) for s in endpoint.seen] == [
        *[["seed", "temperature", "top_p"]] * 2,
        *[["temperature"]] * 2,
    ]
    assert len(journal) == 4
    assert replace(requests[0], omit=("seed",)).key != replace(requests[1], omit=("seed",)).key
