"""Students that differ by name, for everything about students that change."""

from dataclasses import replace

from tests.pipeline.fakes import Answer, doors, improves
from tutelage.data import Candidate, ViewName, content_hash
from tutelage.pipeline.resources import Doors
from tutelage.student import StudentSettings, TableStudent


def moving_student(settings: StudentSettings) -> TableStudent:
    """Another name reads everything differently, and the same name always alike."""

    def mean_nats(candidate: Candidate, view: ViewName) -> float:
        digest = content_hash(settings.model, candidate.candidate_id, view)
        return 1.0 + 3.0 * int(digest[:6], 16) / 16**6

    return TableStudent(mean_nats=mean_nats, name=settings.model)


def moving_doors(answer: Answer = improves, *, asked: list[str] | None = None) -> Doors:
    """The usual scripted teacher, and students that differ by name."""
    return replace(doors(answer, asked=asked), open_student=moving_student)
