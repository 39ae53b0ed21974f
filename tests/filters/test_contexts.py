"""Earlier turns, system prompts and tools are part of what makes two requests the same."""

import pyarrow as pa
import pytest

from tutelage.data.schemas import CANDIDATES
from tutelage.filters.candidates import pool_of
from tutelage.filters.config import (
    ExactDuplicatesSettings,
    NearDuplicatesSettings,
    SemanticDuplicatesSettings,
    WordsEmbedder,
)
from tutelage.filters.duplicates import drop_exact_duplicates, drop_near_duplicates
from tutelage.filters.embeddings import HashedWords
from tutelage.filters.similarity import drop_semantic_duplicates

LAST = "Now explain in your own words and at some length why that is so."
STORY = "A fox lived under an old oak and slept through the whole of the long day, every day."


def _exact(pool, **settings):
    return drop_exact_duplicates(pool, ExactDuplicatesSettings(**settings))


def _near(pool, **settings):
    return drop_near_duplicates(pool, NearDuplicatesSettings(**settings))


def _semantic(pool, **settings):
    embedder = HashedWords(WordsEmbedder())
    return drop_semantic_duplicates(pool, SemanticDuplicatesSettings(**settings), embedder)


every_kind = pytest.mark.parametrize("decide", [_exact, _near, _semantic])


def _pool(*rows):
    """Each row: its turns as (role, content), and its tools."""
    return pool_of(
        pa.Table.from_pylist(
            [
                {
                    "candidate_id": f"c{i}",
                    "example_id": f"e{i}",
                    "status": "ok",
                    "tools": tools,
                    "messages": [{"role": role, "content": text} for role, text in turns]
                    + [{"role": "user", "content": LAST}, {"role": "assistant", "content": "So."}],
                }
                for i, (turns, tools) in enumerate(rows)
            ],
            schema=CANDIDATES,
        )
    )


@every_kind
def test_rows_that_differ_in_what_stands_before_are_kept(decide):
    rows = [
        ([], None),
        ([("system", "You are a pirate.")], None),
        ([("system", "You are a judge.")], None),
        ([("user", "Name a metal."), ("assistant", "Iron.")], None),
        ([("user", "Name a tree."), ("assistant", "Oak.")], None),
        ([("user", "Name a tree."), ("assistant", "Birch.")], None),
        ([], '[{"name": "search"}]'),
        ([], '[{"name": "weather"}]'),
    ]
    verdicts = decide(_pool(*rows))
    assert verdicts.reasons_N == ["unique"] * len(rows)


@every_kind
def test_rows_with_the_same_before_are_duplicates(decide):
    turns = [("system", "Be brief."), ("user", "Name a tree."), ("assistant", "Oak.")]
    verdicts = decide(_pool((turns, "[]"), (turns, "[]")))
    assert verdicts.kept_N.tolist() == [True, False]


@every_kind
def test_of_responses_only_the_responses_are_compared(decide):
    rows = [([("system", "You are a pirate.")], None), ([("system", "You are a judge.")], None)]
    assert decide(_pool(*rows), of="response").kept_N.tolist() == [True, False]


def test_a_story_with_one_changed_word_before_the_same_request_is_a_near_duplicate():
    stories = [
        STORY * 3,
        STORY * 3 + " Now.",
        "Copper conducts heat and water dissolves salt. " * 6,
    ]
    verdicts = _near(_pool(*([([("user", s), ("assistant", "Oh.")], None) for s in stories])))
    assert verdicts.kept_N.tolist() == [True, False, True]


def test_two_questions_about_one_long_story_are_no_near_duplicates():
    rows = [
        {
            "example_id": f"e{i}",
            "messages": [
                {"role": "user", "content": STORY * 9},
                {"role": "assistant", "content": "I see."},
                {"role": "user", "content": question},
            ],
        }
        for i, question in enumerate(["Where did it live?", "When did it sleep?"])
    ]
    assert _near(pool_of(pa.Table.from_pylist(rows))).kept_N.tolist() == [True, True]
