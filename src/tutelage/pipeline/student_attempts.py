"""Attempts of a student: generated answers to each example, all stored.

An attempt is not a candidate: equal answers count as often as they are given, and an answer that
was cut or is empty is an attempt that failed.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.data import Attempts, Example, Message, content_hash
from tutelage.data.schemas import ATTEMPTS
from tutelage.errors import DataError, TeacherError
from tutelage.models.folder import find_folder
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.teacher_outage import AttendedTeacher, attended
from tutelage.progress import Progress
from tutelage.refinement import SampleSettings, sample_request
from tutelage.refinement.concurrency import run_bounded
from tutelage.reporting.number_format import count
from tutelage.student import StudentSettings
from tutelage.teacher import Journal, Reply, Request, Teacher, TeacherSettings, ending_of
from tutelage.verification import Claim, VerifySettings, verify_table

Kind: TypeAlias = Literal["greedy", "sampled"]

CUT = "cut_by_length"
FAILED = "teacher_failed"
ANSWERED = "ok"


class AttemptSettings(BaseModel):
    """Settings of the student's attempts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampled: int = Field(default=4, ge=0, description="Sampled answers to each example.")
    greedy: int = Field(
        default=1,
        ge=0,
        description="Greedy answers; more than one needs shots, by which they differ.",
    )
    shots: int = Field(
        default=0, ge=0, description="Solved examples in front of the question, drawn by the seed."
    )
    temperature: float = Field(
        default=0.8, gt=0.0, le=2.0, description="Temperature of sampled answers."
    )
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_tokens: int = Field(default=256, ge=1, description="The most tokens of an answer.")
    system: str | None = Field(
        default=None, description="A system prompt in front of each question."
    )
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _asks_something(self) -> "AttemptSettings":
        if not self.sampled and not self.greedy:
            raise ValueError("ask for at least one sampled or greedy answer")
        if self.greedy > 1 and not self.shots:
            raise ValueError("several greedy answers are identical without shots")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One generated answer of the student.

    Attributes:
        example_id: The example.
        kind: How it was sampled.
        index: Which one of its kind, from 0.
        status: `ok`, `cut_by_length`, or `teacher_failed`.
        text: What it wrote; empty without an answer.
        completion_tokens: As the server counted.
        request_key: Request key of the reply in the journal.
    """

    example_id: str
    kind: Kind
    index: int
    status: str
    text: str = ""
    completion_tokens: int | None = None
    request_key: str | None = None


def own_teacher(student: StudentSettings, *, batch: int = 16) -> TeacherSettings:
    """Student as a teacher in this process.

    Its name holds a hash of its weights: a journal must never answer for a student that was
    trained since.

    Raises:
        StudentError: There is no such model.
    """
    folder = find_folder(student)
    name = folder.path.parent.name if folder.path.name == "model" else folder.path.name
    return TeacherSettings(
        kind="local",
        model=str(folder.path),
        name=f"{name}@{folder.digest()[:8]}",
        concurrency=batch,
        extra_body={"chat_template_kwargs": dict(student.template_args)}
        if student.template_args
        else {},
    )


def attempt_all(
    examples: Sequence[Example],
    *,
    settings: AttemptSettings,
    teacher: TeacherSettings,
    journal: Journal,
    run: str,
    doors: Doors,
    progress: Progress,
    pool: Sequence[Example] = (),
) -> tuple[list[Attempt], Mapping[str, object]]:
    """Generate the student's answers to every example.

    Args:
        examples: What is asked; an answer in them is not shown.
        settings: How often and how.
        teacher: The student, as a teacher.
        journal: Where its answers are kept.
        run: The name of the run in the journal.
        doors: How teachers are opened.
        progress: Notified of each answer.
        pool: Solved examples from which shots are sampled.

    Returns:
        The attempts, example by example, greedy ones first; and the teacher's tally, with why
        under `away` why the requests stopped, if they did.
    """
    units = [unit for example in examples for unit in _units(example, settings, pool)]
    progress.begin("attempt", total=len(units), unit="answers")

    async def ask_all() -> tuple[list[Attempt], Mapping[str, object]]:
        async with attended(
            teacher,
            journal,
            run=run,
            doors=doors,
            progress=progress,
            requests=count(len(units), "request"),
        ) as asked:

            async def one(_: int, unit: "_Unit") -> Attempt:
                found = await _ask(unit, asked)
                progress.advance()
                return found

            found = await run_bounded(units, one, outstanding=max(8, 2 * teacher.concurrency))
        return found, {**asked.tally.as_dict(), "away": asked.away}

    attempts, tally = asyncio.run(ask_all())
    progress.end()
    return attempts, tally


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    example: Example
    kind: Kind
    index: int
    sampling: SampleSettings


def _units(example: Example, settings: AttemptSettings, pool: Sequence[Example]) -> Iterator[_Unit]:
    sampling = SampleSettings(
        n=max(1, settings.sampled),
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        system=settings.system,
        seed=settings.seed,
    )
    greedy = sampling.model_copy(update={"temperature": 0.0, "top_p": 1.0})
    for index in range(settings.greedy):
        shown = _with_shots(example, pool, settings, prompt=index)
        yield _Unit(example=shown, kind="greedy", index=index, sampling=greedy)
    shown = _with_shots(example, pool, settings, prompt=0)
    for index in range(settings.sampled):
        yield _Unit(example=shown, kind="sampled", index=index, sampling=sampling)


def _with_shots(
    example: Example, pool: Sequence[Example], settings: AttemptSettings, *, prompt: int
) -> Example:
    """Example with solved ones in front of it, sampled with the seed for each prompt.

    Raises:
        DataError: The pool holds too few solved ones.
    """
    if not settings.shots:
        return example
    others = [o for o in pool if o.example_id != example.example_id and _solved(o)]
    if len(others) < settings.shots:
        raise DataError(
            f"example {example.example_id}: {settings.shots} shots are wanted and {len(others)} "
            "other examples are solved",
            hint="examples with a response or a reference can be shots; ask for fewer",
        )
    others.sort(
        key=lambda other: content_hash(
            "shot", settings.seed, prompt, example.example_id, other.example_id
        )
    )
    shots: list[Message] = []
    for other in others[: settings.shots]:
        shots += [turn for turn in _solved(other) if turn.role != "system"]
    # A system prompt comes first, or most chat templates raise an error.
    first = 1 if example.context[0].role == "system" else 0
    turns = (*example.context[:first], *shots, *example.context[first:])
    return replace(example, messages=turns)


def _solved(example: Example) -> tuple[Message, ...]:
    """Example with its response or reference as the answer; None with neither."""
    if example.messages[-1].role == "assistant":
        return example.messages
    if example.reference:
        return (*example.context, Message(role="assistant", content=example.reference))
    return ()


def attempt_requests(
    examples: Iterable[Example],
    *,
    settings: AttemptSettings,
    teacher: Teacher,
    pool: Sequence[Example] = (),
) -> Iterator[Request]:
    """Requests that `attempt_all` would make, so that a dry run can count them.

    Args:
        examples: What is asked.
        settings: How often and how.
        teacher: The student as a teacher; only its name is used.
        pool: Examples from which shots are sampled.
    """
    for example in examples:
        if example.uses_tools:
            continue
        for unit in _units(example, settings, pool):
            yield sample_request(unit.example, unit.index, teacher=teacher, settings=unit.sampling)


async def _ask(unit: _Unit, teacher: AttendedTeacher) -> Attempt:
    blank = Attempt(
        example_id=unit.example.example_id, kind=unit.kind, index=unit.index, status=FAILED
    )
    if unit.example.uses_tools:  # nobody gives it the tools that belong to its prompt
        return blank
    request = sample_request(unit.example, unit.index, teacher=teacher, settings=unit.sampling)
    try:
        reply: Reply | None = await teacher.ask(request)
    except TeacherError:
        reply = None
    if reply is None:
        return blank
    return replace(
        blank,
        status=CUT if ending_of(reply.finish_reason) == "cut" else ANSWERED,
        text=reply.text,
        completion_tokens=reply.completion_tokens,
        request_key=reply.request_key,
    )


def checked_attempts(
    attempts: Iterable[Attempt], references: Mapping[str, str | None], check: VerifySettings
) -> pa.Table:
    """Table of attempts with their verdicts (ATTEMPTS schema), in the order given.

    An answer that was cut is wrong: it would have gone on. Where the reference is none that can be
    checked, it cannot be either. An attempt without an answer has no verdict.

    Args:
        attempts: The attempts.
        references: Reference by example id.
        check: Settings of the check.
    """
    attempts = list(attempts)
    to_check = [a for a in attempts if a.status in (ANSWERED, CUT)]
    verdicts = verify_table(
        (Claim(response=a.text, reference=references.get(a.example_id)) for a in to_check), check
    )
    found = {id(a): v for a, v in zip(to_check, verdicts, strict=True)}
    rows = []
    for attempt in attempts:
        verdict = found.get(id(attempt))
        ruling = verdict.verdict if verdict else None
        evidence = verdict.evidence if verdict else None
        if attempt.status == CUT and ruling in ("right", "wrong", "no_answer"):
            ruling, evidence = "wrong", "cut by the limit on tokens"
        rows.append(
            {
                "example_id": attempt.example_id,
                "kind": attempt.kind,
                "index": attempt.index,
                "status": attempt.status,
                "text": attempt.text,
                "verdict": ruling,
                "evidence": evidence,
                "completion_tokens": attempt.completion_tokens,
                "request_key": attempt.request_key,
            }
        )
    return pa.Table.from_pylist(rows, schema=ATTEMPTS)


def count_attempts(table: pa.Table) -> dict[str, Attempts]:
    """Counts of each example's attempts with a verdict of right, wrong or no_answer."""
    counts: dict[str, Counter[str]] = {}
    columns = ["example_id", "kind", "verdict"]
    for row in table.select(columns).to_pylist():
        if row["verdict"] in ("right", "wrong", "no_answer"):
            counted = counts.setdefault(row["example_id"], Counter())
            counted[row["kind"]] += 1
            counted[f"{row['kind']}_right"] += row["verdict"] == "right"
    names = ("greedy", "greedy_right", "sampled", "sampled_right")
    return {
        example_id: Attempts(example_id=example_id, **{name: counted[name] for name in names})
        for example_id, counted in counts.items()
    }
