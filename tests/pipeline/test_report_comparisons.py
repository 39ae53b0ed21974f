"""What stands beside a run in its report."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline import fakes
from tutelage.errors import RunError
from tutelage.pipeline import RunFolder, report_text
from tutelage.pipeline.jobs import run_all
from tutelage.pipeline.overrides import overrule
from tutelage.pipeline.report_stage import comparison_sections
from tutelage.progress import Silent
from tutelage.reporting import Section


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two students that read the same candidates."""
    folder = tmp_path_factory.mktemp("beside")
    data = fakes.write_rows(folder / "rows.jsonl", fakes.rows(10))
    for name in ("one", "two"):
        settings = fakes.settings(data, folder / name, student={"model": name})
        run_all(settings, progress=Silent(), doors=fakes.doors())
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    for name in ("one", "two"):
        shutil.copytree(made / name, tmp_path / name)
    return RunFolder(root=tmp_path / "one"), RunFolder(root=tmp_path / "two")


def rows_of(section: Section) -> dict[object, tuple[object, ...]]:
    return {row[0]: row[1:] for row in section.figures[0].table.rows}


def test_nothing_stands_beside_a_run_of_its_own(runs: tuple[RunFolder, RunFolder]) -> None:
    assert comparison_sections(runs[0]) == []


def test_a_second_run_is_compared_example_by_example(runs: tuple[RunFolder, RunFolder]) -> None:
    one, two = runs
    (section,) = comparison_sections(one, [two.root])
    assert section.title == "A second student: two"
    found = rows_of(section)
    assert sum(count for count, _ in found.values()) == 10
    kept = [{r["example_id"]: r["candidate_id"] for r in pq.read_table(run.decisions).to_pylist()}
            for run in runs]  # fmt: skip
    same = sum(kept[0][i] == kept[1][i] and kept[0][i] is not None for i in kept[0])
    assert found["same version"][0] == same
    step_counts = [n for row in section.tables[0].rows for n in row[1:]]
    assert sum(step_counts) == 10


def test_a_run_beside_itself_agrees_with_itself(runs: tuple[RunFolder, RunFolder]) -> None:
    (section,) = comparison_sections(runs[0], [runs[0].root])
    found = rows_of(section)
    assert found["another version"][0] == found["only the other"][0] == 0
    metrics = {row[0]: row[2] for row in section.tables[1].rows}
    assert metrics["ifd"] == pytest.approx(1)


def test_a_second_student_in_the_same_scores_gets_a_chapter(
    runs: tuple[RunFolder, RunFolder],
) -> None:
    one, two = runs
    (beside,) = comparison_sections(one, [two.root])
    both = pa.concat_tables([pq.read_table(one.scores), pq.read_table(two.scores)])
    theirs = set(pq.read_table(two.scores)["candidate_id"].to_pylist())
    assert theirs
    pq.write_table(both, one.scores)
    (section,) = comparison_sections(one)
    assert section.title.startswith("A second student: ")
    assert sum(c for c, _ in rows_of(section).values()) == 10
    del beside


def test_what_a_person_overruled_is_listed(runs: tuple[RunFolder, RunFolder]) -> None:
    one, _ = runs
    example = pq.read_table(one.decisions)["example_id"][0].as_py()
    overrule(one, example, candidate_id=None, note="not <b>true</b>")
    stale, section = comparison_sections(one)
    assert (stale.key, section.key) == ("stale", "overruled")
    assert "older than overrides.jsonl" in " ".join(stale.paragraphs)
    assert section.tables[0].rows[0][0] == example
    text = report_text(one.root)
    assert "Manual overrides" in text
    assert "not <b>true</b>" in text


def test_a_run_over_other_rows_is_refused(made: Path, tmp_path: Path) -> None:
    data = fakes.write_rows(tmp_path / "rows.jsonl", [{"instruction": "Sing.", "output": "La."}])
    settings = fakes.settings(data, tmp_path / "other")
    run_all(settings, progress=Silent(), doors=fakes.doors())
    with pytest.raises(RunError, match="shares no example"):
        comparison_sections(RunFolder(root=made / "one"), [tmp_path / "other"])
    with pytest.raises(RunError, match="there is no run here"):
        comparison_sections(RunFolder(root=made / "one"), [tmp_path])


def test_an_experiment_and_a_ranking_become_tables(
    runs: tuple[RunFolder, RunFolder], tmp_path: Path
) -> None:
    proved, ranked = tmp_path / "proved", tmp_path / "ranked"
    for folder in (proved, ranked):
        folder.mkdir()
    row = {"student": "s", "task": "t", "arm": "choice", "against": "random", "mean": 0.5}
    pq.write_table(pa.Table.from_pylist([row]), proved / "comparisons.parquet")
    row = {"domain": "all", "predictor": "rsr", "entrant": "big", "rank": 1, "value": 2.5}
    pq.write_table(pa.Table.from_pylist([row]), ranked / "standings.parquet")
    first, second = comparison_sections(runs[0], [proved, ranked])
    assert first.tables[0].rows == (("s", "t", "choice", "random", 0.5),)
    assert second.tables[0].rows == (("all", "rsr", "big", 1, 2.5),)
