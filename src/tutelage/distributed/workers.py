"""Pool of Ray workers for the pipeline."""

from collections.abc import Callable
from pathlib import Path

from tutelage.distributed.score_job import RayScoring, ray_job
from tutelage.distributed.teacher_pool import opens_on_ray
from tutelage.pipeline.config import RaySettings, ScoreSettings
from tutelage.pipeline.resources import OpensTeacher, Reader
from tutelage.student import Statistics, StudentSettings


class RayWorkers:
    """Ray workers for scoring and local teachers; Ray is imported when the first job starts."""

    def scoring_job(
        self,
        student: StudentSettings,
        reader: Reader,
        score: ScoreSettings,
        *,
        out: Path,
        open_student: Callable[[StudentSettings], Reader],
        at_least: Statistics = "nll",
    ) -> RayScoring:
        """Scoring job that writes `out`.

        Args:
            student: Settings of the student that each worker opens.
            reader: The student in this process.
            score: Settings of the scores.
            out: The table of scores.
            open_student: How a worker opens its student; it is sent there.
            at_least: Statistics that later stages need of the same readings.
        """
        return ray_job(
            student, reader, score, out=out, open_student=open_student, at_least=at_least
        )

    def teacher_opener(self, pool: RaySettings) -> OpensTeacher:
        """Opener of teachers; those that are local models are spread over the pool."""
        return opens_on_ray(pool)
