"""Inputs of the baselines `cheap` and `oracle`, from the texts and the columns of the data."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.data import ORIGINAL
from tutelage.errors import DataError
from tutelage.filters import make_embedder, pair_similarity, word_symbols
from tutelage.pipeline.config import EmbedderChoice, checked
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sql_views import open_tables
from tutelage.selection import DEVIATION, FAULTY, SelectSettings, band_deviations
from tutelage.verification.language_detection import language_of

_TEXTS = """
select candidate_id, step,
    coalesce(list_last(list_filter(messages, lambda m: m.role = 'user')).content, '')
        as instruction,
    coalesce(messages[-1].content, '') as response
from candidates where status = 'ok' order by candidate_id
"""
_EXTRAS = 'select example_id, "row", extra from examples order by "row", example_id'
_FURTHER_ROWS = """
select count(*), min(r."row") from rows r join examples e on e.example_id = r.example_id
where r.status = 'ok' and r."row" <> e."row"
"""
_CANDIDATES = "select candidate_id, example_id from candidates order by candidate_id"
_LANGUAGE_CHARACTERS = 1000
"""Characters of each text from which its language is detected."""
_NAMED = 8
"""Most columns listed in a message."""


def baseline_columns(
    run: RunFolder, settings: SelectSettings, *, closed: Callable[[], "pa.Array[Any]"]
) -> pa.Table | None:
    """Columns that a rule needs and the student does not measure.

    Args:
        run: The run folder.
        settings: The rule, its embedder or its column.
        closed: Gives the ids of candidates that filters and verdicts shut out.

    Returns:
        `candidate_id` and a number; None where the rule needs none.

    Raises:
        DataError: The column of the truth is missing, or some rows have no value in it.
    """
    if settings.rule == "cheap":
        return _deviations(run, settings, closed())
    if settings.rule == "oracle":
        return _truth(run, settings)
    return None


def _deviations(run: RunFolder, settings: SelectSettings, closed: "pa.Array[Any]") -> pa.Table:
    with open_tables(run) as tables:
        texts = tables.sql(_TEXTS).to_arrow_table()
    texts = texts.filter(pc.invert(pc.is_in(texts["candidate_id"], value_set=closed)))
    instructions, responses = (_strings(texts, name) for name in ("instruction", "response"))
    embedder = None
    if settings.embedder.get("kind") != "words":
        values: dict[str, Any] = {"embedder": dict(settings.embedder)}
        embedder = make_embedder(checked(EmbedderChoice, values, place="select").embedder)
    deviations = band_deviations(
        words_N=word_symbols(responses).counts_N.astype(np.float64),
        similarity_N=pair_similarity(instructions, responses, embedder=embedder),
        other_language_N=np.fromiter(
            map(_differ, instructions.to_pylist(), responses.to_pylist()), np.bool_, len(responses)
        ),
        original_N=np.asarray(pc.equal(texts["step"], pa.scalar(ORIGINAL))).astype(np.bool_),
    )
    return pa.table({"candidate_id": texts["candidate_id"], DEVIATION: deviations})


def _strings(table: pa.Table, name: str) -> Any:
    return table[name].combine_chunks().cast(pa.string())


def _differ(instruction: str, response: str) -> bool:
    """Whether two texts are in different languages, as far as these are detected."""
    one, other = (language_of(text[:_LANGUAGE_CHARACTERS]) for text in (instruction, response))
    return one is not None and other is not None and one != other


def check_truth_column(run: RunFolder, settings: SelectSettings) -> None:
    """Check that every example of a run has a value in the truth column.

    Raises:
        DataError: The column is missing, or some rows have no value in it.
    """
    _faulty(run, settings)


def _truth(run: RunFolder, settings: SelectSettings) -> pa.Table:
    found = _faulty(run, settings)
    with open_tables(run) as tables:
        candidates = tables.sql(_CANDIDATES).to_arrow_table()
    faulty = [found[name] for name in candidates["example_id"].to_pylist()]
    return pa.table({"candidate_id": candidates["candidate_id"], FAULTY: faulty})


def _faulty(run: RunFolder, settings: SelectSettings) -> dict[str, float]:
    """Mask of faulty examples, from the truth column."""
    column = str(settings.truth)
    with open_tables(run) as tables:
        examples = tables.sql(_EXTRAS).to_arrow_table().to_pylist()
        further = tables.sql(_FURTHER_ROWS).fetchall()[0]
    if further[0]:
        raise DataError(
            f"rule oracle: {further[0]:,} input rows (the first is row {further[1]}) are further "
            f"versions of earlier rows, but only one value of {column!r} is stored per example",
            hint="give each example one row; answers are checked by `tutelage verify` and gate: "
            "right",
        )
    clean = {_plain(value) for value in settings.truth_clean}
    found: dict[str, float] = {}
    empty: list[int] = []
    for example, value in _values(examples, column):
        if value is None and None not in clean:
            empty.append(example["row"])
        found[example["example_id"]] = float(value not in clean)
    if empty:
        raise DataError(
            f"rule oracle: {len(empty):,} of {len(examples):,} examples have no value in the "
            f"column {column!r}, the first of them in input row {empty[0]}",
            hint="give every row a value, or add null to truth_clean if no value means no fault",
        )
    return found


def _values(
    examples: Sequence[Mapping[str, Any]], column: str
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Examples with their value of a column; None without one.

    Raises:
        DataError: No example has the column, or a value is a list or an object.
    """
    there: Counter[str] = Counter()
    found = []
    for example in examples:
        extra = json.loads(example["extra"]) if example["extra"] else {}
        there.update(list(extra))
        value = extra.get(column)
        if isinstance(value, list | dict):
            raise DataError(
                f"rule oracle: input row {example['row']}: the column {column!r} holds "
                f"{json.dumps(value)[:80]}, which is not one value",
                hint="truth names a column of texts, numbers or true and false",
            )
        found.append((example, _plain(value)))
    if column not in there:
        names = [name for name, _ in there.most_common(_NAMED)]
        raise DataError(
            f"rule oracle: no row of the data has the column {column!r}",
            hint=f"set truth to one of {', '.join(names)}"
            if names
            else "the rows have no further columns; add one that says which rows are faulty",
        )
    yield from found


def _plain(value: object) -> str | None:
    """Value in the form in which it is compared: texts without case, numbers in one notation.

    Examples:
        >>> [_plain(v) for v in (True, "TRUE ", 1, "1.0", None, "Echo")]
        ['true', 'true', '1', '1', None, 'echo']
    """
    if value is None:
        return None
    text = str(value).strip().lower()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text
