import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.filters import EvaluationIndex, Item, read_items
from tutelage.filters.candidates import pool_of
from tutelage.filters.config import ContaminationSettings, TextSource
from tutelage.filters.contamination import drop_contaminated

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

sentences = st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(" ".join)


def _grams(words, n):
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def _oracle(text, item, *, n, short):
    """The overlap of one text and one item, written plainly."""
    words, wanted = text.split(), item.split()
    if "".join(words) == "".join(wanted):
        return 1.0
    length = min(n, len(wanted))
    if len(wanted) < n and len(wanted) < short:
        return 0.0
    grams = _grams(wanted, length)
    return len(grams & _grams(words, length)) / len(grams)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(sentences, max_size=4),
    st.lists(sentences, min_size=1, max_size=4, unique=True),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_overlaps_are_those_of_plain_sets(texts, items, n, short):
    index = EvaluationIndex(
        [Item(item_id=str(i), text=text) for i, text in enumerate(items)],
        ngram_words=n,
        short_words=short,
    )
    hits = index.find(pa.array(texts, pa.string()))
    found = {
        (t, i): o
        for t, i, o in zip(
            hits.texts_H.tolist(), hits.items_H.tolist(), hits.overlaps_H.tolist(), strict=True
        )
    }
    expected = {
        (t, i): overlap
        for t, text in enumerate(texts)
        for i, item in enumerate(items)
        if (overlap := _oracle(text, item, n=n, short=short)) > 0
    }
    assert len(found) == len(hits.texts_H)
    assert found == pytest.approx(expected)


def _settings(*texts, **others):
    return ContaminationSettings(evaluation=(TextSource(texts=texts, name="bench"),), **others)


ITEM = "A train leaves the station at noon and travels at sixty miles an hour towards the coast."


@pytest.mark.parametrize("place", ["instruction", "response"])
def test_an_item_planted_by_a_teacher_is_found_in_either_half(make_candidates, place):
    planted = f"Sure! Here is a similar task:\n\n{ITEM.upper()}\n\nTry it."
    pair = (planted, "ok") if place == "instruction" else ("Write a task.", planted)
    pool = pool_of(make_candidates([("Name a river.", "The Rhine."), pair]))
    verdicts = drop_contaminated(pool, _settings("Some other item that nobody wrote.", ITEM))
    assert verdicts.reasons_N == ["clean", "contaminated"]
    assert verdicts.details_N[1] == f"1.00 of bench:1 in the {place}"


def test_an_item_in_an_earlier_turn_is_found():
    messages = [
        {"role": "user", "content": ITEM},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Go on."},
        {"role": "assistant", "content": "Fine."},
    ]
    pool = pool_of(pa.Table.from_pylist([{"example_id": "e", "messages": messages}]))
    verdicts = drop_contaminated(pool, _settings(ITEM))
    assert verdicts.details_N == ["1.00 of bench:0 in the earlier turns"]


def test_the_overlap_is_the_share_of_the_items_ngrams(make_candidates):
    # 17 words give ten 8-grams; the text holds the first 12 words, and so five of them.
    pool = pool_of(make_candidates([(" ".join(ITEM.split()[:12]), "r")]))
    assert len(ITEM.split()) == 17
    verdicts = drop_contaminated(pool, _settings(ITEM, minimum_overlap=0.5))
    assert verdicts.values_N.tolist() == [0.5]
    assert verdicts.kept_N.tolist() == [False]
    higher = drop_contaminated(pool, _settings(ITEM, minimum_overlap=0.51))
    assert higher.kept_N.tolist() == [True]
    assert higher.details_N == ["0.50 of bench:0 in the instruction"]


def test_with_a_minimum_of_zero_one_ngram_is_enough_and_none_is_not(make_candidates):
    pool = pool_of(make_candidates([(" ".join(ITEM.split()[:13]), "r"), ("Nothing.", "r")]))
    verdicts = drop_contaminated(pool, _settings(ITEM, ngram_words=13, minimum_overlap=0.0))
    assert verdicts.kept_N.tolist() == [False, True]


def test_a_short_item_is_found_whole_and_a_very_short_one_only_as_the_whole_text(make_candidates):
    pool = pool_of(
        make_candidates(
            [("Say how fossil fuels were formed from plants.", "r"), ("What is it?", "What is it")]
        )
    )
    verdicts = drop_contaminated(pool, _settings("Fossil fuels were formed from", "What is"))
    assert verdicts.kept_N.tolist() == [False, True]
    exact = drop_contaminated(pool, _settings("what is it"))
    assert exact.kept_N.tolist() == [True, False]


def test_words_that_were_split_differently_are_still_the_same_text(make_candidates):
    pool = pool_of(make_candidates([("He did n't have $ 5 .", "r")]))
    verdicts = drop_contaminated(pool, _settings("He didn't have $5."))
    assert verdicts.kept_N.tolist() == [False]


def _rows(path):
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.shared
def test_the_published_overlaps_of_the_math_sources_are_found_again():
    folder = SHARED / "math_word_problems"
    sets: dict[str, list[str]] = {}
    for row in _rows(folder / "problems.jsonl.gz"):
        sets.setdefault(f"{row['source']}/{row['split']}", []).append(row["question"])
    published = [
        line.split(",")
        for line in (folder / "cross_source_overlap.csv").read_text().splitlines()[1:]
    ]
    absent = [(a, b) for a, b, _ in published if a not in sets or b not in sets]
    assert absent == [("gsm8k/test", "gsm_hard/test"), ("aqua/test", "mathqa/test")]
    for a, b, identical in published:
        if (a, b) in absent:
            continue
        index = EvaluationIndex(
            [Item(item_id=str(i), text=text) for i, text in enumerate(sets[b])],
            ngram_words=8,
            short_words=4,
        )
        hits = index._whole(pa.array(sets[a], pa.string()))
        assert len(set(hits.items_H.tolist())) == int(identical), (a, b)


@pytest.mark.shared
def test_most_of_mawps_is_recognised_as_items_of_its_sources(make_candidates):
    rows = _rows(SHARED / "math_word_problems" / "problems.jsonl.gz")
    mawps = [r for r in rows if r["source"] == "mawps" and r["split"] == "train"]
    pool = pool_of(
        make_candidates([(r["question"], r["answer"]) for r in mawps], ids=[r["id"] for r in mawps])
    )
    questions = tuple(r["question"] for r in rows if r["source"] == "multiarith")
    verdicts = drop_contaminated(pool, _settings(*questions))
    # 470 different questions stand in 484 rows; n-grams find the edited copies as well.
    assert (verdicts.values_N == 1.0).sum() >= 484
    assert (~verdicts.kept_N).sum() >= 484


@pytest.mark.shared
def test_the_seven_questions_in_both_parts_of_arc_easy_are_found(make_candidates):
    folder = SHARED / "eval" / "mcq"
    train = _rows(folder / "arc_easy_train.jsonl")
    test = read_items(TextSource(path=folder / "arc_easy_test.jsonl", fields=("question",)))
    pool = pool_of(
        make_candidates([(r["question"], "r") for r in train], ids=[r["id"] for r in train])
    )
    settings = ContaminationSettings(
        evaluation=(TextSource(path=folder / "arc_easy_test.jsonl"),), of="instruction"
    )
    verdicts = drop_contaminated(pool, settings)
    index = EvaluationIndex(test, ngram_words=8, short_words=4)
    whole = index._whole(pool.instructions)
    assert len(set(whole.items_H.tolist())) == 7
    assert not verdicts.kept_N[whole.texts_H].any()


@pytest.mark.shared
def test_an_evaluation_item_planted_in_a_real_refined_text_is_found(make_candidates):
    refined = _rows(SHARED / "refined_pairs" / "coachlm_expert_revision.jsonl.gz")[:200]
    path = SHARED / "eval" / "mcq" / "arc_easy_test.jsonl"
    item = max(read_items(TextSource(path=path)), key=lambda i: len(i.text))
    pairs = [(r["refined_instruction"], r["refined_output"]) for r in refined]
    pairs[100] = (pairs[100][0], f"{pairs[100][1]}\n\nPractise: {item.text.lower()}")
    pool = pool_of(make_candidates(pairs))
    settings = ContaminationSettings(evaluation=(TextSource(path=path),))
    verdicts = drop_contaminated(pool, settings)
    assert [i for i in range(200) if not verdicts.kept_N[i]] == [100]
    assert verdicts.details_N[100] == f"1.00 of {item.item_id} in the response"


STEM = "Which of the following statements is correct?"


@pytest.mark.parametrize("stem", [STEM, f"Read the passage with care. {STEM}"])
def test_a_stem_that_many_items_share_identifies_none_of_them(stem, make_candidates):
    pairs = [(f"{stem} a) zinc is a gas b) ice is warm, {i}", "b") for i in range(4)]
    pool = pool_of(make_candidates([*pairs, (stem, "r")]))
    verdicts = drop_contaminated(pool, _settings(*[stem] * 8))
    assert verdicts.kept_N.tolist() == [True] * 4 + [False]
    assert verdicts.facts["items_with_a_shared_stem"] == 8


def test_an_item_behind_a_shared_stem_is_found_by_its_own_words(make_candidates):
    ends = ["zinc is a gas at noon", "ice is warm in June", "salt is sweet and soft"]
    ends += ["tea is a metal", "owls hunt fish by day", "the moon is made of old cheese"]
    stem = f"Please read all options slowly first. {STEM}"
    items = [f"{stem} {end}" for end in ends]
    pool = pool_of(make_candidates([(items[2], "r"), (f"{stem} x", "")]))
    verdicts = drop_contaminated(pool, _settings(*items))
    assert verdicts.kept_N.tolist() == [False, True]


def test_a_long_text_that_items_share_was_copied(make_candidates):
    items = [f"{ITEM} {ITEM} Question {number}" for number in range(9)]
    pool = pool_of(make_candidates([(f"{ITEM} {ITEM}", "r")]))
    assert drop_contaminated(pool, _settings(*items)).kept_N.tolist() == [False]


def test_a_short_item_within_many_examples_is_a_phrase(make_candidates):
    pairs = [(f"{STEM} Option {i}", "r") for i in range(12)]
    few = drop_contaminated(pool_of(make_candidates(pairs[:2])), _settings(STEM))
    many = drop_contaminated(pool_of(make_candidates([*pairs, (STEM, "r")])), _settings(STEM))
    assert few.kept_N.tolist() == [False, False]
    assert many.kept_N.tolist() == [True] * 12 + [False]
    assert many.facts["common_phrases"] == 1
