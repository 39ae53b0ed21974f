"""Score stage and `tutelage.Student`: metrics from token statistics."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import (
    END_VIEW,
    OK,
    Candidate,
    Reading,
    ReadingOutcome,
    Row,
    Rows,
    TableWriter,
    TargetTokens,
    TokenStats,
    Unscored,
    read,
    write_table,
)
from tutelage.data.schemas import (
    INPUT_PLACE,
    TEXT_NAMES,
    TOKEN_COLUMNS,
    TOKENS,
    TextName,
    only_columns,
    table_schema,
)
from tutelage.data.token_table import IS_TOKENS, text_of, token_columns
from tutelage.errors import SettingsError, spelled_in_python
from tutelage.metrics import (
    beyond,
    finish_scores,
    most_of,
    needs_steps,
    needs_text,
    score_row,
    scores_schema,
    statistics_for,
    step_views,
    views_for,
)
from tutelage.pipeline.config import DEFAULT_METRICS, checked, known_metrics
from tutelage.pipeline.resources import Reader
from tutelage.pipeline.tool_notes import ToolCheck
from tutelage.progress import Progress, Silent
from tutelage.student import Statistics, StudentSettings, TextPair, open_student

# ----------------------------------------------------------------------------------------------
# A count of what the student has read so far, which moves with each batch.
#
# A student reads a chunk of candidates as a whole and hands all of them over at its end.
# Meanwhile it
# tells how many of the chunk's passages are read; the same share of its candidates is counted.
# ----------------------------------------------------------------------------------------------


@runtime_checkable
class Watchable(Protocol):
    """Student that reports its progress within a chunk."""

    def watch(self, on_batch: Callable[[int, int], None] | None) -> None:
        """Set a callback that gets, after each batch, the chunk's passages read and in all."""
        ...


class ReadingCounter:
    """Counter that advances a progress bar by candidates as they are read.

    Args:
        progress: Notified of each candidate once.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._asked = self._came = self._shown = 0

    def asked(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Candidates, counted as they are taken."""
        for candidate in candidates:
            self._asked += 1
            yield candidate

    def came(self) -> None:
        """Count one finished candidate."""
        self._came += 1
        self._show(self._came)

    @contextmanager
    def watching(self, student: object) -> Iterator[None]:
        """Context manager that counts while the student reads, if it reports progress."""
        if not isinstance(student, Watchable):
            yield
            return
        student.watch(self._batch)
        try:
            yield
        finally:
            student.watch(None)

    def _batch(self, read: int, passages: int) -> None:
        under_way = self._asked - self._came
        # The last one is counted when it comes: a chunk is not done before its last batch.
        self._show(self._came + max(0, min(under_way * read // passages, under_way - 1)))

    def _show(self, count: int) -> None:
        if count > self._shown:
            self._progress.advance(count - self._shown)
            self._shown = count


# ----------------------------------------------------------------------------------------------
# Score stage.
# ----------------------------------------------------------------------------------------------


# ----------------------------------------------------------------------------------------------
# Where scores go: the scores table and, where asked for, the token statistics.
# ----------------------------------------------------------------------------------------------


_GROUP_ROWS = 256
"""Rows of token statistics in memory at once; their size grows with the length of the texts."""


class ScoreTables:
    """Writer of scores and optional token statistics, each to its own table.

    Use it as a context manager: both files appear when the block ends well.

    Args:
        out: The scores table.
        schema: Schema of the scores table.
        statistics: The token statistics, or None.
    """

    def __init__(self, out: Path, schema: pa.Schema, *, statistics: Path | None) -> None:
        self._scores = TableWriter(out, schema)
        place = [field for field in INPUT_PLACE if field.name in schema.names]
        self._schema = table_schema(place, TOKENS).with_metadata(IS_TOKENS)
        self._tokens = None if statistics is None else TableWriter(statistics, self._schema)
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._scores)
            if self._tokens is not None:
                stack.enter_context(self._tokens)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def append(self, row: Mapping[str, Any]) -> None:
        """Append one row to each table."""
        names = self._scores.schema.names
        self._scores.append([{name: row.get(name) for name in names}])
        if self._tokens is not None:
            self._waiting.append({name: row.get(name) for name in self._schema.names})
            if len(self._waiting) == _GROUP_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._tokens is not None and self._waiting:
            self._tokens.append_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []


# ----------------------------------------------------------------------------------------------
# Score stage.
# ----------------------------------------------------------------------------------------------


STEP_CHUNK_CANDIDATES = 128
"""Candidates whose steps are read together, for metrics of steps."""


def stored_schema(metrics: Sequence[str], *, statistics: bool) -> pa.Schema:
    """Columns that `score_candidates` fills."""
    more = only_columns(TOKENS, TOKEN_COLUMNS if statistics else ())
    return table_schema(scores_schema(metrics), more)


Scorer: TypeAlias = Callable[[Iterable[Candidate]], Iterator[dict[str, Any]]]
"""Function type: from candidates to their rows, in the order given."""


def score_candidates(
    candidates: Iterable[Candidate],
    *,
    student: Reader,
    metrics: Sequence[str],
    statistics: bool = False,
    at_least: Statistics = "nll",
) -> Iterator[dict[str, Any]]:
    """Rows of the scores table, one for each candidate, in the order given.

    A candidate that cannot be scored has its reason as status and no number.

    Args:
        candidates: Read chunk by chunk.
        student: The student that reads.
        metrics: Names of per-candidate metrics.
        statistics: Measure all token statistics, and add the columns of the token table.
        at_least: Statistics that are computed with later from the same readings: measured now,
            so that the cache holds them and the student reads nothing twice. With `full` the end
            of the turn is measured too, for the quality gate.
    """
    waiting: deque[Candidate] = deque()

    def noted() -> Iterator[Candidate]:
        for candidate in candidates:
            waiting.append(candidate)
            yield candidate

    with_text = needs_text(metrics)
    _check_measured(student, metrics)
    wanted = student.measures if statistics else most_of(statistics_for(metrics), at_least)
    views = views_for(metrics)
    if at_least == "full":
        views = (*views, END_VIEW)
    outcomes = student.read(noted(), views=views, statistics=wanted)
    for outcome, steps in _with_steps(outcomes, waiting, student=student, metrics=metrics):
        candidate = waiting.popleft()
        readable = candidate.status == OK
        response = student.response_text(candidate) if with_text and readable else None
        more = {}
        if statistics and isinstance(outcome, Reading):
            more = token_columns(
                outcome, targets=_targets(outcome, candidate, student), steps=steps
            )
        yield {
            **more,
            **score_row(outcome, metrics=metrics, response=response, steps=steps),
            "example_id": candidate.example_id,
            "student": student.fingerprint,
        }


def _check_measured(student: Reader, metrics: Sequence[str]) -> None:
    """Raise an error before reading if a metric is not available."""
    lost = beyond(metrics, student.measures)
    if lost:
        backend = student.describe()["backend"]
        raise SettingsError(
            f"{', '.join(lost)}: are not available from the backend {backend}, which gives "
            "log-probabilities and ranks but no entropies and no sums of squares",
            hint="leave them out, or read with backend packed or transformers",
        )


def _with_steps(
    outcomes: Iterator[ReadingOutcome],
    waiting: deque[Candidate],
    *,
    student: Reader,
    metrics: Sequence[str],
) -> Iterator[tuple[ReadingOutcome, list[TokenStats] | None]]:
    """Outcomes with the token statistics of their steps, where a metric needs them.

    A candidate of which a step could not be read is unscored for that step's reason.
    """
    if not needs_steps(metrics):
        yield from ((outcome, None) for outcome in outcomes)
        return
    while chunk := list(islice(outcomes, STEP_CHUNK_CANDIDATES)):
        pairs: list[TextPair] = []
        for outcome, candidate in zip(chunk, list(islice(waiting, len(chunk))), strict=True):
            if isinstance(outcome, Reading):
                before = student.context_text(candidate)
                pairs += [
                    TextPair(
                        pair_id=outcome.candidate_id,
                        context=before + view.earlier,
                        target=view.step,
                    )
                    for view in step_views(student.last_response_text(candidate))
                ]
        found: dict[str, list[TokenStats | Unscored]] = {}
        for pair, stats in zip(pairs, student.read_pairs(pairs), strict=True):
            found.setdefault(pair.pair_id, []).append(stats)
        for outcome in chunk:
            steps = found.get(outcome.candidate_id, [])
            lost = next((s for s in steps if isinstance(s, Unscored)), None)
            yield lost or outcome, [s for s in steps if isinstance(s, TokenStats)]


def _targets(
    reading: Reading, candidate: Candidate, student: Reader
) -> dict[TextName, TargetTokens]:
    """Tokens of the texts that were read."""
    names = {text_of(view) for view in reading.views if view != END_VIEW}
    return {name: student.targets(candidate, name) for name in TEXT_NAMES if name in names}


def finish_table(path: Path, *, metrics: Sequence[str]) -> None:
    """Add the requested metrics that depend on all candidates to a scores table."""
    if {"lark", "casl"} & set(metrics):
        write_table(path, finish_scores(pq.read_table(path), metrics=metrics))


def score_to_table(
    candidates: Iterable[Candidate],
    *,
    student: Reader,
    metrics: Sequence[str],
    out: Path,
    total: int,
    progress: Progress,
    statistics: Path | None = None,
    scorer: Scorer | None = None,
    at_least: Statistics = "nll",
) -> dict[str, Any]:
    """Score candidates and write the scores table.

    Args:
        candidates: All of them, once.
        student: The student that reads.
        metrics: Names of per-candidate metrics.
        out: The scores table.
        total: How many candidates there are, for the progress.
        progress: Notified of each candidate.
        statistics: Where the token statistics are to be kept, or None.
        scorer: Gives the rows; by default the student in this process.
        at_least: As for `score_candidates`, where the student reads in this process.

    Returns:
        The tally: how many candidates have which status, and the student's fingerprint.
    """
    statuses: Counter[str] = Counter()
    tokens = 0
    scorer = scorer or here(student, metrics, statistics=statistics is not None, at_least=at_least)
    progress.begin("score", total=total, unit="candidates")
    counter, check = ReadingCounter(progress), ToolCheck(student)
    with (
        ScoreTables(out, scores_schema(metrics), statistics=statistics) as tables,
        counter.watching(student),
    ):
        for row in scorer(counter.asked(check.passing(candidates))):
            tables.append(row)
            statuses[row["status"]] += 1
            tokens += row["response_tokens"] or 0
            counter.came()
    finish_table(out, metrics=metrics)
    progress.end()
    return {
        "student": student.fingerprint,
        "scores_by_status": dict(sorted(statuses.items())),
        "response_tokens": tokens,
        **({"notes": notes} if (notes := check.notes()) else {}),
    }


def here(
    student: Reader,
    metrics: Sequence[str],
    *,
    statistics: bool = False,
    at_least: Statistics = "nll",
) -> Scorer:
    """Scorer that reads in this process.

    Args:
        student: The student.
        metrics: Metrics to compute.
        statistics: Whether token statistics are returned too.
        at_least: As for `score_candidates`.
    """
    return partial(
        score_candidates,
        student=student,
        metrics=metrics,
        statistics=statistics,
        at_least=at_least,
    )


def versions_of(row: Row) -> tuple[Candidate, ...]:
    """Candidates of a row that have rows of their own, in their order."""
    return (*row.repeated, *row.candidates)


def candidates_of(rows: Iterable[Row]) -> Iterator[Candidate]:
    """Candidates in the order in which `score_rows` passes them to its scorer."""
    for row in rows:
        yield from versions_of(row)


def score_rows(
    rows: Iterable[Row], *, scorer: Scorer, metrics: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """One row for each input row and candidate, in the order of the input.

    An input row that could not be read has one row too: its reason as status and no number. A row
    with several candidates (a refined pair, a wide pool) has one row for each of them.

    Args:
        rows: The rows.
        scorer: Scores the candidates.
        metrics: Names of the metrics.
    """
    places: deque[tuple[Row, int]] = deque()

    def candidates() -> Iterator[Candidate]:
        for row in rows:
            versions = versions_of(row)
            places.append((row, len(versions)))
            yield from versions

    scored = scorer(candidates())
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
            steps.extend(c.step for c in versions_of(row))
        yield {**scores, "row": row.row, "step": steps.popleft()}
        if left == 1:
            places.popleft()
        else:
            places[0] = (row, left - 1)
    yield from unread()


def _read_rows(source: Any) -> Iterable[Row]:
    """Rows that were read already, or the rows of a source."""
    if isinstance(source, Rows):
        return source
    if isinstance(source, Iterator):
        first = list(islice(source, 1))
        source = chain(first, source)
        return source if first and isinstance(first[0], Row) else read(source)
    if isinstance(source, list | tuple) and source and isinstance(source[0], Row):
        return source
    return read(source)


@spelled_in_python
class Student:
    """A model to be trained, which scores rows by its own likelihoods.

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

    def __repr__(self) -> str:
        changed = self.settings.model_dump(exclude_unset=True)
        del changed["model"]
        listed = [repr(self.settings.model), *(f"{k}={v!r}" for k, v in changed.items())]
        return f"Student({', '.join(listed)})"

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenizer and the template."""
        return self.model.fingerprint

    def score(self, rows: Any, *, metrics: str | Sequence[str] = DEFAULT_METRICS) -> pa.Table:
        """Score rows as the student reads them.

        Args:
            rows: What `tutelage.read` gives or takes: rows that were read, a path, a list of
                dicts, a table or a data frame.
            metrics: Names of per-candidate metrics; as one text, separated by commas.

        Returns:
            One row for each input row (and candidate, where a row has several), in order, with
            the columns of `tutelage score`.

        Raises:
            ValueError: A metric is unknown.
            DataError: The rows cannot be read.
        """
        listed = metrics.split(",") if isinstance(metrics, str) else metrics
        names = known_metrics(tuple(name.strip() for name in listed))
        schema = rows_schema(names)
        scored = list(score_rows(_read_rows(rows), scorer=here(self.model, names), metrics=names))
        return finish_scores(pa.Table.from_pylist(scored, schema=schema), metrics=names)

    def close(self) -> None:
        """Free the model and close the cache."""
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rows_schema(metrics: Sequence[str]) -> pa.Schema:
    """Schema of `tutelage score`: the scores table with the input row in front."""
    return table_schema(INPUT_PLACE, scores_schema(metrics))


def score_file(
    rows: Iterable[Row],
    *,
    student: Reader,
    metrics: Sequence[str],
    out: Path,
    progress: Progress | None = None,
    statistics: Path | None = None,
    scorer: Scorer | None = None,
) -> dict[str, Any]:
    """Score rows into one Parquet file.

    Args:
        rows: All of them, once.
        student: The student that reads.
        metrics: Names of per-candidate metrics.
        out: The file.
        progress: Notified of each row.
        statistics: Where the token statistics are to be kept, or None.
        scorer: Gives the rows; by default the student in this process.

    Returns:
        The tally of statuses.
    """
    progress = progress or Silent()
    statuses: Counter[str] = Counter()
    scorer = scorer or here(student, metrics, statistics=statistics is not None)
    progress.begin("score", total=None, unit="rows")
    counter, check = ReadingCounter(progress), ToolCheck(student)
    chosen = scorer

    def counted(candidates: Iterable[Candidate]) -> Iterator[dict[str, Any]]:
        return chosen(counter.asked(check.passing(candidates)))

    with (
        ScoreTables(out, rows_schema(metrics), statistics=statistics) as tables,
        counter.watching(student),
    ):
        for row in score_rows(rows, scorer=counted, metrics=metrics):
            tables.append(row)
            statuses[row["status"]] += 1
            counter.came()
    finish_table(out, metrics=metrics)
    progress.end()
    tally = {"rows": statuses.total(), "by_status": dict(sorted(statuses.items())), "out": str(out)}
    if notes := check.notes():
        tally = {**tally, "notes": notes}
    return tally if statistics is None else {**tally, "statistics": str(statistics)}
