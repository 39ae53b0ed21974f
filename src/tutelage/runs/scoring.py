"""The score stage, and `tutelage.Student`: where the student's readings become metrics."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from tutelage.data import Candidate, Row, TableWriter
from tutelage.data.tables import SCORES
from tutelage.metrics import score_row, statistics_for, views_for
from tutelage.runs.opening import Reader
from tutelage.runs.progress import Progress, Silent
from tutelage.runs.settings import DEFAULT_METRICS, checked, known_metrics
from tutelage.student import StudentSettings, open_student

_PLACE = (pa.field("row", pa.int64()), pa.field("step", pa.string()))


def scores_schema(metrics: Sequence[str]) -> pa.Schema:
    """The scores table with one float64 column a metric."""
    return pa.schema([*SCORES, *(pa.field(name, pa.float64()) for name in metrics)])


def score_candidates(
    candidates: Iterable[Candidate], *, student: Reader, metrics: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """One row of the scores table for each candidate, in the order given.

    A candidate that cannot be scored has its reason as status and no number.
    """
    waiting: deque[Candidate] = deque()

    def noted() -> Iterator[Candidate]:
        for candidate in candidates:
            waiting.append(candidate)
            yield candidate

    outcomes = student.read(noted(), views=views_for(metrics), statistics=statistics_for(metrics))
    for outcome in outcomes:
        candidate = waiting.popleft()
        yield {
            **score_row(outcome, metrics=metrics),
            "example_id": candidate.example_id,
            "student": student.fingerprint,
        }


def score_to_table(
    candidates: Iterable[Candidate],
    *,
    student: Reader,
    metrics: Sequence[str],
    out: Path,
    total: int,
    progress: Progress,
) -> dict[str, Any]:
    """Score candidates and write the scores table.

    Returns:
        The tally: how many candidates have which status, and the student's fingerprint.
    """
    statuses: Counter[str] = Counter()
    tokens = 0
    progress.begin("score", total=total, unit="candidates")
    with TableWriter(out, scores_schema(metrics)) as table:
        for row in score_candidates(candidates, student=student, metrics=metrics):
            table.append([row])
            statuses[row["status"]] += 1
            tokens += row["response_tokens"] or 0
            progress.advance()
    progress.end()
    return {
        "student": student.fingerprint,
        "scores_by_status": dict(sorted(statuses.items())),
        "response_tokens": tokens,
    }


def score_rows(
    rows: Iterable[Row], *, student: Reader, metrics: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """One row for each input row and candidate, in the order of the input.

    An input row that could not be read has one row too: its reason as status and no number. A row
    with several candidates (a refined pair, a wide pool) has one row for each of them.
    """
    places: deque[tuple[Row, int]] = deque()

    def candidates() -> Iterator[Candidate]:
        for row in rows:
            versions = (*row.repeated, *row.candidates)
            places.append((row, len(versions)))
            yield from versions

    scored = score_candidates(candidates(), student=student, metrics=metrics)
    blank = dict.fromkeys(scores_schema(metrics).names)

    def unread() -> Iterator[dict[str, Any]]:
        while places and not places[0][1]:
            row, _ = places.popleft()
            yield {
                **blank,
                "row": row.row,
                "status": row.status if row.example is None else "no_candidates",
                "detail": row.detail,
                "example_id": row.example.example_id if row.example else None,
            }

    steps: deque[str] = deque()
    for scores in scored:
        yield from unread()
        row, left = places[0]
        if not steps:
            steps.extend(c.step for c in (*row.repeated, *row.candidates))
        yield {**scores, "row": row.row, "step": steps.popleft()}
        if left == 1:
            places.popleft()
        else:
            places[0] = (row, left - 1)
    yield from unread()


class Student:
    """A model that will be trained, as a judge of what it can learn from.

    Args:
        model: A folder, a hub id, or the alias of a bundled model.
        **settings: Anything `StudentSettings` takes, such as `template`, `dtype`, `device`.

    Raises:
        SettingsError: A setting is wrong.
        StudentError: The model cannot be found or used.

    Examples:
        >>> import tutelage as tt
        >>> student = tt.Student("smollm2-135m")                       # doctest: +SKIP
        >>> student.score(tt.read("data.jsonl"), metrics=["ifd"])      # doctest: +SKIP
    """

    def __init__(self, model: str, **settings: Any) -> None:
        values: Mapping[str, Any] = {"model": model, **settings}
        self.settings = checked(StudentSettings, values, place=f"student {model}")
        self.model = open_student(self.settings)

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenizer and the template."""
        return self.model.fingerprint

    def score(self, rows: Iterable[Row], *, metrics: Sequence[str] = DEFAULT_METRICS) -> pa.Table:
        """Score rows as the student reads them.

        Args:
            rows: What `tutelage.read` gives.
            metrics: Names of per-candidate metrics.

        Returns:
            One row for each input row (and candidate, where a row has several), in order, with
            the columns of `tutelage score`.

        Raises:
            ValueError: A metric is unknown.
        """
        names = known_metrics(tuple(metrics))
        schema = rows_schema(names)
        scored = list(score_rows(rows, student=self.model, metrics=names))
        return pa.Table.from_pylist(scored, schema=schema)

    def close(self) -> None:
        """Let go of the model and the cache."""
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rows_schema(metrics: Sequence[str]) -> pa.Schema:
    """The table of `tutelage score`: the scores table with the input row in front."""
    return pa.schema([*_PLACE, *scores_schema(metrics)])


def score_file(
    rows: Iterable[Row],
    *,
    student: Reader,
    metrics: Sequence[str],
    out: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score rows into one Parquet file.

    Returns:
        The tally of statuses.
    """
    progress = progress or Silent()
    statuses: Counter[str] = Counter()
    progress.begin("score", total=None, unit="rows")
    with TableWriter(out, rows_schema(metrics)) as table:
        for row in score_rows(rows, student=student, metrics=metrics):
            table.append([row])
            statuses[row["status"]] += 1
            progress.advance()
    progress.end()
    return {"rows": statuses.total(), "by_status": dict(sorted(statuses.items())), "out": str(out)}
