"""The chapters about students that move, and their pictures."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from tutelage.data import Attempts
from tutelage.experiments.frontier import BandSettings, Placing, draw_frontier
from tutelage.experiments.frontier.page import frontier_sections
from tutelage.experiments.rounds import Limit
from tutelage.experiments.rounds.page import (
    Moved,
    drift_points,
    guard_lines,
    loops_sentences,
    rounds_facts,
    rounds_opening,
    rounds_sections,
)
from tutelage.reporting import render_markdown_page, render_page


def line(number: int, value: float, *, baseline: str | None = "untrained") -> dict[str, Any]:
    return {
        "seed": 0,
        "loop": "gate",
        "round": number,
        "subject": "student",
        "measure": "words",
        "baseline": baseline,
        "value": value,
        "low": value - 1,
        "high": value + 1,
    }


LINES = [line(0, 10.0, baseline=None), line(0, 12.0), line(1, 10.0, baseline=None), line(1, 25.0)]


def beside(mean: float, low: float, *, against: str = "random") -> dict[str, Any]:
    return {
        "after": 2,
        "task": "sums",
        "measure": "right",
        "loop": "gate",
        "against": against,
        "mean": mean,
        "low": low,
        "high": mean + (mean - low),
        "p_corrected": 0.2,
        "detectable": 0.1,
        "seeds": 2,
        "items": 60,
        "shown": False,
        "latest": True,
    }


def moved(*, broken: bool = True) -> Moved:
    rounds = [
        {
            "seed": 0,
            "loop": "gate",
            "round": number,
            "kept": 2,
            "examples": 3,
            "compared": 3 if number else None,
            "gained": 1,
            "lost": 0,
            "other_version": 0,
            "flipped_from_start": 1 if number else None,
            "rewrites_asked": 4,
            "rewrites_won_back": 1,
            "accepted": number == 0,
            "broken": ["student words: too long <b>"] if number and broken else [],
            "ended": "guard_broken" if number else None,
        }
        for number in range(2)
    ]
    fates = [
        {"seed": 0, "loop": "gate", "round": number, "example_id": f"e{i}", "fate": fate}
        for number, row in enumerate((("refused", "original", "refined"), ("refined",) * 3))
        for i, fate in enumerate(row)
    ]
    flips = [
        {
            "kind": "round",
            "loop": "gate",
            "direction": "gained",
            "reason_before": "ifd_not_below_1",
            "reason_after": "response_reflection_won",
            "example_id": "e0",
        }
    ]
    return Moved(
        title="out",
        rounds=pa.Table.from_pylist(rounds),
        drift=pa.Table.from_pylist(LINES),
        flips=pa.Table.from_pylist(flips),
        loops=pa.Table.from_pylist([beside(0.1, -0.02), beside(-0.2, -0.3, against="untrained")]),
        fates=pa.Table.from_pylist(fates),
        limits=[Limit(subject="student", measure="words", of="ratio", high=2.0)],
    )


def test_a_point_stands_after_the_round_that_trained_its_student() -> None:
    points = drift_points(LINES, "student", "words")
    assert [(p.round, p.value) for p in points] == [(0, 10.0), (1, 12.0), (2, 25.0)]


@pytest.mark.parametrize(
    ("of", "bound", "at"), [("value", 3.0, 3.0), ("change", 3.0, 13.0), ("ratio", 3.0, 30.0)]
)
def test_a_bound_is_drawn_where_it_lies_on_the_axis(of: Any, bound: float, at: float) -> None:
    points = drift_points(LINES, "student", "words")
    limit = Limit(subject="student", measure="words", of=of, high=bound)
    assert [line.at for line in guard_lines([limit], points, "student", "words")] == [at]


def test_the_page_shows_flips_drift_and_guard() -> None:
    sections = rounds_sections(moved())
    keys = [section.key for section in sections]
    assert keys == ["rounds", "loops", "drift", "flips", "reasons", "rewrites"]
    page = render_page(
        title="out",
        about="rounds",
        opening=rounds_opening(moved()),
        facts=rounds_facts(moved()),
        sections=sections,
    )
    assert page.count("<svg") >= 2
    assert "too long &lt;b&gt;" in page
    assert "The guard: at most 20." in page


def test_the_opening_says_whether_the_guard_was_broken() -> None:
    assert "with the gate: 1 round broke a bound" in rounds_opening(moved())[0]
    assert "no round broke a bound" in rounds_opening(moved(broken=False))[0]
    without = replace(moved(broken=False), limits=())
    assert rounds_opening(without)[0].endswith("; there was no guard.")


def test_the_opening_says_whether_the_loops_differ() -> None:
    (said,) = rounds_opening(moved())[2:]
    assert said == (
        "sums, share right, after 2 training runs: with the gate minus random choice +0.100 "
        "(-0.020 to +0.220); no significant difference."
    )


def test_a_sentence_says_what_was_decided_and_only_of_the_latest_students() -> None:
    rows = [beside(0.1, 0.05), beside(0.2, 0.1)]
    rows = [{**rows[0], "latest": False, "after": 1}, {**rows[1], "shown": True}]
    (said,) = loops_sentences(pa.Table.from_pylist(rows))
    assert said.endswith("+0.200 (+0.100 to +0.300); this difference is significant.")


def test_the_same_facts_stand_in_markdown() -> None:
    text = render_markdown_page(
        title="out",
        opening=rounds_opening(moved()),
        facts=rounds_facts(moved()),
        sections=rounds_sections(moved()),
    )
    assert "| with the gate |" in text


def test_the_frontier_before_and_after_stand_beside_each_other() -> None:
    tables = []
    for right in (0, 3):
        placings = [
            Placing(
                example_id=f"e{i}",
                attempts=Attempts(example_id=f"e{i}", sampled=4, sampled_right=right),
            )
            for i in range(5)
        ]
        tables.append(draw_frontier(placings, BandSettings()).table)
    (section,) = frontier_sections([("before", tables[0]), ("after", tables[1])])
    assert [figure.draw().count("<svg") for figure in section.figures] == [1, 1]
    assert section.figures[0].table.rows == (("before", 0, 0, 0, 5), ("after", 0, 5, 0, 0))
    assert "before: 100 % of 5 examples unknown" in section.paragraphs[1]
