import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.filters import similarity
from tutelage.filters.candidates import pool_of
from tutelage.filters.config import SemanticDuplicatesSettings, SimilaritySettings, TextSource
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
