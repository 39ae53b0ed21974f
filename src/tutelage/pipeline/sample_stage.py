"""Sample stage: N responses to every instruction."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.data import Candidate, Example, TableWriter, content_hash
from tutelage.data.schemas import CANDIDATES, candidate_to_row, messages_from_arrow
from tutelage.pipeline import stages
from tutelage.pipeline.config import DataSettings, RaySettings, checked
from tutelage.pipeline.refine_stage import paid_in_words
from tutelage.pipeline.resources import (
    Doors,
    begin,
    journal_path,
    note,
    opened_journal,
    run_id,
    teacher_doors,
)
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.stage import Stage, Tally, key_of, run_stage
from tutelage.pipeline.summary_text import ASKED_AGAIN
from tutelage.pipeline.teacher_outage import AttendedTeacher, Usability, attended, tally_of
from tutelage.progress import Progress
from tutelage.refinement import Crowd, SampleSettings, sample_in_waves
from tutelage.teacher import Journal, TeacherSettings
from tutelage.verification import Claim, VerifySettings, verify_table

CHUNK_EXAMPLES = 64


class TeacherShare(TeacherSettings):
    """One of several teachers with its share."""

    share: float = Field(
        default=1.0,
        gt=0.0,
        allow_inf_nan=False,
        description="How many of all samples it gives, in proportion to the others.",
    )


class SampleJob(BaseModel):
    """Arguments of the function `sample_data`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: DataSettings
    teachers: tuple[TeacherShare, ...] = Field(min_length=1)
    sample: SampleSettings
    accept: VerifySettings | None
    out: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the teachers in tables."""
        return tuple(teacher.teacher_name for teacher in self.teachers)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.sample.accepted is None) != (self.accept is None):
            raise ValueError("accepted (how many) and accept (by which check) go together")
        if self.accept is not None and self.accept.check == "judge":
            raise ValueError("accept: a judge cannot be asked while teachers are being asked")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"two teachers share a name ({', '.join(self.names)}); name them")
        return self


def sample_data(
    *,
    data: Mapping[str, Any],
    teachers: Sequence[Mapping[str, Any]],
    sample: Mapping[str, Any],
    out: Path,
    progress: Progress,
    accept: Mapping[str, Any] | None = None,
    engine: str = "local",
    ray: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Load rows and let teachers answer every instruction N times, into a run folder.

    Another teacher can also be a second call with the same folder: what is there already stays,
    and the new samples join it.

    Args:
        data: Settings of the data, with `path`.
        teachers: Settings of the teacher, one or several; each may have a `share`.
        sample: Settings of the sampling.
        out: The run folder.
        progress: Notified of the progress of each stage.
        accept: Settings of the verification that accepts a response, where `sample.accepted`
            says how many are wanted of each instruction.
        engine: `ray` spreads a local teacher over a pool of workers.
        ray: Settings of the pool.
        doors: How the teacher is reached.

    Returns:
        The tallies of both stages.
    """
    pool = checked(RaySettings, ray or {}, place="ray")
    doors = teacher_doors(doors, engine=engine, pool=pool)
    job = sample_job(data=data, teachers=teachers, sample=sample, accept=accept, out=out)
    run = RunFolder(root=out).create()
    with run.locked():
        inputs = stages.input_checksums(job.data)
        begin(run, settings=job.model_dump(mode="json"), inputs=inputs, seed=job.sample.seed)
        loaded = stages.load_once(run, settings=job.data, inputs=inputs, progress=progress)
        note(run, teacher={"name": "+".join(job.names)})
        sampled = _sample(run, job, doors=doors, progress=progress)
    return {"load": loaded, "sample": sampled, "run": str(out)}


def sample_job(*, teachers: Sequence[Mapping[str, Any]], out: Path, **rooms: Any) -> SampleJob:
    """The checked settings of a sampling.

    Raises:
        SettingsError: Some are wrong; all of them are named.
    """
    values = {**rooms, "teachers": tuple(teachers), "out": str(out)}
    return checked(SampleJob, values, place="sample")


def _sample(run: RunFolder, job: SampleJob, *, doors: Doors, progress: Progress) -> Tally:
    stage = Stage(
        name=f"sample:{'+'.join(job.names)}",
        key=content_hash(
            key_of(run, "load"),
            job.sample.model_dump(mode="json"),
            None if job.accept is None else job.accept.model_dump(mode="json"),
            [
                [t.teacher_name, dict(t.extra_body), t.share, *([t.omit] if t.omit else [])]
                for t in job.teachers
            ],
        ),
        outputs=(run.candidates,),
        shared=(run.candidates,),
        reads=("examples.parquet",),
    )

    def work() -> Tally:
        return asyncio.run(_ask(run, job, doors=doors, progress=progress))

    def again(tally: Tally) -> bool:
        return any(status in ASKED_AGAIN for status in tally["statuses"])

    return run_stage(run, stage, work, again=again)


async def _ask(run: RunFolder, job: SampleJob, *, doors: Doors, progress: Progress) -> Tally:
    statuses: Counter[str] = Counter()
    usability = Usability()
    accepting = None if job.accept is None else Accepting(job.accept)
    total = pq.read_metadata(run.examples).num_rows
    progress.begin("sample", total=total * job.sample.n, unit="responses")
    before = _kept_before(run, teachers=frozenset(job.names))
    async with AsyncExitStack() as stack:
        teachers = await _opened(run, job, stack=stack, doors=doors, progress=progress, total=total)
        crowd = Crowd(teachers=teachers, shares=tuple(t.share for t in job.teachers))
        with TableWriter(run.candidates, CANDIDATES) as table:
            table.append(map(candidate_to_row, before))
            for chunk in _chunks(stored_examples(run.examples)):
                candidates = await sample_in_waves(
                    chunk,
                    crowd=crowd,
                    settings=job.sample,
                    accept=accepting,
                    on_done=lambda _: progress.advance(
                        note=", ".join(map(paid_in_words, teachers))
                    ),
                    outstanding=2 * sum(t.concurrency for t in job.teachers),
                )
                statuses.update(c.status for c in candidates)
                usability.add(candidates)
                table.append(map(candidate_to_row, candidates))
    progress.end(note=", ".join(map(paid_in_words, teachers)))
    tally: Tally = {
        "statuses": dict(sorted(statuses.items())),
        **_tallies(teachers),
        **usability.tally(*teachers),
    }
    if accepting is not None:
        tally["accepted"] = accepting.tally(wanted=job.sample.accepted or 0, examples=total)
    return tally


async def _opened(
    run: RunFolder,
    job: SampleJob,
    *,
    stack: AsyncExitStack,
    doors: Doors,
    progress: Progress,
    total: int,
) -> tuple[AttendedTeacher, ...]:
    """Opened teachers, with one cache for all that share one."""
    journals: dict[Path, Journal] = {}
    teachers = []
    for settings in job.teachers:
        path = journal_path(run, settings)
        if path not in journals:
            journals[path] = stack.enter_context(opened_journal(run, settings))
        attending = attended(
            settings,
            journals[path],
            run=run_id(run),
            doors=doors,
            progress=progress,
            requests=_requests(job, settings, total=total),
        )
        teachers.append(await stack.enter_async_context(attending))
    return tuple(teachers)


def _requests(job: SampleJob, teacher: TeacherShare, *, total: int) -> str:
    share = teacher.share / sum(t.share for t in job.teachers)
    count = round(total * job.sample.n * share)
    about = "about " if len(job.teachers) > 1 else ""
    most = "up to " if job.accept is not None else ""
    return f"{most or about}{count:,} {'request' if count == 1 else 'requests'}"


def _tallies(teachers: Sequence[AttendedTeacher]) -> dict[str, Any]:
    away = [teacher.away for teacher in teachers if teacher.away]
    if len(teachers) == 1:
        return tally_of(teachers[0])
    capped = [teacher.capped for teacher in teachers if teacher.capped]
    waits = away and all(teacher.only_waits for teacher in teachers if teacher.away)
    return {
        "teachers": {t.name: t.tally.as_dict() for t in teachers},
        "away": "; ".join(away),
        **({"only_waiting": True} if waits else {}),
        **({"capped": "; ".join(capped)} if capped else {}),
    }


class Accepting:
    """Acceptance check that counts the right responses of each example.

    Args:
        settings: Which check.
    """

    def __init__(self, settings: VerifySettings) -> None:
        self._settings = settings
        self._accepted: Counter[str] = Counter()

    def __call__(self, pairs: Sequence[tuple[Example, Candidate]]) -> set[str]:
        """Ids of the candidates that are right."""
        claims = [
            Claim(
                candidate_id=candidate.candidate_id,
                response=candidate.response,
                instruction=example.instruction,
                reference=example.reference,
            )
            for example, candidate in pairs
        ]
        verdicts = list(verify_table(claims, self._settings))
        accepted = set()
        for (example, candidate), verdict in zip(pairs, verdicts, strict=True):
            if verdict.verdict == "right":
                accepted.add(candidate.candidate_id)
                self._accepted[example.example_id] += 1
        return accepted

    def tally(self, *, wanted: int, examples: int) -> dict[str, int]:
        """Number of instructions that have the wanted number of accepted responses."""
        full = sum(count >= wanted for count in self._accepted.values())
        return {
            "wanted": wanted,
            "instructions_full": full,
            "instructions_short": examples - full,
            "responses": self._accepted.total(),
        }


def _kept_before(run: RunFolder, *, teachers: frozenset[str]) -> list[Candidate]:
    """Existing candidates that were not sampled from these teachers."""
    path = run.candidates if run.candidates.exists() else run.loaded
    return [
        c
        for c in stages.stored_candidates(path)
        if not (c.step == "sample" and c.teacher in teachers and c.request_key is not None)
    ]


def stored_examples(path: Path) -> Iterator[Example]:
    """Examples of a run in their order, a batch at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=stages.BATCH_ROWS):
            for row in batch.to_pylist():
                yield Example(
                    example_id=row["example_id"],
                    messages=messages_from_arrow(row["messages"]),
                    reference=row["reference"],
                    source=row["source"],
                    extra=row["extra"],
                    tools=row.get("tools"),
                    template_args=row.get("template_args"),
                )


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    iterator = iter(examples)
    while chunk := list(islice(iterator, CHUNK_EXAMPLES)):
        yield chunk
