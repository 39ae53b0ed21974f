import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import (
    INSTRUCTION_REFLECTION,
    OK,
    RESPONSE_REFLECTION,
    Candidate,
    Message,
    candidate_id_of,
    example_id_of,
)
from tutelage.errors import (
    BudgetError,
    NotInJournalError,
    RunError,
    SettingsError,
    TeacherError,
    TeacherStoppedError,
    TeacherUnreachableError,
    UnusableReplyError,
)
from tutelage.refinement import (
    REFINEMENT_STATUSES,
    RefineSettings,
    candidate_of_reply,
    reflect,
    reflect_all,
    reflection_request,
)
from tutelage.teacher import Reply, ScriptedTeacher

STEPS = (INSTRUCTION_REFLECTION, RESPONSE_REFLECTION)
SETTINGS = RefineSettings()
ONE_ATTEMPT = RefineSettings(attempts=1)


def reflected(parent, teacher, *, step, settings=SETTINGS):
    return asyncio.run(reflect(parent, step=step, teacher=teacher, settings=settings))


def original(*turns, status=OK):
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    example_id = example_id_of(messages)
    return Candidate(
        candidate_id=candidate_id_of(
            example_id=example_id, step="original", parent_id=None, teacher=None, messages=messages
        ),
        example_id=example_id,
        messages=messages if status == OK else (),
        status=status,
    )


PAIR = original(
    ("user", "What is photosynthesis?"), ("assistant", "It is how plants make their food.")
)
CHAT = original(
    ("system", "You cook."),
    ("user", "How do I boil an egg?"),
    ("assistant", "Put it into boiling water for 8 minutes."),
    ("user", "And a soft one?"),
    ("assistant", "Less time."),
)
NEW_INSTRUCTION = "Explain photosynthesis to a child of ten in three sentences."
NEW_RESPONSE = "Plants catch sunlight with their leaves. They turn it into sugar. Oxygen is left."


def markers(instruction=NEW_INSTRUCTION, response=NEW_RESPONSE, *, end="\n<<<END>>>"):
    middle = "" if instruction is None else f"<<<NEW INSTRUCTION>>>\n{instruction}\n"
    last = "" if response is None else f"<<<NEW RESPONSE>>>\n{response}{end}"
    return f"<<<CRITICISM>>>\nToo short.\n{middle}{last}"


def as_json(**parts):
    return json.dumps(parts)


def of_text(text, *, step=INSTRUCTION_REFLECTION, parent=PAIR, finish="stop", schema=False, **more):
    teacher = ScriptedTeacher("", supports_schema=schema)
    reply = Reply(request_key="k", model="m", text=text, finish_reason=finish)
    return candidate_of_reply(
        parent, reply, step=step, teacher=teacher, settings=RefineSettings(**more)
    )


def test_an_instruction_reflection_replaces_both_halves():
    candidate = of_text(markers())
    assert candidate.status == OK
    assert candidate.instruction == NEW_INSTRUCTION
    assert candidate.response == NEW_RESPONSE
    assert candidate.criticism == "Too short."
    assert candidate.parent_id == PAIR.candidate_id
    assert candidate.example_id == PAIR.example_id
    assert candidate.step == INSTRUCTION_REFLECTION
    assert candidate.teacher == "scripted"
    assert candidate.request_key == "k"
    assert candidate.finish_reason == "stop"


def test_a_response_reflection_replaces_the_response_alone():
    candidate = of_text(markers(None), step=RESPONSE_REFLECTION)
    assert candidate.status == OK
    assert candidate.instruction == PAIR.instruction
    assert candidate.response == NEW_RESPONSE


def test_json_is_read_where_the_teacher_supports_a_schema():
    text = as_json(
        criticism="Too short.", new_instruction=NEW_INSTRUCTION, new_response=NEW_RESPONSE
    )
    candidate = of_text(text, schema=True)
    assert candidate.messages == of_text(markers()).messages
    assert candidate.candidate_id == of_text(markers()).candidate_id


@pytest.mark.parametrize("step", STEPS)
def test_earlier_turns_and_the_system_prompt_stay(step):
    instruction = NEW_INSTRUCTION if step == INSTRUCTION_REFLECTION else None
    candidate = of_text(markers(instruction), step=step, parent=CHAT)
    assert candidate.messages[:3] == CHAT.messages[:3]
    assert len(candidate.messages) == 5
    assert candidate.instruction == (instruction or "And a soft one?")


ENGLISH = "This is a perfectly ordinary response about plants and light."
CHINESE = "植物通过光合作用把阳光变成能量并且释放出氧气"

FAULTS = [
    ("cut_by_length", markers(), {"finish": "length"}),
    ("cut_by_length", "", {"finish": "length"}),
    ("refused", markers(), {"finish": "content_filter"}),
    ("refused", "I'm sorry, but I can't assist with that request.", {}),
    ("refused", markers(response="I'm sorry, but I cannot help with that."), {}),
    (
        "refused",
        as_json(criticism="", new_instruction="Why?", new_response="I cannot assist."),
        {"schema": True},
    ),
    ("echoed_prompt", markers("(the complete new instruction)"), {}),
    ("echoed_prompt", markers("[Your new instruction here]"), {}),
    ("echoed_prompt", markers(response="..."), {}),
    ("echoed_prompt", markers(response="=== OLD RESPONSE ===\n" + ENGLISH), {}),
    ("echoed_prompt", markers(response=ENGLISH + "\n```\n<<<NEW INSTRUCTION>>>\n```"), {}),
    ("echoed_prompt", markers("Do not mention the old pair, the criticism or this task."), {}),
    ("unparseable", "Plants are green.", {}),
    ("unparseable", markers() + "\n" + markers(), {}),
    ("unparseable", "{", {"schema": True}),
    ("unparseable", as_json(new_response=1, new_instruction="x", criticism="y"), {"schema": True}),
    ("unparseable", as_json(new_response="a", new_instruction="x", other="y"), {"schema": True}),
    ("unparseable", '{"new_instruction": "\\alpha", "new_response": "x"}', {"schema": True}),
    ("unparseable", '{"new_instruction": "\\frac12", "new_response": "x"}', {"schema": True}),
    ("unparseable", '{"new_instruction": "\\ud800", "new_response": "x"}', {"schema": True}),
    ("unparseable", markers(response="\ud800" + ENGLISH), {}),
    ("unparseable", markers(), {"step": RESPONSE_REFLECTION}),
    (
        "unparseable",
        as_json(criticism="", new_instruction="new", new_response="x"),
        {"schema": True, "step": RESPONSE_REFLECTION},
    ),
    ("half_parsed", markers(response=None), {}),
    ("half_parsed", markers(None), {}),
    ("half_parsed", as_json(new_instruction="x"), {"schema": True}),
    ("half_parsed", as_json(new_response="x"), {"schema": True}),
    ("empty_response", "", {}),
    ("empty_response", " \n", {"schema": True}),
    ("empty_response", markers(response=" \n"), {}),
    (
        "empty_response",
        as_json(criticism="", new_instruction="x", new_response=" "),
        {"schema": True},
    ),
    ("empty_instruction", markers("\n"), {}),
    ("empty_instruction", markers("N/A"), {}),
    ("empty_instruction", as_json(new_instruction="", new_response="x"), {"schema": True}),
    ("unclear_end", markers(end=""), {"finish": "unknown"}),
    ("unchanged", markers("What  is photosynthesis?", PAIR.response + "\n"), {}),
    ("unchanged", markers(None, PAIR.response), {"step": RESPONSE_REFLECTION}),
    ("half_changed", markers(response=PAIR.response), {}),
    ("half_changed", markers(PAIR.instruction), {}),
    ("degenerate", markers(response="We go on and on and on and on. " * 40), {}),
    ("degenerate", markers("Say it.", "Say it."), {}),
    ("degenerate", markers(f"What are leaves for? {NEW_RESPONSE} Say it well."), {}),
    ("meta_talk", markers("Say it in French. The instruction is clear and asks for more."), {}),
    ("meta_talk", markers(response="The original response was too short. " + ENGLISH), {}),
    ("meta_talk", markers("Mend the grammar of the instruction and response."), {}),
    ("meta_talk", markers("Rewrite the original instruction with more detail."), {}),
    ("wrong_language", markers(response=CHINESE), {}),
    ("under_min_length", markers(response="Yes."), {"min_response_chars": 10}),
    ("over_max_length", markers(), {"max_instruction_chars": 10}),
]


@pytest.mark.parametrize(("status", "text", "how"), FAULTS)
def test_a_faulty_reply_is_named_and_has_no_text(status, text, how):
    candidate = of_text(text, **how)
    assert (candidate.status, candidate.detail is not None) == (status, True)
    assert candidate.messages == ()
    assert candidate.request_key == "k"
    assert status in REFINEMENT_STATUSES


GOOD = [
    markers(end=""),
    markers(response="The field is N/A unless you set it."),
    markers(response="N/A"),
    markers(response="The Endocrine system ends here.\nEnd"),
    markers(response="```python\nprint('<<<END>>>')\n```"),
    markers(response="    return 1"),
    markers(response="It says 植物 in Chinese, which means plant."),
    "<think>\nI should use <<<NEW RESPONSE>>>\n<<<END>>>\n</think>\n" + markers(),
    "```\n" + markers() + "\n```",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_reply_passes(text):
    candidate = of_text(text)
    assert (candidate.status, candidate.detail) == (OK, None)


def test_a_refusal_passes_where_the_original_declines_too():
    declining = original(
        ("user", "What is the weather now?"),
        ("assistant", "I'm sorry, but I cannot provide live weather."),
    )
    text = markers(None, "I'm sorry, but I can't provide live data. Look at a weather service.")
    assert of_text(text, step=RESPONSE_REFLECTION, parent=declining).status == OK
    assert of_text(text, step=RESPONSE_REFLECTION).status == "refused"


def test_an_instruction_about_texts_may_be_answered_with_talk_about_texts():
    parent = original(("user", "Improve this text: me go home."), ("assistant", "I goes home."))
    text = markers(None, "Here is the improved version: I am going home.")
    assert of_text(text, step=RESPONSE_REFLECTION, parent=parent).status == OK


def test_a_translation_may_be_in_the_language_of_the_old_one():
    parent = original(("user", "Translate into Chinese: plants make food."), ("assistant", CHINESE))
    assert (
        of_text(markers(None, CHINESE[::-1]), step=RESPONSE_REFLECTION, parent=parent).status == OK
    )


SUMMARY = original(
    ("user", "Summarise the review.\nThe food was cold and the waiter ignored us."),
    ("assistant", "A bad evening."),
)


@pytest.mark.parametrize(
    ("instruction", "status"),
    [
        ("Summarise the review in one word and say why.", "lost_input"),
        ("Is this sentence a complaint?", "lost_input"),
        ("Is this a complaint: the food was cold, and the waiter ignored us?", OK),
        ("Is this review a complaint: we shall come again?", OK),
        ("Write a short review. The review should have two parts.", OK),
        ("Write a review of a bad evening in a restaurant.", OK),
        ("What makes a review of a restaurant useful?", OK),
    ],
)
def test_a_new_instruction_holds_the_text_it_speaks_of(instruction, status):
    assert of_text(markers(instruction), parent=SUMMARY).status == status


fragments = st.sampled_from(
    [
        "<<<CRITICISM>>>",
        "<<<NEW INSTRUCTION>>>",
        "<<<NEW RESPONSE>>>",
        "<<<END>>>",
        "```",
        PAIR.instruction,
        PAIR.response,
        NEW_INSTRUCTION,
        NEW_RESPONSE,
        "I'm sorry, but I can't assist.",
        '{"new_instruction": "',
        '", "new_response": "',
        '"}',
        "\\",
        "<think>",
        "</think>",
        "",
        " ",
    ]
)
texts = st.one_of(st.text(), st.lists(fragments, max_size=12).map("\n".join))
finishes = st.sampled_from(["stop", "length", "content_filter", "unknown", ""])


@given(texts, finishes, st.sampled_from(STEPS), st.booleans(), st.sampled_from([PAIR, CHAT]))
def test_any_reply_gives_one_candidate_that_never_mixes_old_and_new(
    text, finish, step, schema, parent
):
    candidate = of_text(text, finish=finish, step=step, schema=schema, parent=parent)
    assert candidate.status in REFINEMENT_STATUSES
    assert candidate.parent_id == parent.candidate_id
    assert candidate.step == step
    if candidate.status != OK:
        assert candidate.messages == ()
        assert candidate.detail
        return
    assert finish not in {"length", "content_filter"}
    assert candidate.instruction.strip()
    assert candidate.response.strip()
    assert candidate.messages[: len(parent.context) - 1] == parent.context[:-1]
    assert candidate.response.split() != parent.response.split()
    same_instruction = candidate.instruction.split() == parent.instruction.split()
    assert same_instruction == (step == RESPONSE_REFLECTION)
    candidate.instruction.encode()
    candidate.response.encode()


def test_the_pair_and_its_context_are_shown_to_the_teacher():
    teacher = ScriptedTeacher("")
    for step in STEPS:
        request = reflection_request(CHAT, step=step, teacher=teacher, settings=SETTINGS)
        shown = request.messages[-1].content
        for message in CHAT.messages:
            assert message.content in shown
        assert request.schema is None
        rules = request.messages[0].content
        assert "<<<NEW RESPONSE>>>" in rules
        assert ("<<<NEW INSTRUCTION>>>" in rules) == (step == INSTRUCTION_REFLECTION)


def test_text_of_the_data_is_never_a_template():
    tricky = original(("user", "Say {{ instruction }} {% if %}"), ("assistant", "{{ 1 / 0 }} {#"))
    request = reflection_request(
        tricky, step=RESPONSE_REFLECTION, teacher=ScriptedTeacher(""), settings=SETTINGS
    )
    assert tricky.instruction in request.messages[-1].content
    assert tricky.response in request.messages[-1].content


def test_a_schema_is_used_as_the_settings_say():
    able = ScriptedTeacher("", supports_schema=True)
    unable = ScriptedTeacher("")

    def schema(teacher, use):
        return reflection_request(
            PAIR,
            step=INSTRUCTION_REFLECTION,
            teacher=teacher,
            settings=RefineSettings(use_schema=use),
        ).schema

    assert schema(able, "auto") is not None
    assert schema(able, "always") is not None
    assert schema(able, "never") is None
    assert schema(unable, "auto") is None
    with pytest.raises(SettingsError, match="does not support a schema"):
        schema(unable, "always")


def test_a_retry_is_another_request_and_a_first_attempt_always_the_same():
    teacher = ScriptedTeacher("")

    def request(attempt):
        return reflection_request(
            PAIR, step=STEPS[0], teacher=teacher, settings=SETTINGS, attempt=attempt
        )

    assert request(0).key == request(0).key
    assert len({request(a).key for a in range(4)}) == 4
    assert request(0).temperature == 0.0
    assert request(1).temperature > 0.0
    assert request(1).seed != request(0).seed


def test_an_unusable_reply_is_asked_for_again_until_the_attempts_are_used_up():
    replies = iter(["nonsense", markers()])
    teacher = ScriptedTeacher(lambda _: next(replies))
    candidate = reflected(PAIR, teacher, step=INSTRUCTION_REFLECTION)
    assert candidate.status == OK
    assert candidate.request_key == teacher.asked[1].key
    teacher = ScriptedTeacher("nonsense")
    settings = RefineSettings(attempts=3)
    candidate = reflected(PAIR, teacher, step=INSTRUCTION_REFLECTION, settings=settings)
    assert candidate.status == "unparseable"
    assert len(teacher.asked) == 3
    assert candidate.request_key == teacher.asked[2].key


def test_a_cut_reply_is_asked_for_again_only_where_it_looped():
    def asked(text):
        cut = Reply(request_key="", model="m", text=text, finish_reason="length")
        teacher = ScriptedTeacher(cut)
        outcome = reflected(PAIR, teacher, step=RESPONSE_REFLECTION)
        assert outcome.status == "cut_by_length"
        return len(teacher.asked)

    assert asked("On and on we go. " * 60) == 2
    assert asked(ENGLISH) == 1


def test_a_refusal_is_not_asked_for_again():
    teacher = ScriptedTeacher("I'm sorry, but I can't assist with that.")
    candidate = reflected(PAIR, teacher, step=RESPONSE_REFLECTION)
    assert candidate.status == "refused"
    assert len(teacher.asked) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TeacherUnreachableError("no answer in 3 s"), "teacher_failed"),
        (NotInJournalError("key not there"), "not_in_journal"),
        (BudgetError("2.00 would be passed"), "over_budget"),
    ],
)
def test_a_teacher_that_fails_is_recorded_with_type_and_message(error, status):
    candidate = reflected(PAIR, ScriptedTeacher(error), step=RESPONSE_REFLECTION)
    assert candidate.status == status
    assert candidate.detail == f"{type(error).__name__}: {error}"
    assert candidate.request_key is not None


def test_two_failed_requests_have_two_ids():
    teacher = ScriptedTeacher(TeacherError("no answer"))
    one, other = (
        asyncio.run(
            reflect(
                PAIR, step=RESPONSE_REFLECTION, teacher=teacher, settings=RefineSettings(seed=seed)
            )
        )
        for seed in (0, 1)
    )
    assert one.candidate_id != other.candidate_id


@pytest.mark.parametrize(
    ("finish", "status"),
    [("length", "cut_by_length"), ("content_filter", "refused"), ("stop", "teacher_failed")],
)
def test_an_answer_without_text_is_named_by_what_the_server_said(finish, status):
    error = UnusableReplyError("answered without text")
    error.finish_reason = finish
    candidate = reflected(PAIR, ScriptedTeacher(error), step=RESPONSE_REFLECTION)
    assert candidate.status == status


def test_a_parent_without_text_is_not_asked_about():
    teacher = ScriptedTeacher("x")
    parent = original(("user", "a"), ("assistant", "b"), status="refused")
    candidate = reflected(parent, teacher, step=RESPONSE_REFLECTION)
    assert (candidate.status, teacher.asked) == ("parent_failed", [])


def many(count):
    return [
        original(("user", f"Question {i}?"), ("assistant", f"Reply {i}.")) for i in range(count)
    ]


def number_in(request):
    return int(request.messages[-1].content.split("Question ")[1].split("?")[0])


@pytest.mark.parametrize("outstanding", [1, 3, 100])
def test_outcomes_come_in_the_order_of_the_parents(outstanding):
    async def answer(request):
        number = number_in(request)
        await asyncio.sleep(0.001 * (number * 7 % 5))
        if number % 4 == 3:
            raise TeacherError(f"no reply to {number}")
        return markers(None, f"Another reply {number}.")

    parents = many(17)
    seen = []
    outcomes = asyncio.run(
        reflect_all(
            iter(parents),
            step=RESPONSE_REFLECTION,
            teacher=ScriptedTeacher(answer),
            settings=SETTINGS,
            on_done=seen.append,
            outstanding=outstanding,
        )
    )
    assert [o.parent_id for o in outcomes] == [p.candidate_id for p in parents]
    assert [o.status for o in outcomes] == [
        "teacher_failed" if i % 4 == 3 else OK for i in range(17)
    ]
    assert sorted(o.candidate_id for o in seen) == sorted(o.candidate_id for o in outcomes)
    assert len({o.candidate_id for o in outcomes}) == 17


def test_no_more_are_in_work_than_allowed_and_parents_are_taken_lazily():
    taken, done, most = 0, 0, 0

    def parents():
        nonlocal taken, most
        for parent in many(30):
            taken += 1
            most = max(most, taken - done)
            yield parent

    async def answer(request):
        nonlocal done
        await asyncio.sleep(0)
        done += 1
        return markers(None, "Another.")

    asyncio.run(
        reflect_all(
            parents(),
            step=RESPONSE_REFLECTION,
            teacher=ScriptedTeacher(answer),
            settings=SETTINGS,
            outstanding=4,
        )
    )
    assert done == 30
    assert most <= 5


def test_nobody_is_asked_once_the_budget_is_used_up():
    def answer(request):
        if number_in(request) >= 5:
            raise BudgetError("1.00 would be passed")
        return markers(None, "Another.")

    teacher = ScriptedTeacher(answer)
    outcomes = asyncio.run(
        reflect_all(
            many(20), step=RESPONSE_REFLECTION, teacher=teacher, settings=SETTINGS, outstanding=2
        )
    )
    assert [o.status for o in outcomes] == [OK] * 5 + ["over_budget"] * 15
    assert len(teacher.asked) <= 7
    assert len({o.candidate_id for o in outcomes}) == 20


@pytest.mark.parametrize(
    "error", [RunError("the disk is full"), TeacherStoppedError("the first 3 were refused")]
)
def test_an_error_about_the_whole_run_stops_it(error, monkeypatch):
    monkeypatch.setattr("tutelage.refinement.concurrency.GRACE_SECONDS", 0.05)

    async def answer(request):
        if number_in(request) == 3:
            raise error
        await asyncio.sleep(60)

    async def run():
        with pytest.raises(type(error), match=str(error)):
            await reflect_all(
                many(10),
                step=RESPONSE_REFLECTION,
                teacher=ScriptedTeacher(answer),
                settings=SETTINGS,
            )
        return [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]

    assert asyncio.run(run()) == []


def test_a_cancelled_run_leaves_no_task_behind():
    async def answer(request):
        await asyncio.sleep(60)

    async def run():
        work = asyncio.create_task(
            reflect_all(
                many(10),
                step=RESPONSE_REFLECTION,
                teacher=ScriptedTeacher(answer),
                settings=SETTINGS,
            )
        )
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]

    assert asyncio.run(run()) == []


@given(st.lists(fragments, max_size=8).map("\n".join), st.integers(1, 3))
def test_asking_always_ends_in_one_candidate(text, attempts):
    teacher = ScriptedTeacher(text)
    settings = RefineSettings(attempts=attempts)
    candidate = reflected(PAIR, teacher, step=INSTRUCTION_REFLECTION, settings=settings)
    assert candidate.status in REFINEMENT_STATUSES
    assert 1 <= len(teacher.asked) <= attempts
