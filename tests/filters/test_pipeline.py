"""Filters one after the other, each on its own, and compared."""

import asyncio

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.schemas import FILTER_DECISIONS, FINAL_DECISIONS
from tutelage.errors import DataError, SettingsError
from tutelage.filters import (
    ColumnSettings,
    ContaminationSettings,
    ExactDuplicatesSettings,
    LengthSettings,
    Means,
    NearDuplicatesSettings,
    PassRateSettings,
    SemanticDuplicatesSettings,
    TeacherRatingSettings,
    TextSource,
    apply_filters,
    apply_filters_async,
    compare,
    try_filters,
)
from tutelage.teacher import ScriptedTeacher

FILTERS = (
    LengthSettings(minimum=2),
    ExactDuplicatesSettings(keep="longest"),
    NearDuplicatesSettings(of="both", minimum_similarity=0.5),
    ContaminationSettings(evaluation=(TextSource(texts=("red boat red boat",)),)),
    TeacherRatingSettings(minimum=2),
)

pairs = st.lists(
    st.tuples(
        st.sampled_from(["red boat", "Red  boat", "blue car", "red boat red boat", "?"]),
        st.sampled_from([None, "", "r", "a longer reply", "red boat red boat now"]),
    ),
    max_size=8,
)


def _teacher():
    return ScriptedTeacher(lambda r: "?" if "blue" in r.messages[-1].content else "Difficulty: 2")


@settings(deadline=None, max_examples=20)
@given(pairs=pairs)
def test_every_candidate_has_one_final_decision_in_the_order_given(make_candidates, pairs):
    table = make_candidates(pairs)
    filtered = apply_filters(table, filters=FILTERS, teacher=_teacher())
    assert filtered.final.schema.equals(FINAL_DECISIONS)
    assert filtered.final["candidate_id"].to_pylist() == table["candidate_id"].to_pylist()
    seen = table["candidate_id"].to_pylist()
    for result in filtered.results:
        assert result.decisions.schema.equals(FILTER_DECISIONS)
        assert result.decisions["candidate_id"].to_pylist() == seen
        seen = [d["candidate_id"] for d in result.decisions.to_pylist() if d["kept"]]
    finals = filtered.final.to_pylist()
    assert [d["candidate_id"] for d in finals if d["kept"]] == seen
    assert all(d["reason"] for d in finals)
    for (_, response), decision in zip(pairs, finals, strict=True):
        if response is None:
            assert not decision["kept"]
            assert decision["reason"] == "teacher_failed"
            assert decision["filter"] is None
        else:
            assert decision["kept"] == (decision["reason"] == "passed_all")
            assert decision["kept"] == (decision["filter"] is None)


@settings(deadline=None, max_examples=20)
@given(pairs=pairs)
def test_each_filter_on_its_own_sees_everything(make_candidates, pairs):
    table = make_candidates(pairs)
    for result in try_filters(table, filters=FILTERS, teacher=_teacher()):
        assert result.decisions["candidate_id"].to_pylist() == table["candidate_id"].to_pylist()
        kept = result.decisions["kept"].to_pylist()
        assert not any(k for k, (_, response) in zip(kept, pairs, strict=True) if response is None)


@settings(deadline=None, max_examples=20)
@given(pairs=pairs)
def test_applying_again_to_what_was_kept_drops_nothing(make_candidates, pairs):
    filters = (ExactDuplicatesSettings(), NearDuplicatesSettings(minimum_similarity=0.5))
    table = make_candidates(pairs)
    once = apply_filters(table, filters=filters).final
    kept = table.filter(once["kept"])
    assert all(apply_filters(kept, filters=filters).final["kept"].to_pylist())


def test_a_later_filter_chooses_among_what_is_left(make_candidates):
    table = make_candidates([("same", "a very long response"), ("same", "short")])
    filters = (LengthSettings(maximum=10), ExactDuplicatesSettings(keep="longest"))
    final = apply_filters(table, filters=filters).final.to_pylist()
    assert [d["filter"] for d in final] == ["length", None]
    alone = try_filters(table, filters=filters)
    assert alone[1].decisions["kept"].to_pylist() == [True, False]


def test_two_filters_of_one_kind_have_two_names(make_candidates):
    filters = (LengthSettings(), LengthSettings(of="instruction"), LengthSettings(name="mine"))
    results = apply_filters(make_candidates([("a", "b")]), filters=filters).results
    assert [r.name for r in results] == ["length", "length_2", "mine"]


def test_no_filters_and_a_missing_teacher_are_refused_before_anything_is_done(make_candidates):
    table = make_candidates([("a", "b")])
    with pytest.raises(SettingsError, match="no filters"):
        apply_filters(table, filters=())
    with pytest.raises(SettingsError, match="needs a teacher") as caught:
        apply_filters(table, filters=(LengthSettings(), TeacherRatingSettings()))
    assert "--teacher" in caught.value.hint


def test_a_pass_rate_in_percent_is_refused(make_candidates):
    table = make_candidates([("a", "b")]).append_column("pass_rate", pa.array([80.0]))
    with pytest.raises(ValueError, match="not a fraction"):
        apply_filters(table, filters=(PassRateSettings(minimum=0.1),))


def test_what_decided_stands_in_the_final_table(make_candidates):
    table = make_candidates([("a", "b"), ("a2", "b")]).append_column("reward", pa.array([0.5, 2.0]))
    final = apply_filters(table, filters=(ColumnSettings(column="reward", minimum=1.0),)).final
    assert final.to_pylist()[0] == {
        "candidate_id": "c000",
        "kept": False,
        "reason": "below_minimum",
        "value": 0.5,
        "detail": None,
        "filter": "column",
    }


def test_it_runs_inside_an_event_loop(make_candidates):
    filtered = asyncio.run(
        apply_filters_async(
            make_candidates([("a", "b")]),
            filters=(TeacherRatingSettings(minimum=2),),
            means=Means(teacher=_teacher()),
        )
    )
    assert filtered.final["kept"].to_pylist() == [True]


def test_semantic_duplicates_are_dropped_by_name_of_the_embedder(make_candidates):
    table = make_candidates([("red boat", "x"), ("the red boat", "y"), ("blue car", "z")])
    filters = (SemanticDuplicatesSettings(minimum_similarity=0.6),)
    (result,) = apply_filters(table, filters=filters).results
    assert result.decisions["kept"].to_pylist() == [True, False, True]
    assert "no model" in str(result.facts["embedder"])
    assert result.tally() == {"kept_of_duplicates": 1, "semantic_duplicate": 1, "unique": 1}


def test_the_filters_of_an_empty_table_say_nothing(make_candidates):
    filtered = apply_filters(make_candidates([]), filters=FILTERS, teacher=_teacher())
    assert filtered.final.num_rows == 0


def test_filters_side_by_side(make_candidates):
    table = make_candidates([("a", "x"), ("a", "xx"), ("b", "xxx"), ("c", "xxxx"), ("d", None)])
    filters = (LengthSettings(minimum=2), ExactDuplicatesSettings(), LengthSettings(maximum=1))
    compared = compare(try_filters(table, filters=filters), table)
    length, exact, short = compared.filters.to_pylist()
    assert length["candidates"] == 5
    assert length["kept"] == 3
    assert length["kept_fraction"] == 0.6
    assert length["mean_characters_kept"] == 3.0
    assert length["mean_characters_dropped"] == 1.0
    assert length["measured"] == 4
    assert length["length_correlation"] == pytest.approx(1.0)
    assert exact["length_correlation"] is None
    assert short["kept"] == 1
    overlap = compared.overlaps.to_pylist()
    assert [(o["filter_a"], o["filter_b"]) for o in overlap] == [
        ("length", "exact_duplicates"),
        ("length", "length_2"),
        ("exact_duplicates", "length_2"),
    ]
    assert overlap[0]["kept_by_both"] == 2
    assert overlap[0]["kept_by_either"] == 4
    assert overlap[0]["jaccard"] == 0.5
    # Two independent choices of 3 of 5 share 9/5 on average, of 6 - 9/5 = 21/5 in either.
    assert overlap[0]["jaccard_by_chance"] == pytest.approx(9 / 21)
    assert overlap[1]["jaccard"] == 0.0
    assert {"filter": "length", "kept": False, "reason": "teacher_failed", "candidates": 1} in (
        compared.reasons.to_pylist()
    )


def test_results_of_a_chain_cannot_be_compared(make_candidates):
    table = make_candidates([("a", "x"), ("a", "xx")])
    filters = (LengthSettings(minimum=2), ExactDuplicatesSettings())
    results = apply_filters(table, filters=filters).results
    with pytest.raises(DataError, match="not on the 2 of the table"):
        compare(results, table)


def test_nothing_can_be_compared_without_complaint(make_candidates):
    table = make_candidates([])
    compared = compare(try_filters(table, filters=(LengthSettings(), LengthSettings())), table)
    assert compared.filters["kept_fraction"].to_pylist() == [None, None]
    assert compared.overlaps["jaccard"].to_pylist() == [None]
