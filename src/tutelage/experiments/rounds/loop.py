"""Loops of rounds: the student selects, is trained on the selection, and selects again.

    pool --> judge --> train --> observe --> account --> guard --> accepted? --> judge ...
               ^                                           |
               +-- the previous student is kept <-- rejected

Each round is an ordinary run folder. Everything that costs money or hours is durable before it is
used, so the same command continues after a kill. A dry run estimates the most that would be done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import OK, Candidate, Example, content_hash, read, write_jsonl, write_table
from tutelage.data.schemas import messages_to_arrow
from tutelage.experiments.drift import Line, lines_from_table, lines_to_table
from tutelage.experiments.rounds.config import (
    GUARD_BROKEN,
    LOOPS,
    NOTHING_CHOSEN,
    ROUNDS_DONE,
    LoopName,
    RoundDoors,
    RoundOutcome,
    RoundsSettings,
    as_teacher_with,
    check_guard,
    stop_reason,
)
from tutelage.experiments.rounds.measure import UNTRAINED, Observed, measure, observe
from tutelage.experiments.rounds.model import (
    FlipTally,
    Round,
    RoundsFolder,
    flips,
    round_numbers,
    tally_flips,
)
from tutelage.experiments.rounds.page import write_rounds_report
from tutelage.experiments.rounds.select_round import Judging, judge
from tutelage.experiments.rounds.tables import gained, last_compared, write_tables
from tutelage.pipeline.config import RunSettings
from tutelage.pipeline.cost_estimate import (
    answering_work,
    evaluation_work,
    run_work,
    training_work,
)
from tutelage.pipeline.jobs import run_all
from tutelage.pipeline.resources import Doors, begin
from tutelage.pipeline.run_dir import RunFolder, can_draw, checksum, sound
from tutelage.pipeline.stage import Stage, Tally, run_stage
from tutelage.pipeline.student_attempts import AttemptSettings
from tutelage.pipeline.teacher_estimate import calling_work
from tutelage.pipeline.work_estimate import MEASURE_SECONDS, Work, summed
from tutelage.progress import Progress, Silent
from tutelage.refinement import SampleSettings, sample_request
from tutelage.student import StudentSettings, open_student
from tutelage.student.config import template_values
from tutelage.teacher import ScriptedTeacher, TeacherSettings
from tutelage.training import encode_file, tracked_run
from tutelage.training.train import student_settings

DRIFT_FILE = "drift.parquet"
"""Record of a round in its folder; written last."""


def run_rounds(
    settings: RoundsSettings, *, progress: Progress | None = None, doors: RoundDoors | None = None
) -> dict[str, Any]:
    """Run all loops with all seeds; a repeated call resumes.

    Args:
        settings: Everything that decides what is done.
        progress: Notified of the progress of each stage.
        doors: How models are reached; tests put fakes behind them.

    Returns:
        One entry a round, and the paths of the accounts.

    Raises:
        TutelageError: Any of this package's errors; what is finished is kept.
    """
    progress, doors = progress or Silent(), doors or RoundDoors()
    folder = RoundsFolder(root=Path(settings.out))
    folder.run.create(rounds=True)
    with folder.run.locked():
        begin(
            folder.run, settings=settings.model_dump(mode="json"), inputs={}, seed=settings.seeds[0]
        )
        _pool(folder, settings, doors=doors, progress=progress)
        before = observe(
            UNTRAINED,
            settings.student,
            settings,
            out=folder.untrained,
            doors=doors,
            progress=progress,
        )
        done: list[Round] = []
        for seed in settings.seeds:
            for loop in (name for name in LOOPS if name in settings.loops):
                looping = _Loop(
                    folder=folder,
                    settings=settings,
                    seed=seed,
                    loop=loop,
                    before=before,
                    doors=doors,
                    progress=progress,
                )
                for one in looping.rounds():
                    done.append(one)
                    # What is done can be read while the rest goes on.
                    write_tables(folder, done, before.results)
        report = _report(folder)
    return {
        "rounds": [in_brief(one) for one in done],
        "loops": last_compared(pq.read_table(sound(folder.loops))),
        "out": str(folder.root),
        "report": report["page"],
    }


def _report(folder: RoundsFolder) -> Tally:
    tables = (folder.rounds, folder.drift, folder.flips, folder.loops, folder.rewrites)
    stage = Stage(
        name="report",
        key=content_hash([checksum(path) for path in tables]),
        outputs=(folder.run.report,) if can_draw() else (),
    )

    def work() -> Tally:
        page = write_rounds_report(folder)
        return {"page": None if page is None else str(page)}

    return run_stage(folder.run, stage, work)


def _pool(
    folder: RoundsFolder, settings: RoundsSettings, *, doors: RoundDoors, progress: Progress
) -> None:
    names = set(RunSettings.model_fields) - {"out"}
    values = {name: getattr(settings, name) for name in names}
    pool = RunSettings(**values, out=str(folder.pool.root))
    run_all(pool, progress=progress, doors=doors.doors, with_page=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    """One loop with one seed."""

    folder: RoundsFolder
    settings: RoundsSettings
    seed: int
    loop: LoopName
    before: Observed
    doors: RoundDoors
    progress: Progress

    def rounds(self) -> Iterator[Round]:
        """Rounds until the loop ends; the last one only selects."""
        student = self.settings.student
        done: list[Round] = []
        while not done or done[-1].ended is None:
            one, student = self._round(len(done), student, done)
            done.append(one)
            yield one

    def _round(
        self, number: int, student: StudentSettings, done: list[Round]
    ) -> tuple[Round, StudentSettings]:
        run = self.folder.judged(self.seed, self.loop, number)
        earlier = self.folder.judged(self.seed, self.loop, number - 1) if number else None
        judged = judge(
            Judging(
                run=run,
                before=earlier or self.folder.pool,
                student=student,
                loop=self.loop,
                seed=self.seed,
                number=number,
                like=self._gate(number),
            ),
            self.settings,
            doors=self.doors,
            progress=self.progress,
        )
        start = self.folder.judged(self.seed, self.loop, 0)
        one = Round(
            seed=self.seed,
            loop=self.loop,
            number=number,
            judged=judged,
            flips=None if earlier is None else flips_between(earlier, run),
            flips_from_start=None if earlier is None else flips_between(start, run),
        )
        ended = self._ended(one, done)
        if ended is not None:
            return _with(one, ended=ended), student
        if (run.root / DRIFT_FILE).exists():  # all of it was done, and followed, before
            return self._train(one, run, student, done)
        name = f"seed {self.seed} {self.loop} round {number + 1}"
        config = {"seed": self.seed, "loop": self.loop, "round": number, "kept": judged["kept"]}
        with tracked_run(name, config=config) as tracking:
            one, student = self._train(one, run, student, done)
            if tracking is not None:
                tracking.log(round_numbers(one))
        return one, student

    def _gate(self, number: int) -> RunFolder | None:
        """The gate's round of this number, or its last one before."""
        for earlier in range(number, -1, -1):
            gate = self.folder.judged(self.seed, "gate", earlier)
            if "select" in gate.read_manifest().get("stages", {}):
                return gate
        return None

    def _ended(self, one: Round, done: list[Round]) -> str | None:
        if one.number == self.settings.rounds:
            return ROUNDS_DONE
        if not one.judged["kept"]:
            return NOTHING_CHOSEN
        if self.loop not in self.settings.guarded:
            return None  # a comparator does as many rounds as it was asked for
        # The flips are known before the training whose gain is not: the last round counts twice.
        outcomes = [earlier.outcome for earlier in done]
        if outcomes and one.flips is not None:
            outcomes[-1] = RoundOutcome(
                flip_fraction=one.flips.fraction, gained=outcomes[-1].gained
            )
        return stop_reason(outcomes, self.settings.stop)

    def _train(
        self, one: Round, run: RunFolder, student: StudentSettings, done: list[Round]
    ) -> tuple[Round, StudentSettings]:
        settings = self.settings
        out = self.folder.student(self.seed, self.loop, one.number + 1)
        start = student if settings.start_from == "current" else settings.student
        train = settings.train.model_copy(
            update={
                "seed": settings.train.seed + 1000 * self.seed + one.number,
                "template": student.template,
                "turns": student.turns,
                **template_values(student),
            }
        )
        trained = self.doors.train(run.selected, start.model, train, out, self.progress)
        after_settings = student.model_copy(update={"model": str(trained["path"])})
        after = observe(
            f"{self.loop} {one.number + 1}",
            after_settings,
            settings,
            out=out,
            doors=self.doors,
            progress=self.progress,
        )
        lines = self._account(run, student, after)
        checked = check_guard(lines, settings.guard)
        broken = any(limit.verdict == "broken" for limit in checked)
        accepted = not broken or self.loop not in settings.guarded
        one = _with(
            one,
            trained=trained,
            lines=lines,
            checked=checked,
            accepted=accepted,
            results=after.results,
            gained=self._gained(after, done),
            ended=None if accepted else GUARD_BROKEN,
        )
        return one, after_settings if accepted else student

    def _gained(self, after: Observed, done: list[Round]) -> bool | None:
        """Gain over the student `stop.patience` trainings before; all of them were accepted."""
        earlier = [self.before.results, *(one.results for one in done)]
        patience = self.settings.stop.patience
        return gained(after.results, earlier[-patience]) if len(earlier) >= patience else None

    def _account(
        self, run: RunFolder, student: StudentSettings, after: Observed
    ) -> tuple[Line, ...]:
        file = run.root / DRIFT_FILE
        stage = Stage(
            name="account",
            key=content_hash(
                checksum(run.decisions),
                after.student.model,
                [one.candidate_id for one in (*after.answers, *self.before.answers)],
                None if after.results is None else after.results.to_pylist(),
                self.settings.model_dump(mode="json", include={"check", "embedder"}),
            ),
            outputs=(file,),
        )

        def work() -> Tally:
            lines = measure(
                run,
                before=self.before,
                after=after,
                judge=student,
                settings=self.settings,
                doors=self.doors,
                progress=self.progress,
            )
            write_table(file, lines_to_table(lines))
            return {"lines": len(lines)}

        run_stage(run, stage, work)
        return lines_from_table(pq.read_table(sound(file)))


def _with(one: Round, **values: Any) -> Round:
    names = Round.__dataclass_fields__
    return Round(**{name: getattr(one, name) for name in names} | values)


def flips_between(before: RunFolder, after: RunFolder) -> FlipTally:
    """Number of decisions that differ between two selections of the same examples."""
    return tally_flips(flips_table(before, after))


def flips_table(before: RunFolder, after: RunFolder) -> pa.Table:
    """Decisions that differ, by example."""
    return flips(pq.read_table(sound(before.decisions)), pq.read_table(sound(after.decisions)))


def in_brief(one: Round) -> dict[str, Any]:
    """Short summary of a round, for people and scripts."""
    broken = [limit.in_words() for limit in one.checked if limit.verdict == "broken"]
    return {
        "seed": one.seed,
        "loop": one.loop,
        "round": one.number,
        "examples": one.judged["examples"],
        "kept": one.judged["kept"],
        "flipped": None if one.flips is None else one.flips.changed,
        "accepted": one.accepted,
        **({"broken": broken} if broken else {}),
        **({"ended": one.ended} if one.ended else {}),
        **({"rewrites": one.judged["rewrites"]} if one.judged.get("rewrites") else {}),
    }


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
        progress: Notified of the rows.
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
    finished = f"finished rounds, not counted: {rounds_done}" if rounds_done else None
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
