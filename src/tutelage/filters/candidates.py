"""Candidates as filters read them, in columns, and the decision of a filter on each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tutelage.data import OK
from tutelage.data.schemas import FILTER_DECISIONS
from tutelage.data.thinking import strip_thinking
from tutelage.errors import DataError

Part: TypeAlias = Literal["instruction", "response", "both"]
"""Text that a filter reads; `both` is the instruction, a newline and the response."""

TextColumn: TypeAlias = "pa.StringArray"

compute: Any = pc
"""`pyarrow.compute` without types: the published stubs are incomplete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """N candidates, in the order of the table they came from.

    Attributes:
        candidate_ids: Unique.
        example_ids: Whose versions they are; the candidate's own id where the table says nothing.
        statuses: `ok`, or why a candidate has no text.
        instructions: The last user turn; null where the status is not `ok`.
        responses: The assistant turn at the end, with the thinking in front of it and the calls
            behind it that a row keeps apart; null where there is none.
        earlier: All other turns, joined by newlines; empty where there are none.
        frames: The system prompt and the tools; empty where there are none.
        dialogues: The turns that are neither in `frames` nor in instruction and response, each
            with its role, its tool calls and the names in it; empty where there are none.
        table: The table they came from.
    """

    candidate_ids: Sequence[str]
    example_ids: Sequence[str]
    statuses: Sequence[str]
    instructions: TextColumn
    responses: TextColumn
    earlier: TextColumn
    frames: TextColumn
    dialogues: TextColumn
    table: pa.Table

    def __len__(self) -> int:
        return len(self.candidate_ids)

    def text(self, of: Part) -> TextColumn:
        """Text that a filter reads; null where it is missing."""
        match of:
            case "instruction":
                return self.instructions
            case "response":
                return self.responses
            case "both":
                joined: TextColumn = compute.binary_join_element_wise(
                    self.instructions, self.responses, "\n"
                )
                return joined

    def take(self, indices_N: NDArray[np.int64]) -> "Pool":
        """Candidates at these positions, in this order."""
        at: Any = pa.array(indices_N)
        rows = indices_N.tolist()
        return Pool(
            candidate_ids=[self.candidate_ids[i] for i in rows],
            example_ids=[self.example_ids[i] for i in rows],
            statuses=[self.statuses[i] for i in rows],
            instructions=self.instructions.take(at),
            responses=self.responses.take(at),
            earlier=self.earlier.take(at),
            frames=self.frames.take(at),
            dialogues=self.dialogues.take(at),
            table=self.table.take(at),
        )


def pool_of(table: pa.Table) -> Pool:
    """Candidates of a table of candidates or of examples.

    Args:
        table: Has `messages` and `candidate_id` or, for examples, `example_id`. Without a
            `status` column, a row is `ok` where it has messages.

    Raises:
        DataError: A column is missing, an id occurs twice, or an `ok` row has no user turn.
    """
    names = table.column_names
    id_column = "candidate_id" if "candidate_id" in names else "example_id"
    missing = [name for name in (id_column, "messages") if name not in names]
    if missing:
        raise DataError(
            f"a table to filter has no column {' and no column '.join(missing)}; it has "
            f"{', '.join(names)}",
            hint="pass the candidates table or the examples table of a run",
        )
    ids = _strings(table, id_column)
    _check_unique(ids)
    messages: Any = table["messages"].combine_chunks()
    if "status" in names:
        statuses = _strings(table, "status")
    else:
        statuses = [OK if there else "no_messages" for there in messages.is_valid().to_pylist()]
    instructions, responses, others = _texts(messages)
    earlier, frames, dialogues = _others(messages, others)
    for name in ("tools", "template_args"):
        if name in names:
            framing = compute.fill_null(table[name].combine_chunks(), "")
            frames = compute.binary_join_element_wise(frames, framing, "\n")
    for i in np.flatnonzero(np.asarray(instructions.is_null())):
        if statuses[i] == OK:
            raise DataError(f"candidate {ids[i]}: status ok without a user turn")
    return Pool(
        candidate_ids=ids,
        example_ids=_strings(table, "example_id") if "example_id" in names else ids,
        statuses=statuses,
        instructions=instructions,
        responses=responses,
        earlier=earlier,
        frames=compute.utf8_trim_whitespace(frames),
        dialogues=dialogues,
        table=table,
    )


def _strings(table: pa.Table, name: str) -> list[str]:
    values: Any = table[name].to_pylist()
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"row {row} of the table to filter: {name} is {value!r}, not a text")
    return list(values)


def _check_unique(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for candidate_id in ids:
        if candidate_id in seen:
            raise DataError(
                f"candidate {candidate_id} is in the table twice",
                hint="ids are hashes of content: drop the repeated rows before filtering",
            )
        seen.add(candidate_id)


def _texts(messages: Any) -> tuple[TextColumn, TextColumn, list[int]]:
    """Last user turn, final assistant turn and positions of the other turns, without a loop."""
    rows = len(messages)
    turns = messages.flatten()
    parents = np.asarray(compute.list_parent_indices(messages), dtype=np.int64)
    roles = turns.field("role")
    contents = turns.field("content")
    positions = np.arange(len(turns), dtype=np.int64)
    is_user = np.asarray(compute.equal(roles, "user")).astype(bool)
    is_assistant = np.asarray(compute.equal(roles, "assistant")).astype(bool)
    # Where an index repeats, numpy keeps the last value assigned: the last turn of its row.
    last_user = np.full(rows, -1, dtype=np.int64)
    last_user[parents[is_user]] = positions[is_user]
    last_turn = np.full(rows, -1, dtype=np.int64)
    last_turn[parents] = positions
    answered = (last_turn >= 0) & (last_turn > last_user)
    answered[answered] = is_assistant[last_turn[answered]]
    last_answer = np.where(answered, last_turn, -1)
    other = np.ones(len(turns), dtype=bool)
    other[last_user[last_user >= 0]] = False
    other[last_answer[last_answer >= 0]] = False
    written: Any = _written(turns)
    return (
        contents.take(pa.array(last_user, mask=last_user < 0)),
        written.take(pa.array(last_answer, mask=last_answer < 0)),
        np.flatnonzero(other).tolist(),
    )


def _written(turns: Any) -> TextColumn:
    """Everything a student would be trained on: thinking, text and tool calls."""
    names = [field.name for field in turns.type]
    written: Any = turns.field("content")
    if "reasoning" in names:
        thoughts = compute.fill_null(turns.field("reasoning"), "")
        joined = compute.binary_join_element_wise(thoughts, written, "\n\n")
        written = compute.if_else(compute.equal(thoughts, ""), written, joined)
    if "tool_calls" in names:
        calls = compute.fill_null(turns.field("tool_calls"), "")
        joined = compute.binary_join_element_wise(written, calls, "\n")
        written = compute.if_else(compute.equal(calls, ""), written, joined)
    result: TextColumn = written
    return result


def answers_only(table: pa.Table) -> pa.Table:
    """Same candidates without thinking, for students that are not trained on it."""
    column = table.column_names.index("messages")
    rows = [
        messages and [_answered(turn) for turn in messages]
        for messages in table["messages"].to_pylist()
    ]
    return table.set_column(column, table.field(column), pa.array(rows, table.field(column).type))


def _answered(turn: dict[str, Any]) -> dict[str, Any]:
    if turn["role"] != "assistant":
        return turn
    return {**turn, "content": strip_thinking(turn["content"] or ""), "reasoning": None}


def _others(messages: Any, others: list[int]) -> tuple[TextColumn, TextColumn, TextColumn]:
    """Other turns of each row: all contents, the system prompts, and the dialogue."""
    turns = messages.flatten()
    parents = compute.list_parent_indices(messages).to_pylist()
    earlier, frames, dialogues = ([""] * len(messages) for _ in range(3))
    for position in others:
        row, turn = parents[position], turns[position].as_py()
        content = turn["content"] or ""
        apart = (turn.get("reasoning"), content, turn.get("tool_calls"))
        earlier[row] += "\n".join(part for part in apart if part) + "\n"
        if turn["role"] == "system":
            frames[row] += f"{content}\n"
            continue
        more = [turn.get(name) for name in ("name", "reasoning", "tool_calls")]
        parts = [turn["role"], content, *(str(value) for value in more if value)]
        dialogues[row] += "\n".join(parts) + "\n"
    return (
        pa.array(earlier, pa.string()),
        pa.array(frames, pa.string()),
        pa.array(dialogues, pa.string()),
    )


PASSED_ALL = "passed_all"
"""Reason of a candidate that every filter kept."""

NO_RESPONSE = "no_response"
"""Reason where a filter reads the response and there is none."""

UNMEASURED = frozenset(
    (
        *(NO_RESPONSE, "no_messages", "no_words", "no_number", "not_scored"),
        *("teacher_failed", "not_in_journal"),
    )
)
"""Reasons of a candidate about which a filter could not say anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Decisions on N candidates in columns, before they have their ids.

    Attributes:
        kept_N: Bool.
        reasons_N: One word for each.
        values_N: float64; only meaningful where `known_N`.
        known_N: Bool; whether there is a value.
        details_N: Text or None for each.
        facts: What the filter wants to say about all of them, such as the recall it expects.
    """

    kept_N: NDArray[np.bool_]
    reasons_N: Sequence[str]
    values_N: NDArray[np.float64]
    known_N: NDArray[np.bool_]
    details_N: Sequence[str | None]
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    def to_table(self, candidate_ids: Sequence[str]) -> pa.Table:
        """The decisions as a table of the `FILTER_DECISIONS` schema, in the same order.

        Raises:
            DataError: There is not exactly one decision for each id, or a value is not finite.
        """
        lengths = {
            len(candidate_ids),
            len(self.kept_N),
            len(self.reasons_N),
            len(self.values_N),
            len(self.known_N),
            len(self.details_N),
        }
        if len(lengths) != 1:
            raise DataError(f"a filter's columns differ in length: {sorted(lengths)}")
        if not np.isfinite(self.values_N[self.known_N]).all():
            raise DataError("a filter measured a value that is not finite")
        return pa.table(
            [
                pa.array(candidate_ids, pa.string()),
                pa.array(self.kept_N, pa.bool_()),
                pa.array(self.reasons_N, pa.string()),
                pa.array(self.values_N, pa.float64(), mask=~self.known_N),
                pa.array(self.details_N, pa.string()),
            ],
            schema=FILTER_DECISIONS,
        )
