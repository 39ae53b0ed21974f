"""Check that a trainer trains on the scored tokens, through TRL's own preparation.

    scored      C1 C2 | T1 T2              tutelage.student: context and target
    trainer     C1 C2   T1 T2 <end>        TRL: input_ids, and labels that are not -100
    expected             equal, + end of turn

TRL's real trainer prepares and collates the rows, around a model of a few weights: nothing is
trained, and nothing about preparation depends on the weights.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tutelage.data import Row, read, read_records
from tutelage.errors import DataError, MissingExtraError
from tutelage.progress import Progress, Silent
from tutelage.student import StudentModel
from tutelage.student.chat_template import ChatTemplate
from tutelage.student.passages import Passage, Refusal
from tutelage.student.template import REASONING_FIELDS, answer_of
from tutelage.training.tokenized_rows import NO_LOSS, encode_candidate, training_row

CHUNK_ROWS = 512
"""Rows prepared at once, to limit the memory."""
DETAIL_TOKENS = 12
TEMPLATE_ARGS = "chat_template_kwargs"
"""The column of a row's own template arguments, as TRL reads it."""
_NUMBER = "tutelage_row"
"""Column with the row number, because TRL drops rows silently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTruth:
    """Comparison of one row as scored and as trained on.

    Attributes:
        row: 0-based row of the file.
        finding: `same`; or `not_scored`, `no_loss`, `cut`, `prompt_has_loss`, `other_tokens`.
        scored_tokens: Target tokens of the student's reading.
        loss_tokens: Tokens that carry loss in the trainer.
        end: What the trainer trains beyond the scored tokens: the end of the turn, as text.
        detail: The first tokens that show the difference, as text, or why it was not scored, or
            why no token carries loss.
    """

    row: int
    finding: str
    scored_tokens: int = 0
    loss_tokens: int = 0
    end: str = ""
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Comparison of all rows of a file.

    Attributes:
        through: `TRL's own preparation` of prompt and completion, or `tutelage train`, which
            hands TRL tokens: the only way for rows that are neither.
        rows: One finding for each row that was compared, in order.
        rows_in_file: All rows of the file, those that cannot be read too.
    """

    through: str
    rows: tuple[RowTruth, ...]
    rows_in_file: int

    @property
    def not_compared(self) -> int:
        """Number of rows that could not be compared."""
        return self.rows_in_file - len(self.rows)

    @property
    def is_true(self) -> bool:
        """Whether every compared row is trained on exactly as it was scored."""
        return all(row.finding == "same" for row in self.rows)

    @property
    def findings(self) -> Mapping[str, int]:
        """Count of rows by finding."""
        return dict(Counter(row.finding for row in self.rows).most_common())

    @property
    def ends(self) -> Mapping[str, int]:
        """Texts that are trained on after the scored tokens, with their counts."""
        return dict(Counter(row.end for row in self.rows if row.finding == "same").most_common())


def check_truth(
    path: Path,
    *,
    scored: StudentModel,
    trained: StudentModel,
    max_length: int | None = None,
    most_rows: int | None = None,
    progress: Progress | None = None,
) -> Truth:
    """Compare the scored tokens of each row with what a trainer would train on.

    Args:
        path: An exported file, or any rows.
        scored: The student as it scores: without the end of turn.
        trained: The same student, opened with `score_end_of_turn`.
        max_length: Max length of the trainer, which silently truncates longer rows; None:
            no limit.
        most_rows: At most so many rows are compared, from the start of the file; None: all.
        progress: Told how many rows are compared.

    Raises:
        MissingExtraError: TRL is not installed.
        DataError: The file cannot be read.
    """
    progress = progress or Silent()
    in_file, as_trl = _survey(path)
    progress.begin("compare", total=min(in_file, most_rows or in_file), unit="rows")
    values = (record.value for record in read_records(str(path)))
    waiting = islice(zip(read(str(path)), values, strict=True), most_rows)
    found: list[RowTruth] = []
    while chunk := list(islice(waiting, CHUNK_ROWS)):
        read_as = {row.row: _passage(row, scored) for row, _ in chunk}
        scorable = [(row, value) for row, value in chunk if isinstance(read_as[row.row], Passage)]
        given = {
            row.row: _for_trl(value, trained) if as_trl else _for_own(row, trained)
            for row, value in scorable
        }
        prepared = _prepare(given, trained, max_length=max_length)
        found += [_compare(n, side, prepared.get(n), trained) for n, side in read_as.items()]
        progress.advance(len(chunk))
    progress.end()
    return Truth(
        through="TRL's own preparation" if as_trl else "tutelage train",
        rows=tuple(found),
        rows_in_file=in_file,
    )


def _survey(path: Path) -> tuple[int, bool]:
    """Number of rows, and whether all readable ones are prompt and completion."""
    in_file, as_trl = 0, True
    for record in read_records(str(path)):
        in_file += 1
        as_trl = as_trl and (record.problem is not None or _is_prompt_completion(record.value))
    return in_file, as_trl


def _passage(row: Row, student: StudentModel) -> Passage | str:
    """Passage of a row as the student reads it, or the reason for having none."""
    versions = (*row.candidates, *row.repeated)
    if row.example is None:
        return f"{row.status}: {row.detail or ''}"
    if len(versions) != 1:
        return "several versions" if versions else "no response"
    found = encode_candidate(versions[0], student)
    return f"{found.reason}: {found.detail or ''}" if isinstance(found, Refusal) else found[-1]


def _is_prompt_completion(value: object) -> bool:
    return isinstance(value, Mapping) and "prompt" in value and "completion" in value


def _for_trl(value: Any, student: StudentModel) -> dict[str, Any]:
    """Row in TRL's format, with the settings of the student's template."""
    settings = student.parts.settings
    row = {name: value[name] for name in ("prompt", "completion", "tools") if value.get(name)}
    if settings.thinking == "exclude":
        row |= {name: _answers(row[name]) for name in ("prompt", "completion") if name in row}
    own = value.get(TEMPLATE_ARGS) or {}
    own = json.loads(own) if isinstance(own, str) else own
    if settings.template_args or own:
        row[TEMPLATE_ARGS] = {**settings.template_args, **own}
    return row


def _answers(turns: Any) -> Any:
    """Turns, or a text, without thinking."""
    if isinstance(turns, str):
        return answer_of(turns)
    return [
        {
            **{name: item for name, item in turn.items() if name not in REASONING_FIELDS},
            "content": answer_of(turn["content"]),
        }
        if turn.get("role") == "assistant" and isinstance(turn.get("content"), str)
        else turn
        for turn in turns
    ]


def _for_own(row: Row, student: StudentModel) -> dict[str, Any] | str:
    passage = _passage(row, student)
    if isinstance(passage, str):
        return passage
    found = training_row(row.row, passage)
    return {"input_ids": list(found.ids), "labels": list(found.labels)}


def _prepare(
    given: Mapping[int, Mapping[str, Any] | str], student: StudentModel, *, max_length: int | None
) -> dict[int, tuple[list[int], list[int]] | str]:
    """Ids and labels of each row from TRL's collator, without padding.

    Instead, for a row that does not get that far, why.
    """
    rows = [{**row, _NUMBER: n} for n, row in given.items() if not isinstance(row, str)]
    gone = f"cut to {max_length} tokens it has no loss left: TRL silently drops it"
    found: dict[int, tuple[list[int], list[int]] | str] = {
        n: row if isinstance(row, str) else gone for n, row in given.items()
    }
    if rows:
        trainer = _trainer(rows, student, max_length=max_length)
        found |= {row[_NUMBER]: _collated(trainer, row) for row in trainer.train_dataset}
    return found


def _trainer(
    rows: Sequence[Mapping[str, Any]], student: StudentModel, *, max_length: int | None
) -> Any:
    """TRL's trainer with its prepared rows."""
    try:
        from datasets import Dataset
        from transformers import LlamaConfig, LlamaForCausalLM
        from trl import SFTConfig, SFTTrainer

        from tutelage.training.model_weights import quiet
        from tutelage.training.trainer import tokenizer_of
    except ImportError as error:
        raise MissingExtraError(
            f"the check of the trainer needs TRL: {error}", hint="pip install 'tutelage[train]'"
        ) from error
    parts = student.parts
    tokenizer = tokenizer_of(parts)
    if isinstance(parts.template, ChatTemplate):
        tokenizer.chat_template = parts.template_source
    clock = standing_clock(parts.settings.template_date) if parts.reads_clock else nullcontext()
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
    # The first row decides which columns there are.
    names = {name: None for row in rows for name in row}
    some: dict[str, Any] = names | ({TEMPLATE_ARGS: {}} if TEMPLATE_ARGS in names else {})
    with TemporaryDirectory() as folder, quiet(), clock:
        arguments = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            max_length=max_length,
            report_to="none",
            completion_only_loss=True if "prompt" in rows[0] else None,
        )
        try:
            return SFTTrainer(
                model=tiny,
                args=arguments,
                # Arguments may differ from row to row: JSON keeps them as each row has them.
                train_dataset=Dataset.from_list(
                    [{**some, **row} for row in rows], on_mixed_types="use_json"
                ),
                processing_class=tokenizer,
            )
        except (ValueError, RuntimeError, TypeError) as error:
            raise DataError(
                f"TRL cannot prepare these rows: {error}",
                hint="base models without a chat template train with `tutelage train`",
            ) from error


@contextmanager
def standing_clock(today: date) -> Iterator[None]:
    """Context manager in which templates of transformers see a fixed date, as the scores did."""
    from transformers.utils import chat_template_utils as rendering

    real = rendering.datetime

    class Standing(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real(today.year, today.month, today.day, tzinfo=tz)

    rendering.datetime = Standing
    try:
        yield
    finally:
        rendering.datetime = real


def _collated(trainer: Any, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    batch = trainer.data_collator([{"input_ids": row["input_ids"], "labels": row["labels"]}])
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


def _compare(
    row: int,
    passage: Passage | str,
    prepared: tuple[list[int], list[int]] | str | None,
    student: StudentModel,
) -> RowTruth:
    if isinstance(passage, str):
        return RowTruth(row=row, finding="not_scored", detail=passage)
    ids = [int(token) for token in passage.ids_T]
    start = passage.target_start
    if prepared is None or isinstance(prepared, str):
        tokens = len(ids) - start
        return RowTruth(row=row, finding="no_loss", scored_tokens=tokens, detail=prepared)
    trained_ids, labels = prepared
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
    """Difference between the tokens with loss and the scored ones, and the tokens that show it."""
    if not loss:
        return "no_loss", []
    if len(before_loss) < len(context) and loss[: len(target)] != target:
        return "prompt_has_loss", loss
    if len(loss) <= len(target) and loss == target[: len(loss)]:
        return "cut", target[len(loss) :]  # nothing is missing but the end of the turn: cut too
    if before_loss != context or loss[: len(target)] != target:
        return "other_tokens", loss
    return "same", loss[len(target) :]
