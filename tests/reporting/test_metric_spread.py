import math

import pytest

from tests.reporting.tables import kept, original, reflection, tables
from tutelage.reporting import ReportTables, summarise
from tutelage.reporting.metric_section import correlation_of
from tutelage.reporting.run_summary import Summary


def three_pairs(**more: object) -> ReportTables:
    """Originals with ifd 0.2, 0.4, 1.2; reflections with 0.6, 0.8 and one that is too long."""
    numbers = {"a": (0.2, 0.6), "b": (0.4, 0.8), "c": (1.2, None)}
    scores: list[dict[str, object]] = []
    for place, (example, (before, after)) in enumerate(numbers.items()):
        scores.append(
            {
                "candidate_id": f"{example}o",
                "ifd": before,
                "r_ifd": 1.5 - before,
                "response_tokens": 10 * (place + 1),
            }
        )
        scores.append(
            {"candidate_id": f"{example}r", "ifd": after, "r_ifd": 0.5, "response_tokens": 50}
            if after
            else {"candidate_id": f"{example}r", "status": "too_long", "ifd": 0.0, "r_ifd": 0.0}
        )
    return tables(
        candidates=[c for e in numbers for c in (original(e), reflection(e))],
        scores=scores,
        decisions=[kept("a", "ar"), kept("b", "bo", "original")],
        **more,  # type: ignore[arg-type]
    )


def spread(summary: Summary, metric: str, group: str) -> tuple[int, float | None, int]:
    found = next(s for s in summary.spreads if (s.metric, s.group) == (metric, group))
    assert sum(found.counts) + found.beyond == found.candidates
    return found.candidates, found.mean, found.candidates and round(1000 * found.quantiles[2])


def test_each_group_has_its_own_count_mean_and_median() -> None:
    summary = summarise(three_pairs())
    assert spread(summary, "ifd", "original") == (3, pytest.approx(0.6), 400)
    assert spread(summary, "ifd", "refinement") == (2, pytest.approx(0.7), 700)
    assert spread(summary, "ifd", "chosen") == (2, pytest.approx(0.5), 500)


def test_a_number_beside_a_status_is_not_a_number() -> None:
    # The row of "cr" carries 0.0, which would be the lowest and so the best r_ifd of all.
    summary = summarise(three_pairs())
    assert summary.scored == 5
    assert spread(summary, "r_ifd", "refinement") == (2, pytest.approx(0.5), 500)


def test_a_number_that_is_not_finite_is_not_a_number() -> None:
    made = tables(
        candidates=[original("a"), original("b"), original("c")],
        scores=[
            {"candidate_id": "ao", "ifd": 0.5},
            {"candidate_id": "bo", "ifd": math.inf},
            {"candidate_id": "co", "ifd": math.nan},
        ],
    )
    assert spread(summarise(made), "ifd", "original") == (1, 0.5, 500)


def test_a_metric_without_any_number_is_left_out() -> None:
    made = tables(
        candidates=[original("a")],
        scores=[{"candidate_id": "ao", "ifd": 0.5}],
    )
    assert summarise(made).metrics == ("ifd",)


def test_the_quarters_of_the_plane_count_every_candidate() -> None:
    plane = summarise(three_pairs()).plane
    assert plane is not None
    counts = {
        (r.group, r.ifd_below, r.r_ifd_below): (r.candidates, r.chosen) for r in plane.regions
    }
    # Originals: (0.2, 1.3) and (0.4, 1.1) lie above, (1.2, 0.3) to the right.
    assert counts == {
        ("original", True, False): (2, 1),
        ("original", False, True): (1, 0),
        ("refinement", True, True): (2, 1),
    }
    assert len(plane.points) == 5


def test_there_is_no_plane_without_both_ratios() -> None:
    made = tables(candidates=[original("a")], scores=[{"candidate_id": "ao", "ifd": 0.5}])
    assert summarise(made).plane is None


def test_bins_of_length_hold_every_candidate_once() -> None:
    lengths = dict(summarise(three_pairs()).lengths)
    assert sorted((b.group, b.tokens, b.middle) for b in lengths["ifd"]) == [
        ("original", 10, 0.2),
        ("original", 20, 0.4),
        ("original", 30, 1.2),
        ("refinement", 50, 0.6),
        ("refinement", 50, 0.8),
    ]


def test_correlations_are_of_ranks() -> None:
    correlations = summarise(three_pairs()).correlations
    # ifd 0.2 0.4 1.2 0.6 0.8 against tokens 10 20 30 50 50: ranks 1 2 5 3 4 and 1 2 3 4.5 4.5.
    expected = 1 - 6 * (0 + 0 + 4 + 2.25 + 0.25) / (5 * 24)
    found = correlation_of(correlations, "response_tokens", "ifd")
    assert found == pytest.approx(expected, abs=0.02)  # ties make the formula an approximation
    assert correlation_of(correlations, "ifd", "instruction_tokens") is None


def test_the_order_of_the_tables_does_not_matter() -> None:
    made = three_pairs()
    turned = ReportTables(
        examples=made.examples,
        candidates=made.candidates.take(list(range(made.candidates.num_rows))[::-1]),  # type: ignore[union-attr]
        scores=made.scores.take(list(range(made.scores.num_rows))[::-1]),  # type: ignore[union-attr]
        decisions=made.decisions,
        title=made.title,
    )
    assert summarise(made) == summarise(turned)
