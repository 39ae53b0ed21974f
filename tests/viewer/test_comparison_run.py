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
from tutelage.viewer import Shelf, open_index
from tutelage.viewer.comparison_run import open_second
from tutelage.viewer.example_detail import lineage_of
from tutelage.viewer.list_view import facets_of, rows_of
from tutelage.viewer.query import question_of


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
