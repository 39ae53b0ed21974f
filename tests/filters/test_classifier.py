import numpy as np
import pytest

from tutelage.errors import DataError
from tutelage.filters.candidates import pool_of
from tutelage.filters.classifier import classify
from tutelage.filters.config import ClassifierSettings, TextSource

pytest.importorskip("fasttext")

POSITIVES = tuple(f"Solve the equation x plus {i} equals seven." for i in range(30))
NEGATIVES = tuple(f"Write a poem about the colour of leaf {i}." for i in range(30))


def _settings(positives=POSITIVES, negatives=NEGATIVES, **others):
    return ClassifierSettings(
        positives=TextSource(texts=positives, name="yes"),
        negatives=TextSource(texts=negatives, name="no"),
        **others,
    )


@pytest.fixture
def pool(make_candidates):
    return pool_of(
        make_candidates(
            [
                ("Solve the\nequation __label__negative", "r"),
                ("A poem about a leaf", "r"),
                ("?!", "r"),
            ]
        )
    )


def test_it_learns_the_difference_and_line_breaks_and_labels_do_no_harm(pool):
    probabilities = classify(pool, _settings()).probabilities
    assert probabilities.values_N[0] > 0.8
    assert probabilities.values_N[1] < 0.2


def test_a_text_without_words_has_no_probability(pool):
    probabilities = classify(pool, _settings()).probabilities
    assert probabilities.known_N.tolist() == [True, True, False]
    assert probabilities.reasons_N[2] == "no_words"


def test_the_same_seed_gives_the_same_numbers_whatever_the_order(pool):
    one = classify(pool, _settings()).probabilities.values_N
    other = classify(pool, _settings(positives=POSITIVES[::-1])).probabilities.values_N
    assert np.array_equal(one, other)


def test_probabilities_are_never_above_one(make_candidates):
    pool = pool_of(make_candidates([(text, "r") for text in POSITIVES + NEGATIVES]))
    values = classify(pool, _settings(epochs=50)).probabilities.values_N
    assert values.min() >= 0.0
    assert values.max() <= 1.0


def test_the_accuracy_is_measured_on_texts_that_were_held_out(pool):
    classified = classify(pool, _settings())
    assert classified.training_texts == 60
    assert classified.held_out_accuracy == 1.0
    few = classify(pool, _settings(positives=POSITIVES[:2], negatives=NEGATIVES[:2]))
    assert few.held_out_accuracy is None


def test_a_text_that_is_both_is_refused(pool):
    with pytest.raises(DataError, match="no:0 is among the positives and the negatives"):
        classify(pool, _settings(negatives=(POSITIVES[3].upper(),)))


def test_a_class_without_words_is_refused(pool):
    with pytest.raises(DataError, match="no text with words for __label__negative"):
        classify(pool, _settings(negatives=("...",)))
