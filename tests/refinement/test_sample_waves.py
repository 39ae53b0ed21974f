"""Several teachers in shares, and exactly K accepted responses within a budget."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import OK, Example, Message, example_id_of
from tutelage.errors import SettingsError
from tutelage.refinement import Crowd, SampleSettings, sample_in_waves, sample_request
from tutelage.teacher import ScriptedTeacher


def example(text):
    messages = (Message(role="user", content=text),)
    return Example(example_id=example_id_of(messages), messages=messages)


ROWS = [example(f"What is {n} and one?") for n in range(20)]


def writer(name, text="{key}"):
    """A teacher whose answers differ by request, or are all the same."""
    return ScriptedTeacher(lambda request: text.format(key=request.key[:9]), name=name)


def crowd(**shares):
    teachers = tuple(writer(name) for name in shares)
    return Crowd(teachers=teachers, shares=tuple(shares.values()))


def sampled(of, *, accept=None, rows=ROWS, asked=None, **settings):
    def note(candidate):
        if asked is not None:
            asked.append(candidate.example_id)

    return asyncio.run(
        sample_in_waves(
            rows, crowd=of, settings=SampleSettings(**settings), accept=accept, on_done=note
        )
    )


def accept_evens(pairs):
    return [c.candidate_id for _, c in pairs if int(c.response, 16) % 2 == 0]


def test_shares_hold_over_all_and_nearly_within_each_example():
    found = sampled(crowd(strong=1, weak=4), n=10)
    counts = Counter(c.teacher for c in found)
    assert counts["weak"] + counts["strong"] == 200
    assert abs(counts["strong"] - 40) <= 4
    by_example = Counter(c.example_id for c in found if c.teacher == "strong")
    assert all(1 <= by_example[row.example_id] <= 3 for row in ROWS)


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=4), st.integers(0, 500))
def test_only_the_ratios_of_shares_count(shares, index):
    names = [f"t{n}" for n in range(len(shares))]
    of = crowd(**dict(zip(names, shares, strict=True)))
    scaled = crowd(**dict(zip(names, (share * 8 for share in shares), strict=True)))
    assert of.teacher_of("x", index).name == scaled.teacher_of("x", index).name


def test_each_instruction_gets_exactly_as_many_accepted_as_wanted():
    asked = []
    found = sampled(crowd(a=1), n=40, accepted=3, accept=accept_evens, asked=asked)
    per_example = Counter(asked)
    for row in ROWS:
        mine = [c for c in found if c.example_id == row.example_id]
        right = [c for c in mine if int(c.response, 16) % 2 == 0]
        assert len(right) == 3
        assert len(mine) == per_example[row.example_id]
        assert right[-1] == mine[-1]  # nothing was asked after the last that was wanted


def test_the_budget_ends_an_instruction_that_is_never_accepted():
    asked = []
    found = sampled(crowd(a=1), n=7, accepted=3, accept=lambda _: (), asked=asked)
    assert Counter(asked) == {row.example_id: 7 for row in ROWS}
    assert len(found) == 140


def test_the_same_text_is_accepted_once_whoever_wrote_it():
    same = Crowd(teachers=(writer("a", "Four."), writer("b", "Four.")), shares=(1, 1))
    accepted = []

    def accept(pairs):
        accepted.extend(c.candidate_id for _, c in pairs)
        return list(accepted)

    found = sampled(same, n=6, accepted=2, accept=accept, rows=ROWS[:1])
    statuses = [c.status for c in found]
    assert statuses == [OK, *["duplicate_sample"] * 5]
    assert len(accepted) == 1


def test_what_is_asked_is_the_same_again_so_that_a_journal_can_answer():
    def keys(found):
        return [c.request_key for c in found]

    first = sampled(crowd(a=1, b=2), n=9, accepted=2, accept=accept_evens)
    again = sampled(crowd(a=1, b=2), n=9, accepted=2, accept=accept_evens)
    assert keys(first) == keys(again)
    request = sample_request(ROWS[0], 0, teacher=writer("a"), settings=SampleSettings(n=1))
    other = sample_request(ROWS[0], 0, teacher=writer("b"), settings=SampleSettings(n=1))
    assert request.seed == other.seed
    assert request.key != other.key


def test_what_makes_no_sense_is_refused():
    with pytest.raises(SettingsError, match="needs a check"):
        sampled(crowd(a=1), n=4, accepted=2)
    with pytest.raises(ValueError, match="above the budget"):
        SampleSettings(n=2, accepted=3)
    with pytest.raises(SettingsError, match="the same name"):
        Crowd(teachers=(writer("a"), writer("a")), shares=(1, 1))
    with pytest.raises(SettingsError, match="above 0"):
        Crowd(teachers=(writer("a"),), shares=(0,))
    with pytest.raises(SettingsError, match="1 teachers with 2 shares"):
        Crowd(teachers=(writer("a"),), shares=(1, 1))
