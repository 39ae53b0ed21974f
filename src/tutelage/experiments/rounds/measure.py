"""Drift measures of a round: its data, its student's texts, and held-out items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.data import (
    SAMPLE,
    Candidate,
    Example,
    Message,
    Reading,
    ViewName,
    candidate_id_of,
    content_hash,
    read,
    write_table,
)
from tutelage.data.schemas import ATTEMPTS
from tutelage.errors import DataError
from tutelage.evaluation import TaskSettings
from tutelage.experiments.drift import Line, account, divergence_line, number_lines
from tutelage.experiments.drift.run import Text, key_of, text_set, texts_of_run, with_vectors
from tutelage.experiments.rounds.config import RoundDoors, RoundsSettings
from tutelage.pipeline.resources import Reader, opened_student
from tutelage.pipeline.run_dir import RunFolder, sound
from tutelage.pipeline.student_attempts import ANSWERED, CUT, Attempt, attempt_all
from tutelage.pipeline.teacher_outage import need_all
from tutelage.progress import Progress
from tutelage.student import StudentSettings
from tutelage.student.config import template_values
from tutelage.teacher import Journal

UNTRAINED = "untrained"

_MEASURES = {"held_out": "nll_human", "exact_match": "accuracy", "choice": "accuracy"}
"""Outcome of the first task of a kind; a held-out likelihood is turned into a loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Answers and results of a student on held-out items.

    Attributes:
        name: What reports call it.
        student: How it is opened.
        answers: Its answers to the held-out instructions.
        results: Rows of the evaluation's RESULTS schema; None where there are no tasks.
    """

    name: str
    student: StudentSettings
    answers: tuple[Candidate, ...]
    results: pa.Table | None


def observe(
    name: str,
    student: StudentSettings,
    settings: RoundsSettings,
    *,
    out: Path,
    doors: RoundDoors,
    progress: Progress,
) -> Observed:
    """Let a student write and answer; finished work is reused.

    Args:
        name: What reports call it.
        student: Who.
        settings: Settings of the held-out items.
        out: A folder for its answers and its evaluation.
        doors: How models are reached.
        progress: Notified of each answer.
    """
    out.mkdir(parents=True, exist_ok=True)
    held_out = settings.held_out
    results = None
    if held_out.tasks:
        evaluate = held_out.evaluate.model_copy(
            update={"template": student.template, **template_values(student)}
        )
        results = doors.evaluate(
            student.model, held_out.tasks, evaluate, out / "evaluation", progress
        )
    return Observed(
        name=name,
        student=student,
        answers=_answers(
            student,
            settings,
            out=out,
            doors=doors,
            progress=progress,
            may_be_silent=name != UNTRAINED,
        ),
        results=results,
    )


def _answers(
    student: StudentSettings,
    settings: RoundsSettings,
    *,
    out: Path,
    doors: RoundDoors,
    progress: Progress,
    may_be_silent: bool,
) -> tuple[Candidate, ...]:
    held_out = settings.held_out
    if held_out.instructions is None:
        return ()
    rows = read(held_out.instructions.path, settings=held_out.instructions)
    examples = {row.example.example_id: row.example for row in rows if row.example is not None}
    teacher = doors.as_teacher(student, settings.batch)
    key = content_hash(
        sorted(examples), held_out.answers.model_dump(mode="json"), teacher.teacher_name
    )
    file = out / f"answers-{key[:8]}.parquet"
    if not file.is_file():
        with Journal(out / "journal.sqlite") as journal:
            attempts, tally = attempt_all(
                list(examples.values()),
                settings=held_out.answers,
                teacher=teacher,
                journal=journal,
                run=key,
                doors=doors.doors,
                progress=progress,
            )
        need_all(tally, what="the answers to held-out instructions")
        write_table(file, _attempts_table(attempts))
    found = [
        _answer_of(examples[row["example_id"]], row["text"], row["index"])
        for row in pq.read_table(sound(file)).to_pylist()
        if row["status"] in (ANSWERED, CUT)
    ]
    # A blank answer is one of no words: a trained student that falls silent has drifted, and the
    # guard has to see it. Of the untrained one it says that the instructions are none.
    if not found or not (may_be_silent or any(c.response.strip() for c in found)):
        raise DataError(
            f"{student.model}: answered none of the {len(examples)} held-out instructions",
            hint="are they instructions, and does the student have a chat template?",
        )
    return tuple(found)


def _attempts_table(attempts: Sequence[Attempt]) -> pa.Table:
    names = ("example_id", "kind", "index", "status", "text", "completion_tokens", "request_key")
    rows = [{name: getattr(one, name) for name in names} for one in attempts]
    return pa.Table.from_pylist(rows, schema=ATTEMPTS)


def _answer_of(example: Example, text: str, index: int) -> Candidate:
    messages = (*example.context, Message(role="assistant", content=text))
    return Candidate(
        candidate_id=candidate_id_of(
            example_id=example.example_id,
            step=SAMPLE,
            parent_id=None,
            teacher=None,
            messages=messages,
            tools=example.tools,
            template_args=example.template_args,
            distinction=str(index),
        ),
        example_id=example.example_id,
        step=SAMPLE,
        messages=messages,
        tools=example.tools,
        template_args=example.template_args,
    )


def measure(
    run: RunFolder,
    *,
    before: Observed,
    after: Observed,
    judge: StudentSettings,
    settings: RoundsSettings,
    doors: RoundDoors,
    progress: Progress,
) -> tuple[Line, ...]:
    """All measures of a round.

    Args:
        run: The judged round.
        before: The untrained student.
        after: The student that was trained on the round.
        judge: The student that chose.
        settings: Settings of the whole loop.
        doors: How models are reached.
        progress: Notified of each text that is read.

    Returns:
        Lines about `data` (the chosen set compared with the originals), `student` (the trained
        student's answers compared with the untrained one's) and `held_out` (the evaluation of
        both).
    """
    with (
        opened_student(before.student, doors.doors) as untrained,
        opened_student(after.student, doors.doors) as trained,
    ):
        if judge.model == before.student.model:
            lines = _data_lines(run, untrained, untrained, settings, progress=progress)
        else:
            with opened_student(judge, doors.doors) as judging:
                lines = _data_lines(run, untrained, judging, settings, progress=progress)
        lines += _student_lines(before, after, untrained, trained, settings, progress=progress)
    return (*lines, *_held_out_lines(before, after, settings))


def _data_lines(
    run: RunFolder,
    untrained: Reader,
    judging: Reader,
    settings: RoundsSettings,
    *,
    progress: Progress,
) -> tuple[Line, ...]:
    originals, chosen = texts_of_run(run)
    if not originals or not chosen:
        return ()
    students = {"nll_untrained": untrained, "nll_current": judging}
    sets = [
        text_set(name, texts, students=students, check=settings.check, progress=progress)
        for name, texts in (("originals", originals), (run.root.name, chosen))
    ]
    if settings.embedder is not None:
        sets = with_vectors(sets, settings.embedder)
    return account(sets, subject="data")


def _student_lines(
    before: Observed,
    after: Observed,
    untrained: Reader,
    trained: Reader,
    settings: RoundsSettings,
    *,
    progress: Progress,
) -> tuple[Line, ...]:
    if not before.answers or not after.answers:
        return ()
    sets = []
    for one in (before, after):
        texts = [Text(key=_key(c), candidate=c) for c in one.answers]
        sets.append(
            text_set(one.name, texts, students={"nll_untrained": untrained}, progress=progress)
        )
    if settings.embedder is not None:
        sets = with_vectors(sets, settings.embedder)
    lines = account(sets, subject="student")
    line = _divergence(before, after, untrained, trained)
    return lines if line is None else (*lines, line)


def _key(candidate: Candidate) -> str:
    return key_of(Example(example_id=candidate.example_id, messages=candidate.messages))


def _divergence(
    before: Observed, after: Observed, untrained: Reader, trained: Reader
) -> Line | None:
    """Divergence from the untrained student, from the trained student's own answers."""
    now = _logprobs(after.answers, trained)
    then = _logprobs(after.answers, untrained)
    both = [
        candidate
        for candidate in after.answers
        if candidate.candidate_id in now
        and candidate.candidate_id in then
        # Students of one family have one tokenizer; of others the tokens cannot be compared.
        and len(now[candidate.candidate_id]) == len(then[candidate.candidate_id])
    ]
    return divergence_line(
        name=after.name,
        baseline=before.name,
        keys=[_key(candidate) for candidate in both],
        current=[now[candidate.candidate_id] for candidate in both],
        untrained=[then[candidate.candidate_id] for candidate in both],
    )


def _logprobs(candidates: Sequence[Candidate], student: Reader) -> dict[str, NDArray[np.float64]]:
    view: ViewName = "response_given_instruction"
    return {
        outcome.candidate_id: outcome.views[view].logprobs_T.astype(np.float64)
        for outcome in student.read(candidates, views=(view,))
        if isinstance(outcome, Reading)
    }


def _held_out_lines(
    before: Observed, after: Observed, settings: RoundsSettings
) -> tuple[Line, ...]:
    if before.results is None or after.results is None:
        return ()
    lines: list[Line] = []
    taken: set[str] = set()
    for task in settings.held_out.tasks:
        measure_name = _MEASURES.get(task.kind, task.name)
        if measure_name in taken:
            measure_name = task.name
        taken.add(measure_name)
        lines += number_lines(
            subject="held_out",
            measure=measure_name,
            baseline=(before.name, _numbers(before.results, task)),
            current=(after.name, _numbers(after.results, task)),
        )
    return tuple(lines)


def _numbers(results: pa.Table, task: TaskSettings) -> Mapping[str, float]:
    found = {}
    for row in results.to_pylist():
        if row["task"] != task.name:
            continue
        if task.kind == "held_out" and row["value"] is not None:
            found[row["item_id"]] = -float(row["value"])
        elif task.kind in ("exact_match", "choice") and row["correct"] is not None:
            found[row["item_id"]] = float(row["correct"])
        elif row["value"] is not None:
            found[row["item_id"]] = float(row["value"])
    return found
