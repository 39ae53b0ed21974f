"""The sample stage: N responses to every instruction."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tutelage.data import Candidate, Example, TableWriter, content_hash
from tutelage.data.tables import CANDIDATES, candidate_to_row, messages_from_arrow
from tutelage.refinement import SampleSettings, sample_all
from tutelage.runs import stages
from tutelage.runs.absence import attended, tally_of
from tutelage.runs.folder import RunFolder
from tutelage.runs.opening import Doors, begin, note, opened_journal, run_id
from tutelage.runs.progress import Progress
from tutelage.runs.refining import paid_in_words
from tutelage.runs.settings import DataSettings, checked
from tutelage.runs.stages import Stage, Tally, run_stage
from tutelage.runs.words import ASKED_AGAIN
from tutelage.teacher import Journal, TeacherSettings

CHUNK_EXAMPLES = 64


class SampleJob(BaseModel):
    """What `sample_data` was asked to do."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: DataSettings
    teacher: TeacherSettings
    sample: SampleSettings
    out: str


def sample_data(
    *,
    data: Mapping[str, Any],
    teacher: Mapping[str, Any],
    sample: Mapping[str, Any],
    out: Path,
    progress: Progress,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Load rows and let a teacher answer every instruction N times, into a run folder.

    A second teacher is a second call with the same folder and another teacher: what is there
    already stays, and the new samples join it.

    Args:
        data: Settings of the data room, with `path`.
        teacher: Settings of the teacher room.
        sample: Settings of the sampling.
        out: The run folder.
        progress: Told how far each stage is.
        doors: How the teacher is reached.

    Returns:
        The tallies of both stages.
    """
    values = {"data": data, "teacher": teacher, "sample": sample, "out": str(out)}
    job = checked(SampleJob, values, place="sample")
    run = RunFolder(root=out).create()
    with run.locked():
        inputs = stages.input_checksums(job.data)
        begin(run, settings=job.model_dump(mode="json"), inputs=inputs, seed=job.sample.seed)
        loaded = run_stage(
            run,
            Stage(
                name="load",
                key=stages.load_key(job.data, inputs),
                outputs=(run.rows, run.examples, run.loaded),
            ),
            lambda: stages.load(run, settings=job.data, progress=progress),
        )
        note(run, teacher={"name": job.teacher.teacher_name})
        sampled = _sample(run, job, doors=doors or Doors(), progress=progress)
    return {"load": loaded, "sample": sampled, "run": str(out)}


def _sample(run: RunFolder, job: SampleJob, *, doors: Doors, progress: Progress) -> Tally:
    name = f"sample:{job.teacher.teacher_name}"
    stage = Stage(
        name=name,
        key=content_hash(
            run.read_manifest()["stages"]["load"]["key"],
            job.sample.model_dump(mode="json"),
            job.teacher.teacher_name,
            dict(job.teacher.extra_body),
        ),
        outputs=(run.candidates,),
    )

    def work() -> Tally:
        with opened_journal(run, job.teacher) as journal:
            return asyncio.run(_ask(run, job, doors=doors, journal=journal, progress=progress))

    def again(tally: Tally) -> bool:
        return any(status in ASKED_AGAIN for status in tally["statuses"])

    return run_stage(run, stage, work, again=again)


async def _ask(
    run: RunFolder, job: SampleJob, *, doors: Doors, journal: Journal, progress: Progress
) -> Tally:
    statuses: Counter[str] = Counter()
    total = pq.read_metadata(run.examples).num_rows
    progress.begin("sample", total=total * job.sample.n, unit="responses")
    before = _kept_before(run, teacher=job.teacher.teacher_name)
    with TableWriter(run.candidates, CANDIDATES) as table:
        table.append(map(candidate_to_row, before))
        async with attended(job.teacher, journal, run=run_id(run), doors=doors) as teacher:
            for chunk in _chunks(stored_examples(run.examples)):
                candidates = await sample_all(
                    chunk,
                    teacher=teacher,
                    settings=job.sample,
                    on_done=lambda _: progress.advance(note=paid_in_words(teacher)),
                )
                statuses.update(c.status for c in candidates)
                table.append(map(candidate_to_row, candidates))
    progress.end(note=paid_in_words(teacher))
    return {"statuses": dict(sorted(statuses.items())), **tally_of(teacher)}


def _kept_before(run: RunFolder, *, teacher: str) -> list[Candidate]:
    """What is there already and was not sampled from this teacher."""
    path = run.candidates if run.candidates.exists() else run.loaded
    return [
        c
        for c in stages.stored_candidates(path)
        if not (c.step == "sample" and c.teacher == teacher and c.request_key is not None)
    ]


def stored_examples(path: Path) -> Iterator[Example]:
    """The examples of a run, in their order, a batch at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=stages.BATCH_ROWS):
            for row in batch.to_pylist():
                yield Example(
                    example_id=row["example_id"],
                    messages=messages_from_arrow(row["messages"]),
                    reference=row["reference"],
                    source=row["source"],
                    extra=row["extra"],
                )


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    iterator = iter(examples)
    while chunk := list(islice(iterator, CHUNK_EXAMPLES)):
        yield chunk
