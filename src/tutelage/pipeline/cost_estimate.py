"""What a run would cost, before anybody is asked."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.data import INSTRUCTION_REFLECTION, OK, ORIGINAL, RESPONSE_REFLECTION, Candidate, read
from tutelage.errors import SettingsError
from tutelage.pipeline.config import DataSettings, RunSettings
from tutelage.pipeline.jobs import refine_settings
from tutelage.pipeline.resources import journal_path
from tutelage.pipeline.run_dir import RunFolder
from tutelage.progress import Progress
from tutelage.refinement import RefineSettings, reflection_request
from tutelage.teacher import Journal, TeacherSettings, estimate, open_teacher

_STEPS = {"instruction": INSTRUCTION_REFLECTION, "response": RESPONSE_REFLECTION}


def estimate_run(settings: RunSettings, *, progress: Progress) -> dict[str, Any]:
    """What `run_all` would ask the teacher, and what that would cost.

    Returns:
        Counts of rows and calls, tokens, and costs in the user's prices.

    Raises:
        SettingsError: The run has no teacher, so there is nothing to pay.
    """
    if settings.teacher is None:
        raise SettingsError(
            "this run has no teacher, so nothing would be asked or paid",
            hint="leave --dry-run out",
        )
    return _estimate(
        settings.data,
        teacher=settings.teacher,
        refine=settings.refine,
        run=RunFolder(root=Path(settings.out)),
        branches=1,
        progress=progress,
    )


def estimate_refine(
    *,
    data: Mapping[str, Any],
    teacher: Mapping[str, Any],
    refine: Mapping[str, Any],
    student: str | Mapping[str, Any] | None,
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """What `refine_data` would ask the teacher, and what that would cost."""
    parts = refine_settings(data=data, teacher=teacher, refine=refine, student=student, out=out)
    return _estimate(
        parts.data,
        teacher=parts.teacher,
        refine=parts.refine,
        run=RunFolder(root=out),
        branches=1 if student is not None else 2,
        progress=progress,
    )


def _estimate(
    data: DataSettings,
    *,
    teacher: TeacherSettings,
    refine: RefineSettings,
    run: RunFolder,
    branches: int,
    progress: Progress,
) -> dict[str, Any]:
    progress.begin("estimate", total=None, unit="rows")
    rows = 0

    def originals() -> Iterator[Candidate]:
        nonlocal rows
        for row in read(data.path, settings=data):
            rows += 1
            progress.advance()
            yield from (c for c in row.candidates if c.step == ORIGINAL and c.status == OK)

    with _journal(journal_path(run, teacher)) as journal:
        asker = open_teacher(teacher, journal)
        requests = (
            reflection_request(candidate, step=_STEPS[name], teacher=asker, settings=refine)
            for candidate in originals()
            for name in refine.steps
        )
        figures = estimate(requests, settings=teacher, journal=journal)
    progress.end()
    return {
        "rows": rows,
        **asdict(figures),
        "response_reflections_for_each_example": branches,
        "note": "the response that is reflected on is not written yet: the original stands for it; "
        "a reply that cannot be used is asked for again, at most "
        f"{refine.attempts - 1} more times",
    }


@contextmanager
def _journal(path: Path) -> Iterator[Journal]:
    """The journal there is, read only, or an empty one that goes away again."""
    if path.exists():
        with Journal(path, read_only=True) as journal:
            yield journal
        return
    with TemporaryDirectory() as folder, Journal(Path(folder) / "journal.sqlite") as journal:
        yield journal
