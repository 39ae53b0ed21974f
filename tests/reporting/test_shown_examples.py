import pytest

from tests.reporting.tables import kept, original, reflection, refused, tables, turns
from tutelage.reporting import ReportTables, summarise


def score(candidate: str, ifd: float, r_ifd: float) -> dict[str, object]:
    return {"candidate_id": candidate, "ifd": ifd, "r_ifd": r_ifd}


def made() -> ReportTables:
    return tables(
        examples=[{"example_id": e, "row": i, "source": "s"} for i, e in enumerate("abcd")],
        candidates=[
            original("a", messages=turns("ask", "old answer")),
            reflection("a", messages=turns("ask", "new answer")),
            original("b"),
            reflection("b"),
            original("c"),
            reflection("c"),
            original("d"),
            reflection("d"),
            reflection("d", "d2"),
        ],
        scores=[
            score("ao", 0.5, 0.9),
            score("ar", 0.6, 0.4),
            score("bo", 0.5, 0.6),
            score("br", 0.9, 0.5),
            score("co", 0.5, 0.5),
            score("cr", 1.4, 0.4),
            score("do", 0.5, 0.3),
            score("dr", 0.5, 0.5),
            score("d2", 0.5, 0.9),
        ],
        decisions=[kept("a", "ar"), kept("b", "br"), refused("c"), kept("d", "do", "original")],
    )


def test_the_clearest_accepted_refinement_is_furthest_from_every_line() -> None:
    accepted = summarise(made()).accepted
    # a: min(1 - 0.6, 1 - 0.4, 0.9 - 0.4) = 0.4; b: min(1 - 0.9, 1 - 0.5, 0.6 - 0.5) = 0.1.
    assert [(r.example_id, r.clearness) for r in accepted] == [
        ("a", pytest.approx(0.4)),
        ("b", pytest.approx(0.1)),
    ]


def test_a_refinement_stands_beside_its_original() -> None:
    first = summarise(made()).accepted[0]
    assert first.before is not None
    assert (first.before.response, first.after.response) == ("old answer", "new answer")
    assert first.numbers == (("ifd", 0.5, 0.6), ("r_ifd", 0.9, 0.4))
    assert (first.row, first.source, first.teacher) == (0, "s", "t")
    assert first.reason == "response_reflection_won"


def test_an_example_is_shown_once_with_its_clearest_refusal() -> None:
    refusals = summarise(made()).refused
    # d2: 0.3 - 0.9 = -0.6; c: 1 - 1.4 = -0.4; dr is of the same example as d2.
    assert [(r.example_id, r.clearness) for r in refusals] == [
        ("d", pytest.approx(-0.6)),
        ("c", pytest.approx(-0.4)),
    ]


def test_without_the_ratios_the_gain_over_the_original_counts() -> None:
    grape = tables(
        candidates=[original("a"), reflection("a"), original("b"), reflection("b")],
        scores=[
            {"candidate_id": c, "grape": g}
            for c, g in (("ao", -2.0), ("ar", -1.5), ("bo", -1.0), ("br", -1.25))
        ],
        decisions=[kept("a", "ar"), kept("b", "bo", "original")],
        metrics=("grape",),
    )
    summary = summarise(grape)
    assert [r.clearness for r in summary.accepted] == [pytest.approx(0.5)]
    assert [r.clearness for r in summary.refused] == [pytest.approx(-0.25)]
