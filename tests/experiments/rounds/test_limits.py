"""The guard, the stop rule and the flips."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.data.schemas import DECISIONS, FLIPS
from tutelage.experiments.drift import Line
from tutelage.experiments.rounds import (
    DEFAULT_LIMITS,
    Limit,
    RoundOutcome,
    StopSettings,
    check_guard,
    flips,
    stop_reason,
    tally_flips,
)
from tutelage.stats import Estimate


def line(measure: str, value: float, change: float | None = None, half: float = 0.1) -> Line:
    return Line(
        subject="student",
        name="now",
        baseline="untrained",
        measure=measure,
        unit="",
        value=Estimate(value=value, low=value - half, high=value + half),
        texts=10,
        change=None
        if change is None
        else Estimate(value=change, low=change - half, high=change + half),
    )


def limit(**values: object) -> Limit:
    return Limit(subject="student", measure="m", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bound", "found", "verdict"),
    [
        (limit(high=1.0), line("m", 1.0), "kept"),
        (limit(high=1.0), line("m", 1.01), "broken"),
        (limit(low=1.0), line("m", 0.99), "broken"),
        (limit(high=1.0, surely=True), line("m", 1.05), "kept"),
        (limit(high=1.0, surely=True), line("m", 1.2), "broken"),
        (limit(of="change", low=-0.5), line("m", 3.0, -0.6), "broken"),
        (limit(of="change", low=-0.5, surely=True), line("m", 3.0, -0.55), "kept"),
        (limit(of="ratio", low=0.5), line("m", 1.0, -1.0), "kept"),  # 1 of 2
        (limit(of="ratio", low=0.5), line("m", 0.9, -1.1), "broken"),
        (limit(of="ratio", low=0.5), line("m", 1.0, 1.0), "not_measured"),  # 1 of 0
        (limit(of="change", low=0.0), line("m", 1.0), "not_measured"),
        (limit(high=1.0), line("other", 5.0), "not_measured"),
    ],
)
def test_each_limit_has_one_verdict(bound: Limit, found: Line, verdict: str) -> None:
    (checked,) = check_guard([found], [bound])
    assert checked.verdict == verdict
    assert "m" in checked.in_words()


def test_a_baseline_is_not_held_against_the_guard() -> None:
    base = Line(
        subject="student",
        name="untrained",
        baseline=None,
        measure="m",
        unit="",
        value=Estimate(value=9.0),
        texts=1,
    )
    assert check_guard([base], [limit(high=1.0)])[0].verdict == "not_measured"


def test_a_limit_without_a_bound_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs low or high"):
        limit()


def test_the_default_limits_name_measures_there_are() -> None:
    assert {one.subject for one in DEFAULT_LIMITS} <= {"data", "student", "held_out"}


def outcomes(*pairs: tuple[float | None, bool | None]) -> list[RoundOutcome]:
    return [RoundOutcome(flip_fraction=f, gained=g) for f, g in pairs]


@pytest.mark.parametrize(
    ("so_far", "reason"),
    [
        (outcomes(), None),
        (outcomes((None, True)), None),
        (outcomes((None, True), (0.001, True)), "nothing_flips"),
        (outcomes((None, None), (0.5, False)), "no_gain_beyond_noise"),
        (outcomes((None, False), (0.5, True)), None),
        (outcomes((None, None), (0.5, None), (0.5, None)), None),
    ],
)
def test_the_stop_rule(so_far: list[RoundOutcome], reason: str | None) -> None:
    assert stop_reason(so_far, StopSettings()) == reason


def decisions(**chosen: str | None) -> pa.Table:
    rows = [
        {
            "example_id": example,
            "candidate_id": candidate,
            "step": candidate and "original",
            "kept": candidate is not None,
            "reason": "kept" if candidate else "refused",
            "rule": "srt",
        }
        for example, candidate in chosen.items()
    ]
    return pa.Table.from_pylist(rows, schema=DECISIONS)


def test_every_direction_has_its_name() -> None:
    before = decisions(a="1", b=None, c="1", d="1", e=None, gone="1")
    after = decisions(a="1", b="1", c=None, d="2", e=None, new="1")
    found = flips(before, after)
    assert found.schema == FLIPS
    assert {row["example_id"]: row["direction"] for row in found.to_pylist()} == {
        "a": "same",
        "b": "gained",
        "c": "lost",
        "d": "other_version",
        "e": "same",
        "gone": "gone",
        "new": "new",
    }
    tally = tally_flips(found)
    assert (tally.examples, tally.changed, tally.fraction) == (5, 3, 0.6)
    assert tally.by_reason == {
        ("refused", "kept"): 1,
        ("kept", "refused"): 1,
        ("kept", "kept"): 1,
    }


choices = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", None]))


@given(choices, choices)
def test_turning_time_round_turns_the_directions_round(
    old: dict[str, str | None], new: dict[str, str | None]
) -> None:
    turned = {"gained": "lost", "lost": "gained", "new": "gone", "gone": "new"}
    there = flips(decisions(**old), decisions(**new)).to_pylist()
    back = flips(decisions(**new), decisions(**old)).to_pylist()
    assert [turned.get(row["direction"], row["direction"]) for row in there] == [
        row["direction"] for row in back
    ]


@given(choices)
def test_nothing_flips_against_itself(chosen: dict[str, str | None]) -> None:
    assert tally_flips(flips(decisions(**chosen), decisions(**chosen))).changed == 0
