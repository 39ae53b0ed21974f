import asyncio

import pytest

from tutelage.errors import BudgetError, TeacherError
from tutelage.filters.candidates import pool_of
from tutelage.filters.config import TeacherRatingSettings
from tutelage.filters.llm_difficulty import parse_rating, rate_difficulty
from tutelage.teacher import Reply, ScriptedTeacher


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("One step.\nDifficulty: 2", 2),
        ("**Difficulty:** 4", 4),
        ("difficulty = 5/5", 5),
        ("Difficulty: 3 out of 5\nDifficulty: 3", 3),
        ("4", 4),
        (" 1.\n", 1),
        ("", None),
        ("It is hard.", None),
        ("Difficulty: 0", None),
        ("Difficulty: 6", None),
        ("Difficulty: 10", None),
        ("Difficulty: 3.5", None),
        ("Difficulty: 3/10", None),
        ("Difficulty: 2\nDifficulty: 4", None),
        ("Difficulty: -3", None),
        ("Difficulty: 3-4", None),
        ("Difficulty: 3 (several steps)", 3),
        ("Difficulty: easy, I think.\n_Difficulty_: 2.", 2),
        ("42", None),
        ("There are 3 steps.", None),
    ],
)
def test_only_a_rating_that_was_given_is_read(reply, rating):
    assert parse_rating(reply) == rating


def _rate(pool, script, **settings):
    teacher = ScriptedTeacher(script)
    numbers = asyncio.run(rate_difficulty(pool, TeacherRatingSettings(**settings), teacher))
    return numbers, teacher


def test_a_reply_without_a_rating_is_a_reason_and_never_a_number(make_candidates):
    pool = pool_of(make_candidates([("easy", "r"), ("odd", "r"), ("cut", "r"), ("bad", "r")]))

    def answer(request):
        text = request.messages[-1].content
        if "\neasy\n" in text:
            return "Difficulty: 1"
        if "\nodd\n" in text:
            return "I cannot say."
        if "\ncut\n" in text:
            return Reply(request_key="", model="m", text="Difficulty: 1", finish_reason="length")
        return TeacherError("the server is gone")

    numbers, _ = _rate(pool, answer)
    assert numbers.known_N.tolist() == [True, False, False, False]
    assert numbers.values_N[0] == 1.0
    assert numbers.reasons_N == ["", "unparseable", "cut_by_length", "teacher_failed"]
    assert numbers.details_N[3] == "TeacherError: the server is gone"
    assert "I cannot say." in (numbers.details_N[1] or "")


def test_a_spent_budget_is_its_own_reason(make_candidates):
    pool = pool_of(make_candidates([("a", "r")]))
    numbers, _ = _rate(pool, lambda _: BudgetError("no money"))
    assert numbers.reasons_N == ["over_budget"]


def test_equal_instructions_are_asked_once(make_candidates):
    pool = pool_of(make_candidates([("a", "1"), ("a", "2"), ("b {x}", "3")]))
    numbers, teacher = _rate(pool, "Difficulty: 3")
    assert len(teacher.asked) == 2
    assert numbers.values_N.tolist() == [3.0, 3.0, 3.0]


def test_no_more_requests_are_open_than_allowed(make_candidates):
    pool = pool_of(make_candidates([(f"task {i}", "r") for i in range(10)]))
    now, most = 0, 0

    async def answer(_):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return "Difficulty: 2"

    _rate(pool, answer, concurrency=3)
    assert most == 3


def test_the_teacher_sees_the_conversation_and_rates_each_once(make_candidates):
    table = make_candidates([("And now?", "r"), ("And now?", "r"), ("And now?", "s")])
    earlier = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    rows = table.to_pylist()
    rows[1]["messages"] = [*earlier, *rows[1]["messages"]]
    rows[2]["messages"] = [*earlier, *rows[2]["messages"]]
    pool = pool_of(table.from_pylist(rows, schema=table.schema))
    numbers, teacher = _rate(pool, "Difficulty: 3")
    assert numbers.values_N.tolist() == [3.0, 3.0, 3.0]
    alone, together = [request.messages[0].content for request in teacher.asked]
    assert "<task>\nAnd now?\n</task>" in alone
    assert "<conversation>\n[user]\n2 + 2?\n\n[assistant]\n4\n\n[user]\nAnd now?\n<" in together
    assert "last request of the user in the conversation below" in together
