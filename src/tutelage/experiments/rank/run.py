"""Run of `tutelage rank`: rankings of teachers or sources for a student, and races of teachers.

answers    pool      -> answers.parquet     (the student reads; answers are checked)
rank       answers   -> standings, pairs, settling, report.html

In a race teachers are asked a few questions first, and those that cannot be the best are dropped.
Questions are sent in blocks. After each block the student scores the new answers, and a teacher
that is significantly worse than another gets no more questions; the test is valid however often it
is evaluated. Replies are in the teacher cache, so the same command resumes and pays for nothing
twice.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import Candidate, Example, content_hash, read, write_table
from tutelage.data.schemas import candidates_to_table
from tutelage.errors import DataError, SettingsError, TeacherUnreachableError
from tutelage.experiments.rank.answer_features import (
    Graced,
    answers_table,
    grace_scores,
    style_of,
    with_grace,
)
from tutelage.experiments.rank.answer_pool import (
    EntrantKind,
    Pool,
    PoolAnswer,
    Ranked,
    in_asking_order,
    pool_answers,
    question_of,
)
from tutelage.experiments.rank.config import RankSettings
from tutelage.experiments.rank.predictors import Predictor, predictors_for
from tutelage.experiments.rank.standings import (
    WatchSettings,
    asking_order,
    first_place_by_questions,
    rank,
    still_running,
)
from tutelage.pipeline import stages
from tutelage.pipeline.config import checked, yaml_file
from tutelage.pipeline.resources import (
    Doors,
    Reader,
    begin,
    note,
    opened_journal,
    opened_student,
    run_id,
)
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.stage import Stage, Tally, note_stage, run_stage
from tutelage.pipeline.teacher_outage import attended
from tutelage.pipeline.teacher_routes import routes_of, write_routes
from tutelage.progress import Progress, Silent
from tutelage.refinement import Crowd, SampleSettings, sample_in_waves
from tutelage.reporting.number_format import count
from tutelage.teacher import TeacherSettings

LOOK_EVERY_QUESTIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFolder:
    """Paths of a ranking's tables."""

    run: RunFolder

    @property
    def answers(self) -> Path:
        """Answers, one row each, with their numbers."""
        return self.run.root / "answers.parquet"

    @property
    def standings(self) -> Path:
        """Standings by domain, predictor and entrant."""
        return self.run.root / "standings.parquet"

    @property
    def pairs(self) -> Path:
        """Pairs of entrants, and whether they can be distinguished."""
        return self.run.root / "pairs.parquet"

    @property
    def settling(self) -> Path:
        """Leader after each number of questions."""
        return self.run.root / "settling.parquet"


def rank_teachers(
    job: Mapping[str, Any], *, progress: Progress | None = None, doors: Doors | None = None
) -> Ranked:
    """Rank the teachers of a pool of answers to shared questions, for one student.

    Continues where it stopped: readings are in the cache, the student's answers in the journal.

    Args:
        job: See `RankSettings`.
        progress: Notified of the progress of each stage.
        doors: How the student is reached.

    Raises:
        SettingsError: Some settings are wrong, or do not fit the pool.
        DataError: The pool holds no answer.
    """
    return rank_pool(job, kind="teachers", progress=progress, doors=doors)


def rank_sources(
    job: Mapping[str, Any], *, progress: Progress | None = None, doors: Doors | None = None
) -> Ranked:
    """Rank the sources of a dataset for one student; arguments as for `rank_teachers`.

    Args:
        job: The settings of the ranking.
        progress: Gets the progress.
        doors: Factories of teacher and student; None for the usual ones.
    """
    return rank_pool(job, kind="sources", progress=progress, doors=doors)


def rank_pool(
    job: Mapping[str, Any],
    *,
    kind: EntrantKind,
    progress: Progress | None = None,
    doors: Doors | None = None,
) -> Ranked:
    """Rank the entrants of a pool of answers.

    Args:
        job: The settings of the ranking.
        kind: Teachers or sources.
        progress: Gets the progress.
        doors: Factories of teacher and student; None for the usual ones.
    """
    settings = checked(RankSettings, job, place="rank")
    progress, doors = progress or Silent(), doors or Doors()
    folder = RankFolder(run=RunFolder(root=Path(settings.out)).create())
    run = folder.run
    with run.locked():
        inputs = stages.input_checksums(settings.data)
        values = {"kind": kind, **settings.model_dump(mode="json")}
        begin(run, settings=values, inputs=inputs, seed=settings.seed)
        tally = _answer(folder, settings, kind, inputs, doors=doors, progress=progress)
        scores = None
        if settings.grace is not None:
            scores = grace_scores(
                _pool(settings, kind).answers,
                settings.grace,
                student=settings.student,
                folder=run.root / "gradients",
                seed=settings.seed,
                progress=progress,
            )
        return ranked_of(folder, settings, kind, tally, graced=scores)


def _answer(
    folder: RankFolder,
    settings: RankSettings,
    kind: EntrantKind,
    inputs: Mapping[str, str],
    *,
    doors: Doors,
    progress: Progress,
) -> Tally:
    run = folder.run
    with opened_student(settings.student, doors) as student:
        described = dict(student.describe())
        note(run, student=described)
        shown = settings.model_dump(
            mode="json",
            exclude={"out", "by", "level", "draws", "student", "predictors", "report", "grace"},
        )
        stage = Stage(
            name="answers",
            key=content_hash("rank", kind, inputs, shown, settings.metrics, described),
            outputs=(folder.answers,),
        )

        def work() -> Tally:
            pool = _pool(settings, kind)
            answers = pool.answers
            style = None
            if settings.own is not None:
                style = style_of(
                    answers, settings.own, settings, run=run, doors=doors, progress=progress
                )
            table = answers_table(
                answers, settings, student=student, progress=progress, style=style
            )
            write_table(folder.answers, table)
            return {**answers_tally(table), "rows_left_out": pool.left_out}

        return run_stage(run, stage, work)


def _pool(settings: RankSettings, kind: EntrantKind) -> Pool:
    return pool_answers(
        settings.data,
        kind=kind,
        fields=settings.fields,
        questions=settings.questions,
        seed=settings.seed,
    )


def ranked_of(
    folder: RankFolder,
    settings: RankSettings,
    kind: EntrantKind,
    tally: Tally,
    *,
    graced: Mapping[str, Graced] | None = None,
) -> Ranked:
    """Rank the answers of a folder, and write the tables and the report.

    Args:
        folder: The folder of the ranking.
        settings: The ranking.
        kind: Teachers or sources.
        tally: Counts of the answers.
        graced: GRACE by entrant, if computed.
    """
    answers = pq.read_table(folder.answers)
    predictors = predictors_for(answers.column_names, beta=settings.car_weight)
    main = watched(predictors, settings.by)
    found = rank(
        answers,
        predictors,
        paired=kind == "teachers",
        level=settings.level,
        draws=settings.draws,
        seed=settings.seed,
    )
    standings = found.table if graced is None else with_grace(found.table, graced)
    write_table(folder.standings, standings)
    write_table(folder.pairs, found.pairs)
    watch = None
    if kind == "teachers":
        watch = first_place_by_questions(
            answers,
            main,
            looks=range(LOOK_EVERY_QUESTIONS, tally["questions"] + 1, LOOK_EVERY_QUESTIONS),
            settings=WatchSettings(level=settings.level),
            seed=settings.seed,
        )
        write_table(folder.settling, watch)
        write_routes(folder.run.root, routes_of(standings, found.pairs, by=main.name), by=main.name)
    manifest = folder.run.read_manifest()
    seconds = manifest["stages"]["answers"]["seconds"]
    ranked = Ranked(
        kind=kind,
        by=main.name,
        answers=answers,
        standings=standings,
        pairs=found.pairs,
        settling=watch,
        student=manifest["student"],
        tally={**tally, "seconds": seconds},
        out=str(folder.run.root),
    )
    if settings.report:
        from tutelage.experiments.rank.page import write_ranking

        write_ranking(ranked, level=settings.level)
    return ranked


def answers_tally(table: pa.Table) -> Tally:
    """Counts of answers by entrant, question and status."""
    return {
        "answers": table.num_rows,
        "by_status": dict(sorted(Counter(table["status"].to_pylist()).items())),
        "questions": pc.count_distinct(table["question"]).as_py(),
        "entrants": pc.count_distinct(table["entrant"]).as_py(),
        "response_tokens": int(pc.sum(table["response_tokens"]).as_py() or 0),
    }


def watched(predictors: tuple[Predictor, ...], name: str) -> Predictor:
    """Predictor of this name.

    Raises:
        SettingsError: There are no numbers for it.
    """
    for predictor in predictors:
        if predictor.name == name:
            return predictor
    raise SettingsError(
        f"by {name}: the answers have no numbers for it",
        hint=f"choose one of {', '.join(p.name for p in predictors)}",
    )


def teachers_of(path: Path) -> list[TeacherSettings]:
    """Teachers of a YAML list; each has the settings of a run's `teacher`.

    Raises:
        SettingsError: The file cannot be read, or a teacher is wrong.
    """
    values = yaml_file(path)
    values = values.get("teachers") if isinstance(values, dict) else values
    if not isinstance(values, list) or not values:
        raise SettingsError(
            f"{path}: expected a list of teachers",
            hint="such as `- {model: NAME, base_url: http://127.0.0.1:8081/v1}`",
        )
    found = [
        checked(TeacherSettings, v, place=f"{path}: teacher {n}") for n, v in enumerate(values)
    ]
    names = [teacher.teacher_name for teacher in found]
    if len(set(names)) != len(names):
        raise SettingsError(f"{path}: two teachers have the same name", hint="give each a `name`")
    return found


def ask_and_rank(
    job: Mapping[str, Any],
    *,
    teachers: Sequence[TeacherSettings],
    budget: int,
    block: int = 25,
    sample: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    doors: Doors | None = None,
) -> Ranked:
    """Ask teachers probe questions, then rank them; `data` of the job holds the questions.

    Args:
        job: See `RankSettings`.
        teachers: The teachers that are asked.
        budget: How many questions at most to each teacher.
        block: Questions between two looks, at least 1.
        sample: Settings of the sampling; one response to each question.
        progress: Notified of each reply.
        doors: How teachers and student are reached.

    Raises:
        SettingsError: Some settings are wrong.
        DataError: There is no question.
    """
    settings = checked(RankSettings, job, place="rank")
    sampling = checked(SampleSettings, {**(sample or {}), "n": 1}, place="rank: sample")
    progress, doors = progress or Silent(), doors or Doors()
    folder = RankFolder(run=RunFolder(root=Path(settings.out)).create())
    run = folder.run
    with run.locked(), opened_student(settings.student, doors) as student:
        values = {"kind": "teachers", **settings.model_dump(mode="json")}
        values |= {
            "asked": [t.model_dump(mode="json") for t in teachers],
            "budget": budget,
            "block": block,
            "sample": sampling.model_dump(mode="json"),
        }
        inputs = stages.input_checksums(settings.data)
        begin(run, settings=values, inputs=inputs, seed=settings.seed)
        note(run, student=dict(student.describe()))
        started = monotonic()
        asking = _Asking(settings, sampling, run=run, student=student, doors=doors)
        table, about = asking.ask_all(teachers, budget=budget, block=block, progress=progress)
        write_table(folder.answers, table)
        write_table(run.candidates, candidates_to_table(asking.candidates))
        tally = {**answers_tally(table), **about}
        stage = Stage(name="answers", key="asked", outputs=(folder.answers,))
        note_stage(run, stage, tally, seconds=monotonic() - started)
        return ranked_of(folder, settings, "teachers", tally)


class _Asking:
    def __init__(
        self,
        settings: RankSettings,
        sampling: SampleSettings,
        *,
        run: RunFolder,
        student: Reader,
        doors: Doors,
    ) -> None:
        self._settings = settings
        self._sampling = sampling
        self._run = run
        self._student = student
        self._doors = doors
        self.candidates: list[Candidate] = []
        self._away: dict[str, str] = {}
        self._waiting = False

    def ask_all(
        self,
        teachers: Sequence[TeacherSettings],
        *,
        budget: int,
        block: int,
        progress: Progress,
    ) -> tuple[pa.Table, dict[str, Any]]:
        """All answers, and the number of questions for each teacher."""
        questions = self._questions()[:budget]
        running = list(teachers)
        asked = dict.fromkeys((t.teacher_name for t in teachers), 0)
        answers: list[PoolAnswer] = []
        table: pa.Table | None = None
        for start in range(0, len(questions), block):
            part = questions[start : start + block]
            new: list[PoolAnswer] = []
            for teacher in running:
                new += asyncio.run(self._ask(teacher, part, progress=progress))
                asked[teacher.teacher_name] += len(part)
            if self._waiting:  # whoever is judged now would be judged by a part of the answers
                raise TeacherUnreachableError(
                    "; ".join(self._away.values()),
                    hint="run the same command again later to collect the replies",
                )
            answers = in_asking_order([*answers, *new], seed=self._settings.seed)
            table = self._table(answers, progress=progress)
            keep = set(self._still_running(table)) & {t.teacher_name for t in running}
            running = [t for t in running if t.teacher_name in keep]
            if len(running) <= 1:
                break
        if table is None:
            raise DataError("there is no question to ask", hint="is the file of questions empty?")
        about: dict[str, Any] = {"asked": asked, "requests": sum(asked.values())}
        return table, {**about, "away": self._away} if self._away else about

    def _questions(self) -> list[Example]:
        found = {
            question_of(row.example): row.example
            for row in read(self._settings.data.path, settings=self._settings.data)
            if row.example is not None
        }
        return [found[name] for name in asking_order(sorted(found), seed=self._settings.seed)]

    async def _ask(
        self, teacher: TeacherSettings, questions: Sequence[Example], *, progress: Progress
    ) -> list[PoolAnswer]:
        name = teacher.teacher_name
        progress.begin(f"ask {name}", total=len(questions), unit="questions")
        with opened_journal(self._run, teacher) as journal:
            name_of_run = run_id(self._run)
            async with attended(
                teacher,
                journal,
                run=name_of_run,
                doors=self._doors,
                progress=progress,
                requests=count(len(questions) * self._sampling.n, "request"),
            ) as asked:
                candidates = await sample_in_waves(
                    questions,
                    crowd=Crowd(teachers=(asked,), shares=(1.0,)),
                    settings=self._sampling,
                    on_done=lambda _: progress.advance(),
                    outstanding=2 * teacher.concurrency,
                )
            if asked.away is not None:
                self._away[name] = asked.away
            self._waiting |= asked.waiting is not None
        progress.end()
        self.candidates += candidates
        by_id = {example.example_id: example for example in questions}
        return [
            PoolAnswer(
                question=question_of(by_id[c.example_id]),
                entrant=name,
                domain=by_id[c.example_id].source or "",
                candidate=c,
                example=by_id[c.example_id],
            )
            for c in candidates
        ]

    def _table(self, answers: Sequence[PoolAnswer], *, progress: Progress) -> pa.Table:
        style = None
        if self._settings.own is not None:
            style = style_of(
                answers,
                self._settings.own,
                self._settings,
                run=self._run,
                doors=self._doors,
                progress=progress,
            )
        return answers_table(
            answers, self._settings, student=self._student, progress=progress, style=style
        )

    def _still_running(self, table: pa.Table) -> tuple[str, ...]:
        predictors = predictors_for(table.column_names, beta=self._settings.car_weight)
        main = watched(predictors, self._settings.by)
        return still_running(table, main, settings=WatchSettings(level=self._settings.level))
