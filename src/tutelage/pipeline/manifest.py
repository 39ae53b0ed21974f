"""The manifest of a run folder: types of what is read from it, and how it is read."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from tutelage.data.schemas import SCHEMA_VERSION
from tutelage.data.stored_json import StoredDict, StoredShape, optional, problem_of, read_stored
from tutelage.errors import RunError

_RESTORE = (
    "restore it, or start again in a new folder: paid replies are in the teacher cache and can be "
    "shared with `teacher.journal`"
)
Counts = dict[str, int]


class TeacherNote(StoredShape):
    """Counts and cost of teacher requests."""

    asked: int = optional()
    answered: int = optional()
    from_journal: int = optional()
    failed: int = optional()
    completion_tokens: int = optional()
    cost: float = optional()
    cost_estimated: float = optional()
    cost_from_journal: float = optional()
    spent_before: float = optional()
    currency: str | None = optional()
    away: str | None = optional()


class ShareNote(StoredShape):
    """A share with its interval."""

    share: float
    low: float
    high: float


class TallyNote(StoredShape):
    """Results of a stage that other commands read, if the stage has them."""

    rows: int = optional()
    rows_by_status: Counts = optional()
    rows_left_out: Counts = optional()
    examples: int = optional()
    candidates_by_step: Counts = optional()
    notes: list[str] = optional()
    teacher_candidates: Counts = optional()
    statuses: Counts = optional()
    teacher: TeacherNote | None = optional()
    teachers: dict[str, TeacherNote] = optional()
    away: str | None = optional()
    capped: str | None = optional()
    unusable: str | None = optional()
    unusable_hint: str | None = optional()
    scores_by_status: Counts = optional()
    metrics: list[str] = optional()
    kept: int = optional()
    rows_kept: int = optional()
    reasons: Counts = optional()
    steps_kept: Counts = optional()
    overruled: int = optional()
    rule: dict[str, Any] = optional()
    student: str | None = optional()
    gate_check: str = optional()
    gate_note: str | None = optional()
    kind: str = optional()
    fitted: bool = optional()
    detail: str = optional()
    refused: Counts = optional()
    judged: int = optional()
    false_refusals: ShareNote = optional()
    answers: int = optional()
    questions: int = optional()
    entrants: int = optional()
    attempts: int = optional()
    cut: int = optional()
    asked: int | Counts = optional()
    usable: int = optional()


class StageNote(StoredShape):
    """Record that a finished stage wrote."""

    key: str = optional()
    seconds: float = optional()
    tally: TallyNote = optional()
    made: dict[str, str | None] | None = optional()
    read: dict[str, str | None] | None = optional()


class StudentNote(StoredShape):
    """The student as it described itself."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = optional()
    fingerprint: str = optional()


class WriterNote(StoredShape):
    """The teacher that was asked last."""

    name: str = optional()
    prompts: dict[str, str] = optional()


class SettingsNote(StoredShape):
    """The settings of the last command that wrote some."""

    select: dict[str, Any] | None = optional()
    student: dict[str, Any] | str | None = optional()


class RunNote(StoredShape):
    """Manifest of a run as stored on disk, with all its stages."""

    created: str = optional()
    run_id: str = optional()
    updated: str = optional()
    versions: dict[str, str] = optional()
    inputs: dict[str, str] = optional()
    settings: SettingsNote = optional()
    teacher: WriterNote = optional()
    student: StudentNote = optional()
    stages: dict[str, StageNote] = optional()


def read_run_manifest(path: Path) -> StoredDict:
    """The manifest of a run, or an empty one where the run has not started.

    Raises:
        RunError: It is not JSON, not a manifest, or of another version of this package.
    """
    if not path.exists():
        return StoredDict({}, path=path, hint=_RESTORE)
    manifest = read_stored(path, StoredShape, what="a manifest that tutelage wrote", hint=_RESTORE)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{path}: schema version {version}, this tutelage reads {SCHEMA_VERSION}",
            hint="use the tutelage that wrote it, or start again in a new folder",
        )
    problem = problem_of(dict(manifest), RunNote)
    if problem is not None:
        raise RunError(f"{path}: is not a manifest that tutelage wrote: {problem}", hint=_RESTORE)
    return manifest
