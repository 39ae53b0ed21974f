"""How often real text is taken for a fault: what people wrote must pass."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from tutelage.data import (
    INSTRUCTION_REFLECTION,
    RESPONSE_REFLECTION,
    Candidate,
    Message,
    candidate_id_of,
    example_id_of,
)
from tutelage.refinement import Draft, RefineSettings, prompt_of
from tutelage.refinement.reply_checks import fault_of_reflection, loop_of

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SETTINGS = RefineSettings()


def rows(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def original(instruction, response):
    messages = (
        Message(role="user", content=instruction),
        Message(role="assistant", content=response),
    )
    example_id = example_id_of(messages)
    candidate_id = candidate_id_of(
        example_id=example_id, step="original", parent_id=None, teacher=None, messages=messages
    )
    return Candidate(candidate_id=candidate_id, example_id=example_id, messages=messages)


def status_of(old, new):
    step = RESPONSE_REFLECTION if old[0] == new[0] else INSTRUCTION_REFLECTION
    draft = Draft(instruction=new[0] if step == INSTRUCTION_REFLECTION else None, response=new[1])
    fault = fault_of_reflection(
        draft,
        parent=original(*old),
        step=step,
        prompt=prompt_of(step, SETTINGS),
        settings=SETTINGS,
    )
    return "ok" if fault is None else fault.status


def joined(instruction, text):
    return f"{instruction}\n{text}" if text else instruction


@pytest.mark.shared
def test_what_experts_revised_passes():
    counts = Counter()
    for row in rows("refined_pairs/coachlm_expert_revision.jsonl.gz"):
        old = joined(row["instruction"], row["input"]), row["original_output"]
        new = joined(row["refined_instruction"], row["refined_input"]), row["refined_output"]
        counts[status_of(old, new)] += 1
    faulty = sum(counts.values()) - counts["ok"] - counts["unchanged"] - counts["half_changed"]
    assert counts["ok"] > 1500
    assert faulty < 0.005 * sum(counts.values()), counts
    assert set(counts) <= {"ok", "unchanged", "half_changed", "refused", "degenerate"}
    assert counts["degenerate"] <= 1  # of 1,600: the old response became the text of the task


@pytest.mark.shared
def test_what_a_strong_teacher_answers_passes():
    counts = Counter()
    for row in rows("refined_pairs/alpaca_davinci003_vs_gpt4.jsonl.gz"):
        instruction = joined(row["instruction"], row["input"])
        old, new = (row["original_output"], row["refined_output"])
        if new.strip():
            counts[status_of((instruction, old), (instruction, new))] += 1
    assert counts["ok"] > 0.99 * sum(counts.values()), counts


@pytest.mark.shared
def test_a_revision_that_talks_about_the_one_before_is_found():
    counts = Counter()
    for row in rows("refined_pairs/selfee_code_revision_chains.jsonl.gz"):
        if len(row["chain"]) > 1:
            instruction = joined(row["instruction"], row["input"])
            first, last = row["chain"][0]["output"], row["chain"][-1]["output"]
            if last.strip():
                counts[status_of((instruction, first), (instruction, last))] += 1
    assert counts["meta_talk"] > 0.05 * sum(counts.values()), counts
    assert counts["ok"] > 0.85 * sum(counts.values()), counts


@pytest.mark.shared
def test_hardly_any_answer_of_46_models_loops():
    outputs = [row["output"] for row in rows("alpaca_eval_multi_teacher/outputs.jsonl.gz")]
    looping = sum(loop_of(text) is not None for text in outputs)
    assert 0 < looping < 0.01 * len(outputs)


GIVEN_AWAY = "The river rises in the hills, turns west at the mill and ends in a wide bay."


@pytest.mark.parametrize(
    ("asked", "now", "status"),
    [
        ("Where does the river go?", f"Where does the river go? {GIVEN_AWAY}", "degenerate"),
        ("Where does the river go?", "Which way does the river turn at the mill?", "ok"),
        (f"Correct this text: {GIVEN_AWAY}", f"Find mistakes in this text: {GIVEN_AWAY}", "ok"),
    ],
)
def test_an_instruction_that_was_given_the_old_response_is_a_fault(
    asked: str, now: str, status: str
) -> None:
    told = "From the hills it runs west past the mill, and into the bay it falls at last."
    assert status_of((asked, GIVEN_AWAY), (now, told)) == status
