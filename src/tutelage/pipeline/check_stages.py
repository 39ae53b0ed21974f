"""Verification and filtering of a file or of a run."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from tutelage.data import Record, content_hash, read_records, write_table
from tutelage.data.extensions import extensions_digest
from tutelage.data.schemas import VERDICTS
from tutelage.errors import SettingsError, TeacherError
from tutelage.filters import (
    UNMEASURED,
    Comparison,
    FiltersSettings,
    Means,
    answers_only,
    apply_filters_async,
    compare,
    read_filters,
    try_filters_async,
)
from tutelage.pipeline.config import DataSettings, checked
from tutelage.pipeline.resources import Doors, need_some, opened_journal, run_id
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.stage import Stage, note_stage, verify_stage
from tutelage.pipeline.tables import open_tables, stream, write_verdicts
from tutelage.pipeline.teacher_outage import attended, need_collected
from tutelage.progress import Progress
from tutelage.refinement import SAME_TEXT
from tutelage.teacher import Journal, TeacherSettings
from tutelage.verification import (
    RULINGS,
    Claim,
    Verdict,
    VerifySettings,
    claims_of,
    conversation_of,
    judge,
    verdicts_by_majority,
    verdicts_to_table,
    verify_responses,
    verify_table,
)

# ----------------------------------------------------------------------------------------------
# A model judges: opened, journaled and closed for one job.
# ----------------------------------------------------------------------------------------------


JUDGED_AT_ONCE = 64


@contextmanager
def teacher_journal(path: Path, teacher: TeacherSettings) -> Iterator[Journal]:
    """Path of the teacher cache: the settings' own, or `path`."""
    foreign = teacher.kind == "replay" and teacher.journal is not None
    with Journal(teacher.journal or path, read_only=foreign) as journal:
        yield journal


def judged(
    claims: Iterable[Claim],
    *,
    teacher: Mapping[str, Any],
    journal: Path,
    run: str,
    doors: Doors | None = None,
    on_done: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Verdicts of a model on claims, in their order.

    Args:
        claims: What is to be judged.
        teacher: Settings of the teacher.
        journal: Where replies are kept, if the settings do not say.
        run: The name of the job that pays.
        doors: How teachers are reached.
        on_done: Called for each verdict.
        progress: Notified of what is asked and of what fails.

    Raises:
        TeacherError: No reply could be had at all.
        BudgetError: The cap on cost was reached; what was answered is in the journal.
    """
    settings = checked(TeacherSettings, teacher, place="teacher")
    with teacher_journal(journal, settings) as replies:
        return asyncio.run(
            _judge_all(
                claims, settings, replies, run=run, doors=doors, on_done=on_done, progress=progress
            )
        )


async def _judge_all(
    claims: Iterable[Claim],
    settings: TeacherSettings,
    journal: Journal,
    *,
    run: str,
    doors: Doors | None,
    on_done: Callable[[], None],
    progress: Progress | None,
) -> list[Verdict]:
    remaining = iter(claims)
    verdicts: list[Verdict] = []
    opening = attended(
        settings,
        journal,
        run=run,
        doors=doors or Doors(),
        progress=progress,
        requests="one request for each response",
    )
    async with opening as teacher:
        while batch := list(islice(remaining, JUDGED_AT_ONCE)):
            found = await asyncio.gather(*(judge(claim, teacher) for claim in batch))
            for claim, verdict in zip(batch, found, strict=True):
                verdicts.append(replace(verdict, candidate_id=claim.candidate_id))
                on_done()
        tally = teacher.tally
    need_collected(teacher)
    if tally.failed and not tally.answered + tally.from_journal:
        first = next((v.evidence for v in verdicts if v.evidence.startswith("judge ")), "")
        raise TeacherError(
            f"none of {tally.failed} requests was answered; the first: {first}",
            hint=teacher.report.first_hint,
        )
    return verdicts


# ----------------------------------------------------------------------------------------------
# Check stages.
# ----------------------------------------------------------------------------------------------


Result = TypeVar("Result")

_NO_TEXT = Verdict(verdict="no_answer", evidence="the response is empty")

_CLAIMS = """
select c.candidate_id, c.example_id, c.status, c.detail, c.messages, e.reference
from candidates c left join examples e on e.example_id = c.example_id
order by e.row, c.example_id, c.candidate_id
"""


def verify_file(
    *,
    data: Mapping[str, Any],
    check: Mapping[str, Any],
    fields: Mapping[str, str],
    out: Path,
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Verify the responses of a file against its references.

    Args:
        data: Settings of the data, with `path`.
        check: Settings of the verification.
        fields: Which field holds the response, the reference and so on; see `verify_responses`.
        out: The Parquet file: one row for each input row, in order, with the columns `row`,
            `candidate_id`, `verdict` and `evidence`.
        progress: Notified of each row read.
        teacher: Settings of the model that judges, for the check `judge`. Its replies are kept
            next to `out`, so that no request is sent twice.
        doors: How the judge is reached.

    Returns:
        How many rows have which verdict.

    Raises:
        DataError: The file cannot be read, or a field is not there.
    """
    reading = checked(DataSettings, data, place="data")
    refuse_agreement(check)
    settings = checked(VerifySettings, check, place="verify")
    broken: dict[int, str] = {}

    def rows() -> Iterator[Mapping[str, object]]:
        blank = dict.fromkeys(fields.values())
        for number, record in enumerate(read_records(reading.path, settings=reading)):
            progress.advance()
            if record.problem is None and isinstance(record.value, Mapping):
                yield record.value
            else:
                broken[number] = _why(record)
                yield blank

    progress.begin("verify", total=None, unit="rows")
    named: dict[str, Any] = {f"{name}_field": field for name, field in fields.items()}
    if settings.check == "judge" and teacher is not None:
        verdicts = verdicts_to_table(
            judged(
                claims_of(rows(), settings, **named),
                teacher=teacher,
                journal=out.with_suffix(".journal.sqlite"),
                run=f"verify {out.name}",
                doors=doors,
                progress=progress,
            )
        )
    else:
        verdicts = verify_responses(rows(), settings, **named)
    if broken:
        verdicts = _with_broken(verdicts, broken)
    write_table(out, verdicts)
    progress.end()
    return _with_some(_tally(verdicts, out))


def _why(record: Record) -> str:
    if record.problem is not None:
        return f"{record.problem.status}: {record.problem.detail}"
    return f"not_an_object: found {type(record.value).__name__}"


def _with_broken(verdicts: pa.Table, broken: Mapping[int, str]) -> pa.Table:
    rows = verdicts.to_pylist()
    for number, reason in broken.items():
        rows[number] |= {"verdict": "cannot_check", "evidence": reason}
    return pa.Table.from_pylist(rows, schema=VERDICTS)


def verify_run(
    root: Path,
    *,
    check: Mapping[str, Any],
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Verify every candidate of a run against its example's reference. Writes verdicts.parquet.

    The verdicts of other checks stay.

    Args:
        root: The run folder.
        check: Settings of the verification; or `{"check": "agreement"}`, with `minimum_share`,
            which takes the majority of an example's answers for right where there is no reference.
        progress: Notified of each candidate.
        teacher: Settings of the model that judges, for the check `judge`.
        doors: How the judge is reached.
        name: What these verdicts are called; by default the check. Verdicts of the same name are
            replaced.

    Returns:
        How many candidates have which verdict.

    Raises:
        RunError: The run has no candidates, or a table is damaged.
    """
    run = RunFolder(root=root).existing()
    run.need(run.candidates)
    with run.locked():
        started = monotonic()
        tally = verify_candidates(
            run, check=check, progress=progress, teacher=teacher, doors=doors, name=name
        )
        own = [extensions_digest("check")] if check.get("check") == "extension" else []
        stage = verify_stage(run, tally["check"], dict(check), *own)
        made_by = {
            "kind": check.get("check", "maths")
        }  # under a name of its own, a judge stays one
        note_stage(run, stage, {**tally, **made_by}, seconds=monotonic() - started)
    return _with_some(tally)


def verify_candidates(
    run: RunFolder,
    *,
    check: Mapping[str, Any],
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Verify the candidates of a run whose lock is held.

    Args:
        run: The run.
        check: Settings of the check.
        progress: Gets the progress.
        teacher: Settings of the judge, where the check asks one.
        doors: Factories of teacher and student; None for the usual ones.
        name: Name of the check; None for its kind.
    """
    tables = open_tables(run)
    progress.begin("verify", total=pq.read_metadata(run.candidates).num_rows, unit="candidates")
    try:
        claims = stream(tables, _CLAIMS)
        if check.get("check") == "agreement":
            found = _by_majority(claims, check)
            which = "agreement"
        else:
            settings = checked(VerifySettings, check, place="verify")
            which = settings.check
            if settings.check == "judge" and teacher is not None:
                found = iter(
                    judged(
                        _claims(claims),
                        teacher=teacher,
                        journal=run.journal,
                        run=run_id(run),
                        doors=doors,
                        on_done=progress.advance,
                        progress=progress,
                    )
                )
            else:
                found = _counted(verify_table(_claims(claims), settings), progress)
        verdicts = verdicts_to_table(found)
    finally:
        tables.close()
    if check.get("check") == "extension":
        which = str(check.get("function"))
    which = name or which
    write_verdicts(run, which, verdicts)
    progress.end()
    return {**_tally(verdicts, run.verdicts), "check": which}


def _counted(verdicts: Iterable[Verdict], progress: Progress) -> Iterator[Verdict]:
    for verdict in verdicts:
        progress.advance()
        yield verdict


def _by_majority(rows: Iterable[Mapping[str, Any]], check: Mapping[str, Any]) -> Iterator[Verdict]:
    settings = checked(_Majority, check, place="verify")
    for _, group in groupby(rows, key=lambda row: row["example_id"]):
        versions = list(group)
        verdicts = verdicts_by_majority(
            _votes(versions),
            minimum_share=settings.minimum_share,
            instruction=next((_asked(row) for row in versions if row["messages"]), None),
        )
        for row, verdict in zip(versions, verdicts, strict=True):
            verdict_of_text = verdict if row["messages"] else _NO_TEXT
            yield replace(verdict_of_text, candidate_id=row["candidate_id"])


def _votes(versions: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Text of each version; a duplicate sample counts with the text of the one it repeats."""
    texts = {
        row["candidate_id"]: row["messages"][-1]["content"] for row in versions if row["messages"]
    }
    return [
        texts.get(row["candidate_id"]) or texts.get((row["detail"] or "").removeprefix(SAME_TEXT))
        for row in versions
    ]


class _Majority(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    minimum_share: float = Field(default=0.0, ge=0.0, le=1.0)


def refuse_agreement(check: Mapping[str, Any]) -> None:
    """Refuse the check that needs the answers of one example together, for a file.

    Raises:
        SettingsError: It is that check.
    """
    if check.get("check") == "agreement":
        raise SettingsError(
            "check 'agreement' compares the answers of one example, which a file does not identify",
            hint="make a run of it first, then `tutelage verify RUN --check agreement`",
        )


def _asks_extension(settings: FiltersSettings) -> bool:
    return any(wanted.kind == "extension" for wanted in settings.filters)


def stored_claims(run: RunFolder) -> Iterator[Claim]:
    """Claims to check, one for each candidate of a run, example by example."""
    tables = open_tables(run)
    try:
        yield from _claims(stream(tables, _CLAIMS))
    finally:
        tables.close()


def _claims(rows: Iterable[Mapping[str, Any]]) -> Iterator[Claim]:
    for row in rows:
        turns = row["messages"] or []
        yield Claim(
            candidate_id=row["candidate_id"],
            response=turns[-1]["content"] if turns else None,
            instruction=_asked(row),
            reference=row["reference"],
            conversation=conversation_of(turns),
        )


def _asked(row: Mapping[str, Any]) -> str | None:
    asked = [m["content"] for m in row["messages"] or [] if m["role"] == "user"]
    return asked[-1] if asked else None


def _tally(verdicts: pa.Table, out: Path) -> dict[str, Any]:
    counts = Counter(str(verdict) for verdict in verdicts["verdict"].to_pylist())
    return {"rows": verdicts.num_rows, "verdicts": dict(sorted(counts.items())), "out": str(out)}


def _with_some(tally: dict[str, Any]) -> dict[str, Any]:
    """Same tally, after checking that something could be checked.

    Raises:
        RunError: Nothing could; the verdicts were written.
    """
    problem = "none of the responses could be checked"
    usable = [ruling for ruling in RULINGS if ruling != "cannot_check"]
    need_some(tally["verdicts"], usable, problem=problem, out=tally["out"])
    return tally


def filter_run(
    root: Path,
    *,
    config: Path | FiltersSettings,
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Filter the candidates of a run. Writes filters.parquet; removes nothing.

    Args:
        root: The run folder.
        config: A YAML file with a list `filters`, or what it would hold.
        progress: Notified when it begins and ends.
        teacher: Settings of the teacher, for filters that ask one.
        doors: How the teacher is reached.

    Returns:
        The tally of each filter and of all together.
    """
    started = monotonic()
    run, settings, candidates, scores = filtering(root, config)
    progress.begin("filter", total=candidates.num_rows, unit="candidates")
    filtered = asyncio.run(
        _with_means(
            run,
            lambda means: apply_filters_async(candidates, filters=settings.filters, means=means),
            scores=scores,
            teacher=teacher,
            doors=doors,
            progress=progress,
        )
    )
    kept = sum(bool(value) for value in filtered.final["kept"].to_pylist())
    tally = {
        "candidates": candidates.num_rows,
        "kept": kept,
        "filters": {
            r.name: {**r.tally(), "seconds": round(r.seconds, 2)} for r in filtered.results
        },
        "out": str(run.filters),
    }
    with run.locked():
        write_table(run.filters, filtered.final)
        stage = Stage(
            name="filter",
            key=content_hash(
                "filter",
                settings.model_dump(mode="json"),
                *([extensions_digest("filter")] if _asks_extension(settings) else []),
            ),
            outputs=(run.filters,),
            reads=("candidates.parquet",),
        )
        note_stage(run, stage, tally, seconds=monotonic() - started)
    progress.advance(candidates.num_rows)
    progress.end()
    reasons = Counter(map(str, filtered.final["reason"].to_pylist()))
    failed = set(UNMEASURED)
    for table in (
        candidates,
        *([] if scores is None else [scores]),
    ):  # a status is the reason of its candidate
        failed |= {str(status) for status in table["status"].unique().to_pylist()}
    need_some(
        reasons,
        [reason for reason in reasons if reason not in failed],
        problem="none of the candidates could be filtered",
        out=run.filters,
    )
    return tally


def compare_filters(
    root: Path,
    *,
    config: Path | FiltersSettings,
    progress: Progress,
    teacher: Mapping[str, Any] | None = None,
    doors: Doors | None = None,
) -> Comparison:
    """Apply each filter on its own and compare them; writes nothing.

    Args:
        root: The run folder.
        config: The filters, or the YAML file with them.
        progress: Gets the progress.
        teacher: Settings of the teacher, where a filter asks one.
        doors: Factories of teacher and student; None for the usual ones.
    """
    run, settings, candidates, scores = filtering(root, config)
    progress.begin("filter", total=len(settings.filters), unit="filters")
    results = asyncio.run(
        _with_means(
            run,
            lambda means: try_filters_async(candidates, filters=settings.filters, means=means),
            scores=scores,
            teacher=teacher,
            doors=doors,
            progress=progress,
        )
    )
    progress.advance(len(results))
    progress.end()
    return compare(results, candidates)


async def _with_means(
    run: RunFolder,
    work: Callable[[Means], Awaitable[Result]],
    *,
    scores: pa.Table | None,
    teacher: Mapping[str, Any] | None,
    doors: Doors | None,
    progress: Progress,
) -> Result:
    if teacher is None:
        return await work(Means(scores=scores))
    settings = checked(TeacherSettings, teacher, place="teacher")
    with opened_journal(run, settings) as journal:
        opening = attended(
            settings,
            journal,
            run=run_id(run),
            doors=doors or Doors(),
            progress=progress,
            requests="one request for each candidate that is rated",
        )
        async with opening as asked:
            result = await work(Means(scores=scores, teacher=asked))
        need_collected(asked)
        return result


def filtering(
    root: Path, config: Path | FiltersSettings
) -> tuple[RunFolder, FiltersSettings, pa.Table, pa.Table | None]:
    """Run, filters, candidates and scores of a filtering.

    Args:
        root: The run folder.
        config: The filters, or the YAML file with them.
    """
    run = RunFolder(root=root).existing()
    candidates = pq.read_table(run.need(run.candidates))
    student = run.read_manifest().get("settings", {}).get("student") or {}
    if student.get("thinking") == "exclude":
        candidates = answers_only(candidates)
    scores = pq.read_table(run.need(run.scores)) if run.scores.exists() else None
    settings = config if isinstance(config, FiltersSettings) else read_filters(config)
    return run, settings, candidates, scores
