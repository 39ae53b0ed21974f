"""Orders in which the first few vectors cover all of them."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pool_rules import chosen_of, pool

from tutelage.errors import DataError
from tutelage.selection import SelectSettings, cover, select

METHODS = ("k_center", "facility_location")


def unit(rows, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


sets = st.builds(unit, st.integers(1, 9), st.integers(0, 50))


@settings(max_examples=40, deadline=None)
@given(sets, st.sampled_from(METHODS), st.data())
def test_an_order_takes_each_row_once_and_a_longer_one_begins_the_same(vectors, method, data):
    start = data.draw(st.integers(0, len(vectors) - 1))
    whole = cover(vectors, count=99, start=start, method=method)
    assert sorted(whole) == list(range(len(vectors)))
    for count in range(len(vectors)):
        assert cover(vectors, count=count, start=start, method=method) == whole[:count]


@settings(max_examples=40, deadline=None)
@given(sets, st.integers(1, 4))
def test_k_center_is_at_most_twice_as_far_as_the_best_possible(vectors, count):
    distances = np.sqrt(np.maximum(2 - 2 * (vectors @ vectors.T).astype(np.float64), 0))
    count = min(count, len(vectors))

    def radius(taken):
        return distances[:, list(taken)].min(axis=1).max()

    best = min(radius(taken) for taken in combinations(range(len(vectors)), count))
    found = radius(cover(vectors, count=count, start=0, method="k_center"))
    assert found <= 2 * best + 1e-3


@settings(max_examples=40, deadline=None)
@given(sets, st.integers(1, 4))
def test_facility_location_reaches_the_greedy_bound(vectors, count):
    cosines = np.maximum((vectors @ vectors.T).astype(np.float64), 0)
    count = min(count, len(vectors))

    def value(taken):
        return cosines[:, list(taken)].max(axis=1).sum()

    best = max(value(taken) for taken in combinations(range(len(vectors)), count))
    found = value(cover(vectors, count=count, start=0, method="facility_location"))
    assert found >= (1 - 1 / np.e) * best - 1e-4


def test_the_furthest_comes_first_and_the_densest_comes_first():
    rows = np.array([[1, 0], [0.98, 0.2], [0.98, -0.2], [-1, 0]], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert cover(rows, count=2, start=1, method="k_center") == [1, 3]
    assert cover(rows, count=2, start=1, method="facility_location") == [0, 3]


def test_equal_texts_are_each_taken_once():
    rows = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (3, 1))
    assert cover(rows, count=3, start=2, method="k_center") == [2, 0, 1]


def embeddings(**vectors):
    column = pa.array(list(vectors.values()), pa.list_(pa.float32()))
    return pa.table({"candidate_id": list(vectors), "embedding": column})


def test_a_cut_by_diversity_keeps_examples_that_cover_the_others():
    found = pool(p=[{}], q=[{}], r=[{}])
    near = embeddings(pa=[1.0, 0.0], qa=[1.0, 0.0], ra=[0.0, 1.0])
    chosen = SelectSettings(rule="grape", keep_count=2, diversity="k_center")
    selected = select(**found, settings=chosen, embeddings=near)
    kept = {d["example_id"] for d in selected.decisions.to_pylist() if d["kept"]}
    assert len(kept) == 2
    assert "r" in kept
    assert selected.tally == {"highest_grape": 2, "covered_by_others": 1}


def test_diversity_without_embeddings_is_refused():
    chosen = {"rule": "grape", "keep_count": 1, "diversity": "k_center"}
    with pytest.raises(DataError, match="needs embeddings"):
        chosen_of(pool(p=[{}]), **chosen)
    with pytest.raises(DataError, match="1 of 2 chosen candidates have no embedding, such as qa"):
        select(
            **pool(p=[{}], q=[{}]),
            settings=SelectSettings(**chosen),
            embeddings=embeddings(pa=[1.0]),
        )
