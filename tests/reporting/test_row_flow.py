from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reporting.tables import kept, original, reflection, refused, tables
from tutelage.reporting import ReportTables, summarise
from tutelage.reporting.queries import opened
from tutelage.reporting.run_summary import Flow
from tutelage.reporting.summary_builder import count_flow, count_troubles


def flow_of(made: ReportTables) -> Flow:
    with opened(made) as database:
        return count_flow(database, from_examples=made.rows is None)


def small() -> ReportTables:
    """Seven rows: four examples, a duplicate, a broken row, and a second row of one example."""
    return tables(
        rows=[
            {"row": 0, "example_id": "a", "status": "ok"},
            {"row": 1, "example_id": "b", "status": "ok"},
            {"row": 2, "example_id": "a", "status": "duplicate"},
            {"row": 3, "example_id": None, "status": "bad_json"},
            {"row": 4, "example_id": "c", "status": "ok"},
            {"row": 5, "example_id": "d", "status": "ok"},
            {"row": 6, "example_id": "d", "status": "ok"},
        ],
        examples=[{"example_id": e, "row": i} for i, e in enumerate("abcd")],
        candidates=[
            original("a"),
            reflection("a"),
            original("b"),
            reflection("b", status="refused"),
            original("c"),
            original("d", status="empty_response"),
        ],
        scores=[{"candidate_id": c, "ifd": 0.5, "r_ifd": 0.5} for c in ("ao", "ar", "bo", "co")],
        decisions=[
            kept("a", "ar"),
            kept("b", "bo", "original"),
            refused("c"),
            refused("d", "original_empty_response"),
        ],
    )


def test_each_row_is_counted_on_the_way_it_took() -> None:
    ways = {(p.reading, p.writing, p.deciding, p.kind): p.rows for p in flow_of(small()).paths}
    assert ways == {
        ("example", "written", "response_reflection", "kept_refined"): 1,
        ("example", "refused", "original", "kept_original"): 1,
        ("example", "alone", "ifd_not_below_1", "refused"): 1,
        ("example", "alone", "original_empty_response", "refused"): 1,
        ("same_example", None, None, "lost"): 1,
        ("duplicate", None, None, "lost"): 1,
        ("bad_json", None, None, "lost"): 1,
    }


def test_an_example_without_a_decision_is_not_forgotten() -> None:
    made = small()
    assert made.decisions is not None
    flow = flow_of(replace(made, decisions=made.decisions.slice(0, 3)))
    assert flow.rows() == 7
    assert [p.rows for p in flow.paths if p.deciding == "no_decision"] == [1]


def test_without_decisions_an_example_is_scored_or_says_why_not() -> None:
    flow = flow_of(replace(small(), decisions=None))
    ends = Counter({p.deciding: 0 for p in flow.paths})
    for path in flow.paths:
        ends[path.deciding] += path.rows
    assert ends == {"scored": 3, "empty_response": 1, None: 3}
    assert flow.rows("refused", "kept_refined", "kept_original") == 0


def test_without_a_rows_table_the_examples_are_the_input() -> None:
    assert flow_of(replace(small(), rows=None)).rows() == 4


ids = st.sampled_from(["a", "b", "c", None])
statuses = st.sampled_from(["ok", "duplicate", "bad_json", None])
decisions = st.dictionaries(
    st.sampled_from("abc"), st.sampled_from(["original", "sample", None]), max_size=3
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(ids, statuses), max_size=12), decisions, st.integers(1, 2))
def test_the_ways_of_all_rows_add_up_to_the_input(
    rows: list[tuple[str | None, str | None]],
    decided: dict[str, str | None],
    times: int,
) -> None:
    made = tables(
        rows=[{"row": i, "example_id": e, "status": s} for i, (e, s) in enumerate(rows)],
        candidates=[original(e) for e in "ab"] + [original("a")] * (times - 1),
        decisions=[kept(e, f"{e}o", step) if step else refused(e) for e, step in decided.items()]
        * times,
    )
    assert flow_of(made).rows() == len(rows)


def test_troubles_name_the_stage_the_step_and_the_reason() -> None:
    made = tables(
        rows=[
            {"row": 0, "status": "bad_json", "detail": "line 1"},
            {"row": 1, "status": "duplicate", "example_id": "a"},
        ],
        candidates=[
            original("a"),
            original("b", status="empty_response"),
            reflection("a", status="refused", detail="no"),
            reflection("c", "x"),
            reflection("c", "y"),
        ],
        scores=[
            {"candidate_id": "ao", "ifd": 0.5},
            {"candidate_id": "bo", "status": "empty_response"},
            {"candidate_id": "ar", "status": "refused"},
            {"candidate_id": "x", "status": "too_long", "detail": "9 tokens"},
        ],
    )
    with opened(made) as database:
        found = {(t.stage, t.step, t.reason, t.count, t.detail) for t in count_troubles(database)}
    assert found == {
        ("read", None, "bad_json", 1, "line 1"),
        ("read", "original", "empty_response", 1, None),
        ("refine", "response_reflection", "refused", 1, "no"),
        ("score", "response_reflection", "too_long", 1, "9 tokens"),
        ("score", "response_reflection", "not_scored", 1, None),
    }


def test_what_nobody_tried_to_score_is_no_trouble() -> None:
    assert summarise(tables(candidates=[original("a")])).troubles == ()
