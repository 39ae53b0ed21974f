import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import OK, SAMPLE, Example, Message, example_id_of
from tutelage.errors import TeacherError
from tutelage.refinement import (
    REFINEMENT_STATUSES,
    Crowd,
    SampleSettings,
    sample_in_waves,
    sample_of_reply,
    sample_request,
)
from tutelage.teacher import Reply, ScriptedTeacher


def example(*turns):
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    return Example(example_id=example_id_of(messages), messages=messages)


QUESTION = example(("user", "Why is the sky blue?"))
ANSWERED = example(("user", "Why is the sky blue?"), ("assistant", "I'm sorry, but I cannot see."))
CHAT = example(
    ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Why is ice cold?")
)
TEACHER = ScriptedTeacher("x")


def of_text(text, *, row=QUESTION, finish="stop", **settings):
    reply = Reply(request_key="k", model="m", text=text, finish_reason=finish)
    return sample_of_reply(row, reply, teacher=TEACHER, settings=SampleSettings(**settings))


def sampled(script, rows, **settings):
    teacher = script if isinstance(script, ScriptedTeacher) else ScriptedTeacher(script)
    return samples(rows, teacher=teacher, outstanding=4, **settings)


def samples(rows, *, teacher, outstanding, on_done=None, **settings):
    return asyncio.run(
        sample_in_waves(
            rows,
            crowd=Crowd(teachers=(teacher,), shares=(1.0,)),
            settings=SampleSettings(**settings),
            on_done=on_done,
            outstanding=outstanding,
        )
    )


def requests_of(row, settings):
    return [
        sample_request(row, index, teacher=TEACHER, settings=settings)
        for index in range(settings.n)
    ]


def test_each_sample_is_a_request_with_its_own_seed():
    settings = SampleSettings(n=16)
    rows = [QUESTION, CHAT]
    requests = [r for row in rows for r in requests_of(row, settings)]
    assert len({r.seed for r in requests}) == 32
    assert len({r.key for r in requests}) == 32
    assert all(0 <= r.seed < 2**31 for r in requests)
    assert all(r.temperature == settings.temperature for r in requests)


def test_growing_n_asks_only_for_the_new_ones():
    few = requests_of(QUESTION, SampleSettings(n=4))
    more = requests_of(QUESTION, SampleSettings(n=16))
    assert [r.key for r in few] == [r.key for r in more[:4]]


def test_the_base_seed_changes_every_seed():
    one = requests_of(QUESTION, SampleSettings(seed=0))
    other = requests_of(QUESTION, SampleSettings(seed=1))
    assert not {r.seed for r in one} & {r.seed for r in other}


def test_the_teacher_is_sent_the_context_and_never_the_known_response():
    request = sample_request(ANSWERED, 0, teacher=TEACHER, settings=SampleSettings())
    assert request.messages == ANSWERED.messages[:1]
    request = sample_request(CHAT, 0, teacher=TEACHER, settings=SampleSettings())
    assert request.messages == CHAT.messages


def test_a_system_prompt_is_for_the_teacher_only():
    settings = SampleSettings(n=1, system="Think step by step.")
    request = sample_request(QUESTION, 0, teacher=TEACHER, settings=settings)
    assert [m.role for m in request.messages] == ["system", "user"]
    request = sample_request(CHAT, 0, teacher=TEACHER, settings=settings)
    assert request.messages[0].content == "Think step by step.\n\nBe brief."
    assert request.messages[1:] == CHAT.messages[1:]
    (candidate,) = sampled("Molecules move slowly.", [CHAT], n=1, system="Think step by step.")
    assert candidate.messages[:-1] == CHAT.messages


def test_a_sample_has_no_parent_and_ends_with_the_response():
    candidate = of_text("\n\nBlue light scatters most.\n")
    assert (candidate.status, candidate.step, candidate.parent_id) == (OK, SAMPLE, None)
    assert candidate.response == "Blue light scatters most."
    assert candidate.context == QUESTION.messages
    assert candidate.request_key == "k"


@pytest.mark.parametrize(
    ("status", "text", "how"),
    [
        ("cut_by_length", "Blue light", {"finish": "length"}),
        ("refused", "Blue light", {"finish": "content_filter"}),
        ("refused", "I'm sorry, but I can't help with that.", {}),
        ("empty_response", " \n", {}),
        ("empty_response", "<think>\nhm\n</think>\n", {}),
        ("unparseable", "<think>\nhm", {}),
        ("unparseable", "\udc00 light", {}),
        ("unclear_end", "Blue light", {"finish": "unknown"}),
        ("degenerate", "Blue light scatters and scatters again. " * 30, {}),
        ("under_min_length", "Blue", {"min_response_chars": 5}),
        ("over_max_length", "Blue light", {"max_response_chars": 5}),
    ],
)
def test_a_faulty_sample_is_named_and_has_no_text(status, text, how):
    candidate = of_text(text, **how)
    assert (candidate.status, candidate.messages) == (status, ())
    assert candidate.detail


def test_a_refusal_passes_where_the_known_response_declines_too():
    assert of_text("I'm sorry, but I can't help with that.", row=ANSWERED).status == OK


def test_thoughts_are_kept_for_students_of_reasoning():
    text = "<think>\nIt scatters.\n</think>\nBlue light scatters most."
    assert of_text(text).response == text


def test_equal_samples_are_kept_once_and_recorded_each():
    lines = ["One.", "Two.", "One. ", "I'm sorry, but I can't help.", "Two.", "One."]
    script = iter(lines)
    teacher = ScriptedTeacher(lambda _: next(script))
    candidates = samples([QUESTION], teacher=teacher, outstanding=1, n=6)
    dup = "duplicate_sample"
    assert [c.status for c in candidates] == [OK, OK, dup, "refused", dup, dup]
    assert candidates[0].candidate_id in candidates[2].detail
    assert candidates[1].candidate_id in candidates[4].detail
    assert len({c.candidate_id for c in candidates}) == 6
    assert all(c.request_key for c in candidates)


def test_the_first_by_index_is_kept_whatever_comes_first():
    settings = SampleSettings(n=4)
    keys = [r.key for r in requests_of(QUESTION, settings)]

    async def answer(request):
        await asyncio.sleep(0.004 * (4 - keys.index(request.key)))
        return "Same."

    candidates = sampled(ScriptedTeacher(answer), [QUESTION], n=4)
    assert [c.status for c in candidates] == [OK] + ["duplicate_sample"] * 3
    assert [c.request_key for c in candidates] == keys


def rows_of(count):
    return [example(("user", f"Question {i}?")) for i in range(count)]


def test_every_example_gets_n_outcomes_in_order_and_each_is_reported():
    async def answer(request):
        await asyncio.sleep(0.0005 * (request.seed % 5))
        if request.seed % 3 == 0:
            raise TeacherError("no answer")
        return f"{request.messages[-1].content} {request.seed}"

    rows, seen = rows_of(9), []
    teacher = ScriptedTeacher(answer)
    candidates = samples(rows, teacher=teacher, outstanding=4, on_done=seen.append, n=3)
    assert [c.example_id for c in candidates] == [r.example_id for r in rows for _ in range(3)]
    assert {c.status for c in candidates} == {OK, "teacher_failed"}
    assert sorted(c.candidate_id for c in seen) == sorted(c.candidate_id for c in candidates)
    assert len({c.candidate_id for c in candidates}) == 27


def test_the_outcome_of_an_example_does_not_depend_on_the_others():
    def answer(request):
        return str(request.seed)

    rows = rows_of(6)
    forwards = sampled(answer, rows, n=3)
    backwards = sampled(answer, rows[::-1], n=3)
    assert {c.candidate_id for c in forwards} == {c.candidate_id for c in backwards}


finishes = st.sampled_from(["stop", "length", "content_filter", "unknown", ""])


@given(st.text(), finishes)
def test_any_reply_gives_one_candidate(text, finish):
    candidate = of_text(text, finish=finish)
    assert candidate.status in REFINEMENT_STATUSES
    if candidate.status == OK:
        assert finish == "stop"
        assert candidate.response.strip()
        assert candidate.response.strip() == text.strip() or candidate.response in text
        candidate.response.encode()
