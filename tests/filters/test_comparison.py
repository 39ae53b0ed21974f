import pytest

from tutelage.errors import DataError
from tutelage.filters import (
    ExactDuplicatesSettings,
    LengthSettings,
    apply_filters,
    compare,
    try_filters,
)


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
