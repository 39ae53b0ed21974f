"""Hand-computed numbers and properties of the measures."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tutelage.experiments.drift.measures import (
    compression_ratio,
    counts_of,
    distinct,
    grams_of,
    jensen_shannon,
    log_ratio,
    share_by_teacher,
    spread,
    weighted_mean,
    words_of,
)

counts = arrays(np.float64, 6, elements=st.integers(0, 20).map(float))


def test_the_divergence_of_a_coin_and_a_loaded_coin_by_hand() -> None:
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4): H(m) = 0.811278, (H(p) + H(q)) / 2 = 1/2
    found = jensen_shannon(np.array([1.0, 1.0]), np.array([7.0, 0.0]))
    assert found == pytest.approx(0.311278, abs=1e-6)


@given(counts, counts)
def test_the_divergence_is_symmetric_and_within_a_bit(a: np.ndarray, b: np.ndarray) -> None:
    there, back = jensen_shannon(a, b), jensen_shannon(b, a)
    if a.sum() == 0 or b.sum() == 0:
        assert there is None
        assert back is None
        return
    assert there is not None
    assert back == pytest.approx(there)
    assert 0 <= there <= 1


@given(counts, st.integers(1, 9))
def test_the_divergence_looks_at_shares_and_not_at_amounts(a: np.ndarray, times: int) -> None:
    if a.sum():
        assert jensen_shannon(a, a * times) == pytest.approx(0.0, abs=1e-12)


def test_a_run_never_reaches_from_one_text_into_the_next() -> None:
    (grams,) = grams_of([["one two", "three four five"]], n=2)
    assert grams.texts_R.tolist() == [0, 1, 1]
    assert grams.vocabulary == 3


def test_the_same_run_has_the_same_code_in_both_sets() -> None:
    first, second = grams_of([["A b"], ["c d", "a B"]], n=2)
    assert first.codes_R[0] == second.codes_R[1]


def test_counts_follow_the_weights_of_the_texts() -> None:
    (grams,) = grams_of([["a a", "b"]], n=1)
    assert counts_of(grams, np.array([2.0, 0.0])).tolist() == [4.0, 0.0]


def test_distinct_words_by_hand() -> None:
    # Four equally likely words, three draws: 4 (1 - (3/4)^3) = 2.3125 different ones of 3.
    assert distinct(np.array([5.0, 5.0, 5.0, 5.0]), runs=3) == pytest.approx(2.3125 / 3)


@given(counts, st.integers(1, 50), st.integers(2, 5))
def test_distinct_does_not_grow_with_the_amount_of_the_same_text(
    a: np.ndarray, runs: int, times: int
) -> None:
    if a.sum():
        once = distinct(a, runs=runs)
        assert once == pytest.approx(distinct(a * times, runs=runs))
        assert once is not None
        assert 0 < once <= 1


def test_more_draws_show_a_smaller_share_of_different_runs() -> None:
    a = np.array([3.0, 2.0, 1.0])
    assert distinct(a, runs=2) > distinct(a, runs=20)  # type: ignore[operator]


def test_repetition_compresses_better_than_variety() -> None:
    varied = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnop"), 3000))
    assert compression_ratio(["ab " * 1000]) > 5 * compression_ratio([varied])


def test_the_ratio_is_bytes_over_compressed_bytes_block_by_block() -> None:
    data = b"one text\nanother"
    packed = len(zlib.compress(data[:9], 6)) + len(zlib.compress(data[9:], 6))
    assert compression_ratio(["one text", "another"], block_bytes=9) == len(data) / packed


def test_twice_the_same_amount_of_text_compresses_about_alike() -> None:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(list("abcdefgh"), 40)) for _ in range(1200)]
    half = compression_ratio(texts[:600])
    assert compression_ratio(texts) == pytest.approx(half, rel=0.01)


def test_the_spread_of_three_directions_by_hand() -> None:
    # Pairs: x-x 0, x-y 1, x-y 1; the mean of the three is 2/3.
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert spread(vectors, np.ones(3)) == pytest.approx(2 / 3)


@given(st.integers(0, 10_000), st.integers(2, 8))
def test_the_spread_is_the_mean_over_all_pairs(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(size, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    pairs = [1 - float(rows[i] @ rows[j]) for i in range(size) for j in range(i)]
    assert spread(rows, np.ones(size)) == pytest.approx(np.mean(pairs), abs=1e-5)


def test_an_empty_text_takes_no_part_in_the_spread() -> None:
    vectors = np.array([[1, 0], [0, 0], [0, 1]], dtype=np.float32)
    assert spread(vectors, np.ones(3)) == pytest.approx(1.0)
    assert spread(vectors[:2], np.ones(2)) is None


def test_the_log_ratio_is_a_mean_over_tokens_and_not_over_texts() -> None:
    current = [np.array([-1.0, -1.0, -1.0]), np.array([-2.0])]
    untrained = [np.array([-2.0, -2.0, -2.0]), np.array([-2.0])]
    assert log_ratio(current, untrained, np.ones(2)) == pytest.approx(3 / 4)
    assert log_ratio(current, untrained, np.array([0.0, 1.0])) == 0.0


def test_the_log_ratio_of_samples_estimates_the_divergence() -> None:
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.4, 0.4, 0.2])
    drawn = np.random.default_rng(0).choice(3, size=20_000, p=p)
    found = log_ratio([np.log(p)[drawn]], [np.log(q)[drawn]], np.ones(1))
    assert found == pytest.approx(float((p * np.log(p / q)).sum()), abs=0.01)


def test_shares_of_text_go_by_characters() -> None:
    shares = share_by_teacher(["aaa", "b", ""], ["strong", None, "weak"], np.ones(3))
    assert shares == {"strong": 0.75, None: 0.25, "weak": 0.0}


def test_a_mean_leaves_out_what_has_no_number() -> None:
    assert weighted_mean(np.array([1.0, math.nan, 4.0]), np.array([1.0, 5.0, 2.0])) == 3.0
    assert weighted_mean(np.array([math.nan]), np.ones(1)) is None


def test_words_are_lower_case_and_punctuation_counts() -> None:
    assert words_of("Über 3,5 €!") == ["über", "3", ",", "5", "€", "!"]
