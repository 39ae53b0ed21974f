"""Open what a run needs: its manifest, its journal, its teacher, its student."""

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from tutelage import __version__
from tutelage.data import (
    INSTRUCTION_REFLECTION,
    RESPONSE_REFLECTION,
    Candidate,
    TargetTokens,
    content_hash,
)
from tutelage.data.token_table import TextName
from tutelage.refinement import RefineSettings, prompt_of
from tutelage.runs.folder import RunFolder
from tutelage.runs.settings import RunSettings
from tutelage.student import Reads, Statistics, StudentSettings, open_student
from tutelage.teacher import Journal, JournaledTeacher, TeacherSettings, open_teacher

LIBRARIES = ("torch", "transformers", "tokenizers", "pyarrow", "duckdb", "numpy", "openai")


def versions() -> dict[str, str]:
    """The versions that can change a result: this package, Python and the libraries that count."""
    found = {"tutelage": __version__, "python": sys.version.split()[0]}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["platform"] = platform.platform()
    return found


def begin(
    run: RunFolder, *, settings: Mapping[str, Any], inputs: Mapping[str, str], seed: int
) -> None:
    """Write the manifest before work starts; keep what earlier stages noted.

    Args:
        run: The run folder.
        settings: Resolved settings, without secrets: none of our settings holds one.
        inputs: SHA-256 by input file.
        seed: Of the selection and its nulls.
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
    """Put facts into the manifest that were not known when it was first written."""
    manifest = run.read_manifest()
    manifest.update(facts)
    run.write_manifest(manifest)


def run_id(run: RunFolder) -> str:
    """The name of this run in a journal; the same whenever it is started again."""
    name: str = run.read_manifest()["run_id"]
    return name


def prompts_used(settings: RefineSettings) -> dict[str, str]:
    """The name and the fingerprint of each prompt, by step."""
    steps = {"instruction": INSTRUCTION_REFLECTION, "response": RESPONSE_REFLECTION}
    used = {}
    for name in settings.steps:
        prompt = prompt_of(steps[name], settings)
        used[steps[name]] = f"{prompt.name}@{prompt.fingerprint}"
    return used


def journal_path(run: RunFolder, teacher: TeacherSettings) -> Path:
    """Where the replies of this run are kept."""
    return teacher.journal or run.journal


@contextmanager
def opened_journal(run: RunFolder, teacher: TeacherSettings) -> Iterator[Journal]:
    """The journal of a run; a replay from somebody else's journal never writes to it."""
    path = journal_path(run, teacher)
    foreign = teacher.kind == "replay" and teacher.journal is not None
    with Journal(path, read_only=foreign) as journal:
        yield journal


class Reader(Reads, Protocol):
    """What a stage asks of a student, beyond reading."""

    @property
    def fingerprint(self) -> str:
        """Content hash of weights, tokenizer and template."""
        ...

    def describe(self) -> Mapping[str, object]:
        """What the manifest says about it."""
        ...

    @property
    def measures(self) -> Statistics:
        """The most statistics that can be had."""
        ...

    def response_text(self, candidate: Candidate) -> str:
        """The text that its response tokens are counted in."""
        ...

    def last_response_text(self, candidate: Candidate) -> str:
        """The text behind `context_text`: the last turn that is read, as it is rendered."""
        ...

    def targets(self, candidate: Candidate, side: TextName) -> TargetTokens:
        """The target tokens of one side of a candidate that has a reading."""
        ...

    def close(self) -> None:
        """Give memory and files back."""
        ...


class OpensTeacher(Protocol):
    """Opens a teacher from its settings; `tutelage.teacher.open_teacher` does."""

    def __call__(
        self, settings: TeacherSettings, journal: Journal, *, run: str | None = None
    ) -> JournaledTeacher:
        """The teacher, not entered yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """How a run reaches its student and its teacher; tests put fakes behind them.

    Attributes:
        open_student: From settings to a student whose weights are loaded when they are needed.
        open_teacher: From settings to a teacher.
    """

    open_student: Callable[[StudentSettings], Reader] = open_student
    open_teacher: OpensTeacher = open_teacher


@contextmanager
def opened_student(settings: StudentSettings, doors: Doors | None = None) -> Iterator[Reader]:
    """The student; it is closed at the end."""
    student = (doors or Doors()).open_student(settings)
    try:
        yield student
    finally:
        student.close()


def secret_free(settings: RunSettings) -> dict[str, Any]:
    """The settings as the manifest shows them: settings name keys, they never hold one."""
    return settings.model_dump(mode="json")


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
