"""Whose response the teacher reflects on next."""

import pytest
from selection_pools import tables

from tutelage.selection import SelectSettings, choose_parents


def version(letter, step, *, status="ok", score="ok", ifd=0.5, grape=-1.0, rsr=2.0):
    return {
        "candidate_id": letter,
        "example_id": "x",
        "parent_id": None,
        "step": step,
        "status": status,
        "score": score,
        "response_tokens": 1,
        "ifd": ifd,
        "r_ifd": 0.5,
        "grape": grape,
        "rsr": rsr,
    }


def parent(*versions, **values):
    given = tables({"x": list(versions)})
    chosen = choose_parents(
        candidates=given["candidates"], scores=given["scores"], settings=SelectSettings(**values)
    )
    return chosen.get("x")


ORIGINAL = version("a", "original")
BETTER = version("b", "instruction_reflection", ifd=0.6, grape=-0.5, rsr=3.0)
FAILED = version("b", "instruction_reflection", status="teacher_failed")


@pytest.mark.parametrize(
    ("values", "winner"),
    [
        ({}, "b"),
        ({"margin": 0.2}, "a"),
        ({"mode": "paper"}, "b"),
        ({"rule": "grape"}, "b"),
        ({"rule": "rsr"}, "a"),
        ({"rule": "all_refined"}, "a"),
    ],
)
def test_the_winner_of_the_first_comparison_goes_on(values, winner):
    assert parent(ORIGINAL, BETTER, **values) == winner


@pytest.mark.parametrize("mode", ["safe", "paper"])
def test_what_does_not_pass_still_goes_on_where_nothing_else_does(mode):
    mismatched = version("a", "original", ifd=1.5)
    assert parent(mismatched, FAILED, mode=mode) == "a"
    assert parent(version("a", "original", score="too_long"), FAILED, mode=mode) == "a"


@pytest.mark.parametrize("mode", ["safe", "paper"])
def test_a_version_without_text_is_never_reflected_on(mode):
    empty = version("a", "original", status="empty_response")
    assert parent(empty, BETTER, mode=mode) == "b"
    assert parent(empty, FAILED, mode=mode) is None
