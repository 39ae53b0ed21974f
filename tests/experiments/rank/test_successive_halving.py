"""Rounds of successive halving."""

import pytest

from tutelage.errors import SettingsError
from tutelage.experiments.rank import rungs_of


def test_rounds_end_with_one_that_goes_on() -> None:
    found = rungs_of(8, examples=10, keep_fraction=0.25, growth=3.0, rungs=5)
    assert [(r.entrants, r.examples, r.keeps) for r in found] == [
        (8, 10, 2),
        (2, 30, 1),
        (1, 90, 1),
    ]


@pytest.mark.parametrize("wrong", [{"entrants": 0}, {"keep_fraction": 1.0}, {"growth": 0.5}])
def test_rounds_that_cannot_be_are_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    values = {"entrants": 4, "examples": 8, "keep_fraction": 0.5, "growth": 2.0, "rungs": 2} | wrong
    with pytest.raises(SettingsError):
        rungs_of(values.pop("entrants"), **values)
