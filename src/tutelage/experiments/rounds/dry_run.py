"""Dry run of a loop of rounds: the most it would do (`tutelage rounds --dry-run`)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.data import OK, Candidate, Example, read, write_jsonl
from tutelage.data.schemas import messages_to_arrow
from tutelage.experiments.rounds.config import RoundsSettings, as_teacher_with
from tutelage.experiments.rounds.loop import DRIFT_FILE
from tutelage.experiments.rounds.model import RoundsFolder
from tutelage.pipeline.config import RunSettings
from tutelage.pipeline.cost_estimate import (
    answering_work,
    evaluation_work,
    run_work,
    training_work,
)
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.student_attempts import AttemptSettings
from tutelage.pipeline.teacher_estimate import calling_work
from tutelage.pipeline.work_estimate import MEASURE_SECONDS, Work, summed
from tutelage.progress import Progress
from tutelage.refinement import SampleSettings, sample_request
from tutelage.student import open_student
from tutelage.student.config import template_values
from tutelage.teacher import ScriptedTeacher, TeacherSettings
from tutelage.training import encode_file
from tutelage.training.train import student_settings

_NOTE = "at most this: the guard may end a loop earlier; a round trains only on what it selects"


def estimate_rounds(
    settings: RoundsSettings,
    *,
    progress: Progress,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate the calls, readings, trainings and answers of all loops, with tokens, cost and time.

    Args:
        settings: Settings of the loops.
        progress: Told of the rows.
        doors: How the student is reached.
        measure_seconds: How long a speed is measured at most; 0 takes the last measurement.
    """
    names = set(RunSettings.model_fields) - {"out"}
    values = {name: getattr(settings, name) for name in names}
    pool = RunSettings(**values, out=str(RoundsFolder(root=Path(settings.out)).pool.root))
    found, work, readings = run_work(
        pool, progress=progress, doors=doors, measure_seconds=measure_seconds, read_again=True
    )
    done = _done(settings)
    rounds = settings.rounds * len(settings.loops) * len(settings.seeds) - sum(done.values())
    work += [_read_again(w, rounds=rounds) for w in readings]
    originals = _originals(settings)
    work.append(_trained(settings, originals, rounds=rounds, measure_seconds=measure_seconds))
    work += _observed(settings, times=rounds + 1, measure_seconds=measure_seconds)
    if "self_teaching" in settings.loops:
        times = (settings.rounds + 1) * len(settings.seeds) - done["self_teaching"]
        examples = [e for e, _ in originals]
        work.append(
            _answers(
                "self_teaching",
                settings,
                examples,
                settings.own_answers,
                times=times,
                measure_seconds=measure_seconds,
            )
        )
    rewriter = settings.rewriter
    if settings.rewrite.attempts and rewriter is not None and "gate" in settings.loops:
        times = (settings.rounds + 1) * len(settings.seeds) - done["gate"]
        work.append(_rewrites(settings, rewriter, len(originals), times=times, work=work))
    rounds_done = sum(done.values())
    finished = f"{rounds_done} rounds are finished and not counted" if rounds_done else None
    note = "; ".join(filter(None, [found.get("note"), finished, _NOTE]))
    return {**found, **summed(work), "note": note}


def _done(settings: RoundsSettings) -> dict[str, int]:
    """Finished rounds of each loop: those with a training and a measurement of its student."""
    folder = RoundsFolder(root=Path(settings.out))
    return {
        loop: sum(
            (folder.judged(seed, loop, number).root / DRIFT_FILE).exists()
            for seed in settings.seeds
            for number in range(settings.rounds)
        )
        for loop in settings.loops
    }


def _read_again(one: Work, *, rounds: int) -> Work:
    """Readings by trained students: each reads every candidate once, without a cache."""
    return replace(
        one,
        stage=f"{one.stage}, trained students",
        count=one.count * rounds,
        tokens=None if one.tokens is None else one.tokens * rounds,
        seconds=None if one.seconds is None else one.seconds * rounds,
    )


def _originals(settings: RoundsSettings) -> list[tuple[Example, Candidate]]:
    return [
        (row.example, candidate)
        for row in read(settings.data.path, settings=settings.data)
        if row.example is not None
        for candidate in row.candidates[:1]
        if candidate.status == OK
    ]


def _trained(
    settings: RoundsSettings,
    originals: Sequence[tuple[Example, Candidate]],
    *,
    rounds: int,
    measure_seconds: float,
) -> Work:
    student = settings.student
    train = settings.train.model_copy(
        update={"template": student.template, "turns": student.turns, **template_values(student)}
    )
    with TemporaryDirectory(prefix="tutelage-") as folder:
        file = Path(folder) / "rows.jsonl"
        write_jsonl(file, ({"messages": messages_to_arrow(c.messages)} for _, c in originals))
        with open_student(student_settings(student.model, train)) as model:
            encoded = encode_file(file, model)
            trainings = training_work(
                encoded, model, train, measure_seconds=measure_seconds, times=rounds
            )
    return replace(trainings, count=rounds, unit="training runs")


def _observed(settings: RoundsSettings, *, times: int, measure_seconds: float) -> list[Work]:
    held_out, student = settings.held_out, settings.student
    work: list[Work] = []
    if held_out.tasks:
        evaluate = held_out.evaluate.model_copy(
            update={"template": student.template, **template_values(student)}
        )
        work.append(
            evaluation_work(
                student.model,
                held_out.tasks,
                evaluate,
                times=times,
                measure_seconds=measure_seconds,
            )
        )
    if held_out.instructions is not None:
        rows = read(held_out.instructions.path, settings=held_out.instructions)
        examples = [row.example for row in rows if row.example is not None]
        work.append(
            _answers(
                "held-out answers",
                settings,
                examples,
                held_out.answers,
                times=times,
                measure_seconds=measure_seconds,
            )
        )
    return work


def _answers(
    stage: str,
    settings: RoundsSettings,
    examples: Sequence[Example],
    attempts: AttemptSettings,
    *,
    times: int,
    measure_seconds: float,
) -> Work:
    asked = as_teacher_with(settings.student, settings.batch)
    namesake = ScriptedTeacher("", name=asked.teacher_name)
    sampling = SampleSettings(n=1, temperature=attempts.temperature, max_tokens=attempts.max_tokens)
    usable = [example for example in examples if not example.uses_tools]
    return answering_work(
        stage,
        asked,
        [sample_request(e, 0, teacher=namesake, settings=sampling) for e in usable[:64]],
        count=len(usable) * (attempts.sampled + attempts.greedy) * times,
        measure_seconds=measure_seconds,
    )


def _rewrites(
    settings: RoundsSettings,
    rewriter: TeacherSettings,
    examples: int,
    *,
    times: int,
    work: Sequence[Work],
) -> Work:
    """Rewrites in every round of the gate, each with the tokens of the run's own calls."""
    each = min(examples, settings.rewrite.max_examples or examples)
    calls = each * settings.rewrite.attempts * times
    before = next((w for w in work if w.stage == "rewrite" and w.count), None)
    tokens = 0 if before is None else round((before.tokens or 0) / before.count * calls)
    found = calling_work(
        "rewrite rejected candidates", rewriter, calls=calls, tokens=tokens, replies=0, pace=0.0
    )
    return found if before is not None else replace(found, tokens=None)
