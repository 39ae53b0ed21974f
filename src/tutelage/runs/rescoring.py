"""Let a student read the candidates of a run that has them already, such as sampled ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import content_hash, write_table
from tutelage.runs import stages
from tutelage.runs.folder import RunFolder, checksum, is_whole
from tutelage.runs.opening import Doors, Reader, note, opened_student
from tutelage.runs.progress import Progress
from tutelage.runs.scoring import score_to_table
from tutelage.runs.settings import ScoreSettings, checked
from tutelage.runs.stages import Stage, Tally, run_stage
from tutelage.student import StudentSettings

READ_BY = ("fingerprint", "dtype", "device", "template", "max_length", "backend")
"""What of a student's description its numbers depend on."""


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
        tally = _score(run, reader, settings, wanted, progress=progress)
        note(run, student=dict(reader.describe()))
        return {**tally, "student": dict(reader.describe()), "out": str(run.scores)}


def _score(
    run: RunFolder,
    student: Reader,
    settings: StudentSettings,
    wanted: ScoreSettings,
    *,
    progress: Progress,
) -> Tally:
    description = student.describe()
    stage = Stage(
        name="score",
        key=content_hash(
            checksum(run.candidates),
            wanted.model_dump(mode="json", include={"metrics"}),
            {name: description[name] for name in READ_BY},
            settings.model_dump(mode="json", include={"on_overflow", "turns", "score_end_of_turn"}),
        ),
        outputs=(run.scores,),
    )

    def work() -> Tally:
        others = _others(run, student.fingerprint)
        tally = score_to_table(
            stages.stored_candidates(run.candidates),
            student=student,
            metrics=wanted.metrics,
            out=run.scores,
            total=stages.rows_in(run.candidates),
            progress=progress,
        )
        if others is not None:
            tables = [pq.read_table(run.scores), others]
            write_table(run.scores, pa.concat_tables(tables, promote_options="default"))
        return tally

    return run_stage(run, stage, work)


def _others(run: RunFolder, fingerprint: str) -> pa.Table | None:
    """The scores of other students of candidates that are still there."""
    if not is_whole(run.scores):
        return None
    scores = pq.read_table(run.scores)
    there = pq.read_table(run.candidates, columns=["candidate_id"])["candidate_id"]
    others = scores.filter(
        pc.and_(
            pc.not_equal(scores["student"], pa.scalar(fingerprint)),
            pc.is_in(scores["candidate_id"], value_set=there.combine_chunks()),
        )
    )
    return others if others.num_rows else None
