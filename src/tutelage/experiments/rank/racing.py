"""Racing: teachers are asked a few questions first, and those that cannot be the best are dropped.

Questions are sent in blocks. After each block the student scores the new answers, and a teacher
that is significantly worse than another gets no more questions; the test of `sequential_stopping`
is valid however often it is evaluated. Replies are in the teacher cache, so the same command
resumes and pays for nothing twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa

from tutelage.data import Candidate, Example, read, write_table
from tutelage.data.schemas import candidates_to_table
from tutelage.errors import DataError, SettingsError, TeacherUnreachableError
from tutelage.experiments.rank.answer_features import answers_table, style_of
from tutelage.experiments.rank.answer_pool import PoolAnswer, in_asking_order, question_of
from tutelage.experiments.rank.config import RankSettings
from tutelage.experiments.rank.model import Ranked
from tutelage.experiments.rank.predictors import predictors_for
from tutelage.experiments.rank.run import RankFolder, answers_tally, ranked_of, watched
from tutelage.experiments.rank.sequential_stopping import WatchSettings, asking_order, still_running
from tutelage.pipeline import stages
from tutelage.pipeline.config import checked, yaml_value
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
from tutelage.pipeline.stage import Stage, note_stage
from tutelage.pipeline.teacher_outage import attended
from tutelage.progress import Progress, Silent
from tutelage.refinement import Crowd, SampleSettings, sample_in_waves
from tutelage.reporting.number_format import count
from tutelage.teacher import TeacherSettings


def teachers_of(path: Path) -> list[TeacherSettings]:
    """Teachers of a YAML list; each has the settings of a run's `teacher`.

    Raises:
        SettingsError: The file cannot be read, or a teacher is wrong.
    """
    try:
        values = yaml_value(path.read_text(encoding="utf-8"), place=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}", hint="give a YAML file") from error
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
        progress: Told of each reply.
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
