"""Does the trainer train on what was scored? A file of rows, through TRL's own preparation.

    scored      C1 C2 | T1 T2              the student's room: context and target
    trainer     C1 C2   T1 T2 <end>        TRL: input_ids, and labels that are not -100
    expected             equal, + end of turn

TRL's real trainer prepares and collates the rows, around a model of a few weights: nothing is
trained, and nothing about preparation depends on the weights.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.data import read, read_records
from tutelage.errors import DataError, MissingExtraError
from tutelage.student import StudentModel
from tutelage.student.passage import Passage, Refusal
from tutelage.training.rows import NO_LOSS, encode_candidate, training_row

MOST_ROWS = 256
DETAIL_TOKENS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTruth:
    """One row as it was scored and as it would be trained on.

    Attributes:
        row: 0-based row of the file.
        finding: `same`; or `not_scored`, `no_loss`, `cut`, `prompt_has_loss`, `other_tokens`.
        scored_tokens: Target tokens of the student's reading.
        loss_tokens: Tokens that carry loss in the trainer.
        end: What the trainer trains beyond the scored tokens: the end of the turn, as text.
        detail: The first tokens that show the difference, as text, or why it was not scored.
    """

    row: int
    finding: str
    scored_tokens: int = 0
    loss_tokens: int = 0
    end: str = ""
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What was found in a file.

    Attributes:
        through: `TRL's own preparation` of prompt and completion, or `tutelage train`, which
            hands TRL tokens: the only way for rows that are neither.
        rows: One finding a row, in order.
    """

    through: str
    rows: tuple[RowTruth, ...]

    @property
    def is_true(self) -> bool:
        """Whether every row is trained exactly as it was scored."""
        return all(row.finding == "same" for row in self.rows)

    @property
    def findings(self) -> Mapping[str, int]:
        """How many rows have which finding."""
        return dict(Counter(row.finding for row in self.rows).most_common())

    @property
    def ends(self) -> Mapping[str, int]:
        """What is trained beyond the scored tokens, and how often."""
        return dict(Counter(row.end for row in self.rows if row.finding == "same").most_common())


def check_truth(
    path: Path,
    *,
    scored: StudentModel,
    trained: StudentModel,
    max_length: int | None = None,
    most_rows: int = MOST_ROWS,
) -> Truth:
    """Compare what a student was scored on with what a trainer would train it on.

    Args:
        path: An exported file, or any rows.
        scored: The student as it scores: without the end of turn.
        trained: The same student, opened with `score_end_of_turn`.
        max_length: Of the trainer, which cuts what is longer without a word; None: no limit.
        most_rows: At most so many rows are compared, from the start of the file.

    Raises:
        MissingExtraError: TRL is not installed.
        DataError: The file cannot be read.
    """
    candidates = []
    for row in read(str(path)):
        versions = (*row.candidates, *row.repeated)
        candidates.append(versions[0] if len(versions) == 1 else None)
        if len(candidates) == most_rows:
            break
    raw = [record.value for record in _first(path, len(candidates))]
    conversational = all(_is_prompt_completion(value) for value in raw)
    sequences = [None if c is None else encode_candidate(c, scored) for c in candidates]
    if conversational:
        through = "TRL's own preparation"
        given = [{"prompt": v["prompt"], "completion": v["completion"]} for v in raw]
        prepared = dict(enumerate(_prepare(given, trained, max_length=max_length)))
    else:
        through = "tutelage train"
        own = [None if c is None else encode_candidate(c, trained) for c in candidates]
        rows = [(i, training_row(i, p[0])) for i, p in enumerate(own) if isinstance(p, tuple)]
        given = [{"input_ids": list(r.ids), "labels": list(r.labels)} for _, r in rows]
        found = _prepare(given, trained, max_length=max_length)
        prepared = {i: row for (i, _), row in zip(rows, found, strict=True)}
    return Truth(
        through=through,
        rows=tuple(
            _compare(i, sequence, prepared.get(i), trained) for i, sequence in enumerate(sequences)
        ),
    )


def _first(path: Path, count: int) -> Iterator[Any]:
    for number, record in enumerate(read_records(str(path))):
        if number == count:
            return
        yield record


def _is_prompt_completion(value: object) -> bool:
    return isinstance(value, Mapping) and "prompt" in value and "completion" in value


def _prepare(
    rows: Sequence[Mapping[str, Any]], student: StudentModel, *, max_length: int | None
) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of each row as they leave TRL's collator, without padding."""
    if not rows:
        return []
    try:
        from datasets import Dataset
        from transformers import LlamaConfig, LlamaForCausalLM
        from trl import SFTConfig, SFTTrainer

        from tutelage.training.trainer import quiet, tokenizer_of
    except ImportError as error:
        raise MissingExtraError(
            f"the trainer's truth needs TRL: {error}", hint="pip install 'tutelage[train]'"
        ) from error
    tokenizer = tokenizer_of(student.parts)
    tiny = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=max(len(tokenizer), student.parts.folder.vocabulary_tokens or 0),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with TemporaryDirectory() as folder, quiet():
        arguments = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            max_length=max_length,
            report_to="none",
            completion_only_loss=True if "prompt" in rows[0] else None,
        )
        try:
            trainer = SFTTrainer(
                model=tiny,
                args=arguments,
                train_dataset=Dataset.from_list([dict(row) for row in rows]),
                processing_class=tokenizer,
            )
        except (ValueError, RuntimeError, TypeError) as error:
            raise DataError(
                f"TRL cannot prepare these rows: {error}",
                hint="base models without a chat template train with `tutelage train`",
            ) from error
        prepared = list(trainer.train_dataset)
        if len(prepared) < len(rows):
            raise DataError(
                f"TRL left out {len(rows) - len(prepared)} of {len(rows)} rows without a word: "
                f"cut to {max_length} tokens they have no loss left",
                hint="train with max_length=None, as the exported snippet does",
            )
        return [_collated(trainer, row) for row in prepared]


def _collated(trainer: Any, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    batch = trainer.data_collator([{"input_ids": row["input_ids"], "labels": row["labels"]}])
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


def _compare(
    row: int,
    scored: tuple[Passage, ...] | Refusal | None,
    prepared: tuple[list[int], list[int]] | None,
    student: StudentModel,
) -> RowTruth:
    if scored is None or isinstance(scored, Refusal):
        why = "no response" if scored is None else f"{scored.reason}: {scored.detail or ''}"
        return RowTruth(row=row, finding="not_scored", detail=why)
    passage = scored[-1]
    ids = [int(token) for token in passage.ids_T]
    start = passage.target_start
    trained_ids, labels = prepared or ([], [])
    first = next((i for i, label in enumerate(labels) if label != NO_LOSS), len(labels))
    loss = [token for token in labels if token != NO_LOSS]
    finding, rest = _finding(ids[:start], ids[start:], trained_ids[:first], loss)
    text = student.parts.decode_all
    return RowTruth(
        row=row,
        finding=finding,
        scored_tokens=len(ids) - start,
        loss_tokens=len(loss),
        end=text(rest) if finding == "same" else "",
        detail=None if finding in ("same", "no_loss") else text(rest[:DETAIL_TOKENS]),
    )


def _finding(
    context: list[int], target: list[int], before_loss: list[int], loss: list[int]
) -> tuple[str, list[int]]:
    """How the tokens with loss differ from the scored ones, and the tokens that show it."""
    if not loss:
        return "no_loss", []
    if len(before_loss) < len(context) and loss[: len(target)] != target:
        return "prompt_has_loss", loss
    if len(loss) <= len(target) and loss == target[: len(loss)]:
        return "cut", target[len(loss) :]  # nothing is missing but the end of the turn: cut too
    if before_loss != context or loss[: len(target)] != target:
        return "other_tokens", loss
    return "same", loss[len(target) :]
