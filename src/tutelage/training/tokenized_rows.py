"""Tokenised training rows, with loss exactly on the tokens that were scored.

    ids      <turns> <header> R1 R2 <end>
    labels    -100    -100    R1 R2 <end>      -100: no loss

The student package gives the ids and the border, so a training and the scores agree about what a
response is.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tutelage.data import Candidate, read
from tutelage.errors import DataError
from tutelage.student import StudentModel
from tutelage.student.passages import Passage, Refusal
from tutelage.student.views import blank_reason

NO_LOSS = -100
"""Label of a position without loss, for torch and all trainers."""

TRAIN_WEIGHT = "train_weight"
"""Column of a file of rows that weights the loss of a row."""

ZERO_WEIGHT = "zero_weight"
"""Reason for leaving out a row with weight 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """One sequence to train on.

    Attributes:
        row: 0-based row of the file it comes from.
        ids: Token ids, context first.
        labels: The same ids where there is loss, `NO_LOSS` elsewhere.
        weight: How much its loss counts, above 0; 1 where nothing was said.
    """

    row: int
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    weight: float = 1.0

    @property
    def loss_tokens(self) -> int:
        """Number of tokens with loss; at least 1."""
        return sum(label != NO_LOSS for label in self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A row that is not trained on, with the reason."""

    row: int
    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Outcome of every row of a file.

    Attributes:
        rows: The sequences, in the order of the file; a row with several turns has several.
        left_out: The rows that give none.
    """

    rows: tuple[TrainingRow, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens of all sequences, including their contexts."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def loss_tokens(self) -> int:
        """Number of tokens with loss."""
        return sum(row.loss_tokens for row in self.rows)

    @property
    def relative_weights(self) -> tuple[float, ...] | None:
        """Weight of each sequence relative to the mean; None where all are equal."""
        weights = [row.weight for row in self.rows]
        if len(set(weights)) <= 1:
            return None
        mean = math.fsum(weights) / len(weights)
        return tuple(weight / mean for weight in weights)

    @property
    def left_out_by_reason(self) -> Mapping[str, int]:
        """Count of rows left out, by reason."""
        return dict(sorted(Counter(row.reason for row in self.left_out).items()))


def encode_file(path: Path, student: StudentModel, *, weighted: bool = True) -> Encoded:
    """Encode every row of a file with the student's template.

    Args:
        path: Any file of rows that `tutelage.read` understands. A row that occurs twice is
            trained on twice.
        student: Opened with `score_end_of_turn`, so that the end of the turn carries loss too.
        weighted: Whether the column `train_weight` counts, where the file has one.

    Raises:
        DataError: The file cannot be read, a weight is no number of 0 or more, or not one of its
            rows can be trained on.
    """
    rows: list[TrainingRow] = []
    left_out: list[LeftOut] = []
    for row, candidate, why, extra in _candidates(path):
        weight = _weight_of(extra, place=f"{path}, row {row}") if weighted else 1.0
        refused = LeftOut(row=row, reason=why or "no_response")
        if candidate is None:
            left_out.append(refused)
            continue
        encoded = encode_candidate(candidate, student)
        if isinstance(encoded, Refusal):
            left_out.append(LeftOut(row=row, reason=encoded.reason, detail=encoded.detail))
            continue
        if weight == 0.0:
            left_out.append(LeftOut(row=row, reason=ZERO_WEIGHT))
            continue
        rows += [training_row(row, passage, weight=weight) for passage in encoded]
    if not rows:
        reasons = Counter(row.reason for row in left_out).most_common()
        tally = ", ".join(f"{count} {reason}" for reason, count in reasons)
        raise DataError(
            f"{path}: none of its rows can be trained on ({tally})",
            hint="each row needs an instruction and a response that fit the student's limit",
        )
    return Encoded(rows=tuple(rows), left_out=tuple(left_out))


def encode_candidate(candidate: Candidate, student: StudentModel) -> tuple[Passage, ...] | Refusal:
    """Passage of a candidate's response after its context, or the reason for having none."""
    blank = blank_reason(candidate)
    if blank is not None:
        return Refusal(reason=blank.reason, detail=blank.detail)
    side = student.parts.builder.encode(candidate, "response")
    return side if isinstance(side, Refusal) else side.given


def training_row(row: int, passage: Passage, *, weight: float = 1.0) -> TrainingRow:
    """Training row of a passage, with loss on its target only.

    Args:
        row: Index of the row in its file.
        passage: The token ids.
        weight: Weight of the row's loss.
    """
    ids = tuple(int(token) for token in passage.ids_T)
    start = passage.target_start
    return TrainingRow(row=row, ids=ids, labels=(NO_LOSS,) * start + ids[start:], weight=weight)


def _weight_of(extra: str | None, *, place: str) -> float:
    """Weight that a row names; 1 without one.

    Raises:
        DataError: It is not a number of 0 or more.
    """
    found = None if extra is None else json.loads(extra).get(TRAIN_WEIGHT)
    if found is None:
        return 1.0
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not number or not math.isfinite(found) or found < 0:
        raise DataError(
            f"{place}: {TRAIN_WEIGHT} is {found!r}, which is not a number of 0 or more",
            hint="fix that row, or train with --weights off",
        )
    return float(found)


def _candidates(path: Path) -> Iterator[tuple[int, Candidate | None, str | None, str | None]]:
    """Rows with their number, the version to train on, and their other fields."""
    for row in read(str(path)):
        versions = (*row.candidates, *row.repeated)
        if row.example is None:
            yield row.row, None, row.status, None
        elif len(versions) > 1:
            yield row.row, None, "several_candidates", None
        else:
            yield row.row, versions[0] if versions else None, None, row.example.extra
