"""A second student beside the first."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.viewer.conftest import EXAMPLES
from tutelage.errors import RunError
from tutelage.pipeline import RunFolder
from tutelage.progress import Silent
from tutelage.selection import SelectSettings
from tutelage.viewer import Shelf, open_index
from tutelage.viewer.counterfactuals import judgement_of
from tutelage.viewer.example_detail import lineage_of
from tutelage.viewer.list_view import facets_of, rows_of
from tutelage.viewer.query import question_of
from tutelage.viewer.run_store import open_second, second_selection


@pytest.fixture
def other(run: RunFolder, tmp_path: Path) -> RunFolder:
    """A student that keeps nothing of what the first one refined."""
    root = tmp_path / "other"
    shutil.copytree(run.root, root)
    second = RunFolder(root=root)
    table = pq.read_table(second.decisions)
    refined = [step not in (None, "original") for step in table["step"].to_pylist()]
    rows = table.to_pylist()
    for row, out in zip(rows, refined, strict=True):
        if out:
            row |= {"candidate_id": None, "step": None, "kept": False, "reason": "ifd_not_below_1"}
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), second.decisions)
    return second


def test_rows_can_be_filtered_by_how_the_second_student_decides(
    run: RunFolder, other: RunFolder, tmp_path: Path
) -> None:
    index = open_index(run, scratch=tmp_path, progress=Silent())
    shelf = Shelf(run, index, second=open_second(other.root))
    found = facets_of(shelf, question_of([], shelf.names))["facets"]
    counts = {value["value"]: value["count"] for value in found["beside"]["values"]}
    outcomes = {value["value"]: value["count"] for value in found["outcome"]["values"]}
    assert sum(counts.values()) == EXAMPLES
    assert counts["same"] == outcomes["kept_original"]
    assert counts["only_first"] == outcomes["kept_refined"]
    question = question_of([("beside", "only_first"), ("q", "a")], shelf.names)
    while (rows := rows_of(shelf, question, start=0, count=500))["progress"] < 1:
        pass
    assert all(row["kept"] and row["step"] != "original" for row in rows["rows"])
    detail = lineage_of(shelf, rows["rows"][0]["id"])
    assert detail["second"]["candidate_id"] is None
    assert detail["second"]["reason_words"].startswith("the instruction does not help")
    numbers = detail["second"]["numbers"]
    version = next(v for v in detail["versions"] if v["in_force"])
    assert numbers[version["candidate_id"]]["ifd"] == version["numbers"]["ifd"]
    shelf.close()


def test_without_a_second_student_nothing_is_said_of_one(shelf: Shelf) -> None:
    assert "beside" not in facets_of(shelf, question_of([], shelf.names))["facets"]
    of_another = question_of([("beside", "same")], shelf.names)
    assert rows_of(shelf, of_another, start=0, count=1)["total"] == EXAMPLES


def test_a_second_folder_must_hold_decisions(
    run: RunFolder, other: RunFolder, tmp_path: Path
) -> None:
    index = open_index(run, scratch=tmp_path, progress=Silent())
    other.decisions.unlink()
    with pytest.raises(RunError, match="is not there yet"):
        Shelf(run, index, second=open_second(other.root))
    with pytest.raises(RunError, match="there is no run here"):
        open_second(tmp_path)


def test_another_selection_of_the_same_scores_has_no_numbers_of_its_own(
    run: RunFolder, tmp_path: Path
) -> None:
    strict = run.with_selection("strict")
    strict.decided_in.mkdir(parents=True)
    shutil.copy(run.decisions, strict.decisions)
    manifest = run.read_manifest()
    manifest["stages"]["select:strict"] = manifest["stages"]["select"]
    run.write_manifest(manifest)
    index = open_index(run, scratch=tmp_path, progress=Silent())
    shelf = Shelf(run, index, second=second_selection(run, "strict"))
    (example,) = shelf.ask("select example_id from e limit 1")[0]
    found = lineage_of(shelf, example)
    assert found["second"]["name"] == "selection strict"
    assert found["second"]["numbers"] == {}
    shelf.close()


@pytest.mark.parametrize(
    ("more", "cuts"),
    [
        ({"quality_gate": "calibrated", "quality_gate_examples": 80}, False),
        ({"of": "grape", "gate_check": "maths"}, False),
        ({"rule": "cheap"}, True),
        ({"keep_fraction": 0.5}, True),
    ],
)
def test_only_what_depends_on_other_examples_is_said_to_cut(
    run: RunFolder, tmp_path: Path, *, more: dict[str, object], cuts: bool
) -> None:
    manifest = run.read_manifest()
    tally = manifest["stages"]["select"]["tally"]
    tally["rule"] = SelectSettings(**{**tally["rule"], **more}).model_dump(mode="json")
    run.write_manifest(manifest)
    shelf = Shelf(run, open_index(run, scratch=tmp_path, progress=Silent()))
    (example,) = shelf.ask("select example_id from e limit 1")[0]
    assert judgement_of(shelf, example)["cuts"] == cuts
    shelf.close()
