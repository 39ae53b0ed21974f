"""Drift of data files and runs: `tutelage drift A B ...`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from tutelage.data import OK, ORIGINAL, Candidate, Example, content_hash, read, write_table
from tutelage.errors import DataError, SettingsError
from tutelage.experiments.drift.measure import account, line_to_row, lines_to_table
from tutelage.experiments.drift.measures import TextSet
from tutelage.filters import EmbedderSettings, make_embedder
from tutelage.pipeline.config import DataSettings, checked
from tutelage.pipeline.resources import Doors, Reader, opened_student
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sample_stage import stored_examples
from tutelage.pipeline.score_stage import score_candidates
from tutelage.pipeline.stages import stored_candidates
from tutelage.pipeline.tables import open_tables, stream
from tutelage.progress import Progress, Silent
from tutelage.student import StudentSettings
from tutelage.verification import Claim, VerifySettings, verify_table

Versions: TypeAlias = Literal["all", "original", "refined"]

_LIKELIHOODS = {"nll_untrained": "student", "nll_current": "current"}
_CHOSEN = "select candidate_id from chosen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One response with its prompt.

    Attributes:
        key: Hash of the original conversation before the response.
        candidate: Whose response it is.
        reference: The right answer, where there is one.
    """

    key: str
    candidate: Candidate
    reference: str | None = None


class DriftJob(BaseModel):
    """Arguments of the function `drift_files`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reading: Mapping[str, Any]
    student: StudentSettings | None = None
    current: StudentSettings | None = None
    check: VerifySettings | None = None
    embedder: EmbedderSettings | None = None
    versions: Versions = "all"
    seed: int = Field(default=0, ge=0)


def drift_files(
    paths: Sequence[Path],
    *,
    job: Mapping[str, Any],
    out: Path | None,
    progress: Progress | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Measure how far files, or the selections of runs, are from the first one.

    Args:
        paths: Data files of any known shape, or run folders: of a run the chosen set is read, and
            a single run for its originals and its chosen set.
        job: See `DriftJob`.
        out: A Parquet file of the DRIFT schema, or None.
        progress: Notified of each text that is read.
        doors: How students are reached.

    Returns:
        The lines, and what was compared.

    Raises:
        SettingsError: There is only one set, and it is a file.
        DataError: A file has no text.
    """
    settings = checked(DriftJob, job, place="drift")
    named = [pair for path in paths for pair in _texts_of(path, settings, alone=len(paths) == 1)]
    if len(named) < 2:  # noqa: PLR2004  (nothing to compare)
        raise SettingsError(
            "drift compares at least two sets", hint="give two files, or one run folder"
        )
    with ExitStack() as stack:
        students: dict[str, Reader] = {
            measure: stack.enter_context(opened_student(given, doors))
            for measure, name in _LIKELIHOODS.items()
            if (given := getattr(settings, name)) is not None
        }
        sets = [
            text_set(
                name,
                texts,
                students=students,
                check=settings.check,
                progress=progress,
            )
            for name, texts in _with_names_of_their_own(named)
        ]
        if settings.embedder is not None:
            sets = with_vectors(sets, settings.embedder)
        lines = account(sets, seed=settings.seed)
        if out is not None:
            write_table(out, lines_to_table(lines))
        return {
            "baseline": sets[0].name,
            "sets": {one.name: len(one.texts) for one in sets},
            "students": {measure: dict(s.describe()) for measure, s in students.items()},
            "seed": settings.seed,
            "lines": [line_to_row(line) for line in lines],
            **({} if out is None else {"out": str(out)}),
        }


def _with_names_of_their_own(
    named: Sequence[tuple[str, list[Text]]],
) -> Iterator[tuple[str, list[Text]]]:
    taken: set[str] = set()
    for name, texts in named:
        free, number = name, 2
        while free in taken:
            free, number = f"{name} ({number})", number + 1
        taken.add(free)
        yield free, texts


def _texts_of(path: Path, settings: DriftJob, *, alone: bool) -> Iterator[tuple[str, list[Text]]]:
    if RunFolder(root=path).manifest.is_file():
        originals, chosen = texts_of_run(RunFolder(root=path))
        if alone:
            yield f"{path.name} originals", _some(originals, path)
        yield (f"{path.name} chosen" if alone else path.name), _some(chosen, path)
        return
    reading = checked(DataSettings, {**settings.reading, "path": str(path)}, place="drift")
    texts = [
        Text(key=key_of(row.example), candidate=candidate, reference=row.example.reference)
        for row in read(reading.path, settings=reading)
        if row.example is not None
        for candidate in row.candidates
        if candidate.status == OK and _wanted(candidate, settings.versions)
    ]
    yield path.name.partition(".")[0], _some(texts, path)


def _wanted(candidate: Candidate, versions: Versions) -> bool:
    return versions == "all" or (candidate.step == ORIGINAL) == (versions == "original")


def _some(texts: list[Text], path: Path) -> list[Text]:
    if not texts:
        raise DataError(f"{path}: contains no response to measure", hint="check --versions")
    return texts


def key_of(example: Example) -> str:
    """Hash of the original conversation, by which responses are matched."""
    return content_hash("key", [[m.role, m.content] for m in example.context])


def texts_of_run(run: RunFolder) -> tuple[list[Text], list[Text]]:
    """Originals and chosen candidates of a run, both in the order of the candidates."""
    run.need(run.candidates)
    examples = {e.example_id: e for e in stored_examples(run.need(run.examples))}
    chosen: set[str] = set()
    if run.decisions.exists():
        tables = open_tables(run)
        try:
            chosen = {row["candidate_id"] for row in stream(tables, _CHOSEN)}
        finally:
            tables.close()
    texts = [
        Text(
            key=key_of(examples[candidate.example_id]),
            candidate=candidate,
            reference=examples[candidate.example_id].reference,
        )
        for candidate in stored_candidates(run.candidates)
        if candidate.status == OK
    ]
    originals = [text for text in texts if text.candidate.step == ORIGINAL]
    return originals, [text for text in texts if text.candidate.candidate_id in chosen]


def text_set(
    name: str,
    texts: Sequence[Text],
    *,
    students: Mapping[str, Reader],
    check: VerifySettings | None = None,
    progress: Progress | None = None,
) -> TextSet:
    """Text set with all numbers that are available.

    Args:
        name: What reports call it.
        texts: At least one.
        students: By the measure that their mean loss is called.
        check: How responses are checked; None checks nothing.
        progress: Notified of each text a student reads.
    """
    progress = progress or Silent()
    candidates = [text.candidate for text in texts]
    numbers: dict[str, list[float | None]] = {}
    for measure, student in students.items():
        progress.begin("read", total=len(candidates), unit="texts")
        numbers[measure] = []
        tokens: list[float | None] = []
        for row in score_candidates(candidates, student=student, metrics=("ppl",)):
            numbers[measure].append(row["nll_response_given_instruction"])
            tokens.append(row["response_tokens"])
            progress.advance()
        numbers["tokens"] = tokens
        progress.end()
    if check is not None:
        numbers["right"] = right_or_wrong(texts, check)
    return TextSet(
        name=name,
        keys=tuple(text.key for text in texts),
        texts=tuple(c.response for c in candidates),
        teachers=tuple(c.teacher for c in candidates),
        numbers=numbers,
    )


def with_vectors(sets: Sequence[TextSet], embedder: EmbedderSettings) -> list[TextSet]:
    """Same sets with the embeddings of their texts, all computed in one call."""
    vectors = make_embedder(embedder).embed([text for one in sets for text in one.texts])
    placed, start = [], 0
    for one in sets:
        placed.append(replace(one, vectors=vectors[start : start + len(one.texts)]))
        start += len(one.texts)
    return placed


def right_or_wrong(texts: Sequence[Text], check: VerifySettings) -> list[float | None]:
    """Correctness of a response: 1.0 right, 0.0 wrong or no answer, None if not checkable."""
    claims = (
        Claim(
            response=text.candidate.response,
            reference=text.reference,
            instruction=text.candidate.instruction,
        )
        for text in texts
    )
    number = {"right": 1.0, "wrong": 0.0, "no_answer": 0.0}
    return [number.get(verdict.verdict) for verdict in verify_table(claims, check)]
