"""The correctness gate and the filters, over a file or over a run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import Record, read_records, write_table
from tutelage.filters import (
    Comparison,
    FiltersSettings,
    apply_filters,
    compare,
    read_filters,
    try_filters,
)
from tutelage.runs.folder import RunFolder
from tutelage.runs.progress import Progress
from tutelage.runs.settings import DataSettings, checked
from tutelage.runs.tables import open_tables, stream
from tutelage.teacher import Teacher
from tutelage.verification import (
    VERDICTS,
    Claim,
    VerifySettings,
    verify_responses,
    verify_table,
)

_CLAIMS = """
select c.candidate_id, c.status, c.messages, e.reference
from candidates c left join examples e on e.example_id = c.example_id
order by e.row, c.candidate_id
"""


def verify_file(
    *,
    data: Mapping[str, Any],
    check: Mapping[str, Any],
    fields: Mapping[str, str],
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Check the responses of a file against its references.

    Args:
        data: Settings of the data room, with `path`.
        check: Settings of the verification.
        fields: Which field holds the response, the reference and so on; see `verify_responses`.
        out: The Parquet file: one row for each input row, in order, with the columns `row`,
            `candidate_id`, `verdict` and `evidence`.
        progress: Told of each row read.

    Returns:
        How many rows have which verdict.

    Raises:
        DataError: The file cannot be read, or a field is not there.
    """
    reading = checked(DataSettings, data, place="data")
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
    verdicts = verify_responses(rows(), settings, **named)
    if broken:
        verdicts = _with_broken(verdicts, broken)
    write_table(out, verdicts)
    progress.end()
    return _tally(verdicts, out)


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
    root: Path, *, check: Mapping[str, Any], teacher: Teacher | None, progress: Progress
) -> dict[str, Any]:
    """Check every candidate of a run against its example's reference. Writes verdicts.parquet.

    Args:
        root: The run folder.
        check: Settings of the verification.
        teacher: The model that judges, for the check `judge`.
        progress: Told of each candidate.

    Returns:
        How many candidates have which verdict.
    """
    run = RunFolder(root=root).existing()
    run.need(run.candidates)
    settings = checked(VerifySettings, check, place="verify")
    tables = open_tables(run)
    progress.begin("verify", total=pq.read_metadata(run.candidates).num_rows, unit="candidates")
    rows: list[dict[str, Any]] = []
    try:
        for verdict in verify_table(_claims(stream(tables, _CLAIMS)), settings, teacher=teacher):
            rows.append(
                {
                    "row": len(rows),
                    "candidate_id": verdict.candidate_id,
                    "verdict": verdict.verdict,
                    "evidence": verdict.evidence,
                }
            )
            progress.advance()
    finally:
        tables.close()
    verdicts = pa.Table.from_pylist(rows, schema=VERDICTS)
    write_table(run.verdicts, verdicts)
    progress.end()
    return _tally(verdicts, run.verdicts)


def _claims(rows: Iterable[Mapping[str, Any]]) -> Iterator[Claim]:
    for row in rows:
        turns = row["messages"] or []
        asked = [m["content"] for m in turns if m["role"] == "user"]
        yield Claim(
            candidate_id=row["candidate_id"],
            response=turns[-1]["content"] if turns else None,
            instruction=asked[-1] if asked else None,
            reference=row["reference"],
        )


def _tally(verdicts: pa.Table, out: Path) -> dict[str, Any]:
    counts = Counter(str(verdict) for verdict in verdicts["verdict"].to_pylist())
    return {"rows": verdicts.num_rows, "verdicts": dict(sorted(counts.items())), "out": str(out)}


def filter_run(root: Path, *, config: Path, progress: Progress) -> dict[str, Any]:
    """Apply filters to the candidates of a run. Writes filters.parquet; removes nothing.

    Args:
        root: The run folder.
        config: A YAML file with a list `filters`.
        progress: Told when it begins and ends.

    Returns:
        The tally of each filter and of all together.
    """
    run, settings, candidates, scores = _filtering(root, config)
    progress.begin("filter", total=candidates.num_rows, unit="candidates")
    filtered = apply_filters(candidates, filters=settings.filters, scores=scores)
    write_table(run.filters, filtered.final)
    progress.advance(candidates.num_rows)
    progress.end()
    kept = sum(bool(value) for value in filtered.final["kept"].to_pylist())
    return {
        "candidates": candidates.num_rows,
        "kept": kept,
        "filters": {
            r.name: {**r.tally(), "seconds": round(r.seconds, 2)} for r in filtered.results
        },
        "out": str(run.filters),
    }


def compare_filters(root: Path, *, config: Path, progress: Progress) -> Comparison:
    """Apply each filter on its own and put them side by side; writes nothing."""
    _, settings, candidates, scores = _filtering(root, config)
    progress.begin("filter", total=len(settings.filters), unit="filters")
    results = try_filters(candidates, filters=settings.filters, scores=scores)
    progress.advance(len(results))
    progress.end()
    return compare(results, candidates)


def _filtering(
    root: Path, config: Path
) -> tuple[RunFolder, FiltersSettings, pa.Table, pa.Table | None]:
    run = RunFolder(root=root).existing()
    candidates = pq.read_table(run.need(run.candidates))
    scores = pq.read_table(run.scores) if run.scores.exists() else None
    return run, read_filters(config), candidates, scores
