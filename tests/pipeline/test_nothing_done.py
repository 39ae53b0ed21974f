"""A command of which not one row succeeded: an error with a sentence, and the results kept."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.contract.conftest import call
from tests.pipeline import fakes
from tutelage.data import read
from tutelage.errors import RunError
from tutelage.filters import FiltersSettings
from tutelage.pipeline import RunFolder, filter_run, run_all, score_data, score_run
from tutelage.pipeline.resources import Doors, need_some
from tutelage.progress import Silent
from tutelage.student import TableStudent

COUNT = 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return fakes.write_rows(tmp_path / "data.jsonl", fakes.rows(COUNT))


def blind(data: Path) -> Doors:
    """A student that reads none of the rows."""
    ids = [c.candidate_id for row in read(str(data)) for c in row.candidates]
    table = dict.fromkeys(ids, "too_long")
    return Doors(open_student=lambda _: TableStudent(table, name="blind"))


def test_a_file_of_which_no_row_could_be_scored(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    with pytest.raises(RunError, match=r"none of the rows could be scored \(too_long 3\)") as error:
        score_data(
            data={"path": str(data)},
            student={"model": "m"},
            metrics=["ifd"],
            out=out,
            progress=Silent(),
            doors=blind(data),
        )
    assert str(out) in str(error.value.hint)
    assert pq.read_table(out)["status"].to_pylist() == ["too_long"] * COUNT


def test_a_run_of_which_no_candidate_could_be_scored_or_filtered(
    data: Path, tmp_path: Path
) -> None:
    run = RunFolder(root=tmp_path / "run")
    asked = fakes.settings(data, run.root, teacher=None)
    run_all(asked, progress=Silent(), doors=fakes.doors(), with_page=False)
    with pytest.raises(RunError, match=r"none of the candidates could be scored \(too_long 3\)"):
        score_run(
            run.root,
            student={"model": "m"},
            metrics=["ifd"],
            progress=Silent(),
            doors=blind(data),
        )
    assert pq.read_table(run.scores)["status"].to_pylist().count("too_long") == COUNT
    student = TableStudent(name="blind").fingerprint
    by_ifd = {"kind": "ifd", "student": student}
    missing = FiltersSettings.model_validate({"filters": [by_ifd]})
    with pytest.raises(RunError, match=r"none of the candidates could be filtered"):
        filter_run(run.root, config=missing, progress=Silent())
    assert pq.read_table(run.filters).num_rows == COUNT


def test_verify_ends_with_exit_code_1_where_nothing_could_be_checked(tmp_path: Path) -> None:
    rows = [{"instruction": "1+1?", "output": "2", "reference": None}] * 2
    data, out = fakes.write_rows(tmp_path / "d.jsonl", rows), tmp_path / "v.parquet"
    done = call("verify", data, "--check", "exact", "--response", "output", "--out", out)
    assert done.exit_code == 1
    assert "none of the responses could be checked (cannot_check 2)" in done.stderr
    assert pq.read_table(out)["verdict"].to_pylist() == ["cannot_check"] * 2
    data.write_text(json.dumps({**rows[0], "reference": "2"}) + "\n" + data.read_text())
    done = call("verify", data, "--check", "exact", "--response", "output", "--out", out)
    assert done.exit_code == 0


@pytest.mark.parametrize("counts", [{}, {"ok": 1, "too_long": 9}, {"too_long": 0}])
def test_some_rows_or_no_rows_are_no_error(counts: dict[str, int]) -> None:
    need_some(counts, ("ok",), problem="none", out="out")
