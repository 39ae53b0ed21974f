"""The address of a page becomes a set of examples and an order."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.viewer.conftest import EXAMPLES
from tutelage.errors import DataError
from tutelage.pipeline.overrides import overrule, withdraw
from tutelage.viewer import Shelf
from tutelage.viewer.list_view import facets_of, plot_of, rows_of
from tutelage.viewer.query import Names, question_of

NAMES = Names(metrics=("ifd", "r_ifd"), teachers=("t",), statuses=("ok",))


def shown(shelf: Shelf, *parameters: tuple[str, str], count: int = 500) -> list[dict[str, Any]]:
    question = question_of(parameters, shelf.names)
    while True:
        found = rows_of(shelf, question, start=0, count=count)
        if found["progress"] == 1:
            assert found["total"] == len(found["rows"]) or found["total"] > count
            rows: list[dict[str, Any]] = found["rows"]
            return rows


def test_without_filters_every_example_is_there_in_the_order_of_the_input(shelf: Shelf) -> None:
    rows = shown(shelf)
    assert len(rows) == EXAMPLES
    assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    assert len({row["id"] for row in rows}) == EXAMPLES


def test_the_outcomes_divide_the_examples(shelf: Shelf) -> None:
    parts = [shown(shelf, ("outcome", o)) for o in ("kept_refined", "kept_original", "refused")]
    ids = [row["id"] for part in parts for row in part]
    assert len(ids) == len(set(ids)) == EXAMPLES
    assert all(row["kept"] and row["step"] != "original" for row in parts[0])
    assert all(row["step"] == "original" for row in parts[1])
    assert not any(row["kept"] for row in parts[2])


def test_every_count_beside_a_filter_is_what_it_leaves(shelf: Shelf) -> None:
    other = ("range", "ifd:original:0.3:0.9")
    facets = facets_of(shelf, question_of([other], shelf.names))["facets"]
    counted = 0
    for facet, found in facets.items():
        for value in found["values"]:
            rows = shown(shelf, other, (facet, value["value"]))
            assert len(rows) == value["count"], (facet, value)
            counted += 1
    assert counted > 15


def test_a_facet_s_own_choice_does_not_empty_its_other_values(shelf: Shelf) -> None:
    all_of = facets_of(shelf, question_of([], shelf.names))["facets"]["source"]
    chosen = [("source", "alpaca")]
    assert facets_of(shelf, question_of(chosen, shelf.names))["facets"]["source"] == all_of
    assert len(all_of["values"]) == 3


def test_rows_without_a_source_can_be_asked_for(shelf: Shelf) -> None:
    rows = shown(shelf, ("source", ""))
    assert rows
    assert all(row["source"] is None for row in rows)
    assert len(shown(shelf, ("source", ""), ("source", "alpaca"))) > len(rows)


def test_a_range_holds_for_whom_it_names(shelf: Shelf) -> None:
    for row in shown(shelf, ("range", "ifd:original:0.4:0.8")):
        assert 0.4 <= row["numbers"]["ifd"][0] <= 0.8
    for row in shown(shelf, ("range", "ifd:chosen::0.7")):
        assert row["numbers"]["ifd"][1] <= 0.7
    any_of = {row["id"] for row in shown(shelf, ("range", "ifd:any:1:"))}
    assert any_of >= {row["id"] for row in shown(shelf, ("range", "ifd:original:1:"))}


def test_ranges_of_any_version_hold_in_one_and_the_same(shelf: Shelf) -> None:
    both = shown(shelf, ("range", "ifd:any:0.2:0.5"), ("range", "r_ifd:any:0.2:0.5"))
    numbers = shelf.ask("select distinct n from c where ifd between 0.2 and 0.5 "
                        "and r_ifd between 0.2 and 0.5")  # fmt: skip
    assert {row["n"] for row in both} == {n for (n,) in numbers}


@pytest.mark.parametrize("metric", ["ifd", "rsr", "response_tokens"])
def test_an_order_by_a_metric_puts_missing_numbers_last(shelf: Shelf, metric: str) -> None:
    values = dict(shelf.ask(f'select n, "k_{metric}" from e'))  # noqa: S608
    for sort, way in ((f"{metric}:chosen", 1), (f"-{metric}:chosen", -1)):
        found = [values[row["n"]] for row in shown(shelf, ("sort", sort))]
        there = [v for v in found if v is not None]
        assert there == sorted(there, reverse=way < 0)
        assert all(v is None for v in found[len(there) :])


def test_words_are_looked_for_in_every_version_whatever_their_case(shelf: Shelf) -> None:
    texts = {
        n: [f"{m['content']}".lower() for m in c["messages"] or []]
        for n in range(EXAMPLES)
        for _, c in shelf.versions(n)
    }
    found = {row["n"] for row in shown(shelf, ("q", "MAPLE"))}
    assert found >= {n for n, parts in texts.items() if any("maple" in p for p in parts)}
    assert 0 < len(found) < EXAMPLES
    both = {row["n"] for row in shown(shelf, ("q", "maple copper"))}
    assert both < found
    assert shown(shelf, ("q", "no such word anywhere")) == []
    assert len(shown(shelf, ("q", "<script>"))) >= 1
    assert len(shown(shelf, ("q", '"[a link](https"'))) >= 1


def test_a_picture_has_every_version_with_both_numbers(shelf: Shelf) -> None:
    question = question_of([("outcome", "refused")], shelf.names)
    found = plot_of(shelf, question, x="ifd", y="r_ifd", whose="any")
    wanted = shelf.ask(
        "select count(*) from c where ifd is not null and r_ifd is not null "
        "and n in (select n from e where not kept)"
    )[0][0]
    assert found["count"] == len(found["points"]) == wanted
    assert all(kind == 0 for *_, kind in found["points"])


def test_a_brush_does_not_empty_its_own_picture(shelf: Shelf) -> None:
    brushed = question_of([("range", "ifd:any:0.5:0.6")], shelf.names)
    everything = question_of([], shelf.names)
    a, b = (
        plot_of(shelf, q, x="ifd", y="r_ifd", whose="any")["count"] for q in (brushed, everything)
    )
    assert a == b
    other = plot_of(shelf, brushed, x="ifd", y="r_ifd", whose="original")["count"]
    assert other < b


@pytest.mark.parametrize(
    "parameter",
    [
        ("range", "nothing:any:1:2"),
        ("range", "ifd:somebody:1:2"),
        ("range", "ifd:any:1"),
        ("range", "ifd:any:one:2"),
        ("range", "ifd:any:nan:2"),
        ("sort", "ifd"),
        ("sort", "ifd:any"),
        ("sort", "n; drop table e"),
        ("sort", "row:asc"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(parameter: tuple[str, str]) -> None:
    with pytest.raises(DataError):
        question_of([parameter], NAMES)


@given(
    st.lists(
        st.tuples(st.sampled_from(("q", "source", "reason", "outcome", "teacher", "x")), st.text())
    )
)
def test_no_text_in_the_address_breaks_the_reading_of_it(parameters: list[tuple[str, str]]) -> None:
    question = question_of(parameters, NAMES)
    assert question.sort == "row"
    assert hash(question.key)


@pytest.mark.parametrize("value", ["'; drop view e; --", "$x", "\x00", "\u202e", "%", "{}", '"'])
def test_a_hostile_value_finds_nothing_and_harms_nothing(shelf: Shelf, value: str) -> None:
    for name in ("source", "reason", "step", "teacher", "status", "outcome"):
        assert shown(shelf, (name, value)) == []
    shown(shelf, ("q", value))
    assert len(shown(shelf)) == EXAMPLES


def test_what_a_person_overruled_counts_at_once(shelf: Shelf) -> None:
    row = next(r for r in shown(shelf) if r["kept"] and r["step"] != "original")
    original = next(c for _, c in shelf.versions(row["n"]) if c["step"] == "original")
    overrule(shelf.run, row["id"], candidate_id=original["candidate_id"], note="")
    shelf.refresh()
    now = next(r for r in shown(shelf) if r["id"] == row["id"])
    assert (now["step"], now["overruled"], now["reason"]) == (
        "original",
        True,
        "overruled_by_person",
    )
    assert now["numbers"]["ifd"][1] == now["numbers"]["ifd"][0]
    assert [r["id"] for r in shown(shelf, ("outcome", "overruled"))] == [row["id"]]
    assert [r["id"] for r in shown(shelf, ("reason", "overruled_by_person"))] == [row["id"]]
    chosen = shelf.ask("select step from c where chosen and n = $n", {"n": row["n"]})
    assert chosen == [("original",)]
    overrule(shelf.run, row["id"], candidate_id=None, note="")
    shelf.refresh()
    assert row["id"] in {r["id"] for r in shown(shelf, ("outcome", "refused"))}
    withdraw(shelf.run, row["id"])
    shelf.refresh()
    assert next(r for r in shown(shelf) if r["id"] == row["id"]) == row


def test_two_persons_decide_at_once(shelf: Shelf) -> None:
    both = [row["id"] for row in shown(shelf)[:2]]

    def decide(example: str) -> None:
        for _ in range(20):
            overrule(shelf.run, example, candidate_id=None, note="")
            shelf.refresh()

    with ThreadPoolExecutor(2) as persons:
        list(persons.map(decide, both))
    assert {r["id"] for r in shown(shelf, ("outcome", "overruled"))} == set(both)
