"""Resources of a run: manifest, teacher cache, teacher, student and workers."""

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tutelage.data import (
    INSTRUCTION_REFLECTION,
    RESPONSE_REFLECTION,
    Candidate,
    TargetTokens,
    content_hash,
)
from tutelage.data.schemas import TextName
from tutelage.errors import RunError, SettingsError
from tutelage.pipeline.config import RaySettings, RunSettings, ScoreSettings
from tutelage.pipeline.run_dir import RunFolder
from tutelage.progress import Progress
from tutelage.refinement import RefineSettings, prompt_of
from tutelage.student import Reads, Statistics, StudentSettings, open_student
from tutelage.teacher import Journal, JournaledTeacher, TeacherSettings, open_teacher
from tutelage.version import __version__, installed_version

LIBRARIES = ("torch", "transformers", "tokenizers", "pyarrow", "duckdb", "numpy", "openai")


def versions() -> dict[str, str]:
    """Versions that can change a result: this package, Python and relevant libraries."""
    found = {"tutelage": __version__, "python": sys.version.split()[0]}
    found |= {name: of for name in LIBRARIES if (of := installed_version(name)) is not None}
    found["platform"] = platform.platform()
    return found


def begin(
    run: RunFolder, *, settings: Mapping[str, Any], inputs: Mapping[str, str], seed: int
) -> None:
    """Write the manifest before work starts; entries of earlier stages are kept.

    Args:
        run: The run folder.
        settings: Resolved settings, without secrets: none of our settings holds one.
        inputs: SHA-256 by input file.
        seed: Seed of the selection and its nulls.
    """
    manifest = run.read_manifest()
    manifest.setdefault("created", _now())
    manifest.setdefault("run_id", content_hash("run", manifest["created"], str(run.root.name)))
    manifest["updated"] = _now()
    manifest["settings"] = dict(settings)
    manifest["versions"] = versions()
    manifest["inputs"] = dict(inputs)
    manifest["seeds"] = {"select": seed}
    run.write_manifest(manifest)


def note(run: RunFolder, **facts: Any) -> None:
    """Add facts to the manifest that were unknown when it was first written."""
    manifest = run.read_manifest()
    manifest.update(facts)
    run.write_manifest(manifest)


def run_id(run: RunFolder) -> str:
    """Name of this run in a teacher cache, the same at every start."""
    name: str = run.read_manifest()["run_id"]
    return name


def prompts_used(settings: RefineSettings) -> dict[str, str]:
    """Name and fingerprint of each prompt, by step."""
    steps = {"instruction": INSTRUCTION_REFLECTION, "response": RESPONSE_REFLECTION}
    used = {}
    for name in settings.steps:
        prompt = prompt_of(steps[name], settings)
        used[steps[name]] = f"{prompt.name}@{prompt.fingerprint}"
    return used


def journal_path(run: RunFolder, teacher: TeacherSettings) -> Path:
    """Path of this run's teacher cache."""
    return teacher.journal or run.journal


@contextmanager
def opened_journal(run: RunFolder, teacher: TeacherSettings) -> Iterator[Journal]:
    """Teacher cache of a run; a replay never writes to another run's."""
    path = journal_path(run, teacher)
    foreign = teacher.kind == "replay" and teacher.journal is not None
    with Journal(path, read_only=foreign) as journal:
        yield journal


class Reader(Reads, Protocol):
    """Student methods that a stage uses besides reading."""

    @property
    def fingerprint(self) -> str:
        """Content hash of weights, tokenizer and template."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Description for the manifest."""
        ...

    @property
    def measures(self) -> Statistics:
        """Most detailed statistics available."""
        ...

    def response_text(self, candidate: Candidate) -> str:
        """Text to which the offsets of its response tokens refer."""
        ...

    def last_response_text(self, candidate: Candidate) -> str:
        """Text that follows `context_text`: the last turn that is read, as rendered."""
        ...

    def targets(self, candidate: Candidate, side: TextName) -> TargetTokens:
        """Target tokens of one side of a candidate with token statistics."""
        ...

    def close(self) -> None:
        """Free memory and close files."""
        ...


class OpensTeacher(Protocol):
    """Function type that opens a teacher, such as `tutelage.teacher.open_teacher`."""

    def __call__(
        self, settings: TeacherSettings, journal: Journal, *, run: str | None = None
    ) -> JournaledTeacher:
        """Teacher, not yet entered as a context."""
        ...


class ScoringJob(Protocol):
    """One scoring job on a pool of workers."""

    def scorer(
        self, candidates: Callable[[], Iterable[Candidate]], *, progress: Progress
    ) -> Callable[[Iterable[Candidate]], Iterator[dict[str, Any]]]:
        """Scorer that scores every candidate on the pool."""
        ...

    def computing(self, metrics: tuple[str, ...]) -> "ScoringJob":
        """The same job for these metrics."""
        ...

    def work(self, candidates: Iterable[Candidate], *, progress: Progress) -> int:
        """Score every candidate, store the results and return the number of candidates."""
        ...

    def rows(self, candidates: Iterable[Candidate]) -> Iterator[dict[str, Any]]:
        """Rows of the scores table, in the order of the candidates."""
        ...

    def forget(self) -> None:
        """Remove the stored parts, once their rows are in a table."""
        ...


class Workers(Protocol):
    """A pool of workers that scores candidates and runs local teachers."""

    def scoring_job(
        self,
        student: StudentSettings,
        reader: Reader,
        score: ScoreSettings,
        *,
        out: Path,
        open_student: Callable[[StudentSettings], Reader],
        at_least: Statistics = "nll",
    ) -> ScoringJob:
        """Scoring job that writes `out`.

        Args:
            student: Settings of the student.
            reader: The opened student.
            score: Settings of the scoring.
            out: The table.
            open_student: Opens a student in a worker.
            at_least: Statistics that later stages need of the same readings.
        """
        ...

    def teacher_opener(self, pool: RaySettings) -> OpensTeacher:
        """Opener of teachers; those that are local models are spread over the pool."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Factories of a run's student and teacher, which tests replace by fakes.

    Attributes:
        open_student: From settings to a student whose weights are loaded when they are needed.
        open_teacher: From settings to a teacher.
        workers: A pool of workers for `engine: ray`; None: there is none.
        own_teacher: From a student to the settings under which it is asked for its own answers;
            None: as a model in this process.
    """

    open_student: Callable[[StudentSettings], Reader] = open_student
    open_teacher: OpensTeacher = open_teacher
    workers: Workers | None = None
    own_teacher: Callable[[StudentSettings], TeacherSettings] | None = None


@contextmanager
def opened_student(settings: StudentSettings, doors: Doors | None = None) -> Iterator[Reader]:
    """Context manager with the student, which is closed at the end."""
    student = (doors or Doors()).open_student(settings)
    try:
        yield student
    finally:
        student.close()


def secret_free(settings: RunSettings) -> dict[str, Any]:
    """Settings for the manifest: they name keys and never contain one."""
    return settings.model_dump(mode="json")


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")


def workers_of(doors: Doors) -> Workers:
    """Pool of workers that was passed in.

    Raises:
        SettingsError: The settings ask for workers, and none were handed in.
    """
    if doors.workers is None:
        raise SettingsError(
            "engine ray: no workers were handed in",
            hint="in Python: doors=Doors(workers=RayWorkers()) from tutelage.distributed",
        )
    return doors.workers


def scoring_job(
    student: StudentSettings,
    reader: Reader,
    score: ScoreSettings,
    *,
    out: Path,
    doors: Doors,
    at_least: Statistics = "nll",
) -> ScoringJob:
    """Scoring job of a pool of workers, which writes `out`.

    Args:
        student: Settings of the student that each worker opens.
        reader: The student in this process.
        score: Settings of the scores.
        out: The table of scores.
        doors: How the student is opened, and the pool.
        at_least: Statistics that later stages need of the same readings.

    Raises:
        SettingsError: No workers were handed in.
    """
    return workers_of(doors).scoring_job(
        student, reader, score, out=out, open_student=doors.open_student, at_least=at_least
    )


def need_some(
    counts: Mapping[str, int], usable: Iterable[str], *, problem: str, out: Path | str
) -> None:
    """Raise an error for a result in which nothing is usable; what was written stays.

    Args:
        counts: How many rows ended how.
        usable: The ends that are results.
        problem: What is wrong where no row has one of these, such as "none of the rows was scored".
        out: Where each row and its reason are.

    Raises:
        RunError: There are rows, and none of them is usable.
    """
    if counts and not sum(counts.get(name, 0) for name in usable) and sum(counts.values()):
        said = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
        raise RunError(
            f"{problem} ({said})", hint=f"{out} holds every row with its reason and was kept"
        )


def teacher_doors(doors: Doors | None, *, engine: str, pool: RaySettings) -> Doors:
    """Factories of a stage that asks a teacher; fakes are kept.

    Args:
        doors: Those that were handed in.
        engine: `ray` spreads local teachers over a pool of workers.
        pool: Settings of the pool.

    Raises:
        SettingsError: The engine is `ray`, and no workers were handed in.
    """
    doors = doors or Doors()
    if engine != "ray" or doors.open_teacher is not open_teacher:
        return doors
    return replace(doors, open_teacher=workers_of(doors).teacher_opener(pool))
