"""Rounds: the student judges, is trained on what it took, and judges again.

    pool --> judge --> train --> observe --> account --> guard --> accepted? --> judge ...
               ^                                           |
               +-- the previous student is kept <-- refused+

Each round is an ordinary run folder. Everything that costs money or hours is durable before it is
used, so the same command continues after a kill.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import content_hash, write_table
from tutelage.drift import (
    GUARD_BROKEN,
    NOTHING_CHOSEN,
    ROUNDS_DONE,
    Checked,
    FlipTally,
    Line,
    RoundOutcome,
    check_guard,
    flips,
    lines_from_table,
    lines_to_table,
    stop_reason,
    tally_flips,
)
from tutelage.runs.folder import RunFolder, checksum
from tutelage.runs.jobs import run_all
from tutelage.runs.opening import begin
from tutelage.runs.progress import Progress, Silent
from tutelage.runs.rounds_comparing import gained, last_compared
from tutelage.runs.rounds_folder import RoundsFolder
from tutelage.runs.rounds_judging import Judging, judge
from tutelage.runs.rounds_measuring import UNTRAINED, Observed, measure, observe
from tutelage.runs.rounds_reporting import write_rounds_report
from tutelage.runs.rounds_settings import LOOPS, LoopName, RoundDoors, RoundsSettings
from tutelage.runs.rounds_tables import write_tables
from tutelage.runs.settings import RunSettings
from tutelage.runs.stage import Stage, Tally, run_stage
from tutelage.student import StudentSettings
from tutelage.student.settings import template_values


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What became of one round of one loop.

    Attributes:
        seed: Of the loop.
        loop: Its name.
        number: From 0: the student of this number judged.
        judged: The tally of its selection.
        flips: Against the round before; None in the first.
        flips_from_start: Against the untrained student's decisions; None in the first.
        trained: What the training came to; None where nothing was trained.
        lines: The account; empty where nothing was trained.
        checked: The guard's limits.
        accepted: Whether the trained student is kept; None where nothing was trained.
        results: The evaluation of the trained student; None where nothing is held out.
        gained: Whether its accuracy is surely above that of the student `stop.patience` rounds
            before; None where that cannot be said.
        ended: Why the loop ended with this round, or None.
    """

    seed: int
    loop: LoopName
    number: int
    judged: Mapping[str, Any]
    flips: FlipTally | None = None
    flips_from_start: FlipTally | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    checked: tuple[Checked, ...] = ()
    accepted: bool | None = None
    results: pa.Table | None = None
    gained: bool | None = None
    ended: str | None = None

    @property
    def outcome(self) -> RoundOutcome:
        """What the stop rule looks at."""
        return RoundOutcome(
            flip_fraction=None if self.flips is None else self.flips.fraction, gained=self.gained
        )


def run_rounds(
    settings: RoundsSettings, *, progress: Progress | None = None, doors: RoundDoors | None = None
) -> dict[str, Any]:
    """Do all loops with all seeds; continue where it stopped.

    Args:
        settings: Everything that decides what is done.
        progress: Told how far each stage is.
        doors: How models are reached; tests put fakes behind them.

    Returns:
        One entry a round, and the paths of the accounts.

    Raises:
        TutelageError: Any of this package's errors; what is finished is kept.
    """
    progress, doors = progress or Silent(), doors or RoundDoors()
    folder = RoundsFolder(root=Path(settings.out))
    folder.run.create()
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
        "loops": last_compared(pq.read_table(folder.loops)),
        "out": str(folder.root),
        "report": report["page"],
    }


def _report(folder: RoundsFolder) -> Tally:
    tables = (folder.rounds, folder.drift, folder.flips, folder.loops, folder.rewrites)
    stage = Stage(
        name="report",
        key=content_hash([checksum(path) for path in tables]),
        outputs=(folder.run.report,),
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
        """Every round until the loop ends; the last one judges only."""
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
        return self._train(one, run, student, done)

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
        """Against the student `stop.patience` trainings before; all of them were accepted."""
        earlier = [self.before.results, *(one.results for one in done)]
        patience = self.settings.stop.patience
        return gained(after.results, earlier[-patience]) if len(earlier) >= patience else None

    def _account(
        self, run: RunFolder, student: StudentSettings, after: Observed
    ) -> tuple[Line, ...]:
        file = run.root / "drift.parquet"
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
        return lines_from_table(pq.read_table(file))


def _with(one: Round, **values: Any) -> Round:
    names = Round.__dataclass_fields__
    return Round(**{name: getattr(one, name) for name in names} | values)


def flips_between(before: RunFolder, after: RunFolder) -> FlipTally:
    """How many decisions differ between two judgements of the same examples."""
    return tally_flips(flips_table(before, after))


def flips_table(before: RunFolder, after: RunFolder) -> pa.Table:
    """Which decisions differ, example by example."""
    return flips(pq.read_table(before.decisions), pq.read_table(after.decisions))


def in_brief(one: Round) -> dict[str, Any]:
    """A round for a person who waits at a terminal, and for scripts."""
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
