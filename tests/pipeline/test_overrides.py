"""A person's decision is in force, and what the rule decided is not lost."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline import fakes
from tutelage.errors import DataError, RunError
from tutelage.pipeline import RunFolder, explain_example, export, report_text, select_again
from tutelage.pipeline.jobs import run_all
from tutelage.pipeline.overrides import override_history, overrides_of, overrule, withdraw
from tutelage.pipeline.tables import open_tables
from tutelage.progress import Silent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overruling")
    data = fakes.write_rows(folder / "rows.jsonl", fakes.rows(8))
    run_all(fakes.settings(data, folder / "run"), progress=Silent(), doors=fakes.doors())
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunFolder:
    shutil.copytree(made, tmp_path / "run")
    return RunFolder(root=tmp_path / "run")


def decided(run: RunFolder) -> dict[str, dict[str, object]]:
    return {row["example_id"]: row for row in pq.read_table(run.decisions).to_pylist()}


def ids(path: Path) -> set[str]:
    return {json.loads(line)["example_id"] for line in path.read_text().splitlines()}


def in_force(run: RunFolder) -> dict[str, dict[str, object]]:
    tables = open_tables(run)
    rows = tables.sql("select * from decisions").to_arrow_table().to_pylist()
    tables.close()
    return {row["example_id"]: row for row in rows}


def originals(run: RunFolder) -> dict[str, str]:
    rows = pq.read_table(run.candidates).to_pylist()
    return {r["example_id"]: r["candidate_id"] for r in rows if r["step"] == "original"}


def a_refined_one(run: RunFolder) -> str:
    return next(i for i, row in decided(run).items() if row["step"] == "response_reflection")


def test_nothing_changes_where_nobody_overruled(run: RunFolder) -> None:
    assert in_force(run) == decided(run)


def test_a_person_keeps_another_version_and_the_rule_s_decision_stays(run: RunFolder) -> None:
    example = a_refined_one(run)
    before = decided(run)
    entry = overrule(run, example, candidate_id=originals(run)[example], note="the facts are right")
    assert decided(run) == before
    now = in_force(run)
    assert now[example]["candidate_id"] == originals(run)[example]
    assert now[example]["step"] == "original"
    assert (now[example]["kept"], now[example]["reason"]) == (True, "overruled_by_person")
    assert now[example]["rule"] == "person"
    assert entry.was_candidate_id == before[example]["candidate_id"]
    assert entry.was_reason == before[example]["reason"]
    del now[example], before[example]
    assert now == before


def test_a_person_refuses_what_the_rule_kept(run: RunFolder) -> None:
    example = a_refined_one(run)
    overrule(run, example, candidate_id=None, note="")
    now = in_force(run)[example]
    assert (now["candidate_id"], now["step"], now["kept"]) == (None, None, False)


def test_the_last_word_counts_and_may_be_withdrawn(run: RunFolder) -> None:
    example = a_refined_one(run)
    overrule(run, example, candidate_id=None, note="first")
    overrule(run, example, candidate_id=originals(run)[example], note="second")
    assert overrides_of(run)[example].note == "second"
    withdraw(run, example)
    assert overrides_of(run) == {}
    assert in_force(run) == decided(run)
    assert [entry.note for entry in override_history(run)] == ["first", "second", ""]


def test_selecting_exporting_reporting_and_explaining_honour_it(
    run: RunFolder, tmp_path: Path
) -> None:
    example = a_refined_one(run)
    original = originals(run)[example]
    overrule(run, example, candidate_id=original, note="kept\x1b[31m for its tone")

    select_again(run.root, given={}, student=None, progress=Silent())
    rows = [json.loads(line) for line in run.selected.read_text().splitlines()]
    mine = next(row for row in rows if row["example_id"] == example)
    assert (mine["candidate_id"], mine["reason"]) == (original, "overruled_by_person")

    out = tmp_path / "train.jsonl"
    export(run, to="messages", file=out)
    assert out.read_text() == run.selected.read_text()

    told = explain_example(run.root, example)
    assert "overruled by a person" in told
    assert "for its tone" in " ".join(told.split())
    assert "\x1b" not in told
    assert "person" in report_text(run.root)


def test_select_runs_again_when_somebody_overruled(run: RunFolder) -> None:
    example = a_refined_one(run)
    overrule(run, example, candidate_id=None, note="")
    tally = select_again(run.root, given={}, student=None, progress=Silent())
    assert tally["overruled"] == 1
    assert example not in ids(run.selected)
    assert example in ids(run.rejected)
    withdraw(run, example)
    assert "overruled" not in select_again(run.root, given={}, student=None, progress=Silent())
    assert example in ids(run.selected)


def test_what_cannot_be_kept_is_refused_by_name(run: RunFolder) -> None:
    example, other = list(originals(run))[:2]
    with pytest.raises(DataError, match="no candidate of example"):
        overrule(run, example, candidate_id=originals(run)[other], note="")
    with pytest.raises(DataError, match="no decision on an example 'nobody'"):
        overrule(run, "nobody", candidate_id=None, note="")
    with pytest.raises(DataError, match="4001 characters"):
        overrule(run, example, candidate_id=None, note="x" * 4001)
    table = pq.read_table(run.candidates)
    refused = pa.array(["refused", *table["status"].to_pylist()[1:]])
    at = table.schema.get_field_index("status")
    pq.write_table(table.set_column(at, "status", refused), run.candidates)
    first = table.slice(0, 1).to_pylist()[0]
    with pytest.raises(DataError, match="has no text \\(refused\\)"):
        overrule(run, first["example_id"], candidate_id=first["candidate_id"], note="")
    assert not run.overrides.exists()


def test_an_override_of_a_version_that_is_gone_is_passed_over(run: RunFolder) -> None:
    example = a_refined_one(run)
    overrule(run, example, candidate_id=originals(run)[example], note="")
    text = run.overrides.read_text().replace(f'"{originals(run)[example]}"', '"gone"')
    run.overrides.write_text(text)
    assert in_force(run) == decided(run)


def test_a_line_cut_short_by_a_crash_was_never_said(run: RunFolder) -> None:
    example = a_refined_one(run)
    overrule(run, example, candidate_id=None, note="whole")
    with run.overrides.open("a") as file:
        file.write('{"time": "2026-01-01T00:00')
    assert overrides_of(run)[example].note == "whole"
    overrule(run, example, candidate_id=None, note="later\ud800")
    assert [entry.note for entry in override_history(run)] == ["whole", "later\ud800"]


def test_a_damaged_line_is_named(run: RunFolder) -> None:
    run.overrides.write_text('{"time": 1}\n')
    with pytest.raises(RunError, match=r"overrides\.jsonl:1: is not an override"):
        overrides_of(run)
