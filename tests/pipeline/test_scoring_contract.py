"""A run that was scored under another contract is not scored again without a word."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.pipeline import fakes
from tutelage.data import SCORING_CONTRACT, Unscored, write_table
from tutelage.errors import RunError
from tutelage.metrics import score_row, scores_schema
from tutelage.pipeline.jobs import run_all, score_run
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.staleness import check_contract, older_contract_note, stale_outputs
from tutelage.progress import Silent


@pytest.fixture
def run(tmp_path):
    run = RunFolder(root=tmp_path / "run").create()
    row = score_row(Unscored(candidate_id="c", reason="too_long"), metrics=["ifd"])
    write_table(run.scores, pa.Table.from_pylist([row], schema=scores_schema(["ifd"])))
    return run


def test_a_run_without_scores_or_with_scores_of_this_contract_is_fine(run, tmp_path):
    check_contract(run, model="m")
    check_contract(RunFolder(root=tmp_path / "new").create(), model="m")


@pytest.mark.parametrize("older", ["without the column", "without its columns", "null"])
def test_a_run_of_an_older_contract_gets_one_line_with_the_command(run, older):
    table = pq.read_table(run.scores).drop_columns(["contract"])
    if older == "without its columns":
        table = table.drop_columns(["stripped", "control_tokens_in_data"])
    if older == "null":
        table = table.append_column("contract", pa.nulls(1, pa.int32()))
    write_table(run.scores, table)
    with pytest.raises(RunError) as error:
        check_contract(run, model="smollm2-135m")
    assert "scored under contract 1" in str(error.value)
    assert f"contract {SCORING_CONTRACT}" in str(error.value)
    assert error.value.hint == f"rescore with `tutelage score {run.root} --student smollm2-135m`"


def test_the_command_of_the_hint_scores_an_older_run_again(tmp_path):
    data = fakes.write_rows(tmp_path / "rows.jsonl", fakes.rows(3))
    settings = fakes.settings(data, tmp_path / "run")
    run_all(settings, progress=Silent(), doors=fakes.doors())
    run = RunFolder(root=tmp_path / "run")
    table = pq.read_table(run.scores)
    older = table.drop_columns(["contract", "stripped", "control_tokens_in_data", "student"])
    student = pa.array(["of contract 1"] * table.num_rows, pa.string())
    write_table(run.scores, older.append_column("student", student))
    with pytest.raises(RunError, match="scored under contract 1"):
        run_all(settings, progress=Silent(), doors=fakes.doors())

    told = score_run(
        run.root,
        student=settings.student.model_dump(),
        metrics=settings.score.metrics,
        progress=Silent(),
        doors=fakes.doors(),
    )
    again = pq.read_table(run.scores)
    assert set(again["contract"].to_pylist()) == {SCORING_CONTRACT, None}
    assert again.num_rows == 2 * table.num_rows
    run_all(settings, progress=Silent(), doors=fakes.doors())
    (note,) = told["notes"]
    assert (
        f"{table.num_rows} rows that were scored under contract 1 (student of contract 1)" in note
    )
    assert note in [one.text for one in stale_outputs(run)]
    write_table(run.scores, again.filter(pc.equal(again["contract"], SCORING_CONTRACT)))
    assert older_contract_note(run) is None
