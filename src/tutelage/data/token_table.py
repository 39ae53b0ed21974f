"""Table of token statistics: every target token of every candidate, on disk.

One row a candidate, in the order of its scores. For the V views that were read and the T target
tokens of a text:

    column                     type            what
    response, instruction      string          the target text
    response_ids, ...          list<int32>     its T token ids
    response_starts, ...       list<int32>     where each token starts, in characters of the text
    logprobs_VIEW              list<float32>   nats, as the student gave them
    ranks_VIEW                 list<uint8>     1 to 100
    entropies_VIEW             list<float16>   nats
    sum_squares_VIEW           list<float16>
    step_logprobs              list<list<float32>>   of each step, where `lalp` was asked for

Both views of a text count the same ids. float16 keeps 11 bits: an entropy is off by at most one
part in 2,048, a sum of squares by that or 3e-8; everything else is exact. A view or a statistic
that was not read is null. The text of token i is `text[starts[i]:starts[i + 1]]`, the last one's
`text[starts[-1]:]`; it is empty where the next token goes on with the same character.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.data.schemas import TEXT_NAMES, TextName
from tutelage.data.token_stats import (
    VIEW_NAMES,
    Reading,
    ReadingOutcome,
    TokenStats,
    Unscored,
    ViewName,
)
from tutelage.errors import DataError

IS_TOKENS: dict[bytes | str, bytes | str] = {b"tutelage": b"token statistics 1"}
"""Schema metadata that identifies a file of this kind."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TargetTokens:
    """Tokens of one target text.

    Attributes:
        text: What was read, all turns of it.
        ids_T: int32: the student's token ids.
        starts_T: int32: where each starts, in characters of the text; never decreasing.
    """

    text: str
    ids_T: NDArray[np.int32]
    starts_T: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTokens:
    """One row of the table, converted back.

    Attributes:
        outcome: The reading, or why there is none.
        targets: The tokens of the texts that were read.
        steps: The readings of its steps, or None where they were not read.
    """

    outcome: ReadingOutcome
    targets: Mapping[TextName, TargetTokens]
    steps: tuple[TokenStats, ...] | None


def token_columns(
    reading: Reading,
    *,
    targets: Mapping[TextName, TargetTokens],
    steps: Sequence[TokenStats] | None,
) -> dict[str, Any]:
    """Values of the `TOKEN_COLUMNS` for one candidate.

    Args:
        reading: The token statistics of the candidate.
        targets: The tokens of each target text.
        steps: The statistics of each step of the response, or None.

    Raises:
        DataError: A text has another number of tokens than a view that reads it.
    """
    row: dict[str, Any] = {"vocabulary_tokens": reading.vocabulary_tokens}
    for name, target in targets.items():
        row |= {
            name: target.text,
            f"{name}_ids": target.ids_T,
            f"{name}_starts": target.starts_T,
        }
    for view, stats in reading.views.items():
        target = targets[text_of(view)]
        if len(target.ids_T) != stats.tokens:
            raise DataError(
                f"candidate {reading.candidate_id}: {len(target.ids_T)} token ids, but the view "
                f"{view} has {stats.tokens} tokens"
            )
        row |= {
            f"logprobs_{view}": stats.logprobs_T,
            f"ranks_{view}": stats.ranks_T,
            f"entropies_{view}": _half(stats.entropies_T),
            f"sum_squares_{view}": _half(stats.sum_squares_T),
        }
    if steps is not None:
        row["step_logprobs"] = [step.logprobs_T for step in steps]
    return row


def stored_tokens(row: Mapping[str, Any]) -> StoredTokens:
    """The inverse of `token_columns`, for a row as `arrays_of` gives it.

    A candidate whose metrics were not finite has tokens all the same, and is a reading here.
    """
    if all(row[name] is None for name in TEXT_NAMES):
        outcome = Unscored(
            candidate_id=row["candidate_id"], reason=row["status"], detail=row["detail"]
        )
        return StoredTokens(outcome=outcome, targets={}, steps=None)
    views = {
        view: TokenStats(
            logprobs_T=row[f"logprobs_{view}"],
            ranks_T=row[f"ranks_{view}"],
            entropies_T=_single(row[f"entropies_{view}"]),
            sum_squares_T=_single(row[f"sum_squares_{view}"]),
        )
        for view in VIEW_NAMES
        if row[f"logprobs_{view}"] is not None
    }
    targets = {
        name: TargetTokens(text=row[name], ids_T=row[f"{name}_ids"], starts_T=row[f"{name}_starts"])
        for name in TEXT_NAMES
        if row[name] is not None
    }
    steps = row["step_logprobs"]
    return StoredTokens(
        outcome=Reading(
            candidate_id=row["candidate_id"],
            views=views,
            straddles=bool(row["straddles"]),
            truncated=bool(row["truncated"]),
            stripped=bool(row.get("stripped")),
            control_tokens_in_data=bool(row.get("control_tokens_in_data")),
            response_starts_T=targets["response"].starts_T if "response" in targets else None,
            instruction_starts_T=targets["instruction"].starts_T
            if "instruction" in targets
            else None,
            vocabulary_tokens=row["vocabulary_tokens"],
        ),
        targets=targets,
        steps=None
        if steps is None
        else tuple(TokenStats(logprobs_T=np.array(s, dtype=np.float32)) for s in steps),
    )


def arrays_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of any table, with lists of numbers as numpy arrays."""
    for batch in table.to_batches():
        columns = [_values(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(table.column_names, values, strict=True))


def _values(column: Any) -> Iterator[Any]:
    kind = column.type
    if not (pa.types.is_list(kind) and pa.types.is_primitive(kind.value_type)):
        yield from column.to_pylist()
        return
    numbers = column.values.to_numpy(zero_copy_only=False)
    offsets = column.offsets.to_numpy()
    for index, valid in enumerate(column.is_valid().to_pylist()):
        yield numbers[offsets[index] : offsets[index + 1]] if valid else None


def text_of(view: ViewName) -> TextName:
    """Text that a view reads."""
    return "response" if view.startswith("response") else "instruction"


def _half(values: NDArray[np.float32] | None) -> NDArray[np.float16] | None:
    return None if values is None else values.astype(np.float16)


def _single(values: NDArray[np.float16] | None) -> NDArray[np.float32] | None:
    return None if values is None else values.astype(np.float32)
