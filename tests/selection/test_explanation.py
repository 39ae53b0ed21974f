"""The decision on one example, in words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_pools import one_pool, tables

from tutelage.errors import DataError
from tutelage.selection import REASONS, SelectSettings, explain, meaning_of, select

RULES = [
    {"rule": "srt"},
    {"rule": "srt", "margin": 0.25},
    {"rule": "srt", "mode": "paper"},
    {"rule": "grape"},
    {"rule": "rsr"},
    {"rule": "ifd_top", "keep_count": 1},
    {"rule": "random"},
    {"rule": "longest"},
    {"rule": "all_original"},
    {"rule": "all_refined"},
]


def version(letter, step, parent=None, *, status="ok", score="ok", ifd=0.5, r_ifd=0.5):
    candidate = {
        "candidate_id": letter,
        "example_id": "x",
        "parent_id": parent,
        "step": step,
        "status": status,
    }
    if score != "ok":
        ifd = r_ifd = None
    return candidate, {"candidate_id": letter, "status": score, "ifd": ifd, "r_ifd": r_ifd}


def told(*versions, **values):
    candidates, scores = zip(*versions, strict=True)
    return explain(candidates, scores, settings=SelectSettings(**values))


@settings(max_examples=30, deadline=None)
@given(one_pool("x"), st.sampled_from(RULES))
def test_the_last_sentence_tells_what_was_decided(rows, rule):
    chosen = SelectSettings(max_unscored_fraction=1, **rule)
    (decision,) = select(**tables({"x": rows}), settings=chosen).decisions.to_pylist()
    scores = [row | {"status": row["score"]} for row in rows if row["score"]]
    sentences = explain(rows, scores, settings=chosen, decision=decision)
    assert len(sentences) > len(rows)
    assert all(s[0].isupper() and s.endswith(".") for s in sentences)
    if rows:
        kept = "Kept: the " if decision["kept"] else "Nothing is kept. "
        assert sentences[-1].startswith(kept)
        assert sentences[-1].endswith(meaning_of(decision["reason"]))
        if rule["rule"] not in ("ifd_top", "random", "longest"):
            alone = explain(rows, scores, settings=chosen)
            assert alone[-1] == sentences[-1]


def test_both_comparisons_are_told_with_their_numbers():
    sentences = told(
        version("a", "original", ifd=0.64),
        version("b", "instruction_reflection", ifd=0.81),
        version("d", "response_reflection", "b", r_ifd=0.4),
    )
    assert sentences[3:] == [
        (
            "First comparison: the rewritten instruction has ifd 0.8100 compared with 0.6400: "
            "higher, so it wins the first comparison."
        ),
        (
            "Second comparison: the rewritten response of the rewritten instruction has "
            "r_ifd 0.4000 compared with 0.5000: lower, so it wins."
        ),
        (
            "Kept: the rewritten response of the rewritten instruction. The rewritten instruction "
            "won against the original, and then its rewritten response won."
        ),
    ]


def test_a_mismatched_pair_and_a_failure_are_told_apart():
    sentences = told(
        version("a", "original", ifd=1.25),
        version("b", "instruction_reflection", status="teacher_failed"),
        version("c", "response_reflection", "a", score="too_long"),
    )
    assert sentences[0] == (
        "The original has ifd 1.2500 and r_ifd 0.5000: it does not pass, because the instruction "
        "does not help the student with this response."
    )
    assert (
        "The rewritten instruction has no text (teacher_failed): it cannot be chosen." in sentences
    )
    assert (
        "The rewritten response of the original has no number (too_long): it cannot be chosen."
        in sentences
    )
    assert sentences[-1].startswith("Nothing is kept.")


def test_numbers_that_differ_are_shown_to_differ():
    sentences = told(
        version("a", "original", ifd=0.5),
        version("b", "instruction_reflection", ifd=0.500001),
    )
    assert "ifd 0.500001 compared with 0.500000" in sentences[2]


def test_a_margin_that_is_not_passed_is_named():
    sentences = told(
        version("a", "original"), version("b", "instruction_reflection", ifd=0.6), margin=0.2
    )
    assert "not higher by more than the margin 0.2, so the original wins" in sentences[2]


def test_an_original_without_a_number_cannot_be_beaten_in_paper_mode():
    sentences = told(
        version("a", "original", score="too_long"),
        version("b", "instruction_reflection"),
        mode="paper",
    )
    assert (
        "First comparison: the original has no ifd to compare with, so it enters the second "
        "comparison." in sentences
    )
    assert sentences[-1] == "Nothing is kept. The original has no number: too_long."


def test_a_version_that_is_not_compared_is_told_with_its_own_reason():
    rewritten, response = "the rewritten instruction", "the rewritten response of the original"
    shut_out = version("a", "original", status="wrong"), version("b", "instruction_reflection")
    assert "First comparison: the original cannot be chosen, so " in " ".join(told(*shut_out))
    fails = version("a", "original", ifd=1.5), version("b", "instruction_reflection")
    assert "First comparison: the original does not pass, so " in " ".join(told(*fails))
    alone = told(version("b", "instruction_reflection"))
    assert "First comparison: there is no original to compare with, so " in " ".join(alone)
    for status, score, why in (
        ("wrong", "ok", "cannot be chosen"),
        ("cut_by_length", "", "cannot be chosen"),
        ("ok", "too_long", "has no r_ifd"),
    ):
        said = told(
            version("a", "original"),
            version("b", "instruction_reflection", ifd=1.5),
            version("c", "response_reflection", "a", status=status, score=score),
        )
        assert f"First comparison: {rewritten} does not pass, so the original wins it." in said
        assert f"Second comparison: {response} {why}, so there is nothing to compare." in said


def test_a_rule_that_cuts_is_told_from_its_decision():
    decision = {"candidate_id": None, "reason": "below_cut", "ifd_best": 0.5, "ifd_cut": 0.75}
    candidate, score = version("a", "original")
    chosen = SelectSettings(rule="ifd_top", keep_count=1)
    sentences = explain([candidate], [score], settings=chosen, decision=decision)
    assert sentences[-2:] == [
        "Its best candidate has ifd 0.5000; the last one kept in its group has 0.7500.",
        "Nothing is kept. The requested number of examples have better candidates.",
    ]


def test_scores_of_two_students_cannot_be_explained_together():
    candidate, score = version("a", "original")
    with pytest.raises(DataError, match="occurs twice"):
        explain([candidate], [score, score], settings=SelectSettings())


def test_every_reason_has_a_meaning():
    assert all(meaning_of(reason).endswith(".") for reason in REASONS)
    assert meaning_of("sample_too_long") == "The sampled response has no number: too_long."
