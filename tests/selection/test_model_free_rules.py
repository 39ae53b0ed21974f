"""The rules `cheap` and `oracle`: what they keep, how many, and why."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from test_matched_baselines import tables

from tutelage.data.schemas import GATES
from tutelage.errors import DataError
from tutelage.selection import (
    DEVIATION,
    FAULTY,
    Selected,
    SelectSettings,
    band_deviations,
    explain,
    select,
)

COUNT = 60


def run(
    settings: SelectSettings,
    numbers: dict[str, float] | None = None,
    *,
    gates: pa.Table | None = None,
    name: str = DEVIATION,
    count: int = COUNT,
) -> Selected:
    candidates, scores = tables(count)
    columns = None
    if numbers is not None:
        columns = pa.table({"candidate_id": list(numbers), name: list(numbers.values())})
    return select(
        candidates=candidates, scores=scores, settings=settings, gates=gates, columns=columns
    )


def deviations(*, strange: range = range(0)) -> dict[str, float]:
    """By candidate; the refinements of some examples are far from usual."""
    rng = np.random.default_rng(3)
    found = {}
    for number in range(COUNT):
        found[f"{number:04}o"] = float(rng.random())
        found[f"{number:04}r"] = float(rng.random()) + (5 if number in strange else 0)
    return found


def steps(found: Selected) -> list[str | None]:
    return found.decisions["step"].to_pylist()


@pytest.mark.parametrize("of", ["srt", "grape", "all_original", "all_refined"])
def test_cheap_keeps_as_many_of_each_step_as_the_rule_it_is_compared_with(of: str) -> None:
    real = steps(run(SelectSettings(rule=of)))
    found = run(SelectSettings(rule="cheap", of=of), deviations(strange=range(9)))
    for step in ("original", "response_reflection", None):
        assert steps(found).count(step) == real.count(step)


def test_cheap_refuses_the_least_usual_refinements() -> None:
    gates = pa.Table.from_pylist(
        [{"candidate_id": f"{n:04}r", "status": "quality_gate", "late": False}
         for n in range(40, 49)],
        schema=GATES,
    )  # fmt: skip
    settings = SelectSettings(rule="cheap", of="all_refined")
    found = run(settings, deviations(strange=range(9)), gates=gates).decisions.to_pylist()
    refused = [at for at, row in enumerate(found) if not row["kept"]]
    assert refused == list(range(9))  # and not the nine that the student's gate refused
    assert {row["reason"] for row in found} == {"within_bands", "outside_bands"}
    cut = found[0]["deviation_cut"]
    assert max(row["deviation_chosen"] or 0 for row in found) == cut < 5


def test_cheap_fills_up_with_refinements_where_originals_are_missing() -> None:
    numbers = deviations(strange=range(9))
    only = {name: value for name, value in numbers.items() if name.endswith("r") or name < "0005"}
    found = run(SelectSettings(rule="cheap", of="all_original"), only)
    assert steps(found).count("original") == 5
    assert sum(found.decisions["kept"].to_pylist()) == COUNT


def test_a_version_without_a_deviation_is_not_chosen() -> None:
    numbers = deviations()
    del numbers["0007r"], numbers["0007o"]
    row = run(SelectSettings(rule="cheap", of="all_refined"), numbers).decisions.to_pylist()[7]
    assert (row["kept"], row["reason"]) == (False, "original_not_scored")


def test_cheap_keeps_the_cut_of_the_rule_it_is_made_from() -> None:
    settings = SelectSettings(rule="cheap", of="ifd_top", keep_count=10)
    found = run(settings, deviations()).decisions.to_pylist()
    kept = [row["deviation_chosen"] for row in found if row["kept"]]
    assert len(kept) == 10
    before = run(SelectSettings(rule="cheap", of="srt"), deviations()).decisions.to_pylist()
    assert max(kept) <= sorted(r["deviation_chosen"] for r in before if r["kept"])[12]


def test_deviations_are_taken_among_versions_of_one_kind() -> None:
    words = np.array([10.0, 10, 11, 12, 100, 101, 102, 1000])
    originals = np.array([True] * 4 + [False] * 4)
    found = band_deviations(
        words_N=words,
        similarity_N=np.zeros(8),
        other_language_N=np.array([False] * 7 + [True]),
        original_N=originals,
    )
    assert found[7] > 100
    assert found[4] < 2  # usual for a refinement, however long for an original
    alone = np.log1p(words[:4])
    middle = np.median(alone)
    unit = np.median(abs(alone - middle)) / 0.6745
    assert found[:4] == pytest.approx(abs(alone - middle) / unit)


def test_where_more_than_half_are_alike_the_spread_is_the_standard_deviation() -> None:
    found = band_deviations(
        words_N=np.array([5.0, 5, 5, 50]),
        similarity_N=np.ones(4),
        other_language_N=np.zeros(4, dtype=bool),
        original_N=np.zeros(4, dtype=bool),
    )
    assert found[:3].tolist() == [0, 0, 0]
    assert 1 < found[3] < 3


def test_the_oracle_falls_back_to_the_original_of_a_faulty_row() -> None:
    faulty = {f"{n:04}{s}": float(n < 20) for n in range(COUNT) for s in "or"}
    settings = SelectSettings(rule="oracle", truth="fault")
    found = run(settings, faulty, name=FAULTY)
    assert steps(found) == ["original"] * 20 + ["response_reflection"] * 40
    assert found.tally == {"truth_clean": 40, "truth_faulty": 20}
    assert found.decisions["truth_faulty"].to_pylist() == [1.0] * 20 + [0.0] * 40


def test_the_oracle_drops_a_faulty_row_that_has_no_refinement() -> None:
    candidates, scores = tables(4)
    originals = candidates.filter(pa.compute.equal(candidates["step"], "original"))
    columns = pa.table({"candidate_id": originals["candidate_id"], FAULTY: [1.0, 0.0, 1.0, 0.0]})
    found = select(
        candidates=originals,
        scores=scores,
        settings=SelectSettings(rule="oracle", truth="fault"),
        columns=columns,
    )
    assert found.decisions["kept"].to_pylist() == [False, True, False, True]


def test_without_its_numbers_a_rule_says_where_they_come_from() -> None:
    for settings in (SelectSettings(rule="cheap"), SelectSettings(rule="oracle", truth="x")):
        with pytest.raises(DataError, match="needs the texts or columns"):
            run(settings)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="truth names the column"):
        SelectSettings(rule="oracle")
    with pytest.raises(ValidationError, match="truth names the column"):
        SelectSettings(rule="srt", truth="fault")
    for of in ("keep_all", "oracle", "cheap", "permuted"):
        with pytest.raises(ValidationError, match="cannot be made from"):
            SelectSettings(rule="cheap", of=of)


def test_the_explanation_does_not_say_that_the_chosen_one_cannot_be_chosen() -> None:
    candidates, scores = tables(1)
    gates = pa.Table.from_pylist(
        [{"candidate_id": "0000r", "status": "quality_gate", "late": False}], schema=GATES
    )
    said = explain(
        candidates.to_pylist(),
        scores.to_pylist(),
        settings=SelectSettings(rule="cheap"),
        decision={
            "candidate_id": "0000r",
            "reason": "within_bands",
            "deviation_refined": 1.5,
            "deviation_cut": 2.0,
        },
        gates=gates,
    )
    assert not any("cannot be chosen" in sentence for sentence in said)
    assert any("1.5000 deviations" in s and "no more than the last rewrite" in s for s in said)
    assert said[-1].startswith("Kept: the rewritten response of the original.")
