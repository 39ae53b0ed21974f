import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.filters.candidates import pool_of
from tutelage.filters.config import NearDuplicatesSettings
from tutelage.filters.duplicates import (
    HASHES,
    WANTED_RECALL,
    Bands,
    _signatures,
    choose_bands,
    drop_near_duplicates,
    jaccard,
    shingles,
)

WORDS = NearDuplicatesSettings(shingle="words", shingle_size=1, minimum_similarity=0.5)

bags = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcdef"), max_size=6).map(" ".join),
        st.sampled_from(["e1", "e2", "e3", "e4"]),
    ),
    max_size=8,
)


def _pool(rows, make_candidates, ids=None):
    return pool_of(
        make_candidates([(text, "r") for text, _ in rows], examples=[e for _, e in rows], ids=ids)
    )


def _plain_jaccard(one, other):
    return len(one & other) / len(one | other) if one and other else 0.0


def _oracle(rows, *, threshold, same_example):
    """The row each one is dropped for, or None: the same greedy choice over all pairs."""
    sets = [set(text.split()) for text, _ in rows]
    kept, rivals = [], []
    for i in range(len(rows)):
        near = [
            (-_plain_jaccard(sets[i], sets[j]), j)
            for j in kept
            if (same_example or rows[i][1] != rows[j][1])
            and _plain_jaccard(sets[i], sets[j]) >= threshold
        ]
        rivals.append(-min(near)[0] if near else None)
        if not near:
            kept.append(i)
    return rivals


@settings(deadline=None, max_examples=50)
@given(rows=bags, same_example=st.booleans())
def test_decisions_are_those_of_comparing_all_pairs(make_candidates, rows, same_example):
    settings = WORDS.model_copy(update={"same_example": same_example})
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), settings)
    expected = _oracle(rows, threshold=0.5, same_example=same_example)
    found = [
        None if kept else value
        for kept, value in zip(verdicts.kept_N, verdicts.values_N, strict=True)
    ]
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(rows=bags, data=st.data())
def test_with_keep_longest_the_order_does_not_matter(make_candidates, rows, data):
    order = data.draw(st.permutations(range(len(rows))))
    settings = WORDS.model_copy(update={"keep": "longest"})
    plain = drop_near_duplicates(_pool(rows, make_candidates), settings)
    shuffled = drop_near_duplicates(
        _pool([rows[i] for i in order], make_candidates, ids=[f"c{i:03}" for i in order]), settings
    )
    for position, i in enumerate(order):
        assert plain.kept_N[i] == shuffled.kept_N[position]
        assert plain.values_N[i] == shuffled.values_N[position]


def test_there_are_no_chains(make_candidates):
    # b resembles a, c resembles b, but c does not resemble a: dropping b must not drop c.
    rows = [("a b c d", "e1"), ("a b c x", "e2"), ("a b x y", "e3")]
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), WORDS)
    assert verdicts.kept_N.tolist() == [True, False, True]
    assert verdicts.values_N[1] == pytest.approx(3 / 5)


def test_the_detail_names_the_most_similar_kept_one(make_candidates):
    rows = [("a b c d x", "e1"), ("a b c y z w", "e2"), ("a b c d y", "e3")]
    settings = WORDS.model_copy(update={"minimum_similarity": 0.4})
    rows[1] = ("a b p q r s t", "e2")
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), settings)
    assert verdicts.details_N[2] == "of c000"
    assert verdicts.values_N[2] == pytest.approx(4 / 6)


def test_one_changed_word_in_a_sentence_is_a_near_duplicate(make_candidates):
    long = "Explain to a class of young pupils how the water cycle works in the mountains"
    rows = [(f"{long} today.", "e1"), (f"{long} now!", "e2"), ("Name three rivers.", "e3")]
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), NearDuplicatesSettings())
    assert verdicts.reasons_N == ["kept_of_duplicates", "near_duplicate", "unique"]


def test_texts_without_letters_are_kept_because_nothing_can_be_compared(make_candidates):
    verdicts = drop_near_duplicates(
        _pool([("???", "e1"), ("!!!", "e2")], make_candidates), NearDuplicatesSettings()
    )
    assert verdicts.kept_N.tolist() == [True, True]
    assert verdicts.reasons_N == ["nothing_to_compare"] * 2


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_jaccard_of_arrays_is_jaccard_of_sets(one, other):
    arrays = [np.array(sorted(s), dtype=np.uint64) for s in (one, other)]
    assert jaccard(*arrays) == pytest.approx(_plain_jaccard(one, other))


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_fit_the_signature_and_find_what_they_promise(similarity):
    bands = choose_bands(similarity)
    assert bands.bands * bands.rows <= HASHES
    assert bands.recall(similarity) >= WANTED_RECALL


def test_recall_by_hand():
    # Two bands of one row at J = 0.5: both differ in a quarter of the cases.
    assert Bands(bands=2, rows=1).recall(0.5) == pytest.approx(0.75)


def _pair(shared, alone, tag=""):
    """Two texts with `shared` words in common and `alone` words each of their own."""
    common = [f"s{tag}s{i}" for i in range(shared)]
    return [
        " ".join(common + [f"a{tag}s{i}" for i in range(alone)]),
        " ".join(common + [f"b{tag}s{i}" for i in range(alone)]),
    ]


def test_signatures_agree_as_often_as_the_sets_overlap():
    pairs = [_pair(40 + i, 20, tag=str(i)) for i in range(60)]
    runs = shingles(pa.array([text for pair in pairs for text in pair], pa.string()), WORDS)
    _, signatures = _signatures(runs, HASHES)
    agreement = np.mean(signatures[0::2] == signatures[1::2])
    expected = np.mean([(40 + i) / (80 + i) for i in range(60)])
    # 60 pairs of 128 minima: the standard error is about 0.006.
    assert agreement == pytest.approx(expected, abs=0.03)


def test_an_outside_library_finds_the_same_similarity():
    datasketch = pytest.importorskip("datasketch")
    one, other = _pair(60, 20)
    sketches = []
    for text in (one, other):
        sketch = datasketch.MinHash(num_perm=512)
        sketch.update_batch([word.encode() for word in text.split()])
        sketches.append(sketch)
    sets = [
        np.unique(shingles(pa.array([text], pa.string()), WORDS).hashes_R) for text in (one, other)
    ]
    assert jaccard(*sets) == pytest.approx(0.6)
    assert sketches[0].jaccard(sketches[1]) == pytest.approx(0.6, abs=0.1)
