"""Selection of one round: the student scores the pool in an ordinary run folder.

pool      the candidates of the round before  -> rows, examples, loaded, candidates
answer    self_teaching: the student's own answers take the place of the refinements
check     candidates, references              -> verdicts
score     candidates                          -> scores
select    scores, verdicts                    -> decisions, chosen, selected
rewrite   what was rejected goes back          -> more candidates; scored and selected again
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.data import (
    OK,
    ORIGINAL,
    RESPONSE_REFLECTION,
    Candidate,
    Message,
    TableWriter,
    candidate_id_of,
    content_hash,
    copy_file,
)
from tutelage.data.schemas import CANDIDATES, candidate_to_row
from tutelage.experiments.rounds.config import LoopName, RoundDoors, RoundsSettings
from tutelage.experiments.rounds.rewrite import rewrite_rejected, won_back
from tutelage.pipeline import stages
from tutelage.pipeline.check_stages import verify_candidates
from tutelage.pipeline.gate_stage import calibrate, statistics_needed
from tutelage.pipeline.resources import Reader, begin, note, opened_journal, opened_student, run_id
from tutelage.pipeline.run_dir import RunFolder, checksum
from tutelage.pipeline.sample_stage import stored_examples
from tutelage.pipeline.stage import Stage, Tally, run_stage, verify_stage
from tutelage.pipeline.student_attempts import ANSWERED, Attempt, attempt_all
from tutelage.pipeline.teacher_outage import need_all
from tutelage.progress import Progress
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings

OWN = "self"
"""Teacher name of what a student wrote for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """One student's selection in one loop.

    Attributes:
        run: The folder of the round.
        before: The run whose candidates it begins with.
        student: The student that judges.
        loop: Which loop.
        seed: Seed of the loop.
        number: Number of the round, from 0.
        like: The gate's run of the same seed and round, whose size the random choice takes.
    """

    run: RunFolder
    before: RunFolder
    student: StudentSettings
    loop: LoopName
    seed: int
    number: int
    like: RunFolder | None = None


def judge(
    judging: Judging, settings: RoundsSettings, *, doors: RoundDoors, progress: Progress
) -> Tally:
    """Let the student score and select the pool; what it rejects may be rewritten and scored again.

    Args:
        judging: The student, its data and its folder.
        settings: Settings of the whole loop.
        doors: How models are reached.
        progress: Notified of the progress of each stage.

    Returns:
        The tally of the last selection, with the student's fingerprint and the rewrites.
    """
    run = judging.run.create()
    select = select_settings(judging, settings)
    begin(
        run,
        settings=_resolved(judging, settings, select),
        inputs={"candidates": checksum(judging.before.candidates)},
        seed=select.seed,
    )
    _take_pool(judging)
    if judging.loop == "self_teaching":
        _answer(judging, settings, doors=doors, progress=progress)
    with opened_student(judging.student, doors.doors) as student:
        note(run, student=dict(student.describe()))
        tally = _decide(judging, settings, select, student, progress=progress)
        rewrites: list[Tally] = []
        if judging.loop == "gate":
            for attempt in range(settings.rewrite.attempts):
                asked = rewrite_rejected(
                    run,
                    settings,
                    number=judging.number * settings.rewrite.attempts + attempt,
                    stage=f"rewrite-{attempt}",
                    student=judging.student,
                    doors=doors,
                    progress=progress,
                )
                rewrites.append(asked)
                if not asked["usable"]:
                    break
                tally = _decide(judging, settings, select, student, progress=progress)
        found = won_back(run, rewrites)
        return {**tally, "student": student.fingerprint, "rewrites": found}


def select_settings(judging: Judging, settings: RoundsSettings) -> SelectSettings:
    """Selection settings of a loop, with a separate seed for each round."""
    seed = 1000 * judging.seed + judging.number
    if judging.loop == "gate":
        return settings.select.model_copy(update={"seed": settings.select.seed + seed})
    if judging.loop == "random":
        update: dict[str, Any] = {"seed": settings.random.seed + seed}
        if judging.like is not None and not settings.random.cuts:
            kept = judging.like.read_manifest()["stages"]["select"]["tally"]["kept"]
            update["keep_count"] = max(1, kept)
        return settings.random.model_copy(update=update)
    return settings.no_gate.model_copy(update={"seed": settings.no_gate.seed + seed})


def _resolved(judging: Judging, settings: RoundsSettings, select: SelectSettings) -> dict[str, Any]:
    values = settings.model_dump(mode="json", include={"data", "teacher", "refine", "score"})
    return {
        **values,
        "student": judging.student.model_dump(mode="json"),
        "select": select.model_dump(mode="json"),
        "out": str(judging.run.root),
        "round": {"loop": judging.loop, "seed": judging.seed, "number": judging.number},
    }


def _take_pool(judging: Judging) -> Tally:
    run, before = judging.run, judging.before
    pairs = [
        (before.rows, run.rows),
        (before.examples, run.examples),
        (before.candidates, run.loaded),
        (before.candidates, run.candidates),
    ]
    stage = Stage(
        name="pool",
        key=content_hash([checksum(source) for source, _ in pairs]),
        outputs=tuple(target for _, target in pairs),
        shared=(run.candidates,),
    )

    def work() -> Tally:
        for source, target in pairs:
            copy_file(source, target)
        return {"from": before.root.name, "candidates": stages.rows_in(run.candidates)}

    return run_stage(run, stage, work)


def _answer(
    judging: Judging, settings: RoundsSettings, *, doors: RoundDoors, progress: Progress
) -> Tally:
    """Replace all other refinements by the student's own answers."""
    run = judging.run
    teacher = doors.as_teacher(judging.student, settings.batch)
    own = settings.own_answers.model_copy(
        update={"seed": settings.own_answers.seed + 1000 * judging.seed + judging.number}
    )
    stage = Stage(
        name="answer",
        key=content_hash(checksum(run.loaded), own.model_dump(mode="json"), teacher.teacher_name),
        outputs=(run.candidates,),
        shared=(run.candidates,),
    )

    def work() -> Tally:
        with opened_journal(run, teacher) as journal:
            attempts, tally = attempt_all(
                list(stored_examples(run.examples)),
                settings=own,
                teacher=teacher,
                journal=journal,
                run=run_id(run),
                doors=doors.doors,
                progress=progress,
            )
        need_all(tally, what="the student's own answers")
        by_example: dict[str, list[Attempt]] = {}
        for attempt in attempts:
            by_example.setdefault(attempt.example_id, []).append(attempt)
        written = 0
        with TableWriter(run.candidates, CANDIDATES) as table:
            for candidate in stages.stored_candidates(run.loaded):
                if candidate.step != ORIGINAL:
                    continue
                table.append([candidate_to_row(candidate)])
                found = own_candidates(candidate, by_example.get(candidate.example_id, []))
                table.append(map(candidate_to_row, found))
                written += sum(one.status == OK for one in found)
        return {"answers": len(attempts), "usable": written, "teacher": tally}

    return run_stage(run, stage, work)


def own_candidates(original: Candidate, attempts: Sequence[Attempt]) -> list[Candidate]:
    """Answers of a student as new responses to the original's instruction.

    An answer that was cut or is blank has a status and no text. Equal answers are one candidate.
    """
    found: dict[str, Candidate] = {}
    for attempt in attempts:
        status = attempt.status
        if status == ANSWERED and not attempt.text.strip():
            status = "empty_response"
        if status == ANSWERED and original.status != OK:
            status = "parent_failed"
        messages: tuple[Message, ...] = ()
        if status == ANSWERED:
            text = Message(role="assistant", content=attempt.text.strip())
            messages = (*original.context, text)
        candidate_id = candidate_id_of(
            example_id=original.example_id,
            step=RESPONSE_REFLECTION,
            parent_id=original.candidate_id,
            teacher=OWN,
            messages=messages,
            tools=original.tools,
            template_args=original.template_args,
            distinction=None if messages else attempt.request_key or str(attempt.index),
        )
        found[candidate_id] = Candidate(
            candidate_id=candidate_id,
            example_id=original.example_id,
            parent_id=original.candidate_id,
            step=RESPONSE_REFLECTION,
            teacher=OWN,
            messages=messages,
            tools=original.tools,
            template_args=original.template_args,
            status=OK if messages else status,
            request_key=attempt.request_key,
        )
    return list(found.values())


def _decide(
    judging: Judging,
    settings: RoundsSettings,
    select: SelectSettings,
    student: Reader,
    *,
    progress: Progress,
) -> Tally:
    run = judging.run
    if settings.check is not None:
        _check(run, settings, progress=progress)
    stages.score(
        run,
        student=student,
        reading=judging.student,
        settings=settings.score,
        progress=progress,
        at_least=statistics_needed((), select),
    )
    if select.quality_gate == "calibrated":
        calibrate(run, select, student=student, progress=progress)
    return stages.select_once(run, settings=select, student=student.fingerprint, progress=progress)


def _check(run: RunFolder, settings: RoundsSettings, *, progress: Progress) -> Tally:
    check = settings.check.model_dump(mode="json") if settings.check else {}
    stage = verify_stage(run, check["check"], check["ignore_case"])
    return run_stage(run, stage, lambda: verify_candidates(run, check=check, progress=progress))
