"""The demo replays a real teacher: nothing may be missing, whichever way a student chooses."""

from pathlib import Path

import pytest

from tutelage.pipeline import run_all
from tutelage.pipeline.jobs import demo_settings
from tutelage.pipeline.resources import Doors
from tutelage.progress import Silent
from tutelage.student import TableStudent


@pytest.mark.parametrize("name", ["one", "two", "three"])
def test_the_journal_has_every_reply_that_any_student_could_need(tmp_path: Path, name: str) -> None:
    settings = demo_settings(tmp_path / "demo", student={"model": name})
    fakes = Doors(open_student=lambda s: TableStudent(name=s.model))
    summary = run_all(settings, progress=Silent(), doors=fakes)
    assert summary["load"]["rows"] == 72
    assert summary["load"]["examples"] >= 60
    statuses = {key.partition(":")[2] for key in summary["refine"]["teacher_candidates"]}
    assert "ok" in statuses
    assert not statuses & {"not_in_journal", "teacher_failed"}
    assert summary["refine"]["teacher"]["answered"] == 0


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(8, id="first rows"),
        # minutes in float32 on a processor without bfloat16 units, so not in every run
        pytest.param(72, id="all rows", marks=pytest.mark.conformance),
    ],
)
def test_the_demo_does_the_main_job_with_the_real_student(tmp_path: Path, rows: int) -> None:
    settings = demo_settings(
        tmp_path / "demo",
        student={"model": "smollm2-135m", "cache_path": str(tmp_path / "readings.sqlite")},
    )
    data = tmp_path / "examples.jsonl"
    data.write_text("".join(Path(settings.data.path).read_text().splitlines(keepends=True)[:rows]))
    summary = run_all(
        settings.model_copy(update={"data": settings.data.model_copy(update={"path": str(data)})}),
        progress=Silent(),
    )
    assert summary["load"]["rows"] == rows
    assert summary["score"]["scores_by_status"]["ok"] > 2 * rows
    assert summary["select"]["kept"] > 0.6 * rows
    assert "original_out_refinement_passes" in summary["select"]["reasons"]
    assert Path(summary["report"]).stat().st_size > 100_000
