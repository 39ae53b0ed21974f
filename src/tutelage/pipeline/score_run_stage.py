"""Scoring of the candidates of an existing run, such as sampled ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.pipeline import stages
from tutelage.pipeline.config import ScoreSettings, checked
from tutelage.pipeline.resources import Doors, note, opened_student
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.scoring_contract import older_contract_note
from tutelage.progress import Progress
from tutelage.student import StudentSettings


def score_run(
    root: Path,
    *,
    student: Mapping[str, Any],
    metrics: Sequence[str],
    progress: Progress,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Score every candidate of a run. The scores of other students in the run stay.

    Args:
        root: The run folder.
        student: Settings of the student room.
        metrics: Names of per-candidate metrics.
        progress: Told how far it is.
        doors: How the student is reached.

    Returns:
        The tally of statuses, and what the student is. It is the one whose scores decide until
        another is named.

    Raises:
        RunError: The run has no candidates.
    """
    run = RunFolder(root=root).existing()
    run.need(run.candidates)
    settings = checked(StudentSettings, student, place="student")
    wanted = checked(ScoreSettings, {"metrics": tuple(metrics)}, place="score")
    with run.locked(), opened_student(settings, doors) as reader:
        note(run, student=dict(reader.describe()))
        tally = stages.score(
            run, student=reader, reading=settings, settings=wanted, progress=progress
        )
        note(run, student=dict(reader.describe()))
        older = older_contract_note(run)
        notes = {"notes": [older]} if older else {}
        return {**tally, "student": dict(reader.describe()), "out": str(run.scores), **notes}
