"""Tests of the teacher with a memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.errors import (
    BudgetError,
    JournalError,
    SettingsError,
    TeacherError,
    TeacherStoppedError,
    TeacherUnreachableError,
    UnusableReplyError,
)
from tutelage.teacher import (
    Account,
    Journal,
    JournaledTeacher,
    Prices,
    Reply,
    Request,
    ScriptedTeacher,
)

RequestFor = Callable[..., Request]
PRICES = Prices(input_per_million=1e6, output_per_million=1e6)


def ask_all(teacher: JournaledTeacher, requests: list[Request]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(teacher.ask(r) for r in requests), return_exceptions=True)

    return asyncio.run(all_of_them())


def scripted(script: Any = "yes") -> ScriptedTeacher:
    return ScriptedTeacher(script, name="m")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=4))
def test_whatever_is_asked_in_whatever_order_is_sent_once(
    tmp_path_factory: pytest.TempPathFactory, request_for: RequestFor, runs: list[list[int]]
) -> None:
    path = tmp_path_factory.mktemp("j") / "journal.sqlite"
    inner = scripted(lambda r: f"to {r.seed}")
    for seeds in runs:  # each run is a new process as far as the journal can tell
        with Journal(path) as journal:
            teacher = JournaledTeacher(inner, journal)
            replies = ask_all(teacher, [request_for(seed=s) for s in seeds])
            assert [r.text for r in replies] == [f"to {s}" for s in seeds]
            tally = teacher.tally
            assert tally.asked == tally.from_journal + tally.answered == len(seeds)
    sent = [r.seed for r in inner.asked]
    assert sorted(sent) == sorted({s for seeds in runs for s in seeds})


def test_equal_requests_under_way_are_sent_once(journal: Journal, request_for: RequestFor) -> None:
    async def slow(_: Request) -> str:
        await asyncio.sleep(0.02)
        return "yes"

    inner = scripted(slow)
    replies = ask_all(JournaledTeacher(inner, journal), [request_for()] * 5)
    assert len(inner.asked) == 1
    assert sorted(r.from_journal for r in replies) == [False, True, True, True, True]


def test_an_error_of_a_shared_request_reaches_everybody_who_waits(
    journal: Journal, request_for: RequestFor
) -> None:
    async def slow(_: Request) -> TeacherError:
        await asyncio.sleep(0.02)
        return TeacherError("no")

    inner = scripted(slow)
    teacher = JournaledTeacher(inner, journal)
    outcomes = ask_all(teacher, [request_for()] * 3)
    assert [str(o) for o in outcomes] == ["no", "no", "no"]
    assert len(inner.asked) == 1
    assert (teacher.tally.failed, teacher.tally.failures) == (3, {"TeacherError": 1})


def test_who_waits_asks_again_when_the_asker_went_away(
    journal: Journal, request_for: RequestFor
) -> None:
    async def slow(_: Request) -> str:
        await asyncio.sleep(0.02)
        return "yes"

    inner = scripted(slow)
    teacher = JournaledTeacher(inner, journal)

    async def scene() -> Reply:
        asker = asyncio.create_task(teacher.ask(request_for()))
        waiter = asyncio.create_task(teacher.ask(request_for()))
        await asyncio.sleep(0.005)
        asker.cancel()
        return await waiter

    assert asyncio.run(scene()).text == "yes"
    assert len(inner.asked) == 2
    assert (teacher.tally.asked, teacher.tally.answered, teacher.tally.under_way) == (1, 1, 0)


def test_a_reply_is_durable_before_the_caller_has_it(
    tmp_path: Path, request_for: RequestFor
) -> None:
    path = tmp_path / "journal.sqlite"

    async def scene(journal: Journal) -> None:
        teacher = JournaledTeacher(scripted(), journal)

        async def one(seed: int) -> None:
            reply = await teacher.ask(request_for(seed=seed))
            with Journal(path, read_only=True) as other:
                assert other.get(reply.request_key) is not None

        await asyncio.gather(*(one(seed) for seed in range(20)))

    with Journal(path) as journal:
        asyncio.run(scene(journal))


def test_a_reply_that_came_while_cancelling_is_kept(
    journal: Journal, request_for: RequestFor
) -> None:
    asking: asyncio.Task[Reply]

    def cancels_its_asker(_: Request) -> str:
        asking.cancel()  # takes effect at the next await, which is after the reply
        return "yes"

    teacher = JournaledTeacher(scripted(cancels_its_asker), journal)

    async def scene() -> None:
        nonlocal asking
        asking = asyncio.create_task(teacher.ask(request_for()))
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scene())
    journal.close()
    with Journal(journal.path) as again:
        assert again.get(request_for().key) is not None


def test_a_failure_is_asked_again_and_recorded(journal: Journal, request_for: RequestFor) -> None:
    outcomes: list[Any] = [TeacherUnreachableError("gone"), "back"]
    teacher = JournaledTeacher(scripted(lambda _: outcomes.pop(0)), journal)
    (first,) = ask_all(teacher, [request_for()])
    (second,) = ask_all(teacher, [request_for()])
    assert isinstance(first, TeacherUnreachableError)
    assert second.text == "back"
    assert journal.failures() == {"TeacherUnreachableError": 1}


def test_an_unusable_answer_is_paid_for_once(journal: Journal, request_for: RequestFor) -> None:
    refusal = UnusableReplyError("refused: no")
    refusal.prompt_tokens, refusal.completion_tokens = 5, 2
    refusal.finish_reason = "content_filter"
    inner = scripted(refusal)
    for cost, before in ((7.0, 0.0), (0.0, 7.0)):
        teacher = JournaledTeacher(inner, journal, account=Account(prices=PRICES))
        (outcome,) = ask_all(teacher, [request_for()])
        assert isinstance(outcome, UnusableReplyError)
        assert "refused: no" in str(outcome)
        assert (teacher.tally.cost, teacher.tally.cost_from_journal) == (cost, before)
        assert teacher.tally.failed == 1
    assert len(inner.asked) == 1
    entry = journal.get(request_for().key)
    assert entry is not None
    assert (entry.text, entry.finish_reason) == (None, "content_filter")


def test_costs_are_in_the_prices_of_the_user(journal: Journal, request_for: RequestFor) -> None:
    inner = scripted(
        Reply(
            request_key="",
            model="m",
            text="t",
            finish_reason="stop",
            prompt_tokens=2000,
            completion_tokens=100,
        )
    )
    prices = Prices(input_per_million=3, output_per_million=15, currency="EUR")
    teacher = JournaledTeacher(inner, journal, account=Account(prices=prices))
    (reply,) = ask_all(teacher, [request_for()])
    assert reply.cost == pytest.approx(0.0075)
    (again,) = ask_all(teacher, [request_for()])
    assert again == replace(reply, from_journal=True)
    assert teacher.tally.cost == pytest.approx(0.0075)
    assert teacher.tally.cost_from_journal == pytest.approx(0.0075)


def test_the_cap_stops_before_sending_and_not_what_is_in_the_journal(
    journal: Journal, request_for: RequestFor
) -> None:
    inner = scripted("one two")  # three tokens with a prompt of one
    account = Account(prices=PRICES, max_cost=5 + 64 + 10)
    teacher = JournaledTeacher(inner, journal, account=account)
    outcomes = [ask_all(teacher, [request_for(seed=seed)])[0] for seed in range(3)]
    assert [type(o) for o in outcomes] == [Reply, BudgetError, BudgetError]
    assert len(inner.asked) == 1
    assert ask_all(teacher, [request_for(seed=0)])[0].from_journal


def test_the_cap_holds_over_restarts_of_one_run(tmp_path: Path, request_for: RequestFor) -> None:
    inner = scripted("one two")

    def ask(run: str, seed: int) -> Any:
        with Journal(tmp_path / "journal.sqlite") as journal:
            spent = journal.spent(run=run, currency="USD")
            account = Account(prices=PRICES, max_cost=5 + 64 + 10, spent_before=spent)
            teacher = JournaledTeacher(inner, journal, account=account, run=run)
            return ask_all(teacher, [request_for(seed=seed)])[0]

    assert isinstance(ask("a", 1), Reply)
    assert isinstance(ask("a", 2), BudgetError)  # 3 spent before, and 79 might follow
    assert isinstance(ask("b", 2), Reply)  # another run has its own cap


def test_what_the_settings_add_is_part_of_the_key(
    journal: Journal, request_for: RequestFor
) -> None:
    inner = scripted()
    plain = JournaledTeacher(inner, journal)
    warm = JournaledTeacher(inner, journal, extra={"top_k": 40})
    (one,) = ask_all(plain, [request_for()])
    (two,) = ask_all(warm, [request_for()])
    assert one.request_key == request_for().key
    assert two.request_key == request_for(extra={"top_k": 40}).key
    assert [r.extra for r in inner.asked] == [None, {"top_k": 40}]


def test_a_request_to_somebody_else_is_not_answered(
    journal: Journal, request_for: RequestFor
) -> None:
    teacher = JournaledTeacher(scripted(), journal)
    with pytest.raises(SettingsError, match="'other' was handed to the teacher 'm'"):
        asyncio.run(teacher.ask(request_for(model="other")))


def test_nothing_is_sent_when_nothing_can_be_kept(tmp_path: Path, request_for: RequestFor) -> None:
    inner = scripted()
    journal = Journal(tmp_path / "journal.sqlite")
    teacher = JournaledTeacher(inner, journal)
    journal.close()
    (outcome,) = ask_all(teacher, [request_for()])
    assert isinstance(outcome, JournalError)
    assert not isinstance(outcome, TeacherError)  # about the run, not about this example
    assert not inner.asked


def test_a_bug_behind_it_is_not_hidden(journal: Journal, request_for: RequestFor) -> None:
    def bug(_: Request) -> Awaitable[str]:
        raise ZeroDivisionError

    teacher = JournaledTeacher(scripted(bug), journal)
    outcomes = ask_all(teacher, [request_for()] * 2)
    assert [type(o) for o in outcomes] == [ZeroDivisionError] * 2
    assert teacher.tally.under_way == 0


def test_a_stopped_teacher_stops_everybody(journal: Journal, request_for: RequestFor) -> None:
    def stop(_: Request) -> str:
        raise TeacherStoppedError("enough")

    outcomes = ask_all(JournaledTeacher(scripted(stop), journal), [request_for()] * 3)
    assert [type(o) for o in outcomes] == [TeacherStoppedError] * 3
    assert journal.failures() == {}
