"""Cost of a teacher: counting, the limit, and the estimate before a run."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Message
from tutelage.errors import BudgetError, TeacherError, TeacherUnreachableError
from tutelage.teacher import (
    Account,
    Journal,
    JournaledTeacher,
    Prices,
    Request,
    ScriptedTeacher,
    TeacherSettings,
)
from tutelage.teacher.cost import CachedTeacher, Estimate, prompt_tokens_at_most

PRICES = Prices(input_per_million=1e6, output_per_million=1e6)  # one a token


def request_of(text: str, *, max_tokens: int = 10) -> Request:
    messages = (Message(role="user", content=text),)
    return Request(model="m", messages=messages, max_tokens=max_tokens)


async def call(account: Account, request: Request, *, prompt: int, completion: int) -> None:
    async with account.reserved(request):
        await asyncio.sleep(0)
        account.paid(request, prompt_tokens=prompt, completion_tokens=completion, seconds=0.1)


calls = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(calls, st.integers(0, 900), st.integers(0, 100))
def test_the_cap_is_never_passed_whatever_the_calls_cost(
    plan: list[tuple[int, int, float, float]], cap: int, before: int
) -> None:
    account = Account(prices=PRICES, max_cost=cap, spent_before=before)

    async def one(length: int, limit: int, used: float, written: float) -> str:
        request = request_of("x" * length, max_tokens=limit)
        prompt = int(prompt_tokens_at_most(request) * used)
        try:
            await call(account, request, prompt=prompt, completion=int(limit * written))
        except BudgetError:
            return "refused"
        return "asked"

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(*step) for step in plan))

    outcomes = asyncio.run(all_of_them())
    assert len(outcomes) == len(plan)  # nothing hangs
    if "asked" in outcomes:
        assert account.tally.cost + before <= cap


def test_a_call_waits_for_the_reservations_of_others_instead_of_failing() -> None:
    request = request_of("", max_tokens=36)  # at most 64 + 36 tokens
    account = Account(prices=PRICES, max_cost=150)

    async def two() -> None:
        await asyncio.gather(
            call(account, request, prompt=10, completion=1),
            call(account, request, prompt=10, completion=1),
        )

    asyncio.run(two())
    assert account.tally.cost == 22


def test_a_call_that_does_not_fit_even_alone_is_refused_with_the_numbers() -> None:
    account = Account(prices=PRICES, max_cost=150, spent_before=60)
    with pytest.raises(BudgetError, match="may cost 100 USD, 60 of 150 USD is spent") as caught:
        asyncio.run(call(account, request_of("", max_tokens=36), prompt=1, completion=1))
    assert "max_cost" in (caught.value.hint or "")


def test_a_failed_call_gives_its_reservation_back() -> None:
    request = request_of("", max_tokens=36)
    account = Account(prices=PRICES, max_cost=100)

    async def fail() -> None:
        async with account.reserved(request):
            raise TeacherUnreachableError("gone")

    with pytest.raises(TeacherError):
        asyncio.run(fail())
    asyncio.run(call(account, request, prompt=1, completion=1))
    assert account.tally.cost == 2


def test_a_waiting_call_that_is_cancelled_leaves_nothing_behind() -> None:
    request = request_of("", max_tokens=36)
    account = Account(prices=PRICES, max_cost=150)

    async def scene() -> None:
        async with account.reserved(request):
            waiting = asyncio.create_task(call(account, request, prompt=1, completion=1))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
        await call(account, request, prompt=1, completion=1)

    asyncio.run(scene())
    assert account.tally.cost == 2


def test_tokens_that_were_not_counted_are_charged_at_the_most() -> None:
    request = request_of("four", max_tokens=10)
    account = Account(prices=PRICES)
    cost = account.paid(request, prompt_tokens=None, completion_tokens=3, seconds=1.0)
    assert cost == 4 + 64 + 10
    assert account.tally.cost_estimated == cost


def test_without_prices_everything_is_free() -> None:
    account = Account()
    assert account.paid(request_of("x"), prompt_tokens=5, completion_tokens=5, seconds=1.0) == 0.0
    assert account.tally.currency is None


@given(st.text())
def test_a_prompt_has_at_most_as_many_tokens_as_bytes(text: str) -> None:
    bound = prompt_tokens_at_most(request_of(text))
    assert bound == len(text.encode("utf-8", "surrogatepass")) + 64


def test_a_tally_does_not_change_afterwards() -> None:
    account = Account()
    before = account.tally
    account.asked()
    account.attempt_failed(TeacherUnreachableError("x"))
    assert (before.asked, before.under_way, before.failures) == (0, 0, {})
    assert (account.tally.asked, account.tally.under_way) == (1, 1)
    assert account.tally.failures == {"TeacherUnreachableError": 1}


def test_a_tally_fits_a_line_and_a_manifest() -> None:
    account = Account(prices=PRICES, max_cost=1000, spent_before=1)
    account.asked()
    account.paid(request_of("x"), prompt_tokens=1, completion_tokens=1, seconds=0.5)
    account.answered()
    assert account.tally.in_words() == "1 new call, 3.00 of 1000.00 USD"
    assert account.tally.as_dict()["cost"] == 2.0
    assert account.tally.as_dict()["failures"] == {}


def test_requests_are_where_they_should_be(request_for: Callable[..., Request]) -> None:
    account = Account()
    for _ in range(4):
        account.asked()
    account.answered()
    account.failed()
    account.found()
    assert account.tally.under_way == 1


ESTIMATE_PRICES = Prices(input_per_million=2e6, output_per_million=1e6)
SETTINGS = TeacherSettings(model="m", prices=ESTIMATE_PRICES)


def seeded_request(text: str, seed: int = 0) -> Request:
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


@given(st.lists(st.builds(seeded_request, st.text(max_size=200), st.integers(0, 3)), max_size=9))
def test_an_estimate_is_never_above_its_own_limit(empty: Journal, requests: list[Request]) -> None:
    found = estimated(requests, journal=empty)
    assert found.calls == len({r.key for r in requests})
    assert found.cost_expected is not None
    assert found.cost_at_most is not None
    assert found.cost_expected <= found.cost_at_most


def test_an_estimate_by_hand(empty: Journal) -> None:
    found = estimated([seeded_request("x" * 80)], journal=empty)
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
    found = estimated([seeded_request("x")], journal=empty, settings=TeacherSettings(model="m"))
    assert (found.cost_expected, found.cost_at_most, found.currency) == (None, None, None)
