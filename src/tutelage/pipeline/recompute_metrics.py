"""Metrics from stored token statistics, without a model, and comparisons of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import OK, TableWriter, read, write_table
from tutelage.data.schemas import DELTAS, INPUT_PLACE, table_schema
from tutelage.data.token_table import IS_TOKENS, arrays_of, stored_tokens
from tutelage.errors import DataError
from tutelage.metrics import METRICS, agreement, score_row, scores_schema
from tutelage.pipeline.config import ScoreSettings, checked
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.score_stage import finish_table
from tutelage.pipeline.tables import open_tables
from tutelage.progress import Progress
from tutelage.stats.bootstrap import clustered_interval

# ----------------------------------------------------------------------------------------------
# Source, step or teacher of each candidate, from a run folder or from rows.
# ----------------------------------------------------------------------------------------------


Group: TypeAlias = Literal["source", "step", "teacher"]
GROUPS: tuple[Group, ...] = ("source", "step", "teacher")

_IN_A_RUN = """
select c.candidate_id, e.source, c.step, c.teacher
from candidates c left join examples e on e.example_id = c.example_id
"""


def groups_of(places: Sequence[Path], *, by: Group, data: Path | None) -> dict[str, str | None]:
    """Group of each candidate by its id; None where no group column is named.

    Args:
        places: Run folders, or scores tables, which do not say it.
        by: What tells the groups apart.
        data: Rows to read instead, as they were scored.

    Raises:
        DataError: None of the places is a run folder, and there are no rows.
    """
    at = GROUPS.index(by)
    found: dict[str, str | None] = {}
    if data is not None:
        for row in read(str(data)):
            source = None if row.example is None else row.example.source
            for candidate in (*row.candidates, *row.repeated):
                found[candidate.candidate_id] = (source, candidate.step, candidate.teacher)[at]
        return found
    runs = [RunFolder(root=place) for place in places if place.is_dir()]
    if not runs:
        raise DataError(
            f"--by {by}: scores tables do not name the {by} of a candidate",
            hint="--data FILE gives the rows that were scored, or give a run folder",
        )
    for run in runs:
        run.need(run.candidates)
        with open_tables(run) as tables:
            for name, *values in tables.execute(_IN_A_RUN).fetchall():
                found.setdefault(name, values[at])
    return found


# ----------------------------------------------------------------------------------------------
# Recompute metrics.
# ----------------------------------------------------------------------------------------------


NOT_IN_BOTH = "not_in_both"
OTHER_TOKENS = "other_tokens"
_NLL = "nll_response_given_instruction"
_RESAMPLES = 2000
_ROWS = 256


def recompute(
    statistics: Path, *, metrics: Sequence[str], out: Path, progress: Progress
) -> dict[str, Any]:
    """Compute metrics from stored token statistics.

    Args:
        statistics: What `score --statistics` or `score.statistics` of a run has written.
        metrics: Names of per-candidate metrics.
        out: The scores table to write, in the order of the statistics.
        progress: Notified of each row.

    Returns:
        The tally of statuses.

    Raises:
        DataError: The file holds no token statistics, or not those that a metric needs.
    """
    names = checked(ScoreSettings, {"metrics": tuple(metrics)}, place="--metrics").metrics
    file = _opened(statistics)
    with file:
        place = [field for field in INPUT_PLACE if field.name in file.schema_arrow.names]
        statuses: Counter[str] = Counter()
        progress.begin("recompute", total=file.metadata.num_rows, unit="candidates")
        with TableWriter(out, table_schema(place, scores_schema(names))) as table:
            try:
                for row in _recomputed(file, names):
                    table.append([row])
                    statuses[str(row["status"])] += 1
                    progress.advance()
            except DataError as error:
                raise DataError(
                    f"{statistics}: {error}",
                    hint="score again with --statistics and this metric; what was read is cached",
                ) from error
    finish_table(out, metrics=names)
    progress.end()
    return {"rows": statuses.total(), "by_status": dict(sorted(statuses.items())), "out": str(out)}


def _opened(statistics: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(statistics)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{statistics}: cannot be read: {error}") from error
    found = file.schema_arrow.metadata or {}
    if not IS_TOKENS.items() <= found.items():
        file.close()
        raise DataError(
            f"{statistics}: holds no token statistics",
            hint="`tutelage score DATA --student M --statistics FILE --out S.parquet` writes some",
        )
    return file


def _recomputed(file: pq.ParquetFile, metrics: Sequence[str]) -> Iterator[dict[str, object]]:
    place = [field.name for field in INPUT_PLACE if field.name in file.schema_arrow.names]
    for batch in file.iter_batches(batch_size=_ROWS):
        for row in arrays_of(pa.Table.from_batches([batch])):
            stored = stored_tokens(row)
            answer = stored.targets.get("response")
            yield {
                **{name: row[name] for name in place},
                **score_row(
                    stored.outcome,
                    metrics=metrics,
                    response=None if answer is None else answer.text,
                    steps=stored.steps,
                ),
                "example_id": row["example_id"],
                "student": row["student"],
                "contract": row.get("contract"),
            }


def metric_agreement(source: Path, *, metrics: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rank correlations of a scores table's metrics with each other and with length.

    Args:
        source: A run folder or a scores table.
        metrics: Which columns; by default every metric the table has.

    Returns:
        One row a pair of columns and student, as `tutelage.metrics.agreement` describes, the
        strongest agreement first.

    Raises:
        DataError: The table has no such column.
    """
    table = scores_at(source)
    names = list(metrics) or [name for name in table.column_names if name in METRICS]
    if not names:
        raise DataError(f"{source}: no column is a metric", hint="`tutelage score` writes some")
    rows = []
    for student in pc.unique(table["student"]).to_pylist():
        if student is None:  # rows that could not be read have no student
            continue
        own = table.filter(pc.field("student") == student)
        rows += [{"student": student, **row} for row in agreement(own, names).to_pylist()]
    return sorted(rows, key=lambda r: (r["student"], -abs(r["spearman"] or 0), r["a"], r["b"]))


def scores_at(source: Path) -> pa.Table:
    """Scores table of a run, or the table at a path.

    Raises:
        DataError: There is none.
    """
    path = RunFolder(root=source).scores if source.is_dir() else source
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: cannot be read: {error}", hint="give a run folder or a scores table"
        ) from error
    if not {"student", "candidate_id", "status"} <= set(table.column_names):
        raise DataError(
            f"{path}: is not a scores table, it has {', '.join(table.column_names[:6])}, ...",
            hint="`tutelage score` writes one",
        )
    return table


def delta_losses(
    base: Path,
    current: Path,
    *,
    out: Path | None,
    seed: int = 0,
    by: Group | None = None,
    data: Path | None = None,
) -> dict[str, Any]:
    """Effect of training: the loss under one student minus that under another.

    Args:
        base: Scores by the student before: a run folder or a scores table.
        current: Scores of the same candidates by the student after.
        out: A table with a row for each candidate of either, or None.
        seed: Seed of the resampling.
        by: Also each source, step or teacher by itself; the table gains a column of that name.
        data: The rows that were scored, where neither of the two is a run folder.

    Returns:
        How many candidates are in which state, the mean over them in nats per token with its 95 %
        interval (resampled by example; None for one example), and the share that became likelier;
        with `by` the same of each group, with both losses.

    Raises:
        DataError: A file is not a scores table of one student, or no candidate is in both.
    """
    before, after = _by_candidate(base), _by_candidate(current)
    rows = [
        _delta(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])
    ]
    table = pa.Table.from_pylist(rows, schema=DELTAS)
    groups = None
    if by is not None:
        groups = groups_of((base, current), by=by, data=data)
        names = [groups.get(row["candidate_id"]) for row in rows]
        table = table.append_column(by, pa.array(names, pa.string()))
    if out is not None:
        write_table(out, table)
    good = [row for row in rows if row["status"] == OK]
    if not good:
        raise DataError(
            f"{base} and {current} have no scored candidate in common",
            hint="score the same data with both students, with --metrics that read the response",
        )
    return {
        **_said(rows, seed=seed),
        "seed": seed,
        **({} if groups is None else {f"by_{by}": _each(rows, groups, by=str(by), seed=seed)}),
        **({} if out is None else {"out": str(out)}),
    }


def _said(rows: Sequence[dict[str, Any]], *, seed: int) -> dict[str, Any]:
    """Summary of some candidates' deltas; no numbers without any."""
    good = [row for row in rows if row["status"] == OK]
    told: dict[str, Any] = {
        "candidates": len(rows),
        "by_status": dict(sorted(Counter(str(row["status"]) for row in rows).items())),
    }
    if not good:
        return {**told, "examples": 0}
    deltas = np.array([row["delta_loss"] for row in good])
    examples = [row["example_id"] or row["candidate_id"] for row in good]
    found = clustered_interval(deltas, examples, draws=_RESAMPLES, seed=seed)
    return {
        **told,
        "examples": len(set(examples)),
        "mean_delta_loss": float(deltas.mean()),
        "interval_95": None if found is None else list(found),
        "share_likelier": float((deltas > 0).mean()),
    }


def _each(
    rows: Sequence[dict[str, Any]], groups: Mapping[str, str | None], *, by: str, seed: int
) -> list[dict[str, Any]]:
    """Summary of each group, the largest first, with the mean loss before and after."""
    members: dict[str | None, list[dict[str, Any]]] = {}
    for row in rows:
        members.setdefault(groups.get(row["candidate_id"]), []).append(row)
    found = []
    for name in sorted(members, key=lambda n: (-len(members[n]), n or "")):
        good = [row for row in members[name] if row["status"] == OK]
        means = {
            column: float(np.mean([row[column] for row in good])) if good else None
            for column in ("nll_base", "nll_current")
        }
        found.append({by: name, **means, **_said(members[name], seed=seed)})
    return found


def _by_candidate(source: Path) -> dict[str, dict[str, Any]]:
    table = scores_at(source)
    students = {name for name in pc.unique(table["student"]).to_pylist() if name is not None}
    if len(students) != 1 or _NLL not in table.column_names:
        raise DataError(
            f"{source}: scores of {len(students)} students, expected one that read the response",
            hint="`tutelage score` into a file of its own for each student",
        )
    columns = ["candidate_id", "example_id", "status", "response_tokens", _NLL]
    found = table.filter(pc.is_valid(table["candidate_id"])).select(columns)
    return {row["candidate_id"]: row for row in found.to_pylist()}


def _delta(
    name: str, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> dict[str, Any]:
    either = before or after or {}
    row = {"candidate_id": name, "example_id": either.get("example_id"), "status": NOT_IN_BOTH}
    if before is None or after is None:
        return row
    for side in (before, after):
        if side["status"] != OK or side[_NLL] is None:
            return row | {"status": side["status"] if side["status"] != OK else NOT_IN_BOTH}
    if before["response_tokens"] != after["response_tokens"]:
        # Another tokenizer or template: nats per token of other tokens are no difference.
        return row | {"status": OTHER_TOKENS}
    return row | {
        "status": OK,
        "response_tokens": before["response_tokens"],
        "nll_base": before[_NLL],
        "nll_current": after[_NLL],
        "delta_loss": before[_NLL] - after[_NLL],
    }
